//go:build poison

package bus

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestPoison: an event that a reader keeps beyond its next call of Next is overwritten.
// Another reader's event, a clone and a published event are not.
func TestPoison(t *testing.T) {
	b := New(Config{})
	one, two := b.Subscribe("one"), b.Subscribe("two")
	b.Live()
	defer b.Close()
	published := &event.Event{Kind: event.KindMessage, Peer: "p", Wants: []event.Want{{Priority: 7}}}
	b.Publish(published)
	var kept, other [1]*event.Event
	for r, buf := range map[*Reader][]*event.Event{one: kept[:], two: other[:]} {
		if _, _, err := r.Next(t.Context(), buf); err != nil {
			t.Fatal(err)
		}
	}
	clone, wants := kept[0].Clone(), kept[0].Wants
	b.Publish(&event.Event{})
	if _, _, err := one.Next(t.Context(), make([]*event.Event, 1)); err != nil {
		t.Fatal(err)
	}
	if kept[0].Peer != "poison" || wants[0].CID != poison {
		t.Errorf("what was kept: %v, its wants %v; want poison", kept[0], wants)
	}
	for name, e := range map[string]*event.Event{"of the other reader": other[0], "cloned": clone, "published": published} {
		if e.Peer != "p" || e.Wants[0].Priority != 7 {
			t.Errorf("the event %s: %v", name, e)
		}
	}
}
