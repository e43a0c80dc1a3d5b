package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

var (
	day  = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	next = day.AddDate(0, 0, 1)
)

// TestBetween: each question, and a statement of one's own, can be asked of the time between two times; nothing
// of the placeholder is left, and InfluxQL's own parser finds both ends.
func TestBetween(t *testing.T) {
	for _, q := range Questions {
		all := []Question{q}
		if q.Else != nil {
			all = append(all, *q.Else)
		}
		for _, q := range slices.Clone(all) {
			if long, ok := q.long(); ok {
				long.Flux = q.Flux
				all = append(all, long)
			}
		}
		for _, q := range all {
			for i, text := range []string{q.InfluxQL, q.Flux} {
				got, err := Fill(text, Between(day, next), "b")
				if err != nil || strings.Contains(got, "{") && i == 0 || strings.Contains(got, "{since}") {
					t.Errorf("%s: %v\n%s", q.Name, err, got)
				}
				if i == 1 {
					if strings.Count(got, "range(start: 2026-11-20T00:00:00Z, stop: 2026-11-21T00:00:00Z)") != strings.Count(text, "{since}") {
						t.Errorf("%s: %s", q.Name, got)
					}
					continue
				}
				parsed, err := influxql.ParseQuery(got)
				if err != nil {
					t.Errorf("%s: %v\n%s", q.Name, err, got)
					continue
				}
				for _, s := range parsed.Statements {
					_, within, err := influxql.ConditionExpr(s.(*influxql.SelectStatement).Condition, nil)
					if err != nil || !within.Min.Equal(day) && !strings.Contains(got, "FROM (") || !within.Max.Equal(next.Add(-1)) && !strings.Contains(got, "FROM (") {
						t.Errorf("%s: %v, from %v to %v\n%s", q.Name, err, within.Min, within.Max, s)
					}
				}
			}
		}
	}
	got, err := Since("SELECT a FROM m WHERE x = 1 GROUP BY time(1h)", Between(day, next), "b", false)
	if want := "SELECT a FROM m WHERE time >= '2026-11-20T00:00:00Z' AND time < '2026-11-21T00:00:00Z' AND (x = 1) GROUP BY time(1h)"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, s := range []string{"x/y", "2026-11-20T00:00:00Z/", "2026-11-20T00:00:00Z/2026-11-20T00:00:00Z", Between(next, day), "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z; DROP"} {
		if got, err := Since("SELECT a FROM m", s, "b", false); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: %q, %v", s, got, err)
		}
	}
	if _, err := Since("SELECT a FROM m WHERE time > now() - 2 * {since}", Between(day, next), "b", false); err == nil || !strings.Contains(err.Error(), "two ends") {
		t.Errorf("another use of {since}: %v", err)
	}
}

func TestParseTime(t *testing.T) {
	berlin, err := Zone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2026-11-20": "2026-11-19T23:00:00Z", "2026-07-20": "2026-07-19T22:00:00Z", "2026-11-20 15:04": "2026-11-20T14:04:00Z", "2026-11-20T15:04:05": "2026-11-20T14:04:05Z",
		"2026-11-20T15:04:05Z": "2026-11-20T15:04:05Z", "2026-11-20T15:04:05.5-03:00": "2026-11-20T18:04:05.5Z", "36h": "2026-11-19T12:00:00Z",
	} {
		if got, err := ParseTime(text, next, berlin); err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "2026-13-01", "15:04", "2026-11-20T25:00", "-6h"} {
		if got, err := ParseTime(bad, next, berlin); err == nil || !strings.Contains(err.Error(), "want 2006-01-02") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
	for _, bad := range []string{"", "Europe/Nowhere", "../etc"} {
		if _, err := Zone(bad); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("zone %q: %v", bad, err)
		}
	}
}

