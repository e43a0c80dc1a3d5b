// Package histogram defines how the project computes percentiles of durations.
//
// In: durations. Out: their count, sum and maximum, exact, and percentiles that
// are at most 1/32 off. Promised: adding one neither allocates nor takes time
// that depends on how many there are; a histogram has 8 KiB. Not promised: that
// it may be used from two goroutines at once.
package histogram

import (
	"math"
	"math/bits"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// A histogram has 16 buckets for each power of two of nanoseconds: a bucket is
// at most 1/16 of its lower bound wide, and its middle is at most 1/32 off.
const (
	subBits     = 4
	subBuckets  = 1 << subBits
	histBuckets = (63 - subBits + 1) * subBuckets
)

// Durations counts durations. Its zero value is empty and ready.
type Durations struct {
	count  uint64
	sum    time.Duration
	max    time.Duration
	bucket [histBuckets]uint64
}

// Add counts a duration. One below zero, which a clock that was set back makes,
// counts as zero.
func (h *Durations) Add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.sum += d
	h.max = max(h.max, d)
	h.bucket[bucketOf(uint64(d))]++
}

func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	e := bits.Len64(v) - subBits - 1
	return (e+1)<<subBits | int(v>>e)&(subBuckets-1)
}

// middle returns the value that is reported for bucket i.
func middle(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i)
	}
	e := i>>subBits - 1
	lower := uint64(subBuckets|i&(subBuckets-1)) << e
	return time.Duration(lower + (1<<e)/2)
}

// quantile returns the duration that a part q of all, between 0 and 1, does not
// exceed (nearest rank), and 0 when there are none.
func (h *Durations) quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(q*float64(h.count))))
	for i, n := range h.bucket {
		if n >= rank {
			return min(middle(i), h.max)
		}
		rank -= n
	}
	return h.max
}

// Stats returns the figures of all that was added.
func (h *Durations) Stats() event.LatencyStats {
	return event.LatencyStats{
		Count: h.count, Sum: h.sum, Max: h.max,
		P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99),
	}
}
