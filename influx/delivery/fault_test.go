package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

// flow is a running sink, with a bus that feeds it events.
type flow struct {
	t    *testing.T
	sink *Sink
	bus  *bus.Bus
	done chan error
	once sync.Once
	err  error
}

func startFlow(t *testing.T, cfg client.Config) *flow {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	sink, err := newSink(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{t: t, sink: sink, bus: bus.New(bus.Config{MaxEvents: 1 << 20, MaxBytes: 1 << 30}), done: make(chan error, 1)}
	r := f.bus.Subscribe("influx")
	f.bus.Live()
	go func() { f.done <- sink.Run(context.WithoutCancel(t.Context()), r) }()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *flow) publish(events []*event.Event) {
	for _, e := range events {
		f.bus.Publish(e)
	}
}

// until waits for a state of the sink.
func (f *flow) until(what string, d time.Duration, ok func(Stats) bool) Stats {
	f.t.Helper()
	deadline := time.Now().Add(d)
	for {
		st := f.sink.Stats()
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("not within %v: %s: %+v", d, what, st)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// stop ends the sink and returns its last figures.
func (f *flow) stop() (Stats, error) {
	f.once.Do(func() {
		f.bus.Close()
		f.err = <-f.done
	})
	return f.sink.Stats(), f.err
}

// R11, R22: the server is down during the whole life of a process; the next process delivers
// everything exactly once, and nothing counts as lost.
func TestFaultR11NextProcessDelivers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var up atomic.Bool
	s := influxtest.NewFaulty(t, func(n int, r *http.Request, lines []string) (int, string, []string) {
		if !up.Load() {
			return 502, "", nil
		}
		return influxtest.TakeAll(n, r, lines)
	})
	cfg := s.Destination()
	cfg.SpoolDir, cfg.BatchSize = dir, 100
	const n = 1000
	for i := range 3 {
		f := startFlow(t, cfg)
		f.publish(influxtest.Numbered(i*n, (i+1)*n))
		f.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == n })
		start := time.Now()
		st, err := f.stop()
		if err != nil || time.Since(start) > closeTimeout || st.Dropped != 0 || st.Queued != uint64((i+1)*n) || st.Accepted != uint64((i+1)*n) {
			t.Fatalf("%v after %v: %+v", err, time.Since(start), st)
		}
	}
	up.Store(true)
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(3*n, 4*n))
	f.until("delivered", 2*time.Minute, func(st Stats) bool { return st.Stored == 4*n })
	st, err := f.stop()
	if err != nil || st.Queued != 0 || st.Dropped != 0 || s.Lines() != 4*n || st.Restored != 3*n {
		t.Errorf("%v, %d lines, %+v", err, s.Lines(), st)
	}
	if segs, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(segs) != 0 {
		t.Errorf("left on disk: %v", segs)
	}
}

// R12, R21: the server is down and comes back slow; new points are stored within 5 s while the
// backlog drains.
func TestFaultR21FreshFirst(t *testing.T) {
	var up atomic.Bool
	var mu sync.Mutex
	seen := map[string]time.Time{}
	s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if !up.Load() {
			return 503, "", nil
		}
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		for _, l := range lines {
			for _, m := range strings.Split(l, `cid="`)[1:] {
				cid, _, _ := strings.Cut(m, `"`)
				seen[cid] = time.Now()
			}
		}
		mu.Unlock()
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.SpoolDir, cfg.BatchSize = t.TempDir(), 50
	const old = 8_000 // three seconds of them in one lane
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, old))
	f.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == old })
	f.stop()
	f = startFlow(t, cfg)
	up.Store(true)
	put := map[string]time.Time{}
	var worst time.Duration
	for i := range 20 {
		e := influxtest.Numbered(old+i, old+i+1)
		put[e[0].Wants[0].CID.String()] = time.Now()
		f.publish(e)
		time.Sleep(50 * time.Millisecond)
	}
	st := f.until("live data", 5*time.Second, func(Stats) bool {
		mu.Lock()
		defer mu.Unlock()
		for c := range put {
			if seen[c].IsZero() {
				return false
			}
		}
		return true
	})
	mu.Lock()
	for c, at := range put {
		worst = max(worst, seen[c].Sub(at))
	}
	mu.Unlock()
	if worst > 5*time.Second || st.Queued == 0 {
		t.Errorf("live data was %v late, with %d still to deliver", worst, st.Queued)
	}
	f.until("backlog", 2*time.Minute, func(st Stats) bool { return st.Queued == 0 })
	if f.stop(); s.Lines() != old+20 {
		t.Errorf("%d lines, want %d", s.Lines(), old+20)
	}
}

