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
	DefaultMaxPending      = 1 << 18 // 8 MiB
	DefaultMaxRepeats      = 1 << 20 // 20 MiB
	DefaultMaxCIDsTracked  = 8192    // in each of two tables, about 2 MiB together
	DefaultMaxPeersTracked = 4096    // about 0.5 MiB
	DefaultMaxAgents       = 50_000  // about 8 MiB with agents of ordinary length
	DefaultMaxLatencies    = 5000
	DefaultTopN            = 50
)

const (
	batchEvents = 64 // read at once, and held under the lock
	// stepBack is how far event times may go back before that is taken for a
	// clock that was set, not for an event that came late.
	stepBack = int64(10 * time.Second)
)

// Config bounds what the figures cost. A value that is zero or less means the
// default; HistoryLatency's is off.
type Config struct {
	Interval        time.Duration // between summaries
	Window          time.Duration // in which a repeated want is a duplicate
	Expiry          time.Duration // after which a want is no longer waited for
	Hold            time.Duration // events are put in order of time within it
	MaxPending      int           // places for waiting wants, rounded up to 8 times a power of two; losses begin when about a third is taken
	MaxRepeats      int           // the same for wants that a repeat is looked up in: those of the last 46 s
	MaxCIDsTracked  int           // counters for top CIDs
	MaxPeersTracked int           // counters for top peers
	MaxAgents       int           // peers whose agent is remembered
	TopN            int           // length of the lists in a summary
	HistoryLatency  bool          // publish an event for each answer
	MaxLatencies    int           // of them in one second; the rest is only counted
	Logger          *slog.Logger  // nil: slog.Default()
}

func (c Config) withDefaults() Config {
	orDefault(&c.Interval, DefaultInterval)
	orDefault(&c.Window, DefaultWindow)
	orDefault(&c.Expiry, DefaultExpiry)
	orDefault(&c.Hold, DefaultHold)
	orDefault(&c.MaxPending, DefaultMaxPending)
	orDefault(&c.MaxRepeats, DefaultMaxRepeats)
	orDefault(&c.MaxCIDsTracked, DefaultMaxCIDsTracked)
	orDefault(&c.MaxPeersTracked, DefaultMaxPeersTracked)
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

	mu      sync.Mutex // guards all below; never held while publishing
	order   order
	pending *pending
	repeats *repeats
	agents  agents
	now     *interval
	last    *event.Summary // of the last complete interval
	lastEnd time.Time
	out     []*event.Event // derived, to be published after the lock
	clock   int64          // latest event time counted
	second  int64          // of the event times that latencies belong to
	inSec   int            // latencies made in it
	stats   Stats
}

// New makes a Deriver, with its tables. publish gets each derived event once
// and reports whether it was taken; it is called from Run's goroutine alone.
func New(cfg Config, publish func(*event.Event) bool) *Deriver {
	cfg = cfg.withDefaults()
	return &Deriver{
		cfg:     cfg,
		publish: publish,
		guard:   guard.Guard{Log: cfg.Logger},
		seed:    maphash.MakeSeed(),
		order:   order{hold: int64(cfg.Hold)},
		pending: newPending(cfg.MaxPending, cfg.Expiry),
		repeats: newRepeats(cfg.MaxRepeats, cfg.Window),
		agents:  agents{of: map[string]event.Text{}, limit: cfg.MaxAgents},
		now:     newInterval(cfg, time.Now()),
	}
}

// Stats is what a Deriver has done since its start.
type Stats struct {
	Events        uint64 // counted
	Missed        uint64 // gone from the bus before they were read
	Wants         uint64 // counted, of both directions
	Matched       uint64 // answers to a want
	Unmatched     uint64 // answers without a want that waits
	Expired       uint64 // wants that waited longer than Expiry
	Lost          uint64 // wants that waited and gave way to others
	RepeatsLost   uint64 // wants forgotten before their window's end
	Latencies     uint64 // events of KindLatency made
	LatenciesHeld uint64 // not made because of MaxLatencies
	Refused       uint64 // events that publish did not take
	Panics        uint64 // events given up because of one
	Pending       int    // wants that wait now, some perhaps expired
	Held          int    // events waiting to be put in order
}

// Stats returns the counters of the Deriver.
func (d *Deriver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Expired, s.Lost, s.RepeatsLost = d.pending.expired, d.pending.lost, d.repeats.lost
	s.Pending, s.Held, s.Panics = d.pending.used, d.order.len(), d.guard.Panics()
	return s
}

// Run derives until the reader or ctx ends; then it publishes a last summary
// of the running interval and returns nil. Close the reader before the bus if
// that summary shall still be taken.
func (d *Deriver) Run(ctx context.Context, r *bus.Reader) error {
	if !d.running.CompareAndSwap(false, true) {
		return errors.New("derive: Run was called twice, and may be called once")
	}
	d.mu.Lock()
	d.now.started = time.Now()
	next := d.now.started.Add(d.cfg.Interval)
	d.mu.Unlock()
	var (
		buf   [batchEvents]*event.Event
		heard = time.Now() // when an event was last held
		ended error
	)
	for ended == nil {
		wait := time.Until(next)
		if d.order.len() > 0 { // only this goroutine changes it
			wait = min(wait, d.cfg.Hold)
		}
		waiting, cancel := context.WithTimeout(ctx, wait)
		n, missed, err := r.Next(waiting, buf[:])
		cancel()
		now := time.Now()
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			ended = err
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
		if ended != nil || !now.Before(next) {
			d.summarize(now)
			next = now.Add(d.cfg.Interval)
		}
		out := d.out
		d.out = nil
		d.mu.Unlock()
		d.send(out)
	}
	if errors.Is(ended, bus.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("derive: read from the bus: %w", ended)
}

// hold puts an event in order, if figures are derived from its kind.
func (d *Deriver) hold(e *event.Event) bool {
	switch e.Kind {
	case event.KindMessage, event.KindConnection, event.KindIdentify:
		if e.Time < d.order.latest-stepBack {
			d.count(true)
		}
		d.order.push(e)
		return true
	}
	d.order.latest = max(d.order.latest, e.Time)
	return false
}

// count takes the events whose time to be put in order is over, or all.
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

// send publishes events. The caller does not hold mu: publish may ask for Stats.
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
