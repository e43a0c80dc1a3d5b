package listen

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second

// farConn is a connection that claims a remote address.
type farConn struct {
	net.Conn
	from net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.from }

// queue is a listener that accepts the connections that the test puts into it.
type queue struct {
	net.Listener
	conns chan net.Conn
	errs  chan error
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case err := <-q.errs:
		return nil, err
	}
}

func TestBoundPerAddress(t *testing.T) {
	all := NewConns(Bounds{Total: 100, PerAddress: 2})
	var served []*Conn
	from := func(address string) *Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { there.Close() })
		c := all.admit(farConn{here, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))})
		if c != nil {
			t.Cleanup(func() { c.Close() })
			c.Busy()
			served = append(served, c)
		}
		return c
	}
	require.NotNil(t, from("192.0.2.1:1"))
	require.NotNil(t, from("192.0.2.1:2"))
	require.Nil(t, from("192.0.2.1:3"))
	require.Nil(t, from("[::ffff:192.0.2.1]:3"), "the same address in another notation")
	require.NotNil(t, from("192.0.2.2:1"))
	require.NotNil(t, from("[2001:db8::1]:1"))
	require.NotNil(t, from("[2001:db8::2]:1"))
	require.Nil(t, from("[2001:db8::3]:1"), "the same network")
	for range 5 {
		require.NotNil(t, from("127.0.0.1:1"), "loopback is exempt")
		require.NotNil(t, from("[::1]:1"))
	}
	_, refused, evicted := all.Stats()
	require.EqualValues(t, 3, refused)
	require.Zero(t, evicted, "a connection that is being served is not evicted")
	served[1].Close()
	served[1].Close()
	require.NotNil(t, from("192.0.2.1:4"), "there is room again")
	require.Nil(t, from("192.0.2.1:5"), "closing twice frees one place")
}

// The connection that waits longest is evicted first; if the bound of an address is
// reached, one of that address.
func TestWhoGoesFirst(t *testing.T) {
	all := NewConns(Bounds{Total: 4, PerAddress: 2})
	conn := func(address string) *Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { there.Close() })
		c := all.admit(farConn{here, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))})
		require.NotNil(t, c)
		return c
	}
	gone := func(c *Conn) bool { all.mu.Lock(); defer all.mu.Unlock(); return c.phase == gone }
	age := func(c *Conn) { all.mu.Lock(); defer all.mu.Unlock(); c.since -= int64(grace) }
	idler, first, second, served := conn("127.0.0.1:1"), conn("127.0.0.1:2"), conn("127.0.0.1:3"), conn("192.0.2.1:1")
	all.state(idler, http.StateIdle)
	served.Busy()
	age(first)
	age(second)
	conn("127.0.0.1:4").Busy()
	require.True(t, gone(first), "first the one that has waited longest for its request")
	require.False(t, gone(second) || gone(idler) || gone(served))
	conn("127.0.0.1:5").Busy()
	require.True(t, gone(second))
	young := conn("127.0.0.1:6")
	require.True(t, gone(idler), "then one between two requests")
	served.blocked.Store(now() - int64(grace))
	conn("127.0.0.1:7").Busy()
	require.True(t, gone(served), "then one whose writes are blocked")
	require.False(t, gone(young))
	conn("127.0.0.1:8").Busy()
	require.True(t, gone(young), "last one that has just connected")
	here, there := net.Pipe()
	defer there.Close()
	require.Nil(t, all.admit(here), "all are being served")
}

// Without a free file descriptor, a waiting connection is closed for the next one.
func TestNoDescriptors(t *testing.T) {
	q := &queue{conns: make(chan net.Conn, 1), errs: make(chan error, 1)}
	all := NewConns(Bounds{Total: 8})
	l := all.Listener(q)
	here, there := net.Pipe()
	defer there.Close()
	q.conns <- here
	waits, err := l.Accept()
	require.NoError(t, err)
	q.errs <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	require.Eventually(t, func() bool { open, _, _ := all.Stats(); return open == 0 }, patience, time.Millisecond)
	_, err = waits.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	here, there = net.Pipe()
	defer there.Close()
	q.conns <- here
	require.NotNil(t, <-accepted)
	q.errs <- syscall.ECONNABORTED
	_, err = l.Accept()
	require.ErrorIs(t, err, syscall.ECONNABORTED)
}

// The bound depends on the limit of the process.
func TestDescriptorShare(t *testing.T) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.EqualValues(t, limit.Cur/descriptorShare, NewConns(Bounds{Total: 1 << 30}).bounds.Total)
}

