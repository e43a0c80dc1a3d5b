package capture

import (
	"context"
	"crypto/rand"
	"github.com/libp2p/go-libp2p/core/host"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/network/httpnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// gatewayOf serves blocks as a trustless gateway, by TLS and HTTP/2 as httpnet
// wants it. It returns its multiaddress.
func gatewayOf(t *testing.T, all ...blocks.Block) ma.Multiaddr {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := cid.Decode(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
		for _, b := range all {
			if err == nil && b.Cid().Equals(c) {
				w.Header().Set("Content-Type", "application/vnd.ipld.raw")
				if r.Method == http.MethodGet {
					_, _ = w.Write(b.RawData())
				}
				return
			}
		}
		if strings.HasSuffix(r.URL.Path, "/bafkqaaa") { // httpnet's probe, the empty block
			return
		}
		http.NotFound(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return ma.StringCast("/ip4/127.0.0.1/tcp/" + u.Port() + "/tls/http")
}

// TestBlocksByHTTPAreNotBitswaps: a node that fetches by both, and from a peer
// that is connected by both: what comes by HTTP makes no event and no count of Bitswap's, what
// comes by a stream makes both, with the address that it came by.
func TestBlocksByHTTPAreNotBitswaps(t *testing.T) {
	data := make([]byte, 5000)
	_, _ = rand.Read(data)
	byHTTP := blocks.NewBlock(data[:3000])
	byStream := blocks.NewBlock(data[3000:])
	provider, other, h := newHost(t), newHost(t), newHost(t)
	store := func(all ...blocks.Block) blockstore.Blockstore {
		s := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
		require.NoError(t, s.PutMany(t.Context(), all))
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for p, has := range map[host.Host][]blocks.Block{provider: nil, other: {byStream}} {
		server := bitswap.New(ctx, bsnet.NewFromIpfsHost(p), nil, store(has...))
		defer server.Close()
	}

	b := bus.New(bus.Config{})
	defer b.Close()
	r := b.Subscribe("test")
	b.Live()
	c := New(b, nil)
	require.NoError(t, c.Start(h, Sampling{}))
	defer c.Close()
	seen := bsnetwork.NewConnectEventManager()
	web := httpnet.New(h, httpnet.WithInsecureSkipVerify(true), httpnet.WithConnectEventManager(seen))
	both := bsnetwork.New(h.Peerstore(), bsnet.NewFromIpfsHost(c.Tap(h), bsnet.WithConnectEventManager(seen)), web)
	client := bitswap.New(ctx, both, nil, store(), bitswap.WithTracer(c), bitswap.SetSendDontHaves(true))
	defer client.Close()

	require.NoError(t, h.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}))
	got, err := client.GetBlock(ctx, byStream.Cid())
	require.NoError(t, err)
	require.Equal(t, byStream.RawData(), got.RawData())
	require.Zero(t, c.FromHTTP())
	require.EqualValues(t, 1, c.Traffic(event.Received).Blocks)

	// Connected by libp2p too, which is not what the block comes by.
	require.NoError(t, both.Connect(ctx, peer.AddrInfo{ID: provider.ID(), Addrs: []ma.Multiaddr{gatewayOf(t, byHTTP)}}))
	require.True(t, web.IsConnectedToPeer(ctx, provider.ID()))
	require.NoError(t, h.Connect(ctx, peer.AddrInfo{ID: provider.ID(), Addrs: provider.Addrs()}))
	got, err = client.GetBlock(ctx, byHTTP.Cid())
	require.NoError(t, err)
	require.Equal(t, byHTTP.RawData(), got.RawData())

	require.Eventually(t, func() bool { return c.FromHTTP().Blocks == 1 }, time.Minute, time.Millisecond)
	require.EqualValues(t, len(byHTTP.RawData()), c.FromHTTP().BlockBytes)
	require.Positive(t, c.FromHTTP().Messages)
	traffic := c.Traffic(event.Received)
	require.EqualValues(t, 1, traffic.Blocks)
	require.EqualValues(t, len(byStream.RawData()), traffic.BlockBytes)

	b.Close()
	found := 0
	for buf := make([]*event.Event, 1); ; {
		if _, _, err := r.Next(ctx, buf); err != nil {
			require.ErrorIs(t, err, bus.ErrClosed)
			break
		}
		e := buf[0]
		for _, x := range e.Blocks {
			require.Equal(t, byStream.Cid(), x.CID, "a block that came by HTTP, told as Bitswap's")
			require.Equal(t, []event.Text{event.Text(other.Addrs()[0].String())}, e.Addrs)
			found++
		}
		for _, x := range e.Presences {
			require.NotEqual(t, byHTTP.Cid(), x.CID, "a presence that came by HTTP, told as Bitswap's")
		}
	}
	require.Equal(t, 1, found)
}

// TestCallersCostLittle: what looks at each message with an answer allocates nothing.
func TestCallersCostLittle(t *testing.T) {
	var c callers
	look := func() bool { return c.http() }
	look()
	require.Zero(t, testing.AllocsPerRun(100, func() { look() }))
	require.False(t, look())
}
