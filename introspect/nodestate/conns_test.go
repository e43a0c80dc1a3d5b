package nodestate

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// newHost makes a host on loopback with these addresses and options.
func newHost(t testing.TB, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(), libp2p.DisableRelay(),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func agentFrom(h host.Host) func(peer.ID) string {
	return func(p peer.ID) string {
		v, _ := h.Peerstore().Get(p, "AgentVersion")
		s, _ := v.(string)
		return s
	}
}

// watched is a host with taps and a registry of its connections.
func watched(t testing.TB, listen string) (host.Host, *Conns, *introspect.Registry) {
	t.Helper()
	taps := NewTaps()
	counter := metrics.NewBandwidthCounter()
	h := newHost(t, libp2p.ListenAddrStrings(listen), libp2p.DefaultMuxers, libp2p.BandwidthReporter(counter), taps.Option())
	c := NewConns(ConnsConfig{
		Conns: h.Network().Conns, Agent: agentFrom(h), Latency: h.Peerstore().LatencyEWMA, Taps: taps,
		Origin: func(peer.ID, multiaddr.Multiaddr) (string, bool) { return "DE", true },
	})
	h.Network().Notify(c)
	r := introspect.NewRegistry()
	require.NoError(t, r.RegisterDataProviders(c.Providers()))
	return h, c, r
}

// TestConnections: fields that the original left empty are filled, for a connection with
// a stream muxer and for one that brings its own.
func TestConnections(t *testing.T) {
	for _, transport := range []struct{ listen, id, muxer, encryption string }{
		{"/ip4/127.0.0.1/tcp/0", "ip4+tcp", "/yamux/1.0.0", ""},
		{"/ip4/127.0.0.1/udp/0/quic-v1", "ip4+udp+quic-v1", "quic", "tls"},
	} {
		t.Run(transport.id, func(t *testing.T) {
			h, _, r := watched(t, transport.listen)
			other := newHost(t, libp2p.NoListenAddrs, libp2p.UserAgent("other/1\u202e\x00"))
			const size = 300_000
			h.SetStreamHandler("/test/1", func(s network.Stream) {
				_, _ = io.Copy(io.Discard, s)
				_, _ = io.WriteString(s, "done")
				<-t.Context().Done()
				_ = s.Reset()
			})
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, other.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
			s, err := other.NewStream(ctx, h.ID(), "/test/1")
			require.NoError(t, err)
			_, err = s.Write([]byte(strings.Repeat("x", size)))
			require.NoError(t, err)
			require.NoError(t, s.CloseWrite())
			_, err = io.ReadAll(io.LimitReader(s, 4))
			require.NoError(t, err)

			var c *pb.Connection
			var st *pb.State
			require.Eventually(t, func() bool { // the peer has been identified and the last write counted
				st, err = r.FetchFullState()
				require.NoError(t, err)
				c = st.GetSubsystems().GetConnections()[0]
				stream := find(c, "/test/1")
				return c.GetAgentVersion() != "" && stream.GetTraffic().GetTrafficOut().GetCumBytes() == 4
			}, patience, 10*time.Millisecond)
			require.EqualValues(t, 1, st.GetConnections())
			require.EqualValues(t, 1, st.GetPeers())
			require.Equal(t, other.ID().String(), c.GetPeerId())
			require.Equal(t, pb.Status_ACTIVE, c.GetStatus())
			require.Equal(t, pb.Role_RESPONDER, c.GetRole())
			require.Equal(t, transport.id, string(c.GetTransportId()))
			require.Equal(t, transport.muxer, c.GetAttribs().GetMultiplexer())
			require.NotEmpty(t, c.GetAttribs().GetEncryption())
			require.Equal(t, h.Network().Conns()[0].RemoteMultiaddr().String(), c.GetEndpoints().GetSrcMultiaddr(), "the source is the host that dialed")
			require.Equal(t, "other/1\ufffd\ufffd", c.GetAgentVersion())
			require.Equal(t, "DE", c.GetCountry())
			require.True(t, c.GetGateway())
			require.NotZero(t, c.GetTimeline().GetOpenTs())
			require.EqualValues(t, 1, c.GetTrafficOf(), "only the connection's own counters")
			in := c.GetTraffic().GetTrafficIn().GetCumBytes()
			require.Greater(t, in, uint64(size))
			require.Less(t, in, uint64(size*3/2))
			stream := find(c, "/test/1")
			require.EqualValues(t, size, stream.GetTraffic().GetTrafficIn().GetCumBytes())
			require.EqualValues(t, 1, stream.GetTrafficOf())
			require.Equal(t, pb.Role_RESPONDER, stream.GetRole())
			require.NotZero(t, stream.GetTimeline().GetOpenTs())
			require.Equal(t, []*pb.AgentCount{{Agent: "other/1\ufffd\ufffd", Peers: 1}}, st.GetSubsystems().GetAgents())
			if transport.muxer == "quic" {
				require.NotZero(t, c.GetLatencyNs())
				require.NotZero(t, c.GetTraffic().GetTrafficIn().GetCumPackets())
			}

			require.NoError(t, other.Network().ClosePeer(h.ID()))
			require.Eventually(t, func() bool {
				st, err = r.FetchFullState()
				require.NoError(t, err)
				return st.GetConnections() == 0
			}, patience, 10*time.Millisecond)
			require.Eventually(t, func() bool {
				st, err = r.FetchFullState()
				require.NoError(t, err)
				return len(st.GetSubsystems().GetConnections()) == 1
			}, patience, 10*time.Millisecond)
			c = st.GetSubsystems().GetConnections()[0]
			require.Equal(t, pb.Status_CLOSED, c.GetStatus())
			require.GreaterOrEqual(t, c.GetTimeline().GetCloseTs(), c.GetTimeline().GetOpenTs())
			require.GreaterOrEqual(t, c.GetTraffic().GetTrafficIn().GetCumBytes(), in, "a closed connection keeps its counters")
			require.Zero(t, c.GetTraffic().GetTrafficIn().GetInstBw())
			require.Equal(t, "other/1\ufffd\ufffd", c.GetAgentVersion())
			require.Empty(t, st.GetSubsystems().GetAgents())
		})
	}
}

func find(c *pb.Connection, protocol string) *pb.Stream {
	for _, s := range c.GetStreams().GetStreams() {
		if s.GetProtocol() == protocol {
			return s
		}
	}
	return nil
}

// TestConnectionThatNobodySaw: it is in the list after it has closed, too.
func TestConnectionThatNobodySaw(t *testing.T) {
	h, conns, r := watched(t, "/ip4/127.0.0.1/tcp/0")
	other := newHost(t, libp2p.NoListenAddrs)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, other.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
	require.Eventually(t, func() bool { return len(h.Network().Conns()) == 1 }, patience, time.Millisecond)
	require.NoError(t, h.Network().ClosePeer(other.ID()))
	require.Eventually(t, func() bool {
		st, err := r.FetchFullState()
		require.NoError(t, err)
		all := st.GetSubsystems().GetConnections()
		return len(all) == 1 && all[0].GetStatus() == pb.Status_CLOSED
	}, patience, time.Millisecond)
	require.Empty(t, conns.open)
}

// TestFaultsStayHere: libp2p does not notice a fault of the monitor.
func TestFaultsStayHere(t *testing.T) {
	log, lines := guardtest.New()
	c := NewConns(ConnsConfig{Logger: log})
	c.Connected(nil, nil)
	c.Disconnected(nil, nil)
	require.EqualValues(t, 2, c.Panics())
	lines.Once(t, "introspect: note a connection", "nodestate.(*Conns).Connected")
}

func TestClosedConnectionsAreBounded(t *testing.T) {
	c := NewConns(ConnsConfig{Conns: func() []network.Conn { return nil }})
	now := time.Now()
	for i := range maxClosed + 100 {
		c.closed = append(c.closed, closed{known: &known{}, at: now.Add(-time.Duration(i) * time.Millisecond)})
	}
	c.expire(now)
	require.Len(t, c.closed, maxClosed)
	c.closed[0].at = now.Add(-introspect.MaxRetention - time.Second)
	c.expire(now)
	require.Len(t, c.closed, maxClosed-1)
	c.expire(now.Add(time.Hour))
	require.Empty(t, c.closed)
}

func TestTapsAreBounded(t *testing.T) {
	taps := NewTaps()
	for i := range maxTappedProtocols + 5 {
		k := taps.of("p", protocolID(i))
		require.Equal(t, i < maxTappedProtocols, k != nil)
	}
	require.Same(t, taps.of("p", protocolID(3)), taps.get("p", protocolID(3)))
	taps.sweep(func(p peer.ID) bool { return p == "p" })
	require.NotNil(t, taps.get("p", protocolID(3)))
	taps.sweep(func(peer.ID) bool { return false })
	require.Nil(t, taps.get("p", protocolID(3)))
	require.Zero(t, taps.count.Load())
	taps.count.Store(maxTappedPeers)
	require.Nil(t, taps.of("q", "/x"))
	taps.count.Store(maxTappedPeers - 1)
	var adding sync.WaitGroup
	taps.mu.Lock()
	for i := range 16 {
		adding.Go(func() { taps.of(peer.ID(fmt.Sprint(i)), "/x") })
	}
	time.Sleep(10 * time.Millisecond) // all wait for the lock
	taps.mu.Unlock()
	adding.Wait()
	require.EqualValues(t, maxTappedPeers, taps.count.Load(), "many at once")
}

// TestDHT: buckets and queries of two DHTs that send requests to each other.
func TestDHT(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, client := serve(t)
	type node struct {
		host.Host
		dht     *dht.IpfsDHT
		capture *capture.Capture
	}
	events := bus.New(bus.Config{})
	t.Cleanup(events.Close)
	feed := introspect.NewFeed(s, nil)
	r := events.Subscribe("introspect")
	events.Live()
	make := func(b *bus.Bus) node {
		c := capture.New(b, nil)
		h := newHost(t, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
		d, err := dht.New(c.DHT(h), dht.ProtocolPrefix("/test/lan"), dht.Mode(dht.ModeServer), dht.AddressFilter(nil), dht.DisableAutoRefresh())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		return node{h, d, c}
	}
	a, b := make(events), make(bus.New(bus.Config{}))
	go func() { _ = feed.Run(ctx, r) }() // ends with the bus
	require.NoError(t, a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}))
	require.Eventually(t, func() bool { return a.dht.RoutingTable().Size() == 1 && b.dht.RoutingTable().Size() == 1 }, patience, time.Millisecond)
	_, err := a.dht.GetClosestPeers(ctx, "key")
	require.NoError(t, err)
	require.NoError(t, b.dht.Ping(ctx, a.ID()))

	provide := dhtProvider(time.Now(), []dhtTable{{Name: "lan", Protocol: "/test/lan/kad/1.0.0", DHT: a.dht}}, a.capture.DHTRequests, agentFrom(a))
	var d *pb.DHT
	require.Eventually(t, func() bool {
		all, err := provide()
		require.NoError(t, err)
		d = all[0]
		return d.GetIncomingQueries().GetSuccess() > 0 && d.GetOutgoingQueries().GetSuccess() > 0
	}, patience, time.Millisecond)
	require.Equal(t, "server", d.GetMode())
	require.EqualValues(t, 1, d.GetSize())
	require.EqualValues(t, 20, d.GetParams().GetK())
	require.Len(t, d.GetBuckets(), 1)
	p := d.GetBuckets()[0].GetPeers()[0]
	require.Equal(t, b.ID().String(), p.GetPeerId())
	require.Equal(t, pb.DHT_PeerInDHT_ACTIVE, p.GetStatus())
	require.NotEmpty(t, p.GetAgentVersion())
	require.NotZero(t, p.GetLastQueryTs())

	seen := map[string]bool{}
	for !seen["InboundDHTQuery"] || !seen["OutboundDHTQuery"] {
		e := client.next()
		seen[e.GetType().GetName()] = true
		require.Contains(t, e.GetContent(), `"peerIds":["`+b.ID().String()+`"]`)
		require.Contains(t, e.GetContent(), `"table":"lan"`)
		require.Contains(t, e.GetContent(), `"result":"SUCCESS"`)
	}

	require.NoError(t, b.Close())
	require.Eventually(t, func() bool {
		_ = a.dht.Ping(ctx, b.ID()) // fails: b is closed
		all, err := provide()
		require.NoError(t, err)
		return all[0].GetOutgoingQueries().GetError()+all[0].GetOutgoingQueries().GetTimeout() > 0
	}, patience, 10*time.Millisecond)
}

// get is of without creating a counter.
func (t *Taps) get(p peer.ID, proto protocol.ID) *protoTap {
	if pt := t.peers.Get(p); pt != nil {
		return pt.find(proto)
	}
	return nil
}
