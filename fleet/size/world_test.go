package size_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/size"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// world is a network in which everything is known.
type world struct {
	peers    []peer.ID
	agents   []event.Text
	reach    []float64 // of each monitor: the share of the peers that connects to it
	contents []cid.Cid
}

const worldPeers = 50_000

func newWorld() *world {
	w := &world{reach: []float64{0.30, 0.12, 0.20, 0.25}}
	for i := range 2 * worldPeers { // half of them are there at any time
		sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("peer"), uint32(i)))
		mh, err := multihash.Encode(append([]byte{8, 1, 18, 32}, sum[:]...), multihash.IDENTITY)
		if err != nil {
			panic(err)
		}
		w.peers = append(w.peers, peer.ID(mh))
		agent := event.Text("kubo/0.43.1/")
		switch k := i % 100; {
		case k < 10:
			agent = "go-ipfs/0.12.0"
		case k < 18:
			agent = "helia/1.0.0"
		case k < 23:
			agent = "rust-ipfs/0.1"
		case k < 26:
			agent = "storm"
		case k < 30:
			agent = ""
		}
		w.agents = append(w.agents, agent)
	}
	for i := range 20_000 {
		mh, err := multihash.Sum(binary.BigEndian.AppendUint32([]byte("content"), uint32(i)), multihash.SHA2_256, -1)
		if err != nil {
			panic(err)
		}
		w.contents = append(w.contents, cid.NewCidV1(cid.Raw, mh))
	}
	return w
}

// TestWorldSizes: in 100 worlds of 50,000 peers, of which half are replaced by
// others from one to the next, the estimates for all, for pairs and for families of
// agents have the truth within their interval at least 95 times of 100, less the
// noise of the number of experiments, and overlaps are exact.
func TestWorldSizes(t *testing.T) {
	w := newWorld()
	r := rand.New(rand.NewPCG(2026, 17))
	here := r.Perm(len(w.peers))
	hits, trials := map[string]int{}, map[string]int{}
	try := func(kind string, hit bool) {
		trials[kind]++
		if hit {
			hits[kind]++
		}
	}
	signs := 0
	for range 100 {
		// Churn: some leave, others come.
		for i := range worldPeers / 2 {
			j := worldPeers + r.IntN(worldPeers)
			here[i], here[j] = here[j], here[i]
		}
		truth := map[string]int{}
		samples := make([]size.Sample, len(w.reach))
		exact := map[size.Set]int{}
		for _, p := range here[:worldPeers] {
			truth[event.AgentFamilies[event.AgentFamily(w.agents[p])]]++
			var seen size.Set
			for m, reach := range w.reach {
				if r.Float64() < reach {
					seen |= size.SetOf(m)
					samples[m].Peers = append(samples[m].Peers, size.Peer{ID: w.peers[p], Agent: w.agents[p]})
				}
			}
			for set := size.Set(1); set < 1<<len(w.reach); set++ {
				if seen&set == set {
					exact[set]++
				}
			}
		}
		report := size.EstimateOf(samples)
		for set := size.Set(1); set < 1<<len(w.reach); set++ {
			require.Equal(t, exact[set], report.All.Overlap.All(set), "peers of the monitors %b", set)
		}
		try("all, draws", report.All.Draws.Has(worldPeers))
		for _, p := range report.All.Pairs {
			try("all, pairs", p.Has(worldPeers))
			require.InEpsilon(t, worldPeers, p.Field, 0.15)
			require.InEpsilon(t, worldPeers, p.Chapman, 0.15)
			if p.Dependence.Dependent() {
				signs++
			}
		}
		require.NoError(t, report.All.CouponErr)
		require.InEpsilon(t, worldPeers, report.All.Coupon, 0.25, "it takes the samples as of one size, which they are not")
		require.Len(t, report.Families, 5)
		for _, f := range report.Families {
			try("families, draws", f.Draws.Has(float64(truth[f.Name])))
			for _, p := range f.Pairs {
				try("families, pairs", p.Has(float64(truth[f.Name])))
			}
		}
	}
	for kind, n := range trials {
		// Pairs of one world share samples: their noise is that of the worlds.
		noise := 2 * math.Sqrt(0.05*0.95/float64(min(n, 600)))
		share := float64(hits[kind]) / float64(n)
		t.Logf("%s: %d of %d, %.1f %%", kind, hits[kind], n, 100*share)
		require.Greater(t, share, 0.95-noise, kind)
	}
	require.LessOrEqual(t, signs, 18, "1 %% of 600 pairs are 6")
}

