package introspect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// DefaultInterval and DefaultRetention apply until a session configures others, within
	// MinInterval and MaxRetention.
	DefaultInterval  = time.Second
	DefaultRetention = 2 * time.Minute
	MinInterval      = 500 * time.Millisecond
	MaxRetention     = 2 * time.Minute

	writeTimeout = 5 * time.Second
	goodbyeTime  = time.Second      // to wait for the answer to a close
	helloTimeout = 30 * time.Second // to wait for HELLO
	pingEvery    = 20 * time.Second
	pingTimeout  = 10 * time.Second
	tidyEvery    = 2 * time.Second // how often expired messages leave a paused session's queue
	noticeEvery  = time.Second     // the minimum time between two notices
)

// session is one client. Three goroutines serve it: one reads commands and answers them, one
// writes, one handles timers.
type session struct {
	srv  *Server
	ip   netip.Addr
	ws   *websocket.Conn // set by run
	conn net.Conn        // below ws; set by run
	q    *queue

	ending context.Context // done when our side ends the session; set by run

	mu        sync.Mutex // order: mu before queue.mu
	greeted   bool
	states    bool
	events    bool
	interval  time.Duration
	retention time.Duration
	told      map[string]bool // types of events whose columns the client has
	pushed    uint64          // sequence of the last state that was pushed

	retime chan struct{} // cap 1: the interval or the pushed sources have changed
	hello  chan struct{} // closed with the first HELLO
}

func newSession(srv *Server, ip netip.Addr) *session {
	return &session{
		srv: srv, ip: ip, q: newQueue(), interval: DefaultInterval, retention: DefaultRetention,
		told: make(map[string]bool), retime: make(chan struct{}, 1), hello: make(chan struct{}),
	}
}

// run serves the session until either side ends it, or its listener ends.
func (s *session) run(listener context.Context, ws *websocket.Conn, conn net.Conn) {
	s.ws, s.conn = ws, conn
	ws.SetReadLimit(maxCommandBytes)
	ending, cancel := context.WithCancel(s.srv.ctx)
	defer cancel()
	defer context.AfterFunc(listener, cancel)()
	s.ending = ending
	g, ctx := errgroup.WithContext(ending)
	part := func(doing string, f func(context.Context) error) {
		g.Go(func() error {
			err := s.srv.guard.Call(doing, func() error { return f(ctx) })
			if errors.Is(err, guard.ErrPanic) {
				_ = ws.CloseNow() // ends the other goroutines
			}
			return err
		})
	}
	part("introspect: read a session's commands", s.read)
	part("introspect: write to a session", s.write)
	part("introspect: push a session's states", s.keepTime)
	_ = g.Wait() // only reports which side ended it, which does not matter
	lostEvents, lostStates := s.q.close()
	s.srv.lostEvents.Add(lostEvents)
	s.srv.lostStates.Add(lostStates)
}

