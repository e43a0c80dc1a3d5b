// Package scheduler makes servers measure in turn: parsec's algorithm without its
// defects.
//
// In: the servers that are alive, from the store. Out: results in the store, as
// events, and in Prometheus. In a round, one of the ready servers, the next one in
// turn, provides new random content, and after a pause all others retrieve it.
// Promised: each server is asked at its own address; one that does not respond is
// marked offline and the rounds continue; an error or an invalid response is a
// failed result; there is always a pause between two rounds; results are on disk
// before they count, up to 10,000 of them while the database does not accept them,
// and each is written once, also when the process is killed; rounds continue with
// the last known servers while their heartbeats are recent enough. Not promised:
// that queued results survive without a queue file, or with one that cannot be
// written.
package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/server"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Defaults of Config.
const (
	DefaultInterval = time.Minute
	DefaultSettle   = 10 * time.Second
	DefaultWait     = 10 * time.Second
	defaultAlive    = server.Alive
	// minPause is the least time between two rounds, whatever they did.
	minPause = 100 * time.Millisecond
	// drainTimeout is how long queued results are written at the end.
	drainTimeout = 5 * time.Second
	// indexerTries is how many times each server asks an indexer in a round.
	indexerTries = 5
)

// Store is the part of a store that a scheduler needs.
type Store interface {
	AddScheduler(ctx context.Context, fleets []string, dependencies json.RawMessage) (int, error)
	Nodes(ctx context.Context, fleets []string, within time.Duration) ([]store.Node, error)
	Offline(ctx context.Context, node int) error
	// Queue returns the number of the last result of a queue that is written;
	// known is false before AddQueue.
	Queue(ctx context.Context, queue string) (written int64, known bool, err error)
	AddQueue(ctx context.Context, queue string) error
	// AddQueued writes results in the order of their numbers, all or none. It skips
	// those that are already written.
	AddQueued(ctx context.Context, queue string, results ...*store.Result) error
	// Steps reports whether each step of a provide is a row.
	Steps() bool
}

// Config configures a scheduler. Times of 0 mean the defaults.
type Config struct {
	Store        Store
	Fleets       []string
	Dependencies json.RawMessage
	Target       probe.Target
	Interval     time.Duration // between the starts of two rounds
	Probes       int           // contents provided in a round, by one server each; 1 if 0
	Settle       time.Duration // between a provide and the retrievals
	Wait         time.Duration // when there are fewer than two servers, or a round failed
	Alive        time.Duration // age of a heartbeat that counts
	Rounds       int           // end after this many rounds with a provide; 0: never
	Queue        string        // file for the results that wait for the store; "": in memory only
	DryRun       bool          // nothing is written to the store
	Token        string        // of the servers

	metrics *probe.SchedulerMetrics // nil: none
	Publish func(*event.Event)      // gets each result; nil: nobody
	Result  func(store.Result)      // gets each result with fleet and region; nil: nobody; called from several goroutines
	Round   func(done int)          // called after each of Rounds; nil: nobody
	Log     *slog.Logger            // nil: slog.Default()
}

// Validate returns all errors of the configuration, joined.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Fleets) == 0 || slices.Contains(c.Fleets, "") {
		errs = append(errs, errors.New("fleets: want the names of one or more fleets, separated by commas"))
	}
	if c.Probes < 0 || c.Probes > 1000 {
		errs = append(errs, fmt.Errorf("probes %d: want 1 to 1000", c.Probes))
	}
	for name, d := range map[string]time.Duration{"interval": c.Interval, "settle": c.Settle, "wait": c.Wait} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("%s %v: want a duration of 0 or more", name, d))
		}
	}
	return errors.Join(errs...)
}

// Scheduler is one scheduler.
type Scheduler struct {
	cfg    Config
	log    *slog.Logger
	client client
	queue  *queue
	id     int

	turn     int          // counts provides; chooses the next provider
	known    []store.Node // the servers when the store was read last
	knownAt  time.Time
	finished int
}

// New returns a scheduler. Run does the work.
func New(cfg Config) (*Scheduler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("probe scheduler: %w", err)
	}
	cfg.Interval = cmp.Or(cfg.Interval, DefaultInterval)
	cfg.Settle = cmp.Or(cfg.Settle, DefaultSettle)
	cfg.Wait = cmp.Or(cfg.Wait, DefaultWait)
	cfg.Alive = cmp.Or(cfg.Alive, defaultAlive)
	cfg.Probes = cmp.Or(cfg.Probes, 1)
	cfg.Target = cmp.Or(cfg.Target, probe.DHT)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Dependencies == nil {
		cfg.Dependencies = json.RawMessage("{}")
	}
	s := &Scheduler{cfg: cfg, log: cfg.Log, queue: newQueue(cfg.Store, cfg.Log)}
	s.client = client{http: listen.To{Token: cfg.Token}.Client(), name: strings.Join(cfg.Fleets, ",")}
	return s, nil
}

