package lineproto

import (
	"github.com/ipfsmon/ipfsmon/event"
)

// The places of the sides: none, peers, and from then on the nodes by the
// places of their names.
const (
	noSide = iota
	upstreamSide
	downstreamSide
)

func (e *Encoder) sideOf(ev *event.Event) int {
	switch ev.Side {
	case event.Upstream:
		return upstreamSide
	case event.Downstream:
		return downstreamSide + e.downstreams.at(ev.Downstream)
	}
	return noSide
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
	case noSide:
		return to
	case upstreamSide:
		return append(to, ",side="+event.Upstream.String())
	}
	name := e.downstreams.list[e.side-downstreamSide]
	return append(to, ",side="+event.Downstream.String(), ",downstream="+string(AppendTag(nil, name)))
}
