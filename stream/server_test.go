package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

// running is a server that runs, with the bus that it reads.
type running struct {
	*Server
	bus  *bus.Bus
	read *bus.Reader
	addr string
	done chan error // the result of Run
}

func start(t testing.TB, change func(*Config)) *running {
	t.Helper()
	cfg := Config{
		ListenAddresses: []string{"127.0.0.1:0"},
		Logger:          slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	b := bus.New(bus.Config{})
	r := b.Subscribe("stream")
	b.Live()
	run := &running{Server: s, bus: b, read: r, addr: s.Addrs()[0].String(), done: make(chan error, 1)}
	go func() { run.done <- s.Run(context.Background(), r) }()
	t.Cleanup(func() {
		b.Close()
		require.NoError(t, s.Close())
	})
	return run
}

// raw connects without a handshake.
func (r *running) raw(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// subscribe connects n clients of version 3 and waits until the server has them all.
func (r *running) subscribe(t testing.TB, n int) []*Client {
	t.Helper()
	before := len(r.Stats().Subscribers)
	var all []*Client
	for range n {
		c, err := Options{Version: 3}.Dial(context.Background(), r.addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		all = append(all, c)
	}
	r.await(t, func(s Stats) bool { return len(s.Subscribers) == before+n })
	return all
}

func (r *running) await(t testing.TB, ok func(Stats) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return ok(r.Stats()) }, 30*time.Second, time.Millisecond)
}

func TestSession(t *testing.T) {
	s := start(t, nil)
	c := s.raw(t)

	// The server sends first.
	buf := make([]byte, 17)
	_, err := io.ReadFull(c, buf)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x0d{\"version\":3}", string(buf))

	_, err = c.Write([]byte("\x00\x00\x00\x10{ \"version\": 3 }"))
	require.NoError(t, err)
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	require.Equal(t, "tcp-"+c.LocalAddr().String(), s.Stats().Subscribers[0].ID)

	sent := message(9, 1)
	sent.Dir = event.Sent
	s.bus.Publish(sent) // has no place in version 3
	for _, e := range goldenEvents() {
		s.bus.Publish(e)
	}
	for _, e := range goldenEvents() {
		frame, err := readFrame(c, nil, maxFrameBytes)
		require.NoError(t, err)
		require.Equal(t, string(appendV3(nil, e, false)), gunzip(t, frame))
	}

	// At the end the queue is sent and the stream closed.
	s.bus.Publish(message(10, 1))
	s.bus.Close()
	require.NoError(t, <-s.done)
	_, err = readFrame(c, nil, maxFrameBytes)
	require.NoError(t, err)
	_, err = c.Read(buf)
	require.Equal(t, io.EOF, err)
	n := uint64(len(goldenEvents()) + 1)
	require.Equal(t, n, s.Stats().Events)
	require.Equal(t, n, s.Stats().SentFrames)
	require.Zero(t, s.Stats().DroppedFrames)
}

// subscribeStuck connects a client that never reads and has nearly no buffer.
func (r *running) subscribeStuck(t testing.TB) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) }); e != nil {
			return e
		}
		return err
	}}
	c, err := d.Dial("tcp", r.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, greet(t.Context(), &Client{conn: c}, greetV3))
	id := "tcp-" + c.LocalAddr().String()
	r.await(t, func(st Stats) bool {
		return len(st.Subscribers) > 0 && st.Subscribers[len(st.Subscribers)-1].ID == id
	})
	return c
}

