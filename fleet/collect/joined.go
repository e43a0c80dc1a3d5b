package collect

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

const (
	// advanceEvery is how often what is no longer waited for is joined.
	advanceEvery = 200 * time.Millisecond
	// apartSamples is how many matches of a monitor the median of an interval is of.
	apartSamples = 512
	// A part of the peers has this share of the unifier's bounds of memory: parts
	// are not equally busy.
	partShare = 8
)

// joined is what the monitors saw together. Without a broker it has one part, of
// all peers, whose time is this machine's; with one it has a part for each bucket
// of peers, with a time of its own. All methods may be called from any goroutine.
type joined struct {
	monitors int
	lateness time.Duration

	mu    sync.Mutex
	parts []*part
	apart [][]time.Duration // by monitor: how much later than another, or earlier, of the running interval
	pairs []uint64          // by monitor: matches since the start
	top   popularity
}

// sums are what is counted of unified entries.
type sums struct {
	requests uint64
	matched  uint64
	entries  uint64 // without synthetic cancels, which were not sent
	coverage unify.Coverage
}

// figures are the counters of the parts since the start.
type figures struct {
	sums
	late, dropped uint64
}

func newJoined(monitors int, lateness time.Duration, withBroker bool) (*joined, error) {
	j := &joined{monitors: monitors, lateness: lateness, apart: make([][]time.Duration, monitors), pairs: make([]uint64, monitors)}
	if !withBroker {
		p := &part{j: j}
		p.reset()
		j.parts = []*part{p}
		return j, p.open()
	}
	for b := range broker.Buckets {
		p := &part{j: j, shared: true, bucket: b}
		p.reset()
		j.parts = append(j.parts, p)
	}
	return j, nil
}

func (j *joined) noSums() sums { return sums{coverage: unify.NewCoverage(j.monitors)} }

// of returns the part of a peer.
func (j *joined) of(p peer.ID) *part {
	if len(j.parts) == 1 {
		return j.parts[0]
	}
	return j.parts[broker.Bucket(p)]
}

// mine returns which buckets this collector has at the moment.
func (j *joined) mine() (out [broker.Buckets]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for b := range out {
		out[b] = len(j.parts) == 1 || j.parts[b].unifier != nil
	}
	return out
}

// push adds events; advance joins them in their turn.
func (j *joined) push(events []unify.Event, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.parts) == 1 {
		j.parts[0].unifier.Push(events)
		return
	}
	for i := range events {
		j.of(events[i].Peer).push(events[i:i+1], now, true)
	}
}

// advance joins what is older than the lateness.
func (j *joined) advance(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.parts {
		p.advance(now)
	}
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

// counts returns the counters since the start.
func (j *joined) counts() (requests, entries, matched uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.figures()
	return f.requests, f.entries, f.matched
}

// counted returns the buckets that this collector has, and what was counted of them
// since the broker has their queues, by whichever collector. nil: without a broker.
func (j *joined) counted() *Counted {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.parts) == 1 {
		return nil
	}
	out := &Counted{Buckets: []int{}}
	for _, p := range j.parts {
		if p.unifier == nil {
			continue
		}
		all := j.noSums()
		all.add(p.before)
		all.add(p.stored)
		out.Buckets = append(out.Buckets, p.bucket)
		out.Requests += all.requests
		out.Entries += all.entries
		out.Matched += all.matched
		out.Closed += all.coverage.Requests
	}
	return out
}

// figures returns the counters of all parts. The caller holds mu.
func (j *joined) figures() figures {
	out := figures{sums: j.noSums()}
	for _, p := range j.parts {
		out.add(p.figures())
	}
	return out
}

func (s *sums) add(o sums) {
	s.requests += o.requests
	s.matched += o.matched
	s.entries += o.entries
	s.coverage.Add(o.coverage)
}

func (f *figures) add(o figures) {
	f.sums.add(o.sums)
	f.late += o.late
	f.dropped += o.dropped
}

// part joins the events of some of the peers. The mutex of joined guards it.
type part struct {
	j      *joined
	shared bool // through a broker: another collector may have it
	bucket int

	unifier *unify.Unifier // nil: another collector has it, or nothing has come yet
	live    sums           // counted since open; coverage is the unifier's, without base
	base    unify.Coverage
	gone    figures // of earlier times that this collector had it

	// Of a shared part:
	newest int64     // the newest time of its events
	heard  time.Time // when the last one came
	before sums      // counted by those who had the part before
	until  int64     // they have counted the entries before this time
	again  bool      // entries before until are being read again
	late   uint64    // events before until that come for the first time
	stored sums      // that part of live which the broker has
}

func (p *part) reset() {
	p.live, p.before, p.stored = p.j.noSums(), p.j.noSums(), p.j.noSums()
	p.base = unify.NewCoverage(p.j.monitors)
	if p.gone.coverage.Seen == nil {
		p.gone.sums = p.j.noSums()
	}
	p.unifier, p.newest, p.until, p.again, p.late = nil, 0, 0, false, 0
}

