package introspect_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bspb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// fakeHost is a host whose parts but the network are libp2p's.
type fakeHost struct {
	host.Host
	net   *fakeNetwork
	store peerstore.Peerstore
}

type fakeNetwork struct {
	network.Network
	conns []network.Conn
}

func (h *fakeHost) Network() network.Network       { return h.net }
func (h *fakeHost) Peerstore() peerstore.Peerstore { return h.store }
func (h *fakeHost) ID() peer.ID                    { return "node" }
func (h *fakeNetwork) Conns() []network.Conn       { return append([]network.Conn(nil), h.conns...) }
func (h *fakeNetwork) Peers() []peer.ID {
	out := make([]peer.ID, 0, len(h.conns))
	for _, c := range h.conns {
		out = append(out, c.RemotePeer())
	}
	return out
}

// noNetwork is a network for a Bitswap server that sends nothing.
type noNetwork struct{ bsnetwork.BitSwapNetwork }

func (noNetwork) Self() peer.ID                { return "node" }
func (noNetwork) TagPeer(peer.ID, string, int) {}
func (noNetwork) UntagPeer(peer.ID, string)    {}

// wholeNode is a server of a node of n peers with all that libp2p and boxo keep of them: addresses, agents,
// protocols, keys, resource scopes, and a Bitswap ledger with a want.
func wholeNode(t testing.TB, n int, light bool) *introspect.Server {
	all, taps := fakeConns(t, n)
	store, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	limits, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.InfiniteLimits))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	bs := server.New(ctx, noNetwork{}, blockstore.NewBlockstore(datastore.NewMapDatastore()))
	h := &fakeHost{store: store, net: &fakeNetwork{conns: all}}
	t.Cleanup(func() {
		cancel()
		bs.Close()
		require.NoError(t, store.Close())
		require.NoError(t, limits.Close())
	})
	ledgers := lightLedgers{}
	var protocols []protocol.ID
	for i := range 20 {
		protocols = append(protocols, protocol.ID(fmt.Sprintf("/a/protocol/of/peers/%d.0.0", i)))
	}
	for i, c := range all {
		p := c.RemotePeer()
		require.NoError(t, store.Put(p, "AgentVersion", fmt.Sprintf("kubo/0.%d.0/desktop", i%40)))
		key, err := p.ExtractPublicKey()
		require.NoError(t, err)
		require.NoError(t, store.AddPubKey(p, key))
		require.NoError(t, store.SetProtocols(p, protocols...))
		store.RecordLatency(p, time.Millisecond)
		for k := range 4 {
			store.AddAddr(p, multiaddr.StringCast(fmt.Sprintf("/ip4/198.51.%d.%d/udp/%d/quic-v1", i>>8&0xff, i&0xff, 4001+k)), time.Hour)
		}
		scope, err := limits.OpenConnection(network.DirInbound, true, c.RemoteMultiaddr())
		require.NoError(t, err)
		require.NoError(t, scope.SetPeer(p))
		for _, s := range c.GetStreams() {
			stream, err := limits.OpenStream(p, s.Stat().Direction)
			require.NoError(t, err)
			require.NoError(t, stream.SetProtocol(s.Protocol()))
		}
		want := blocks.NewBlock(fmt.Append(nil, i)).Cid()
		ledgers[p] = []cid.Cid{want}
		bs.PeerConnected(p)
		m := bsmsg.New(false)
		m.AddEntry(want, 1, bspb.Message_Wantlist_Have, false)
		bs.ReceiveMessage(ctx, p, m)
	}
	node := nodestate.Node{
		Host: h, Peerstore: store, Resources: limits, Reporter: metrics.NewBandwidthCounter(), Taps: taps, Bitswap: &bitswap.Bitswap{Server: bs},
	}
	if light {
		node.Bitswap, node.Ledgers = nil, ledgers
	}
	r := introspect.NewRegistry()
	state := nodestate.New(node, nodestate.Config{
		Started: time.Now(), Named: true, Bitswap: func(event.Direction) (t event.Traffic) { return t },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, state.Register(r))
	return introspect.NewServer(introspect.Config{Introspector: r})
}

// fakeConns makes n connections of three streams each.
func fakeConns(t testing.TB, n int) ([]network.Conn, *nodestate.Taps) {
	taps := nodestate.NewTaps()
	var cfg libp2p.Config
	require.NoError(t, taps.Option()(&cfg))
	all := make([]network.Conn, n)
	for i := range all {
		all[i] = newFakeConn(t, i, cfg.Reporter)
	}
	return all, taps
}

// lightLedgers are those of a server that knows what it has: a light node's.
type lightLedgers map[peer.ID][]cid.Cid

func (l lightLedgers) Account(peer.ID) (a nodestate.Account) { return a }
func (l lightLedgers) Waiting() int                          { return len(l) }
func (l lightLedgers) Wants(p peer.ID, most int) ([]cid.Cid, int) {
	return l[p][:min(most, len(l[p]))], len(l[p])
}

// BenchmarkNodeSnapshot builds and encodes the state of a whole node, some of which is read every two seconds only: it is
// read each time here.
func BenchmarkNodeSnapshot(b *testing.B) {
	for _, server := range []string{"light", "boxo"} {
		for _, n := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("server=%s/connections=%d", server, n), func(b *testing.B) {
				s := wholeNode(b, n, server == "light")
				defer s.Close()
				_, err := s.MakeSnapshot() // the first reads all connections
				require.NoError(b, err)
				runtime.GC()
				benchSnapshot(b, s, n, 2100*time.Millisecond)
			})
		}
	}
}