// TestWorldRequests: a day of requests with a popularity of a Zipf kind, which
// peers send to the monitors that they are connected to, repeat each 30 s and
// cancel; peers come and leave. Popularity and overlaps are exact, estimates of
// what the CIDs have in common and of the coverage are within their error.
func TestWorldRequests(t *testing.T) {
	w := newWorld()
	r := rand.New(rand.NewPCG(2026, 18))
	zipf := rand.NewZipf(r, 1.2, 4, uint64(len(w.contents)-1))
	begin := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixNano()
	const second = int64(time.Second)

	type asked struct {
		c cid.Cid
		p peer.ID
	}
	var events []unify.Event
	truth := map[cid.Cid]*size.Popular{}
	pairs, busy := map[asked]bool{}, map[asked][]int64{}
	seenBy := make([]map[cid.Cid]bool, len(w.reach))
	seqs := make([]uint64, len(w.reach))
	connected := make([]map[peer.ID]bool, len(w.reach))
	for m := range w.reach {
		seenBy[m], connected[m] = map[cid.Cid]bool{}, map[peer.ID]bool{}
	}
	all, caught := 0, make([]int, len(w.reach))
	for range 60_000 {
		i := r.IntN(len(w.peers))
		p, c := w.peers[i], w.contents[zipf.Uint64()]
		at := begin + r.Int64N(86_000)*second + r.Int64N(second)
		if slices.ContainsFunc(busy[asked{c, p}], func(other int64) bool { return at < other+150*second && at > other-150*second }) {
			continue // it asks already
		}
		busy[asked{c, p}] = append(busy[asked{c, p}], at)
		all++
		var at0 size.Set
		for m, reach := range w.reach {
			// Whether a peer connects to a monitor is a matter of the pair, for the whole day.
			h := sha256.Sum256(append([]byte(p), byte(m)))
			if float64(binary.BigEndian.Uint32(h[:]))/math.MaxUint32 < reach {
				at0 |= size.SetOf(m)
				caught[m]++
				seenBy[m][c] = true
			}
		}
		if at0 == 0 {
			continue
		}
		if truth[c] == nil {
			truth[c] = &size.Popular{CID: c}
		}
		truth[c].Requests++
		if !pairs[asked{c, p}] {
			pairs[asked{c, p}] = true
			truth[c].Peers++
		}
		repeats := r.IntN(3)
		for m := range w.reach {
			if at0&size.SetOf(m) == 0 {
				continue
			}
			send := func(at int64, kind unify.EntryType) {
				events = append(events, unify.Event{Time: at + r.Int64N(second/2), Monitor: m, Peer: p, Wants: []unify.Want{{CID: c, Type: kind}}})
			}
			if !connected[m][p] {
				connected[m][p] = true
				events = append(events, unify.Event{Time: begin - r.Int64N(second), Monitor: m, Kind: unify.Connected, Peer: p})
			}
			for k := range repeats + 1 {
				send(at+int64(k)*30*second, unify.WantHave)
			}
			if r.IntN(2) == 0 {
				send(at+int64(repeats)*30*second+second, unify.Cancel)
			} else if r.IntN(4) == 0 {
				end := at + int64(repeats)*30*second + 2*second
				events = append(events, unify.Event{Time: end, Monitor: m, Kind: unify.Disconnected, Peer: p}, unify.Event{Time: end + 20*second, Monitor: m, Kind: unify.Connected, Peer: p})
			}
		}
	}
	slices.SortStableFunc(events, func(a, b unify.Event) int { return int(a.Time - b.Time) })
	for i := range events {
		seqs[events[i].Monitor]++
		events[i].Seq = seqs[events[i].Monitor]
	}

	popular, cids := size.NewPopularity(0), size.NewCIDs(len(w.reach))
	u, err := unify.New(unify.Config{Monitors: []string{"a", "b", "c", "d"}}, func(e *unify.Entry) {
		if !e.Type.Request() {
			return
		}
		cids.Add(e.Monitor, e.CID)
		if !e.Duplicate {
			popular.Add(e.CID, e.Peer)
		}
	})
	require.NoError(t, err)
	for part := range slices.Chunk(events, 1000) {
		u.Push(part)
		u.Advance(part[len(part)-1].Time)
	}
	u.Flush()

	// Popularity is exact.
	require.Zero(t, popular.Left)
	require.Equal(t, len(truth), popular.CIDs())
	for c, want := range truth {
		require.Equal(t, *want, popular.Of(c))
	}
	top := popular.ByPeers(10)
	require.Len(t, top, 10)
	for i := 1; i < len(top); i++ {
		require.GreaterOrEqual(t, top[i-1].Peers, top[i].Peers)
	}
	require.Equal(t, top[0].CID, popular.ByRequests(1)[0].CID, "the most popular of a Zipf distribution is so by both")

	// CIDs, by sketch: within three standard errors of the truth.
	for set := size.Set(1); set < 1<<len(w.reach); set++ {
		both, any := 0, 0
		for c := range truth {
			n := 0
			for m := range w.reach {
				if set&size.SetOf(m) != 0 && seenBy[m][c] {
					n++
				}
			}
			if n > 0 {
				any++
			}
			if n == setSize(set) {
				both++
			}
		}
		gotAny := cids.Any(set)
		require.InDelta(t, any, gotAny.N, 3*gotAny.Error, "%b", set)
		gotAll, err := cids.All(set)
		require.NoError(t, err)
		require.InDelta(t, both, gotAll.N, 3*gotAll.Error, "%b", set)
	}

	// Coverage: what share of all requests each monitor and the fleet caught.
	s := u.Stats()
	c := size.CoverageOf(s.Coverage.Seen, s.Coverage.Both, s.Coverage.Requests)
	require.EqualValues(t, popular.Requests, s.Coverage.Requests, "a request is what is no global duplicate")
	t.Logf("%d requests, %d caught; estimated %.0f (%.0f to %.0f)", all, c.Requests, c.All.Size, c.All.Low, c.All.High)
	require.InEpsilon(t, all, c.All.Size, 0.02)
	for m := range w.reach {
		require.EqualValues(t, caught[m], s.Coverage.Seen[m])
		require.InDelta(t, float64(caught[m])/float64(all), c.Monitors[m].Share, 0.02)
		for other := range w.reach {
			share := c.Pairs[m][other]
			require.LessOrEqual(t, share.Low, share.Share)
			require.GreaterOrEqual(t, share.High, share.Share)
		}
	}
	for _, m := range s.Monitors {
		require.Zero(t, m.Late+m.Overflow)
	}
}

