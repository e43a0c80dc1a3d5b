package harness

import (
	"math/rand/v2"
	"testing"
)

// TestPairedKnowsItsNoise: the interval contains the true median in at least 95 of 100
// measurements and is not wider than necessary.
func TestPairedKnowsItsNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rounds, pairs = 2000, 100
	held, width := 0, 0.0
	for range rounds {
		v := make([]float64, pairs)
		for i := range v {
			v[i] = 1.01 + 0.05*r.ExpFloat64() // its median is 1.01 + 0.05 ln 2
		}
		got := Paired(v)
		if got.Low <= 1.01+0.05*0.6931 && 1.01+0.05*0.6931 <= got.High {
			held++
		}
		width += got.High - got.Low
	}
	if held < rounds*95/100 {
		t.Errorf("the interval held the median in %d of %d measurements", held, rounds)
	}
	if mean := width / rounds; mean > 0.025 {
		t.Errorf("the interval is %.4f wide on average; want less, the sample says more", mean)
	}
	if got := Paired([]float64{3, 1, 2}); got != (Ratio{2, 1, 3}) {
		t.Errorf("of three pairs: %v, want all of them", got)
	}
}
