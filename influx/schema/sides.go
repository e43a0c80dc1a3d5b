package schema

import (
	"cmp"
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
)

// Points of history written by a proxy have two more tags, which distinguish its traffic with
// peers from that with its nodes. A node's points have neither, so these tags are not in Tags.
var (
	TagSide       = Tag{Key: "side", Values: event.SideNames[event.Upstream:], Help: "only of a proxy: traffic with its peers, or with the nodes behind it"}
	TagDownstream = Tag{Key: "downstream", Limit: MaxDownstreams, Help: "name of the node behind a proxy as configured, at most 64 in one run; the rest is others"}
	sideTags      = []Tag{TagDownstream, TagSide}
)

// Sided reports whether a proxy's points have sideTags.
func (m *Measurement) Sided() bool { return m.Kind == History }

// AllTags lists Tags and those of a proxy's points, sorted by key.
func (m *Measurement) AllTags() []Tag {
	all := slices.Clone(m.Tags)
	if m.Sided() {
		all = append(all, sideTags...)
		slices.SortFunc(all, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	return all
}
