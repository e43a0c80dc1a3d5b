package lab

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/probe"
)

func TestMain(m *testing.M) {
	gologshim.SetDefaultHandler(slog.DiscardHandler) // see Run
	goleak.VerifyTestMain(m)
}

func fleets(t testing.TB, specs ...string) (out []Fleet) {
	for _, s := range specs {
		f, err := ParseFleet(s)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

// witness records the requests that the peers of a lab receive.
type witness struct {
	mu   sync.Mutex
	seen map[string]int // by asker, kind and key
}

func (w *witness) option() dht.Option {
	return dht.OnRequestHook(func(_ context.Context, s network.Stream, m *pb.Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[fmt.Sprint(s.Conn().RemotePeer(), m.GetType(), string(m.GetKey()))]++
	})
}

func (w *witness) count(p *probe.Peer, kind pb.Message_MessageType, c cid.Cid) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[fmt.Sprint(p.Host.ID(), kind, string(c.Hash()))]
}

// direct makes a lookup without the probe.
func direct(ctx context.Context, p *probe.Peer, c cid.Cid) (time.Duration, peer.ID) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	found := p.DHT().FindProvidersAsync(ctx, c, 1)
	x := <-found
	d := time.Since(began)
	cancel()
	for range found {
	}
	return d, x.ID
}

// forget removes what the probe removes after a lookup.
func forget(p *probe.Peer, id peer.ID) {
	_ = p.Host.Network().ClosePeer(id)
	p.Host.Peerstore().RemovePeer(id)
	p.Host.Peerstore().ClearAddrs(id)
}

// TestFifty runs a lab of 50 peers with k=6: everything is found, and the probe's account
// of its lookups matches the requests that the peers received.
func TestFifty(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	w := &witness{seen: map[string]int{}}
	var events []*event.Event
	var mu sync.Mutex
	setup, rounds := 0, 0
	out, err := Run(ctx, Config{
		Nodes: 50, Bucket: 6, Rounds: 17, Servers: 3, Fleets: fleets(t, "default", "optprov:optprov"), Dir: t.TempDir(), Settle: 20 * time.Millisecond,
		nodeDHT: []dht.Option{w.option()},
		Setup:   func(int, int) { setup++ },
		Round:   func(int, int) { rounds++ },
		Publish: func(e *event.Event) { mu.Lock(); events = append(events, e); mu.Unlock() },
		ready:   func(servers []*probe.Peer) { compare(ctx, t, w, servers[:3]) },
	})
	require.NoError(t, err)
	require.Equal(t, 56, setup)
	require.Equal(t, 34, rounds)
	require.Len(t, out.Results, 34*3)
	require.Len(t, events, 34*3)
	good := 0
	for _, r := range out.Results {
		if r.Error == "" {
			good++
		} else {
			t.Logf("%+v", r)
		}
	}
	require.GreaterOrEqual(t, float64(good)/float64(len(out.Results)), 0.99)
}

// compare checks the probe's account of its lookups against the requests that the peers
// received, and against direct calls of kad-dht.
func compare(ctx context.Context, t *testing.T, w *witness, servers []*probe.Peer) {
	provider, finder, other := servers[0], servers[1], servers[2]
	var asked, seen, probed, plain, hops int
	const runs = 20
	for range runs {
		m := provider.Provide(ctx, probe.Content())
		require.Empty(t, m.Err)
		// The last requests are abandoned when the lookup has enough results.
		asked += m.Lookup.RPCs
		arrived := w.count(provider, pb.Message_FIND_NODE, m.CID)
		require.LessOrEqual(t, arrived, m.Lookup.RPCs)
		require.LessOrEqual(t, m.Lookup.Hops, arrived)
		seen += arrived
		require.Eventually(t, func() bool { return w.count(provider, pb.Message_ADD_PROVIDER, m.CID) == 6 }, time.Minute, time.Millisecond, "k peers store it")

		r := finder.Retrieve(ctx, m.CID)
		require.Empty(t, r.Err)
		// Requests that were sent when the answer came may not have arrived yet.
		saw := w.count(finder, pb.Message_GET_PROVIDERS, m.CID)
		require.LessOrEqual(t, saw, r.Lookup.RPCs)
		require.GreaterOrEqual(t, saw, 1)
		require.GreaterOrEqual(t, r.Lookup.Hops, 1)
		require.LessOrEqual(t, r.Lookup.Hops, r.Lookup.RPCs)
		require.LessOrEqual(t, r.Lookup.Hops, int(math.Log2(50))+1, "a step halves the distance")
		require.Len(t, r.Lookup.HopTimes, r.Lookup.Hops)
		require.LessOrEqual(t, r.Lookup.HopTimes[r.Lookup.Hops-1], r.Duration)
		probed += r.Lookup.RPCs
		hops += r.Lookup.Hops

		_, id := direct(ctx, other, m.CID)
		require.Equal(t, provider.Host.ID(), id)
		forget(other, id)
		plain += w.count(other, pb.Message_GET_PROVIDERS, m.CID)
	}
	t.Logf("provides: %d RPCs reported, %d arrived; a retrieval: %.1f RPCs reported by the probe, %.1f seen of direct calls, %.1f hops", asked, seen, float64(probed)/runs, float64(plain)/runs, float64(hops)/runs)
	require.GreaterOrEqual(t, float64(seen), 0.8*float64(asked), "of %d reported requests %d arrived", asked, seen)
	require.Less(t, float64(probed), 3*float64(plain)+runs)
	require.Less(t, float64(plain), 3*float64(probed)+runs)
}

