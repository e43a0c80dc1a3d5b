package lineproto

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// onSide returns copies of the events of history as a side of a proxy has them.
func onSide(side event.Side, name event.Text) (out []*event.Event) {
	for _, ev := range influxtest.Events() {
		switch ev.Kind {
		case event.KindMessage, event.KindConnection, event.KindIdentify, event.KindLatency:
			c := *ev
			c.Side, c.Downstream = side, name
			out = append(out, &c)
		}
	}
	return out
}

// A proxy's points are those of a node with side and downstream among the tags,
// where they belong by the order of the keys; a node's have neither.
func TestSides(t *testing.T) {
	plain := influxtest.Encode(NewEncoder("front", true), onSide(event.NoSide, "")...)
	if strings.Contains(plain, "side=") || strings.Contains(plain, "downstream=") {
		t.Errorf("a node's points have a side:\n%s", plain)
	}
	e := NewEncoder("front", true)
	for _, side := range []struct {
		side event.Side
		name event.Text
		tags []string
	}{
		{event.Upstream, "", []string{"side=upstream"}},
		{event.Downstream, "10.0.0.1:5001", []string{"downstream=10.0.0.1:5001", "side=downstream"}},
		{event.Downstream, "a, b", []string{`downstream=a\,\ b`, "side=downstream"}},
		{event.Downstream, "", []string{"downstream=unknown", "side=downstream"}},
		{event.Sides, "none", nil},
	} {
		lines := influxtest.Encode(e, onSide(side.side, side.name)...)
		var again strings.Builder
		for _, p := range influxtest.Decode(t, lines) {
			checkSchema(t, p)
			again.WriteString(p.Again)
		}
		if again.String() != lines {
			t.Errorf("ours:\n%s\nreference:\n%s", lines, again.String())
		}
		for line := range strings.Lines(lines) {
			key := string(seriesOf([]byte(line)))
			without := key
			for _, tag := range side.tags {
				without = strings.Replace(without, ","+tag, "", 1)
			}
			if len(key)-len(without) != len(strings.Join(side.tags, ","))+min(1, len(side.tags)) {
				t.Errorf("%v %q: series %s, want %v in it", side.side, side.name, key, side.tags)
			}
			if !strings.Contains(plain, without+" ") {
				t.Errorf("%v %q: series %s is not one of a node's except for %v", side.side, side.name, key, side.tags)
			}
		}
	}
}

// Peers of a proxy make no more series than those of a node, for each side and
// node; names beyond the limit are others.
func TestSidesAreBounded(t *testing.T) {
	one := 0
	for _, m := range schema.All {
		if m.Sided() {
			one += m.Series()
		}
	}
	series := map[string]int{}
	e := NewEncoder("front", true)
	var bufs [schema.Kinds][]byte
	for i := range 20_000 {
		for _, ev := range influxtest.HostileEvents(i, int64(i)) {
			if ev.Kind == event.KindSample || ev.Kind == event.KindSummary {
				continue
			}
			ev.Side, ev.Downstream = event.Upstream, ""
			if i%2 == 1 {
				ev.Side, ev.Downstream = event.Downstream, event.Text(fmt.Sprint("node ", i%7))
			}
			bufs[schema.History] = bufs[schema.History][:0]
			bufs, _ = e.Append(bufs, ev)
			for line := range strings.Lines(string(bufs[schema.History])) {
				series[string(seriesOf([]byte(line)))]++
			}
		}
	}
	if len(series) > (1+7)*one {
		t.Errorf("%d series, want at most %d for the peers and each of 7 nodes", len(series), one)
	}
	for i := range 3 * schema.MaxDownstreams {
		ev := onSide(event.Downstream, event.Text(fmt.Sprint("more ", i)))[0]
		bufs[schema.History] = bufs[schema.History][:0]
		bufs, _ = e.Append(bufs, ev)
	}
	if got := string(bufs[schema.History]); !strings.Contains(got, ",downstream=others,") {
		t.Errorf("a name beyond the limit: %s", got)
	}
	if n := len(e.downstreams.list); n != schema.MaxDownstreams {
		t.Errorf("%d names of nodes, want %d", n, schema.MaxDownstreams)
	}
}

func TestSidesDoNotAllocate(t *testing.T) {
	e := NewEncoder("n", true)
	events := append(onSide(event.Upstream, ""), onSide(event.Downstream, "a, b")...)
	var bufs [schema.Kinds][]byte
	if n := testing.AllocsPerRun(100, func() {
		bufs[schema.History] = bufs[schema.History][:0]
		for _, ev := range events {
			bufs, _ = e.Append(bufs, ev)
		}
	}); n != 0 {
		t.Errorf("encoding a proxy's events allocates %v times", n)
	}
}

// One want of a node, and the same of both sides of a proxy.
func BenchmarkEncodeSides(b *testing.B) {
	want := influxtest.Events()[1]
	for _, side := range []event.Side{event.NoSide, event.Upstream, event.Downstream} {
		b.Run("side="+side.String(), func(b *testing.B) {
			ev := *want
			if ev.Side = side; side == event.Downstream {
				ev.Downstream = "10.0.0.1:5001"
			}
			e := NewEncoder("node", true)
			var bufs [schema.Kinds][]byte
			b.ReportAllocs()
			for b.Loop() {
				bufs[schema.History] = bufs[schema.History][:0]
				bufs, _ = e.Append(bufs, &ev)
			}
		})
	}
}
