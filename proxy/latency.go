package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

// latency counts durations: those of the interval, for samples, and those since
// the start, for Prometheus.
type latency struct {
	interval histogram.Durations
	buckets  [len(rttBuckets) + 1]uint64
	total    uint64
	sum      time.Duration
}

// rttBuckets are kitsune's, in milliseconds.
var rttBuckets = [...]float64{250, 500, 1000, 2000, 3000, 5000, 10000, 30000, 60000}

func (l *latency) add(d time.Duration) {
	d = max(d, 0)
	l.interval.Add(d)
	l.total++
	l.sum += d
	i := 0
	for i < len(rttBuckets) && float64(d)/float64(time.Millisecond) > rttBuckets[i] {
		i++
	}
	l.buckets[i]++
}

// take returns the interval's figures and starts the next interval.
func (l *latency) take() event.LatencyStats {
	out := l.interval.Stats()
	l.interval = histogram.Durations{}
	return out
}

func (l *latency) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets, sum := make(map[float64]uint64, len(rttBuckets)), uint64(0)
	for i, le := range rttBuckets {
		sum += l.buckets[i]
		buckets[le] = sum
	}
	return prometheus.MustNewConstHistogram(d, l.total, float64(l.sum.Microseconds())/1000, buckets, labels...)
}
