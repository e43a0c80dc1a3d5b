package capture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

func connect(t *testing.T, from, to host.Host) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, from.Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}))
}

// nextOf skips events of other kinds.
func nextOf(next func() *event.Event, k event.Kind) *event.Event {
	for {
		if e := next(); e.Kind == k {
			return e
		}
	}
}

func TestConnectionsFromOpenToClosed(t *testing.T) {
	h, before, after := newHost(t), newHost(t), newHost(t)
	connect(t, before, h)
	c, next := newTest(t)
	// Identify runs concurrently with Connect: wait until h knows the other's agent.
	require.Eventually(t, func() bool {
		v, err := h.Peerstore().Get(before.ID(), "AgentVersion")
		return err == nil && v != ""
	}, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Start(h, Sampling{Interval: time.Hour, AgentCutOff: 10}))
	defer c.Close()

	e := nextOf(next, event.KindConnection)
	require.Equal(t, before.ID(), e.Peer)
	require.True(t, e.Conn.WasOpen)
	require.True(t, e.Conn.Inbound)
	require.False(t, e.Conn.Closed)
	require.Equal(t, "tcp", e.Conn.Transport)
	require.Contains(t, []string{"tls", "noise"}, e.Conn.Security)
	require.Equal(t, "yamux", e.Conn.Muxer)
	require.Regexp(t, `^/ip4/127\.0\.0\.1/tcp/\d+$`, e.Conn.Addr)
	require.Equal(t, []event.Text{e.Conn.Addr}, e.Addrs)
	id := nextOf(next, event.KindIdentify)
	require.Equal(t, before.ID(), id.Peer)
	require.NotEmpty(t, id.Identify.Agent)
	require.NotEmpty(t, id.Identify.Protocols)

	connect(t, h, after)
	e = nextOf(next, event.KindConnection)
	require.Equal(t, after.ID(), e.Peer)
	require.False(t, e.Conn.Inbound)
	require.False(t, e.Conn.WasOpen)
	require.Equal(t, 2, e.Conn.TotalConns)
	id = nextOf(next, event.KindIdentify)
	require.Equal(t, after.ID(), id.Peer)
	require.NotEmpty(t, id.Identify.ProtocolVersion)
	require.NotEmpty(t, id.Identify.ObservedAddr)

	var sample event.Sample
	c.conns.count(&sample, 10)
	require.Equal(t, 2, sample.Conns)
	require.Equal(t, []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 1}, {Transport: "tcp", Peers: 1}}, sample.Peers)
	require.Equal(t, 2, sample.Agents[0].Peers)
	require.Contains(t, sample.Protocols, event.ProtocolCount{Protocol: "/ipfs/ping/1.0.0", Peers: 2})
	require.Equal(t, event.ProtocolCount{Protocol: event.Others}, sample.Protocols[len(sample.Protocols)-1])

	require.NoError(t, h.Network().ClosePeer(after.ID()))
	e = nextOf(next, event.KindConnection)
	require.True(t, e.Conn.Closed)
	require.False(t, e.Conn.Unmatched)
	require.Positive(t, e.Conn.Duration)
	require.Equal(t, 1, e.Conn.TotalConns)
	info, _ := c.conns.peer(after.ID())
	require.Empty(t, info.addrs)
}

// fakeConn answers only the calls that capture makes.
type fakeConn struct {
	network.Conn
	id string
}

func (f fakeConn) ID() string              { return f.id }
func (f fakeConn) RemotePeer() peer.ID     { return testPeer }
func (f fakeConn) Stat() network.ConnStats { return network.ConnStats{} }

