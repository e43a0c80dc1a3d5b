package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// store is a stand-in for InfluxDB 1.8, which answers what a test wants of a statement; what real ones answer to
// the questions is tested in influx and test.
type store struct {
	*client.Client
	mu     sync.Mutex
	asked  []string
	answer func(statement string) []series // nil: nothing
}

type series struct {
	Name    string            `json:"name"`
	Tags    map[string]string `json:"tags,omitempty"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
}

// row is an answer of one row.
func row(name, columns string, values ...any) []series {
	return []series{{Name: name, Columns: strings.Fields(columns), Values: [][]any{values}}}
}

func newStore(t *testing.T, answer func(statement string) []series) *store {
	t.Helper()
	s := &store{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/query" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		text := r.FormValue("q")
		q, err := influxql.ParseQuery(text)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": err.Error()})
			return
		}
		s.asked = append(s.asked, text)
		for i, one := range q.Statements {
			_ = json.NewEncoder(w).Encode(map[string]any{"results": []any{map[string]any{"statement_id": i, "series": s.answer(one.String())}}})
		}
	}))
	t.Cleanup(server.Close)
	var err error
	if s.Client, err = client.New(client.Config{URL: server.URL}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Client.Close)
	return s
}

// has reports whether a statement with that in it was asked, and forgets nothing.
func (s *store) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.asked, "\n"), text)
}

var between = regexp.MustCompile(`time >= '([^']*)' AND time < '([^']*)'`)

// minutes is how many minutes a statement is about.
func minutes(t *testing.T, statement string) int {
	t.Helper()
	length, ok := time.Hour, false
	if m := between.FindStringSubmatch(statement); m != nil {
		length, ok = timeOf(m[2]).Sub(timeOf(m[1])), true
	} else if _, after, found := strings.Cut(statement, "now() - "); found {
		text, _, _ := strings.Cut(after, " ")
		d, err := parseSpan(text)
		length, ok = d, err == nil
	}
	if !ok {
		t.Errorf("no time in %s", statement)
	}
	return int(length / time.Minute)
}

// What answers a question: history, sums where it has nothing, does not reach back so far or has too many points, and
// the end of the time where these are not there either.
func TestWhatAnswers(t *testing.T) {
	q := Question{Name: "x", Since: "1h", InfluxQL: "SELECT cid FROM wants WHERE time > now() - {since}",
		Else: &Question{InfluxQL: "SELECT sum(wants) AS wants FROM totals.wants_1m WHERE time > now() - {since}", Note: "history has nothing in that time, so these are sums"}}
	const most = readAtMost / 60
	keep := "168h0m0s"
	f := func(q Question, since string, perMinute, cids, sums int, wantRows int, wantSaid string) {
		t.Helper()
		s := newStore(t, func(statement string) []series {
			switch {
			case strings.HasPrefix(statement, "SHOW RETENTION POLICIES"):
				return row("", "name duration default", "history", keep, true)
			case strings.HasPrefix(statement, "SELECT sum(wants) AS n "):
				return row("wants_1m", "time n", "1970-01-01T00:00:00Z", perMinute*minutes(t, statement))
			case strings.HasPrefix(statement, "SELECT cid") && cids > 0:
				return []series{{Name: "wants", Columns: []string{"time", "cid"}, Values: make2(cids)}}
			case strings.HasPrefix(statement, "SELECT sum(wants)") && sums > 0:
				return row("wants_1m", "time wants", "1970-01-01T00:00:00Z", sums)
			}
			return nil
		})
		var out rowsOut
		var said []string
		rows, err := q.Ask(t.Context(), s.Client, since, false, &out, func(text string) { said = append(said, text) })
		if err != nil || rows != wantRows || len(out.rows) != wantRows || strings.Join(said, "|") != wantSaid {
			t.Errorf("%d in a minute: %d rows, %v, said %q, want %d, %q", perMinute, rows, err, said, wantRows, wantSaid)
		}
	}
	f(q, "", most, 2, 7, 2, "")
	f(q, "", 0, 2, 7, 2, "")
	f(q, "", most, 0, 7, 1, "history has nothing in that time, so these are sums")
	f(q, "", most, 0, 0, 0, "")
	f(q, "", most+1, 2, 7, 1, "history has about 250020 points of that time, which --exact reads, so these are sums")
	f(q.Exact(), "", most+1, 2, 7, 2, "")
	f(q, "", 10_000, 2, 0, 2, "history has about 600000 points of that time: this is of its last 22m0s, about 220000 points; --exact reads all, which takes long")
	f(q.ReadsAtMost(600_000), "", 10_000, 2, 7, 2, "")
	f(q.ReadsAtMost(599_999), "", 10_000, 2, 7, 1, "history has about 600000 points of that time, which --exact reads, so these are sums")
	f(q, "1m", 1_000_000, 2, 0, 2, "history has about 1000000 points of that time: this is of its last 1m0s, about 1000000 points; --exact reads all, which takes long")
	f(q, "168h", 1, 2, 7, 2, "")
	f(q, "10081m", 1, 2, 7, 1, "history has nothing in that time, so these are sums") // a minute too long
	f(q, Between(time.Now().Add(-170*time.Hour), time.Now().Add(-169*time.Hour)), 1, 2, 7, 1, "history has nothing in that time, so these are sums")
	keep = "0s" // for ever
	f(q, "10081m", 1, 2, 7, 2, "")
	q.Else = nil
	f(q, "", most, 2, 7, 2, "")
	f(q, "", 10_000, 2, 7, 2, "history has about 600000 points of that time: this is of its last 22m0s, about 220000 points; --exact reads all, which takes long")
	f(q, "", 10_000, 0, 7, 0, "history has about 600000 points of that time: this is of its last 22m0s, about 220000 points; --exact reads all, which takes long")
	q.Name = "" // of one's own
	f(q, "", 10_000, 2, 7, 2, "")
}

// make2 makes rows of a time and a CID.
func make2(n int) (rows [][]any) {
	for i := range n {
		rows = append(rows, []any{at(i), fmt.Sprint("c", i)})
	}
	return rows
}

// Long times are asked of lists of hours, and those of intervals answer where there are none.
func TestLongTimes(t *testing.T) {
	q := Question{Name: "x", Since: "1h", InfluxQL: "SELECT cid, wants FROM totals.top_cids WHERE time > now() - {since} AND list = 'wants';\nSELECT sum(wants) AS unlisted FROM totals.top_cids WHERE time > now() - {since} AND rank = '10'",
		Then: []Fold{{Of: "top_cids", By: []string{"cid"}, Make: []Made{{"wants", "sum", "wants"}}}}}
	hours := true
	s := newStore(t, func(statement string) []series {
		if strings.Contains(statement, "_1h") != hours || strings.Contains(statement, "count(") || !strings.Contains(statement, "SELECT cid") {
			return nil
		}
		name := "top_cids"
		if hours {
			name += "_1h"
		}
		return row(name, "time cid wants", at(1), "a", 5)
	})
	f := func(since, said string) {
		t.Helper()
		var out rowsOut
		got := ""
		rows, err := q.Ask(t.Context(), s.Client, since, false, &out, func(text string) { got += text })
		if err != nil || rows != 1 || out.rows[0] != "a5" || got != said {
			t.Errorf("%s: %d, %v, %q, %q, want %q", since, rows, err, out.rows, got, said)
		}
	}
	f("12h", "from lists of whole hours, those that begin in that time; --exact reads all, which takes long")
	if !s.has("rank = '50';\nSELECT sum(wants) AS unlisted FROM totals.top_cids WHERE time > now() - 12h AND rank = '10'") {
		t.Errorf("what a list of hours lacks is not added to what those of its intervals lack: %q", s.asked)
	}
	hours = false
	f("12h", "")
	s.asked = nil
	f("719m", "")
	if s.has("_1h") {
		t.Errorf("less than half a day is asked of hours: %q", s.asked)
	}
	if _, ok := (Question{InfluxQL: "SELECT cid FROM wants WHERE time > now() - {since}"}).long(); ok {
		t.Error("history has lists of hours")
	}
}

// What a statement reads, and what that costs.
func TestReads(t *testing.T) {
	s := newStore(t, func(statement string) []series {
		switch {
		case strings.Contains(statement, "wants_1m"):
			return row("wants_1m", "time n", at(0), 1000)
		case strings.Contains(statement, "wants_1h"):
			return row("wants_1h", "time n", at(0), 2000)
		case strings.Contains(statement, `totals."top_peers"`), strings.Contains(statement, "totals.top_peers"):
			return row("top_peers", "time n", at(0), 3000)
		}
		return nil
	})
	f := func(statement string, length time.Duration, points uint64, cost float64, of string) {
		t.Helper()
		r := reads(t.Context(), s.Client, statement, length)
		if r.points != points || r.cost < cost-1e-9 || r.cost > cost+1e-9 || r.of != of {
			t.Errorf("%s of %v: %+v, want %d, %v, %s", statement, length, r, points, cost, of)
		}
	}
	const wants, peers = "SELECT cid FROM wants WHERE time > 0 AND type = 'x'", "SELECT peer FROM totals.top_peers WHERE time > 0"
	f(wants, 3*time.Hour-1, 1000, 1000, "history")
	f(wants, 3*time.Hour, 2000, 2000, "history")
	f(peers, countFrom-1, 0, 0, "")
	f(peers, countFrom, 3000, 3000, "totals")
	f("SELECT sum(wants) FROM totals.top_peers WHERE time > 0", countFrom, 0, 0, "")
	f(wants+"; "+peers, countFrom, 5000, 5000, "totals")
	f(wants+"; "+wants+"; "+peers, countFrom, 7000, 7000, "history")
	f("SELECT count(cid) FROM wants", time.Hour, 1000, 30, "history")
	f("SELECT percentile(priority, 5) FROM wants", time.Hour, 1000, 300, "history")
	f("SELECT count(distinct(cid)), sum(priority) FROM wants", time.Hour, 1000, 300, "history")
	f("SELECT cid, count(peer) FROM wants", time.Hour, 1000, 30, "history")
	f("SELECT sum(priority) / median(priority) FROM wants", time.Hour, 1000, 300, "history")
	f(wants+" LIMIT 1", time.Hour, 0, 0, "")
	f("SELECT x FROM other; SELECT a FROM (SELECT cid AS a FROM wants); SHOW MEASUREMENTS; SELECT cid FROM wants, blocks", time.Hour, 0, 0, "")
	f("SELEKT", time.Hour, 0, 0, "")
	s.asked = nil
	_ = reads(t.Context(), s.Client, "SELECT cid FROM wants WHERE type = 'x' AND cid = 'y'", time.Hour)
	if !s.has(`SELECT sum("wants") AS n FROM totals."wants_1m" WHERE type = 'x'`) || s.has("cid = 'y'") {
		t.Errorf("%q", s.asked)
	}
	if r := reads(t.Context(), s.Client, peers+"; "+wants+"; SELECT cid FROM blocks", time.Hour); r.sums != "wants_1m" || r.field != "wants" {
		t.Errorf("the sums that say so are %s of %s", r.field, r.sums)
	}
	for statement, want := range map[string]string{peers: `FROM totals."top_peers" WHERE time > 0`, "SELECT peer FROM totals.top_peers": `FROM totals."top_peers"`} {
		s.asked = nil
		_ = reads(t.Context(), s.Client, statement, countFrom)
		if want = `SELECT count("wants") AS n ` + want; len(s.asked) != 1 || s.asked[0] != want {
			t.Errorf("%q, want %q", s.asked, want)
		}
	}
	if q := (Question{Else: &Question{}}).ReadsAtMost(7); q.most != 7 || q.Else.most != 7 {
		t.Errorf("%d and %d at most", q.most, q.Else.most)
	}
	if q := (Question{}).ReadsAtMost(7); q.most != 7 {
		t.Errorf("%d at most", q.most)
	}
	for of, want := range map[string]string{"history": "history has about 5 points of that time", "totals": "totals have about 5 points of that time"} {
		if got := (reading{points: 5, of: of}).has(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Sums that begin more than an hour after others say so.
func TestSumsBegin(t *testing.T) {
	var mine, all time.Time
	s := newStore(t, func(statement string) []series {
		first := mine
		if strings.Contains(statement, "wants_1h") {
			first = all
		}
		if first.IsZero() {
			return nil
		}
		return []series{{Name: "x", Columns: []string{"time", "n"}, Values: [][]any{{first.Format(time.RFC3339Nano), 1}, {day.Format(time.RFC3339Nano), 1}}}}
	})
	q := Question{InfluxQL: "SELECT wants FROM totals.top_cids WHERE time > now() - {since}"}
	f := func(own, other time.Time, want string) {
		t.Helper()
		mine, all = own, other
		if got := q.begins(t.Context(), s.Client, "7d", "wants_1h", "wants"); got != want {
			t.Errorf("%v and %v: %q, want %q", own, other, got, want)
		}
	}
	f(next, next.Add(-time.Hour), "")
	f(next, next.Add(-time.Hour-1), "; they begin at 2026-11-21T00:00:00Z")
	f(next, next.Add(time.Hour), "")
	f(time.Time{}, next, "")
	f(next, time.Time{}, "")
	if got := q.begins(t.Context(), s.Client, "7d", "", ""); got != "" {
		t.Errorf("%q beside nothing", got)
	}
	var none firstTime
	if err := none.Row(nil); err != nil || !none.at.IsZero() {
		t.Errorf("%v, %v of a row of nothing", none.at, err)
	}
	name, field := q.reading()
	if name != "top_cids" || field != "wants" {
		t.Errorf("reads %s of %s", field, name)
	}
	for _, text := range []string{"SELECT a FROM (SELECT b AS a FROM c)", "SELEKT", "SHOW DATABASES", "SELECT {sinc}"} {
		if name, field := (Question{InfluxQL: text}).reading(); name != "" || field != "" {
			t.Errorf("%s reads %s of %s", text, field, name)
		}
	}
}

// The coverage beside an answer sums families and nodes, and is left out where it would say nothing.
func TestCoverageSentence(t *testing.T) {
	connected := 7
	s := newStore(t, func(statement string) []series {
		one := func(family string, connected, asked, broadcast any) series {
			return series{Name: "coverage", Tags: map[string]string{"family": family, "node": "n"}, Columns: []string{"time", "connected", "asked", "broadcast"}, Values: [][]any{{at(1), connected, asked, broadcast}}}
		}
		return []series{one("kubo", connected, 3, 2), one("other", 0, 1, nil)}
	})
	q, err := Named("wants")
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Coverage(t.Context(), s.Client, ""); got != "of this node, not of the network: of 7 connected peers 4 asked it since they connected, 2 as peers ask all their peers (ipfsmon query coverage)" {
		t.Error(got)
	}
	if !s.has("now() - "+q.Since) || s.has("now() - 9m") {
		t.Errorf("%q", s.asked)
	}
	if q.Coverage(t.Context(), s.Client, "9m"); !s.has("now() - 9m") {
		t.Errorf("%q", s.asked)
	}
	connected = 0
	if got := q.Coverage(t.Context(), s.Client, ""); got != "" {
		t.Error(got)
	}
	if q.Name = "blocks"; q.Coverage(t.Context(), s.Client, "") != "" || q.OfNetwork() {
		t.Error("traffic has coverage")
	}
}

// An export is line protocol of all points of the time, with the types of the fields.
func TestExportedLines(t *testing.T) {
	s := newStore(t, func(statement string) []series {
		switch {
		case strings.HasPrefix(statement, "SHOW FIELD KEYS"):
			return []series{{Name: "n m", Columns: []string{"fieldKey", "fieldType"}, Values: [][]any{{"i", "integer"}, {"f", "float"}, {"b", "boolean"}, {"s", "string"}}},
				{Name: "a", Columns: []string{"fieldKey", "fieldType"}, Values: [][]any{{"i", "float"}}}}
		case strings.Contains(statement, `"n m"`):
			return []series{{Name: "n m", Tags: map[string]string{"k": "v w", "none": ""}, Columns: []string{"time", "b", "f", "i", "s"},
				Values: [][]any{{"2026-01-01T00:00:00.000000005Z", true, 2, 7, `a"b`}, {"2026-01-01T00:00:01Z", nil, nil, -1, nil}, {"2026-01-01T00:00:02Z", nil, nil, nil, nil}}}}
		}
		return row("a", "time i", "2026-01-01T00:00:00Z", 3)
	})
	var b strings.Builder
	n, err := Export(t.Context(), s.Client, schema.Totals, day, next, &b)
	const want = `a i=3 1767225600000000000
n\ m,k=v\ w b=true,f=2,i=7i,s="a\"b" 1767225600000000005
n\ m,k=v\ w i=-1i 1767225601000000000
`
	if err != nil || n != 3 || b.String() != want {
		t.Errorf("%d, %v\n%s\nwant\n%s", n, err, b.String(), want)
	}
	if text := fmt.Sprintf(`SELECT * FROM "ipfsmon"."totals"."a" WHERE time >= %d AND time < %d GROUP BY *`, day.UnixNano(), next.UnixNano()); !s.has(text) {
		t.Errorf("%q, want %q", s.asked, text)
	}
	s.asked = nil
	_, err = Export(t.Context(), s.Client, schema.History, day, time.Time{}, &b)
	if text := fmt.Sprintf(`"history"."a" WHERE time >= %d GROUP BY *`, day.UnixNano()); err != nil || !s.has(text) {
		t.Errorf("%v, %q, want %q", err, s.asked, text)
	}
	if _, err = Export(t.Context(), s.Client, schema.History, time.Time{}, time.Time{}, &b); err != nil || !s.has(`"history"."a" GROUP BY *`) {
		t.Errorf("%v, %q", err, s.asked)
	}
	failed := errors.New("the disk is full")
	if n, err := Export(t.Context(), s.Client, schema.Totals, day, next, failing{failed}); !errors.Is(err, failed) || n != 3 {
		t.Errorf("%d, %v, want %v", n, err, failed)
	}

	var got []string
	err = ExportTables(t.Context(), s.Client, schema.Totals, day, next, func(name string, types map[string]string) (client.Output, error) {
		got = append(got, fmt.Sprint(name, " ", types))
		return NewOutput("csv", &b)
	})
	if err != nil || strings.Join(got, "|") != "a map[i:float]|n m map[b:boolean f:float i:integer s:string]" || s.has("WHERE x GROUP") || !s.has(fmt.Sprintf("time < %d\n", next.UnixNano())) && !strings.HasSuffix(s.asked[len(s.asked)-1], fmt.Sprint(next.UnixNano())) {
		t.Errorf("%v, %q, %q", err, got, s.asked[len(s.asked)-1])
	}
	if !strings.Contains(b.String(), "\ntime,i\n") && !strings.HasSuffix(b.String(), "time,i\n2026-01-01T00:00:00Z,3\n") && !strings.Contains(b.String(), "time,i\n2026-01-01T00:00:00Z,3\n") {
		t.Errorf("a table has the name of its measurement:\n%s", b.String())
	}
	err = ExportTables(t.Context(), s.Client, schema.Totals, day, next, func(string, map[string]string) (client.Output, error) { return nil, failed })
	if !errors.Is(err, failed) || !strings.Contains(err.Error(), "influx: export a: ") {
		t.Error(err)
	}
}

// failing is a writer that always fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Values of unknown kinds and times that are none are errors.
func TestLinesOfOddRows(t *testing.T) {
	for want, row := range map[string][]any{"unknown kind, []int": {at(1), []int{1}}, "a point's time": {"x", num(1)}} {
		l := &lineOutput{}
		_ = l.Series("m", nil, []string{"time", "v"})
		if err := l.Row(row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", row, err, want)
		}
	}
}