// R13: a server that accepts a request and never answers does not slow the bus, and memory is
// bounded; the rest is on disk.
func TestFaultR13Hangs(t *testing.T) {
	release := make(chan struct{})
	s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		<-release
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.Timeout, cfg.QueueBytes, cfg.BatchSize, cfg.SpoolDir = "1m", 1<<20, 100, t.TempDir()
	f := startFlow(t, cfg)
	events := influxtest.Numbered(0, 50_000)
	f.publish(events[:1])
	f.until("hanging", 2*time.Minute, func(st Stats) bool { return st.Events == 1 })
	var slowest time.Duration
	for _, e := range events[1:] {
		start := time.Now()
		f.bus.Publish(e)
		slowest = max(slowest, time.Since(start))
	}
	st := f.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == 50_000 })
	if st.QueueBytes > 3<<20 || slowest > 250*time.Millisecond {
		t.Errorf("%d bytes in memory, publishing took %v at most", st.QueueBytes, slowest)
	}
	close(release)
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored+st.Dropped == 50_000 })
	f.stop()
	if st := f.sink.Stats(); int(st.Stored) != s.Lines() {
		t.Errorf("%d lines: %+v", s.Lines(), st)
	}
}

// R13: an answer that comes a byte at a time ends with the request's time.
func TestFaultR13SlowAnswer(t *testing.T) {
	var n atomic.Int32
	stored := make(chan struct{}, 10)
	store := influxtest.NewFaulty(t, influxtest.TakeAll)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !influxtest.Write(r) {
			store.ServeHTTP(w, r)
			return
		}
		if n.Add(1) > 1 {
			w.WriteHeader(204)
			stored <- struct{}{}
			return
		}
		w.WriteHeader(500)
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}))
	defer s.Close()
	no := false
	f := startFlow(t, client.Config{URL: s.URL, CreateDatabase: &no, FlushInterval: "10ms", Timeout: "200ms", SpoolDir: t.TempDir()})
	f.publish(influxtest.Numbered(0, 10))
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == 10 })
	f.stop()
}

// R14: connections that end before the answer, in it, or before the request is
// read; a certificate that is not valid and then is; a name that does not
// resolve and then does. Everything is stored exactly once.
func TestFaultR14Connections(t *testing.T) {
	hang := func(when string) func(w http.ResponseWriter, n int) bool {
		return func(w http.ResponseWriter, n int) bool {
			if n > 3 {
				return false
			}
			c, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return false
			}
			if when == "after the headers" {
				buf.WriteString("HTTP/1.1 204 No Content\r\n")
			} else if when == "in the body" {
				buf.WriteString("HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf")
			}
			buf.Flush()
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return true
		}
	}
	for _, when := range []string{"before an answer", "after the headers", "in the body"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			store := influxtest.NewFaulty(t, influxtest.TakeAll)
			var n atomic.Int32
			cut := hang(when)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !influxtest.Write(r) {
					store.ServeHTTP(w, r)
					return
				}
				i := int(n.Add(1))
				if i == 2 || i > 3 { // the second is stored before it is cut
					rec := httptest.NewRecorder()
					store.ServeHTTP(rec, r)
				}
				if !cut(w, i) {
					w.WriteHeader(204)
				}
			}))
			defer s.Close()
			cfg := store.Destination()
			cfg.URL, cfg.SpoolDir = s.URL, t.TempDir()
			f := startFlow(t, cfg)
			f.publish(influxtest.Numbered(0, 500))
			f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == 500 })
			if st, err := f.stop(); err != nil || store.Lines() != 500 || st.Rejected != 0 || st.Dropped != 0 {
				t.Errorf("%v, %d lines, %+v", err, store.Lines(), st)
			}
		})
	}
	t.Run("certificate", func(t *testing.T) {
		t.Parallel()
		store := influxtest.NewFaulty(t, influxtest.TakeAll)
		s := httptest.NewTLSServer(store)
		defer s.Close()
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		cfg := store.Destination()
		cfg.URL, cfg.SpoolDir = s.URL, t.TempDir()
		f := startFlow(t, cfg)
		f.publish(influxtest.Numbered(0, 100))
		st := f.until("refused by us", 2*time.Minute, func(st Stats) bool { return st.Failing && st.Queued == 100 })
		if !strings.Contains(st.LastError, "certificate") {
			t.Errorf("%+v", st)
		}
		if st, err := f.stop(); err != nil || st.Dropped != 0 {
			t.Errorf("%v, %+v", err, st)
		}
		sink, err := newSink(cfg, "test") // the next process finds a certificate it can check
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range sink.to[0].writers {
			w.server.HTTP().Transport.(*client.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		}
		runBriefly(t, sink, 100)
		if store.Lines() != 100 {
			t.Errorf("%d lines", store.Lines())
		}
	})
	t.Run("name", func(t *testing.T) {
		t.Parallel()
		store := influxtest.NewFaulty(t, influxtest.TakeAll)
		cfg := store.Destination()
		cfg.URL, cfg.SpoolDir, cfg.Log = "http://influx.example:8086", t.TempDir(), slog.New(slog.DiscardHandler)
		sink, err := newSink(cfg, "test")
		if err != nil {
			t.Fatal(err)
		}
		var tries atomic.Int32
		for _, w := range sink.to[0].writers {
			tr := w.server.HTTP().Transport.(*client.Transport)
			tr.Proxy = nil
			tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				if tries.Add(1) <= 2 {
					return nil, &net.DNSError{Err: "no such host", Name: "influx.example", IsNotFound: true}
				}
				return new(net.Dialer).DialContext(ctx, network, store.Listener.Addr().String())
			}
		}
		b := bus.New(bus.Config{})
		r := b.Subscribe("influx")
		for _, e := range influxtest.Numbered(0, 100) {
			b.Publish(e)
		}
		done := make(chan error)
		go func() { done <- sink.Run(context.WithoutCancel(t.Context()), r) }()
		for deadline := time.Now().Add(10 * time.Second); store.Lines() < 100 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		b.Close()
		if err := <-done; err != nil || store.Lines() != 100 || tries.Load() < 3 {
			t.Errorf("%v, %d lines, %d tries", err, store.Lines(), tries.Load())
		}
	})
}

