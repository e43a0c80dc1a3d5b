package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// flushEvery is the longest that an event waits for its message to fill.
	flushEvery = time.Second
	// v3Events and bodyBytes are about the most events of a message of v3, and the most JSON
	// in a message before it is compressed.
	v3Events  = 256
	bodyBytes = 128 << 10
	// memoryBytes bounds the messages of v3 that wait for the broker.
	memoryBytes = 8 << 20
	// closeTimeout is how long Run continues after its last event to send what waits.
	closeTimeout = 3 * time.Second
)

// Stats counts the outcomes of the events of one format.
type Stats = pipeline.Exchange

// Sink sends the events of a bus to a broker.
type Sink struct {
	monitor string
	run     string
	log     *slog.Logger
	guard   guard.Guard
	bodies  stream.Bodies
	sending []*publisher

	// v3, if it is sent; used by Run's goroutine alone.
	memory *memory
	v3     map[string]*array // by the last word of the routing key

	// v4, if it is sent; used by Run's goroutine alone.
	disk   *disk
	v4     [Buckets]lines
	missed uint64

	accepted [2]atomic.Uint64 // events, by the index of the format in Formats
}

// array is an open message of v3.
type array struct {
	json   []byte
	events int
	since  time.Time
}

// lines is an open batch of v4.
type lines struct {
	json           []byte
	events         int
	first, last    uint64
	since          time.Time
	number, before uint64 // of the batches before it
}

