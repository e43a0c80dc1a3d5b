package watch

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dhtrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
)

// TestRecordsAgainstAMap compares a store that is large enough with a map.
func TestRecordsAgainstAMap(t *testing.T) {
	ctx, rng := t.Context(), rand.New(rand.NewPCG(1, 2))
	ours, exact := newProviders(), datastore.NewMapDatastore()
	key := func() datastore.Key {
		return datastore.NewKey(fmt.Sprintf("/providers/K%d/P%d", rng.IntN(20), rng.IntN(10)))
	}
	for range 2000 {
		k, value := key(), fmt.Appendf(nil, "%d", rng.Int())
		if rng.IntN(3) == 0 {
			require.NoError(t, ours.Delete(ctx, k))
			require.NoError(t, exact.Delete(ctx, k))
		} else {
			require.NoError(t, ours.Put(ctx, k, value))
			require.NoError(t, exact.Put(ctx, k, value))
		}
		k = key()
		got, err := ours.Get(ctx, k)
		want, wantErr := exact.Get(ctx, k)
		require.Equal(t, wantErr, err)
		require.Equal(t, want, got)
		for _, q := range []query.Query{{Prefix: k.Parent().String()}, {Prefix: "/providers/", KeysOnly: true}, {Prefix: "/other"}, {Prefix: "/providers/K99"}} {
			require.ElementsMatch(t, entries(t, exact, q), entries(t, ours, q))
		}
	}
}

func entries(t *testing.T, d datastore.Datastore, q query.Query) (out []string) {
	t.Helper()
	found, err := d.Query(t.Context(), q)
	require.NoError(t, err)
	all, err := found.Rest()
	require.NoError(t, err)
	for _, e := range all {
		out = append(out, e.Key+"="+string(e.Value))
	}
	return out
}

// TestRecordsAreBounded fills a store with keys, then one key with providers.
func TestRecordsAreBounded(t *testing.T) {
	ctx := t.Context()
	r := newRecords(100_000, datastore.Key.Parent)
	for i := range 10_000 {
		require.NoError(t, r.Put(ctx, datastore.NewKey(fmt.Sprintf("/providers/K%d/P", i)), []byte("now")))
		require.LessOrEqual(t, r.bytes, r.most)
	}
	_, err := r.Get(ctx, datastore.NewKey("/providers/K9999/P"))
	require.NoError(t, err, "the newest")
	_, err = r.Get(ctx, datastore.NewKey("/providers/K0/P"))
	require.ErrorIs(t, err, datastore.ErrNotFound, "the oldest")
	for i := range 10_000 {
		k := datastore.NewKey(fmt.Sprintf("/providers/one/P%d", i))
		require.NoError(t, r.Put(ctx, k, []byte("now")))
		require.LessOrEqual(t, r.bytes, r.most)
		_, err = r.Get(ctx, k)
		require.NoError(t, err)
	}
	require.Len(t, r.groups, 1)
	sum := 0
	for at := r.order.Front(); at != nil; at = at.Next() {
		for k, v := range at.Value.(*group).entries {
			sum += cost(k, v)
		}
	}
	require.Equal(t, sum, r.bytes)
}

// TestProvidersAreFoundAgain: the DHT's own manager works on the store.
func TestProvidersAreFoundAgain(t *testing.T) {
	ps, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	defer ps.Close()
	m, err := dhtrecords.NewProviderManager("self", ps, newProviders())
	require.NoError(t, err)
	defer m.Close()
	id := func(i int) peer.ID {
		sum, err := mh.Sum(fmt.Appendf(nil, "provider %d", i), mh.SHA2_256, -1)
		require.NoError(t, err)
		return peer.ID(sum)
	}
	for i := range 1000 { // more than its own cache and batch
		require.NoError(t, m.AddProvider(t.Context(), fmt.Appendf(nil, "key %d", i), peer.AddrInfo{ID: id(i)}))
	}
	for i := range 1000 {
		got, err := m.GetProviders(t.Context(), fmt.Appendf(nil, "key %d", i))
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, id(i), got[0].ID)
	}
}