func setSize(s size.Set) (n int) {
	for ; s != 0; s &= s - 1 {
		n++
	}
	return n
}

// TestJoinedCIDs: the sketches of two collectors that share the peers join to
// those of one, and others do not join.
func TestJoinedCIDs(t *testing.T) {
	w := newWorld()
	one, a, b := size.NewCIDs(2), size.NewCIDs(2), size.NewCIDs(2)
	for i, c := range w.contents[:5000] {
		part := a
		if i%2 == 1 {
			part = b
		}
		for m := range 2 {
			if i%3 != m {
				one.Add(m, c)
				part.Add(m, c)
			}
		}
	}
	require.NoError(t, a.Join(b))
	for set := size.Set(1); set < 4; set++ {
		require.Equal(t, one.Any(set), a.Any(set))
	}
	require.ErrorContains(t, a.Join(size.NewCIDs(3)), "want 2")
	_, err := size.NewCIDs(9).All(1<<9 - 1)
	require.ErrorContains(t, err, "9 monitors")
}

// TestPopularityBound: what is beyond the bound is counted.
func TestPopularityBound(t *testing.T) {
	w := newWorld()
	p := size.NewPopularity(10)
	for i := range 20 {
		p.Add(w.contents[0], w.peers[i])
	}
	p.Add(w.contents[0], w.peers[0])
	require.Equal(t, size.Popular{CID: w.contents[0], Requests: 11, Peers: 10}, p.Of(w.contents[0]))
	require.EqualValues(t, 10, p.Left)
	require.EqualValues(t, 11, p.Requests)
	require.Equal(t, size.Popular{CID: w.contents[1]}, p.Of(w.contents[1]))
}

// TestCoverageOfNothing is a coverage of no requests.
func TestCoverageOfNothing(t *testing.T) {
	c := size.CoverageOf([]uint64{0, 0}, [][]uint64{{0, 0}, {0, 0}}, 0)
	require.Zero(t, c.Fleet.Share)
	require.False(t, math.IsNaN(c.Monitors[0].Share))
	require.Equal(t, size.Share{Share: 0, Interval: size.Interval{Low: 0, High: 1}}, c.Pairs[0][1])
}
