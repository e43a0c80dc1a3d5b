package size

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestHypergeometricIsTheFields: the values are those of the field's program for
// the same sets.
func TestHypergeometricIsTheFields(t *testing.T) {
	f := func(na, nb, both int, want uint64) {
		t.Helper()
		require.Equal(t, want, Hypergeometric(na, nb, both), "%d, %d, %d", na, nb, both)
		require.Equal(t, want, Hypergeometric(nb, na, both))
	}
	f(1000, 1000, 100, 10000)
	f(1000, 999, 7, 142714) // 142714.28..., a whole number
	f(10, 7, 3, 23)         // 23.33...
	f(10, 10, 10, 10)       // the same peers
	f(100, 10, 10, 100)     // a part of them
	f(5, 4, 0, 9)           // nothing in common: the union
	f(7, 0, 0, 7)           // an empty one
	f(0, 0, 0, 0)           // two
	f(3, 3, 2, 4)           // 4.5; the union is 4
	f(5000000, 4000000, 1000000, 20000000)
	f(1<<30, 1<<30, 1, 1<<60)
}

// TestCouponIsTheFields: the roots were computed apart, with 60 digits.
func TestCouponIsTheFields(t *testing.T) {
	f := func(want uint64, union int, samples ...int) {
		t.Helper()
		got, err := Coupon(samples, union)
		require.NoError(t, err)
		require.Equal(t, want, got, "%v, %d", samples, union)
	}
	f(10000, 1900, 1000, 1000)
	f(1000, 1000, 1000, 1000)  // the same peers
	f(20000, 7200, 5000, 3000) // of different sizes: their mean
	f(27000, 19000, 8000, 9000, 10000)
	f(42983, 31000, 12000, 11000, 9000, 15000)
	f(451, 170, 100, 0, 90) // an empty one is left out
	f(7, 7, 7)              // one
	f(7, 7, 0, 7)
	f(9, 5, 3, 3)
	f(233, 55, 30, 20, 10)
	f(25000, 990, 500, 500)
	wrong := func(union int, samples ...int) {
		t.Helper()
		_, err := Coupon(samples, union)
		require.Error(t, err, "%v, %d", samples, union)
	}
	wrong(0)
	wrong(0, 0, 0)
	wrong(2000, 1000, 1000) // nothing in common
	wrong(998, 500, 500)    // 125,000, which is more than 100 times the union
}

// TestChapman: against figures of the literature (Seber 1982 is the example of
// many textbooks) and by hand.
func TestChapman(t *testing.T) {
	size, variance := Chapman(10, 15, 5)
	require.InDelta(t, 11*16/6.-1, size, 1e-9)
	require.InDelta(t, 11.*16*5*10/(36*7), variance, 1e-9)
	size, variance = Chapman(10, 10, 10)
	require.EqualValues(t, 10, size)
	require.Zero(t, variance)
	i := chapmanInterval(10, 10, 10)
	require.EqualValues(t, 10, i.Low)
	require.False(t, newPair(0, 1, 100, 100, 6).Enough)
	require.True(t, newPair(0, 1, 100, 100, 7).Enough)
	for _, p := range []Pair{newPair(0, 1, 0, 0, 0), newPair(0, 1, 5, 0, 0), newPair(0, 1, 5, 5, 0)} {
		require.False(t, math.IsNaN(p.Low) || math.IsInf(p.High, 0), "%+v", p)
		require.GreaterOrEqual(t, p.High, p.Low)
	}
}

// draw returns the overlap of monitors that see each of n peers with the chances
// reach, independently.
func draw(r *rand.Rand, n int, reach ...float64) Overlap {
	o := Overlap{}
	for range n {
		var s Set
		for i, p := range reach {
			if r.Float64() < p {
				s |= SetOf(i)
			}
		}
		if s != 0 {
			o[s]++
		}
	}
	return o
}