func TestOrderOfNotificationsDoesNotMatter(t *testing.T) {
	c, next := newTest(t)
	conn := func(id string) fakeConn {
		h, other := newHost(t), newHost(t)
		connect(t, h, other)
		return fakeConn{Conn: h.Network().Conns()[0], id: id}
	}
	one := conn("one")

	// Reported twice, by the notification and by the listing at the start.
	c.opened(one, false)
	c.opened(one, true)
	require.False(t, next().Conn.Closed)
	c.closed(one)
	require.True(t, next().Conn.Closed)

	// Closed before the listing at the start reached it.
	c.conns.mu.Lock()
	c.conns.starting = true
	c.conns.mu.Unlock()
	two := conn("two")
	c.closed(two)
	c.opened(two, true)
	e := next()
	require.True(t, e.Conn.Closed && e.Conn.Unmatched)
	require.Empty(t, c.conns.open)
}

// fakeOrigin knows one address and one gateway.
type fakeOrigin struct{ gateway peer.ID }

func (fakeOrigin) Country(a ma.Multiaddr) string {
	if a.Equal(simAddr) {
		return "NZ"
	}
	return ""
}
func (f *fakeOrigin) Gateway(p peer.ID) bool { return p == f.gateway }

func TestEventsCarryCountryAndGateway(t *testing.T) {
	c, next := newTest(t)
	o := &fakeOrigin{gateway: testPeer}
	c.SetOrigin(o)
	c.opened(&simConn{id: "one", peer: testPeer}, false)
	e := next()
	require.Equal(t, "NZ", e.Country)
	require.True(t, e.Gateway)
	c.MessageReceived(testPeer, wantMessage(1))
	e = next()
	require.Equal(t, "NZ", e.Country)
	require.True(t, e.Gateway)
	c.MessageReceived(testPeer+"x", wantMessage(1))
	e = next()
	require.Empty(t, e.Country, "a peer that is not connected has no country")
	require.False(t, e.Gateway)

	// The list of gateways changes.
	o.gateway = ""
	c.OriginChanged()
	c.MessageReceived(testPeer, wantMessage(1))
	e = next()
	require.Equal(t, "NZ", e.Country)
	require.False(t, e.Gateway)
	c.closed(&simConn{id: "one", peer: testPeer})
	require.Equal(t, "NZ", next().Country)
}

func TestNamesBeyondTheCutOffAreSummed(t *testing.T) {
	agents := map[event.Text]int{"a": 5, "c": 2, "b": 2, "d": 1, event.OthersAgent: 4}
	f := func(cutOff int, want ...named) {
		t.Helper()
		require.Equal(t, want, top(agents, cutOff, event.OthersAgent))
	}
	f(2, named{Name: "a", N: 5}, named{Name: "b", N: 2}, named{Name: "others", N: 7})
	f(9, named{Name: "a", N: 5}, named{Name: "b", N: 2}, named{Name: "c", N: 2}, named{Name: "d", N: 1}, named{Name: "others", N: 4})
	require.Equal(t, []named{{Name: "others"}}, top(nil, 3, event.OthersAgent), "\"others\" is present even if it is 0")
}

func TestSamplesAddUpToAllTraffic(t *testing.T) {
	h := newHost(t)
	c, next := newTest(t)
	require.NoError(t, c.Start(h, Sampling{Interval: 20 * time.Millisecond, AgentCutOff: 3}))
	for i := range 50 {
		c.MessageReceived(testPeer, wantMessage(i%3+1))
		time.Sleep(time.Millisecond)
	}
	c.Close()
	var sum uint64
	for sum < c.Traffic(event.Libp2p, event.Received).WantBlock {
		e := nextOf(next, event.KindSample)
		require.Positive(t, e.Sample.Interval)
		require.Equal(t, 1, e.Sample.Known, "the node itself")
		sum += e.Sample.Traffic[event.Received].WantBlock
	}
	require.Equal(t, c.Traffic(event.Libp2p, event.Received).WantBlock, sum)
}

func TestAddressesOfAHostilePeerAreBounded(t *testing.T) {
	s := newPeerState()
	for i := range 100 {
		s.conns = append(s.conns, &openConn{event: event.Conn{Addr: event.Text(fmt.Sprint(i))}})
	}
	s.refresh(testPeer, nil)
	require.Len(t, s.info.Load().addrs, event.MaxAddrs)
}
