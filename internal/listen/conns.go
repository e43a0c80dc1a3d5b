package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// grace is how long a client may keep the server waiting, for a request's
	// header or in the middle of a request or an answer, before its connection is
	// among the first to be evicted.
	grace = time.Second
	// descriptorShare is the divisor of the process's limit of file descriptors
	// that bounds a server's connections; the others are for files and peers.
	descriptorShare = 8
)

// Bounds are the most connections that a server holds.
type Bounds struct {
	// Total bounds the connections of all clients. It is lowered to an eighth of
	// the process's limit of file descriptors (RLIMIT_NOFILE).
	Total int
	// PerAddress bounds the connections of one client: of an IPv4 address, or of
	// an IPv6 network of 64 bits, which is what a provider assigns to one
	// customer. Loopback and unix sockets are exempt, since a reverse proxy or a
	// tunnel has many clients. 0: no bound.
	PerAddress int
	// Waiting bounds the connections without a request yet. 0: no bound.
	Waiting int
}

// Conns keeps the connections of all listeners of one server within bounds. When
// a bound is reached, a new connection evicts the one that has kept the server
// waiting longest, in this order: connections whose request header is incomplete
// after a second; idle ones between two requests; those that have stalled for a
// second in the middle of a request or an answer; those that have just been
// accepted. If there is none of these, all are being served, and the new
// connection is closed. All methods may be called from any goroutine.
type Conns struct {
	bounds Bounds

	mu      sync.Mutex
	open    map[*Conn]struct{}
	sources map[netip.Addr]int // connections of each address with a bound
	waiting int

	refused, evicted atomic.Uint64
}

// NewConns returns a Conns without connections.
func NewConns(b Bounds) *Conns {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		b.Total = int(min(uint64(b.Total), max(uint64(limit.Cur)/descriptorShare, 8)))
	}
	return &Conns{bounds: b, open: make(map[*Conn]struct{}), sources: make(map[netip.Addr]int)}
}

// Listener returns a listener that accepts from l within the bounds. Its
// connections are of type *Conn.
func (c *Conns) Listener(l net.Listener) net.Listener { return &bounded{l, c} }

// Serve makes an HTTP server report the phases of its connections, so that the
// right ones are evicted. Call it, in addition to Listener, after the server's
// Handler is set and before it runs.
func (c *Conns) Serve(s *http.Server) {
	s.ConnState = c.state
	s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, Under(nc))
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(*Conn)
		if conn == nil {
			next.ServeHTTP(w, r)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &body{r.Body, conn}
		}
		// After that the library still reads the rest of the body and writes the
		// rest of the answer.
		defer func() { conn.over.Store(now()) }()
		next.ServeHTTP(w, r)
	})
}

// Stats returns how many connections are open, were refused because there was no
// room, and were evicted.
func (c *Conns) Stats() (open int, refused, evicted uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.refused.Load(), c.evicted.Load()
}

