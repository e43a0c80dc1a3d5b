package probe

import (
	"context"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/crawler"
	"github.com/libp2p/go-libp2p-kad-dht/fullrt"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 60 * time.Second

// gate refuses to dial anything but loopback, whatever addresses a test invents.
type gate struct{}

func (gate) InterceptPeerDial(peer.ID) bool                   { return true }
func (gate) InterceptAddrDial(_ peer.ID, a ma.Multiaddr) bool { return manet.IsIPLoopback(a) }
func (gate) InterceptAccept(network.ConnMultiaddrs) bool      { return true }
func (gate) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

func newPeer(t *testing.T, cfg PeerConfig) *Peer {
	t.Helper()
	cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.Host = []libp2p.Option{libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.ConnectionGater(gate{})}
	cfg.DHT = append(cfg.DHT, dht.AddressFilter(nil), dht.DisableAutoRefresh())
	p, err := NewPeer(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// swarm is a line of DHT servers that know each other.
func swarm(t *testing.T, n int, cfg PeerConfig) (out []*Peer) {
	t.Helper()
	cfg.Server = true
	if cfg.Bootstrap == nil {
		cfg.Bootstrap = []peer.AddrInfo{}
	}
	for range n {
		p := newPeer(t, cfg)
		for _, o := range out {
			connect(t, p, o)
		}
		out = append(out, p)
	}
	least := n / 2
	if cfg.BucketSize > 0 { // all others may belong in one bucket
		least = min(least, cfg.BucketSize)
	}
	for _, p := range out {
		require.Eventually(t, func() bool { return p.Table() >= least }, wait, time.Millisecond)
	}
	return out
}

func connect(t *testing.T, a, b *Peer) {
	t.Helper()
	require.NoError(t, a.Host.Connect(t.Context(), peer.AddrInfo{ID: b.Host.ID(), Addrs: b.Host.Addrs()}))
}

// retrieve finds what was just provided. It retries, because provider records are sent
// without waiting for their arrival.
func retrieve(t *testing.T, p *Peer, c cid.Cid) (r Measurement) {
	t.Helper()
	require.Eventually(t, func() bool { r = p.Retrieve(context.Background(), c); return r.Err == "" }, wait, 20*time.Millisecond)
	return r
}

// TestModes: each mode provides and finds, and then forgets the provider.
func TestModes(t *testing.T) {
	private := PeerConfig{Prefix: "/probe-test", BucketSize: 3, Bootstrap: []peer.AddrInfo{}}
	peers := swarm(t, 9, private)
	f := func(name string, change func(*PeerConfig)) {
		t.Helper()
		cfg := private
		change(&cfg)
		provider, finder := newPeer(t, cfg), newPeer(t, cfg)
		for _, p := range []*Peer{provider, finder} {
			for _, o := range peers[:4] {
				connect(t, p, o)
			}
			require.Eventually(t, p.Ready, wait, time.Millisecond)
		}
		content := Content()
		m := provider.Provide(t.Context(), content)
		require.Empty(t, m.Err, name)
		require.Equal(t, CIDOf(content), m.CID)
		require.Positive(t, m.Duration)
		require.Positive(t, m.Table)
		require.Equal(t, []Step{{StepProvide, m.Duration, ""}}, m.Steps)

		r := retrieve(t, finder, m.CID)
		require.Equal(t, provider.Host.ID(), r.Provider, name)
		if !cfg.Server { // a server's neighbours connect to it at any time, and so may this one
			require.Empty(t, finder.Host.Network().ConnsToPeer(provider.Host.ID()), "it is disconnected")
			require.Empty(t, finder.Host.Peerstore().Addrs(provider.Host.ID()), "and forgotten")
			require.GreaterOrEqual(t, r.Lookup.RPCs, 1)
			require.GreaterOrEqual(t, r.Lookup.Hops, 1)
			require.Len(t, r.Lookup.HopTimes, r.Lookup.Hops)
			require.LessOrEqual(t, r.Lookup.HopTimes[r.Lookup.Hops-1], r.Duration)
		}
	}
	f("client", func(*PeerConfig) {})
	f("dht-server", func(c *PeerConfig) { c.Server = true })
	f("optprov", func(c *PeerConfig) { c.OptProv = true })
}

// TestFailures: no peer has the content, no peer is connected, no peer answers.
func TestFailures(t *testing.T) {
	private := PeerConfig{Prefix: "/probe-test", Bootstrap: []peer.AddrInfo{}}
	alone := newPeer(t, private)
	require.False(t, alone.Ready())
	m := alone.Provide(t.Context(), Content())
	require.NotEmpty(t, m.Err)
	r := alone.Retrieve(t.Context(), m.CID)
	require.Empty(t, r.Err, "its own record exists, although no other peer has it")
	require.Zero(t, r.Lookup.Hops)
	r = alone.Retrieve(t.Context(), CIDOf([]byte("nobody's")))
	require.Equal(t, NotFound, r.Err)

	peers := swarm(t, 4, private)
	finder := newPeer(t, private)
	connect(t, finder, peers[0])
	require.Eventually(t, finder.Ready, wait, time.Millisecond)
	r = finder.Retrieve(t.Context(), CIDOf([]byte("nobody's")))
	require.Equal(t, NotFound, r.Err)
	require.GreaterOrEqual(t, r.Lookup.RPCs, 4)
	require.LessOrEqual(t, r.Lookup.RPCs, 8, "some peers are asked again at the end")
	require.Zero(t, r.Lookup.FailedDials)

	// Three peers are gone: their dials fail and are reported.
	for _, p := range peers[1:] {
		require.NoError(t, p.Host.Close())
	}
	gone := newPeer(t, private)
	connect(t, gone, peers[0])
	require.Eventually(t, gone.Ready, wait, time.Millisecond)
	r = gone.Retrieve(t.Context(), CIDOf([]byte("nobody's either")))
	require.Equal(t, NotFound, r.Err)
	require.GreaterOrEqual(t, r.Lookup.RPCs, 1)
	require.Equal(t, r.Lookup.Dials, r.Lookup.FailedDials)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Contains(t, finder.Provide(ctx, Content()).Err, "canceled")
	require.NotEmpty(t, finder.Retrieve(ctx, CIDOf([]byte("x"))).Err)
}

// publicly finds peers as a crawl does and claims that they have public addresses: the
// accelerated client accepts no others.
type publicly struct {
	peers     []*Peer
	connected chan struct{} // closed when all peers were reported, as a crawl ends
}

func (c publicly) Run(ctx context.Context, _ []*peer.AddrInfo, ok crawler.HandleQueryResult, _ crawler.HandleQueryFail) {
	select {
	case <-c.connected:
	case <-ctx.Done():
	}
	public := ma.StringCast("/ip4/1.1.1.1/tcp/1")
	for _, p := range c.peers {
		var all []*peer.AddrInfo
		for _, o := range c.peers {
			all = append(all, &peer.AddrInfo{ID: o.Host.ID(), Addrs: append(o.Host.Addrs(), public)})
		}
		ok(p.Host.ID(), all)
	}
}

func TestFullRT(t *testing.T) {
	peers := swarm(t, 8, PeerConfig{})
	accelerated := func() *Peer {
		connected := make(chan struct{})
		p := newPeer(t, PeerConfig{FullRT: true, Bootstrap: []peer.AddrInfo{{ID: peers[0].Host.ID(), Addrs: peers[0].Host.Addrs()}},
			full: []fullrt.Option{fullrt.WithIPDiversityFilterLimit(0), fullrt.WithCrawler(publicly{peers, connected})}})
		for _, o := range peers {
			p.Host.Peerstore().AddAddrs(o.Host.ID(), append(o.Host.Addrs(), ma.StringCast("/ip4/1.1.1.1/tcp/1")), time.Hour)
		}
		for _, o := range peers {
			connect(t, p, o)
		}
		close(connected)
		require.NoError(t, p.Bootstrap(t.Context()))
		require.Eventually(t, p.Ready, wait, 10*time.Millisecond)
		return p
	}
	provider, finder := accelerated(), accelerated()
	m := provider.Provide(t.Context(), Content())
	require.Empty(t, m.Err)
	require.Equal(t, 8, m.Table)
	require.Equal(t, 8, provider.NetworkSize())
	r := retrieve(t, finder, m.CID)
	require.Equal(t, provider.Host.ID(), r.Provider)
	require.Equal(t, 1, r.Lookup.Hops, "the client has found all peers")
}

func TestPeerConfig(t *testing.T) {
	for _, c := range []PeerConfig{{FullRT: true, Server: true}, {FullRT: true, OptProv: true}, {Port: -1}, {BucketSize: 5}, {Prefix: "/x", Concurrency: -1}} {
		_, err := NewPeer(c)
		require.Error(t, err)
	}
	require.NoError(t, PeerConfig{Prefix: "/x", BucketSize: 5}.validate())
}

// atStart are the variables of kad-dht's packages after all linked packages were
// initialised.
var atStart = [2]int{routing.QueryEventBufferSize, dht.LookupEventBufferSize}

// TestLinkingChangesNothing: a process that makes no peer of the probe has kad-dht's own
// buffers; a process with such a peer has room for all events of a lookup.
func TestLinkingChangesNothing(t *testing.T) {
	require.Equal(t, [2]int{16, 16}, atStart)
	newPeer(t, PeerConfig{Prefix: "/probe-test", Bootstrap: []peer.AddrInfo{}})
	require.Equal(t, [2]int{eventBuffer, eventBuffer}, [2]int{routing.QueryEventBufferSize, dht.LookupEventBufferSize})
}

// TestAPanicWhileALookupIsFollowed: a panic loses one event of the lookup.
func TestAPanicWhileALookupIsFollowed(t *testing.T) {
	lines := guardtest.Default(t)
	before := Guard.Panics()
	w := watch(t.Context())
	w.peers = nil // a fault in the probe
	for range 2 {
		routing.PublishQueryEvent(w.ctx, &routing.QueryEvent{ID: "p", Type: routing.SendingQuery})
		dht.PublishLookupEvent(w.ctx, &dht.LookupEvent{Response: &dht.LookupUpdateEvent{Queried: []*dht.PeerKadID{{Peer: "p"}}}})
	}
	require.Zero(t, w.end("", time.Second).RPCs)
	require.Equal(t, before+4, Guard.Panics())
	lines.Once(t, "probe: follow a query", "probe.(*watcher).query")
	lines.Once(t, "probe: follow a lookup", "probe.(*watcher).lookup")
}
