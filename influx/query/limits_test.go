package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// slowDistance is the edit distance by its definition.
func slowDistance(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	if a[0] == b[0] {
		return slowDistance(a[1:], b[1:])
	}
	return 1 + min(slowDistance(a[1:], b), slowDistance(a, b[1:]), slowDistance(a[1:], b[1:]))
}

// The distance of names is the least number of edits.
func TestDistance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	word := func() string {
		b := make([]byte, r.IntN(6))
		for i := range b {
			b[i] = 'a' + byte(r.IntN(3))
		}
		return string(b)
	}
	for range 2000 {
		if a, b := word(), word(); distance(a, b) != slowDistance(a, b) {
			t.Fatalf("%q and %q: %d, want %d", a, b, distance(a, b), slowDistance(a, b))
		}
	}
	f := func(name, want string, among ...string) {
		t.Helper()
		if got := alike(name, among); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	f("abcdef", "abcdxy", "abcdxy")          // two edits
	f("abcdef", "", "abcxyz")                // three
	f("abcdefghi", "abcdefxyz", "abcdefxyz") // three of nine
	f("abcdefghi", "", "abcdewxyz")          // four
	f("abc", "abcdefghij", "abcdefghij")     // it begins so
	f("abcdefghij", "abc", "abc")
	f("ab", "", "abcdefgh")
	f("abcdef", "abcdex", "abcdxy", "abcdex", "abcdey") // the first of the most similar
	f("ABCDEF", "abcdef", "abcdef")
}

