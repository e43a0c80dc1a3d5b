//go:build !race

package influx

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// AlertRule is an alert as a test needs it; package influx_test makes them.
type AlertRule struct {
	UID          string
	For          time.Duration
	NoData       string
	Reduce       string
	Condition    string
	Above, Below *float64
	Queries      []AlertQuery
}

// AlertQuery is one of its queries, as it is at a time.
type AlertQuery struct {
	Ref  string
	Fill func(to time.Time) string
}

// minuteOf is what a node measured in one minute.
type minuteOf struct {
	silent     bool
	starts     bool // the monitor did, before it
	conns      int
	wants      uint64
	duplicates uint64
	dropped    uint64
	full       float64 // of the spool
	flood      bool
	over       bool // the flood
	fleet      bool // it is a collector of three monitors
	away       int  // monitors
	clock      time.Duration
}

// alertStretches are the events of nodes for which the alert must fire, and of nodes for which
// it must not, by the minutes before the end; unset values are those of any other node.
var alertStretches = map[string][2][]func(age int, m *minuteOf){
	"ipfsmon-node-down": {
		{func(age int, m *minuteOf) { m.silent = age < 12 }},
		{func(age int, m *minuteOf) { m.silent, m.dropped = age >= 12, 0 }}, // it is new
	},
	"ipfsmon-lost": {
		{
			func(age int, m *minuteOf) {
				if age <= 5 {
					m.dropped++
				}
			},
			func(age int, m *minuteOf) { // it lost something as it started again
				m.starts = age == 8
				if age <= 8 {
					m.dropped = 3
				}
			},
		},
		{func(age int, m *minuteOf) { // what it lost was before its new start
			m.starts = age == 8
			if age <= 8 {
				m.dropped = 0
			}
		}},
	},
	"ipfsmon-disk": {
		{func(age int, m *minuteOf) { m.full = 0.85 }},
		{func(age int, m *minuteOf) { m.full = []float64{0.75, 0.9}[sets.Bit(age > 5)] }}, // it was
	},
	"ipfsmon-storm": {
		{func(age int, m *minuteOf) {
			if age == 3 {
				m.wants = 60 * 120
			}
		}},
		{
			func(age int, m *minuteOf) {
				if age == 3 {
					m.wants = 60 * 80 // eight times the usual, and still few
				}
			},
			func(age int, m *minuteOf) {
				if age == 30 {
					m.wants = 60 * 120 // it is over
				}
			},
		},
	},
	"ipfsmon-flood": {
		{func(age int, m *minuteOf) { m.flood = age <= 1 }, func(age int, m *minuteOf) { m.flood = true }},
		{func(age int, m *minuteOf) { m.flood, m.over = age == 10, age == 5 }, func(age int, m *minuteOf) { m.over = age == 1 }},
	},
	"ipfsmon-fleet-away": {
		{func(age int, m *minuteOf) { m.fleet, m.away = true, sets.Bit(age < 8) }},
		{
			func(age int, m *minuteOf) { m.fleet, m.away = true, sets.Bit(age > 3) }, // it is back
			func(age int, m *minuteOf) { m.fleet = true },
		},
	},
	"ipfsmon-fleet-clock": {
		{func(age int, m *minuteOf) { m.fleet, m.clock = true, 2*time.Second }, func(age int, m *minuteOf) { m.fleet, m.clock = true, -2*time.Second }},
		{func(age int, m *minuteOf) { m.fleet, m.clock = true, 900*time.Millisecond }},
	},
	"ipfsmon-duplicates": {
		{func(age int, m *minuteOf) { m.duplicates = 130 }},
		{func(age int, m *minuteOf) { m.duplicates = 110 }},
	},
	"ipfsmon-peers": {
		{func(age int, m *minuteOf) {
			if age <= 12 {
				m.conns = 25
			}
		}},
		{func(age int, m *minuteOf) {
			if age <= 12 {
				m.conns = 35
			}
		}},
	},
}

