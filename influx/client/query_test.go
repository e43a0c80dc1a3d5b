package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

func TestQueryCredentials(t *testing.T) {
	var got string
	s := influxtest.NewFaulty(t, func(_ int, r *http.Request, _ []string) (int, string, []string) {
		got = fmt.Sprint(r.URL.Path, " ", r.URL.Query().Get("org"), " ", r.Header.Get("Authorization"))
		return 401, `{"code":"unauthorized","message":"unauthorized access"}`, nil
	})
	f := func(cfg client.Config, flux bool, want string) {
		t.Helper()
		cfg.URL = s.URL
		c, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = influxtest.Rows(t, c, "q", flux)
		if err == nil || !strings.Contains(err.Error(), "unauthorized") || got != want {
			t.Errorf("%v, request %q, want %q", err, got, want)
		}
	}
	f(client.Config{}, false, "/query  ")
	f(client.Config{Username: "u", Password: "p"}, false, "/query  Basic dTpw")
	f(client.Config{Org: "o", Token: "t"}, false, "/query o Token t")
	f(client.Config{Org: "o", Token: "t"}, true, "/api/v2/query o Token t")
	f(client.Config{Username: "u", Password: "p"}, true, "/api/v2/query  Token u:p")
}

func TestQueryWithoutServer(t *testing.T) {
	c, err := client.New(client.Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := influxtest.Rows(t, c, "SELECT 1", false); err == nil || !strings.Contains(err.Error(), "ask http://127.0.0.1:1: ") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Query(ctx, "SELECT 1", false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A truncated answer is an error, however it was truncated.
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
	s := influxtest.NewFaulty(t, func(int, *http.Request, []string) (int, string, []string) { return 0, "", nil })
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
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := func(statement, answered string, want bool) {
		t.Helper()
		body = answered
		_, err := influxtest.Rows(t, c, statement, strings.HasPrefix(statement, "from"))
		var cut *client.CutError
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
	f(one, two, true) // it sends chunks on request: a proxy removed the parameter
	f(one, series, false)

	for _, length = range []int{100, -1} { // the connection ends before the answer does
		f(one, series, true)
		f(one, more+"\n"+series, true)
		f(flux, table+"\r\n", true)
	}
}
