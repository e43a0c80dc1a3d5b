package size

import (
	"errors"
	"math"
)

// mostTimes is how many times the union the size may be, as the field assumes.
const mostTimes = 100

// Coupon returns the field's estimate from how many peers each monitor has and
// how many there are of at least one: the coupon collector's problem with group
// drawings of one size, the mean of the samples. Empty samples are left out; of
// one sample it is its size. The error says that there is no root between the
// union and 100 times the union: the samples have next to nothing in common, or
// there are none.
func Coupon(samples []int, union int) (uint64, error) {
	sum, r := 0, 0
	for _, n := range samples {
		if n > 0 {
			sum, r = sum+n, r+1
		}
	}
	switch r {
	case 0:
		return 0, errors.New("fleet: no monitor has a peer: want one or more")
	case 1:
		return uint64(sum), nil
	}
	m, w := float64(union), float64(sum)/float64(r)
	f := func(n float64) float64 { return n - n*math.Pow(1-m/n, 1/float64(r)) - w }
	n, ok := fallingRoot(f, min(m, float64(r)*w), mostTimes*m)
	if !ok {
		return 0, errors.New("fleet: the monitors have too few peers in common for an estimate")
	}
	return uint64(math.Round(n)), nil
}

// fallingRoot returns where f, which falls, is 0 between low and high.
func fallingRoot(f func(float64) float64, low, high float64) (float64, bool) {
	switch atLow, atHigh := f(low), f(high); {
	case atLow == 0:
		return low, true
	case !(atLow > 0 && atHigh <= 0):
		return 0, false
	}
	for range 200 {
		middle := low + (high-low)/2
		if middle == low || middle == high {
			break
		}
		if f(middle) > 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return high, true
}

// Draws is the size of a network of which several monitors saw a part each, if
// each saw its peers at random and without regard to the others: which peers
// they are, not how many. It differs from Coupon in that the parts may have
// different sizes.
type Draws struct {
	Size float64
	// The interval has the sizes for which the union of such samples is within
	// 1.96 standard deviations of its mean, with a correction of a half because it
	// is a whole number. Mean and deviation are those of draws without
	// replacement.
	Interval
	// Open: the samples exclude no size, however large. Size or High is then 100
	// times the union.
	Open bool
}

// DrawsOf returns the estimate from how many each monitor saw and how many at
// least one of them saw.
func DrawsOf(samples []int, union int) Draws {
	var w []float64
	for _, n := range samples {
		if n > 0 {
			w = append(w, float64(n))
		}
	}
	m := float64(union)
	if len(w) < 2 {
		return Draws{Size: m, Interval: Interval{m, mostTimes * m}, Open: union > 0}
	}
	// The mean of the union grows with the size: how far it is above the union is
	// -f, for the size and both ends.
	at := func(shift float64) (float64, bool) {
		f := func(n float64) float64 {
			mean, deviation := unionOf(w, n)
			return m - mean - shift*(z*deviation+0.5)
		}
		n, ok := fallingRoot(f, m, mostTimes*m)
		if !ok && f(m) <= 0 {
			return m, true // smaller than the union: it is the union
		}
		if !ok {
			return mostTimes * m, false
		}
		return n, true
	}
	var d Draws
	var sized, ended bool
	d.Size, sized = at(0)
	d.Low, _ = at(1)
	d.High, ended = at(-1)
	d.Open = !sized || !ended
	return d
}

// unionOf returns the mean and the standard deviation of how many of n peers are
// in at least one of several samples of the sizes w, which are independent.
func unionOf(w []float64, n float64) (mean, deviation float64) {
	one, two := 1.0, 1.0 // that none has a peer; that none has either of two
	for _, x := range w {
		one *= max(0, 1-x/n)
		two *= max(0, (n-x)*(n-x-1)/(n*(n-1)))
	}
	variance := n*one + n*(n-1)*two - n*n*one*one
	return n * (1 - one), math.Sqrt(max(0, variance))
}
