package influx

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/status"
)

// closeTimeout is how long Run goes on after its last event to store what
// waits.
const closeTimeout = 5 * time.Second

var errDrained = errors.New("influx: everything is delivered")

// Sink writes the events of a bus to InfluxDB.
type Sink struct {
	set     settings
	enc     *Encoder
	batcher batcher
	queue   batchQueue
	disk    *diskQueue // the queue, if it is one on disk
	writers []*writer  // one for each lane
	rejects *rejects   // nil without a spool
	logs    logLimit
	plain   *plain // in place of the five above if the destination is no server

	events   atomic.Uint64
	accepted atomic.Uint64
	dropped  atomic.Uint64
	missed   atomic.Uint64
	panics   atomic.Uint64
}

// Stats is how a sink stands. Accepted = Stored + Dropped + Rejected + Queued,
// but for what changes while it is read.
type Stats struct {
	Events   uint64 // events read from the bus
	Missed   uint64 // events that the bus let go before they were read
	Accepted uint64 // points encoded and taken
	Stored   uint64 // points that the server has
	Dropped  uint64 // points lost: the queue was full, or time was up at the end
	Rejected uint64 // points that the server refused for good
	Panics   uint64 // events left out because of a fault of our own
	Queued   int    // points that wait now, in memory or on disk
	Bytes    int    // memory they take
	Spooled  int64  // bytes on disk now
	Restored uint64 // points found on disk at the start; they are among Accepted
	Damaged  uint64 // points lost to damage on disk; they are among Dropped
	Expired  uint64 // points the server refused because they are too old; among Rejected
	SpoolErr error  // why the spool is in memory only; nil: all is well
	Lag      time.Duration
	Failing  bool      // the last request to the server failed and is tried again
	LastErr  string    // the last failure or refusal, kept after it is over
	LastTime time.Time // when it was
}

// New makes a sink for the node of that name (the tag node). It does not
// connect: an absent server is no error. Run does the work.
func New(cfg Config, node string) (*Sink, error) {
	set, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if node == "" || len(node) > 256 {
		return nil, fmt.Errorf("influx: the node's name is %q; allowed is 1 to 256 bytes", node)
	}
	s := &Sink{set: set, enc: NewEncoder(node, set.history)}
	s.logs = logLimit{log: set.log}
	if s.plain = newPlain(&s.set, &s.logs); s.plain != nil {
		return s, nil
	}
	s.queue = newMemoryQueue(set.QueueBytes, set.BatchSize, s.drop)
	if set.SpoolDir != "" {
		if s.disk, err = openDiskQueue(&s.set); err != nil {
			return nil, fmt.Errorf("influx: %w", err)
		}
		s.queue = s.disk
		s.rejects = &rejects{path: filepath.Join(set.SpoolDir, rejectedName)}
	}
	s.batcher = batcher{maxPoints: set.BatchSize, queue: s.queue}
	for range s.queue.lanes() {
		own := s.set // its secrets are read again by each writer
		w := newWriter(&own, &s.logs)
		w.rejects = s.rejects
		s.writers = append(s.writers, w)
	}
	return s, nil
}

// Close ends a sink that was never run; Run does it by itself. It may be called
// more than once.
func (s *Sink) Close() error {
	if s.disk != nil {
		s.disk.Close()
	}
	return nil
}

// SetPipeline gives the sink what reads the monitor's own counters, for the
// measurement pipeline. It is called before Run.
func (s *Sink) SetPipeline(read func() status.Pipeline) { s.enc.SetPipeline(read) }

