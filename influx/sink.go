package influx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/status"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// closeTimeout is how long Run continues after its last event to store what
// waits.
const closeTimeout = 5 * time.Second

var errDrained = errors.New("influx: everything is delivered")

// Sink writes the events of a bus to InfluxDB, to one server or to several.
type Sink struct {
	set     settings // of the first destination
	enc     *Encoder
	batcher batcher
	to      fan
	lines   lines
	plain   *plain // in place of batcher and to if the destination is no server

	events atomic.Uint64
	missed atomic.Uint64
	guard  guard.Guard

	taken atomic.Uint64 // points, of plain
}

// Stats is how a sink stands. Delivery is the sum over all destinations: a
// point counts once for each that it goes to.
type Stats struct {
	Events uint64 // events read from the bus
	Missed uint64 // events that the bus let go before they were read
	Panics uint64 // events and batches left out because of a fault of our own
	Delivery
	Destinations []DestinationStats // the first one first; never empty
}

// DestinationStats is how one destination stands.
type DestinationStats struct {
	Name string
	URL  string // without credentials
	// SpoolDir is the folder where points wait that the server has not taken; ""
	// if there is none.
	SpoolDir string
	Delivery
}

// Delivery is what became of the points. Accepted = Stored + Dropped + Rejected
// + Queued, but for what changes while it is read.
type Delivery struct {
	Accepted uint64  // points encoded and taken
	Stored   uint64  // points that the server has
	Dropped  uint64  // points lost: the queue was full, or time was up at the end
	Rejected uint64  // points that the server refused for good
	Queued   int     // points that wait now, in memory or on disk
	Bytes    int     // memory they take
	Spooled  int64   // bytes on disk now
	Full     float64 // how full the spool is, the fullest of several: 1 at its bound
	Restored uint64  // points found on disk at the start; they are among Accepted
	Damaged  uint64  // points lost to damage on disk; they are among Dropped
	Expired  uint64  // points the server refused because they are too old; among Rejected
	Others   uint64  // points whose tag value was made others, because the server takes no more values of the tag
	SpoolErr error   // why the spool is in memory only; nil: all is well
	// BatchSize is the most points posted at once now, Requests the most
	// requests at once: one for what is fresh, the others for the backlog.
	BatchSize, Requests int

	Lag      time.Duration
	Failing  bool      // the last request to the server failed and is tried again
	LastErr  string    // the last failure or refusal, kept after it is over
	LastTime time.Time // when it was
}

// add sums what can be summed, and takes the worst of what cannot.
func (d *Delivery) add(o Delivery) {
	d.Accepted += o.Accepted
	d.Stored += o.Stored
	d.Dropped += o.Dropped
	d.Rejected += o.Rejected
	d.Queued += o.Queued
	d.Bytes += o.Bytes
	d.Spooled += o.Spooled
	d.Full = max(d.Full, o.Full)
	d.Restored += o.Restored
	d.Damaged += o.Damaged
	d.Expired += o.Expired
	d.Others += o.Others
	d.BatchSize = max(d.BatchSize, o.BatchSize)
	d.Requests += o.Requests
	d.SpoolErr = cmp.Or(d.SpoolErr, o.SpoolErr)
	d.Lag = max(d.Lag, o.Lag)
	if o.Failing && !d.Failing || o.Failing == d.Failing && o.LastTime.After(d.LastTime) {
		d.LastErr, d.LastTime = o.LastErr, o.LastTime
	}
	d.Failing = d.Failing || o.Failing
}

// New makes a sink for the node of that name (the tag node). It does not
// connect: an absent server is no error. Run does the work.
func New(cfg Config, node string) (*Sink, error) {
	all, err := cfg.resolveAll()
	if err != nil {
		return nil, err
	}
	if err := event.CheckName(node); err != nil {
		return nil, fmt.Errorf("influx: the node's name: %w", err)
	}
	s := &Sink{set: all[0]}
	s.guard.Log = s.set.log
	history := slices.ContainsFunc(all, func(set settings) bool { return set.history })
	s.enc = NewEncoder(node, history)
	if s.plain = newPlain(&s.set, &s.lines); s.plain != nil {
		return s, nil
	}
	for _, set := range all {
		o, err := newOutflow(set, s.enc)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.to = append(s.to, o)
	}
	s.batcher = batcher{maxPoints: s.set.BatchSize, queue: s.to}
	return s, nil
}

