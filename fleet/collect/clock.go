package collect

import (
	"math"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// maxDrift is how fast two clocks may drift apart: NTP slews by up to 500 ppm.
	maxDrift = 500e-6
	// The best round trip of each clockBucket is kept, of the last clockBuckets.
	clockBucket  = 30 * time.Second
	clockBuckets = 60
	// A drift is estimated from driftBuckets or more.
	driftBuckets = 6
	// maxDriftErr is the largest standard error of a drift that is shown and used.
	maxDriftErr = 50e-6
)

// Clock is what is known of a monitor's clock, beside this machine's.
type Clock struct {
	Known bool `json:"known"`
	// Offset is by how much the monitor's clock is ahead; Error is the most by
	// which that may be wrong, if the monitor answers truly and the clocks drift
	// apart by at most 500 ppm.
	Offset Seconds `json:"offset_seconds"`
	Error  Seconds `json:"error_seconds"`
	// Drift is how much faster than this machine's the monitor's clock runs, in
	// parts per million, with its standard error; known once that is 50 or less, at
	// the earliest after three minutes.
	DriftKnown bool    `json:"drift_known"`
	Drift      float64 `json:"drift_ppm"`
	DriftErr   float64 `json:"drift_error_ppm"`
	RoundTrip  Seconds `json:"round_trip_seconds"` // the shortest of the last half hour
	Steps      uint64  `json:"steps"`              // the clock was set
	Bad        uint64  `json:"bad"`                // round trips that contradict themselves
}

// trip is one comparison of the clocks.
type trip struct {
	at          time.Time // by this machine's clock
	offset, err time.Duration
}

// clock estimates a monitor's clock from round trips. All methods may be called
// from any goroutine.
type clock struct {
	mu         sync.Mutex
	best       []trip // of each bucket, oldest first
	last       trip   // the newest one
	steps, bad uint64
}

// add takes a round trip.
func (c *clock) add(r stream.RoundTrip) {
	offset, err := r.Offset()
	c.mu.Lock()
	defer c.mu.Unlock()
	// A monitor that claims to have answered before it was asked, or longer ago
	// than the round trip took, has an interval that is empty or too wide.
	took := r.Received.Sub(r.Sent) // monotonic
	if err < 0 || err > took/2+time.Millisecond || took < 0 {
		c.bad++
		return
	}
	t := trip{at: r.Received, offset: offset, err: err}
	if len(c.best) > 0 && (t.offset-c.last.offset).Abs() > t.err+c.last.err+drifted(t.at.Sub(c.last.at)) {
		c.steps++
		c.best = c.best[:0] // what was measured before is of another clock
	}
	c.last = t
	if n := len(c.best); n > 0 && t.at.Sub(c.best[n-1].at.Truncate(clockBucket)) < clockBucket {
		if t.err < c.best[n-1].err {
			c.best[n-1] = t
		}
		return
	}
	if len(c.best) == clockBuckets {
		c.best = append(c.best[:0], c.best[1:]...)
	}
	c.best = append(c.best, t)
}

// drifted is the most by which clocks may have drifted apart in that time.
func drifted(d time.Duration) time.Duration { return time.Duration(maxDrift * float64(d.Abs())) }

// state returns what is known at a time.
func (c *clock) state(now time.Time) Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Clock{Steps: c.steps, Bad: c.bad}
	if len(c.best) == 0 {
		return out
	}
	// The trip with the smallest bound now: an old, exact one may be better than
	// the newest.
	use, bound := c.last, c.last.err+drifted(now.Sub(c.last.at))
	shortest := 2 * c.last.err
	for _, t := range c.best {
		if e := t.err + drifted(now.Sub(t.at)); e < bound {
			use, bound = t, e
		}
		shortest = min(shortest, 2*t.err)
	}
	offset := use.offset
	if drift, err, ok := fit(c.best); ok {
		out.DriftKnown, out.Drift, out.DriftErr = true, drift*1e6, err*1e6
		offset += time.Duration(drift * float64(now.Sub(use.at)))
	}
	out.Known, out.Offset, out.Error, out.RoundTrip = true, Seconds(offset), Seconds(bound), Seconds(shortest)
	return out
}

// fit returns the slope of a line through the offsets, each weighted by its error.
func fit(all []trip) (slope, err float64, ok bool) {
	if len(all) < driftBuckets {
		return 0, 0, false
	}
	const floor = 50e-6 // s: timers and queues are no better
	var sw, sx, sy float64
	x := func(t trip) float64 { return t.at.Sub(all[0].at).Seconds() }
	y := func(t trip) float64 { return (t.offset - all[0].offset).Seconds() }
	w := func(t trip) float64 { return 1 / (t.err.Seconds()*t.err.Seconds() + floor*floor) }
	for _, t := range all {
		sw += w(t)
		sx += w(t) * x(t)
		sy += w(t) * y(t)
	}
	mx, my := sx/sw, sy/sw
	var sxx, sxy float64
	for _, t := range all {
		sxx += w(t) * (x(t) - mx) * (x(t) - mx)
		sxy += w(t) * (x(t) - mx) * (y(t) - my)
	}
	if sxx == 0 {
		return 0, 0, false
	}
	slope = sxy / sxx
	if err = 1 / math.Sqrt(sxx); err > maxDriftErr || math.Abs(slope) > maxDrift {
		return 0, 0, false // not exact enough; or more than a clock does: a delay that changes
	}
	return slope, err, true
}
