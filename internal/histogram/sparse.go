package histogram

import (
	"math"
	"slices"
)

// Sparse counts numbers of any unit in the buckets of Durations, of which it keeps those in
// use. Its zero value is empty and ready.
type Sparse struct{ buckets []Bucket } // sorted by number

// Bucket is the count of one bucket, by the bucket's number.
type Bucket struct {
	Number int
	Count  uint64
}

// Add counts a number and returns how many buckets are new: 0 or 1.
func (h *Sparse) Add(v uint64) (grew int) {
	before := len(h.buckets)
	i := h.at(bucketOf(min(v, math.MaxInt64)))
	h.buckets[i].Count++
	return len(h.buckets) - before
}

// Set sets the count of a bucket. A number that no bucket has is ignored.
func (h *Sparse) Set(b Bucket) {
	if b.Number >= 0 && b.Number < histBuckets {
		h.buckets[h.at(b.Number)].Count = b.Count
	}
}

func (h *Sparse) at(number int) int {
	i, found := slices.BinarySearchFunc(h.buckets, number, func(b Bucket, n int) int { return b.Number - n })
	if !found {
		h.buckets = slices.Insert(h.buckets, i, Bucket{Number: number})
	}
	return i
}

// Len returns the number of buckets in use.
func (h *Sparse) Len() int { return len(h.buckets) }

// Buckets returns those in use, which must not be changed.
func (h *Sparse) Buckets() []Bucket { return h.buckets }

// Median returns the number that half of all do not exceed, at most 1/32 off; of an even count the mean of the
// two in the middle, as InfluxDB has it; 0 if there are none.
func (h *Sparse) Median() float64 {
	var n uint64
	for _, b := range h.buckets {
		n += b.Count
	}
	if n == 0 {
		return 0
	}
	return (h.rank((n+1)/2) + h.rank(n/2+1)) / 2
}

// rank returns the number of a rank from 1 on.
func (h *Sparse) rank(r uint64) float64 {
	for _, b := range h.buckets {
		if b.Count >= r {
			return float64(middle(b.Number))
		}
		r -= b.Count
	}
	return 0
}