// TestLines: delay, loss and churn, and fleets with all options.
func TestLines(t *testing.T) {
	t.Parallel() // it waits for answers that are lost
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	const latency = 20 * time.Millisecond
	out, err := Run(ctx, Config{Nodes: 12, Bucket: 4, Rounds: 3, Servers: 2, Latency: latency, Loss: 0.002, Churn: 12, Seed: 7,
		Fleets: fleets(t, "narrow:alpha=2,beta=1", "answers:dht-server"), Dir: t.TempDir(), Settle: 100 * time.Millisecond})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(out.Results), 6)

	good := 0
	for _, r := range out.Results {
		if r.Error == "" && r.Lookup.RPCs > 0 {
			good++
			require.GreaterOrEqual(t, r.Duration, latency/2, "no answer is faster than the line")
		}
	}
	require.Greater(t, good, 2)
}

// TestCancelled returns the results so far.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, err := Run(ctx, Config{Nodes: 8, Bucket: 3, Rounds: 100_000, Servers: 2, Fleets: fleets(t, "a"), Dir: t.TempDir(), Settle: time.Millisecond,
		Round: func(n, _ int) {
			if n == 2 {
				cancel()
			}
		}})
	require.ErrorIs(t, err, context.Canceled)
	require.GreaterOrEqual(t, len(out.Results), 4)
}

func TestParse(t *testing.T) {
	f, err := ParseFleet("wide:dht-server,alpha=20,beta=4")
	require.NoError(t, err)
	require.Equal(t, Fleet{"wide", probe.PeerConfig{Server: true, Concurrency: 20, Resiliency: 4}}, f)
	for _, bad := range []string{"", ":optprov", "a:what", "a:alpha=x", "a:alpha=0", "a b", "a:fullrt"} {
		_, err := ParseFleet(bad)
		require.Error(t, err, bad)
	}
	for text, want := range map[string]float64{"1%": 0.01, "0.5 %": 0.005, "0.25": 0.25, "0": 0} {
		v, err := ParseLoss(text)
		require.NoError(t, err)
		require.InDelta(t, want, v, 1e-9)
	}
	for text, want := range map[string]float64{"5/min": 5, "5": 5, "300/h": 5, "0.1/s": 6} {
		v, err := ParseChurn(text)
		require.NoError(t, err)
		require.InDelta(t, want, v, 1e-9)
	}
	for _, bad := range []string{"", "x", "NaN", "5/day"} {
		_, err := ParseChurn(bad)
		require.Error(t, err, bad)
	}
	_, err = ParseLoss("NaN%")
	require.Error(t, err)
	bad := Config{Nodes: 3, Bucket: 5, Latency: -1, Loss: 2, Churn: -1}
	for _, what := range []string{"nodes 3", "k 5", "latency", "loss", "churn", "rounds", "servers", "fleet"} {
		require.ErrorContains(t, bad.Validate(), what)
	}
}

// BenchmarkOverhead compares retrievals by the probe with direct calls of kad-dht in the
// same network, in pairs that alternate which is first. It fails when the median of the
// probe's is more than 5 percent longer.
func BenchmarkOverhead(b *testing.B) {
	for _, latency := range []time.Duration{5 * time.Millisecond, 40 * time.Millisecond} {
		b.Run(latency.String(), func(b *testing.B) { overhead(b, latency) })
	}
}

func overhead(b *testing.B, latency time.Duration) {
	ctx := context.Background()
	_, err := Run(ctx, Config{Nodes: 50, Bucket: 6, Rounds: 1, Servers: 3, Fleets: fleets(b, "default"), Dir: b.TempDir(), Settle: time.Millisecond,
		Latency: latency, Seed: 1,
		ready: func(servers []*probe.Peer) {
			const runs = 150
			var plain, probed []time.Duration
			provider, finder := servers[0], servers[1]
			for i := range runs {
				m := provider.Provide(ctx, probe.Content())
				if m.Err != "" {
					b.Fatal(m.Err)
				}
				for turn := range 2 {
					if (i+turn)%2 == 0 {
						r := finder.Retrieve(ctx, m.CID)
						probed = append(probed, r.Duration)
					} else {
						d, id := direct(ctx, finder, m.CID)
						forget(finder, id)
						plain = append(plain, d)
					}
				}
			}
			slices.Sort(plain)
			slices.Sort(probed)
			more := 100 * (float64(probed[runs/2])/float64(plain[runs/2]) - 1)
			b.ReportMetric(float64(plain[runs/2].Microseconds()), "µs-p50/direct")
			b.ReportMetric(float64(probed[runs/2].Microseconds()), "µs-p50/probe")
			b.ReportMetric(more, "%overhead")
			if more > 5 {
				b.Errorf("the probe's median is %.1f %% longer", more)
			}
		}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
}