// Waiting returns how many results wait for the database, and how many are lost.
func (s *Scheduler) Waiting() (waiting int, lost uint64) { return s.queue.state() }

// SetMetrics sets the metrics, which read the scheduler's own counts. Call it
// before Run.
func (s *Scheduler) SetMetrics(m *probe.SchedulerMetrics) { s.cfg.metrics = m }

// Run makes rounds until ctx is done, or Config.Rounds of them, and then writes the
// queued results, for at most five seconds. It may be called once.
func (s *Scheduler) Run(ctx context.Context) (err error) {
	if !s.cfg.DryRun {
		if s.cfg.Queue != "" {
			if err := s.queue.open(s.cfg.Queue); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.queue.close()) }()
		}
		if err := s.queue.attach(ctx); err != nil {
			return err
		}
		id, err := s.cfg.Store.AddScheduler(ctx, s.cfg.Fleets, s.cfg.Dependencies)
		if err != nil {
			return err
		}
		s.id = id
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { s.queue.run(writing, drainTimeout) })
	defer func() {
		stop()
		wg.Wait()
		s.client.http.CloseIdleConnections()
	}()
	for {
		began := time.Now()
		pause := s.cfg.Wait
		if s.rounds(ctx) {
			pause = s.cfg.Interval - time.Since(began)
		}
		if ctx.Err() != nil || s.cfg.Rounds > 0 && s.finished >= s.cfg.Rounds {
			return nil
		}
		if backoff.Sleep(ctx, max(pause, minPause)) != nil {
			return nil
		}
	}
}

// rounds makes the probes of one interval. It returns false if there were less than
// two servers, or a provide failed.
func (s *Scheduler) rounds(ctx context.Context) bool {
	for range s.cfg.Probes {
		if !s.round(ctx) || ctx.Err() != nil {
			return false
		}
		if s.cfg.Rounds > 0 && s.finished >= s.cfg.Rounds {
			break
		}
	}
	return true
}

// round is one probe.
func (s *Scheduler) round(ctx context.Context) bool {
	ready := s.ready(ctx)
	if s.cfg.metrics != nil {
		s.cfg.metrics.Nodes.Set(float64(len(ready)))
	}
	if len(ready) < 2 {
		s.log.Debug("probe: fewer than two servers are ready", "ready", len(ready), "fleets", s.cfg.Fleets)
		return false
	}
	provider := ready[s.turn%len(ready)]
	s.turn++ // also when it fails, so that the next round asks another one
	content := probe.Content()
	c := probe.CIDOf(content)
	m, err := s.client.provide(ctx, &provider, content, s.cfg.Target)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		s.offline(ctx, &provider, err)
		s.issued(true, false)
		return false
	}
	if m.failure == "" && !m.of(c) {
		m.failure = "the server provided another CID"
	}
	s.take(&provider, m, c, true)
	if m.failure == "" {
		_ = backoff.Sleep(ctx, s.cfg.Settle) // retrieve ends with ctx, too
		s.retrieve(ctx, ready, &provider, c)
	}
	if ctx.Err() != nil {
		return false
	}
	s.finished++
	if s.cfg.Round != nil {
		s.cfg.Round(s.finished)
	}
	return m.failure == ""
}

// retrieve makes all servers but the provider retrieve the content concurrently.
func (s *Scheduler) retrieve(ctx context.Context, nodes []store.Node, provider *store.Node, c cid.Cid) {
	tries := 1
	if s.cfg.Target == probe.IPNI {
		tries = indexerTries
	}
	var wg sync.WaitGroup
	for i := range nodes {
		n := &nodes[i]
		if n.ID == provider.ID {
			continue
		}
		wg.Go(func() {
			for range tries {
				m, err := s.client.retrieve(ctx, n, c.String(), s.cfg.Target)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					s.offline(ctx, n, err)
					s.issued(false, false)
					return
				}
				if m.failure == "" && !m.of(c) {
					m.failure = "the server retrieved another CID"
				}
				s.take(n, m, c, false)
			}
		})
	}
	wg.Wait()
}