// Run reads events until the bus is closed or ctx is done, then stores what it
// has, for at most five seconds. The error tells how many points were left
// over; they are counted as dropped. Run may be called once.
func (s *Sink) Run(ctx context.Context, r *bus.Reader) error {
	if s.plain != nil {
		return s.runPlain(ctx, r)
	}
	post, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	flushing, stopFlushing := context.WithCancel(post)
	wg.Go(func() { s.flushEvery(flushing, s.set.flush) })
	written := make(chan struct{})
	var writing sync.WaitGroup
	for lane, w := range s.writers {
		writing.Go(func() { s.write(post, lane, w) })
	}
	go func() { // ends with the writers
		defer close(written)
		writing.Wait()
	}()

	s.read(ctx, r)

	stopFlushing()
	wg.Wait()
	s.batcher.flush()
	s.queue.seal()
	for _, w := range s.writers {
		w.hurry()
	}
	patience := closeTimeout
	if s.disk != nil { // nothing is lost by ending now, if the disk is well
		if patience /= 5; s.disk.Stats().Err != nil {
			patience *= 4
		}
	}
	select {
	case <-written:
	case <-time.After(patience):
	}
	stop()
	<-written
	for _, w := range s.writers {
		w.client.CloseIdleConnections()
	}
	s.rejects.close()
	if left := s.queue.drain(); left > 0 {
		if s.disk == nil {
			left -= s.settled() // of a batch that was stored in part
			s.dropped.Add(uint64(left))
		}
		_, last, _ := s.state()
		if s.disk != nil {
			last = fmt.Sprintf("%v; %s", s.disk.Stats().Err, last)
		}
		return fmt.Errorf("influx: %d points were not stored within %v of the end: %s", left, closeTimeout, last)
	}
	return nil
}

// read encodes events until there are none.
func (s *Sink) read(ctx context.Context, r *bus.Reader) {
	buf := make([]*event.Event, 256)
	for {
		n, missed, err := r.Next(ctx, buf)
		if err != nil {
			return
		}
		if missed > 0 {
			s.missed.Add(missed)
			s.logs.warn("influx: events were lost before they could be read", "missed", missed)
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
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			s.logs.warn("influx: an event could not be encoded", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	s.enc.Prepare(ev)
	s.accepted.Add(uint64(s.batcher.add(now, s.enc, ev)))
}

func (s *Sink) flushEvery(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.batcher.flush()
		case <-ctx.Done():
			return
		}
	}
}

// write posts batches until the queue is drained or ctx is done. A panic costs
// the batch that it came from.
func (s *Sink) write(ctx context.Context, lane int, w *writer) {
	for {
		b, err := s.queue.head(ctx, lane)
		if err != nil {
			return
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					s.panics.Add(1)
					s.dropped.Add(uint64(b.points - w.settled()))
					s.logs.warn("influx: a batch could not be posted", "panic", p, "stack", string(debug.Stack()))
					err = nil
				}
			}()
			err = w.deliver(ctx, b)
		}()
		if err != nil {
			return
		}
		s.queue.done(b)
		w.partly.Store(0)
	}
}

// drop counts points that are lost.
func (s *Sink) drop(points int) {
	s.dropped.Add(uint64(points))
	s.logs.warn("influx: points dropped, the queue is full", "points", points, "QueueBytes", s.set.QueueBytes)
}

// settled is how many points of the batches in work are stored or rejected.
func (s *Sink) settled() (points int) {
	for _, w := range s.writers {
		points += w.settled()
	}
	return points
}

// state tells whether a writer fails, and the last failure of all.
func (s *Sink) state() (failing bool, last string, at time.Time) {
	for _, w := range s.writers {
		f, l, a := w.state()
		failing = failing || f
		if a.After(at) {
			last, at = l, a
		}
	}
	return failing, last, at
}

// Stats tells how the sink stands. It may be called from any goroutine.
func (s *Sink) Stats() Stats {
	if s.plain != nil {
		return s.plainStats()
	}
	st := Stats{
		Dropped: s.dropped.Load(),
		Events:  s.events.Load(),
		Missed:  s.missed.Load(),
		Panics:  s.panics.Load(),
	}
	for _, w := range s.writers {
		st.Stored += w.stored.Load()
		st.Rejected += w.rejected.Load()
		st.Expired += w.expired.Load()
	}
	st.Failing, st.LastErr, st.LastTime = s.state()
	if s.disk != nil {
		d := s.disk.Stats()
		st.Spooled, st.Restored, st.Damaged, st.SpoolErr = d.Disk, d.Restored, d.Damaged, d.Err
		st.Dropped += d.Dropped + d.Damaged
	}
	points, bytes, oldest := s.queue.size()
	p, b, since := s.batcher.size()
	st.Queued, st.Bytes = max(points+p-s.settled(), 0), bytes+b
	if oldest.IsZero() {
		oldest = since
	}
	if !oldest.IsZero() {
		st.Lag = time.Since(oldest)
	}
	st.Accepted = s.accepted.Load() + st.Restored
	return st
}
