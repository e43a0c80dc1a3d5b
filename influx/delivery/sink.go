package delivery

import (
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
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// closeTimeout is how long Run continues after its last event to store the waiting points.
const closeTimeout = 5 * time.Second

var errDrained = errors.New("influx: everything is delivered")

// Sink writes the events of a bus to InfluxDB, to one server or to several.
type Sink struct {
	set     client.Settings // of the first destination
	enc     encoder
	batcher batcher
	to      destinations
	lines   lines
	unacked *unacked // replaces batcher and to if the destination is not a server

	sums atomic.Pointer[rollup.Sums] // set by Run; nil: none

	events atomic.Uint64
	missed atomic.Uint64
	guard  guard.Guard

	taken atomic.Uint64 // points, of unacked
}

// encoder turns events into lines: an Encoder. Only the sink's goroutine uses it, except for
// TagFull, which any goroutine may call.
type encoder interface {
	Append([schema.Kinds][]byte, *event.Event) ([schema.Kinds][]byte, [schema.Kinds]int)
	SetDHTHistory()
	SetRollups(*rollup.Sums)
	TagFull(measurement, tag, value string)
}

// New creates a sink for the node with this name (the tag node). It does not connect: an absent
// server is not an error. Run does the work.
func New(cfg client.Config, node string) (*Sink, error) {
	all, err := cfg.ResolveAll()
	if err != nil {
		return nil, err
	}
	if err := event.CheckName(node); err != nil {
		return nil, fmt.Errorf("influx: the node's name: %w", err)
	}
	s := &Sink{set: all[0]}
	s.guard.Log = s.set.Logger
	history := slices.ContainsFunc(all, func(set client.Settings) bool { return set.KeepsHistory })
	s.enc = lineproto.NewEncoder(node, history)
	if cfg.HistoryDHT {
		s.enc.SetDHTHistory()
	}
	if s.unacked = newUnacked(&s.set, &s.lines); s.unacked != nil {
		return s, nil
	}
	for _, set := range all {
		o, err := newDestination(set, s.enc)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.to = append(s.to, o)
	}
	s.batcher = batcher{maxPoints: s.set.BatchSize, queue: s.to, oldest: s.to.oldest}
	return s, nil
}

// forgotten reports spools whose destination is no longer configured.
func (s *Sink) forgotten() {
	if s.set.SpoolDir == "" {
		return
	}
	for _, segment := range paths.Glob(s.set.SpoolDir, client.SpoolPrefix+"*/*.seg") {
		dir := filepath.Dir(segment)
		name := strings.TrimPrefix(filepath.Base(dir), client.SpoolPrefix)
		if !slices.ContainsFunc(s.set.Also, func(d client.Destination) bool { return d.Name == name }) {
			s.set.Logger.Warn("influx: points are spooled for a destination that is no longer configured; remove the folder, or configure the destination again", "destination", name, "folder", dir)
		}
	}
}

// Close closes a sink that was never run; Run closes its own resources. It may be called more
// than once.
func (s *Sink) Close() error {
	for _, o := range s.to {
		o.close()
	}
	return nil
}

// Run reads events until the bus is closed or ctx is done, then spends at most five seconds to
// store what it holds. The error reports how many points remained; they are counted as dropped.
// Run may be called once.
func (s *Sink) Run(ctx context.Context, r *bus.Reader) error {
	defer s.lines.each((*throttle.Loss).Flush)
	s.openSums()
	defer s.closeSums()
	if s.unacked != nil {
		return s.runUnacked(ctx, r)
	}
	s.forgotten()
	post, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	flushing, stopFlushing := context.WithCancel(post)
	wg.Go(func() { s.flushEvery(flushing, s.set.FlushEvery) })
	ended := make([]<-chan struct{}, len(s.to))
	for i, o := range s.to {
		ended[i] = o.start(post)
	}

	s.read(ctx, r)

	stopFlushing()
	wg.Wait()
	s.flush()
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

// read encodes events until the bus has none left.
func (s *Sink) read(ctx context.Context, r *bus.Reader) {
	buf := make([]*event.Event, 256)
	for {
		n, missed, err := r.Next(ctx, buf)
		if err != nil {
			return
		}
		if missed > 0 {
			s.missed.Add(missed)
			s.lines.missed.Warn(s.set.Logger, "influx: events were lost before they could be read", "missed", int(missed))
		}
		now := time.Now()
		for i := range n {
			s.take(now, buf[i])
			buf[i] = nil
		}
		s.events.Add(uint64(n))
	}
}

// flush empties the batcher. A panic loses the rollups that were being written.
func (s *Sink) flush() {
	defer s.guard.Recover("influx: flush the open batches")
	s.batcher.flush(time.Now())
}

// take encodes one event. A panic loses that event.
func (s *Sink) take(now time.Time, ev *event.Event) {
	defer s.guard.Recover("influx: encode an event")
	s.batcher.add(now, s.enc, ev)
}

func (s *Sink) flushEvery(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.flush()
			s.lines.each((*throttle.Loss).Tick)
			for _, o := range s.to {
				o.lines.each((*throttle.Loss).Tick)
			}
		case <-ctx.Done():
			return
		}
	}
}
