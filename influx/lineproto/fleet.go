package lineproto

import (
	"math/bits"
	"slices"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// fleet appends the points of a collector's totals.
func (e *Encoder) fleet(b []byte, ev *event.Event) ([]byte, int) {
	f := ev.Fleet
	points := 0
	up, away := 0, time.Duration(0)
	for i := range f.Monitors {
		up += sets.Bit(f.Monitors[i].Up)
		away = max(away, f.Monitors[i].Offset.Abs())
	}
	t := e.tables[schema.Fleet]
	w := e.begin(t, b, 0)
	for _, v := range []int64{f.Interval.Milliseconds(), int64(len(f.Monitors)), int64(up), whole(f.Entries), whole(f.Requests), whole(f.Closed),
		whole(f.Matched), whole(f.Late), whole(f.Dropped), whole(f.Uncounted), away.Microseconds(), int64(f.Peers)} {
		w.int(v)
	}
	b = w.end(t.stamp(ev.Time))
	points++

	t = e.tables[schema.FleetMonitors]
	at := t.stamp(ev.Time)
	var written []int
	for i := range f.Monitors {
		m := &f.Monitors[i]
		series := t.names.at(m.Name)
		if slices.Contains(written, series) {
			continue // of those beyond the limit, one stands for all
		}
		written = append(written, series)
		w := e.begin(t, b, series)
		w.int(f.Interval.Milliseconds())
		w.bool(m.Up)
		for _, v := range []uint64{m.Events, m.Wants, m.Cancels, m.Gaps, m.Unbounded, m.Missed, m.Untimely, m.Connects} {
			w.uint(v)
		}
		w.int(m.Lag.Milliseconds())
		w.int(int64(m.Peers))
		w.uint(m.Seen)
		w.uint(f.Closed)
		w.int(int64(m.Coverage))
		w.bool(m.ClockKnown)
		w.int(m.Offset.Microseconds())
		w.int(m.OffsetError.Microseconds())
		w.int(m.DriftPPB)
		w.int(m.RoundTrip.Microseconds())
		w.int(m.Apart.Microseconds())
		w.uint(m.MatchedPairs)
		b = w.end(at)
		points++
	}

	t = e.tables[schema.FleetOverlaps]
	at = t.stamp(ev.Time)
	written = written[:0]
	for i := range f.Overlaps {
		o := &f.Overlaps[i]
		series := t.names.at(o.A + " with " + o.B)
		if slices.Contains(written, series) {
			continue
		}
		written = append(written, series)
		w := e.begin(t, b, series)
		w.int(int64(o.Common))
		w.int(int64(o.Only[0]))
		w.int(int64(o.Only[1]))
		w.uint(o.Requests)
		w.estimate(&o.Size)
		b = w.end(at)
		points++
	}

	t = e.tables[schema.FleetSizes]
	at = t.stamp(ev.Time)
	written = written[:0]
	for i := range f.Sizes {
		s := &f.Sizes[i]
		series := t.names.at(s.Of)
		if slices.Contains(written, series) {
			continue
		}
		written = append(written, series)
		w := e.begin(t, b, series)
		w.int(int64(s.Seen))
		w.estimate(&s.Coupon)
		w.estimate(&s.Pair)
		b = w.end(at)
		points++
	}

	t = e.tables[schema.FleetTop]
	at = t.stamp(ev.Time)
	for by, list := range [][]event.FleetCID{f.TopCIDs, f.TopByPeer} {
		for rank := range list[:min(len(list), schema.MaxRank)] {
			c := &list[rank]
			w := e.begin(t, b, by*schema.MaxRank+rank)
			w.cid(c.CID)
			w.uint(c.Requests)
			w.uint(c.Peers)
			monitors := int64(bits.OnesCount64(c.Seen))
			w.int(monitors)
			e.listed(schema.FleetTop, by*schema.MaxRank+rank, at, [2]string{e.listedCID(c.CID)}, whole(c.Requests), whole(c.Peers), monitors)
			b = w.end(at)
			points++
		}
	}
	b, hours := e.appendHours(b)
	return b, points + hours
}

// estimate adds the fields of an estimated number.
func (p *point) estimate(x *event.FleetEstimate) {
	if !x.Known {
		x = &event.FleetEstimate{}
	}
	p.uint(x.N)
	p.uint(x.Low)
	p.uint(x.High)
	p.bool(x.Dependent)
}
