package answer

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// TestAnswer: series with different columns are one table, whose types hold all values.
func TestAnswer(t *testing.T) {
	var b bytes.Buffer
	o, err := New(&b, map[string]string{"mean": "float"})
	require.NoError(t, err)
	n := func(s string) json.Number { return json.Number(s) }
	require.NoError(t, o.Series("m", []client.Label{{Key: "direction", Value: "sent"}}, []string{"time", "n", "mean", "mixed", "ok", "direction"}))
	require.NoError(t, o.Row([]any{"2026-11-20T14:00:00.000000001Z", n("5"), n("2"), n("7"), true, "\x1b[2J"}))
	require.NoError(t, o.Row([]any{"2026-11-20T15:00:00+01:00", nil, n("2.5"), "x", nil, ""}))
	require.NoError(t, o.Series("m", nil, []string{"time", "later"}))
	require.NoError(t, o.Row([]any{"2026-11-20T14:00:01Z", n("18446744073709551615")}))
	require.Empty(t, b.Bytes())
	require.EqualValues(t, 3, o.Rows())
	require.NoError(t, o.Close())
	require.Error(t, o.Close())

	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	var names []string
	for _, c := range f.Schema().Columns() {
		names = append(names, c[0])
	}
	require.Equal(t, []string{"measurement", "direction", "time", "n", "mean", "mixed", "ok", "direction_1", "later"}, names)
	type row struct {
		Measurement *string  `parquet:"measurement,optional"`
		Direction   *string  `parquet:"direction,optional"`
		Time        *int64   `parquet:"time,optional,timestamp(nanosecond:local)"`
		N           *int64   `parquet:"n,optional"`
		Mean        *float64 `parquet:"mean,optional"`
		Mixed       *string  `parquet:"mixed,optional"`
		OK          *bool    `parquet:"ok,optional"`
		Direction1  *string  `parquet:"direction_1,optional"`
		Later       *float64 `parquet:"later,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	p := func(v any) string {
		out, err := json.Marshal(v)
		require.NoError(t, err)
		return string(out)
	}
	require.Len(t, rows, 3)
	require.JSONEq(t, `{"Measurement":"m","Direction":"sent","Time":1795183200000000001,"N":5,"Mean":2,"Mixed":"7","OK":true,"Direction1":"\u001b[2J","Later":null}`, p(rows[0]))
	require.JSONEq(t, `{"Measurement":"m","Direction":"sent","Time":1795183200000000000,"N":null,"Mean":2.5,"Mixed":"x","OK":null,"Direction1":"","Later":null}`, p(rows[1]))
	require.JSONEq(t, `{"Measurement":"m","Direction":null,"Time":1795183201000000000,"N":null,"Mean":null,"Mixed":null,"OK":null,"Direction1":null,"Later":18446744073709551615}`, p(rows[2]))
}

// TestAnswerOfManyRows: more than a row group; and of none a file that can be read.
func TestAnswerOfManyRows(t *testing.T) {
	var b bytes.Buffer
	o, err := New(&b, nil)
	require.NoError(t, err)
	require.NoError(t, o.Series("", nil, []string{"n"}))
	for i := range groupRows + 10 {
		require.NoError(t, o.Row([]any{i}))
	}
	require.NoError(t, o.Close())
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	require.EqualValues(t, groupRows+10, f.NumRows())
	require.Len(t, f.RowGroups(), 2)

	b.Reset()
	o, err = New(&b, nil)
	require.NoError(t, err)
	require.NoError(t, o.Close())
	f, err = parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	require.Zero(t, f.NumRows())

	o, err = New(&b, nil)
	require.NoError(t, err)
	o.Discard()
	o.Discard()
}
