package query

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// tableOf folds series, each a name, tags, columns and rows, and returns lines.
func tableOf(t *testing.T, q Question, series ...any) string {
	t.Helper()
	var b strings.Builder
	out, err := NewOutput("csv", &b)
	if err != nil {
		t.Fatal(err)
	}
	out = q.table(q.InfluxQL, false, out)
	for i := 0; i < len(series); i += 4 {
		if err := out.Series(series[i].(string), series[i+1].([]client.Label), strings.Fields(series[i+2].(string))); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(series[i+3].(string)) {
			var row []any
			for _, w := range strings.Fields(line) {
				switch {
				case w == "-":
					row = append(row, nil)
				case json.Valid([]byte(w)):
					row = append(row, json.Number(w))
				default:
					row = append(row, w)
				}
			}
			if err := out.Row(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func at(second int) string { return fmt.Sprintf("2026-01-01T00:00:%02dZ", second) }

func TestFold(t *testing.T) {
	f := func(fold Fold, want string, series ...any) {
		t.Helper()
		if got := tableOf(t, Question{Then: []Fold{fold}}, series...); got != want {
			t.Errorf("%+v\n got\n%swant\n%s", fold, got, want)
		}
	}
	top := Fold{Of: "wants", By: []string{"cid"}, Make: []Made{{"wants", "count", "cid"}, {"peers", "distinct", "peer"}, {"agent", "last", "agent"}}, Sort: "wants", Limit: 2}
	f(top, "cid,wants,peers,agent\nb,3,2,new\nc,1,1,\n",
		"wants", []client.Label{}, "time cid peer", at(1)+" a p\n"+at(2)+" b p\n"+at(3)+" b q\n"+at(4)+" b p\n"+at(5)+" c p",
		"agents", []client.Label{}, "time cid agent", at(1)+" b old\n"+at(2)+" b new\n"+at(3)+" d none")
	f(top, "")
	now := Fold{Of: "m", Newest: "node", By: []string{"agent"}, Make: []Made{{"peers", "sum", "peers"}}, Sort: "peers"}
	f(now, "agent,peers\nx,5\ny,1\n",
		"m", []client.Label{{Key: "agent", Value: "x"}, {Key: "node", Value: "1"}}, "time peers", at(9)+" 2",
		"m", []client.Label{{Key: "agent", Value: "x"}, {Key: "node", Value: "2"}}, "time peers", at(8)+" 3",
		"m", []client.Label{{Key: "agent", Value: "gone"}, {Key: "node", Value: "1"}}, "time peers", at(7)+" 90",
		"m", []client.Label{{Key: "agent", Value: "y"}, {Key: "node", Value: "2"}}, "time peers", at(8)+" 1")
	f(now, "", // nobody is left of the node: its newest sample has no agents
		"m", []client.Label{{Key: "agent", Value: "x"}, {Key: "node", Value: "1"}}, "time peers", at(1)+" 2",
		"node", []client.Label{{Key: "node", Value: "1"}}, "time last", at(2)+" 0")
	grew := Fold{Of: "m", Starts: "notes", By: []string{"node"}, Make: []Made{{"lost", "increase", "lost"}, {"most", "max", "lost"}}, Sort: "lost"}
	f(grew, "node,lost,most\nstarted,107,100\nrestarted,25,40\nsteady,5,15\nreset,4,10\n",
		"notes", []client.Label{{Key: "node", Value: "started"}}, "time value", at(1)+" 0",
		"notes", []client.Label{{Key: "node", Value: "restarted"}}, "time value", at(3)+" 0",
		"m", []client.Label{{Key: "node", Value: "started"}}, "time lost", at(2)+" 100\n"+at(3)+" 7",
		"m", []client.Label{{Key: "node", Value: "restarted"}}, "time lost", at(1)+" 40\n"+at(2)+" 40\n"+at(4)+" 25",
		"m", []client.Label{{Key: "node", Value: "steady"}}, "time lost", at(1)+" 10\n"+at(2)+" -\n"+at(3)+" 15",
		"m", []client.Label{{Key: "node", Value: "reset"}}, "time lost", at(1)+" 10\n"+at(2)+" 4")
	f(Fold{Of: "m", By: []string{"cid"}, Make: []Made{{"wants", "sum", "wants"}, {"unlisted", "all", "unlisted"}}, Sort: "wants"}, "cid,wants,unlisted\na,3,7\n",
		"m", []client.Label{}, "time cid wants", at(1)+" a 3", "m", []client.Label{}, "time unlisted", at(0)+" 7") // the latter is of no CID
	f(Fold{Sort: "us"}, "time,us\n"+at(2)+",9\n"+at(1)+",4\n", "latency", []client.Label{}, "time us", at(1)+" 4\n"+at(2)+" 9")
}

// An answer without steps of time is one table, and has no times that are none.
func TestShape(t *testing.T) {
	f := func(statement string, single, noTime bool) {
		t.Helper()
		if s, n := shape(statement); s != single || n != noTime {
			t.Errorf("%s: one row each %v, no time %v; want %v, %v", statement, s, n, single, noTime)
		}
	}
	f("SELECT sum(a) FROM m", true, true)
	f("SELECT count(distinct(a)) FROM m GROUP BY x", true, true)
	f("SELECT sum(a) / sum(b), max(a) FROM m GROUP BY x", true, true)
	f("SELECT max(a), min(a) FROM m", true, true)
	f("SELECT max(a) FROM m", true, false)
	f("SELECT last(a), b FROM m GROUP BY x", true, false)
	f("SELECT sum(a) FROM (SELECT max(a) AS a FROM m GROUP BY time(1m))", true, true)
	f("SELECT sum(a) FROM m; SELECT mean(a) FROM m", true, true)
	f("SELECT sum(a) FROM m GROUP BY time(1m)", false, false)
	f("SELECT a FROM m", false, false)
	f("SELECT top(a, 3) FROM m", false, false)
	f("SELECT derivative(a) FROM m", false, false)
	f("SHOW MEASUREMENTS", false, false)
	q := Question{InfluxQL: "SELECT sum(a) FROM m GROUP BY x"}
	if got := tableOf(t, q, "m", []client.Label{{Key: "x", Value: "1"}}, "time sum", "1970 5", "m", []client.Label{{Key: "x", Value: "2"}}, "time sum", "1970 6"); got != "measurement,x,sum\nm,1,5\nm,2,6\n" {
		t.Errorf("got\n%s", got)
	}
	q = Question{InfluxQL: "SELECT last(a), b FROM m GROUP BY x"} // the time is that of the point
	if got := tableOf(t, q, "m", []client.Label{{Key: "x", Value: "1"}}, "time last b", "2026 5 6"); got != "measurement,x,time,last,b\nm,1,2026,5,6\n" {
		t.Errorf("got\n%s", got)
	}
	names := questionNames()
	slices.Sort(names)
	if len(slices.Compact(names)) != len(Questions) {
		t.Errorf("a name twice in %v", names)
	}
}
