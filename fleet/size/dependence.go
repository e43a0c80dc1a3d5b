package size

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// dependentP is the chance of a false sign, in one pair whose samples are
// independent.
const dependentP = 0.01

// leastExpected is the least mean of a cell for which the distribution of
// chi-square holds.
const leastExpected = 5

// The tests of Dependence.
const (
	TestThird    = "third monitor"
	TestFamilies = "agent families"
)

// Dependence reports whether the samples of two monitors are independent, as far as
// that can be tested. Two samples alone cannot show it: how many peers neither has
// is what is unknown. Two tests use something else:
//
//   - Third monitor: among the peers of another monitor it is known which neither
//     has. There, independence is tested by Pearson's chi-square with one degree
//     of freedom and Yates's correction, for each other monitor. It assumes that
//     the other one's sample does not depend on both.
//   - Agent families: if the share of the peers of one monitor that the other
//     one has too differs between families of agents, and the same the other way
//     round, then peers of some families are seen more often than those of others, and
//     the estimate for all is too low. The test is chi-square's, the larger P of the
//     two directions counts.
//
// P is Bonferroni's: the smallest of all tests times their number.
type Dependence struct {
	Tested bool    // false: there were too few peers for any test
	Test   string  // the one with the smallest P
	P      float64 // of independent samples this is at most P in a share of P of all cases
	// OddsRatio, of the test by a third monitor, is how much more likely a peer of
	// A is also one of B than another peer is. Above 1 the estimate is too low,
	// below 1 too high. 0: no such test.
	OddsRatio float64
}

// Dependent reports whether the samples are taken as dependent: P is below 0.01.
func (d *Dependence) Dependent() bool { return d.Tested && d.P < dependentP }

// test is a test of a pair.
type test struct {
	name string
	p    float64
	odds float64
}

// dependence tests a pair of monitors.
func dependence(all Overlap, families []Overlap, a, b, monitors int) Dependence {
	var tests []test
	for third := range monitors {
		if third != a && third != b {
			if t, ok := testThird(all, a, b, third); ok {
				tests = append(tests, t)
			}
		}
	}
	if t, ok := testFamilies(families, a, b); ok {
		tests = append(tests, t)
	}
	if len(tests) == 0 {
		return Dependence{}
	}
	least := tests[0]
	for _, t := range tests[1:] {
		if t.p < least.p {
			least = t
		}
	}
	return Dependence{Tested: true, Test: least.name, P: min(1, least.p*float64(len(tests))), OddsRatio: least.odds}
}

// testThird tests whether two monitors are independent among the peers of a third
// one.
func testThird(o Overlap, a, b, third int) (test, bool) {
	var both, onlyA, onlyB, neither float64
	for s, n := range o {
		if s&SetOf(third) == 0 {
			continue
		}
		switch s & SetOf(a, b) {
		case SetOf(a, b):
			both += float64(n)
		case SetOf(a):
			onlyA += float64(n)
		case SetOf(b):
			onlyB += float64(n)
		default:
			neither += float64(n)
		}
	}
	n := both + onlyA + onlyB + neither
	inA, inB := both+onlyA, both+onlyB
	if n == 0 || min(inA, n-inA)*min(inB, n-inB)/n < leastExpected {
		return test{}, false
	}
	distance := max(0, math.Abs(both*neither-onlyA*onlyB)-n/2)
	chi := n * distance * distance / (inA * (n - inA) * inB * (n - inB))
	odds := (both + 0.5) * (neither + 0.5) / ((onlyA + 0.5) * (onlyB + 0.5))
	return test{TestThird, math.Erfc(math.Sqrt(chi / 2)), odds}, true
}

// testFamilies tests whether what two monitors have in common is the same share in
// each family, in either direction.
func testFamilies(families []Overlap, a, b int) (test, bool) {
	p := 0.0
	for _, from := range []int{a, b} {
		var all, both []float64
		for _, o := range families {
			all = append(all, float64(o.All(SetOf(from))))
			both = append(both, float64(o.All(SetOf(a, b))))
		}
		one, ok := sameShares(all, both)
		if !ok {
			return test{}, false
		}
		p = max(p, one)
	}
	return test{name: TestFamilies, p: p}, true
}

// sameShares returns the P of both[i] being the same share of each all[i]. Groups
// that are too small for the test are joined; ok is false if fewer than two are
// left.
func sameShares(all, both []float64) (p float64, ok bool) {
	var n, m float64
	for i := range all {
		n, m = n+all[i], m+both[i]
	}
	if n == 0 {
		return 0, false
	}
	share := m / n
	small := func(n float64) bool { return n*min(share, 1-share) < leastExpected }
	var restN, restM, chi float64
	groups := 0
	add := func(n, m float64) {
		d := m - n*share
		chi += d * d / (n * share * (1 - share))
		groups++
	}
	for i := range all {
		if small(all[i]) {
			restN, restM = restN+all[i], restM+both[i]
		} else {
			add(all[i], both[i])
		}
	}
	if !small(restN) {
		add(restN, restM)
	}
	if groups < 2 {
		return 0, false
	}
	return distuv.ChiSquared{K: float64(groups - 1)}.Survival(chi), true
}