// CloseWaiting closes the connections that have not sent a request yet.
func (c *Conns) CloseWaiting() {
	c.mu.Lock()
	var all []*Conn
	for conn := range c.open {
		if conn.phase == waiting {
			all = append(all, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range all {
		conn.Close()
	}
}

// phase is the state of a connection.
type phase int

const (
	waiting phase = iota // no request yet
	idle                 // between two requests
	busy                 // being served
	gone
)

// Conn is a connection of Conns.
type Conn struct {
	net.Conn
	all    *Conns
	source netip.Addr // zero: exempt from PerAddress

	phase phase // guarded by all.mu, as since
	since int64 // start of the phase

	// blocked is when it began to keep the server waiting in the middle of a
	// request; 0: it does not. over is when the handler returned; the HTTP library
	// may still read and write.
	blocked, over atomic.Int64
}

// began is the origin of the times here: nanoseconds of the monotonic clock.
var began = time.Now()

func now() int64 { return int64(time.Since(began)) + 1 }

// Busy marks the connection as being served: it is not evicted any more.
func (c *Conn) Busy() { c.all.enter(c, busy) }

// Write is that of net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	c.blocked.Store(now())
	defer c.blocked.Store(0)
	return c.Conn.Write(b)
}

// Close is that of net.Conn.
func (c *Conn) Close() error {
	c.all.enter(c, gone)
	return c.Conn.Close()
}

// CloseWrite is that of net.TCPConn and net.UnixConn.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetWriteBuffer is that of net.TCPConn and net.UnixConn.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if b, ok := c.Conn.(interface{ SetWriteBuffer(int) error }); ok {
		return b.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

// enter moves a connection to another phase.
func (c *Conns) enter(conn *Conn, to phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.phase == gone {
		return
	}
	if conn.phase == waiting {
		c.waiting--
	}
	conn.phase, conn.since = to, now()
	switch to {
	case waiting:
		c.waiting++
	case gone:
		delete(c.open, conn)
		if conn.source.IsValid() {
			if c.sources[conn.source]--; c.sources[conn.source] == 0 {
				delete(c.sources, conn.source)
			}
		}
	}
}

type connKey struct{}

// Under returns the *Conn that nc is or that is under its TLS; nil if there is none.
func Under(nc net.Conn) *Conn {
	for {
		switch c := nc.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}

// state is the http.Server's ConnState. A hijacked connection is busy until it is
// closed.
func (c *Conns) state(nc net.Conn, s http.ConnState) {
	conn := Under(nc)
	if conn == nil {
		return
	}
	switch s {
	case http.StateActive, http.StateHijacked:
		conn.blocked.Store(0)
		conn.over.Store(0)
		c.enter(conn, busy)
	case http.StateIdle:
		c.enter(conn, idle)
	case http.StateClosed:
		c.enter(conn, gone)
	}
}

// body is a request's body; it records when a read waits for the client.
type body struct {
	io.ReadCloser
	conn *Conn
}

func (b *body) Read(p []byte) (int, error) {
	b.conn.blocked.Store(now())
	defer b.conn.blocked.Store(0)
	return b.ReadCloser.Read(p)
}

// bounded is a listener of Conns.
type bounded struct {
	net.Listener
	conns *Conns
}

// Accept implements net.Listener. Without a free file descriptor it evicts a
// waiting connection.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		nc, err := b.Listener.Accept()
		if err == nil {
			if c := b.conns.admit(nc); c != nil {
				return c, nil
			}
			continue
		}
		if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && b.conns.evict(netip.Addr{}, false) {
			continue
		}
		return nil, err
	}
}

// admit adds a new connection, or closes it and returns nil.
func (c *Conns) admit(nc net.Conn) *Conn {
	conn := &Conn{Conn: nc, all: c, source: sourceOf(nc), since: now()}
	for {
		from, only := netip.Addr{}, false
		c.mu.Lock()
		switch {
		case len(c.open) >= c.bounds.Total:
		case conn.source.IsValid() && c.bounds.PerAddress > 0 && c.sources[conn.source] >= c.bounds.PerAddress:
			from = conn.source
		case c.bounds.Waiting > 0 && c.waiting >= c.bounds.Waiting:
			only = true
		default:
			c.open[conn] = struct{}{}
			c.waiting++
			if conn.source.IsValid() {
				c.sources[conn.source]++
			}
			c.mu.Unlock()
			return conn
		}
		c.mu.Unlock()
		if !c.evict(from, only) {
			c.refused.Add(1)
			nc.Close()
			return nil
		}
	}
}

// evict closes the connection that has kept the server waiting longest, and
// reports whether there was one. It chooses among those from an address, or among
// all if that is the zero address; with only, among those without a request yet.
func (c *Conns) evict(from netip.Addr, only bool) bool {
	c.mu.Lock()
	var victim *Conn
	var rank int
	var since int64 // both of the victim
	for conn := range c.open {
		if from.IsValid() && conn.source != from || only && conn.phase != waiting {
			continue
		}
		r, at := conn.rank()
		if r < stays && (victim == nil || r < rank || r == rank && at < since) {
			victim, rank, since = conn, r, at
		}
	}
	c.mu.Unlock()
	if victim == nil {
		return false
	}
	c.evicted.Add(1)
	victim.Close()
	return true
}

// stays is the rank of a connection that is being served: it is not evicted.
const stays = 4

// rank returns in which order a connection is evicted, the lowest rank first, and
// since when it has kept the server waiting. The caller holds all.mu.
func (c *Conn) rank() (rank int, since int64) {
	long := func(at int64) bool { return now()-at >= int64(grace) }
	switch c.phase {
	case waiting:
		if long(c.since) {
			return 0, c.since
		}
		return 3, c.since
	case idle:
		return 1, c.since
	}
	at := c.blocked.Load()
	if over := c.over.Load(); at == 0 || over != 0 && over < at {
		at = over
	}
	if at != 0 && long(at) {
		return 2, at
	}
	return stays, 0
}

// sourceOf returns the address by which PerAddress counts a connection; zero if it
// is exempt.
func sourceOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.IsLoopback() {
		return netip.Addr{}
	}
	if ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			ip = p.Addr()
		}
	}
	return ip
}
