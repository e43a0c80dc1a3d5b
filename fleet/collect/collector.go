package collect

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/size"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Collector reads many monitors. All methods may be called from any goroutine.
type Collector struct {
	cfg     *settings
	log     *slog.Logger
	guard   *guard.Guard
	sources []*source
	send    func(*event.Event) bool // set before anything runs

	joined    *joined
	broker    *brokerReader // nil: no monitor is read from one
	countries countries

	totalsMu sync.Mutex
	newest   *event.Fleet // of the last interval
	newestAt time.Time    // its end
	past     Past
	last     reading // at its end
	// The estimates of the last interval, and the names of the monitors then.
	sizes     size.Report
	sizeNames []event.Text

	mu    sync.Mutex
	names map[string]*source // of the monitors that are up
	runs  map[string]*source // the same, by run
}

// reading has the counters at the end of an interval.
type reading struct {
	figures
	monitors []Monitor
	pairs    []uint64
}

// New returns a collector; Publish runs it. A nil log means slog.Default().
func New(cfg Config, log *slog.Logger) (*Collector, error) {
	s, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.Default()
	}
	c := &Collector{cfg: s, log: log, guard: guard.New(log), countries: newCountries(), names: map[string]*source{}, runs: map[string]*source{}}
	if c.joined, err = newJoined(len(s.sources), s.lateness, s.server.Address != ""); err != nil {
		return nil, err
	}
	c.last.sums = c.joined.noSums()
	c.last.monitors, c.last.pairs = make([]Monitor, len(s.sources)), make([]uint64, len(s.sources))
	for i, m := range s.sources {
		one := &source{
			sourceSettings: m, c: c, index: i, label: m.Name, peers: newPeers(s.MaxPeers),
			rate: rate.NewLimiter(rate.Limit(s.MaxRate), s.MaxRate), readPeers: make(chan struct{}, 1),
			recording: recording{dir: s.Record, log: log}, converter: unify.NewConverter(i),
		}
		if one.label == "" {
			one.label = m.Stream
		}
		one.st.Name, one.st.Address, one.st.Page = one.label, m.Stream, m.Page
		if m.amqp {
			one.st.Address = s.server.Shown()
		}
		c.sources = append(c.sources, one)
	}
	if s.server.Address != "" {
		if c.broker, err = newBrokerReader(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Publish reads the monitors, and publishes their events, and every so often the
// totals of the fleet, until end is called. It may be called once.
func (c *Collector) Publish(every time.Duration, publish func(*event.Event) bool) (end func()) {
	c.send = publish
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, s := range c.sources {
		if !s.amqp {
			all.Go(func() { c.keep(ctx, "fleet: read a monitor", s.run) })
		}
		all.Go(func() { c.keep(ctx, "fleet: read connected peers", s.followPeers) })
	}
	if c.broker != nil {
		all.Go(func() { c.keep(ctx, "fleet: read a broker", c.broker.run) })
	}
	often := func(doing string, every time.Duration, f func(now time.Time)) {
		all.Go(func() {
			c.keep(ctx, doing, func(ctx context.Context) {
				tick := time.NewTicker(every)
				defer tick.Stop()
				for {
					select {
					case now := <-tick.C:
						f(now)
					case <-ctx.Done():
						return
					}
				}
			})
		})
	}
	often("fleet: flush recordings", flushEvery, func(time.Time) {
		for _, s := range c.sources {
			s.recording.flush()
		}
	})
	often("fleet: join events", advanceEvery, c.joined.advance)
	began := time.Now()
	total := func(now time.Time) {
		c.send(&event.Event{Time: now.UnixNano(), Kind: event.KindFleet, Fleet: c.totals(now.Sub(began), now)})
		began = now
	}
	often("fleet: publish the totals", every, total)
	return func() {
		cancel()
		all.Wait()
		c.joined.advance(time.Now()) // a shared part is closed: what is not stored is counted by the next collector
		total(time.Now())
	}
}

// keep runs f until ctx ends; a panic is counted, and f runs again.
func (c *Collector) keep(ctx context.Context, doing string, f func(context.Context)) {
	for {
		err := c.guard.Call(doing, func() error { f(ctx); return nil })
		if err == nil || ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// claim notes that a source reads the monitor with that name and run. It is an
// error if another one does.
func (c *Collector) claim(s *source, name, run string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.names[name]; have != nil && have != s {
		return fmt.Errorf("the monitor at %s is called %q, like that at %s: want a name of its own in the configuration", s.Stream, name, have.Stream)
	}
	if have := c.runs[run]; run != "" && have != nil && have != s {
		return fmt.Errorf("the monitor at %s is the one at %s: want each once", s.Stream, have.Stream)
	}
	for _, o := range c.sources {
		if o != s && (o.Name == name || o.Stream == name) {
			return fmt.Errorf("the monitor at %s is called %q, like monitors.%d of the configuration: want a name of its own there", s.Stream, name, o.index)
		}
		if o != s && o.Name == "" {
			o.mu.Lock()
			if o.st.Name == name { // it is away, and had it before
				o.st.Name = o.Stream
			}
			o.mu.Unlock()
		}
	}
	c.drop(s)
	c.names[name] = s
	if run != "" {
		c.runs[run] = s
	}
	return nil
}

// release notes that a source reads no monitor.
func (c *Collector) release(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(s)
}

// drop is release; the caller holds mu.
func (c *Collector) drop(s *source) {
	for name, have := range c.names {
		if have == s {
			delete(c.names, name)
		}
	}
	for run, have := range c.runs {
		if have == s {
			delete(c.runs, run)
		}
	}
}

// has returns which connected peers this collector counts; nil: all.
func (c *Collector) has() func(peer.ID) bool {
	if c.cfg.buckets == nil {
		return nil
	}
	mine := c.joined.mine()
	return func(p peer.ID) bool { return mine[broker.Bucket(p)] }
}

// publish publishes an event of a monitor.
func (c *Collector) publish(e *event.Event) { c.send(e) }

// note publishes a note of the collector's own.
func (c *Collector) note(kind event.NoteKind, value int64, text string) {
	c.send(event.NewNote(time.Now().UnixNano(), kind, value, text))
}

// Ready returns which monitors are not read; nil: all are.
func (c *Collector) Ready() error {
	var away []string
	for _, m := range c.Status(false).Monitors {
		if !m.Up {
			away = append(away, fmt.Sprintf("%s (%s)", m.Name, cmp.Or(m.Err, "not connected yet")))
		}
	}
	if len(away) > 0 {
		return fmt.Errorf("monitors that are not read: %s", strings.Join(away, "; "))
	}
	return nil
}

// Panics returns how many panics were caught.
func (c *Collector) Panics() uint64 { return c.guard.Panics() }
