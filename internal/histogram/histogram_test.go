package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestQuantilesAgainstExact checks the relative error of 1/32 on three distributions of
// very different shape.
func TestQuantilesAgainstExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"uniform":     func() time.Duration { return time.Duration(rng.Int64N(int64(time.Second))) },
		"log-normal":  func() time.Duration { return time.Duration(math.Exp(rng.NormFloat64()*3 + 16)) },
		"nanoseconds": func() time.Duration { return time.Duration(rng.Int64N(40)) },
	} {
		var h Durations
		var all []time.Duration
		var sum time.Duration
		for range 50_000 {
			v := draw()
			h.Add(v)
			all = append(all, v)
			sum += v
		}
		slices.Sort(all)
		for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.9999, 1} {
			exact := all[int(math.Ceil(q*float64(len(all))))-1]
			got := h.quantile(q)
			if diff := math.Abs(float64(got - exact)); diff > float64(exact)/32 {
				t.Errorf("%s: quantile %v is %v, exactly %v", name, q, got, exact)
			}
		}
		s := h.Stats()
		if s.Count != 50_000 || s.Sum != sum || s.Max != all[len(all)-1] {
			t.Errorf("%s: %+v, exactly sum %v, max %v", name, s, sum, all[len(all)-1])
		}
	}
}

func TestEveryDurationHasABucket(t *testing.T) {
	if s := new(Durations).Stats(); s.Max != 0 || s.P99 != 0 {
		t.Errorf("an empty one: %+v", s)
	}
	last := -1
	for shift := range 63 {
		for _, v := range []uint64{1<<shift - 1, 1 << shift, 1<<shift + 1<<shift/2} {
			b := bucketOf(v)
			if b < last || b >= histBuckets {
				t.Fatalf("%d is in bucket %d after %d, of %d", v, b, last, histBuckets)
			}
			last = b
			if m := float64(middle(b)); math.Abs(m-float64(v)) > float64(v)/16 {
				t.Errorf("%d is in the bucket of %v", v, m)
			}
		}
	}
	if b := bucketOf(math.MaxInt64); b != histBuckets-1 {
		t.Errorf("the longest duration is in bucket %d of %d", b, histBuckets)
	}
}

func TestAClockSetBack(t *testing.T) {
	var h Durations
	h.Add(-time.Hour)
	h.Add(time.Second)
	if s := h.Stats(); s.Count != 2 || s.Sum != time.Second || s.Max != time.Second || s.P50 != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	var h Durations
	if n := testing.AllocsPerRun(100, func() { h.Add(time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
