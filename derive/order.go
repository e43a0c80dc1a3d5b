package derive

import (
	"cmp"
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
)

// Bounds on what order holds: above them it returns the earliest event at once.
const (
	maxHeldEvents = 4096
	maxHeldBytes  = 16 << 20 // by Event.Weight
)

// order returns events in the order of their times. It is needed because a want
// that we sent is published after its write returned, and its answer may come
// earlier.
type order struct {
	hold   int64 // ns an event waits for earlier ones, by event times
	latest int64 // event time
	weight int
	held   []*event.Event // by time and, at the same time, by Seq; events come nearly in order
	begin  int            // of held: before it is free
	spare  []*event.Event // copies to be reused, at most maxHeldEvents
}

func (o *order) len() int { return len(o.held) - o.begin }

// push adds a copy of the event: the bus will reuse the event.
func (o *order) push(shared *event.Event) {
	var e *event.Event
	if n := len(o.spare); n > 0 {
		e = o.spare[n-1]
		o.spare = o.spare[:n-1]
	} else {
		e = new(event.Event)
	}
	shared.CloneInto(e)
	o.latest = max(o.latest, e.Time)
	o.weight += e.Weight()
	if o.begin > 0 && len(o.held) == cap(o.held) {
		n := copy(o.held, o.held[o.begin:])
		clear(o.held[n:])
		o.held, o.begin = o.held[:n], 0
	}
	at := len(o.held)
	for at > o.begin && byTime(e, o.held[at-1]) < 0 {
		at--
	}
	o.held = slices.Insert(o.held, at, e)
}

// pop returns the earliest event if it has waited for an earlier one long enough
// or if all is set, else nil. With all set, an empty order forgets the latest
// time: the clock may have been set.
func (o *order) pop(all bool) *event.Event {
	if o.len() == 0 {
		if all {
			o.latest = 0
		}
		return nil
	}
	e := o.held[o.begin]
	if !all && e.Time > o.latest-o.hold && o.len() <= maxHeldEvents && o.weight <= maxHeldBytes {
		return nil
	}
	o.held[o.begin] = nil
	o.begin++
	o.weight -= e.Weight()
	return e
}

// done keeps an event that pop returned for reuse.
func (o *order) done(e *event.Event) {
	if len(o.spare) < maxHeldEvents {
		o.spare = append(o.spare, e)
	}
}

// byTime compares two events by time and, at the same time, by Seq.
func byTime(a, b *event.Event) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Seq, b.Seq))
}
