package derive

import (
	"container/heap"

	"github.com/ipfsmon/ipfsmon/event"
)

// Bounds of what order holds: above them the earliest event is passed on at once.
const (
	maxHeldEvents = 4096
	maxHeldBytes  = 16 << 20 // by Event.Weight
)

// order returns events in order of their time. A want that we sent is
// published when its write has returned, and its answer may be there before.
type order struct {
	hold   int64 // ns an event waits for earlier ones, by event times
	latest int64 // event time
	weight int
	held   byTime
	spare  []*event.Event // copies to be used again, maxHeldEvents at most
}

func (o *order) len() int { return len(o.held) }

// push keeps a copy of the event, which is the bus's own.
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

// pop returns the earliest event if no earlier one is waited for, else nil.
// When all were taken the latest time is forgotten: the clock may be set.
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

// done takes back an event that pop gave.
func (o *order) done(e *event.Event) {
	if len(o.spare) < maxHeldEvents {
		o.spare = append(o.spare, e)
	}
}

// byTime is a heap: by time, and by Seq where that is the same.
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