// runBriefly runs a sink without events until it has stored so many points.
func runBriefly(t *testing.T, sink *Sink, stored uint64) {
	t.Helper()
	b := bus.New(bus.Config{})
	r := b.Subscribe("influx")
	done := make(chan error)
	go func() { done <- sink.Run(context.WithoutCancel(t.Context()), r) }()
	for deadline := time.Now().Add(10 * time.Second); sink.Stats().Stored < stored && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	b.Close()
	if err := <-done; err != nil || sink.Stats().Stored != stored {
		t.Errorf("%v, %+v", err, sink.Stats())
	}
}

// R15: answers in random order; in the end every valid line is stored, and the
// bad ones, and only they, are in the file of rejected lines.
func TestFaultR15Statuses(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("v2=%v/%d", v2, seed), func(t *testing.T) {
				t.Parallel()
				rnd := rand.New(rand.NewPCG(seed, 1))
				var mu sync.Mutex
				s := influxtest.NewFaulty(t, func(n int, _ *http.Request, lines []string) (int, string, []string) {
					mu.Lock()
					dice, half := rnd.IntN(10), rnd.IntN(2)
					mu.Unlock()
					good, refused := bad(lines, 3, 333, 777)
					switch {
					case dice == 0 && n < 40:
						return []int{401, 403, 404, 408, 425, 429, 500, 502, 503, 504}[n%10], "", nil
					case dice == 1 && n < 40:
						if half == 0 {
							return 500, "", good // stored, though it says no
						}
						return 500, "", lines[:0]
					case dice == 2 && len(lines) > 50:
						return 413, "", nil
					case refused > 0 && v2:
						return 400, `{"code":"invalid","message":"unable to parse 'x': missing fields"}`, nil
					case refused > 0:
						return 400, fmt.Sprintf(`{"error":"partial write: field type conflict dropped=%d"}`, refused), good
					}
					return 204, "", lines
				})
				cfg := s.Destination()
				cfg.SpoolDir, cfg.BatchSize = t.TempDir(), 100
				if v2 {
					cfg.Org, cfg.Token = "o", "t"
				}
				f := startFlow(t, cfg)
				f.publish(influxtest.Numbered(0, 1000))
				f.until("settled", 5*time.Minute, func(st Stats) bool { return st.Stored+st.Rejected == 1000 })
				st, err := f.stop()
				if err != nil || st.Rejected != 3 || s.Lines() != 997 || st.Dropped != 0 {
					t.Errorf("%v, %d lines, %+v", err, s.Lines(), st)
				}
				got, err := os.ReadFile(filepath.Join(cfg.SpoolDir, rejectedName))
				if err != nil || strings.Count(string(got), "cid=") != 3 {
					t.Errorf("%v, rejected lines:\n%s", err, got)
				}
			})
		}
	}
}

