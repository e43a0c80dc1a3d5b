package watch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	carstore "github.com/ipld/go-car/v2/blockstore"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

const patience = 60 * time.Second

func TestIdentityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "too")
	first := newNode(t, Config{Dir: dir})
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "again")
	again := newNode(t, Config{Dir: dir})
	require.Equal(t, first.Host().ID(), again.Host().ID())
	info, err := os.Stat(filepath.Join(dir, keyName))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	cfg := Config{Dir: t.TempDir(), Isolated: true, Capture: again.cfg.Capture}
	require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, keyName), []byte("not a key"), 0o600))
	_, err = New(t.Context(), cfg)
	require.ErrorContains(t, err, "the node's key")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	cfg = Config{Dir: t.TempDir(), Isolated: true, Capture: again.cfg.Capture,
		Listen: []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", taken.Addr().(*net.TCPAddr).Port)}}
	_, err = New(t.Context(), cfg)
	require.ErrorContains(t, err, "--listen")
}

// TestItSaysWhatItHas: DONT_HAVE for all blocks but those of its files, which it sends.
func TestItSaysWhatItHas(t *testing.T) {
	folder := t.TempDir()
	small, large := blocks.NewBlock([]byte("small")), blocks.NewBlock(bytes.Repeat([]byte("large"), 100_000))
	writeCAR(t, filepath.Join(folder, "a.car"), small)
	writeCAR(t, filepath.Join(folder, "b.car"), large)
	n := startNode(t, Config{Blocks: folder})
	require.Equal(t, 2, n.Blocks())
	require.ErrorIs(t, n.blocks.Put(t.Context(), small), errReadOnly)
	missing, missing2 := blocks.NewBlock([]byte("missing")).Cid(), blocks.NewBlock([]byte("missing too")).Cid()

	h := newPeer(t, n)
	a := listen(h)
	ask(t, h, n, func(m bsmsg.BitSwapMessage) {
		m.AddEntry(missing, 1, pb.Message_Wantlist_Block, true)
		m.AddEntry(missing2, 1, pb.Message_Wantlist_Have, true)
		m.AddEntry(small.Cid(), 1, pb.Message_Wantlist_Block, true)
		m.AddEntry(large.Cid(), 1, pb.Message_Wantlist_Have, true)
	})
	require.Eventually(t, func() bool {
		p, said, block := a.get(missing)
		p2, said2, _ := a.get(missing2)
		_, _, got := a.get(small.Cid())
		have, saidHave, _ := a.get(large.Cid())
		return said && p == pb.Message_DontHave && block == nil && said2 && p2 == pb.Message_DontHave &&
			string(got) == "small" && saidHave && have == pb.Message_Have
	}, patience, 10*time.Millisecond)
	ask(t, h, n, func(m bsmsg.BitSwapMessage) { m.AddEntry(large.Cid(), 1, pb.Message_Wantlist_Block, true) })
	require.Eventually(t, func() bool { _, _, got := a.get(large.Cid()); return bytes.Equal(got, large.RawData()) }, patience, 10*time.Millisecond)

	in, out := n.cfg.Capture.Traffic(event.Libp2p, event.Received), n.cfg.Capture.Traffic(event.Libp2p, event.Sent)
	require.EqualValues(t, 3, in.WantBlock)
	require.EqualValues(t, 2, in.WantHave)
	require.EqualValues(t, 2, out.DontHave)
	require.EqualValues(t, 1, out.Have)
	require.EqualValues(t, 2, out.Blocks)

	// Introspection shows what the peer wants, of a Bitswap that has no client.
	shown := introspect.NewRegistry()
	require.NoError(t, nodestate.New(n.State(), nodestate.Config{
		Named:   true,
		Bitswap: func(d event.Direction) event.Traffic { return n.cfg.Capture.Traffic(event.Libp2p, d) },
	}).Register(shown))
	state, err := shown.FetchFullState()
	require.NoError(t, err)
	require.Empty(t, state.Failed)
	require.Len(t, state.Subsystems.Bitswap.Ledgers, 1)
	require.Equal(t, h.ID().String(), state.Subsystems.Bitswap.Ledgers[0].PeerId)
	require.ElementsMatch(t, []string{missing.String(), missing2.String()}, state.Subsystems.Bitswap.Ledgers[0].Wantlist)
}

// writeCAR writes a CAR file with one block, which is its root.
func writeCAR(t *testing.T, path string, blk blocks.Block) {
	t.Helper()
	f, err := carstore.OpenReadWrite(path, []cid.Cid{blk.Cid()})
	require.NoError(t, err)
	require.NoError(t, f.Put(t.Context(), blk))
	require.NoError(t, f.Finalize())
}

