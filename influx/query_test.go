package influx

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"

	"github.com/ipfsmon/ipfsmon/influx/store/storetest"
)

// answerTo returns the answer to a statement in a format.
func answerTo(t *testing.T, c *Client, format, statement string, flux bool) (string, error) {
	t.Helper()
	var b writerBuffer
	out, err := NewOutput(format, &b)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Query(t.Context(), statement, flux, out)
	return string(b), err
}

func TestQueryFormats(t *testing.T) {
	t.Parallel()
	store := storetest.Start(t)
	cfg := storeAt(store)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC).UnixNano()
	keep := cfg
	keep.HistoryRetention = "0s"
	if _, err := publish(t, keep, []*event.Event{{Time: at, Kind: event.KindMessage, Peer: testPeer(1),
		Blocks: []event.Block{{CID: testCID(1), Size: 10}, {CID: testCID(1), Size: 20}}}}); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(cfg)
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
-----------------------------  ----  -----
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
-------------------  ---  ---
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
-----------------------------  ------
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
		var refused *QueryError
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
	cfg := storeAt(store)
	const n = 25_000
	if _, err := publish(t, cfg, messages(n)); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(cfg)
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
	if err != nil || json.Unmarshal([]byte(text), &objects) != nil || len(objects) != n || objects[n-1]["cid"] != testCID(n-1).String() {
		t.Errorf("json: %v, %d rows, want %d", err, len(objects), n)
	}
	text, err = answerTo(t, c, "table", "SELECT cid FROM wants", false)
	if err != nil || strings.Count(text, testCID(0).String()) != 1 || strings.Count(text, "\n") < n {
		t.Errorf("table: %v, %d lines", err, strings.Count(text, "\n"))
	}
}

// What a peer calls itself must not move the cursor of a terminal.
func TestTableIsSafe(t *testing.T) {
	var b writerBuffer
	out, err := NewOutput("table", &b)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(out.Series("a\x1b[2J", []Label{{"k", "\x07"}}, []string{"agent"}), out.Row([]any{"\x1b]0;x\x07\r\n\u202e"}), out.Close())
	if err != nil || strings.ContainsAny(string(b), "\x1b\x07\r\u202e") {
		t.Errorf("%v, %q", err, b)
	}
}

func TestQueryCredentials(t *testing.T) {
	var got string
	s := newFaulty(t, func(_ int, r *http.Request, _ []string) (int, string, []string) {
		got = fmt.Sprint(r.URL.Path, " ", r.URL.Query().Get("org"), " ", r.Header.Get("Authorization"))
		return 401, `{"code":"unauthorized","message":"unauthorized access"}`, nil
	})
	f := func(cfg Config, flux bool, want string) {
		t.Helper()
		cfg.URL = s.URL
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = answerTo(t, c, "csv", "q", flux)
		if err == nil || !strings.Contains(err.Error(), "unauthorized") || got != want {
			t.Errorf("%v, request %q, want %q", err, got, want)
		}
	}
	f(Config{}, false, "/query  ")
	f(Config{Username: "u", Password: "p"}, false, "/query  Basic dTpw")
	f(Config{Org: "o", Token: "t"}, false, "/query o Token t")
	f(Config{Org: "o", Token: "t"}, true, "/api/v2/query o Token t")
	f(Config{Username: "u", Password: "p"}, true, "/api/v2/query  Token u:p")
}

func TestQueryWithoutServer(t *testing.T) {
	c, err := NewClient(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := answerTo(t, c, "csv", "SELECT 1", false); err == nil || !strings.Contains(err.Error(), "ask http://127.0.0.1:1: ") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Query(ctx, "SELECT 1", false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewOutput("xml", nil); err == nil || !strings.Contains(err.Error(), "table, csv or json") {
		t.Errorf("format xml: %v", err)
	}
}

// An answer whose end is missing is an error, however it was cut.
func TestQueryCutShort(t *testing.T) {
	const (
		series  = `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]]}]}]}`
		partial = `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]],"partial":true}]}]}`
		more    = `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]],"partial":true}],"partial":true}]}`
		next    = `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]]}],"partial":true}]}`
		two     = `{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"x":"1"},"columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]]},{"name":"m","tags":{"x":"2"},"columns":["time","a"],"values":[["1970-01-01T00:00:00Z",1]]}]}]}`
		table   = "#datatype,string,long,long\r\n,result,table,_value\r\n,_result,0,1\r\n"
	)
	var body, version string
	var length int // that the header promises beyond the body
	s := newFaulty(t, func(int, *http.Request, []string) (int, string, []string) { return 0, "", nil })
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Influxdb-Version", version)
		if length > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)+length))
		}
		_, _ = w.Write([]byte(body))
		if length < 0 { // chunks without the last one, of no length
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	c, err := NewClient(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := func(statement, answered string, want bool) {
		t.Helper()
		body = answered
		_, err := answerTo(t, c, "csv", statement, strings.HasPrefix(statement, "from"))
		var cut *CutError
		if errors.As(err, &cut) != want || !want && err != nil {
			t.Errorf("%s, answered %q (+%d): %v, cut short: want %v", statement, answered, length, err, want)
		}
	}
	const one, both, flux = "SELECT a FROM m", "SELECT a FROM m; SELECT a FROM m", `from(bucket: "b") |> range(start: -1h)`
	f(one, series, false)
	f(one, more+"\n"+series, false)
	f(one, next+"\n"+series, false)
	f(both, series+"\n"+series, false)
	f(one, `{"results":[{"statement_id":0}]}`, false)
	f(one, two, false) // of a server that may know no chunks, nor a limit
	f(flux, table+"\r\n", false)
	f(flux, table+"\r\n"+table+"\r\n\r\n", false)
	f(flux, "\r\n", false)

	f(one, partial, true)
	f(one, more, true)
	f(one, series+"\n"+next, true)
	f(both, series, true)
	f(one, "", true)
	f(one, `{"results":[]}`, true)
	f(one, series[:len(series)-3], true)
	f(one, strings.Replace(two, `1]]},`, `1]],"partial":true},`, 1), true)
	f(flux, table, true)
	f(flux, table+"\r\n"+table, true)
	f(flux, table[:len(table)-3], true)
	f(flux, "", true)
	version = "1.6.7"
	f(one, two, true) // it sends chunks when asked: somebody took the word away
	f(one, series, false)

	for _, length = range []int{100, -1} { // the connection ends before the answer does
		f(one, series, true)
		f(one, more+"\n"+series, true)
		f(flux, table+"\r\n", true)
	}
}
