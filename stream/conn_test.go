package stream

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/internal/access"
)

func TestSilentClientKeepsNobodyOut(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxClients = 4 })
	for range 20 {
		s.raw(t)
	}
	begin := time.Now()
	s.subscribe(t, 4)
	require.Less(t, time.Since(begin), 4*time.Second, "before their deadline")
}

func TestHandshakeDeadline(t *testing.T) {
	s := start(t, func(c *Config) { c.HandshakeTimeout = 100 * time.Millisecond })
	silent, slow := s.raw(t), s.raw(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() { // a byte now and then does not extend it
		for _, b := range helloFrame {
			select {
			case <-stop:
				return
			case <-time.After(30 * time.Millisecond):
				if _, err := slow.Write([]byte{b}); err != nil {
					return
				}
			}
		}
	})
	for _, c := range []net.Conn{silent, slow} {
		expectClosed(t, c)
	}
	s.await(t, func(st Stats) bool { return st.FailedHandshakes == 2 })
}

// expectClosed reads the server's hello and then the end of the connection.
func expectClosed(t *testing.T, c net.Conn) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET) // it closed before it read everything
	}
	require.True(t, strings.HasPrefix(string(helloFrame), string(got)), "%q", got)
}

func frameOf(s string) string {
	return string([]byte{byte(len(s) >> 24), byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))}) + s
}

func badHellos() []string {
	bomb := append([]byte{}, gzipHeader...)
	bomb = append(bomb, make([]byte, 4000)...)
	return []string{
		"",
		"\xff\xff\xff\xff",
		"\x00\x00\x00\x00",
		"\x00\x00\x10\x01" + strings.Repeat(" ", 4097),
		"\x00\x00\x00\x0d{\"vers",
		frameOf(`{"version":0}`), frameOf(`{"version":2}`), frameOf(`{"version":5}`),
		frameOf(`{"version":65535}`), frameOf(`{"version":65539}`), frameOf(`{"version":-1}`),
		frameOf(`{"version":"3"}`), frameOf(`{"version":1e400}`), frameOf(`{"version":3.5}`),
		frameOf(`{"version":null}`), frameOf(`{}`), frameOf(`null`), frameOf(`[3]`), frameOf(`3`), frameOf(`{"version":3`),
		frameOf(`{"version":3}{"version":3}`),
		frameOf(strings.Repeat("[", 4000)),
		frameOf(strings.Repeat(`{"version":`, 300)),
		frameOf("\x00\xff\xfe"),
		frameOf(string(bomb)),
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	}
}

func TestBadHellosAreClosed(t *testing.T) {
	s := start(t, nil)
	good := s.subscribe(t, 1)[0]
	for _, in := range badHellos() {
		c := s.raw(t)
		_, err := io.WriteString(c, in)
		require.NoError(t, err)
		_ = c.(*net.TCPConn).CloseWrite() // the server may have closed it
		expectClosed(t, c)
	}
	require.EqualValues(t, len(badHellos()), s.Stats().FailedHandshakes)
	s.bus.Publish(message(1, 1))
	_, err := good.Next()
	require.NoError(t, err)
}

func TestDataAfterTheHello(t *testing.T) {
	s := start(t, nil)
	c := s.raw(t)
	_, err := c.Write(append(append([]byte{}, helloFrame...), helloFrame...)) // a second handshake
	require.NoError(t, err)
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	s.bus.Publish(message(1, 1))
	for range 2 {
		_, err = readFrame(c, nil, maxFrameBytes)
		require.NoError(t, err)
	}
	// Far too long a handshake.
	_, _ = c.Write(make([]byte, 2*maxClientBytes))
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 0 })

	// A client that closes its writing half is disconnected.
	c = s.raw(t)
	_, err = c.Write(helloFrame)
	require.NoError(t, err)
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 0 })
}

func TestLimits(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxClients = 3 })
	s.subscribe(t, 3)
	c := s.raw(t)
	_, err := c.Write(helloFrame)
	require.NoError(t, err)
	expectClosed(t, c)
	require.EqualValues(t, 1, s.Stats().Refused)
	require.True(t, s.Kick(s.Stats().Subscribers[1].ID))
	require.False(t, s.Kick("tcp-192.0.2.1:1"))
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 2 })
	s.subscribe(t, 1)
}

// farConn is a connection that claims a remote address.
type farConn struct {
	net.Conn
	from net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.from }

func TestRemoteName(t *testing.T) {
	require.Equal(t, "192.0.2.1:7", remoteName(farConn{from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:7"))}))
	require.Equal(t, "unix socket", remoteName(farConn{from: &net.UnixAddr{Net: "unix"}}))
	require.Equal(t, "unix socket", remoteName(farConn{}))
}

// handed is a listener that accepts the connections in its channel.
type handed struct {
	net.Listener
	conns chan net.Conn
	gone  chan struct{}
}

func (h handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.gone:
		return nil, net.ErrClosed
	}
}

func TestLimitPerAddress(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxClientsPerAddress = 2 })
	l := handed{conns: make(chan net.Conn), gone: make(chan struct{})}
	var accepting sync.WaitGroup
	accepting.Go(func() { s.accept(&access.Listener{Listener: s.conns.Listener(l)}) })
	defer accepting.Wait()
	defer close(l.gone)
	from := func(addr string) net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { there.Close() })
		before := s.Stats().Accepted
		l.conns <- farConn{here, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}
		s.await(t, func(st Stats) bool { return st.Accepted == before+1 })
		go func() { _, _ = there.Write(helloFrame) }() // until the test closes its end
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return there
	}
	subscribed := func(n int, why string) {
		t.Helper()
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == n })
		require.Len(t, s.Stats().Subscribers, n, why)
	}
	from("192.0.2.1:1")
	second := from("192.0.2.1:2")
	subscribed(2, "")
	from("192.0.2.1:3")
	require.EqualValues(t, 1, s.Stats().Refused)
	from("192.0.2.2:1")
	for range 2 {
		from("127.0.0.1:1")
	}
	subscribed(5, "loopback is exempt")
	require.EqualValues(t, 1, s.Stats().Refused)
	second.Close()
	subscribed(4, "")
	from("192.0.2.1:4")
	subscribed(5, "there is room again")
}

// failing is a listener whose first n calls of Accept fail.
type failing struct {
	net.Listener
	left atomic.Int64
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsAreRetried(t *testing.T) {
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &failing{Listener: s.conns.Listener(l)}
	f.left.Store(5)
	s.wg.Go(func() { s.accept(&access.Listener{Listener: f}) })
	b := bus.New(bus.Config{})
	defer b.Close()
	r := &running{Server: s, bus: b, addr: l.Addr().String(), done: make(chan error, 1)}
	reader := b.Subscribe("stream")
	go func() { r.done <- s.Run(context.Background(), reader) }()
	defer s.Close()
	defer l.Close()
	r.subscribe(t, 1)
	require.EqualValues(t, 5, s.Stats().AcceptErrors)
}

func FuzzReadHello(f *testing.F) {
	for _, s := range badHellos() {
		f.Add([]byte(s))
	}
	f.Add(helloFrame)
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := readHello(strings.NewReader(string(in)), version, version4); err == nil && len(in) < 5 {
			t.Fatalf("accepted as a hello: %q", in)
		}
	})
}