// refusal is the end of a session with a reason for the client.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// read executes commands one after the other. While too much waits to be written it reads none,
// so that a client that does not read cannot send more.
func (s *session) read(ctx context.Context) error {
	for {
		// A cancelled read breaks the connection without a close message, so reading continues
		// until the other side closes it, or end does.
		_, b, err := s.ws.Read(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		c, err := decodeCommand(b)
		if err != nil {
			return s.end(&refusal{"invalid command"})
		}
		if err := s.obey(c); err != nil {
			return s.end(err)
		}
		if err := s.q.wait(ctx); err != nil {
			return err
		}
	}
}

// write sends what is queued.
func (s *session) write(ctx context.Context) error {
	var noticed time.Time
	for {
		if now := time.Now(); now.Sub(noticed) >= noticeEvery {
			if n := s.q.notice(); n != nil {
				noticed = now
				if err := s.notice(n); err != nil {
					return s.end(err)
				}
			}
		}
		b, ok := s.q.next()
		if !ok {
			select {
			case <-s.q.filled: // or a notice is due
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.send(b); err != nil {
			return s.end(err)
		}
	}
}

// send writes one message within writeTimeout.
func (s *session) send(b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if err := s.ws.Write(ctx, websocket.MessageBinary, b); err != nil {
		return err
	}
	s.srv.sentMessages.Add(1)
	s.srv.sentBytes.Add(uint64(len(b)))
	return nil
}

// notice reports to the client how many messages it missed.
func (s *session) notice(n *pb.ServerNotice) error {
	b, err := encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_Notice{Notice: n}}, 64)
	if err != nil {
		return err
	}
	s.srv.lostEvents.Add(n.GetDiscardedEvents())
	s.srv.lostStates.Add(n.GetDiscardedStates())
	return s.send(b)
}

// keepTime pushes states, drops expired messages, and pings the client.
func (s *session) keepTime(ctx context.Context) error {
	push := time.NewTimer(time.Hour)
	push.Stop()
	defer push.Stop()
	tidy, ping := time.NewTicker(tidyEvery), time.NewTicker(pingEvery)
	defer tidy.Stop()
	defer ping.Stop()
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	greeting := s.hello
	for {
		select {
		case <-ctx.Done():
			if s.ending.Err() != nil {
				s.close(websocket.StatusGoingAway, "the monitor is shutting down")
			}
			return s.end(ctx.Err())
		case <-greeting:
			greeting = nil
			hello.Stop()
		case <-hello.C:
			return s.end(&refusal{"no HELLO received in time"})
		case <-s.retime:
			s.mu.Lock()
			on, every := s.states, s.interval
			s.mu.Unlock()
			push.Stop()
			if on {
				push.Reset(every)
			}
		case <-push.C:
			s.mu.Lock()
			on, every := s.states, s.interval
			s.mu.Unlock()
			if on {
				if err := s.push(every); err != nil {
					return s.end(err)
				}
				push.Reset(every)
			}
		case <-tidy.C:
			s.mu.Lock()
			retention := s.retention
			s.mu.Unlock()
			s.forget(s.q.prune(time.Now().Add(-retention)))
			s.q.remind() // a notice may be due although nothing is sent
		case <-ping.C:
			pinging, cancel := context.WithTimeout(ctx, pingTimeout)
			err := s.ws.Ping(pinging)
			cancel()
			if err != nil {
				return s.end(err) // the client is gone
			}
		}
	}
}

// end closes the connection, so that all three goroutines end.
func (s *session) end(err error) error {
	var bad *refusal
	if errors.As(err, &bad) {
		s.close(websocket.StatusPolicyViolation, bad.reason)
	}
	_ = s.ws.CloseNow() // it may be closed already
	return err
}

// close closes the WebSocket with a handshake, if the other side answers soon.
func (s *session) close(code websocket.StatusCode, reason string) {
	late := time.AfterFunc(goodbyeTime, func() { _ = s.conn.Close() })
	defer late.Stop()
	_ = s.ws.Close(code, reason) // the other side may be gone
}

// push queues a state for the client.
func (s *session) push(interval time.Duration) error {
	snap, err := s.srv.snapshot(interval / 2)
	if errors.Is(err, ErrNoState) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.states || snap.sequence != 0 && snap.sequence == s.pushed {
		return nil // turned off meanwhile, or nothing newer yet
	}
	s.pushed = snap.sequence
	s.forgetLocked(s.q.push(item{frame: snap.frame, kind: stateItem, at: snap.at}))
	return nil
}

// wants reports whether the client gets events.
func (s *session) wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// offer queues an event, if the client wants events. It never blocks.
func (s *session) offer(e *encoded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.events {
		return
	}
	it := item{kind: eventItem, at: e.at}
	if s.told[e.typ.name] {
		it.frame = e.plain()
	} else {
		it.frame, it.tells = e.full(), e.typ.name
		s.told[e.typ.name] = true
	}
	s.forgetLocked(s.q.push(it))
}

// miss counts an event that was not encoded because there were too many.
func (s *session) miss() { s.missMany(1) }

// forget records that the columns of these types were not sent after all.
func (s *session) forget(types []string) {
	if len(types) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forgetLocked(types)
	}
}

func (s *session) forgetLocked(types []string) {
	for _, t := range types {
		delete(s.told, t)
	}
}

// missMany is miss for n events.
func (s *session) missMany(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events {
		s.q.lose(n)
	}
}
