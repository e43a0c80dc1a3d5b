package derive

import (
	"container/heap"

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
	held   byTime
	spare  []*event.Event // copies to be reused, at most maxHeldEvents
}

func (o *order) len() int { return len(o.held) }

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
	heap.Push(&o.held, e)
}

// pop returns the earliest event if it has waited for an earlier one long enough
// or if all is set, else nil. With all set, an empty order forgets the latest
// time: the clock may have been set.
func (o *order) pop(all bool) *event.Event {
	if len(o.held) == 0 {
		if all {
			o.latest = 0
		}
		return nil
	}
	if !all && o.held[0].Time > o.latest-o.hold && len(o.held) <= maxHeldEvents && o.weight <= maxHeldBytes {
		return nil
	}
	e := heap.Pop(&o.held).(*event.Event)
	o.weight -= e.Weight()
	return e
}

// done keeps an event that pop returned for reuse.
func (o *order) done(e *event.Event) {
	if len(o.spare) < maxHeldEvents {
		o.spare = append(o.spare, e)
	}
}

// byTime is a heap, ordered by time and, at the same time, by Seq.
type byTime []*event.Event

func (h byTime) Len() int { return len(h) }
func (h byTime) Less(i, j int) bool {
	if h[i].Time != h[j].Time {
		return h[i].Time < h[j].Time
	}
	return h[i].Seq < h[j].Seq
}
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)   { *h = append(*h, x.(*event.Event)) }
func (h *byTime) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
