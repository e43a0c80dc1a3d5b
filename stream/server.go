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
	// batchBytes is about the most that is encoded before it is given to the
	// subscribers; batchEvents is what is asked of the bus at once.
	batchBytes  = 32 << 10
	batchEvents = 256
	// The wait after an accept that failed, for want of file descriptors for
	// example, grows from the first to the second.
	acceptWaitMin = 5 * time.Millisecond
	acceptWaitMax = time.Second
)

// Server serves the stream. All methods may be called from any goroutine.
type Server struct {
	cfg  Config
	gate *access.Gate
	// conns holds the connections: those of subscribers are busy in it, those in
	// their handshake are waiting.
	conns *listen.Conns

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loops, and two goroutines for each connection

	mu        sync.Mutex
	listeners []*access.Listener
	running   chan struct{} // closed when Run has ended; nil before it starts
	closed    bool
	ending    bool // no new subscribers
	subs      []*subscriber
	groups    []*group // of the subscribers of version 4
	nextUnix  int
	stats     Stats // without what is below and Subscribers

	active atomic.Int64 // subscribers of version 3, for the encoder

	guard                           guard.Guard
	acceptLine, dropLine, closeLine throttle.Line
}

// SubscriberStats is how one subscriber stands.
type SubscriberStats struct {
	ID            string // tcp- and its remote address
	Since         time.Time
	Version       int    // of the protocol
	Encoding      string // of version 4: zstd or gzip
	Filter        string // of version 4, as JSON: {} if it asked for everything
	QueuedBytes   int    // waiting for it, or being written
	QueueLimit    int    // the most that may be
	SentFrames    uint64 // given to the operating system
	SentBytes     uint64 // the same in bytes
	SentEvents    uint64 // the same in events
	DroppedFrames uint64 // not sent because it was too slow
	DroppedEvents uint64 // the same in events
}

// Stats is what the server has done so far. Totals include subscribers that
// have gone.
type Stats struct {
	Subscribers []SubscriberStats

	Accepted         uint64 // connections
	Refused          uint64 // of these, closed because of a limit
	FailedHandshakes uint64 // of these, closed because of what they said, or did not say in time
	FailedTokens     uint64 // of these, because of a token that is not one of ours, or none
	AcceptErrors     uint64
	Events           uint64 // encoded for version 3, each once
	BatchedEvents    uint64 // put into batches of version 4, once for each filter that is in use
	RawBytes         uint64 // their JSON
	FrameBytes       uint64 // their frames
	OfferedRawBytes  uint64 // RawBytes, once for each subscriber that it was for
	OfferedBytes     uint64 // FrameBytes, once for each subscriber, dropped or not
	SentFrames       uint64
	SentBytes        uint64
	SentEvents       uint64
	DroppedFrames    uint64 // because a subscriber was too slow
	DroppedEvents    uint64 // the same in events
	MissedEvents     uint64 // lost on the bus before we read them
	Kicked           uint64 // subscribers closed by Kick
	Panics           uint64 // errors of our own that were caught
}

// add adds what a subscriber has had.
func (st *Stats) add(sub SubscriberStats) {
	st.SentFrames += sub.SentFrames
	st.SentBytes += sub.SentBytes
	st.SentEvents += sub.SentEvents
	st.DroppedFrames += sub.DroppedFrames
	st.DroppedEvents += sub.DroppedEvents
}

// New makes a server. Close it when it is no longer needed.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gate, err := access.New(cfg.access())
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.withDefaults(), gate: gate}
	s.guard.Log = s.cfg.Logger
	s.conns = listen.NewConns(listen.Bounds{Total: 2 * s.cfg.MaxClients, PerAddress: s.cfg.MaxClientsPerAddress, Waiting: s.cfg.MaxClients})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Listen binds all addresses, or none if one of them cannot be bound. Clients
// can connect from then on and are served once Run is called.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.listeners != nil {
		return errors.New("stream: Listen was called twice")
	}
	l, err := s.gate.Listen(s.cfg.ListenAddresses, s.conns)
	s.listeners = l
	return err
}

// Addrs returns the addresses that are listened on, with their real ports.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]net.Addr, 0, len(s.listeners))
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Run serves until the reader ends, ctx ends or Close is called; the reader
// stays the caller's. At the end the subscribers get what is queued for them,
// unless that takes longer than two seconds or Close is called, and are closed.
// It may be called once, after Listen.
func (s *Server) Run(ctx context.Context, r *bus.Reader) error {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil
	case s.running != nil:
		s.mu.Unlock()
		return errors.New("stream: Run was called twice")
	case s.listeners == nil:
		s.mu.Unlock()
		return errors.New("stream: Run needs Listen before it")
	}
	s.running = make(chan struct{})
	defer close(s.running)
	for _, l := range s.listeners {
		s.wg.Go(func() { s.accept(l) })
	}
	listeners := s.listeners
	s.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	warning, quiet := context.WithCancel(ctx)
	s.wg.Go(func() { s.gate.Run(warning, listeners) })

	p := pump{s: s, v3: encoder{exactAddrs: s.cfg.ExactAddresses}}
	err := p.run(ctx, r)
	quiet()
	s.end()
	if errors.Is(err, bus.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// encode adds an event to enc. An error of our own costs the one event.
func (s *Server) encode(enc *encoder, e *event.Event) {
	defer s.guard.Recover("stream: encode an event")
	enc.add(e)
}

// publish passes what enc has collected to the subscribers of version 3.
func (s *Server) publish(enc *encoder) {
	defer s.guard.Recover("stream: queue events")
	b := batch{data: slices.Clone(enc.frameData), frames: enc.frames, events: enc.frames}
	raw := enc.rawBytes
	enc.reset()
	s.deliver(b, raw, nil)
}

// deliver queues a batch for the subscribers of a group; nil is for those of
// version 3.
func (s *Server) deliver(b batch, raw int, g *group) {
	dropped, slow := s.queue(b, raw, g)
	if dropped > 0 {
		if held, ok := s.dropLine.Allow(); ok {
			s.cfg.Logger.Warn("stream: a subscriber is too slow, events dropped", "subscriber", slow, "held_back", held)
		}
	}
}

// queue is deliver's part under the lock. It returns how many events were
// dropped, and one of the subscribers that they were dropped for.
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

// end lets the queues empty for flushTime and closes everything.
func (s *Server) end() {
	s.mu.Lock()
	s.ending = true
	s.closeEntries()
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

// closeEntries closes the ways in: listeners, and connections in their
// handshake. The caller holds mu.
func (s *Server) closeEntries() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.conns.CloseWaiting()
}

func (s *Server) closeSubscribers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		sub.close(errEnding)
	}
}

// Close ends everything at once and waits for it. It may be called again and
// before Run. To let subscribers get what is queued, close the bus and wait
// for Run first.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	s.ending = true
	s.closeEntries()
	running := s.running
	s.mu.Unlock()
	s.closeSubscribers()
	if running != nil {
		<-running
	}
	return nil
}

// Kick closes the subscriber of this ID and says whether there was one. It may
// connect again.
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
