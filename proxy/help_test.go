package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// patient bounds each wait of a test.
const patient = 60 * time.Second

// newTestHost makes a host on loopback that ends with the test.
func newTestHost(t testing.TB, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.DisableRelay()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// api is the part of a node's RPC API that the proxy needs.
func api(t testing.TB, h host.Host, refs http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v0/id", func(w http.ResponseWriter, r *http.Request) {
		var addrs []string
		for _, a := range h.Addrs() {
			addrs = append(addrs, a.String()+"/p2p/"+h.ID().String())
		}
		json.NewEncoder(w).Encode(map[string]any{"ID": h.ID().String(), "Addresses": addrs})
	})
	if refs != nil {
		mux.HandleFunc("POST /api/v0/refs", refs)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// apiAddr returns a server's address for -d.
func apiAddr(s *httptest.Server) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	return fmt.Sprintf("/ip4/%s/tcp/%s", host, port)
}

// testNode is a node with boxo's Bitswap.
type testNode struct {
	host.Host
	store blockstore.Blockstore
	bs    *bitswap.Bitswap
	net   bsnetwork.BitSwapNetwork
	api   *httptest.Server
}

func newTestNode(t testing.TB) *testNode {
	t.Helper()
	return newTestNodeOn(t, newTestHost(t))
}

func newTestNodeOn(t testing.TB, h host.Host) *testNode {
	t.Helper()
	n := &testNode{Host: h}
	n.store = blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))
	n.net = bsnet.NewFromIpfsHost(n.Host)
	ctx, cancel := context.WithCancel(context.Background())
	n.bs = bitswap.New(ctx, n.net, nil, n.store)
	n.api = api(t, n.Host, nil)
	t.Cleanup(func() { n.bs.Close(); cancel(); n.net.Stop() })
	return n
}

// put stores blocks.
func (n *testNode) put(t testing.TB, all ...blocks.Block) {
	t.Helper()
	require.NoError(t, n.store.PutMany(context.Background(), all))
}

// newBlocks makes blocks of random bytes.
func newBlocks(t testing.TB, n, size int) []blocks.Block {
	t.Helper()
	out := make([]blocks.Block, n)
	for i := range out {
		b := make([]byte, size)
		_, err := rand.Read(b)
		require.NoError(t, err)
		out[i] = newBlock(t, b)
	}
	return out
}

func newBlock(t testing.TB, b []byte) blocks.Block {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(b)
	require.NoError(t, err)
	blk, err := blocks.NewBlockWithCid(b, c)
	require.NoError(t, err)
	return blk
}

// testProxy is a proxy and its log.
type testProxy struct {
	*Proxy
	log *logtest.Buffer
}

// startProxy runs a proxy in front of nodes and waits until the nodes of its
// configuration are connected.
func startProxy(t testing.TB, cfg Config) *testProxy {
	t.Helper()
	p := &testProxy{log: &logtest.Buffer{}}
	cfg.Logger = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.Listen == nil {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	if cfg.KeyFile == "" {
		cfg.KeyFile = filepath.Join(t.TempDir(), "key")
	}
	var err error
	p.Proxy, err = New(cfg)
	require.NoError(t, err)
	p.Start()
	t.Cleanup(func() {
		require.NoError(t, p.Close())
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	require.Eventually(t, func() bool { return len(p.engine.nodes()) == len(cfg.Downstreams) }, patient, 5*time.Millisecond, "not connected: %s", p.log)
	return p
}

// connect connects a peer to the proxy.
func (p *testProxy) connect(t testing.TB, h host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	require.NoError(t, h.Connect(ctx, peer.AddrInfo{ID: p.up.ID(), Addrs: p.up.Addrs()}))
}

// fetch gets blocks by a node's Bitswap and checks their bytes.
func (n *testNode) fetch(t testing.TB, want []blocks.Block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	require.NoError(t, n.tryFetch(ctx, want))
}

func (n *testNode) tryFetch(ctx context.Context, want []blocks.Block) error {
	left := map[cid.Cid][32]byte{}
	var keys []cid.Cid
	for _, b := range want {
		left[b.Cid()] = sha256.Sum256(b.RawData())
		keys = append(keys, b.Cid())
	}
	got, err := n.bs.NewSession(ctx).GetBlocks(ctx, keys)
	if err != nil {
		return err
	}
	for b := range got {
		if left[b.Cid()] != sha256.Sum256(b.RawData()) {
			return fmt.Errorf("block %s has other bytes", b.Cid())
		}
		delete(left, b.Cid())
	}
	if len(left) > 0 {
		return fmt.Errorf("%d of %d blocks did not come: %w", len(left), len(want), ctx.Err())
	}
	return nil
}

// rawNode is a node whose messages the test sends and answers.
type rawNode struct {
	host.Host
	net  bsnetwork.BitSwapNetwork
	got  func(from peer.ID, m bsmsg.BitSwapMessage)
	api  *httptest.Server
	gone atomic.Int64
}

func newRawNode(t testing.TB, got func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage)) *rawNode {
	t.Helper()
	n := &rawNode{Host: newTestHost(t)}
	n.net = bsnet.NewFromIpfsHost(n.Host)
	n.got = func(from peer.ID, m bsmsg.BitSwapMessage) {
		if got != nil {
			got(n, from, m)
		}
	}
	n.net.Start(n)
	t.Cleanup(n.net.Stop)
	n.api = api(t, n.Host, nil)
	return n
}

func (n *rawNode) ReceiveMessage(_ context.Context, from peer.ID, m bsmsg.BitSwapMessage) {
	n.got(from, m)
}
func (n *rawNode) ReceiveError(error)       {}
func (n *rawNode) PeerConnected(peer.ID)    {}
func (n *rawNode) PeerDisconnected(peer.ID) { n.gone.Add(1) }

// send sends a message to a connected peer.
func (n *rawNode) send(t testing.TB, to peer.ID, m bsmsg.BitSwapMessage) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := n.net.SendMessage(ctx, to, m); err != nil {
		t.Log(err)
	}
}

func protocolID(s string) protocol.ID { return protocol.ID(s) }

// echo returns what it receives.
func echo(s network.Stream) {
	_, _ = io.Copy(s, s) // the test checks what is returned
	s.Close()
}