func TestWrongBlocks(t *testing.T) {
	f := func(want string, files map[string][]byte) {
		t.Helper()
		dir := t.TempDir()
		for name, data := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
		_, err := openBlocks(t.Context(), dir)
		require.ErrorContains(t, err, want)
	}
	whole := filepath.Join(t.TempDir(), "x.car")
	writeCAR(t, whole, blocks.NewBlock([]byte("what the block has in it")))
	car, err := os.ReadFile(whole)
	require.NoError(t, err)
	f("no file: want CAR files", nil)
	f("readme.txt: want CAR files with names in .car", map[string][]byte{"readme.txt": nil})
	f("empty.car: want a CAR file", map[string][]byte{"empty.car": nil})
	f("text.car: want a CAR file", map[string][]byte{"text.car": []byte("this is no CAR file")})
	f("bad.car: after 0 blocks: mismatch in content integrity", map[string][]byte{"bad.car": bytes.Replace(car, []byte("block has"), []byte("block had"), 1)})
	f("big.car: block", map[string][]byte{"big.car": func() []byte {
		name := filepath.Join(t.TempDir(), "big.car")
		writeCAR(t, name, blocks.NewBlock(make([]byte, maxBlockSize+1)))
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		return b
	}()})
}

func TestNobodyAnswers(t *testing.T) {
	log := &logged{}
	n := startNode(t, Config{Bootstrap: []string{"/ip4/127.0.0.1/tcp/1" + somePeer}, Logger: slog.New(log)})
	require.Eventually(t, func() bool {
		all := strings.Join(log.get(), "\n")
		return strings.Contains(all, "none of the bootstrap peers answers") && strings.Contains(all, "want others with --bootstrap")
	}, patience, 10*time.Millisecond)
	require.Empty(t, n.Host().Network().Peers())
}

func TestIsolatedStaysOnLoopback(t *testing.T) {
	n := startNode(t, Config{})
	for _, a := range n.Addrs() {
		require.True(t, strings.HasPrefix(a.String(), "/ip4/127.0.0.1/"), a)
	}
	for _, to := range []string{"/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1", "/ip6/2001:db8::1/tcp/4001"} {
		id, err := peer.Decode("QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN")
		require.NoError(t, err)
		n.Host().Peerstore().ClearAddrs(id)
		err = n.Host().Connect(t.Context(), peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(to)}})
		require.ErrorIs(t, err, swarm.ErrGaterDisallowedConnection, to)
		n.Host().Peerstore().ClearAddrs(id)
		err = n.Host().Connect(t.Context(), peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/example.com/tcp/4001")}})
		require.ErrorContains(t, err, "no good addresses", "names are not resolved")
	}
}

// TestLightNodesFindEachOther: each knows only the first, and finds the others in the DHT.
func TestLightNodesFindEachOther(t *testing.T) {
	first := startNode(t, Config{DHT: DHTServer, LookupEvery: MinEvery})
	var all []*Node
	for range 6 {
		all = append(all, startNode(t, Config{DHT: DHTServer, LookupEvery: MinEvery, WantEvery: MinEvery, Bootstrap: []string{first.Addrs()[0].String()}}))
	}
	for _, n := range all {
		require.Eventually(t, func() bool { return len(n.Host().Network().Peers()) == len(all) }, patience, 20*time.Millisecond)
	}
	// The wants of random CIDs reach the others and are taken back.
	require.Eventually(t, func() bool {
		in := first.cfg.Capture.Traffic(event.Libp2p, event.Received)
		return in.WantHave > 0 && in.Cancel > 0 && first.cfg.Capture.Traffic(event.Libp2p, event.Sent).DontHave > 0
	}, patience, 20*time.Millisecond)
	counts := all[0].cfg.Capture.DHTRequests(true)
	require.NotZero(t, counts[event.Sent][event.DHTFindNode][event.DHTAnswered], "requests of the DHT are seen")
}

// TestABlockIsAnnounced: a node with files is found as their provider.
func TestABlockIsAnnounced(t *testing.T) {
	folder := t.TempDir()
	blk := blocks.NewBlock([]byte("announced"))
	writeCAR(t, filepath.Join(folder, "a.car"), blk)
	first := startNode(t, Config{DHT: DHTServer})
	has := startNode(t, Config{DHT: DHTServer, Blocks: folder, Bootstrap: []string{first.Addrs()[0].String()}})
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for p := range first.dht.FindProvidersAsync(ctx, blk.Cid(), 1) {
			return p.ID == has.Host().ID()
		}
		return false
	}, 2*announceRetry+patience, 100*time.Millisecond)
}

