package broadcast

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

func newHost(t *testing.T) host.Host {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.UserAgent("test/1"))
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// arrived is what a peer's Bitswap received.
type arrived struct {
	mu   sync.Mutex
	msgs []bsmsg.BitSwapMessage
	at   []time.Time
}

func (a *arrived) MessageReceived(_ peer.ID, m bsmsg.BitSwapMessage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.msgs = append(a.msgs, m.Clone())
	a.at = append(a.at, time.Now())
}
func (a *arrived) MessageSent(peer.ID, bsmsg.BitSwapMessage) {}

// entries returns all entries so far, those of each message in the order of their CIDs.
func (a *arrived) entries() (out []bsmsg.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.msgs {
		w := m.Wantlist()
		slices.SortFunc(w, func(a, b bsmsg.Entry) int { return slices.Compare(a.Cid.Bytes(), b.Cid.Bytes()) })
		out = append(out, w...)
	}
	return out
}

// newPeer makes a host with its own Bitswap that speaks the given protocols, or all.
func newPeer(t *testing.T, protocols ...protocol.ID) (host.Host, *arrived) {
	h, a := newHost(t), new(arrived)
	ctx, cancel := context.WithCancel(context.Background())
	var opts []bsnet.NetOpt
	if len(protocols) > 0 {
		opts = append(opts, bsnet.SupportedProtocols(protocols))
	}
	x := bitswap.New(ctx, bsnet.NewFromIpfsHost(h, opts...), nil,
		blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore())), bitswap.WithTracer(a))
	t.Cleanup(func() { x.Close(); cancel() })
	return h, a
}

// connect connects a to b and waits until a knows all protocols of b, which may send the last ones
// after the connection's first identify.
func connect(t *testing.T, a, b host.Host) {
	require.NoError(t, a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}))
	require.Eventually(t, func() bool {
		all := b.Mux().Protocols()
		known, err := a.Peerstore().SupportsProtocols(b.ID(), all...)
		return err == nil && len(known) == len(all)
	}, time.Minute, time.Millisecond)
}

