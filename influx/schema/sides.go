package schema

import (
	"cmp"
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
)

// Points of history have two tags more where a proxy wrote them, so that what it
// says to peers and to its nodes is distinguished. A point of a node has neither,
// which is why they are not among Tags.
var (
	TagSide       = Tag{Key: "side", Values: event.SideNames[event.Upstream:], Help: "of a proxy alone: with the peers that ask it, or with the nodes behind it"}
	TagDownstream = Tag{Key: "downstream", Limit: MaxDownstreams, Help: "name of the node behind a proxy as configured, at most 64 in one run; the rest is others"}
	sideTags      = []Tag{TagDownstream, TagSide}
)

// Sided says whether a proxy's points have sideTags.
func (m *Measurement) Sided() bool { return m.Kind == History }

// AllTags lists Tags and those that only a proxy's points have, in the order of
// their keys.
func (m *Measurement) AllTags() []Tag {
	all := slices.Clone(m.Tags)
	if m.Sided() {
		all = append(all, sideTags...)
		slices.SortFunc(all, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	return all
}