// TestStreamsThatAreNeverClosed: a peer that opens streams and leaves them open gets so many
// and no more, and keeps no other from being answered.
func TestStreamsThatAreNeverClosed(t *testing.T) {
	n := startNode(t, Config{Peers: MinPeers})
	bad := newPeer(t, n)
	open := 0
	for range 4 * peerStreams {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		s, err := bad.NewStream(network.WithNoDial(ctx, "test"), n.Host().ID(), bsnet.ProtocolBitswap)
		if err == nil {
			_, err = s.Write([]byte{0xff}) // the beginning of a long message
		}
		if err == nil {
			_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err = s.Read(make([]byte, 1)) // reset, or nothing
			if e, ok := err.(interface{ Timeout() bool }); ok && e.Timeout() {
				err = nil
			}
		}
		cancel()
		if err == nil {
			open++
		}
	}
	require.LessOrEqual(t, count(n, bad.ID()), peerStreams)
	require.Greater(t, open, peerStreams/2)

	good := newPeer(t, n)
	a := listen(good)
	missing := blocks.NewBlock([]byte("missing")).Cid()
	ask(t, good, n, func(m bsmsg.BitSwapMessage) { m.AddEntry(missing, 1, pb.Message_Wantlist_Have, true) })
	require.Eventually(t, func() bool { _, said, _ := a.get(missing); return said }, patience, 10*time.Millisecond)
}

// count returns the inbound streams of a peer.
func count(n *Node, p peer.ID) (out int) {
	for _, c := range n.Host().Network().ConnsToPeer(p) {
		for _, s := range c.GetStreams() {
			if s.Stat().Direction == network.DirInbound {
				out++
			}
		}
	}
	return out
}

// TestTooManyPeers: beyond the limit connections are refused, and those beyond --peers are
// closed.
func TestTooManyPeers(t *testing.T) {
	n := startNode(t, Config{Peers: MinPeers, LookupEvery: -1})
	var all sync.WaitGroup
	var mu sync.Mutex
	var hosts []host.Host
	room := make(chan struct{}, 8)
	for range n.cfg.mostConns() + 40 {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			h := lonely(t)
			mu.Lock()
			hosts = append(hosts, h)
			mu.Unlock()
			_ = h.Connect(t.Context(), peer.AddrInfo{ID: n.Host().ID(), Addrs: n.Host().Addrs()[:1]}) // may be refused
			if got := len(n.Host().Network().Conns()); got > n.cfg.mostConns() {
				t.Errorf("%d connections, the limit is %d", got, n.cfg.mostConns())
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool { return len(n.Host().Network().Conns()) <= n.cfg.highWater() }, 2*patience, 100*time.Millisecond)
	h := newPeer(t, n) // there is room again
	require.Equal(t, network.Connected, h.Network().Connectedness(n.Host().ID()))
	for _, h := range hosts {
		h.Close()
	}
}

// TestIdentifyStorm: a peer that changes what it says of itself all the time costs a bounded
// number of entries.
func TestIdentifyStorm(t *testing.T) {
	n := startNode(t, Config{})
	bad := newPeer(t, n)
	for i := range 3000 {
		bad.SetStreamHandler(protocol.ID(fmt.Sprintf("/storm/%d\x1b[2J", i)), func(s network.Stream) { s.Reset() }) // each is pushed
		bad.RemoveStreamHandler(protocol.ID(fmt.Sprintf("/storm/%d\x1b[2J", i-20)))
	}
	good := newPeer(t, n)
	a := listen(good)
	missing := blocks.NewBlock([]byte("missing")).Cid()
	ask(t, good, n, func(m bsmsg.BitSwapMessage) { m.AddEntry(missing, 1, pb.Message_Wantlist_Have, true) })
	require.Eventually(t, func() bool { _, said, _ := a.get(missing); return said }, patience, 10*time.Millisecond)
	protocols, err := n.Host().Peerstore().GetProtocols(bad.ID())
	require.NoError(t, err)
	require.LessOrEqual(t, len(protocols), 128)
}

// TestTransports: peers reach the node over each transport that kubo has.
func TestTransports(t *testing.T) {
	n := startNode(t, Config{Listen: []string{
		"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/udp/0/quic-v1/webtransport", "/ip4/127.0.0.1/udp/0/webrtc-direct",
	}})
	reached := map[string]bool{}
	for _, a := range n.Host().Addrs() {
		h := lonely(t)
		require.NoError(t, h.Connect(t.Context(), peer.AddrInfo{ID: n.Host().ID(), Addrs: []multiaddr.Multiaddr{a}}), a)
		seen := listen(h)
		missing := blocks.NewBlock([]byte(a.String())).Cid()
		ask(t, h, n, func(m bsmsg.BitSwapMessage) { m.AddEntry(missing, 1, pb.Message_Wantlist_Have, true) })
		require.Eventually(t, func() bool { _, said, _ := seen.get(missing); return said }, patience, 10*time.Millisecond, a)
		reached[h.Network().Conns()[0].ConnState().Transport] = true
	}
	require.Equal(t, map[string]bool{"tcp": true, "websocket": true, "quic-v1": true, "webtransport": true, "webrtc-direct": true}, reached)
}
