package capture

import (
	"context"
	"testing"
	"time"

	lpevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

// brokenConn panics at each call.
type brokenConn struct{ network.Conn }

// brokenOrigin panics at each call.
type brokenOrigin struct{ Origin }

// TestAPanicInAnyCallbackIsCaught injects a panic into each callback; the capture must
// count it, hold no lock, and continue.
func TestAPanicInAnyCallbackIsCaught(t *testing.T) {
	h := newHost(t)
	log, lines := guardtest.New()
	c, next := newTest(t)
	c.guard.Log = log
	n := uint64(0)
	f := func(doing string, callback func()) {
		t.Helper()
		for range 2 {
			require.NotPanics(t, callback, doing)
			n++
			require.Equal(t, n, c.Panics(), doing)
		}
		lines.Once(t, "capture: "+doing, "/capture.(*Capture)")
	}
	f("message received", func() { c.MessageReceived(testPeer, brokenMessage{}) })
	f("message sent", func() { c.MessageSent(testPeer, brokenMessage{}) })
	f("connection opened", func() { c.opened(brokenConn{}, false) })
	f("connection closed", func() { c.closed(brokenConn{}) })
	f("identify", func() {
		c.conns.peers.Set(testPeer, new(peerState)) // without its parts
		c.identified(lpevent.EvtPeerIdentificationCompleted{Peer: testPeer})
		c.conns.peers.Set(testPeer, nil)
	})
	f("identify", func() {
		c.conns.peers.Set(testPeer, new(peerState)) // without its parts
		c.identified(lpevent.EvtPeerProtocolsUpdated{Peer: testPeer})
		c.conns.peers.Set(testPeer, nil)
	})
	f("identify", func() { c.knownAgent(h, brokenConn{}) })
	f("origin", func() {
		c.SetOrigin(brokenOrigin{})
		c.conns.peers.Set(testPeer, newPeerState())
		c.OriginChanged()
		c.SetOrigin(nil)
		c.conns.peers.Set(testPeer, nil)
	})
	watched := c.Network(idleNetwork{}, event.Libp2p)
	sender, err := watched.NewMessageSender(t.Context(), testPeer, nil)
	require.NoError(t, err)
	c.conns.peers.Set(testPeer, new(peerState)) // without its parts
	f("sent by a network", func() { require.NoError(t, sender.SendMsg(t.Context(), wantMessage(1))) })
	f("received by a network", func() { watched.(*watchedNetwork).received(testPeer, wantMessage(1)) })
	c.conns.peers.Set(testPeer, nil)
	f("sample", func() {
		var before [event.MessageTransports][event.Directions]event.Traffic
		last := time.Now()
		c.publishSample(context.Background(), h, Sampling{
			Interval: time.Second, Node: func(context.Context) event.Node { panic("broken") },
		}, &before, &last)
	})

	// The capture still works.
	for range 2 {
		require.Equal(t, event.KindSample, next().Kind, "a sample is published though a part of it failed")
	}
	c.MessageReceived(testPeer, wantMessage(3))
	require.Len(t, next().Wants, 3)
	other := newHost(t)
	require.NoError(t, c.Start(h, Sampling{Interval: time.Hour, AgentCutOff: 3}))
	defer c.Close()
	connect(t, h, other)
	require.Equal(t, other.ID(), nextOf(next, event.KindConnection).Peer)
}