func TestSlowSubscriberHurtsOnlyItself(t *testing.T) {
	s := start(t, func(c *Config) { c.QueueBytes = MinQueueBytes })
	stuck := s.subscribeStuck(t)
	const clients, events, distinct = 3, 2000, 20
	var sample [distinct]*event.Event
	var frames [distinct][]byte
	var comp compressor
	for n := range sample {
		sample[n] = message(n, 100)
		frames[n] = comp.appendFrame(nil, appendV3(nil, sample[n], false))[headerBytes:]
	}
	var wg sync.WaitGroup
	var got atomic.Int64
	for _, c := range s.subscribe(t, clients) {
		wg.Go(func() {
			var buf []byte
			var err error
			for n := range events {
				buf, err = readFrame(c.conn, buf, maxFrameBytes)
				if err != nil || string(buf) != string(frames[n%distinct]) {
					t.Errorf("event %d of %d: %v", n, events, err)
					return
				}
				got.Add(1)
			}
		})
	}
	most := 0
	for n := range events {
		e := *sample[n%distinct]
		s.bus.Publish(&e)
		// At the speed of the reading clients, so that they lose nothing.
		for int64(n+1)*clients-got.Load() > 20*clients && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		if n%100 == 0 {
			for _, sub := range s.Stats().Subscribers {
				most = max(most, sub.QueuedBytes)
			}
		}
	}
	wg.Wait()
	require.LessOrEqual(t, most, MinQueueBytes)
	slow := 0
	for _, sub := range s.Stats().Subscribers {
		if sub.DroppedFrames > 0 {
			slow++
			require.Equal(t, "tcp-"+stuck.LocalAddr().String(), sub.ID)
		}
	}
	require.Equal(t, 1, slow)
	require.EqualValues(t, events, s.Stats().Events)

	// The bytes that it receives in the end are whole frames.
	require.NoError(t, stuck.SetReadDeadline(time.Now().Add(time.Second)))
	var err error
	n := -1
	for err == nil {
		n++
		var frame []byte
		if frame, err = readFrame(stuck, nil, maxFrameBytes); err == nil {
			gunzip(t, frame)
		}
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Positive(t, n)
	require.Less(t, n, events)
}

func TestStuckSubscriberIsClosed(t *testing.T) {
	s := start(t, func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
	s.subscribeStuck(t)
	for n := range 600 {
		s.bus.Publish(message(n, 100))
	}
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 0 })
	require.Positive(t, s.Stats().SentBytes, "totals include ended connections")
}

func TestWriteTimeoutIsOfProgress(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	data := make([]byte, 40)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer there.Close()
		one := make([]byte, 1)
		for range data {
			time.Sleep(10 * time.Millisecond)
			if _, err := there.Read(one); err != nil {
				t.Error(err)
				return
			}
		}
	})
	n, err := writeAll(here, net.Buffers{data[:30], data[30:]}, 100*time.Millisecond)
	wg.Wait()
	require.NoError(t, err)
	require.EqualValues(t, 40, n)
}

func TestNothingIsEncodedForNobody(t *testing.T) {
	s := start(t, nil)
	for n := range 1000 {
		s.bus.Publish(message(n, 1))
	}
	require.NoError(t, s.read.Drained(t.Context()), "the server reads the bus without subscribers")
	require.Zero(t, s.Stats().Events)

	c := s.subscribe(t, 1)[0]
	s.bus.Publish(message(1, 1))
	_, err := c.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Stats().Events)
}

func TestPanicCostsOneEvent(t *testing.T) {
	log, lines := guardtest.New()
	s := start(t, func(c *Config) { c.Logger = log })
	c := s.subscribe(t, 1)[0]
	broken := message(1, 1)
	broken.Kind, broken.Conn = event.KindConnection, nil
	var enc encoder
	s.encode(&enc, broken)
	s.encode(&enc, broken)
	require.EqualValues(t, 2, s.Stats().Panics)
	lines.Once(t, "stream: encode an event", "stream.(*encoder)")
	require.Zero(t, enc.frames)
	s.bus.Publish(message(1, 1))
	_, err := c.Next()
	require.NoError(t, err)
}

// brokenConn panics when a method of the connection below it is called.
type brokenConn struct{ net.Conn }

func (brokenConn) NetConn() net.Conn { panic("a connection that is broken") }

