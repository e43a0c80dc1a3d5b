package lineproto

import (
	"github.com/ipfsmon/ipfsmon/event"
)

// sideOf returns the place of an event's side: that of event.NoSide and
// event.Upstream, and from event.Downstream on the nodes by the places of their
// names.
func (e *Encoder) sideOf(ev *event.Event) int {
	if ev.Side == event.Downstream {
		return int(event.Downstream) + e.downstreams.at(ev.Downstream)
	}
	if ev.Side == event.Upstream {
		return int(event.Upstream)
	}
	return int(event.NoSide)
}

// onSide returns the series keys of a side, empty at first.
func (t *table) onSide(side int) []string {
	for len(t.sides) < side {
		t.sides = append(t.sides, nil)
	}
	if t.sides[side-1] == nil {
		t.sides[side-1] = make([]string, len(t.series))
	}
	return t.sides[side-1]
}

// sideKeys appends the tags of the side at hand, as they are in a series key.
func (e *Encoder) sideKeys(to []string) []string {
	switch e.side {
	case int(event.NoSide):
		return to
	case int(event.Upstream):
		return append(to, ",side="+event.Upstream.String())
	}
	name := e.downstreams.list[e.side-int(event.Downstream)]
	return append(to, ",side="+event.Downstream.String(), ",downstream="+string(AppendTag(nil, name)))
}