// forgotten reports spools whose destination is no longer configured.
func (s *Sink) forgotten() {
	if s.set.SpoolDir == "" {
		return
	}
	found, _ := filepath.Glob(filepath.Join(s.set.SpoolDir, spoolPrefix+"*", "*.seg")) // the pattern is a valid one
	for _, segment := range found {
		dir := filepath.Dir(segment)
		name := strings.TrimPrefix(filepath.Base(dir), spoolPrefix)
		if !slices.ContainsFunc(s.set.Also, func(d Destination) bool { return d.Name == name }) {
			s.set.log.Warn("influx: points wait for a destination that is not configured any more; remove the folder, or configure it again", "destination", name, "folder", dir)
		}
	}
}

// Close ends a sink that was never run; Run does it by itself. It may be called
// more than once.
func (s *Sink) Close() error {
	for _, o := range s.to {
		o.close()
	}
	return nil
}

// SetPipeline gives the sink what reads the monitor's own counters, for the
// measurement pipeline. It is called before Run.
func (s *Sink) SetPipeline(read func() status.Pipeline) { s.enc.SetPipeline(read) }

// Run reads events until the bus is closed or ctx is done, then stores what it
// has, for at most five seconds. The error reports how many points were left
// over; they are counted as dropped. Run may be called once.
func (s *Sink) Run(ctx context.Context, r *bus.Reader) error {
	defer s.lines.each((*throttle.Loss).Flush)
	if s.plain != nil {
		return s.runPlain(ctx, r)
	}
	s.forgotten()
	post, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	flushing, stopFlushing := context.WithCancel(post)
	wg.Go(func() { s.flushEvery(flushing, s.set.flush) })
	ended := make([]<-chan struct{}, len(s.to))
	for i, o := range s.to {
		ended[i] = o.start(post)
	}

	s.read(ctx, r)

	stopFlushing()
	wg.Wait()
	s.batcher.flush()
	for _, o := range s.to {
		o.seal()
	}
	end := time.Now()
	for i, o := range s.to {
		select {
		case <-ended[i]:
		case <-time.After(time.Until(end.Add(o.patience()))):
		}
	}
	stop()
	var errs []error
	for i, o := range s.to {
		<-ended[i]
		errs = append(errs, o.finish())
	}
	return errors.Join(errs...)
}

// read encodes events until there are none.
func (s *Sink) read(ctx context.Context, r *bus.Reader) {
	buf := make([]*event.Event, 256)
	for {
		n, missed, err := r.Next(ctx, buf)
		if err != nil {
			now := time.Now()
			s.take(now, &event.Event{Time: now.UnixNano(), Kind: kindEnd})
			return
		}
		if missed > 0 {
			s.missed.Add(missed)
			s.lines.missed.Warn(s.set.log, "influx: events were lost before they could be read", "missed", int(missed))
		}
		now := time.Now()
		for i := range n {
			s.take(now, buf[i])
			buf[i] = nil
		}
		s.events.Add(uint64(n))
	}
}

// take encodes one event. A panic costs that event.
func (s *Sink) take(now time.Time, ev *event.Event) {
	defer s.guard.Recover("influx: encode an event")
	s.enc.Prepare(ev)
	s.batcher.add(now, s.enc, ev)
}

func (s *Sink) flushEvery(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.batcher.flush()
			s.lines.each((*throttle.Loss).Tick)
			for _, o := range s.to {
				o.lines.each((*throttle.Loss).Tick)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Stats returns the counters of the sink. It may be called from any goroutine.
func (s *Sink) Stats() Stats {
	st := Stats{Events: s.events.Load(), Missed: s.missed.Load(), Panics: s.guard.Panics()}
	if s.plain != nil {
		st.Delivery = s.plain.delivery(s.taken.Load())
		st.Destinations = []DestinationStats{{MainDestination, s.set.base.Redacted(), "", st.Delivery}}
		return st
	}
	open := s.batcher.size()
	var accepted [Kinds]uint64
	for k := range accepted {
		accepted[k] = s.batcher.accepted[k].Load()
	}
	for _, o := range s.to {
		d := o.delivery(accepted, open)
		st.Destinations = append(st.Destinations, DestinationStats{o.set.name, o.set.base.Redacted(), o.set.SpoolDir, d})
		st.add(d)
		st.Panics += o.guard.Panics()
	}
	for _, w := range open {
		st.Bytes += w.bytes
	}
	return st
}
