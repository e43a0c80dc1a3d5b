package capture

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
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
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// gatewayOf serves blocks as a trustless gateway, over TLS and HTTP/2 as httpnet
// requires. It returns its multiaddress, and a function that returns the requests so far
// by method and CID, without httpnet's probes.
func gatewayOf(t *testing.T, all ...blocks.Block) (ma.Multiaddr, func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	got := map[string]int{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := cid.Decode(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
		if !strings.HasSuffix(r.URL.Path, probe) {
			mu.Lock()
			got[r.Method+" "+c.String()]++
			mu.Unlock()
		}
		for _, b := range all {
			if err == nil && b.Cid().Equals(c) {
				w.Header().Set("Content-Type", "application/vnd.ipld.raw")
				if r.Method == http.MethodGet {
					_, _ = w.Write(b.RawData())
				}
				return
			}
		}
		if strings.HasSuffix(r.URL.Path, probe) {
			return
		}
		http.NotFound(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return ma.StringCast("/ip4/127.0.0.1/tcp/" + u.Port() + "/tls/http"), func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(got)
	}
}

// probe is the empty block, which httpnet requests to find out whether a server is a
// gateway.
const probe = "/bafkqaaa"

// TestHTTPIsNotBitswap: a node fetches over both transports, also from a peer that is
// connected by both. HTTP requests and answers are counted apart, and their events have
// the transport and the address that was used. There are as many as the server received.
func TestHTTPIsNotBitswap(t *testing.T) {
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
	both := bsnetwork.New(h.Peerstore(), c.Network(bsnet.NewFromIpfsHost(h, bsnet.WithConnectEventManager(seen)), event.Libp2p), c.Network(web, event.HTTP))
	client := bitswap.New(ctx, both, nil, store(), bitswap.SetSendDontHaves(true))
	defer client.Close()

	require.NoError(t, h.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}))
	got, err := client.GetBlock(ctx, byStream.Cid())
	require.NoError(t, err)
	require.Equal(t, byStream.RawData(), got.RawData())
	require.Zero(t, c.Traffic(event.HTTP, event.Received))
	require.EqualValues(t, 1, c.Traffic(event.Libp2p, event.Received).Blocks)

	// Also connected by libp2p, over which the block does not come.
	gateway, requests := gatewayOf(t, byHTTP)
	require.NoError(t, both.Connect(ctx, peer.AddrInfo{ID: provider.ID(), Addrs: []ma.Multiaddr{gateway}}))
	require.True(t, web.IsConnectedToPeer(ctx, provider.ID()))
	require.NoError(t, h.Connect(ctx, peer.AddrInfo{ID: provider.ID(), Addrs: provider.Addrs()}))
	got, err = client.GetBlock(ctx, byHTTP.Cid())
	require.NoError(t, err)
	require.Equal(t, byHTTP.RawData(), got.RawData())

	fromWeb := func() event.Traffic { return c.Traffic(event.HTTP, event.Received) }
	require.Eventually(t, func() bool { return fromWeb().Blocks == 1 }, time.Minute, time.Millisecond)
	require.EqualValues(t, len(byHTTP.RawData()), fromWeb().BlockBytes)
	traffic := c.Traffic(event.Libp2p, event.Received)
	require.EqualValues(t, 1, traffic.Blocks)
	require.EqualValues(t, len(byStream.RawData()), traffic.BlockBytes)

	// A block that no server has is requested too.
	short, enough := context.WithTimeout(ctx, time.Second)
	defer enough()
	nowhere := blocks.NewBlock([]byte("nowhere"))
	_, err = client.GetBlock(short, nowhere.Cid())
	require.Error(t, err)
	require.Positive(t, requests()["HEAD "+nowhere.Cid().String()]+requests()["GET "+nowhere.Cid().String()])
	require.NoError(t, client.Close()) // nothing more is requested
	b.Close()
	found := map[event.Transport][]cid.Cid{}
	asked := map[string]int{}
	for buf := make([]*event.Event, 1); ; {
		if _, _, err := r.Next(ctx, buf); err != nil {
			require.ErrorIs(t, err, bus.ErrClosed)
			break
		}
		e := buf[0]
		if e.Kind != event.KindMessage {
			continue
		}
		at := map[event.Transport]string{event.Libp2p: other.Addrs()[0].String(), event.HTTP: gateway.String()}[e.Transport]
		for _, x := range e.Blocks {
			found[e.Transport] = append(found[e.Transport], x.CID)
			require.Equal(t, []event.Text{event.Text(at)}, e.Addrs)
		}
		if e.Transport != event.HTTP {
			for _, x := range e.Presences {
				require.NotEqual(t, byHTTP.Cid(), x.CID, "a presence over HTTP is reported as libp2p's")
			}
			continue
		}
		require.Equal(t, provider.ID(), e.Peer)
		for _, w := range e.Wants {
			if !w.Cancel {
				asked[map[event.WantType]string{event.WantBlock: "GET ", event.WantHave: "HEAD "}[w.Type]+w.CID.String()]++
			}
		}
	}
	require.Equal(t, map[event.Transport][]cid.Cid{event.Libp2p: {byStream.Cid()}, event.HTTP: {byHTTP.Cid()}}, found)
	require.NotEmpty(t, asked)
	require.Equal(t, requests(), asked, "the server's requests and the captured ones differ")
}