// R16: of 5000 lines the server refuses one: 4999 are stored, that one is in the file with the
// server's message, and finding it took few requests.
func TestFaultR16Poison(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		for _, poison := range []int{0, 1, 2345, 4999} {
			t.Run(fmt.Sprintf("v2=%v/%d", v2, poison), func(t *testing.T) {
				t.Parallel()
				s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
					good, refused := bad(lines, poison)
					switch {
					case refused > 0 && v2:
						return 422, `{"code":"unprocessable entity","message":"failure writing points: field type conflict"}`, nil
					case refused > 0:
						return 400, `{"error":"partial write: field type conflict dropped=1"}`, good
					}
					return 204, "", lines
				})
				cfg := s.Destination()
				cfg.SpoolDir, cfg.FlushInterval = t.TempDir(), "1m"
				if v2 {
					cfg.Org, cfg.Token = "o", "t"
				}
				f := startFlow(t, cfg)
				f.publish(influxtest.Numbered(0, 5000))
				f.until("settled", 2*time.Minute, func(st Stats) bool { return st.Stored == 4999 && st.Rejected == 1 })
				f.stop()
				if s.Lines() != 4999 || s.Requests > 2*13+2 {
					t.Errorf("%d lines, %d requests", s.Lines(), s.Requests)
				}
				got, err := os.ReadFile(filepath.Join(cfg.SpoolDir, rejectedName))
				if err != nil || strings.Count(string(got), "\n") != 2 || !strings.Contains(string(got), influxtest.CID(poison).String()) || !strings.Contains(string(got), "field type conflict") {
					t.Errorf("%v, rejected:\n%s", err, got)
				}
			})
		}
	}
}

// R17: a server that accepts little at once gets everything, and is not repeatedly sent more:
// halving each batch from the start would be 300 refused requests. How many are accepted
// depends on how fast the points come.
func TestFaultR17TooLarge(t *testing.T) {
	var refused atomic.Int64
	s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if len(lines) > 70 {
			refused.Add(1)
			return 413, "", nil
		}
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.SpoolDir, cfg.BatchSize = t.TempDir(), 1000
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 20_000))
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == 20_000 })
	if f.stop(); s.Lines() != 20_000 || refused.Load() > 100 {
		t.Errorf("%d lines, %d of %d requests refused", s.Lines(), refused.Load(), s.Requests)
	}
	t.Logf("%d of %d requests refused", refused.Load(), s.Requests)
}

// R18: the token changes in its file while the server says 401: nothing is
// lost, and nobody restarts anything.
func TestFaultR18Token(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	var valid atomic.Value
	valid.Store("first")
	if err := os.WriteFile(file, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := influxtest.NewFaulty(t, func(_ int, r *http.Request, lines []string) (int, string, []string) {
		if r.Header.Get("Authorization") != "Token "+valid.Load().(string) {
			return 401, `{"message":"unauthorized access"}`, nil
		}
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.Org, cfg.TokenFile, cfg.SpoolDir, cfg.BatchSize = "o", file, t.TempDir(), 100
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 1000))
	f.until("first token", 2*time.Minute, func(st Stats) bool { return st.Stored == 1000 })
	valid.Store("second")
	f.publish(influxtest.Numbered(1000, 2000))
	f.until("refused", 2*time.Minute, func(st Stats) bool { return st.Failing })
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.until("second token", 2*time.Minute, func(st Stats) bool { return st.Stored == 2000 })
	if st, err := f.stop(); err != nil || st.Rejected+st.Dropped != 0 || s.Lines() != 2000 {
		t.Errorf("%v, %d lines, %+v", err, s.Lines(), st)
	}
}

// R20: the clock goes back an hour, forward ten years, and stands still: no two
// points of a series share a timestamp.
func TestFaultR20Clock(t *testing.T) {
	s := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := s.Destination()
	cfg.SpoolDir = t.TempDir()
	now := time.Now()
	var events []*event.Event
	for _, at := range []time.Time{now, now, now.Add(-time.Hour), now.Add(-time.Hour), now, now.AddDate(10, 0, 0), now, now.Add(time.Second / 2)} {
		for i := range 500 {
			events = append(events, &event.Event{Time: at.UnixNano(), Kind: event.KindMessage, Wants: []event.Want{{CID: influxtest.CID(i % 5)}}})
		}
	}
	f := startFlow(t, cfg)
	f.publish(events)
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == uint64(len(events)) })
	f.stop()
	keys := map[string]bool{}
	for l := range s.Stored {
		series, _, _ := strings.Cut(l, " ")
		keys[series+l[strings.LastIndexByte(l, ' '):]] = true
	}
	if len(keys) != len(events) {
		t.Errorf("%d different points of %d events", len(keys), len(events))
	}
}