// drawn returns a plot of one column.
func drawn(t *testing.T, width int, columns []string, rows ...[]any) string {
	t.Helper()
	var b strings.Builder
	p := NewPlot(&b, width)
	if err := p.Series("", nil, columns); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := p.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func num(v any) json.Number { return json.Number(fmt.Sprint(v)) }

// What a plot draws, by hand.
func TestPlotsByHand(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	line := func(width int, values ...any) string {
		var rows [][]any
		for i, v := range values {
			if v != nil {
				v = num(v)
			}
			rows = append(rows, []any{time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC).Format(time.RFC3339Nano), v})
		}
		return drawn(t, width, []string{"time", "n"}, rows...)
	}
	f(line(40, 0, 1, 2, 3, 4, 5, 6, 7, 8), "n  from 0 to 8, last 8\n▁▂▃▄▅▆▇██\n01-02 03:00 01-02 03:08\n")
	f(line(40, -8, 0, 8), "n  from -8 to 8, last 8\n▁▅█\n01-02 03:00 01-02 03:02\n")
	f(line(40, 5, 5), "n  from 5 to 5, last 5\n██\n01-02 03:00 01-02 03:01\n")
	f(line(40, 0, 0), "n  from 0 to 0, last 0\n▁▁\n01-02 03:00 01-02 03:01\n")
	f(line(40, 8, nil, 4), "n  from 4 to 8, last 4\n█ ▅\n01-02 03:00 01-02 03:02\n")
	f(line(40, 8, 4, nil), "n  from 4 to 8, last 4\n█▅ \n01-02 03:00 01-02 03:02\n") // the last that there is
	// More values than columns: those of a column are averaged. The least width is 40.
	var many []any
	for i := range 80 {
		many = append(many, 8*(i%2))
	}
	f(line(10, many...), "n  from 0 to 8, last 8\n"+strings.Repeat("▅", 40)+"\n01-02 03:00"+strings.Repeat(" ", 18)+"01-02 04:19\n")

	bars := drawn(t, 40, []string{"name", "n"}, []any{"a", num(10)}, []any{"bbb", num(5)}, []any{"c", num(0)}, []any{"d", num(-3)}, []any{"e", num(0.3)})
	room := 40 - 3 - 10
	f(bars, "a        10 "+strings.Repeat("█", room)+"\nbbb       5 "+strings.Repeat("█", room/2)+"▌\nc         0 \nd        -3 \ne       0.3 ▊\n")
	f(drawn(t, 40, []string{"name", "n"}, []any{"a", num(0)}), "a       0 \n")
	f(drawn(t, 40, []string{"name", "yes"}, []any{"a", true}, []any{"b", false}), "a       1 "+strings.Repeat("█", 29)+"\nb       0 \n")

	// Bars and rows have bounds, and what is left out is counted.
	var rows [][]any
	for i := range plotBars + 3 {
		rows = append(rows, []any{fmt.Sprint("x", i), num(1)})
	}
	if got := drawn(t, 40, []string{"name", "n"}, rows[:plotBars]...); strings.Count(got, "\n") != plotBars || strings.Contains(got, "left out") {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
	if got := drawn(t, 40, []string{"name", "n"}, rows...); strings.Count(got, "\n") != plotBars+1 || !strings.HasSuffix(got, "(3 more left out)\n") {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
	p := &plot{rows: make([][]any, plotRows-1)}
	for range 3 {
		if err := p.Row([]any{num(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.rows) != plotRows || p.left != 2 {
		t.Errorf("%d rows, %d left out", len(p.rows), p.left)
	}
	for width, want := range map[int]int{39: 40, 40: 40, 41: 41, 400: 400, 401: 400} {
		if got := NewPlot(nil, width).(*plot).width; got != want {
			t.Errorf("width %d: %d, want %d", width, got, want)
		}
	}
}

// Values of a table, and times.
func TestCells(t *testing.T) {
	for v, want := range map[any]string{
		nil: "-", "2026-01-02T03:04:05Z": "2026-01-02 03:04:05", "2026-01-02T03:04:05.5Z": "2026-01-02 03:04:05.5", "2026-01-02T03:04:05+02:00": "2026-01-02 03:04:05 +02:00",
		"2026-01-02T03:04:05": "2026-01-02T03:04:05", "2026-13-02T03:04:05Z": "2026-13-02T03:04:05Z", json.Number("7"): "7", true: "true",
	} {
		if got := cell(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// A table's columns have the widths of tableRows rows.
func TestTableParts(t *testing.T) {
	for n, heads := range map[int]int{0: 1, 1: 1, tableRows - 1: 1, tableRows: 1, tableRows + 1: 2, 2*tableRows + 1: 3} {
		var b strings.Builder
		out, err := NewOutput("table", &b)
		if err != nil {
			t.Fatal(err)
		}
		_ = out.Series("", nil, []string{"column"})
		for i := range n {
			_ = out.Row([]any{i})
		}
		if shown := strings.Count(b.String(), "\n"); shown != n/tableRows*(tableRows+2) {
			t.Errorf("%d rows: %d lines are shown at once", n, shown)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "column"); got != heads || strings.Count(b.String(), "\n") != n+2*heads {
			t.Errorf("%d rows: %d heads, want %d", n, got, heads)
		}
	}
}

// Where summer time ends within the queried time by less than the interval, points may be lost.
func TestPutBack(t *testing.T) {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	f := func(statement string, want int) {
		t.Helper()
		if got := LosesPoints(statement, now); len(got) != want {
			t.Errorf("%s: %q, want %d warnings", statement, got, want)
		}
	}
	// In Berlin the clock is put back at 2026-10-25T01:00Z by an hour.
	query := func(from, to, group string) string {
		return "SELECT count(a) FROM m WHERE time >= '" + from + "' AND time < '" + to + "' GROUP BY time(" + group + ") tz('Europe/Berlin')"
	}
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "1d, 12h"), 1)
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "1d"), 0)
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "1d, 1d"), 0)
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "1d, 0s"), 0)
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "1h, 30m"), 0)
	f(query("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z", "61m, 30m"), 1)
	f(query("2026-10-26T00:59:00Z", "2026-10-27T00:00:00Z", "1d, 12h"), 1) // a day before counts
	f(query("2026-10-26T01:01:00Z", "2026-10-27T00:00:00Z", "1d, 12h"), 0)
	f(query("2026-10-23T00:00:00Z", "2026-10-24T01:01:00Z", "1d, 12h"), 1) // and a day after
	f(query("2026-10-23T00:00:00Z", "2026-10-24T00:59:00Z", "1d, 12h"), 0)
	f(query("2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z", "1d, 12h"), 0) // put forward
	f("SELECT count(a) FROM m WHERE time > now() - 30d GROUP BY time(1d, 12h) tz('Europe/Berlin'); SELECT b FROM m", 1)
	f("SELECT count(a) FROM m WHERE time > now() - 20d GROUP BY time(1d, 12h) tz('Europe/Berlin')", 0)
	f("SELECT count(a) FROM m GROUP BY time(1d, 12h)", 0)
	f("SELECT sum(n) FROM (SELECT count(a) AS n FROM m GROUP BY time(1d, 12h)) WHERE time > now() - 30d tz('Europe/Berlin')", 1)
	f("SELEKT", 0)
	f("SELECT count(a) FROM m WHERE time > now() - 30d GROUP BY time(0s, 1h) tz('Europe/Berlin')", 0)
	london, err := time.LoadLocation("Europe/London") // whose summer time became its time in 1968
	if err != nil {
		t.Fatal(err)
	}
	if got := putBack(london, time.Date(1968, 10, 1, 0, 0, 0, 0, time.UTC), time.Date(1968, 12, 1, 0, 0, 0, 0, time.UTC), 24*time.Hour); !got.IsZero() {
		t.Errorf("the clock was put back at %v", got)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)
	for to, want := range map[time.Time]bool{at: true, at.Add(-1): false} {
		if got := putBack(zone, at.Add(-time.Hour), to, 2*time.Hour); got.Equal(at) != want || got.IsZero() == want {
			t.Errorf("until %v: %v", to, got)
		}
	}
}

