package harness

import (
	"fmt"
	"math"
	"slices"
)

// Median returns the middle of the values, which must not be none; of an even
// number the mean of the middle two.
func Median[T ~float64 | ~int64](v []T) T {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Spread is how far the middle half of values reaches, as a share of the median:
// the machine's noise.
func Spread(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[len(v)*3/4] - v[len(v)/4]) / Median(v)
}

// Ratio is the median of a measurement in pairs with its noise: the median of
// ever more pairs would be between Low and High with at least 95 % confidence,
// whatever the pairs' distribution.
type Ratio struct{ Median, Low, High float64 }

// Paired returns the ratio of at least 6 pairs; of fewer the interval has less
// confidence (of 5: 93.75 %). The bounds are order statistics: between the k
// smallest and the k largest of n values lies the median except with a chance of
// 2 * P(Binomial(n, 1/2) < k).
func Paired(v []float64) Ratio {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	term, below := math.Pow(0.5, float64(n)), 0.0 // P(Binomial = k), P(Binomial < k)
	k := 0
	for k < n/2 && below+term <= 0.025 {
		below += term
		term *= float64(n-k) / float64(k+1)
		k++
	}
	k = max(k, 1)
	return Ratio{v[n/2], v[k-1], v[n-k]}
}

func (r Ratio) String() string {
	return fmt.Sprintf("%+.1f %% (%+.1f to %+.1f)", 100*(r.Median-1), 100*(r.Low-1), 100*(r.High-1))
}