// New returns a sink for the monitor with this name. It does not connect: an absent broker is no
// error. Run does the work.
func New(cfg Config, monitor string) (*Sink, error) {
	if err := errors.Join(cfg.Validate(), CheckAddress(cfg.Address), CheckName(monitor)); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	s := &Sink{monitor: monitor, run: hex.EncodeToString(id[:]), log: cfg.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.guard.Log = s.log
	publish := func(format, exchange string, q queue) {
		s.sending = append(s.sending, &publisher{format: format, exchange: exchange, durable: format == V4, mandatory: format == V4,
			server: cfg.server(), name: "ipfsmon " + monitor + " " + format, queue: q, log: s.log, guard: &s.guard})
	}
	if cfg.Has(V3) {
		s.memory = newMemory(memoryBytes, s.log)
		s.v3 = map[string]*array{v3Messages: new(array), v3Connections: new(array)}
		publish(V3, ExchangeV3, s.memory)
	}
	if cfg.Has(V4) {
		if cfg.SpoolDir == "" {
			return nil, errors.New("broker: SpoolDir is not set: want a folder for the batches that wait for the broker")
		}
		most := int64(cfg.SpoolMaxBytes)
		if most == 0 {
			most = DefaultSpoolMaxBytes
		}
		var err error
		if s.disk, err = openDisk(cfg.SpoolDir, most, s.log); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
		publish(V4, ExchangeV4, s.disk)
	}
	return s, nil
}

// Close closes a sink that was never run; Run closes its own resources.
func (s *Sink) Close() error {
	for _, p := range s.sending {
		p.queue.close()
	}
	return nil
}

// Run reads events until the bus is closed or ctx is done, then spends at most three seconds to
// send what waits. The error reports how many events were lost then. Run may be called once.
func (s *Sink) Run(ctx context.Context, r *bus.Reader) error {
	post, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	for _, p := range s.sending {
		all.Go(func() { p.run(post) })
	}
	s.read(ctx, r)
	s.flush()
	for _, p := range s.sending {
		p.queue.seal()
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	}
	stop()
	<-ended
	var errs []error
	for _, p := range s.sending {
		if lost := p.queue.close(); lost > 0 {
			errs = append(errs, fmt.Errorf("broker: %d events of %s were not delivered, and are lost", lost, p.format))
		}
	}
	return errors.Join(errs...)
}

// read encodes events until the bus has none left.
func (s *Sink) read(ctx context.Context, r *bus.Reader) {
	var due time.Time // when the open messages are sent; zero: none is open
	var events [256]*event.Event
	for {
		until, cancel := ctx, context.CancelFunc(func() {})
		if !due.IsZero() {
			until, cancel = context.WithDeadline(ctx, due)
		}
		n, missed, err := r.Next(until, events[:])
		cancel()
		if err != nil && (ctx.Err() != nil || until.Err() == nil) {
			return
		}
		now := time.Now()
		s.missed += missed
		for i, e := range events[:n] {
			s.take(e, now)
			events[i] = nil
		}
		switch {
		case due.IsZero() && n > 0:
			due = now.Add(flushEvery)
		case !due.IsZero() && !now.Before(due):
			s.flush()
			due = time.Time{}
		}
	}
}

// take adds an event to the open messages. A panic loses that event alone.
func (s *Sink) take(e *event.Event, now time.Time) {
	if s.memory != nil && stream.HasV3(e) {
		s.takeV3(e, now)
	}
	if s.disk != nil && stream.HasV4(e) {
		s.takeV4(e, now)
	}
}

func (s *Sink) takeV3(e *event.Event, now time.Time) {
	defer s.guard.Recover("broker: encode an event of version 3")
	kind := v3Messages
	if e.Kind == event.KindConnection {
		kind = v3Connections
	}
	a := s.v3[kind]
	if a.events == 0 {
		a.since = now
	}
	a.json = s.bodies.AppendV3(a.json, e)
	a.events++
	s.accepted[0].Add(1)
	if a.events >= v3Events || len(a.json) >= bodyBytes {
		s.flushV3(kind, a)
	}
}

func (s *Sink) flushV3(kind string, a *array) {
	if a.events == 0 {
		return
	}
	s.memory.put(v3Message(s.monitor, kind, a.events, a.since, s.bodies.V3(a.json)))
	a.json, a.events = kept(a.json), 0
}

func (s *Sink) takeV4(e *event.Event, now time.Time) {
	l := &s.v4[Bucket(e.Peer)]
	encoded := false
	defer func() {
		if !encoded {
			s.missed++
		}
	}()
	defer s.guard.Recover("broker: encode an event of version 4")
	if l.events == 0 {
		l.since, l.first = now, e.Seq
	}
	l.json = s.bodies.AppendV4(l.json, e)
	l.events++
	l.last = e.Seq
	encoded = true
	s.accepted[1].Add(1)
	if len(l.json) >= bodyBytes {
		s.flushV4(Bucket(e.Peer), l)
	}
}

func (s *Sink) flushV4(bucket int, l *lines) {
	if l.events == 0 {
		return
	}
	l.number++
	b := &Batch{Monitor: s.monitor, Run: s.run, Bucket: bucket, Number: l.number, Before: l.before, Events: l.events,
		First: l.first, Last: l.last, Missed: s.missed}
	s.disk.put(b, l.since, s.bodies.V4(l.json))
	l.before += uint64(l.events)
	l.json, l.events = kept(l.json), 0
}

// kept returns a buffer for the next message, unless one event was so large that it is too much
// to keep.
func kept(buf []byte) []byte {
	if cap(buf) > 2*bodyBytes {
		return nil
	}
	return buf[:0]
}

// flush sends what is open.
func (s *Sink) flush() {
	defer s.guard.Recover("broker: compress a message")
	for kind, a := range s.v3 {
		s.flushV3(kind, a)
	}
	if s.disk != nil {
		for i := range s.v4 {
			s.flushV4(i, &s.v4[i])
		}
	}
	if s.memory != nil {
		s.memory.loss.Tick()
	}
}

// Stats returns the counters of each format that is sent. It may be called from any goroutine.
func (s *Sink) Stats() (exchanges []Stats, panics uint64) {
	for _, p := range s.sending {
		st := Stats{Name: p.format, Exchange: p.exchange, Broker: p.server.Shown()}
		p.fill(&st)
		i := 0
		if p.format == V4 {
			i = 1
		}
		st.Accepted = s.accepted[i].Load() + st.Restored
		exchanges = append(exchanges, st)
	}
	return exchanges, s.guard.Panics()
}
