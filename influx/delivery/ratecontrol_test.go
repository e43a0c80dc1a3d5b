package delivery

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// Every answer and its effect on the pace: without a clock, since all that
// counts is reported to it.
func TestPace(t *testing.T) {
	p := newRateControl(5000, 3, 30*time.Second)
	is := func(what string, points, posts int) {
		t.Helper()
		if a, b := p.now(); a != points || b != posts {
			t.Errorf("%s: %d points, %d posts, want %d and %d", what, a, b, points, posts)
		}
	}
	soon := func(n, points int, d time.Duration) {
		for range n {
			p.took(points, time.Now(), d)
		}
	}
	is("at the beginning", 5000, 1)
	soon(growAfter-1, 5000, time.Second/2)
	is("before enough quick answers", 5000, 1)
	soon(1, 5000, time.Second/2)
	is("after them", 5000, 2)
	soon(100, 2000, time.Second/2)
	is("small posts carry no information", 5000, 2)
	soon(100, 5000, 2*time.Second)
	is("neither quick nor slow", 5000, 2)
	soon(100, 5000, time.Second/2)
	is("the bound", 5000, 3)

	began := time.Now()
	p.trouble(began)
	is("trouble", 2500, 1)
	p.trouble(began)
	p.took(5000, began, 20*time.Second)
	is("others of the same time carry no new information", 2500, 1)
	for range 20 {
		p.trouble(time.Now())
	}
	is("the least", leastPoints, 1)
	soon(growAfter, leastPoints, time.Second/2)
	is("it grows again", 2*leastPoints, 1)
	soon(6*growAfter, 5000, time.Second/2)
	is("points first", 5000, 1)
	soon(growAfter, 5000, time.Second/2)
	is("then posts", 5000, 2)
	p.took(5000, time.Now(), 6*time.Second)
	is("slow", 3750, 1)
	for range 20 {
		p.took(5000, time.Now(), 6*time.Second)
	}
	is("slow for long", 1250, 1)
	p.trouble(time.Now())
	p.took(5000, time.Now(), 6*time.Second)
	is("slow after trouble", 625, 1)

	soon(3*growAfter, 5000, time.Second/2)
	p.tooLarge(2000)
	is("413", 1000, 1)
	soon(forgetAfter-1, 1000, 2*time.Second)
	is("remembered", 1000, 1)
	soon(2, 1000, 2*time.Second)
	is("forgotten by half", 2000, 1)
	p.tooLarge(2)
	is("413 of two", 1, 1)

	// Those who wait for a higher bound, and for the end.
	p = newRateControl(10, 2, time.Second)
	if err := p.enter(t.Context(), 0); err != nil {
		t.Error(err)
	}
	in := make(chan error)
	go func() { in <- p.enter(context.Background(), 1) }()
	for range growAfter {
		p.took(10, time.Now(), 0)
	}
	if err := <-in; err != nil {
		t.Error(err)
	}
	go func() { in <- p.enter(context.Background(), 2) }()
	p.close()
	p.close()
	if err := <-in; !errors.Is(err, errDrained) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newRateControl(10, 1, time.Second).enter(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A server that gets slow under a backlog, then answers 503, then recovers: the load shrinks,
// then grows again, recent points never wait for the backlog, and everything is stored.
func TestFaultPaceFollowsServer(t *testing.T) {
	var phase, atOnce, most atomic.Int32 // 0: down, 1: quick, 2: slow, 3: overloaded
	var fresh atomic.Int64
	s := influxtest.NewFaulty(t, func(n int, r *http.Request, lines []string) (int, string, []string) {
		now := atOnce.Add(1)
		defer atOnce.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		for _, l := range lines {
			if strings.Contains(l, "priority=7i") && phase.Load() == 2 {
				fresh.Add(1)
			}
		}
		switch phase.Load() {
		case 0:
			return 502, "", nil
		case 2:
			select {
			case <-time.After(500 * time.Millisecond):
			case <-r.Context().Done():
			}
		case 3:
			return 503, "1", nil
		}
		return influxtest.TakeAll(n, r, lines)
	})
	cfg := s.Destination()
	cfg.SpoolDir, cfg.BatchSize, cfg.Concurrency, cfg.Timeout, cfg.FlushInterval = t.TempDir(), 400, 4, "3s", "10ms"
	f := startFlow(t, cfg)
	const n = 100_000
	f.publish(influxtest.Numbered(0, n))
	st := f.until("accepted", 2*time.Minute, func(st Stats) bool { return st.Events == n && st.BatchSize < 400 })
	if st.Requests != 2 {
		t.Errorf("%d requests at once", st.Requests)
	}
	phase.Store(1)
	f.until("more at once", 5*time.Minute, func(st Stats) bool { return st.BatchSize == 400 && st.Requests == 4 })
	phase.Store(2)
	f.until("less at once", 5*time.Minute, func(st Stats) bool { return st.BatchSize < 400 && st.Requests == 2 })
	live := 0
	st = f.until("fresh ones", 60*time.Second, func(Stats) bool { // beside the backlog
		e := influxtest.Numbered(n+live, n+live+1)
		e[0].Wants[0].Priority = 7
		f.publish(e)
		live++
		time.Sleep(20 * time.Millisecond)
		return fresh.Load() >= 10
	})
	if st.Queued < 1000 {
		t.Errorf("the backlog of %d was gone before the fresh ones came", st.Queued)
	}
	phase.Store(3)
	f.until("the least", 5*time.Minute, func(st Stats) bool { return st.BatchSize <= 100 && st.Requests == 2 })
	phase.Store(1)
	f.until("all stored", 5*time.Minute, func(st Stats) bool { return st.Queued == 0 })
	st, err := f.stop()
	if err != nil || st.Dropped+st.Rejected != 0 || s.Lines() != n+live || most.Load() > 4 {
		t.Errorf("%v, %d lines, %d at once, %+v", err, s.Lines(), most.Load(), st)
	}
}