// AlertsAreTrue evaluates each rule as Grafana does, over the events of nodes.
func AlertsAreTrue(t *testing.T, rules []AlertRule) {
	t.Helper()
	end := time.Now().UTC().Truncate(time.Hour).Add(-2*time.Hour + 17*time.Minute + 23*time.Second)
	c := filledStore(t, false, func(write writer) {
		for uid, kinds := range alertStretches {
			for kind, stretches := range kinds {
				for i, stretch := range stretches {
					node := fmt.Sprint(uid, []string{" fires ", " does not "}[kind], i)
					for age := 7 * 60; age >= 0; age-- {
						m := minuteOf{conns: 90, wants: 600, dropped: 7}
						stretch(age, &m)
						if m.silent {
							continue
						}
						at := end.Add(-time.Duration(age)*time.Minute - 5*time.Second).UnixNano()
						s := &event.Sample{Interval: time.Minute, Conns: m.conns}
						s.Traffic[event.Received].WantHave = m.wants
						pipe := &pipeline.Pipeline{Influx: &pipeline.Influx{Delivery: pipeline.Delivery{Dropped: m.dropped, SpoolFull: m.full}}}
						write(node, seen{Event: &event.Event{Time: at, Kind: event.KindSample, Sample: s}, node: node, pipe: pipe, starts: m.starts})
						if m.flood || m.over {
							write(node, seen{Event: &event.Event{Time: at + 2, Kind: event.KindFlood, Flood: &event.Flood{State: event.FloodState(1 + sets.Bit(m.over))}}, node: node})
						}
						if m.fleet {
							all := []event.FleetMonitor{{Name: "a", Up: true}, {Name: "b", Up: m.away == 0, ClockKnown: true, Offset: m.clock}, {Name: "c", Up: true}}
							write(node, seen{Event: &event.Event{Time: at + 3, Kind: event.KindFleet, Fleet: &event.Fleet{Interval: time.Minute, Monitors: all}}, node: node})
						}
						write(node, seen{Event: &event.Event{Time: at + 1, Kind: event.KindSummary, Summary: &event.Summary{Interval: time.Minute, Duplicates: [2]uint64{m.duplicates, 0}}}, node: node})
					}
				}
			}
		}
	})
	check := func(a AlertRule, at time.Time, want ...string) {
		t.Helper()
		// It must hold for so long, at each of the evaluations that are made every minute.
		var firing map[string]bool
		for ago := time.Duration(0); ago <= a.For; ago += time.Minute {
			now := a.holds(t, c, at.Add(-ago))
			if three := a.holds(t, asThree(t, c), at.Add(-ago)); !maps.Equal(now, three) {
				t.Errorf("%s at %v: %v, and %v of InfluxDB 3", a.UID, at.Add(-ago), now, three)
			}
			if firing == nil {
				firing = now
			}
			maps.DeleteFunc(firing, func(node string, _ bool) bool { return !now[node] })
		}
		if got := slices.Sorted(maps.Keys(firing)); !slices.Equal(got, want) {
			t.Errorf("%s fires for %q, want %q", a.UID, got, want)
		}
	}
	known := 1
	for _, a := range rules {
		switch {
		case a.UID == "ipfsmon-no-points": // it is about all nodes
			check(a, end)
			check(a, end.Add(4*time.Minute))
			check(a, end.Add(7*time.Minute), "")
		case len(alertStretches[a.UID][0]) == 0 || len(alertStretches[a.UID][1]) == 0:
			t.Errorf("%s: there are no events for which it must fire, or none for which it must not", a.UID)
		default:
			known++
			var want []string
			for i := range alertStretches[a.UID][0] {
				want = append(want, fmt.Sprint(a.UID, " fires ", i))
			}
			check(a, end, want...)
		}
	}
	if len(rules) != known || known != len(alertStretches)+1 {
		t.Errorf("%d rules, %d of them with events, and events for %d", len(rules), known, len(alertStretches)+1)
	}
}

// holds returns the nodes for which the rule's condition holds at a time; "" stands for a
// condition about no single node.
func (a AlertRule) holds(t *testing.T, c *client.Client, at time.Time) map[string]bool {
	t.Helper()
	reduced := map[string]map[string]float64{}
	for _, q := range a.Queries {
		var got answerSeries
		if err := c.Query(t.Context(), q.Fill(at), false, &got); err != nil {
			t.Fatalf("%s: %v", a.UID, err)
		}
		reduced[q.Ref] = map[string]float64{}
		for _, s := range got.all {
			var all []float64
			for _, r := range s.rows {
				if v, ok := figureOf(r[1]); ok && len(r) == 2 {
					all = append(all, v)
				}
			}
			if len(all) == 0 {
				continue
			}
			sum, node := 0.0, ""
			for _, v := range all {
				sum += v
			}
			for _, l := range s.labels {
				node = l.Value
			}
			switch a.Reduce {
			case "last":
				reduced[q.Ref][node] = all[len(all)-1]
			case "sum":
				reduced[q.Ref][node] = sum
			case "mean":
				reduced[q.Ref][node] = sum / float64(len(all))
			default:
				t.Fatalf("%s: a reduction %q", a.UID, a.Reduce)
			}
		}
	}
	figures := reduced["A"]
	if a.Condition != "" {
		m := regexp.MustCompile(`^\$(\w)_reduced / \$(\w)_reduced$`).FindStringSubmatch(a.Condition)
		if m == nil {
			t.Fatalf("%s: a condition %q, which this test does not know", a.UID, a.Condition)
		}
		figures = map[string]float64{}
		for node, v := range reduced[m[1]] {
			if of, ok := reduced[m[2]][node]; ok {
				figures[node] = v / of
			}
		}
	}
	out := map[string]bool{}
	for node, v := range figures {
		if !math.IsNaN(v) && (a.Above != nil && v > *a.Above || a.Below != nil && v < *a.Below) {
			out[node] = true
		}
	}
	if len(figures) == 0 {
		switch a.NoData {
		case "Alerting":
			out[""] = true
		case "OK":
		default:
			t.Fatalf("%s: without data it is %s", a.UID, fmt.Sprint(a.NoData))
		}
	}
	return out
}