// R22: shutdown in every state takes at most 5 s, and nothing accepted is lost unless both disk
// and server fail.
func TestFaultR22Close(t *testing.T) {
	f := func(name string, lost bool, events int, set func(t *testing.T, cfg *client.Config), rule func(int, *http.Request, []string) (int, string, []string)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := influxtest.NewFaulty(t, rule)
			cfg := s.Destination()
			cfg.SpoolDir, cfg.BatchSize, cfg.Timeout = filepath.Join(t.TempDir(), "spool"), 100, "1m"
			if set != nil {
				set(t, &cfg)
			}
			fl := startFlow(t, cfg)
			fl.publish(influxtest.Numbered(0, events))
			fl.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == uint64(events) })
			start := time.Now()
			st, err := fl.stop()
			if d := time.Since(start); d > closeTimeout+time.Second/2 {
				t.Errorf("it took %v", d)
			}
			if st.Accepted != st.Stored+st.Dropped+st.Rejected+uint64(st.Queued) || (err != nil) != lost || (st.Dropped > 0) != lost {
				t.Errorf("%v, %+v", err, st)
			}
			if lost {
				return
			}
			again, err := newSink(cfg, "test")
			if err != nil {
				t.Fatal(err)
			}
			if q := again.Stats().Queued; q < st.Queued {
				t.Errorf("%d points on disk, want %d", q, st.Queued)
			}
			again.Close()
		})
	}
	hang := func(_ int, r *http.Request, _ []string) (int, string, []string) {
		<-r.Context().Done()
		return 500, "", nil
	}
	away := func(int, *http.Request, []string) (int, string, []string) { return 503, "", nil }
	blocked := func(t *testing.T, cfg *client.Config) {
		if err := os.WriteFile(cfg.SpoolDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f("idle", false, 0, nil, influxtest.TakeAll)
	f("busy", false, 5000, nil, influxtest.TakeAll)
	f("backlog", false, 5000, nil, away)
	f("hanging request", false, 5000, nil, hang)
	f("no disk, good server", false, 5000, blocked, influxtest.TakeAll)
	f("no disk, no server", true, 5000, blocked, away)
}

// R23: a panic while encoding loses one event, one while posting one batch.
func TestFaultR23Panic(t *testing.T) {
	s := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := s.Destination()
	log, lines := guardtest.New()
	cfg.SpoolDir, cfg.Log = t.TempDir(), log
	sink, err := newSink(cfg, "n")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range sink.to[0].writers {
		w.rate = nil // our own fault, in every batch
	}
	b := bus.New(bus.Config{})
	r := b.Subscribe("influx")
	for _, e := range influxtest.Numbered(0, 10) {
		b.Publish(e)
	}
	b.Close()
	if err := sink.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if st := sink.Stats(); st.Panics != 1 || st.Dropped != 10 || st.Queued != 0 {
		t.Errorf("%+v", st)
	}
	lines.Once(t, "influx: post a batch", "delivery.(*writer).")
}

// R24: the bus overflows while the sink does not read: the sink counts exactly
// what it missed.
func TestFaultR24Overflow(t *testing.T) {
	s := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := s.Destination()
	cfg.SpoolDir, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	sink, err := newSink(cfg, "n")
	if err != nil {
		t.Fatal(err)
	}
	b := bus.New(bus.Config{MaxEvents: 1000, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	const n = 5000
	for _, e := range influxtest.Numbered(0, n) {
		b.Publish(e)
	}
	b.Close()
	if err := sink.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if st := sink.Stats(); st.Missed == 0 || st.Missed+st.Events != n || st.Stored != st.Accepted || s.Lines() != int(st.Events) {
		t.Errorf("%d lines, %+v", s.Lines(), st)
	}
}

// R19: 100,000 events of one nanosecond are 100,000 points in a real server.
func TestFaultR19OneNanosecond(t *testing.T) {
	server := storetest.Start(t)
	const n = 100_000
	at := time.Now().UnixNano()
	events := make([]*event.Event, n)
	for i := range events {
		events[i] = &event.Event{Time: at, Kind: event.KindMessage, Wants: []event.Want{{CID: influxtest.CID(i % 1000)}}}
	}
	cfg := influxtest.StoreAt(server)
	cfg.SpoolDir = t.TempDir()
	f := startFlow(t, cfg)
	f.publish(events)
	f.until("stored", 5*time.Minute, func(st Stats) bool { return st.Stored == n })
	f.stop()
	if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.Contains(got, fmt.Sprintf(",%d\n", n)) {
		t.Errorf("stored:\n%s\nwant a count of %d", got, n)
	}
}

// R9: no descriptor is left for the spool's files: it runs in memory, reports that, and
// delivers everything.
func TestFaultR9Unwritable(t *testing.T) {
	s := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := s.Destination()
	if runtime.GOOS == "linux" {
		cfg.SpoolDir = "/proc/ipfsmon-cannot-be-made"
	} else {
		cfg.SpoolDir = filepath.Join(os.DevNull, "x")
	}
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 1000))
	st := f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == 1000 })
	if !strings.Contains(st.SpoolError, cfg.SpoolDir) {
		t.Errorf("%v does not name %s", st.SpoolError, cfg.SpoolDir)
	}
	if _, err := f.stop(); err != nil {
		t.Error(err)
	}
}

