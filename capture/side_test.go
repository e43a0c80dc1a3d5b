package capture

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// The two captures of a proxy mark their sides on one bus and share counters; the same
// peer may be on both sides. Events of a node's capture have no side.
func TestSides(t *testing.T) {
	plain, next := newTest(t)
	plain.MessageReceived(testPeer, wantMessage(1))
	e := next()
	require.Equal(t, event.NoSide, e.Side)
	require.Empty(t, e.Downstream)

	up, next := newTest(t)
	down := up.Behind(func(p peer.ID) event.Text {
		if p == testPeer {
			return "a"
		}
		return ""
	})
	for range 3 { // the bus uses events again
		up.MessageReceived(testPeer, wantMessage(2))
		e = next()
		require.Equal(t, event.Upstream, e.Side)
		require.Empty(t, e.Downstream)
		down.MessageSent(testPeer, wantMessage(1))
		e = next()
		require.Equal(t, event.Downstream, e.Side)
		require.EqualValues(t, "a", e.Downstream)
		require.Equal(t, event.Sent, e.Dir)
		down.MessageReceived(testPeer+"x", wantMessage(1))
		e = next()
		require.Equal(t, event.Downstream, e.Side)
		require.Empty(t, e.Downstream)
	}
	for _, c := range []*Capture{up, down} {
		require.EqualValues(t, 9, c.Traffic(event.Libp2p, event.Received).WantBlock)
		require.EqualValues(t, 3, c.Traffic(event.Libp2p, event.Sent).WantBlock)
	}
}

// Connections and identifications have sides too, also those from before the start; a
// capture without an interval takes no samples.
func TestSidesOfConnections(t *testing.T) {
	h, before, after := newHost(t), newHost(t), newHost(t)
	connect(t, h, before)
	up, next := newTest(t)
	down := up.Behind(func(p peer.ID) event.Text { return event.Text(p.String()) })
	require.NoError(t, down.Start(h, Sampling{}))
	connect(t, h, after)
	seen := map[string]bool{}
	for len(seen) < 4 {
		e := next()
		require.Equal(t, event.Downstream, e.Side)
		require.EqualValues(t, e.Peer.String(), e.Downstream)
		seen[e.Kind.String()+e.Peer.String()] = true
	}
	require.NoError(t, h.Network().ClosePeer(after.ID()))
	for {
		if e := next(); e.Kind == event.KindConnection && e.Conn.Closed {
			require.Equal(t, event.Downstream, e.Side)
			require.EqualValues(t, after.ID().String(), e.Downstream)
			break
		}
	}
	down.Close()
	up.MessageReceived(testPeer, wantMessage(1))
	require.Equal(t, event.KindMessage, next().Kind, "no sample before it")
}