// ready returns the servers that are ready. It marks those that do not answer
// offline.
func (s *Scheduler) ready(ctx context.Context) []store.Node {
	nodes, err := s.cfg.Store.Nodes(ctx, s.cfg.Fleets, s.cfg.Alive)
	switch {
	case err == nil:
		s.known, s.knownAt = nodes, time.Now()
	case ctx.Err() != nil:
		return nil
	case time.Since(s.knownAt) < s.cfg.Alive:
		s.log.Warn("probe: the database does not answer which servers are alive, using those known last", "nodes", len(s.known), "err", err)
		nodes = s.known
	default:
		s.log.Warn("probe: the database does not answer which servers are alive", "err", err)
		return nil
	}
	nodes = s.newest(ctx, nodes)
	answers := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() { answers[i] = s.client.ready(ctx, &nodes[i]) })
	}
	wg.Wait()
	var out []store.Node
	for i := range nodes {
		switch {
		case answers[i] == nil:
			out = append(out, nodes[i])
		case ctx.Err() == nil:
			s.offline(ctx, &nodes[i], answers[i])
		}
	}
	return out
}

// newest leaves out servers whose address a newer one has: they were killed and
// restarted. With both in a round, a server would measure with itself.
func (s *Scheduler) newest(ctx context.Context, nodes []store.Node) (out []store.Node) {
	at := make(map[netip.AddrPort]int)
	for i, n := range nodes { // by number: the newest is last
		at[netip.AddrPortFrom(n.IP, uint16(n.ServerPort))] = i
	}
	for i := range nodes {
		n := &nodes[i]
		if at[netip.AddrPortFrom(n.IP, uint16(n.ServerPort))] != i {
			s.offline(ctx, n, errors.New("another server has its address now"))
			continue
		}
		out = append(out, *n)
	}
	return out
}

func (s *Scheduler) offline(ctx context.Context, n *store.Node, why error) {
	s.log.Warn("probe: a server does not answer, marking it offline", "node", n.ID, "fleet", n.Fleet, "address", n.IP, "port", n.ServerPort, "err", why)
	if s.cfg.DryRun {
		return
	}
	if err := s.cfg.Store.Offline(ctx, n.ID); err != nil {
		s.log.Warn("probe: cannot mark a server offline", "node", n.ID, "err", err)
	}
}

func (s *Scheduler) issued(provide, success bool) {
	if s.cfg.metrics != nil {
		s.cfg.metrics.Issued(provide, success)
	}
}

// take counts a result, queues it and publishes it.
func (s *Scheduler) take(n *store.Node, m *measured, c cid.Cid, provide bool) {
	now := time.Now()
	failure := string(event.Clean(m.failure, 256))
	whole := store.Result{
		Provide: provide, Scheduler: s.id, Node: n.ID, Fleet: n.Fleet, Region: n.Region, Table: m.RoutingTableSize,
		Duration: m.total, CID: c.String(), Error: failure, At: now, Step: probe.StepRetrieval,
	}
	if provide {
		whole.Step = probe.StepProvide
	}
	if l := m.Lookup; l != nil {
		whole.Lookup = &probe.Lookup{Hops: l.Hops, RPCs: l.RPCs, FailedRPCs: l.FailedRPCs, Dials: l.Dials, FailedDials: l.FailedDials,
			HopTimes: l.HopTimes[:min(len(l.HopTimes), 32)]}
	}
	if !s.cfg.DryRun {
		for _, r := range s.rows(whole, m) {
			s.queue.put(r)
		}
	}
	s.issued(provide, m.failure == "")
	if s.cfg.Result != nil {
		s.cfg.Result(whole)
	}
	if s.cfg.Publish != nil {
		s.cfg.Publish(s.event(n, &whole, c))
	}
}

// rows returns a row for each step of a provide if it has several, as parsec does,
// else one row for the result.
func (s *Scheduler) rows(whole store.Result, m *measured) (out []*store.Result) {
	if !whole.Provide || len(m.Measurements) < 2 || !s.cfg.Store.Steps() {
		return []*store.Result{&whole}
	}
	for _, step := range m.Measurements[:min(len(m.Measurements), 16)] {
		r := whole
		r.Step, r.Duration, r.Error = string(event.Clean(step.Step, 64)), step.Duration, string(event.Clean(step.Error, 256))
		out = append(out, &r)
	}
	return out
}

func (s *Scheduler) event(n *store.Node, r *store.Result, c cid.Cid) *event.Event {
	p := &event.Probe{
		Provide: r.Provide, Fleet: event.Clean(n.Fleet, 64), Region: event.Clean(n.Region, 64), Target: string(s.cfg.Target),
		CID: c, Duration: r.Duration, Error: event.Text(r.Error), Table: r.Table,
	}
	if l := r.Lookup; l != nil {
		p.Hops, p.RPCs, p.FailedRPCs, p.Dials, p.FailedDials = l.Hops, l.RPCs, l.FailedRPCs, l.Dials, l.FailedDials
		copy(p.HopTimes[:], l.HopTimes)
	}
	id, err := peertext.ID(n.PeerID)
	if err != nil {
		id = "" // a server of another program may write anything there
	}
	return &event.Event{Time: r.At.UnixNano(), Kind: event.KindProbe, Peer: id, Probe: p}
}