// The two ends of a time.
func TestDuringLimits(t *testing.T) {
	for s, ok := range map[string]bool{
		"2026-01-01T00:00:00Z/2026-01-01T00:00:00.000000001Z": true, "2026-01-01T00:00:00Z/2026-01-01T00:00:00Z": false,
		"1970-01-01T00:00:00Z/1970-01-02T00:00:00Z": true, "1969-12-31T00:00:00Z/1970-01-02T00:00:00Z": false,
		"2199-01-01T00:00:00Z/2200-12-31T00:00:00Z": true, "2200-01-01T00:00:00Z/2201-01-01T00:00:00Z": false,
		"x/2026-01-01T00:00:00Z": false, "2026-01-01T00:00:00Z/x": false,
	} {
		d, err := parseDuring(s)
		if (err == nil) != ok || ok && d.length <= 0 {
			t.Errorf("%s: %v, %v", s, d.length, err)
		}
	}
	d, err := parseDuring("2h")
	if err != nil || d.ago() != 2*time.Hour || d.condition() != "time > now() - 2h" {
		t.Errorf("%+v, %v", d, err)
	}
}

// Output takes as many rows as it may.
func TestLimitIsExact(t *testing.T) {
	var b strings.Builder
	out, err := NewOutput("csv", &b)
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(out, 2)
	_ = l.Series("", nil, []string{"a"})
	for i, want := range []error{nil, nil, ErrLimit, ErrLimit} {
		if err := l.Row([]any{i}); !errors.Is(err, want) {
			t.Errorf("row %d: %v", i, err)
		}
	}
	if err := l.Close(); err != nil || b.String() != "a\n0\n1\n" {
		t.Errorf("%v, %q", err, b.String())
	}
}

// The parts of a condition that sums know.
func TestKept(t *testing.T) {
	f := func(condition, want string) {
		t.Helper()
		e, err := influxql.ParseExpr(condition)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if k := keep(e, []string{"a", "time"}); k != nil {
			got = k.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", condition, got, want)
		}
	}
	f("a = 1", "a = 1")
	f("b = 1", "")
	f("a = 1 AND b = 2", "a = 1")
	f("b = 1 AND a = 2", "a = 2")
	f("b = 1 AND c = 2", "")
	f("a = 1 AND time > 5", "a = 1 AND time > 5")
	f("a = 1 OR b = 2", "")
	f("(a = 1 OR a = 2) AND b = 3", "(a = 1 OR a = 2)")
	f("(b = 1)", "")
	if keep(nil, nil) != nil {
		t.Error("something of nothing")
	}
	if (reading{cost: 7, most: 7}).tooMuch() || !(reading{cost: 7.1, most: 7}).tooMuch() {
		t.Error("the bound of a reading is not its own")
	}
}

