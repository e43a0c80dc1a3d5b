package introspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/samesite"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// MaxSessions and MaxSessionsPerIP are the limits of concurrent sessions. Loopback is
	// exempt from the limit per IP: proxies and tunnels connect from there.
	MaxSessions      = 64
	MaxSessionsPerIP = 8
	// Subprotocol is the WebSocket sub-protocol that the server supports; a client need not
	// request one.
	Subprotocol = "ipfsmon.introspect"

	// freshEnough is the maximum age of a snapshot that answers a new request.
	freshEnough = 250 * time.Millisecond
	// snapshotShare: snapshots take at most one part in so many of the time.
	snapshotShare = 10
)

// Config configures a Server.
type Config struct {
	// Introspector returns states; a Registry is called in a way that reuses memory.
	Introspector Introspector
	// AllowedOrigins are the origins of other sites' pages that may open a session, as in
	// https://visualizer.example.org: a browser permits any page to connect, and sends its
	// origin.
	AllowedOrigins []string
	// AllowedHosts are the host names, without port, that requests may use besides localhost
	// and IP addresses.
	AllowedHosts []string
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// Stats are counters since the start, including ended sessions.
type Stats struct {
	Sessions        int // now
	Accepted        uint64
	Refused         uint64 // rejected because there were too many
	SentMessages    uint64
	SentBytes       uint64
	DiscardedEvents uint64
	DiscardedStates uint64
	Snapshots       uint64
	Panics          uint64
}

// Server serves sessions. It is an http.Handler for WebSocket requests, and may serve several
// listeners. All methods may be called from any goroutine.
type Server struct {
	cfg    Config
	log    *slog.Logger
	events *catalogue

	listeners atomic.Int64  // sessions that get events
	budget    *rate.Limiter // of events
	ctx       context.Context
	stop      context.CancelFunc
	wg        sync.WaitGroup

	mu       sync.RWMutex
	closed   bool
	sessions map[*session]struct{}
	perIP    map[netip.Addr]int

	snap      sync.Mutex // held while a snapshot is taken
	last      snapshot
	lastSize  int
	snapshots atomic.Uint64

	accepted, refused, sentMessages, sentBytes, lostEvents, lostStates atomic.Uint64

	guard guard.Guard
}

// snapshot is an encoded state; its frame is shared and not written to.
type snapshot struct {
	frame    []byte
	sequence uint64
	at       time.Time
	cost     time.Duration
}

// NewServer returns a server. Close it when it is no longer needed.
func NewServer(cfg Config) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Logger, events: newCatalogue(), budget: newBudget(),
		sessions: make(map[*session]struct{}), perIP: make(map[netip.Addr]int),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.guard.Log = s.log
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends all sessions and waits for them. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return nil
}

// Stats reads the counters.
func (s *Server) Stats() Stats {
	s.mu.RLock()
	n := len(s.sessions)
	s.mu.RUnlock()
	return Stats{
		Sessions: n, Accepted: s.accepted.Load(), Refused: s.refused.Load(),
		SentMessages: s.sentMessages.Load(), SentBytes: s.sentBytes.Load(),
		DiscardedEvents: s.lostEvents.Load(), DiscardedStates: s.lostStates.Load(),
		Snapshots: s.snapshots.Load(), Panics: s.guard.Panics(),
	}
}

// ServeHTTP accepts a WebSocket request and serves the session until it ends. The caller has
// checked tokens.
func (s *Server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if err := samesite.CheckSocket(q, s.cfg.AllowedHosts, s.cfg.AllowedOrigins); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	ses, err := s.enter(q)
	if err != nil {
		s.refused.Add(1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.leave(ses)
	// The origin was checked above, by a stricter rule.
	kept := &keepConn{ResponseWriter: w}
	ws, err := websocket.Accept(kept, q, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}, InsecureSkipVerify: true})
	if err != nil {
		return // it has answered the request
	}
	defer func() {
		if p := recover(); p != nil {
			s.guard.Caught(p, "introspect: serve a session")
			_ = ws.CloseNow() // the session is over
		}
	}()
	s.accepted.Add(1)
	ses.run(q.Context(), ws, kept.conn)
}

// keepConn keeps the connection that the WebSocket library hijacks, because the library's own
// close can take five seconds.
type keepConn struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (k *keepConn) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	c, rw, err = http.NewResponseController(k.ResponseWriter).Hijack()
	k.conn = c
	return c, rw, err
}

var errTooMany = errors.New("too many sessions: close another page first")

// enter admits a session, for which Close then waits. The session ends with its listener.
func (s *Server) enter(q *http.Request) (*session, error) {
	ip := address(q.RemoteAddr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("the monitor is closing")
	case len(s.sessions) >= MaxSessions, !ip.IsLoopback() && ip.IsValid() && s.perIP[ip] >= MaxSessionsPerIP:
		return nil, errTooMany
	}
	ses := newSession(s, ip)
	s.sessions[ses] = struct{}{}
	s.perIP[ip]++
	s.wg.Add(1)
	return ses, nil
}

func (s *Server) leave(ses *session) {
	if ses.wants() {
		s.listening(false)
	}
	s.mu.Lock()
	delete(s.sessions, ses)
	if s.perIP[ses.ip]--; s.perIP[ses.ip] == 0 {
		delete(s.perIP, ses.ip)
	}
	s.mu.Unlock()
	s.wg.Done()
}

// address returns the IP address of "host:port"; the zero Addr of a unix socket.
func address(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// snapshot returns a state of at most that age, or an older one if the limit on the time for
// snapshots requires it. Concurrent callers share one.
func (s *Server) snapshot(maxAge time.Duration) (snapshot, error) {
	s.snap.Lock()
	defer s.snap.Unlock()
	maxAge = max(maxAge, (snapshotShare-1)*s.last.cost)
	if s.last.frame != nil && time.Since(s.last.at) <= maxAge {
		return s.last, nil
	}
	began := time.Now()
	frame, sequence, err := s.makeSnapshot()
	if err != nil {
		return snapshot{}, err
	}
	now := time.Now()
	s.last = snapshot{frame: frame, sequence: sequence, at: now, cost: now.Sub(began)}
	s.lastSize = len(frame)
	s.snapshots.Add(1)
	return s.last, nil
}

// makeSnapshot fetches a state and encodes it; s.snap is held.
func (s *Server) makeSnapshot() ([]byte, uint64, error) {
	size := s.lastSize + s.lastSize/16 + 1024
	if r, ok := s.cfg.Introspector.(*Registry); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		st := r.state(true)
		frame, err := encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: st}}, size)
		return frame, st.GetSequence(), err
	}
	st, err := s.cfg.Introspector.FetchFullState()
	if err != nil {
		return nil, 0, fmt.Errorf("introspect: fetch the state: %w", err)
	}
	frame, err := encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: st}}, size)
	return frame, st.GetSequence(), err
}

// runtimeFrame returns the Runtime message with the event types seen so far.
func (s *Server) runtimeFrame() ([]byte, error) {
	rt, err := s.cfg.Introspector.FetchRuntime()
	if err != nil {
		return nil, fmt.Errorf("introspect: fetch the runtime: %w", err)
	}
	rt.EventTypes = s.events.types()
	return encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_Runtime{Runtime: rt}}, 4096)
}
