package collect

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// advanceEvery is how often what is no longer waited for is joined.
	advanceEvery = 200 * time.Millisecond
	// apartSamples is how many matches of a monitor the median of an interval is of.
	apartSamples = 512
)

// joined is what the monitors saw together. All methods may be called from any
// goroutine.
type joined struct {
	mu       sync.Mutex
	unifier  *unify.Unifier
	requests uint64
	matched  uint64
	entries  uint64
	apart    [][]time.Duration // by monitor: how much later than another, or earlier, of the running interval
	pairs    []uint64          // by monitor: matches since the start
	top      popularity
}

func newJoined(monitors int, lateness time.Duration) (*joined, error) {
	j := &joined{apart: make([][]time.Duration, monitors), pairs: make([]uint64, monitors)}
	names := make([]string, monitors)
	for i := range names {
		names[i] = strconv.Itoa(i) // the real ones may change
	}
	var err error
	j.unifier, err = unify.New(unify.Config{Monitors: names, Lateness: lateness}, j.entry)
	return j, err
}

// push adds an event; advance joins it in its turn.
func (j *joined) push(e unify.Event) {
	j.mu.Lock()
	j.unifier.Push([]unify.Event{e})
	j.mu.Unlock()
}

// advance joins what is older than the lateness.
func (j *joined) advance(now time.Time) {
	j.mu.Lock()
	j.unifier.Advance(now.UnixNano())
	j.mu.Unlock()
}

// entry takes a unified entry. The caller holds mu.
func (j *joined) entry(e *unify.Entry) {
	j.entries++
	if e.Matched {
		j.matched++
		j.sample(e.Monitor, e.MatchAfter)
		j.sample(e.MatchedTo, -e.MatchAfter)
	}
	if !e.Type.Request() {
		return
	}
	if !e.Duplicate {
		j.requests++
		j.top.add(e.CID, e.Peer)
	}
	j.top.seen(e.CID, e.Monitor)
}

// sample notes how far apart a monitor had an entry from another one. The newest
// replace the oldest. The caller holds mu.
func (j *joined) sample(monitor int, by time.Duration) {
	if a := j.apart[monitor]; len(a) < apartSamples {
		j.apart[monitor] = append(a, by)
	} else {
		a[j.pairs[monitor]%apartSamples] = by
	}
	j.pairs[monitor]++
}

// median returns that of the samples; 0 if there are none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// join joins a timely event with those of other monitors; at is its time by this
// machine's clock.
func (s *source) join(at time.Time, e *stream.Event) {
	u, ok, err := s.converter.Event(e)
	if err != nil || !ok {
		return // what is no event was counted before
	}
	u.Time = at.UnixNano()
	s.c.joined.push(u)
}

// totals makes the totals of an interval.
func (c *Collector) totals(interval time.Duration, now time.Time) *event.Fleet {
	c.totalsMu.Lock()
	defer c.totalsMu.Unlock()
	f := &event.Fleet{Interval: interval}
	j := c.joined
	j.mu.Lock()
	stats := j.unifier.Stats()
	f.Entries, f.Requests, f.Matched = j.entries-c.last.entries, j.requests-c.last.requests, j.matched-c.last.matched
	c.last.entries, c.last.requests, c.last.matched = j.entries, j.requests, j.matched
	apart, pairs := make([]time.Duration, len(c.sources)), slices.Clone(j.pairs)
	for i := range j.apart {
		apart[i] = median(j.apart[i])
		j.apart[i] = j.apart[i][:0]
	}
	top := j.top.take()
	j.mu.Unlock()
	if top != nil {
		f.TopCIDs, f.TopByPeer, f.Uncounted = popularCIDs(top.ByRequests(topCIDs)), popularCIDs(top.ByPeers(topCIDs)), top.Left
	}

	var late, dropped uint64
	dropped = stats.Evicted + stats.RefusedWants
	before := c.last.coverage
	f.Closed = stats.Coverage.Requests - before.Requests
	for i := range stats.Monitors {
		late += stats.Monitors[i].Late
		dropped += stats.Monitors[i].OverflowEntries
	}
	f.Late, f.Dropped = late-c.last.late, dropped-c.last.dropped
	c.last.late, c.last.dropped = late, dropped

	for i, s := range c.sources {
		m := s.status(now)
		was := &c.last.monitors[i]
		one := event.FleetMonitor{
			Name: event.Text(m.Name), Up: m.Up,
			Events: m.Events - was.Events, Wants: m.Wants - was.Wants, Cancels: m.Cancels - was.Cancels,
			Gaps: m.Gaps - was.Gaps, Unbounded: m.Unbounded - was.Unbounded, Missed: m.Missed - was.Missed,
			Untimely: m.Untimely - was.Untimely, Connects: m.Connects - was.Connects,
			Lag: time.Duration(m.Lag), Peers: m.Peers,
			ClockKnown: m.Clock.Known, Offset: time.Duration(m.Clock.Offset), OffsetError: time.Duration(m.Clock.Error),
			RoundTrip: time.Duration(m.Clock.RoundTrip), Apart: apart[i], MatchedPairs: pairs[i] - c.last.pairs[i],
		}
		if m.Clock.DriftKnown {
			one.DriftPPB = int64(m.Clock.Drift * 1e3)
		}
		one.Seen = stats.Coverage.Seen[i]
		if before.Seen != nil {
			one.Seen -= before.Seen[i]
		}
		if f.Closed > 0 {
			one.Coverage = uint16(one.Seen * 1000 / f.Closed)
		}
		*was = m
		f.Monitors = append(f.Monitors, one)
	}
	c.last.pairs = pairs
	c.last.coverage = stats.Coverage
	c.estimate(f)
	for i := range f.Overlaps { // they are in the order of the pairs of monitors
		a, b := pairAt(i, len(c.sources))
		f.Overlaps[i].Requests = stats.Coverage.Both[a][b]
		if before.Both != nil {
			f.Overlaps[i].Requests -= before.Both[a][b]
		}
	}
	slices.SortFunc(f.Monitors, func(a, b event.FleetMonitor) int { return cmp.Compare(a.Name, b.Name) })
	c.inOrder(f)
	f.Countries = c.countries.take()
	c.newest, c.newestAt = f, now
	c.past.add(now, f)
	return f
}

// counts returns the counters since the start.
func (j *joined) counts() (requests, entries, matched uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.requests, j.entries, j.matched
}

// pairAt returns the i-th pair of n: 0 and 1, 0 and 2, and so on.
func pairAt(i, n int) (a, b int) {
	for a = 0; i >= n-1-a; a++ {
		i -= n - 1 - a
	}
	return a, a + 1 + i
}

// Newest returns the totals of the last interval, nil before there are any. They
// never change.
func (c *Collector) Newest() *event.Fleet {
	c.totalsMu.Lock()
	defer c.totalsMu.Unlock()
	return c.newest
}
