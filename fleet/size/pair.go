package size

import "math"

// z is the quantile of the normal distribution of an interval of 95 %.
const z = 1.959964

// Interval is an interval of confidence of 95 %: an experiment that is repeated
// has the true size within its interval 95 times of 100, if the estimate's
// assumptions hold.
type Interval struct{ Low, High float64 }

// Has reports whether the interval has v.
func (i Interval) Has(v float64) bool { return i.Low <= v && v <= i.High }

// enoughBoth is how many peers two monitors must have in common for Chapman's
// estimate to have next to no bias (Robson and Regier 1964).
const enoughBoth = 7

// Pair is what two monitors say of the size of the network. The estimates assume
// that which peers one monitor sees does not depend on which the other one sees,
// and that no peer came or left between the two samples.
type Pair struct {
	A, B   int // indices of the monitors, A < B
	NA, NB int // peers of each
	Both   int // peers of both

	// Field is the estimate of Lincoln and Petersen as the field has it: in whole
	// numbers, and the size of the union where that is larger or nothing is in
	// common.
	Field uint64
	// Chapman is Chapman's estimate, which has less bias, and its variance.
	Chapman, Variance float64
	// The interval is Sadinle's (2009): it is the logit's, transformed, which
	// also holds when few peers are in common. It begins at the union or above.
	Interval
	// Enough: the monitors have enough peers in common. Without, the estimates
	// are too low or have no meaning.
	Enough bool

	Dependence Dependence
}

// Union returns how many peers at least one of the two has.
func (p *Pair) Union() int { return p.NA + p.NB - p.Both }

// newPair returns the estimates of two monitors.
func newPair(a, b, na, nb, both int) Pair {
	p := Pair{A: a, B: b, NA: na, NB: nb, Both: both, Field: Hypergeometric(na, nb, both), Enough: both >= enoughBoth}
	p.Chapman, p.Variance = Chapman(na, nb, both)
	p.Interval = chapmanInterval(na, nb, both)
	return p
}

// Hypergeometric returns the field's estimate from the sizes of two samples and
// of what they have in common.
func Hypergeometric(na, nb, both int) uint64 {
	union := uint64(na + nb - both)
	if both == 0 {
		return union
	}
	return max(union, uint64(na)*uint64(nb)/uint64(both))
}

// Chapman returns Chapman's estimate and its variance (Seber 1970).
func Chapman(na, nb, both int) (size, variance float64) {
	a, b, m := float64(na), float64(nb), float64(both)
	size = (a+1)*(b+1)/(m+1) - 1
	variance = (a + 1) * (b + 1) * (a - m) * (b - m) / ((m + 1) * (m + 1) * (m + 2))
	return size, variance
}

func chapmanInterval(na, nb, both int) Interval {
	m, a, b := float64(both), float64(na-both), float64(nb-both)
	unseen := (a + 0.5) * (b + 0.5) / (m + 0.5)
	deviation := math.Sqrt(1/(m+0.5) + 1/(a+0.5) + 1/(b+0.5) + (m+0.5)/((a+0.5)*(b+0.5)))
	union := m + a + b
	return Interval{
		Low:  max(union, union-0.5+unseen*math.Exp(-z*deviation)),
		High: max(union, union-0.5+unseen*math.Exp(z*deviation)),
	}
}
