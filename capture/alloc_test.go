//go:build !race

package capture

// The race detector makes sync.Pool drop entries at random, so allocations are counted
// without it.

import (
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

func TestCaptureDoesNotAllocate(t *testing.T) {
	cancel := bsmsg.New(false)
	cancel.Cancel(testCID(1))
	presences := bsmsg.New(false)
	for i := range 16 {
		presences.AddHave(testCID(i))
	}
	block := bsmsg.New(false)
	block.AddBlock(blocks.NewBlock(make([]byte, 1<<10)))
	f := func(name string, m bsmsg.BitSwapMessage, most float64) {
		t.Helper()
		b := bus.New(bus.Config{MaxEvents: 256})
		defer b.Close()
		stalled := b.Subscribe("stalled")
		defer stalled.Close()
		b.Live()
		c := New(b, nil)
		behind := New(b, nil).Behind(func(peer.ID) event.Text { return "a" })
		for _, c := range []*Capture{c, behind} {
			c.MessageReceived(testPeer, m)
			if n := testing.AllocsPerRun(1000, func() { c.MessageReceived(testPeer, m) }); n > most {
				t.Errorf("%s, side %q: %v allocations, at most %v allowed", name, c.side, n, most)
			}
		}
	}
	f("1 want", wantMessage(1), 0)
	f("16 wants", wantMessage(16), 0)
	f("256 wants", wantMessage(256), 0)
	f("a cancel", cancel, 0)
	f("16 presences", presences, 1)
	f("a block", block, 1)
}

// TestDHTAllocations: a request costs two allocations in either direction, its event and
// its key; following the bytes of a stream costs none.
func TestDHTAllocations(t *testing.T) {
	b := bus.New(bus.Config{MaxEvents: 256})
	defer b.Close()
	stalled := b.Subscribe("stalled")
	defer stalled.Close()
	b.Live()
	c := New(b, nil)
	ask, answer := dhtFrame(byte(event.DHTGetProviders), testCID(1).Hash()), dhtFrame(byte(event.DHTGetProviders), nil, make([]byte, 512)...)
	for dir := range event.Directions {
		s := &dhtStream{Stream: silentStream{}, capture: c, dir: dir}
		requests, answers := &s.received, &s.sent
		if dir == event.Sent {
			requests, answers = answers, requests
		}
		one := func() { s.passed(requests, ask, true); s.passed(answers, answer, false) }
		one()
		if n := testing.AllocsPerRun(1000, one); n > 2 {
			t.Errorf("a request %v allocates %v times, want 2", dir, n)
		}
		all := c.DHTRequests(false)
		if n := all[dir][event.DHTGetProviders][event.DHTAnswered]; n < 1000 {
			t.Errorf("%v: %d answered", dir, n)
		}
	}
}
