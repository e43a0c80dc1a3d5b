package client_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// InfluxDB 3 takes one statement in a request and reads one database: each statement goes to the
// database of its retention policy, history is the default, and SHOW without a measurement is
// asked of both.
func TestInfluxDB3Queries(t *testing.T) {
	store := storetest.Start(t)
	if err := client.Setup(t.Context(), influxtest.StoreAt(store)); err != nil {
		t.Fatal(err)
	}
	s := influxtest.New3()
	s.Behind = influxtest.BehindStore(t, store)
	cfg := client.Config{URL: s.Start(t).URL}
	if err := client.Setup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Find(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixNano()
	for kind, lines := range map[schema.Kind]string{
		schema.History: fmt.Sprintf("blocks,direction=received,node=n cid=\"a\",size=7i %d\n", now),
		schema.Totals:  fmt.Sprintf("traffic,direction=received,node=n blocks=3i,bytes=7i %d\ntraffic,direction=sent,node=n blocks=4i,bytes=9i %d\n", now, now),
	} {
		if status, _, answer, err := c.Write(t.Context(), kind, []byte(lines), false); err != nil || status != 204 {
			t.Fatalf("%v, %d %s", err, status, answer)
		}
	}
	f := func(statement string, want ...string) {
		t.Helper()
		got, err := influxtest.Rows(t, c, statement, false)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s:\n%s\nwant %q", statement, got, w)
			}
		}
	}
	f("SELECT size FROM blocks", ",7\n")
	f("SELECT size FROM history.blocks; SELECT sum(bytes) FROM totals.traffic", ",7\n", ",16\n")
	f(`SELECT sum(blocks) FROM "ipfsmon"."totals"."traffic" GROUP BY direction`, "received,", ",3\n", "sent,", ",4\n")
	f("SELECT max(s) FROM (SELECT sum(bytes) AS s FROM totals.traffic GROUP BY direction)", ",9\n")
	f("SHOW MEASUREMENTS", "measurements,blocks\n", "measurements,traffic\n")
	f("SHOW DATABASES", "ipfsmon/history", "ipfsmon/totals")
	f(`SHOW TAG VALUES FROM totals.traffic WITH KEY = "direction"`, "sent")

	no := func(statement, want string) {
		t.Helper()
		if _, err := influxtest.Rows(t, c, statement, strings.HasPrefix(statement, "from")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", statement, err, want)
		}
	}
	no("SELECT a FROM (SELECT a FROM history.x), (SELECT a FROM totals.y)", "ipfsmon/history and ipfsmon/totals")
	no(`from(bucket: "ipfsmon/history") |> range(start: -1h)`, "InfluxDB 3 has no Flux")
	no("SELEKT", "parsing error")
	no("SELECT sample(size, 1) FROM blocks", "not implemented")
	no("SELECT size FROM blocks SLIMIT 1", "not implemented")
	no("SHOW SERIES", "not implemented")
	no("SELECT size INTO x FROM blocks", "not implemented")

	// More than 432 files of ten minutes: Core refuses that, and the error says what to ask for.
	var lines strings.Builder
	for i := range 440 {
		fmt.Fprintf(&lines, "wants,node=n cid=\"a\" %d\n", now-int64(i)*int64(10*time.Minute))
	}
	if status, _, answer, err := c.Write(t.Context(), schema.History, []byte(lines.String()), false); err != nil || status != 204 {
		t.Fatalf("%v, %d %s", err, status, answer)
	}
	no("SELECT count(cid) FROM wants", "InfluxDB 3 Core reads about 72 hours in one query: ask for less (--since 48h)")
	f("SELECT count(cid) FROM wants WHERE time > now() - 48h", "count")
	if got := c.Limit(t.Context()); got != 72*time.Hour {
		t.Errorf("a query reaches back %v", got)
	}

	s.SQL = map[string]string{"ipfsmon/totals: SELECT direction, blocks FROM traffic": "direction,blocks,time\nsent,4,2026-01-02T03:04:05\n,,\n"}
	var out rows
	if err := c.SQL(t.Context(), "SELECT direction, blocks FROM traffic", schema.Totals, &out); err != nil || fmt.Sprint(out) != "[[direction blocks time] [sent 4 2026-01-02T03:04:05] [<nil> <nil> <nil>]]" {
		t.Errorf("SQL: %v, %v", err, out)
	}
	if err := c.SQL(t.Context(), "SELECT", schema.Totals, &out); err == nil || !strings.Contains(err.Error(), "Error during planning") {
		t.Errorf("SQL: %v", err)
	}
	one, err := client.New(influxtest.StoreAt(store))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if err := one.SQL(t.Context(), "SELECT 1", schema.Totals, &out); err == nil || !strings.Contains(err.Error(), "InfluxDB 1.8.10, which has no SQL") {
		t.Errorf("SQL of 1.8: %v", err)
	}
	paths := slices.Sorted(maps.Keys(s.Asked()))
	if !slices.Contains(paths, "POST /api/v3/query_sql") || !slices.Contains(paths, "GET /query") {
		t.Errorf("requests %v", paths)
	}
}

