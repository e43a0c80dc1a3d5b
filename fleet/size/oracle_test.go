package size

import (
	"fmt"
	"math"
	"math/bits"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestUnionIsThatOfAllDraws: mean and deviation of the union are those of all draws, one by one.
func TestUnionIsThatOfAllDraws(t *testing.T) {
	for n := 2; n <= 6; n++ {
		for _, sizes := range [][]int{{1, 1}, {1, 2}, {2, 2}, {2, 1, 2}, {1, 1, 1}} {
			var sum, squares, draws float64
			var draw func(i int, union uint)
			draw = func(i int, union uint) {
				if i == len(sizes) {
					u := float64(bits.OnesCount(union))
					sum, squares, draws = sum+u, squares+u*u, draws+1
					return
				}
				for s := range uint(1) << n {
					if bits.OnesCount(s) == sizes[i] {
						draw(i+1, union|s)
					}
				}
			}
			draw(0, 0)
			var w []float64
			for _, x := range sizes {
				w = append(w, float64(x))
			}
			mean, deviation := unionOf(w, float64(n))
			require.InDelta(t, sum/draws, mean, 1e-9, "%v of %d", sizes, n)
			require.InDelta(t, math.Sqrt(max(0, squares/draws-sum*sum/draws/draws)), deviation, 1e-6, "%v of %d", sizes, n)
		}
	}
}

// TestIntervalsAreThoseOfTheFormulas: values that were computed apart.
func TestIntervalsAreThoseOfTheFormulas(t *testing.T) {
	w := func(k, n uint64, low, high float64) {
		t.Helper()
		s := wilson(k, n)
		require.Equal(t, float64(k)/float64(n), s.Share)
		require.InDelta(t, low, s.Low, 1e-5)
		require.InDelta(t, high, s.High, 1e-5)
	}
	w(10, 100, 0.05523, 0.17437)
	w(0, 10, 0, 0.27754)
	w(10, 10, 0.72246, 1)
	w(1, 2, 0.09453, 0.90547)
	w(999, 1000, 0.99436, 0.99982)

	c := func(na, nb, both int, low, high float64) {
		t.Helper()
		i := chapmanInterval(na, nb, both)
		require.InEpsilon(t, low, i.Low, 1e-4)
		require.InEpsilon(t, high, i.High, 1e-4)
		require.Equal(t, i, chapmanInterval(nb, na, both))
	}
	c(100, 150, 30, 392.62714, 667.61296)
	c(20, 10, 3, 35.841651, 177.03549)
	c(50, 60, 0, 482.20289, 100291.74)
}

// TestDrawsAreWhereTheUnionIs: at each end of the interval the union that was seen is 1.96
// deviations and a half from its mean; at the size it is the mean.
func TestDrawsAreWhereTheUnionIs(t *testing.T) {
	for _, c := range []struct {
		samples []int
		union   int
	}{{[]int{100, 100}, 150}, {[]int{100, 0, 300}, 370}, {[]int{50, 60, 70}, 130}, {[]int{1000, 900, 800, 50}, 1900}} {
		d := DrawsOf(c.samples, c.union)
		require.False(t, d.Open, "%v", c)
		var w []float64
		for _, n := range c.samples {
			if n > 0 {
				w = append(w, float64(n))
			}
		}
		mean, _ := unionOf(w, d.Size)
		require.InDelta(t, c.union, mean, 1e-6)
		mean, deviation := unionOf(w, d.Low)
		require.InDelta(t, float64(c.union), mean+1.959964*deviation+0.5, 1e-6)
		mean, deviation = unionOf(w, d.High)
		require.InDelta(t, float64(c.union), mean-1.959964*deviation-0.5, 1e-6)
		require.Less(t, d.Low, d.Size)
		require.Less(t, d.Size, d.High)
	}
	// All have the same peers: there are no others.
	d := DrawsOf([]int{100, 100}, 100)
	require.Equal(t, []float64{100, 100}, []float64{d.Size, d.Low})
	require.False(t, d.Open)
	require.Equal(t, Draws{Size: 1, Interval: Interval{1, 100}, Open: true}, DrawsOf([]int{1}, 1))
}

// TestChiSquareByHand: the two tests of dependence on tables that were computed by hand.
func TestChiSquareByHand(t *testing.T) {
	third := func(both, onlyA, onlyB, neither int) (test, bool) {
		return testThird(Overlap{SetOf(0, 1, 2): both, SetOf(0, 2): onlyA, SetOf(1, 2): onlyB, SetOf(2): neither,
			SetOf(0, 1): 1000, SetOf(0): 1000, SetOf(1): 1000}, 0, 1, 2)
	}
	got, ok := third(10, 20, 30, 40)
	require.True(t, ok)
	require.InDelta(t, 0.50404, got.p, 1e-4) // chi-square 0.446
	require.InDelta(t, 10.5*40.5/(20.5*30.5), got.odds, 1e-9)
	got, ok = third(30, 10, 20, 60)
	require.True(t, ok)
	require.InDelta(t, chiP(120*math.Pow(30*60-10*20-60, 2)/(40*80*50*70)), got.p, 1e-9)
	require.InDelta(t, 30.5*60.5/(10.5*20.5), got.odds, 1e-9)
	got, ok = third(25, 25, 25, 25) // no distance: the correction makes it no less than 0
	require.True(t, ok)
	require.EqualValues(t, 1, got.p)
	_, ok = third(5, 5, 5, 5) // the least mean of a cell is 5
	require.True(t, ok)
	_, ok = third(4, 5, 5, 5)
	require.False(t, ok)
	_, ok = third(5, 5, 5, 4)
	require.False(t, ok)
	_, ok = third(0, 0, 0, 0)
	require.False(t, ok)
	_, ok = third(90, 8, 1, 1) // nearly all are A's
	require.False(t, ok)
	_, ok = third(90, 1, 8, 1) // or B's
	require.False(t, ok)

	p, ok := sameShares([]float64{40, 60}, []float64{10, 30})
	require.True(t, ok)
	require.InDelta(t, chiP(6.25), p, 1e-9)
	p, ok = sameShares([]float64{40, 60, 3, 7}, []float64{10, 30, 1, 3}) // the small ones are too small together too
	require.True(t, ok)
	share := 44. / 110
	require.InDelta(t, chiP(math.Pow(10-40*share, 2)/(40*share*(1-share))+math.Pow(30-60*share, 2)/(60*share*(1-share))), p, 1e-9)
	p, ok = sameShares([]float64{100, 6, 6}, []float64{50, 4, 2}) // joined they are a group
	require.True(t, ok)
	require.InDelta(t, 1, p, 1e-9)
	p, ok = sameShares([]float64{10, 90}, []float64{5, 45}) // a mean of just 5
	require.True(t, ok)
	require.InDelta(t, 1, p, 1e-9)
	_, ok = sameShares([]float64{9, 91}, []float64{5, 45})
	require.False(t, ok)
	_, ok = sameShares([]float64{0, 0}, []float64{0, 0})
	require.False(t, ok)
	_, ok = sameShares([]float64{100, 100}, []float64{100, 100})
	require.False(t, ok, "all of both: there is nothing to compare")
}

// chiP is the chance of a chi-square of one degree of freedom or more.
func chiP(chi float64) float64 { return math.Erfc(math.Sqrt(chi / 2)) }

// TestDependenceIsTheLeastOfAll: P is the smallest of all tests times their number, with the
// test that it is of.
func TestDependenceIsTheLeastOfAll(t *testing.T) {
	all := Overlap{
		SetOf(0, 1, 2): 10, SetOf(0, 2): 20, SetOf(1, 2): 30, SetOf(2): 40,
		SetOf(0, 1, 3): 30, SetOf(0, 3): 10, SetOf(1, 3): 20, SetOf(3): 60,
	}
	one, _ := testThird(all, 0, 1, 2)
	other, _ := testThird(all, 0, 1, 3)
	d := dependence(all, nil, 0, 1, 4)
	require.Less(t, other.p, one.p)
	require.Equal(t, Dependence{Tested: true, Test: TestThird, P: 2 * other.p, OddsRatio: other.odds}, d)
	require.True(t, d.Dependent())
	d = dependence(all, nil, 0, 1, 3)
	require.Equal(t, Dependence{Tested: true, Test: TestThird, P: one.p, OddsRatio: one.odds}, d)
	require.False(t, d.Dependent())
	require.False(t, (&Dependence{Tested: true, P: dependentP}).Dependent())
	families := []Overlap{{SetOf(0, 1): 10, SetOf(0): 30, SetOf(1): 30}, {SetOf(0, 1): 30, SetOf(0): 30, SetOf(1): 30}}
	d = dependence(Overlap{}, families, 0, 1, 2)
	require.Equal(t, TestFamilies, d.Test)
	require.InDelta(t, chiP(6.25), d.P, 1e-9)
	// The larger P of the two directions counts.
	families[0][SetOf(1)], families[1][SetOf(1)] = 10, 30 // 10 of 20, 30 of 60
	d = dependence(Overlap{}, families, 0, 1, 2)
	require.InDelta(t, 1, d.P, 1e-9)
	d = dependence(all, []Overlap{{SetOf(0, 1): 50, SetOf(0): 50, SetOf(1): 50}, {SetOf(0, 1): 50, SetOf(0): 50, SetOf(1): 50}}, 0, 1, 3)
	require.EqualValues(t, 1, d.P, "at most 1")
}

// TestCoverageByHand: the shares of requests and their ends.
func TestCoverageByHand(t *testing.T) {
	c := CoverageOf([]uint64{100, 100}, [][]uint64{{100, 50}, {50, 100}}, 150)
	require.EqualValues(t, 150, c.Requests)
	require.InDelta(t, 200, c.All.Size, 1e-6)
	require.InDelta(t, 0.75, c.Fleet.Share, 1e-6)
	require.InDelta(t, 150/c.All.High, c.Fleet.Low, 1e-9)
	require.InDelta(t, min(1, 150/c.All.Low), c.Fleet.High, 1e-9)
	require.InDelta(t, 0.5, c.Monitors[1].Share, 1e-6)
	require.InDelta(t, 100/c.All.High, c.Monitors[1].Low, 1e-9)
	require.InDelta(t, 100/c.All.Low, c.Monitors[1].High, 1e-9)
	require.Equal(t, wilson(50, 100), c.Pairs[0][1])
	require.Equal(t, wilson(100, 100), c.Pairs[1][1])
}

// TestSketchesAddAndSubtract: what a set of monitors saw, of up to eight.
func TestSketchesAddAndSubtract(t *testing.T) {
	s := NewCIDs(9)
	for i := range 3000 {
		mh, err := multihash.Sum([]byte{byte(i), byte(i >> 8)}, multihash.SHA2_256, -1)
		require.NoError(t, err)
		for m := range 8 {
			s.Add(m, cid.NewCidV1(cid.Raw, mh)) // all saw all
		}
	}
	all, err := s.All(SetOf(0, 1, 2, 3, 4, 5, 6, 7))
	require.NoError(t, err)
	one := s.Any(SetOf(3))
	require.InEpsilon(t, 3000, one.N, 3*SketchError)
	require.InEpsilon(t, one.N*SketchError, one.Error, 1e-9)
	require.InEpsilon(t, one.N, all.N, 1e-9)
	require.InEpsilon(t, one.Error*math.Sqrt(255), all.Error, 1e-9)
	none, err := s.All(SetOf(0, 8))
	require.NoError(t, err)
	require.Zero(t, none.N)
	_, err = s.All(SetOf(0, 1, 2, 3, 4, 5, 6, 7, 8))
	require.ErrorContains(t, err, "want at most 8")
	require.Zero(t, s.Any(0))
}

// TestMostAgents: the agents with most peers are reported, each with its peers, and both ends
// belong to an interval.
func TestMostAgents(t *testing.T) {
	var s Sample
	for i := range MaxAgents + 5 {
		for k := range i + 1 {
			s.Peers = append(s.Peers, Peer{ID: peer.ID(fmt.Sprint(i, "/", k)), Agent: event.Text(fmt.Sprintf("agent%02d", i))})
		}
	}
	r := EstimateOf([]Sample{s})
	require.Len(t, r.Agents, MaxAgents)
	require.Equal(t, 5, r.OtherAgents)
	for i, a := range r.Agents {
		n := MaxAgents + 5 - i
		require.Equal(t, fmt.Sprintf("agent%02d", n-1), a.Name)
		require.Equal(t, n, a.Peers)
	}
	i := Interval{1, 2}
	require.Equal(t, []bool{false, true, true, false}, []bool{i.Has(0.99), i.Has(1), i.Has(2), i.Has(2.01)})
}
