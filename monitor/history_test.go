package monitor

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx/client"
)

// TestHistoryRows assigns an answer's rows to their steps.
func TestHistoryRows(t *testing.T) {
	h := &httpapi.History{Times: []int64{10_000, 20_000, 30_000}}
	o := &historyOutput{h: h, step: 10 * time.Second, columns: []figure{{"messages", "1/s"}, {"blocks", "1/s"}}}
	require.NoError(t, o.Series("traffic", []client.Label{{Key: "direction", Value: "sent"}, {Key: "answer", Value: "block"}}, nil))
	row := func(at string, values ...any) error { return o.Row(append([]any{at}, values...)) }
	require.NoError(t, row("1970-01-01T00:00:20Z", json.Number("1.5"), nil))
	require.NoError(t, row("1970-01-01T00:01:00Z", json.Number("9"), json.Number("9"))) // not requested
	require.NoError(t, row("1970-01-01T00:00:05Z", json.Number("9"), json.Number("9")))
	require.Error(t, row("yesterday"))
	require.Len(t, h.Series, 2)
	require.Equal(t, "sent", h.Series[0].Direction)
	require.Equal(t, "block", h.Series[0].Answer)
	require.Nil(t, h.Series[0].Values[0])
	require.InDelta(t, 1.5, *h.Series[0].Values[1], 0)
	require.Nil(t, h.Series[1].Values[1])
	require.Equal(t, `'a\'b\\c'`, quoted(`a'b\c`))

	require.NoError(t, row("1970-01-01T00:00:10Z", json.Number("2"))) // the first step, and fewer values than columns
	require.NoError(t, row("1970-01-01T00:00:09.999Z", json.Number("9")))
	require.NoError(t, row("1970-01-01T00:00:39.999Z", json.Number("3"), json.Number("4"))) // the last one's end
	require.NoError(t, row("1970-01-01T00:00:40Z", json.Number("9"), json.Number("9")))
	require.InDelta(t, 2, *h.Series[0].Values[0], 0)
	require.InDelta(t, 3, *h.Series[0].Values[2], 0)
	require.InDelta(t, 4, *h.Series[1].Values[2], 0)
	// The next series is another.
	require.NoError(t, o.Series("traffic", []client.Label{{Key: "direction", Value: "received"}}, nil))
	require.NoError(t, row("1970-01-01T00:00:10Z", json.Number("7"), json.Number("8")))
	require.Len(t, h.Series, 4)
	require.InDelta(t, 8, *h.Series[3].Values[0], 0)
	require.InDelta(t, 2, *h.Series[0].Values[0], 0)
}
