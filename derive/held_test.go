package derive

import (
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestAHeldEventIsItsOwn: the bus uses an event and its lists again while a copy
// of it waits to be put in order.
func TestAHeldEventIsItsOwn(t *testing.T) {
	o := order{hold: 10}
	shared := &event.Event{Time: 1, Peer: "p", Wants: []event.Want{{Priority: 1}}, Presences: []event.Presence{{Type: event.DontHave}}, Blocks: []event.Block{{Size: 1}}}
	for range 3 { // also where a copy is used again
		shared.Peer, shared.Wants[0].Priority, shared.Presences[0].Type, shared.Blocks[0].Size = "p", 1, event.DontHave, 1
		o.push(shared)
		shared.Peer, shared.Wants[0].Priority, shared.Presences[0].Type, shared.Blocks[0].Size = "q", 2, event.Have, 2
		e := o.pop(true)
		if e.Peer != "p" || e.Wants[0].Priority != 1 || e.Presences[0].Type != event.DontHave || e.Blocks[0].Size != 1 {
			t.Errorf("the held event changed with the bus's: %+v", e)
		}
		o.done(e)
	}
}

// TestExpiredWantsAreCounted once, in each of the ways in which they go: when
// their answer comes too late, when another takes their place, and by a sweep.
func TestExpiredWantsAreCounted(t *testing.T) {
	const expiry = time.Second
	past := int64(expiry) + 2
	f := func(name string, expired, lost uint64, used int, do func(p *pending)) {
		t.Helper()
		p := newPending(8*ways, expiry)
		do(p)
		if p.expired != expired || p.lost != lost || p.used != used {
			t.Errorf("%s: %d expired, %d lost, %d used; want %d, %d, %d", name, p.expired, p.lost, p.used, expired, lost, used)
		}
	}
	f("in time", 0, 0, 0, func(p *pending) {
		p.want(7, event.WantBlock, 1)
		if _, elapsed, ok := p.answer(7, event.AnswerBlock, 1+int64(expiry)); !ok || elapsed != expiry {
			t.Errorf("answered after %v, %v; want just in time", elapsed, ok)
		}
	})
	f("too late", 1, 0, 0, func(p *pending) {
		p.want(7, event.WantBlock, 1)
		if _, _, ok := p.answer(7, event.AnswerBlock, past); ok {
			t.Error("answered, and it was too late")
		}
	})
	f("swept", 2, 0, 1, func(p *pending) {
		p.want(7, event.WantBlock, 1)
		p.want(8, event.WantHave, 1)
		p.want(9, event.WantHave, past)
		if n := p.sweep(past); n != 1 {
			t.Errorf("%d wait after the sweep, want 1", n)
		}
	})
	f("replaced by later ones", 1, 1, ways, func(p *pending) {
		first := p.bucket(1)
		n, at := 0, int64(1)
		for key := uint64(1); n < ways+2; key++ {
			if p.bucket(key) != first {
				continue
			}
			switch n {
			case 1:
				at = past - 1 // all but the first are young
			case ways:
				at = past
			}
			p.want(key, event.WantBlock, at)
			n++
		}
	})
}