// open begins to join.
func (p *part) open() error {
	names := make([]string, p.j.monitors)
	for i := range names {
		names[i] = strconv.Itoa(i) // the real ones may change
	}
	cfg := unify.Config{Monitors: names, Lateness: p.j.lateness}
	if p.shared {
		cfg.MaxPending, cfg.MaxWindows = unify.DefaultMaxPending/partShare, unify.DefaultMaxWindows/partShare
		cfg.MaxWants, cfg.MaxLedgers = unify.DefaultMaxWants/partShare, unify.DefaultMaxLedgers/partShare
	}
	var err error
	p.unifier, err = unify.New(cfg, p.entry)
	return err
}

// close ends joining: another collector may have the part from now on. What was
// counted and is stored stays counted.
func (p *part) close() {
	if p.unifier == nil {
		return
	}
	p.gone.add(p.figuresNow())
	p.reset()
}

// figures are the counters of the part since the start.
func (p *part) figures() figures {
	out := figures{sums: p.j.noSums()}
	out.add(p.gone)
	if p.unifier != nil {
		out.add(p.figuresNow())
	}
	return out
}

// figuresNow are those since open. Of a shared part they are what is stored:
// nothing that is not can be counted again by another collector.
func (p *part) figuresNow() (f figures) {
	st := p.unifier.Stats()
	f.dropped, f.late = st.Evicted+st.RefusedWants, p.late
	for i := range st.Monitors {
		f.late += st.Monitors[i].Late
		f.dropped += st.Monitors[i].OverflowEntries
	}
	if f.sums = p.stored; !p.shared {
		f.sums = p.counted()
	}
	return f
}

// counted is what was counted since open.
func (p *part) counted() sums {
	out := p.live
	out.coverage = unify.NewCoverage(p.j.monitors)
	if !p.again {
		out.coverage.Add(p.unifier.Stats().Coverage)
		out.coverage.Sub(p.base)
	}
	return out
}

// entry takes a unified entry.
func (p *part) entry(e *unify.Entry) {
	if p.again || e.Type.Synthetic() {
		return
	}
	p.live.entries++
	if e.Matched {
		p.live.matched++
		p.j.sample(e.Monitor, e.MatchAfter)
		p.j.sample(e.MatchedTo, -e.MatchAfter)
	}
	if !e.Type.Request() {
		return
	}
	if !e.Duplicate {
		p.live.requests++
		p.j.top.add(e.CID, e.Peer)
	}
	p.j.top.seen(e.CID, e.Monitor)
}

// push adds events of a shared part. They are fresh if nobody had them before.
func (p *part) push(events []unify.Event, now time.Time, fresh bool) {
	if p.unifier == nil {
		return
	}
	p.heard = now
	for i := range events {
		p.newest = max(p.newest, events[i].Time)
		if fresh && events[i].Time < p.until {
			p.late++ // its time was over before this collector had the part
			continue
		}
		p.unifier.Push(events[i : i+1])
	}
}

// clock is the part's time: that of its newest event, from which it runs on while
// nothing comes. So what waits in the broker while nobody reads is joined as if it
// came in time, however long it waits.
func (p *part) clock(now time.Time) int64 {
	if !p.shared {
		return now.UnixNano()
	}
	if p.newest == 0 {
		return 0
	}
	return p.newest + int64(max(0, now.Sub(p.heard)))
}

func (p *part) advance(now time.Time) {
	clock := p.clock(now)
	if p.unifier == nil || clock == 0 {
		return
	}
	if p.again {
		if clock-int64(p.j.lateness) < p.until {
			p.unifier.Advance(clock)
			return
		}
		p.unifier.Advance(p.until + int64(p.j.lateness))
		p.base, p.again = p.unifier.Stats().Coverage, false
	}
	p.unifier.Advance(clock)
}

// median returns that of the samples; 0 if there are none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// totals makes the totals of an interval.
func (c *Collector) totals(interval time.Duration, now time.Time) *event.Fleet {
	c.totalsMu.Lock()
	defer c.totalsMu.Unlock()
	f := &event.Fleet{Interval: interval}
	j := c.joined
	j.mu.Lock()
	sum := j.figures()
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

	before := c.last.figures
	f.Entries, f.Requests, f.Matched = sum.entries-before.entries, sum.requests-before.requests, sum.matched-before.matched
	f.Closed = sum.coverage.Requests - before.coverage.Requests
	f.Late, f.Dropped = sum.late-before.late, sum.dropped-before.dropped
	c.last.figures = sum

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
		one.Seen = sum.coverage.Seen[i] - before.coverage.Seen[i]
		if f.Closed > 0 {
			one.Coverage = uint16(one.Seen * 1000 / f.Closed)
		}
		*was = m
		f.Monitors = append(f.Monitors, one)
	}
	c.last.pairs = pairs
	c.estimate(f)
	for i := range f.Overlaps { // they are in the order of the pairs of monitors
		a, b := pairAt(i, len(c.sources))
		f.Overlaps[i].Requests = sum.coverage.Both[a][b] - before.coverage.Both[a][b]
	}
	slices.SortFunc(f.Monitors, func(a, b event.FleetMonitor) int { return cmp.Compare(a.Name, b.Name) })
	c.inOrder(f)
	f.Countries = c.countries.take()
	c.newest, c.newestAt = f, now
	c.past.add(now, f)
	return f
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