// TestIntervalsCover: of repeated experiments the intervals have the truth in at
// least 95 of 100, less the noise of that many experiments (two standard
// deviations), from few peers in common to nearly all.
func TestIntervalsCover(t *testing.T) {
	const repeats = 1500
	noise := 2 * math.Sqrt(0.05*0.95/repeats)
	for i, c := range []struct {
		n     int
		reach []float64
	}{
		{2000, []float64{0.1, 0.1}},
		{2000, []float64{0.5, 0.3}},
		{2000, []float64{0.95, 0.9}},
		{300, []float64{0.3, 0.4}},
		{2000, []float64{0.1, 0.2, 0.05}},
		{1000, []float64{0.6, 0.1, 0.3, 0.2, 0.1}},
		{1000, []float64{0.05, 0.5, 0.9}},
	} {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		pairs, draws, all := 0, 0, 0
		wide := 0.0
		for range repeats {
			e := estimate(draw(r, c.n, c.reach...), nil, len(c.reach))
			for _, p := range e.Pairs {
				all++
				if p.Has(float64(c.n)) {
					pairs++
				}
			}
			if e.Draws.Has(float64(c.n)) {
				draws++
			}
			wide += (e.Draws.High - e.Draws.Low) / float64(c.n) / repeats
		}
		inPairs, inDraws := float64(pairs)/float64(all), float64(draws)/repeats
		t.Logf("%d peers, %v: pairs %.3f, draws %.3f, mean width of draws %.3f", c.n, c.reach, inPairs, inDraws, wide)
		require.Greater(t, inPairs, 0.95-noise, "%+v", c)
		require.Greater(t, inDraws, 0.95-noise, "%+v", c)
		require.Less(t, inDraws, 0.99, "%+v: the interval is wider than necessary", c)
	}
}

// TestOpenDraws: samples that exclude no size say so.
func TestOpenDraws(t *testing.T) {
	d := DrawsOf([]int{100, 100}, 200)
	require.True(t, d.Open)
	require.EqualValues(t, 20000, d.High)
	require.Greater(t, d.Low, 200.)
	d = DrawsOf([]int{100, 100}, 150)
	require.False(t, d.Open)
	require.InDelta(t, 200, d.Size, 1e-6)
	require.True(t, d.Has(200))
	require.Equal(t, Draws{Size: 50, Interval: Interval{50, 5000}, Open: true}, DrawsOf([]int{50, 0}, 50))
	require.Equal(t, Draws{}, DrawsOf(nil, 0))
}

// TestDependence: independent samples rarely have the sign, dependent ones always.
func TestDependence(t *testing.T) {
	const n, repeats = 20000, 300
	signs := func(seed uint64, monitors int, reach func(r *rand.Rand, family int) []float64) (dependent, tested int, odds float64) {
		r := rand.New(rand.NewPCG(seed, 8))
		for range repeats {
			all, families := Overlap{}, []Overlap{{}, {}}
			for range n {
				family := r.IntN(2)
				var s Set
				for i, p := range reach(r, family) {
					if r.Float64() < p {
						s |= SetOf(i)
					}
				}
				if s != 0 {
					all[s]++
					families[family][s]++
				}
			}
			d := dependence(all, families, 0, 1, monitors)
			if d.Tested {
				tested++
			}
			if d.Dependent() {
				dependent++
			}
			odds += d.OddsRatio / repeats
		}
		return dependent, tested, odds
	}
	for monitors := 2; monitors <= 4; monitors++ {
		dependent, tested, _ := signs(uint64(monitors), monitors, func(*rand.Rand, int) []float64 { return []float64{0.3, 0.2, 0.25, 0.4}[:monitors] })
		require.Equal(t, repeats, tested)
		require.LessOrEqual(t, dependent, 9, "1 %% of %d is 3; %d monitors", repeats, monitors)
	}
	// The first two see the same peers more often: they are peered.
	same := func(r *rand.Rand, _ int) []float64 {
		if r.IntN(2) == 0 {
			return []float64{0.5, 0.4, 0.25}
		}
		return []float64{0.1, 0.1, 0.25}
	}
	dependent, _, odds := signs(9, 3, same)
	require.Equal(t, repeats, dependent)
	require.Greater(t, odds, 1.2, "above 1: the estimate is too low")
	// And less often: they share them out.
	apart := func(r *rand.Rand, _ int) []float64 {
		if r.IntN(2) == 0 {
			return []float64{0.5, 0.1, 0.25}
		}
		return []float64{0.1, 0.4, 0.25}
	}
	dependent, _, odds = signs(10, 3, apart)
	require.Equal(t, repeats, dependent)
	require.Less(t, odds, 0.8)
	// Two monitors alone, of which both see one family more often.
	dependent, _, _ = signs(11, 2, func(_ *rand.Rand, family int) []float64 { return [][]float64{{0.5, 0.4}, {0.2, 0.1}}[family] })
	require.Equal(t, repeats, dependent)
	// If only one of them does, the estimate holds.
	dependent, _, _ = signs(12, 2, func(_ *rand.Rand, family int) []float64 { return [][]float64{{0.4, 0.2}, {0.2, 0.2}}[family] })
	require.LessOrEqual(t, dependent, 9)
	require.False(t, new(Dependence).Dependent())
	require.Equal(t, Dependence{}, dependence(Overlap{SetOf(0): 3, SetOf(1): 3}, nil, 0, 1, 2), "too few to test")
}

