package capture

import (
	"context"
	"fmt"
	"time"

	lpevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// Sampling says how the periodic totals are taken.
type Sampling struct {
	Interval    time.Duration // 0: none are taken
	AgentCutOff int           // agents named in a sample; the rest is summed as "others"
	// Node returns what the node reports about itself; nil: nothing. It is called
	// once per sample and may block until the context ends.
	Node func(context.Context) event.Node
}

// identifyBuffer is how many identify events libp2p may be ahead of us. A full
// buffer would stall libp2p; we only copy, so it does not fill.
const identifyBuffer = 4096

// Start begins to watch the connections, identifications and totals of a
// running host; connections that are already open become events too. Call it
// at most once. Close ends what it began.
func (c *Capture) Start(h host.Host, s Sampling) error {
	sub, err := h.EventBus().Subscribe([]any{
		new(lpevent.EvtPeerIdentificationCompleted),
		new(lpevent.EvtPeerProtocolsUpdated),
	}, eventbus.BufSize(identifyBuffer), eventbus.Name("ipfsmon"))
	if err != nil {
		return fmt.Errorf("capture: subscribe to identify events: %w", err)
	}

	notifee := &network.NotifyBundle{
		ConnectedF:    func(_ network.Network, nc network.Conn) { c.opened(nc, false) },
		DisconnectedF: func(_ network.Network, nc network.Conn) { c.closed(nc) },
	}
	c.conns.mu.Lock()
	c.conns.starting = true
	c.conns.mu.Unlock()
	h.Network().Notify(notifee)
	for _, nc := range h.Network().Conns() {
		c.opened(nc, true)
		c.knownAgent(h, nc)
	}
	c.conns.mu.Lock()
	c.conns.starting = false
	clear(c.conns.gone)
	c.conns.mu.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error {
		for e := range sub.Out() {
			c.identified(e)
		}
		return nil
	})
	if s.Interval > 0 {
		g.Go(func() error {
			c.sample(ctx, h, s)
			return nil
		})
	}
	c.stop = func() {
		h.Network().StopNotify(notifee)
		_ = sub.Close() // ends the range above; its only error is that it is closed already
		cancel()
		_ = g.Wait()
	}
	return nil
}

// Close ends what Start began, after one last sample. It may be called more than
// once and without Start.
func (c *Capture) Close() {
	c.stopped.Do(func() {
		if c.stop != nil {
			c.stop()
		}
	})
}

// identified publishes what a peer reported about itself.
func (c *Capture) identified(e any) {
	defer c.guard.Recover("capture: identify")
	if u, ok := e.(lpevent.EvtPeerProtocolsUpdated); ok {
		c.conns.changeProtocols(u.Peer, peertext.Protocols(u.Added), peertext.Protocols(u.Removed))
		return
	}
	id, ok := e.(lpevent.EvtPeerIdentificationCompleted)
	if !ok {
		return
	}
	c.publishIdentify(id.Peer, &event.Identify{
		Agent:           event.Clean(id.AgentVersion, event.MaxAgentText),
		ProtocolVersion: event.Clean(id.ProtocolVersion, event.MaxProtocolText),
		Protocols:       peertext.Protocols(id.Protocols),
		ListenAddrs:     peertext.Addrs(id.ListenAddrs, event.MaxAddrs),
		ObservedAddr:    peertext.Addr(id.ObservedAddr),
	})
}

// knownAgent publishes what the peerstore knows of a peer that was identified
// before Start.
func (c *Capture) knownAgent(h host.Host, nc network.Conn) {
	defer c.guard.Recover("capture: identify")
	p := nc.RemotePeer()
	agent, identified, err := peertext.Agent(h.Peerstore(), p)
	if err != nil || !identified {
		return // not identified yet: libp2p will send the event
	}
	protocols, _ := h.Peerstore().GetProtocols(p) // an error means that none are known
	c.publishIdentify(p, &event.Identify{
		Agent:       agent,
		Protocols:   peertext.Protocols(protocols),
		ListenAddrs: peertext.Addrs(h.Peerstore().Addrs(p), event.MaxAddrs),
	})
}

func (c *Capture) publishIdentify(p peer.ID, id *event.Identify) {
	c.conns.setIdentity(p, id)
	e := &event.Event{Time: time.Now().UnixNano(), Kind: event.KindIdentify, Peer: p, Identify: id}
	info, _ := c.conns.peer(p)
	info.fill(e)
	c.place(e)
	c.bus.Publish(e)
}
