package lineproto

import (
	"testing"
	"time"

	influxwrite "github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// One point of each measurement of history, in the three ways. The others are
// given their values as text, which spares them the encoding of CIDs and peers.
func BenchmarkEncodeHistory(b *testing.B) {
	all := influxtest.Events()
	message := func(f func(e *event.Event)) *event.Event {
		e := &event.Event{Time: influxtest.Time, Kind: event.KindMessage, Peer: influxtest.Peer(1), Country: "DE"}
		f(e)
		return e
	}
	of := map[string]*event.Event{
		"wants":     message(func(e *event.Event) { e.Wants = all[0].Wants[1:2] }),
		"blocks":    message(func(e *event.Event) { e.Blocks = all[0].Blocks[:1] }),
		"presences": message(func(e *event.Event) { e.Presences = all[0].Presences[:1] }),
	}
	for _, e := range all {
		switch e.Kind {
		case event.KindConnection:
			of["connections"] = e
		case event.KindIdentify:
			of["identifies"] = e
		case event.KindLatency:
			of["latency"] = e
		}
	}
	for _, m := range schema.All {
		if m.Kind != schema.History {
			continue
		}
		ev := of[m.Name]
		p := influxtest.Decode(b, influxtest.Encode(NewEncoder("node", true), ev))[0]
		b.Run(m.Name+"/ours", func(b *testing.B) {
			e := NewEncoder("node", true)
			var bufs [schema.Kinds][]byte
			b.ReportAllocs()
			for b.Loop() {
				bufs[schema.History] = bufs[schema.History][:0]
				bufs, _ = e.Append(bufs, ev)
			}
		})
		b.Run(m.Name+"/line-protocol", func(b *testing.B) {
			var e lineprotocol.Encoder
			at := time.Unix(0, p.At)
			b.ReportAllocs()
			for b.Loop() {
				e.Reset()
				e.StartLine(m.Name)
				for i := range m.Tags {
					e.AddTag(m.Tags[i].Key, p.Tags[m.Tags[i].Key])
				}
				for i := range m.Fields {
					v, _ := lineprotocol.NewValue(p.Fields[m.Fields[i].Key])
					e.AddField(m.Fields[i].Key, v)
				}
				e.EndLine(at)
			}
			if e.Err() != nil {
				b.Fatal(e.Err())
			}
		})
		b.Run(m.Name+"/influxdb-client-go", func(b *testing.B) {
			at := time.Unix(0, p.At)
			b.ReportAllocs()
			for b.Loop() {
				influxwrite.PointToLineProtocol(influxwrite.NewPoint(m.Name, p.Tags, p.Fields, at), time.Nanosecond)
			}
		})
	}
}