// What a Fold computes of a few rows.
func TestFoldByHand(t *testing.T) {
	f := func(fold Fold, want string, rows string) {
		t.Helper()
		if got := tableOf(t, Question{Then: []Fold{fold}}, "m", []client.Label{}, "time k v", rows); got != want {
			t.Errorf("%+v\n got\n%swant\n%s", fold, got, want)
		}
	}
	rows := at(1) + " a 5\n" + at(2) + " a 2\n" + at(3) + " a 9\n" + at(4) + " b -4\n" + at(5) + " b -4\n" + at(6) + " c -"
	made := []Made{{"n", "count", "v"}, {"sum", "sum", "v"}, {"max", "max", "v"}, {"min", "min", "v"}, {"last", "last", "v"}, {"kinds", "distinct", "v"}, {"all", "all", "v"}}
	f(Fold{By: []string{"k"}, Make: made, Sort: "sum"}, "k,n,sum,max,min,last,kinds,all\na,3,16,9,2,9,3,8\nc,,,,,,,8\nb,2,-8,-4,-4,-4,1,8\n", rows)
	f(Fold{By: []string{"k"}, Make: made[1:2], Sort: "sum", Limit: 1}, "k,sum\na,16\n", rows)
	f(Fold{By: []string{"k"}, Make: made[1:2], Sort: "sum", Limit: 3}, "k,sum\na,16\nc,\nb,-8\n", rows)
	f(Fold{By: []string{"k"}, Make: []Made{{"n", "count", "k"}}, Sort: "n"}, "k,n\nz,2\ny,2\nx,1\n", at(1)+" y 1\n"+at(2)+" z 1\n"+at(3)+" x 1\n"+at(4)+" y 1\n"+at(5)+" z 1")
	for v, want := range map[float64]string{3: "3", 3.5: "3.5", -2: "-2", 1e15: "1000000000000000"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %s", v, got)
		}
	}
	// A time that is the start's counts, and the newer start.
	grew := Fold{Of: "m", Starts: "s", By: []string{"node"}, Make: []Made{{"n", "increase", "v"}}}
	for start, want := range map[int]string{1: "10", 2: "10", 3: "10", 4: "3"} {
		got := tableOf(t, Question{Then: []Fold{grew}}, "s", []client.Label{{Key: "node", Value: "x"}}, "time value", at(start)+" 0",
			"m", []client.Label{{Key: "node", Value: "x"}}, "time v", at(1)+" 7\n"+at(3)+" 10")
		if want = "node,n\nx," + want + "\n"; got != want {
			t.Errorf("a start at %d: %q, want %q", start, got, want)
		}
	}
	for _, fold := range []Fold{{Sort: "v"}, {By: []string{"v"}}} { // rows that are kept, and groups
		full := newFolding(fold, nil)
		if full.most != 2_000_000 {
			t.Errorf("at most %d rows", full.most)
		}
		full.most = 2
		_ = full.Series("m", nil, []string{"v"})
		for i := range 3 {
			if err := full.Row([]any{num(i)}); errors.Is(err, errTooMany) != (i == 2) {
				t.Errorf("row %d of %+v: %v", i, fold, err)
			}
		}
	}
	full := newFolding(Fold{By: []string{"k"}, Make: []Made{{"n", "distinct", "v"}}}, nil)
	full.most = 2
	_ = full.Series("m", nil, []string{"k", "v"})
	for i := range 5 {
		if err := full.Row([]any{"a", num(i)}); errors.Is(err, errTooMany) != (i == 4) {
			t.Errorf("pair %d: %v", i, err)
		}
	}
	if err := full.Row([]any{"a", num(0)}); err != nil {
		t.Errorf("a pair that is there: %v", err)
	}
}