// TestEstimateOfParts: by family, agent and protocol, with capped names.
func TestEstimateOfParts(t *testing.T) {
	id := func(i int) peer.ID { return peer.ID(fmt.Sprintf("peer %05d", i)) }
	var a, b Sample
	for i := range 600 {
		p := Peer{ID: id(i), Agent: event.Text(fmt.Sprintf("kubo/0.%d.0", i%30)), Protocols: []event.Text{"/ipfs/bitswap/1.2.0", event.Text(fmt.Sprintf("/own/%d", i)), "/ipfs/bitswap/1.2.0"}}
		if i%30 == 0 {
			p.Agent = "helia/1.0"
		}
		if i < 400 {
			a.Peers = append(a.Peers, p)
		}
		if i >= 200 {
			p.Agent, p.Protocols = "", nil // b has not identified them
			b.Peers = append(b.Peers, p)
		}
	}
	a.Peers = append(a.Peers, a.Peers[0]) // twice
	r := EstimateOf([]Sample{a, b})
	require.Equal(t, []int{400, 400}, r.All.Monitors)
	require.Equal(t, 600, r.All.Peers)
	require.EqualValues(t, 800, r.All.Pairs[0].Field)
	require.EqualValues(t, 800, r.All.Coupon)
	require.Equal(t, 200, r.All.Overlap.All(SetOf(0, 1)))
	require.Equal(t, 200, r.All.Overlap.Only(SetOf(0)))
	require.Equal(t, 400, r.All.Overlap.Any(SetOf(1)))

	// What only one of the two knows of a peer holds for both.
	var families []string
	peers := 0
	for _, f := range r.Families {
		families = append(families, f.Name)
		peers += f.Peers
	}
	require.Equal(t, []string{"unknown", "kubo", "helia"}, families)
	require.Equal(t, 600, peers)
	require.Len(t, r.Agents, MaxAgents)
	require.Equal(t, 10, r.OtherAgents)
	require.Len(t, r.Protocols, MaxProtocols)
	require.Equal(t, "/ipfs/bitswap/1.2.0", r.Protocols[0].Name)
	require.Equal(t, 400, r.Protocols[0].Peers, "a protocol that a peer names twice counts once")
	require.Equal(t, []int{400, 200}, r.Protocols[0].Monitors)
	require.Equal(t, 351, r.OtherProtocols)
}

// TestNeighbours: the pairs that the field reports.
func TestNeighbours(t *testing.T) {
	e := estimate(draw(rand.New(rand.NewPCG(1, 1)), 100, 0.5, 0.5, 0.5), nil, 3)
	require.Len(t, e.Pairs, 3)
	n := e.Neighbours()
	require.Len(t, n, 2)
	require.Equal(t, [2]int{1, 2}, [2]int{n[1].A, n[1].B})
}
