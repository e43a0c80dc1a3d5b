// Package capture turns what a node exchanges with the network into events.
//
// In: what passes a boxo Bitswap network (Network), libp2p's connection
// notifications and identify events, and a clock for the periodic totals. Out:
// events on a bus. Promised: a callback copies under the limits of package event
// and returns; it never blocks on a sink, never changes its arguments, keeps no
// block data, and a panic in it is recovered, counted and logged, so that the
// node keeps running.
package capture

import (
	"log/slog"
	"sync"
	"sync/atomic"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Capture watches one node, or one side of a proxy. It is made before the node:
// Network, MessageReceived and MessageSent work at once, connections and totals
// begin with Start.
type Capture struct {
	bus *bus.Bus

	*counted
	arenas sync.Pool // *arena
	conns  connTable

	side event.Side
	name func(peer.ID) event.Text // of the node behind a proxy; nil: none has one

	stop    func() // ends what Start began; nil before Start
	stopped sync.Once
}

// counted is what the two sides of a proxy have in common.
type counted struct {
	clock   clock
	traffic [event.MessageTransports][event.Directions]counters
	failed  [event.MessageTransports]atomic.Uint64 // messages that could not be sent

	dht dhtCounters

	limited atomic.Uint64 // messages and requests without an event because of the peer's rate
	guard   guard.Guard   // deferred by every callback
}

// New returns a capture that publishes to b. A nil logger means slog's default.
func New(b *bus.Bus, log *slog.Logger) *Capture {
	c := newCapture(b, &counted{guard: guard.Guard{Log: log}})
	c.clock.set()
	return c
}

func newCapture(b *bus.Bus, n *counted) *Capture {
	c := &Capture{bus: b, counted: n}
	c.arenas.New = func() any { return new(arena) }
	c.conns.init()
	return c
}

// Behind makes c the capture of a proxy's peers (upstream) and returns a capture
// for the nodes behind the proxy (downstream). name returns the configured name
// of such a node, "" for an unknown one; libp2p's callbacks call it for every
// message. Both captures share their counters, and c alone samples them: start
// the other one with Sampling.Interval 0. Call Behind before either is used.
func (c *Capture) Behind(name func(peer.ID) event.Text) *Capture {
	c.side = event.Upstream
	d := newCapture(c.bus, c.counted)
	d.side, d.name = event.Downstream, name
	return d
}

// place sets the side of the event's peer.
func (c *Capture) place(e *event.Event) {
	e.Side, e.Downstream = c.side, ""
	if c.name != nil {
		e.Downstream = c.name(e.Peer)
	}
}

// Panics returns how many panics the callbacks recovered from so far.
func (c *Capture) Panics() uint64 { return c.guard.Panics() }

// Limited returns how many messages and requests of the DHT made no event because
// their peer exceeded its rate.
func (c *Capture) Limited() uint64 { return c.limited.Load() }

// Traffic returns the counters of what passed by a transport in one direction
// since the start.
func (c *Capture) Traffic(via event.Transport, d event.Direction) event.Traffic {
	return c.traffic[via][d].read()
}

// SendErrors returns how many messages could not be sent by a transport so far.
func (c *Capture) SendErrors(via event.Transport) uint64 { return c.failed[via].Load() }

// MessageReceived reports a Bitswap message that came over libp2p, for programs
// without a boxo network that Network could watch, before they handle it. With
// MessageSent it implements boxo's tracer.Tracer; a tracer of boxo's Bitswap is
// not called for the wants that it sends.
func (c *Capture) MessageReceived(p peer.ID, m bsmsg.BitSwapMessage) {
	defer c.guard.Recover("capture: message received")
	c.message(passed{dir: event.Received, at: c.clock.now()}, p, m)
}

// MessageSent reports a Bitswap message that such a program has sent.
func (c *Capture) MessageSent(p peer.ID, m bsmsg.BitSwapMessage) {
	defer c.guard.Recover("capture: message sent")
	c.message(passed{dir: event.Sent, at: c.clock.now(), sized: true}, p, m)
}

// counters is a Traffic that several callbacks may add to at once.
type counters struct {
	messages, wantBlock, wantHave, cancel, have, dontHave, blocks, blockBytes, truncated atomic.Uint64
}

// add adds t, without touching counters that do not change.
func (c *counters) add(t *event.Traffic) {
	c.messages.Add(t.Messages)
	addTo := func(a *atomic.Uint64, n uint64) {
		if n != 0 {
			a.Add(n)
		}
	}
	addTo(&c.wantBlock, t.WantBlock)
	addTo(&c.wantHave, t.WantHave)
	addTo(&c.cancel, t.Cancel)
	addTo(&c.have, t.Have)
	addTo(&c.dontHave, t.DontHave)
	addTo(&c.blocks, t.Blocks)
	addTo(&c.blockBytes, t.BlockBytes)
	addTo(&c.truncated, t.Truncated)
}

func (c *counters) read() event.Traffic {
	return event.Traffic{
		Messages:   c.messages.Load(),
		WantBlock:  c.wantBlock.Load(),
		WantHave:   c.wantHave.Load(),
		Cancel:     c.cancel.Load(),
		Have:       c.have.Load(),
		DontHave:   c.dontHave.Load(),
		Blocks:     c.blocks.Load(),
		BlockBytes: c.blockBytes.Load(),
		Truncated:  c.truncated.Load(),
	}
}
