package derive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// origins sums where messages and new connections come from. It is for one
// goroutine.
type origins struct {
	since  time.Time
	missed uint64
	sums   []event.Origin // by event.OriginIndex
}

func newOrigins(now time.Time) origins {
	o := origins{since: now, sums: make([]event.Origin, event.MaxOrigins)}
	for i := range o.sums {
		o.sums[i] = event.OriginAt(i)
	}
	return o
}

// count counts a message, or a connection that was opened. Sides of a proxy are
// counted together.
func (o *origins) count(e *event.Event) {
	switch {
	case e.Kind == event.KindMessage && e.Transport == event.Libp2p:
		cancels, bytes := 0, uint64(0)
		for i := range e.Wants {
			cancels += sets.Bit(e.Wants[i].Cancel)
		}
		for i := range e.Blocks {
			bytes += size(&e.Blocks[i])
		}
		sum := &o.sums[event.OriginIndex(e.Country, e.Dir, e.Gateway)]
		sum.Messages++
		sum.Wants += uint64(len(e.Wants) - cancels)
		sum.Blocks += uint64(len(e.Blocks))
		sum.BlockBytes += bytes
	case e.Kind == event.KindConnection && e.Conn != nil && !e.Conn.Closed:
		dir := event.Sent
		if e.Conn.Inbound {
			dir = event.Received
		}
		o.sums[event.OriginIndex(e.Country, dir, e.Gateway)].Connections++
	}
}

// take returns the sums and begins new ones; nil if there are none.
func (o *origins) take(now time.Time) *event.Origins {
	out := &event.Origins{Interval: now.Sub(o.since), Missed: o.missed}
	for i := range o.sums {
		if s := &o.sums[i]; s.Messages+s.Connections > 0 {
			out.Sums = append(out.Sums, *s)
			*s = event.OriginAt(i)
		}
	}
	o.since, o.missed = now, 0
	if len(out.Sums) == 0 && out.Missed == 0 {
		return nil
	}
	return out
}
