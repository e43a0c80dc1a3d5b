package capture

import (
	"context"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// records returns that many records, then waits until the context ends.
type records int

func (n records) FindProvidersAsync(ctx context.Context, _ cid.Cid, _ int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo)
	go func() {
		defer close(out)
		for range n {
			select {
			case out <- peer.AddrInfo{ID: testPeer, Addrs: []ma.Multiaddr{ma.StringCast("/dns4/gateway.example/tcp/443/tls/http")}}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// TestSearchesAreEvents: the start of a search, each record up to the limit before the
// exchange receives it, and the end with the number of all records.
func TestSearchesAreEvents(t *testing.T) {
	c, next := newTest(t)
	require.Nil(t, c.Discovery(nil))
	var d routing.ContentDiscovery = c.Discovery(records(MaxSearchRecords + 5))
	got := d.FindProvidersAsync(t.Context(), testCID(1), 0)
	e := next()
	require.Equal(t, event.KindSearch, e.Kind)
	require.Equal(t, &event.Search{CID: testCID(1), State: event.SearchBegan}, e.Search)
	n := 0
	for p := range got {
		require.Equal(t, testPeer, p.ID)
		n++
	}
	require.Equal(t, MaxSearchRecords+5, n)
	for range MaxSearchRecords {
		e = next()
		require.Equal(t, event.SearchFound, e.Search.State)
		require.Equal(t, testPeer, e.Peer)
		require.True(t, e.Search.HTTP)
		require.False(t, e.Search.Connected)
		require.Equal(t, []event.Text{"/dns4/gateway.example/tcp/443/tls/http"}, e.Addrs)
	}
	e = next()
	require.Equal(t, event.SearchEnded, e.Search.State)
	require.Equal(t, n, e.Search.Providers)
	require.Empty(t, e.Peer)

	// An exchange that stops reading ends the search.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	got = d.FindProvidersAsync(ctx, testCID(2), 0)
	<-got
	cancel()
	for e = next(); e.Search.State != event.SearchEnded; e = next() {
	}
	require.GreaterOrEqual(t, e.Search.Providers, 1)
}
