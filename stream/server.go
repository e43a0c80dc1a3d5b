// Package stream is the TCP stream: subscribers get the node's events as they
// happen.
//
// In: a bus.Reader. Out: frames to every subscriber, by version 3 of the
// protocol, so that the clients of the old metrics exporter keep working, or by
// version 4, which has more in it and takes a third of the bytes; and Client,
// the other end of both. Promised: an event is encoded and compressed once for
// all subscribers that asked for the same, and not at all if there are none;
// a subscriber's queue is bounded in bytes; a slow one loses frames, which are
// counted, and affects neither the others nor the bus; a client that is silent,
// sends garbage or disappears costs a connection until a deadline; a client of
// version 4 learns how many events it missed, and where. Not promised: that a
// client of version 3 can detect a loss; its protocol cannot report one.
//
// The formats: docs/formats/stream-v3.md, stream-v4.md and recording.md.
package stream

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

const (
	// flushTime is how long Run waits at its end for the queues to empty.
	flushTime = 2 * time.Second
	// batchBytes is about the most that is encoded before it is queued for the
	// subscribers; batchEvents is how many events are read from the bus at once.
	batchBytes  = 32 << 10
	batchEvents = 256
	// The wait after a failed accept, for example without file descriptors,
	// grows from the first to the second.
	acceptWaitMin = 5 * time.Millisecond
	acceptWaitMax = time.Second
)

// Server serves the stream. All methods may be called from any goroutine.
type Server struct {
	cfg   Config
	gate  *access.Gate
	entry *access.Entry
	// conns holds the connections: subscribers as busy, those in their handshake
	// as waiting.
	conns *listen.Conns

	run string // a random name of this run; immutable once set

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loops, and two goroutines for each connection

	mu       sync.Mutex
	ending   bool // no new subscribers
	subs     []*subscriber
	groups   []*group // of the subscribers of version 4
	nextUnix int
	stats    Stats // without Subscribers and the counters below

	active atomic.Int64 // subscribers of version 3, for the encoder

	guard                           guard.Guard
	acceptLine, dropLine, closeLine throttle.Line
}

// SubscriberStats is the state and the counters of one subscriber.
type SubscriberStats struct {
	ID            string // tcp- and its remote address
	Since         time.Time
	Version       int    // of the protocol
	Encoding      string // of version 4: zstd or gzip
	Filter        string // of version 4, as JSON: {} for everything
	QueuedBytes   int    // waiting to be sent, or being written
	QueueLimit    int    // most bytes that may wait
	SentFrames    uint64 // written to the operating system
	SentBytes     uint64 // the same in bytes
	SentEvents    uint64 // the same in events
	DroppedFrames uint64 // not sent because the subscriber was too slow
	DroppedEvents uint64 // the same in events
}

// Stats holds the counters of a server. Totals include subscribers that have
// disconnected.
type Stats struct {
	Subscribers []SubscriberStats

	Accepted         uint64 // connections
	Refused          uint64 // of these, closed because of a limit
	FailedHandshakes uint64 // of the accepted, closed because of a bad hello or none in time
	FailedTokens     uint64 // of the failed handshakes, those without a valid token
	AcceptErrors     uint64
	Events           uint64 // encoded for version 3, each once
	BatchedEvents    uint64 // put into batches of version 4, once for each group of subscribers
	RawBytes         uint64 // JSON of these events
	FrameBytes       uint64 // frames of these events
	OfferedRawBytes  uint64 // RawBytes, counted once for each subscriber
	OfferedBytes     uint64 // FrameBytes, counted once for each subscriber, dropped or not
	SentFrames       uint64
	SentBytes        uint64
	SentEvents       uint64
	DroppedFrames    uint64 // because a subscriber was too slow
	DroppedEvents    uint64 // the same in events
	MissedEvents     uint64 // lost on the bus before we read them
	Kicked           uint64 // subscribers closed by Kick
	Panics           uint64 // panics recovered from
}

// add adds the counters of a subscriber.
func (st *Stats) add(sub SubscriberStats) {
	st.SentFrames += sub.SentFrames
	st.SentBytes += sub.SentBytes
	st.SentEvents += sub.SentEvents
	st.DroppedFrames += sub.DroppedFrames
	st.DroppedEvents += sub.DroppedEvents
}

// New returns a server. Close it when it is no longer needed.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gate, err := access.New(cfg.Config, cfg.Logger)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.withDefaults(), gate: gate, run: newRun()}
	s.guard.Log = s.cfg.Logger
	s.conns = listen.NewConns(listen.Bounds{Total: 2 * s.cfg.MaxClients, PerAddress: s.cfg.MaxClientsPerAddress, Waiting: s.cfg.MaxClients})
	s.entry = gate.Entry("stream", s.cfg.ListenAddresses, s.conns)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Listen binds all addresses, or none if one of them cannot be bound. From then
