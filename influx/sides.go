package influx

import (
	"cmp"
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
)

// Points of history have two tags more where a proxy wrote them, so that what it
// says to peers and to its nodes is distinguished. A point of a node has neither,
// which is why they are not among Tags.
var (
	tagSide       = Tag{Key: "side", Values: event.SideNames[event.Upstream:], Help: "of a proxy alone: with the peers that ask it, or with the nodes behind it"}
	tagDownstream = Tag{Key: "downstream", Limit: MaxDownstreams, Help: "name of the node behind a proxy as configured, at most 64 in one run; the rest is others"}
	sideTags      = []Tag{tagDownstream, tagSide}
)

// sided says whether a proxy's points have sideTags.
func (m *Measurement) sided() bool { return m.Kind == History }

// AllTags lists Tags and those that only a proxy's points have, in the order of
// their keys.
func (m *Measurement) AllTags() []Tag {
	all := slices.Clone(m.Tags)
	if m.sided() {
		all = append(all, sideTags...)
		slices.SortFunc(all, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	return all
}

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
	return append(to, ",side="+event.Downstream.String(), ",downstream="+string(appendTag(nil, name)))
}