func TestWithZone(t *testing.T) {
	berlin, err := Zone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	f := func(statement, want string) {
		t.Helper()
		if got := WithZone(statement, berlin); got != want {
			t.Errorf("%s\n got  %s\n want %s", statement, got, want)
		}
	}
	f("SELECT a FROM m", "SELECT a FROM m")
	f("SELECT a, time FROM m WHERE time > now() - {since}", "SELECT a, time FROM m WHERE time > now() - {since}")
	f("SELECT count(a) FROM m GROUP BY time({every}), b fill(0)", "SELECT count(a) FROM m GROUP BY time({every}), b fill(0) tz('Europe/Berlin')")
	f("SELECT count(a) FROM m GROUP BY time(1d) tz('UTC')", "SELECT count(a) FROM m GROUP BY time(1d) tz('UTC')")
	f("SELECT a FROM m;\nSELECT count(a) FROM m GROUP BY time(1d)", "SELECT a FROM m;\nSELECT count(a) FROM m GROUP BY time(1d) tz('Europe/Berlin')")
	f("SELECT a FROM m;", "SELECT a FROM m;\n")
	f("SELECT count(a) FROM m GROUP BY time(1d); SELECT count(b) FROM m GROUP BY time(1d)",
		"SELECT count(a) FROM m GROUP BY time(1d) tz('Europe/Berlin');\nSELECT count(b) FROM m GROUP BY time(1d) tz('Europe/Berlin')")
	f("SELECT count(a) FROM m GROUP BY time(1d) -- of m", "SELECT count(a) FROM m GROUP BY time(1d) tz('Europe/Berlin')")
	f("SELECT count(a) FROM m WHERE x = 'group by time; y'", "SELECT count(a) FROM m WHERE x = 'group by time; y'")
	for _, q := range Questions {
		got, err := Fill(q.WithZone(berlin).InfluxQL, "6h", "b")
		if err == nil {
			_, err = influxql.ParseQuery(got)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", q.Name, err, got)
		}
	}
}

// TestWithLimit: the lists of questions become as long as wanted, in both languages, and nothing else of them
// changes.
func TestWithLimit(t *testing.T) {
	lists := 0
	for _, q := range Questions {
		l := q.WithLimit(7)
		if strings.Contains(l.Flux, "limit(n: 7)") {
			lists++
			last := len(l.Then) - 1
			if !strings.Contains(l.InfluxQL, " 7") && (last < 0 || l.Then[last].Limit != 7) {
				t.Errorf("%s: %s %+v", q.Name, l.InfluxQL, l.Then)
			}
		}
		for _, s := range []string{l.InfluxQL, l.Flux} {
			if strings.Contains(s, "limit(n: 20)") || strings.Contains(s, "LIMIT 20") {
				t.Errorf("%s: %s", q.Name, s)
			}
		}
		if strings.Contains(q.InfluxQL, "LIMIT 1\n") != strings.Contains(l.InfluxQL, "LIMIT 1\n") {
			t.Errorf("%s: a limit of one has changed: %s", q.Name, l.InfluxQL)
		}
	}
	if one := (Question{Then: []Fold{{Limit: 1}, {Limit: 2}, {}}}).WithLimit(7).Then; one[0].Limit != 1 || one[1].Limit != 7 || one[2].Limit != 0 {
		t.Errorf("limits %+v", one)
	}
	if lists < 10 {
		t.Errorf("%d questions have lists", lists)
	}
}

// rowsOut is an Output that keeps rows.
type rowsOut struct{ rows []string }

func (r *rowsOut) Series(string, []client.Label, []string) error { return nil }
func (r *rowsOut) Row(values []any) error {
	r.rows = append(r.rows, fmt.Sprint(values...))
	return nil
}
func (r *rowsOut) Close() error { return nil }

func TestLimitAndZone(t *testing.T) {
	berlin, err := Zone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var got rowsOut
	out := Limit(InZone(&got, berlin), 2)
	if err := out.Series("m", nil, []string{"time", "text"}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, ErrLimit, ErrLimit} {
		if err := out.Row([]any{"2026-11-20T15:04:05Z", "2026-11-20T15:04:05Z"}); !errors.Is(err, want) {
			t.Errorf("row %d: %v, want %v", i, err, want)
		}
	}
	if want := "2026-11-20T16:04:05+01:00 2026-11-20T15:04:05Z"; len(got.rows) != 2 || strings.Join(strings.Fields(got.rows[0]), " ") != want && got.rows[0] != strings.ReplaceAll(want, " ", "") {
		t.Errorf("%q, want %q twice", got.rows, want)
	}
}