func someCIDs(t *testing.T, n int) (out []cid.Cid) {
	for i := range n {
		h, err := multihash.Sum([]byte{byte(i)}, multihash.SHA2_256, -1)
		require.NoError(t, err)
		out = append(out, cid.NewCidV1(cid.Raw, h))
	}
	slices.SortFunc(out, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	return out
}

// TestBroadcast sends over a real wire to a peer that speaks today's Bitswap and to one
// that speaks 1.1.0, and not to one without Bitswap.
func TestBroadcast(t *testing.T) {
	b := bus.New(bus.Config{})
	seen := b.Subscribe("test")
	t.Cleanup(func() { seen.Close(); b.Close() })
	h := newHost(t)
	c := capture.New(b, nil)
	today, todayGot := newPeer(t)
	old, oldGot := newPeer(t, bsnet.ProtocolBitswapOneOne, bsnet.ProtocolBitswapOneZero)
	none := newHost(t)
	for _, p := range []host.Host{today, old, none} {
		connect(t, h, p)
	}
	x := New(h, c.MessageSent, slog.New(slog.DiscardHandler))
	cids := someCIDs(t, 3)
	kinds := map[string]event.WantType{today.ID().String(): event.WantHave, old.ID().String(): event.WantBlock}

	begin := time.Now()
	sent := x.Want(t.Context(), cids)
	require.Len(t, sent, 2)
	for _, s := range sent {
		require.Empty(t, s.Error)
		require.NotNil(t, s.RequestTypeSent)
		require.Equal(t, kinds[s.Peer], *s.RequestTypeSent)
		require.WithinRange(t, s.TimestampBeforeSend, begin.Add(-time.Second), time.Now())
	}
	cancelled := x.Cancel(t.Context(), cids)
	require.Len(t, cancelled, 2)
	for _, s := range cancelled {
		require.Empty(t, s.Error)
		require.Contains(t, kinds, s.Peer)
	}
	for p, got := range map[host.Host]*arrived{today: todayGot, old: oldGot} {
		require.Eventually(t, func() bool { return len(got.entries()) == 6 }, time.Minute, time.Millisecond)
		var wants, cancels []cid.Cid
		for _, e := range got.entries() {
			if e.Cancel {
				cancels = append(cancels, e.Cid)
				continue
			}
			wants = append(wants, e.Cid)
			require.EqualValues(t, math.MaxInt32, e.Priority)
			require.True(t, e.SendDontHave)
			require.EqualValues(t, kinds[p.ID().String()], e.WantType)
		}
		require.Equal(t, cids, wants)
		require.Equal(t, cids, cancels)
	}

	// The broadcasts are captured as sent messages.
	require.EqualValues(t, 3, c.Traffic(event.Libp2p, event.Sent).WantHave)
	require.EqualValues(t, 3, c.Traffic(event.Libp2p, event.Sent).WantBlock)
	require.EqualValues(t, 6, c.Traffic(event.Libp2p, event.Sent).Cancel)
}

func TestBroadcastWantCancel(t *testing.T) {
	h := newHost(t)
	p, got := newPeer(t)
	connect(t, h, p)
	x := New(h, unseen, slog.New(slog.DiscardHandler))
	cids := someCIDs(t, 2)
	const after = 300 * time.Millisecond

	sent := x.WantCancel(t.Context(), cids, after)
	require.Len(t, sent, 1)
	require.Equal(t, p.ID().String(), sent[0].Peer)
	require.Empty(t, sent[0].WantStatus.Error)
	require.Empty(t, sent[0].CancelStatus.Error)
	require.Equal(t, event.WantHave, *sent[0].WantStatus.RequestTypeSent)
	require.GreaterOrEqual(t, sent[0].CancelStatus.TimestampBeforeSend.Sub(sent[0].WantStatus.TimestampBeforeSend), after)
	require.Eventually(t, func() bool { return len(got.entries()) == 4 }, time.Minute, time.Millisecond)
	for i, e := range got.entries() {
		require.Equal(t, i >= 2, e.Cancel, "wants, then cancels")
	}

	// The caller disconnects: its wants are cancelled at once.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []httpapi.WantCancelSent)
	go func() { done <- x.WantCancel(ctx, cids, time.Hour) }()
	require.Eventually(t, func() bool { return len(got.entries()) == 6 }, time.Minute, time.Millisecond)
	cancel()
	sent = <-done
	require.Empty(t, sent[0].CancelStatus.Error)
	require.Eventually(t, func() bool { return len(got.entries()) == 8 }, time.Minute, time.Millisecond)
	require.True(t, got.entries()[7].Cancel)

	// A disconnected peer is sent nothing.
	sent = x.WantCancel(ctx, cids, 0)
	require.EqualValues(t, "context canceled", sent[0].WantStatus.Error)
	require.Nil(t, sent[0].WantStatus.RequestTypeSent)
	require.NotEmpty(t, sent[0].CancelStatus.Error)
	require.False(t, sent[0].CancelStatus.TimestampBeforeSend.IsZero())

	// The stream of the want breaks before the cancel.
	go func() { done <- x.WantCancel(t.Context(), cids, after) }()
	require.Eventually(t, func() bool { return len(got.entries()) == 10 }, time.Minute, time.Millisecond)
	for _, c := range h.Network().ConnsToPeer(p.ID()) {
		for _, s := range c.GetStreams() {
			if slices.Contains(bitswapProtocols, s.Protocol()) {
				require.NoError(t, s.Reset())
			}
		}
	}
	sent = <-done
	require.Empty(t, sent[0].CancelStatus.Error)
	require.Eventually(t, func() bool { return len(got.entries()) == 12 }, time.Minute, time.Millisecond)
}

// TestBroadcastToADeafPeer: the peer accepts the stream and reads nothing.
func TestBroadcastToADeafPeer(t *testing.T) {
	h, deaf := newHost(t), newHost(t)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	deaf.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) { <-hold; _ = s.Reset() })
	connect(t, h, deaf)
	x := New(h, unseen, slog.New(slog.DiscardHandler))
	var cids []cid.Cid
	for i := range 20_000 { // more than a stream's window
		m, err := multihash.Sum(fmt.Append(nil, i), multihash.SHA2_256, -1)
		require.NoError(t, err)
		cids = append(cids, cid.NewCidV1(cid.Raw, m))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	sent := x.Want(ctx, cids)
	require.Less(t, time.Since(begin), 10*time.Second)
	require.Len(t, sent, 1)
	require.NotEmpty(t, sent[0].Error)
}

func TestBroadcastWithoutPeers(t *testing.T) {
	x := New(newHost(t), unseen, slog.New(slog.DiscardHandler))
	require.Empty(t, x.Want(t.Context(), someCIDs(t, 1)))
	require.Empty(t, x.Cancel(t.Context(), someCIDs(t, 1)))
	require.Empty(t, x.WantCancel(t.Context(), someCIDs(t, 1), time.Hour))
}

func TestBroadcastWorkers(t *testing.T) {
	log, lines := guardtest.New()
	x := &Broadcaster{guard: guard.Guard{Log: log}}
	var mu sync.Mutex
	now, most := 0, 0
	calls := make([]int, 100)
	x.each(len(calls), func(i int) {
		mu.Lock()
		calls[i]++
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		if i == 50 || i == 51 {
			panic("here")
		}
	})
	require.LessOrEqual(t, most, broadcastWorkers)
	require.EqualValues(t, 2, x.guard.Panics())
	lines.Once(t, "broadcast: one call", "broadcast.TestBroadcastWorkers")
	for i, n := range calls {
		require.Equal(t, 1, n, "%d", i)
	}
}

// unseen is a tracer for broadcasts that nobody captures.
func unseen(peer.ID, bsmsg.BitSwapMessage) {}