// on clients can connect; Run serves them.
func (s *Server) Listen() error { return s.entry.Listen() }

// Addrs returns the addresses that the server listens on, with their real ports.
func (s *Server) Addrs() []net.Addr { return s.entry.Addrs() }

// Run serves until the reader ends, ctx ends or Close is called. It does not
// close the reader. At the end it sends what is queued, for at most two seconds
// and unless Close is called, and closes the subscribers. It may be called once,
// after Listen.
func (s *Server) Run(ctx context.Context, r *bus.Reader) error {
	listeners, ended, err := s.entry.Run()
	if listeners == nil {
		return err
	}
	defer ended()
	for _, l := range listeners {
		s.wg.Go(func() { s.accept(l) })
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	warning, quiet := context.WithCancel(ctx)
	s.wg.Go(func() { s.gate.Run(warning, listeners) })

	p := pump{s: s, v3: encoder{exactAddrs: s.cfg.ExactAddresses}}
	err = p.run(ctx, r)
	quiet()
	s.end()
	if errors.Is(err, bus.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// encode adds an event to enc. A panic loses that event only.
func (s *Server) encode(enc *encoder, e *event.Event) {
	defer s.guard.Recover("stream: encode an event")
	enc.add(e)
}

// publish queues the frames in enc for the subscribers of version 3.
func (s *Server) publish(enc *encoder) {
	defer s.guard.Recover("stream: queue events")
	b := batch{data: slices.Clone(enc.frameData), frames: enc.frames, events: enc.frames}
	raw := enc.rawBytes
	enc.reset()
	s.deliver(b, raw, nil)
}

// deliver queues a batch for the subscribers of a group; the group nil means
// those of version 3.
func (s *Server) deliver(b batch, raw int, g *group) {
	dropped, slow := s.queue(b, raw, g)
	if dropped > 0 {
		if held, ok := s.dropLine.Allow(); ok {
			s.cfg.Logger.Warn("stream: a subscriber is too slow, events dropped", "subscriber", slow, "held_back", held)
		}
	}
}

// queue is the part of deliver under the lock. It returns how many events were
// dropped and one of the subscribers that lost them.
func (s *Server) queue(b batch, raw int, g *group) (dropped int, slow string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g == nil {
		s.stats.Events += uint64(b.events)
	} else {
		s.stats.BatchedEvents += uint64(b.events)
	}
	s.stats.RawBytes += uint64(raw)
	s.stats.FrameBytes += uint64(len(b.data))
	offered := 0
	subs := s.subs
	if g != nil {
		subs = g.subs
	}
	for _, sub := range subs {
		if sub.group != g {
			continue
		}
		offered++
		if n := sub.push(b); n > 0 {
			dropped += n
			slow = sub.id
		}
	}
	s.stats.OfferedRawBytes += uint64(offered * raw)
	s.stats.OfferedBytes += uint64(offered * len(b.data))
	return dropped, slow
}

// end drains the queues for at most flushTime and closes everything.
func (s *Server) end() {
	s.closeEntry()
	s.mu.Lock()
	for _, sub := range s.subs {
		sub.finish()
	}
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(gone)
	}()
	timer := time.NewTimer(flushTime)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	case <-s.ctx.Done():
	}
	s.closeSubscribers()
	<-gone
}

// closeEntry closes the listeners and the connections in their handshake. There
// are no new subscribers after it.
func (s *Server) closeEntry() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.entry.Shut()
	s.conns.CloseWaiting()
}

func (s *Server) closeSubscribers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		sub.close(errEnding)
	}
}

// Close closes the server at once and waits until all of it has ended. It may be
// called more than once, and before Run. To send what is queued, close the bus
// and wait for Run first.
func (s *Server) Close() error {
	s.cancel()
	wait := s.entry.Close()
	s.closeEntry()
	s.closeSubscribers()
	wait()
	return nil
}

// Kick disconnects the subscriber with this ID and reports whether there was one.
// It may connect again.
func (s *Server) Kick(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if sub.id == id {
			s.stats.Kicked++
			sub.close(errKicked)
			return true
		}
	}
	return false
}

// Stats returns the counters of the server.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Panics = s.guard.Panics()
	_, refused, _ := s.conns.Stats()
	st.Accepted += refused
	st.Refused += refused
	st.Subscribers = make([]SubscriberStats, 0, len(s.subs))
	for _, sub := range s.subs {
		one := sub.stats()
		st.Subscribers = append(st.Subscribers, one)
		st.add(one)
	}
	return st
}