type rows [][]any

func (r *rows) Series(_ string, _ []client.Label, columns []string) error {
	var row []any
	for _, c := range columns {
		row = append(row, c)
	}
	*r = append(*r, row)
	return nil
}

func (r *rows) Row(values []any) error { *r = append(*r, values); return nil }
func (r *rows) Close() error           { return nil }

func TestSQLKind(t *testing.T) {
	f := func(statement string, want schema.Kind) {
		t.Helper()
		if got, err := client.SQLKind(statement); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", statement, got, err, want)
		}
	}
	f("SELECT * FROM wants", schema.History)
	f(`select * from "traffic" where x`, schema.Totals)
	f("SELECT * FROM iox.wants_1m", schema.Totals)
	f("SHOW TABLES", schema.History)
	if _, err := client.SQLKind("SELECT * FROM wants JOIN traffic ON a"); err == nil || !strings.Contains(err.Error(), "wants is among the history and traffic among the totals") {
		t.Errorf("both kinds: %v", err)
	}
}

// What an InfluxDB 3 refuses is said with what to do about it.
func TestInfluxDB3Refusals(t *testing.T) {
	s := influxtest.New3()
	s.Auth = true
	s.Build, s.Writer = "Enterprise", "apiv3_writer"
	s.Admin("_admin")
	url := s.Start(t).URL
	f := func(cfg client.Config, want string) {
		t.Helper()
		cfg.URL = url
		if err := client.Setup(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(client.Config{Version: "3", Token: "wrong"}, "want a token that InfluxDB 3 knows")
	f(client.Config{Version: "3", Token: s.Writer}, "an administrator's")
	f(client.Config{Version: "3", Token: s.Token("_admin"), Database: "with:colon"}, "InfluxDB 3 accepts no other name of a database")
	for _, cfg := range []client.Config{{Version: "3", Org: "o", Token: "t"}, {Version: "3", Username: "u", Password: "p"}, {Version: "4"}} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "Version: ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if err := (client.Config{Token: "t"}).Validate(); err == nil || !strings.Contains(err.Error(), `InfluxDB 3 has none: set Version to "3"`) {
		t.Errorf("a token without an organisation: %v", err)
	}
	if err := (client.Config{Version: "3"}).Validate(); err != nil {
		t.Errorf("an InfluxDB 3 without authorization: %v", err)
	}
}

// What exists is no error, and without history it gets no database; what is refused is.
func TestInfluxDB3SetUpAgain(t *testing.T) {
	no := false
	for _, history := range []*bool{nil, &no} {
		s := influxtest.New3()
		cfg := client.Config{URL: s.Start(t).URL, History: history}
		for range 2 {
			if err := client.Setup(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, there := s.Database("ipfsmon/history"); there != (history == nil) {
			t.Errorf("a database of history: %v", there)
		}
		if n := len(s.Tables("ipfsmon/totals")); n != len(schema.Tables(schema.Totals)) {
			t.Errorf("%d tables of totals", n)
		}
		if n := len(s.Tables("ipfsmon/history")); (n > 0) != (history == nil) {
			t.Errorf("%d tables of history", n)
		}
	}
}

// A database or table that somebody else created in the meantime is no error, and any other refusal is one.
func TestInfluxDB3Conflicts(t *testing.T) {
	for status, want := range map[int]bool{http.StatusOK: true, http.StatusConflict: true, http.StatusUnprocessableEntity: false} {
		var log logtest.Buffer
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Influxdb-Version", "3.11.2")
			switch {
			case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/table"):
				w.WriteHeader(status)
			case r.URL.Path == "/query":
				_, _ = w.Write([]byte(`{"results":[{"statement_id":0}]}`))
			case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/database"):
				_, _ = w.Write([]byte(`[{"iox::database":"ipfsmon/history"},{"iox::database":"ipfsmon/totals"}]`))
			}
		}))
		err := client.Setup(t.Context(), client.Config{URL: server.URL, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if got := !strings.Contains(log.String(), "did not create a table"); err != nil || got != want {
			t.Errorf("%d: %v\n%s", status, err, log.String())
		}
		server.Close()
	}
}
