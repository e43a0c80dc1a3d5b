package derive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Defaults of Config.
const (
	DefaultInterval        = time.Minute
	DefaultWindow          = 31 * time.Second
	DefaultExpiry          = 5 * time.Minute
	DefaultHold            = 50 * time.Millisecond
	DefaultMaxPending      = 1 << 18 // 8 MiB when full
	DefaultMaxRepeats      = 1 << 20 // 24 MiB when full
	DefaultMaxWanted       = 1 << 16 // 4 MiB when full
	DefaultMaxCIDsTracked  = 8192    // in each of five tables, about 1 MiB each when full
	DefaultMaxPeersTracked = 4096    // in each of three tables, about 0.5 MiB each when full
	DefaultMaxDHTTracked   = 2048    // in each of two tables, about 0.5 MiB together
	DefaultMaxAgents       = 50_000  // about 8 MiB with agents of ordinary length
	DefaultMaxLatencies    = 5000
	DefaultTopN            = 50
)

const (
	batchEvents = 256 // read at once and counted under one lock
	// stepBack is how far event times may go back before it means that the clock
	// was set, not that an event came late.
	stepBack = int64(10 * time.Second)
)

// Config bounds what the figures cost: tables begin small and grow to these
// sizes if they have to. A value of zero or less means the default;
// HistoryLatency is off by default.
type Config struct {
	Interval        time.Duration // between summaries
	Window          time.Duration // in which a repeated want is a duplicate
	Expiry          time.Duration // after which a want no longer waits for an answer
	Hold            time.Duration // how long an event waits to be put in order of time
	MaxPending      int           // places for waiting wants, rounded up to 16 times a power of two; losses begin when about a third is in use
	MaxRepeats      int           // places for the wants of the last 46 s, in which repeats are looked up; rounded and lost likewise
	MaxWanted       int           // places for the CIDs that the node wants, and for records of providers; rounded and lost likewise
	MaxCIDsTracked  int           // counters for top CIDs: the error is a part of this; twice as many are kept
	MaxPeersTracked int           // counters for top peers, likewise
	MaxDHTTracked   int           // counters for the keys of the DHT's requests, for each direction, likewise
	MaxAgents       int           // peers whose agent and coverage are remembered
	TopN            int           // length of the lists in a summary
	HistoryLatency  bool          // publish an event for each answer, wanted block and HTTP request
	MaxLatencies    int           // most such events in one second; the rest is only counted
	Floods          FloodConfig   // when a peer floods
	Logger          *slog.Logger  // nil: slog.Default()

	// Pipeline returns the monitor's own counters. Run calls it for each sample,
	// whose event it publishes after the sample's. Nil: there are no such events,
	// and no notes of losses.
	Pipeline func() event.Pipeline
}