// TestPanicsWhereSubscribersAre: a panic for one subscriber, or for one group, does not
// affect the others.
func TestPanicsWhereSubscribersAre(t *testing.T) {
	log, lines := guardtest.New()
	s := start(t, func(c *Config) { c.Logger = log })
	p := pump{s: s.Server}
	broken := message(1, 1)
	broken.Kind, broken.Conn = event.KindConnection, nil
	match, err := Filter{}.compile()
	require.NoError(t, err)
	g := &group{match: match, subs: []*subscriber{nil}}
	p.groups = []*group{g}
	for range 2 {
		s.admit(brokenConn{}, false)
		s.serve(nil, false)
		p.takeV4(broken, time.Now())
		g.events = 1
		p.flush(g)
	}
	require.EqualValues(t, 8, s.Stats().Panics)
	lines.Once(t, "stream: compress a batch", "stream.(*Server).deliver")
	lines.Once(t, "stream: admit a connection", "stream.(*Server).admit")
	lines.Once(t, "stream: serve a connection", "stream.(*Server).")
	lines.Once(t, "stream: encode an event for version 4", "stream.")
	c := s.subscribe(t, 1)[0]
	s.bus.Publish(message(1, 1))
	_, err = c.Next()
	require.NoError(t, err)
}

func TestComingAndGoingLeavesNothing(t *testing.T) {
	s := start(t, nil)
	s.subscribe(t, 1)
	goroutines, files, memory := runtime.NumGoroutine(), openFiles(t), uint64(0)
	const rounds, each = 200, 50 // ten thousand
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range each {
			wg.Go(func() {
				c, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				switch i % 5 {
				case 0: // never sends anything
				case 1:
					_, _ = c.Write([]byte("\xff\xff\xff\xff"))
				case 2:
					_, _ = c.Write(helloFrame)
				case 3:
					_, _ = c.Write(helloFrame)
					_ = c.(*net.TCPConn).SetLinger(0) // disconnects with a reset
				case 4:
					_, _ = io.WriteString(c, frameOf(fmt.Sprintf(`{"version":4,"filter":{"codecs":["%d"]}}`, round)))
				}
			})
		}
		s.bus.Publish(message(round, 1))
		wg.Wait()
		if round == rounds/10 { // everything that is made once exists now
			memory = heap()
		}
	}
	s.await(t, func(st Stats) bool { return st.Accepted == rounds*each+1 && len(st.Subscribers) == 1 })
	// Not with Eventually, which starts goroutines of its own.
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > goroutines || openFiles(t) > files {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d files; before %d, %d", runtime.NumGoroutine(), openFiles(t), goroutines, files)
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.Less(t, heap(), memory+1<<20)
	s.mu.Lock()
	defer s.mu.Unlock()
	open, _, _ := s.conns.Stats()
	require.Equal(t, 1, open)
	require.Empty(t, s.groups)
	require.EqualValues(t, 1, s.active.Load())
}

// heap returns the memory in use, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestCloseInAnyOrder(t *testing.T) {
	cfg := Config{ListenAddresses: []string{"127.0.0.1:0"}}
	reader := func(t *testing.T) *bus.Reader {
		b := bus.New(bus.Config{})
		t.Cleanup(b.Close)
		return b.Subscribe("x")
	}
	t.Run("before Listen", func(t *testing.T) {
		s, err := New(cfg)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Listen(), net.ErrClosed)
		require.NoError(t, s.Run(t.Context(), reader(t)))
	})
	t.Run("before Run", func(t *testing.T) {
		s, err := New(cfg)
		require.NoError(t, err)
		require.NoError(t, s.Listen())
		addr := s.Addrs()[0].String()
		for range 3 {
			require.NoError(t, s.Close())
		}
		_, err = net.Dial("tcp", addr)
		require.Error(t, err)
		require.NoError(t, s.Run(t.Context(), reader(t)))
	})
	t.Run("while running, many times", func(t *testing.T) {
		s := start(t, nil)
		c := s.subscribe(t, 2)[0]
		s.raw(t)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _ = s.Close() })
		}
		wg.Wait()
		require.NoError(t, <-s.done)
		_, err := c.Next()
		require.Error(t, err)
		require.Empty(t, s.Stats().Subscribers)
	})
	t.Run("context", func(t *testing.T) {
		s, err := New(cfg)
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.Listen())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx, reader(t)))
		require.ErrorContains(t, s.Run(ctx, reader(t)), "a second time")
	})
	t.Run("Run without Listen", func(t *testing.T) {
		s, err := New(cfg)
		require.NoError(t, err)
		defer s.Close()
		require.ErrorContains(t, s.Run(t.Context(), reader(t)), "Listen")
	})
}