// A spool that no node uses is drained by hand.
func TestDrain(t *testing.T) {
	s := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := s.Destination()
	cfg.SpoolDir, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	away := cfg
	away.URL = "http://127.0.0.1:1"
	f := startFlow(t, away)
	f.publish(influxtest.Numbered(0, 500))
	f.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == 500 })
	f.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if st, err := Drain(ctx, away, func(Stats) {}); err == nil || st.Queued != 500 {
		t.Errorf("without a server: %v, %+v", err, st)
	}
	if st, err := Drain(t.Context(), cfg, func(Stats) {}); err != nil || st.Stored != 500 || s.Lines() != 500 {
		t.Errorf("%v, %d lines, %+v", err, s.Lines(), st)
	}
}

// R34: under load, somebody drops the retention policy and then the database of a real server:
// each is created again, and everything accepted is delivered.
func TestFaultR34DroppedPolicy(t *testing.T) {
	server := storetest.Start(t)
	cfg := influxtest.StoreAt(server)
	cfg.SpoolDir, cfg.BatchSize, cfg.FlushInterval = t.TempDir(), 100, "10ms"
	f := startFlow(t, cfg)
	next := 0
	// load publishes until the server has what came after the drop.
	load := func(drop string) {
		t.Helper()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // ends below
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
					f.publish(influxtest.Numbered(next, next+5))
					next += 5
				}
			}
		}()
		f.until("points flow", 2*time.Minute, func(st Stats) bool { return st.Stored > 0 && !st.Failing })
		influxtest.Ask(t, cfg, drop, false)
		after := f.sink.Stats().Stored
		f.until("points flow again", 5*time.Minute, func(st Stats) bool { return st.Stored > after+500 })
		close(stop)
		<-done
		f.until("delivered", 5*time.Minute, func(st Stats) bool { return st.Queued == 0 && st.Events == uint64(next) })
	}
	load(`DROP RETENTION POLICY "history" ON "ipfsmon"`)
	if got := influxtest.Ask(t, cfg, "SHOW RETENTION POLICIES ON ipfsmon", false); !strings.Contains(got, "history,168h0m0s") {
		t.Errorf("retention policies:\n%s", got)
	}
	load(`DROP RETENTION POLICY "totals" ON "ipfsmon"`)
	load(`DROP DATABASE "ipfsmon"`)
	if st, err := f.stop(); err != nil || st.Rejected+st.Dropped != 0 || st.Stored != st.Accepted {
		t.Errorf("%v, %+v", err, st)
	}
	if got := influxtest.Ask(t, cfg, "SHOW RETENTION POLICIES ON ipfsmon", false); !strings.Contains(got, "history,168h0m0s") || !strings.Contains(got, "totals,0s") {
		t.Errorf("retention policies:\n%s", got)
	}
}
