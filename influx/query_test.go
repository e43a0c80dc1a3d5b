package influx

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/query"
)

// answerTo returns the answer to a statement in a format.
func answerTo(t *testing.T, c *client.Client, format, statement string, flux bool) (string, error) {
	t.Helper()
	var b strings.Builder
	out, err := query.NewOutput(format, &b)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Query(t.Context(), statement, flux, out)
	return b.String(), err
}

func TestQueryFormats(t *testing.T) {
	t.Parallel()
	store := storetest.Start(t)
	cfg := influxtest.StoreAt(store)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC).UnixNano()
	keep := cfg
	keep.HistoryRetention = "0s"
	if _, err := publish(t, keep, []*event.Event{{Time: at, Kind: event.KindMessage, Peer: influxtest.Peer(1),
		Blocks: []event.Block{{CID: influxtest.CID(1), Size: 10}, {CID: influxtest.CID(1), Size: 20}}}}); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := func(format, statement string, flux bool, want string) {
		t.Helper()
		got, err := answerTo(t, c, format, statement, flux)
		if err != nil || got != want {
			t.Errorf("%s %s: %v\n%s\nwant\n%s", format, statement, err, got, want)
		}
	}
	f("table", "SELECT size, codec FROM blocks", false, `blocks
time                           size  codec
----                           ----  -----
2026-01-02 03:04:05.000000678  10    raw
2026-01-02 03:04:05.000000679  20    raw
`)
	f("csv", "SELECT size, codec FROM blocks", false, `measurement,time,size,codec
blocks,2026-01-02T03:04:05.000000678Z,10,raw
blocks,2026-01-02T03:04:05.000000679Z,20,raw
`)
	f("json", "SELECT size, codec FROM blocks", false, `[
{"measurement":"blocks","time":"2026-01-02T03:04:05.000000678Z","size":10,"codec":"raw"},
{"measurement":"blocks","time":"2026-01-02T03:04:05.000000679Z","size":20,"codec":"raw"}
]
`)
	f("table", "SELECT sum(size), min(nothing) FROM blocks GROUP BY codec, direction", false, `blocks  codec=raw  direction=received
time                 sum  min
----                 ---  ---
1970-01-01 00:00:00  30   -
`)
	f("csv", "SELECT sum(size) FROM blocks GROUP BY codec, direction; SELECT count(cid) FROM blocks", false, `measurement,codec,direction,time,sum
blocks,raw,received,1970-01-01T00:00:00Z,30

measurement,time,count
blocks,1970-01-01T00:00:00Z,2
`)
	f("table", "SELECT * FROM nothing", false, "")
	f("json", "SELECT * FROM nothing", false, "[]\n")
	f("csv", "SELECT * FROM nothing", false, "")
	flux := `from(bucket: "ipfsmon/history") |> range(start: 2026-01-01T00:00:00Z, stop: 2026-02-01T00:00:00Z) |> filter(fn: (r) => r._field == "size") |> keep(columns: ["_time", "_value"])`
	f("table", flux, true, `_time                          _value
-----                          ------
2026-01-02 03:04:05.000000678  10
2026-01-02 03:04:05.000000679  20
`)
	f("json", flux, true, `[
{"_time":"2026-01-02T03:04:05.000000678Z","_value":10},
{"_time":"2026-01-02T03:04:05.000000679Z","_value":20}
]
`)

	e := func(statement string, flux bool, want string) {
		t.Helper()
		_, err := answerTo(t, c, "csv", statement, flux)
		var refused *client.QueryError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a QueryError with %q", statement, err, want)
		}
	}
	e("SELEKT", false, "error parsing query: found SELEKT, expected SELECT")
	e("SELECT x FROM nowhere..y", false, "database not found: nowhere")
	e(`from(bucket: "nothing/there") |> range(start: -1h)`, true, "no database")
	e(`fromm()`, true, "fromm")
}

// A long answer comes in chunks; rows and columns stay what they are.
func TestQueryChunks(t *testing.T) {
	store := storetest.Start(t)
	cfg := influxtest.StoreAt(store)
	const n = 25_000
	if _, err := publish(t, cfg, influxtest.Messages(n)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := answerTo(t, c, "csv", "SELECT cid FROM wants", false)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != n+1 {
		t.Errorf("csv: %v, %d rows, want %d", err, len(rows), n+1)
	}
	text, err = answerTo(t, c, "json", "SELECT cid FROM wants", false)
	var objects []map[string]any
	if err != nil || json.Unmarshal([]byte(text), &objects) != nil || len(objects) != n || objects[n-1]["cid"] != influxtest.CID(n-1).String() {
		t.Errorf("json: %v, %d rows, want %d", err, len(objects), n)
	}
	text, err = answerTo(t, c, "table", "SELECT cid FROM wants", false)
	if err != nil || strings.Count(text, influxtest.CID(0).String()) != 1 || strings.Count(text, "\n") < n {
		t.Errorf("table: %v, %d lines", err, strings.Count(text, "\n"))
	}
}