func TestEndDoesNotWaitForTheStuck(t *testing.T) {
	s := start(t, nil)
	s.subscribeStuck(t)
	for n := range 600 {
		s.bus.Publish(message(n, 100))
	}
	s.await(t, func(st Stats) bool { return st.Events == 600 && st.Subscribers[0].QueuedBytes > 0 })
	begin := time.Now()
	s.bus.Close()
	require.NoError(t, <-s.done)
	require.Less(t, time.Since(begin), flushTime+3*time.Second)
	require.Empty(t, s.Stats().Subscribers)
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := start(t, func(c *Config) { c.ListenAddresses = []string{"127.0.0.1:0", "unix:" + path} })
	c, err := Dial(t.Context(), "unix:"+path)
	require.NoError(t, err)
	defer c.Close()
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	require.Equal(t, "unix-1", s.Stats().Subscribers[0].ID)
	s.bus.Publish(connection(1, true))
	e, err := c.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Connection.Type)
}

func TestConfig(t *testing.T) {
	_, err := New(Config{})
	require.EqualError(t, err, "missing ListenAddresses")
	_, err = New(Config{ListenAddresses: []string{"0.0.0.0:1"}, MaxClients: -1, MaxClientsPerAddress: 1 << 20, QueueBytes: 1, WriteTimeout: -1})
	for _, part := range []string{"AllowInsecure", "MaxClients is -1", "MaxClientsPerAddress", "QueueBytes is 1: want 262144", "a timeout is negative"} {
		require.ErrorContains(t, err, part)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0", busy.Addr().String()}})
	require.NoError(t, err)
	defer s.Close()
	err = s.Listen()
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.True(t, strings.HasPrefix(err.Error(), "unable to bind: "), err)
	require.Empty(t, s.Addrs())
}

func TestMissedOnTheBusIsCounted(t *testing.T) {
	b := bus.New(bus.Config{MaxEvents: 10})
	r := b.Subscribe("stream")
	b.Live()
	for n := range 15 {
		b.Publish(message(n, 1))
	}
	b.Close()
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Listen())
	require.NoError(t, s.Run(t.Context(), r))
	require.EqualValues(t, 5, s.Stats().MissedEvents)
}

func TestReadFrameTakesNoMemoryForALength(t *testing.T) {
	n := testing.AllocsPerRun(1, func() {
		_, err := readFrame(strings.NewReader("\x00\x7f\xff\xffabc"), nil, maxFrameBytes)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	require.Less(t, n, 10.0)
	var m1, m2 runtime.MemStats
	runtime.ReadMemStats(&m1)
	_, _ = readFrame(strings.NewReader("\x00\x7f\xff\xffabc"), nil, maxFrameBytes)
	runtime.ReadMemStats(&m2)
	require.Less(t, m2.TotalAlloc-m1.TotalAlloc, uint64(200<<10))
}

func ExampleServer() {
	b := bus.New(bus.Config{})
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := s.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	reader := b.Subscribe("stream")
	done := make(chan error)
	go func() { done <- s.Run(context.Background(), reader) }()

	b.Close() // the node stops: Run ends when everything is sent
	fmt.Println(<-done)
	// Output: <nil>
}

// serveExample starts the server of a monitor with this name, as ExampleServer does. The
// channel gets the result of Run.
func serveExample(b *bus.Bus, name string) (*Server, <-chan error) {
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: name})
	if err == nil {
		err = s.Listen()
	}
	if err != nil {
		panic(err)
	}
	reader := b.Subscribe("stream")
	done := make(chan error)
	go func() { done <- s.Run(context.Background(), reader) }()
	return s, done
}
