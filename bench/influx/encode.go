package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// What encoding must be, compared with others.
const (
	leastOverClient  = 10.0
	leastOverEncoder = 2.0
)

// encode compares the encoding of one point of each measurement of history.
func encode(g *harness.Gates, p plan) error {
	fmt.Println("encoding one point, the median of", p.pairs, "turns; the others are given CIDs and peers as text")
	fmt.Println("measurement     ours ns  allocs | line-protocol/v2 ns  ratio | influxdb-client-go ns  allocs  ratio | gates")
	single := influxtest.Single()
	for _, m := range schema.All {
		if m.Kind != schema.History {
			continue
		}
		ev := single[m.Name]
		if ev == nil {
			return fmt.Errorf("no event makes one point of %s", m.Name)
		}
		pts, err := pointsOf(ev)
		if err != nil {
			return err
		}
		if len(pts) != 1 || pts[0].measurement != m.Name {
			return fmt.Errorf("the event for %s makes %d points", m.Name, len(pts))
		}
		pt := pts[0]
		var ours, theirs, clients, overTheirs, overClients []float64
		var allocs, clientAllocs int64
		for range p.pairs {
			o := testing.Benchmark(func(b *testing.B) { encodeOurs(b, ev) })
			l := testing.Benchmark(func(b *testing.B) { encodeLines(b, m, &pt) })
			c := testing.Benchmark(func(b *testing.B) { encodeClient(b, &pt) })
			allocs, clientAllocs = max(allocs, o.AllocsPerOp()), c.AllocsPerOp()
			on, ln, cn := perOp(o), perOp(l), perOp(c)
			ours, theirs, clients = append(ours, on), append(theirs, ln), append(clients, cn)
			overTheirs, overClients = append(overTheirs, ln/on), append(overClients, cn/on)
		}
		lp, cl := harness.Median(overTheirs), harness.Median(overClients)
		fmt.Printf("%-13s %9.0f %7d | %19.0f %6.1f | %21.0f %7d %6.1f | %s %s %s\n", m.Name, harness.Median(ours), allocs, harness.Median(theirs), lp,
			harness.Median(clients), clientAllocs, cl,
			g.Check(lp >= leastOverEncoder, "%s >= %.0fx line-protocol (%.1f)", m.Name, leastOverEncoder, lp),
			g.Check(cl >= leastOverClient, "%s >= %.0fx client (%.1f)", m.Name, leastOverClient, cl),
			g.Check(allocs == 0, "%s allocs 0 (%d)", m.Name, allocs))
	}
	return nil
}

func perOp(r testing.BenchmarkResult) float64 { return float64(r.T.Nanoseconds()) / float64(r.N) }

func encodeOurs(b *testing.B, ev *event.Event) {
	enc := newEncoder()
	var bufs [schema.Kinds][]byte
	b.ReportAllocs()
	for b.Loop() {
		bufs[schema.History] = bufs[schema.History][:0]
		bufs, _ = enc.Append(bufs, ev)
	}
}

func encodeLines(b *testing.B, m *schema.Measurement, p *point) {
	var e lineprotocol.Encoder
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.StartLine(p.measurement)
		for _, k := range p.keys {
			e.AddTag(k, p.tags[k])
		}
		for i := range m.Fields {
			if v, ok := p.fields[m.Fields[i].Key]; ok {
				value, _ := lineprotocol.NewValue(v) // of the types that fields have
				e.AddField(m.Fields[i].Key, value)
			}
		}
		e.EndLine(p.at)
	}
	if e.Err() != nil {
		b.Fatal(e.Err())
	}
}

func encodeClient(b *testing.B, p *point) {
	b.ReportAllocs()
	for b.Loop() {
		write.PointToLineProtocol(p.forClient(p.at), time.Nanosecond)
	}
}