func (c Config) withDefaults() Config {
	orDefault(&c.Interval, DefaultInterval)
	orDefault(&c.Window, DefaultWindow)
	orDefault(&c.Expiry, DefaultExpiry)
	orDefault(&c.Hold, DefaultHold)
	orDefault(&c.MaxPending, DefaultMaxPending)
	orDefault(&c.MaxRepeats, DefaultMaxRepeats)
	orDefault(&c.MaxWanted, DefaultMaxWanted)
	orDefault(&c.MaxCIDsTracked, DefaultMaxCIDsTracked)
	orDefault(&c.MaxPeersTracked, DefaultMaxPeersTracked)
	orDefault(&c.MaxDHTTracked, DefaultMaxDHTTracked)
	orDefault(&c.MaxAgents, DefaultMaxAgents)
	orDefault(&c.TopN, DefaultTopN)
	orDefault(&c.MaxLatencies, DefaultMaxLatencies)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func orDefault[T cmp.Ordered](v *T, def T) {
	var zero T
	if *v <= zero {
		*v = def
	}
}

// Deriver reads events and publishes what it derives. Run may be called once;
// Stats and Top may be called from any goroutine at any time.
type Deriver struct {
	cfg     Config
	publish func(*event.Event) bool
	guard   guard.Guard
	running atomic.Bool
	seed    maphash.Seed
	rhythm  rhythm // of Run's goroutine

	mu        sync.Mutex // guards all below; never held while publishing
	order     order
	pending   *pending
	repeats   *repeats
	retrieval *retrieval
	requests  requests
	sending   sending
	peers     peers
	floods    *floods
	other     known // stands for a peer that is not remembered
	now       *interval
	last      *event.Summary // of the last complete interval
	lastEnd   time.Time
	out       []*event.Event // derived; to be published after the lock is released
	clock     int64          // latest event time counted
	second    int64          // event time, in seconds, of the latest latency events
	inSec     int            // latency events made in that second
	stats     Stats
}

// New returns a Deriver. It calls publish once for each
// derived event, from Run's goroutine alone; publish reports whether it accepted
// the event.
func New(cfg Config, publish func(*event.Event) bool) *Deriver {
	cfg = cfg.withDefaults()
	d := &Deriver{
		cfg:       cfg,
		publish:   publish,
		guard:     guard.Guard{Log: cfg.Logger},
		seed:      maphash.MakeSeed(),
		order:     order{hold: int64(cfg.Hold)},
		pending:   newPending(cfg.MaxPending, cfg.Expiry),
		repeats:   newRepeats(cfg.MaxRepeats, cfg.Window),
		retrieval: newRetrieval(cfg.MaxWanted, cfg.Expiry),
		requests:  requests{open: map[requestKey]*event.Event{}},
		peers:     peers{of: map[peer.ID]*known{}, limit: cfg.MaxAgents},
		floods:    newFloods(cfg.Floods),
		now:       newInterval(cfg, time.Now()),
	}
	d.rhythm.origins = newOrigins(d.now.started)
	return d
}

// Stats holds a Deriver's counters since its start.
type Stats struct {
	Events        uint64 // events counted
	Missed        uint64 // events that left the bus before they were read
	Wants         uint64 // wants counted, of both directions
	Matched       uint64 // answers to a want
	Unmatched     uint64 // answers to no waiting want
	Expired       uint64 // wants that waited longer than Expiry
	Lost          uint64 // waiting wants evicted by others
	RepeatsLost   uint64 // wants forgotten before the end of their window
	Latencies     uint64 // events made of single answers: KindLatency, KindRetrieval, KindRequest
	LatenciesHeld uint64 // such events not made because of MaxLatencies
	Refused       uint64 // derived events that publish did not accept
	Panics        uint64 // recovered panics; each lost an event or a summary
	Floods        uint64 // floods found
	Flooding      int    // peers that flood now
	FloodsLost    uint64 // peers with too much for a window, but no place to follow them
	Pending       int    // wants that wait now, some perhaps expired
	Held          int    // events waiting to be put in order
}

// Stats returns the counters of the Deriver.
func (d *Deriver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Expired, s.Lost, s.RepeatsLost = d.pending.expired, d.pending.lost+d.requests.lost, d.repeats.lost
	s.Floods, s.FloodsLost = d.floods.found, d.floods.lost
	for _, x := range d.floods.suspects {
		if x.flooding {
			s.Flooding++
		}
	}
	s.Pending, s.Held, s.Panics = d.pending.used, d.order.len(), d.guard.Panics()
	return s
}

// Run derives until the reader or ctx ends; then it publishes the last origins and
// a last summary, of the running interval, and returns nil. Close the reader before
// the bus if the bus is to accept them.
func (d *Deriver) Run(ctx context.Context, r *bus.Reader) error {
	if !d.running.CompareAndSwap(false, true) {
		return errors.New("derive: Run was called a second time; want one call")
	}
	d.mu.Lock()
	d.now.started = time.Now()
	d.rhythm.origins.since = d.now.started
	next := d.now.started.Add(d.cfg.Interval)
	d.mu.Unlock()
	var (
		buf   [batchEvents]*event.Event
		heard = time.Now() // when an event was last held
		ended error
	)
	for ended == nil {
		wait := min(time.Until(next), d.floods.due(time.Now())) // only this goroutine changes the window
		if d.order.len() > 0 {                                  // only this goroutine changes it
			wait = min(wait, 2*d.cfg.Hold) // twice, so that it rarely ends before more events come
		}
		waiting, cancel := context.WithTimeout(ctx, wait)
		n, missed, err := r.Next(waiting, buf[:])
		cancel()
		now := time.Now()
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			ended = err
		}
		d.rhythm.origins.missed += missed
		for _, e := range buf[:n] {
			d.see(e)
		}
		if ended != nil {
			d.rhythm.sumOrigins(now.UnixNano(), now)
		}
		d.mu.Lock()
		d.stats.Missed += missed
		d.now.missed += missed
		for i, e := range buf[:n] {
			if d.hold(e) {
				heard = now
			}
			buf[i] = nil
		}
		d.count(ended != nil || now.Sub(heard) >= d.cfg.Hold)
		if d.floods.due(now) <= 0 {
			d.flood(now)
		}
		if ended != nil || !now.Before(next) {
			d.summarize(now)
			next = now.Add(d.cfg.Interval)
		}
		out := append(d.rhythm.take(), d.out...)
		d.out = nil
		d.mu.Unlock()
		d.send(out)
	}
	if errors.Is(ended, bus.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("derive: read from the bus: %w", ended)
}

// hold queues an event to be put in order, and reports whether figures are
// derived from its kind.
func (d *Deriver) hold(e *event.Event) bool {
	switch e.Kind {
	case event.KindMessage, event.KindConnection, event.KindIdentify, event.KindSearch, event.KindSendError:
		if e.Time < d.order.latest-stepBack {
			d.count(true)
		}
		d.order.push(e)
		return true
	case event.KindDHT:
		d.dht(e)
	}
	d.order.latest = max(d.order.latest, e.Time)
	return false
}

// count counts the events that have waited for Hold, or all.
func (d *Deriver) count(all bool) {
	for {
		e := d.order.pop(all)
		if e == nil {
			return
		}
		d.event(e)
		d.order.done(e)
	}
}

// send publishes events. The caller does not hold mu: publish may call Stats.
func (d *Deriver) send(out []*event.Event) {
	for _, e := range out {
		if !d.sendOne(e) {
			d.mu.Lock()
			d.stats.Refused++
			d.mu.Unlock()
		}
	}
}

func (d *Deriver) sendOne(e *event.Event) (taken bool) {
	defer d.guard.Recover("derive: publish a derived event")
	return d.publish(e)
}