// web is an HTTP server within bounds, and a client of it.
type web struct {
	*http.Client
	addr, url string
	all       *Conns
}

func serve(t *testing.T, b Bounds, secure bool, h http.HandlerFunc) *web {
	s := httptest.NewUnstartedServer(h)
	w := &web{all: NewConns(b)}
	w.all.Serve(s.Config)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ReadHeaderTimeout = time.Minute
	s.Listener = w.all.Listener(s.Listener)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	w.Client, w.addr, w.url = s.Client(), s.Listener.Addr().String(), s.URL
	w.Client.Timeout = patience
	w.Transport.(*http.Transport).DisableKeepAlives = true
	return w
}

// crowd opens connections that send no more than the given bytes, and keeps them open.
func (w *web) crowd(t *testing.T, n int, say string) (all []net.Conn) {
	for range n {
		c, err := net.Dial("tcp", w.addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, say) // it may be closed by now
		all = append(all, c)
	}
	return all
}

// honest makes n requests at the same time, and expects an answer to each.
func (w *web) honest(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			res, err := w.Get(w.url)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
		})
	}
	wg.Wait()
}

func ok(http.ResponseWriter, *http.Request) {}

func TestSlowHeadersKeepNobodyOut(t *testing.T) {
	for _, secure := range []bool{false, true} {
		w := serve(t, Bounds{Total: 40}, secure, ok)
		for range 5 {
			say := "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
			if secure {
				say = "\x16\x03\x01\x01" // of a handshake
			}
			w.crowd(t, 100, say)
			w.honest(t, 7)
		}
		open, refused, evicted := w.all.Stats()
		require.LessOrEqual(t, open, 40)
		require.Zero(t, refused)
		require.GreaterOrEqual(t, evicted, uint64(450))
	}
}

func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	w := serve(t, Bounds{Total: 40}, false, ok)
	for range 5 {
		for _, c := range w.crowd(t, 100, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") {
			_, _ = c.Read(make([]byte, 1)) // its answer
		}
		w.honest(t, 7)
	}
	_, refused, _ := w.all.Stats()
	require.Zero(t, refused)
}

func TestSlowBodiesKeepNobodyOut(t *testing.T) {
	f := func(name string, h http.HandlerFunc, say string) {
		w := serve(t, Bounds{Total: 8}, false, h)
		w.crowd(t, 8, say)
		require.Eventually(t, func() bool {
			res, err := w.Get(w.url)
			if err != nil {
				return false // all were being served until now
			}
			res.Body.Close()
			return true
		}, patience, 50*time.Millisecond, name)
	}
	read := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	const post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
	f("a body that is waited for", read, post)
	f("a body that nobody wants", ok, post)
	f("an answer that nobody takes", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/much" {
			return
		}
		for b := make([]byte, 1<<20); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

// A connection that is being served stays, however many arrive.
func TestServedConnectionsStay(t *testing.T) {
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	w := serve(t, Bounds{Total: 8}, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			entered <- struct{}{}
			<-leave
		}
		fmt.Fprint(w, "whole")
	})
	all := w.crowd(t, 8, "GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for range 8 {
		<-entered
	}
	time.Sleep(grace + 100*time.Millisecond) // they are making progress: the handler runs
	for _, c := range w.crowd(t, 20, "") {
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err, "it is closed")
	}
	close(leave)
	for _, c := range all {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "whole", string(body))
	}
	_, refused, evicted := w.all.Stats()
	require.EqualValues(t, 20, refused)
	require.Zero(t, evicted)
	w.honest(t, 4)
}

// A hijacked connection counts until it is closed, and no longer.
func TestHijackedConnectionsCount(t *testing.T) {
	taken := make(chan net.Conn, 1)
	w := serve(t, Bounds{Total: 8}, false, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket" {
			c, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
			}
			taken <- c
		}
	})
	for range 5 {
		for range 8 {
			w.crowd(t, 1, "GET /socket HTTP/1.1\r\nHost: localhost\r\n\r\n")
			c := <-taken
			open, _, _ := w.all.Stats()
			require.Equal(t, 1, open)
			require.NoError(t, c.Close())
			open, _, _ = w.all.Stats()
			require.Zero(t, open)
		}
		w.honest(t, 4)
		require.Eventually(t, func() bool { open, _, _ := w.all.Stats(); return open == 0 }, patience, time.Millisecond)
	}
}

func TestUnder(t *testing.T) {
	require.Nil(t, Under(nil))
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	require.Nil(t, Under(here))
	c := &Conn{Conn: here}
	require.Same(t, c, Under(c))
	require.Same(t, c, Under(tls.Server(c, nil)))
}
