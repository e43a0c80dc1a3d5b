package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_CHILD"); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// payload of batch n: known bytes, with its own length.
func payload(n int) []byte {
	return fmt.Appendf(nil, "batch %d %s\n", n, strings.Repeat(string(rune('a'+n%26)), 20+n%50))
}

func number(t testing.TB, b []byte) int {
	t.Helper()
	n := -1
	if _, err := fmt.Sscanf(string(b), "batch %d", &n); err != nil || !bytes.Equal(b, payload(n)) {
		t.Fatalf("a batch that nobody put: %q", b)
	}
	return n
}

func open(t testing.TB, cfg Config) *Spool {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = quiet()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill makes a spool of n batches on disk, in segments of that many bytes or
// less, and returns the paths of the segments.
func fill(t testing.TB, dir string, n int, most int64) []string {
	t.Helper()
	s := open(t, Config{Dir: dir, SyncEvery: 0, MaxBytes: max(most*8, 64<<10)})
	for i := range n {
		s.Put(byte(i%2), 1, time.Unix(0, int64(i+1)), payload(i))
	}
	if lost := s.Close(); lost != 0 || s.Stats().Err != nil {
		t.Fatalf("%d lost: %v", lost, s.Stats().Err)
	}
	segs, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(segs) == 0 {
		t.Fatal(segs, err)
	}
	return segs
}

// drain takes everything out and returns the numbers of the batches, in order of
// delivery.
func drain(t testing.TB, s *Spool) (got []int) {
	t.Helper()
	s.Seal()
	for _, lane := range []int{Backlog, Fresh} {
		for {
			b, err := s.Next(t.Context(), lane)
			if errors.Is(err, ErrDrained) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for line := range bytes.Lines(b.Data) {
				got = append(got, number(t, line))
				if got[len(got)-1]%2 != int(b.Kind) {
					t.Fatalf("batch %d in one of kind %d", got[len(got)-1], b.Kind)
				}
				n++
			}
			if n != b.Points {
				t.Fatalf("%d points in a batch that says %d", n, b.Points)
			}
			s.Ack(b)
		}
	}
	if st := s.Stats(); st.Points != 0 || st.Frames != 0 {
		t.Fatalf("drained, and %+v", st)
	}
	return got
}

// distinct returns how many different numbers there are.
func distinct(got []int) int {
	m := map[int]bool{}
	for _, n := range got {
		m[n] = true
	}
	return len(m)
}

func TestPutNextAck(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, SyncEvery: time.Hour})
	for i := range 100 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	b, err := s.Next(t.Context(), Fresh)
	if err != nil || b.Points != 50 || b.Kind != 0 {
		t.Fatalf("%+v, %v; want the 50 of kind 0", b, err)
	}
	s.Ack(b)
	if st := s.Stats(); st.Points != 50 || st.Disk != 0 {
		t.Errorf("%+v, want 50 points and nothing on disk", st)
	}
	if lost := s.Close(); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	s = open(t, Config{Dir: dir, SyncEvery: time.Hour})
	if st := s.Stats(); st.Points != 50 || st.Restored != 50 {
		t.Errorf("%+v, want 50 restored", st)
	}
	if got := drain(t, s); len(got) != 50 || !sort.IntsAreSorted(got) {
		t.Errorf("got %v", got)
	}
	s.Close()
	if segs, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)); len(segs) != 0 {
		t.Errorf("left behind: %v", segs)
	}
}

// What was delivered is not delivered again by the next process, what was not
// is, though both are in one segment.
func TestCursor(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 8<<20)
	s := open(t, Config{Dir: dir, MaxPoints: 10})
	seen := map[int]bool{}
	for range 3 {
		b, err := s.Next(t.Context(), Backlog)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b.Data) {
			seen[number(t, line)] = true
		}
		s.Ack(b)
	}
	s.Close()
	rest := drain(t, open(t, Config{Dir: dir}))
	for _, n := range rest {
		if seen[n] {
			t.Errorf("%d is given out twice", n)
		}
	}
	if len(seen) != 30 || len(rest) != 70 {
		t.Errorf("%d and then %d, want 30 and 70", len(seen), len(rest))
	}
}

func TestPutBack(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), SyncEvery: time.Hour})
	s.Put(0, 1, time.Now(), payload(0))
	b, err := s.Next(t.Context(), Fresh)
	if err != nil {
		t.Fatal(err)
	}
	s.Back(b)
	if got := drain(t, s); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// A batch whose segment is dropped while it is being delivered is lost, and counted, only when
// it comes back.
func TestPutBackWhatWasDropped(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1, 1<<20)
	s := open(t, Config{Dir: dir, MaxBytes: 64 << 10})
	b, err := s.Next(t.Context(), Either)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		s.Put(0, 1, time.Now(), bytes.Repeat([]byte{byte(n)}, 8<<10))
		s.flush()
	}
	before := s.Stats().Dropped
	s.Back(b)
	if got := s.Stats().Dropped; got != before+1 {
		t.Errorf("%d dropped, then %d, want one more", before, got)
	}
}

// Data that comes now does not wait for a backlog.
func TestFreshLane(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 8<<20)
	clock := newClock(time.Now())
	s := open(t, Config{Dir: dir, MaxPoints: 10, now: clock.now})
	s.Put(0, 1, clock.now(), payload(1000))
	f := func(lane, first int) {
		t.Helper()
		b, err := s.Next(t.Context(), lane)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := bytes.Cut(b.Data, []byte("\n"))
		if got := number(t, append(line, '\n')); got != first {
			t.Errorf("lane %d returns %d first, want %d", lane, got, first)
		}
		s.Ack(b)
	}
	f(Fresh, 1000)
	f(Backlog, 0)
	s.Put(0, 1, clock.now(), payload(2000))
	clock.add(10 * time.Second) // the server was away
	wait, err := func() (*Batch, error) {
		s.mu.Lock()
		frames, _ := s.pick(Fresh)
		s.mu.Unlock()
		if len(frames) > 0 {
			return nil, errors.New("an old batch is fresh")
		}
		return nil, nil
	}()
	if wait != nil || err != nil {
		t.Fatal(wait, err)
	}
	s.Put(0, 1, clock.now(), payload(3000))
	f(Fresh, 3000)
	if got := drain(t, s); len(got) != 91 || got[len(got)-1] != 2000 && !contains(got, 2000) {
		t.Errorf("%d left: %v", len(got), got)
	}
}

// A second request helps with what is fresh while there is no backlog, and what
// it holds when the server goes away keeps nothing fresh from passing.
func TestEitherLane(t *testing.T) {
	clock := newClock(time.Now())
	s := open(t, Config{Dir: t.TempDir(), MaxPoints: 1, SyncEvery: time.Hour, now: clock.now})
	next := func(lane, want int) *Batch {
		t.Helper()
		b, err := s.Next(t.Context(), lane)
		if err != nil {
			t.Fatal(err)
		}
		if got := number(t, b.Data); got != want {
			t.Errorf("lane %d returns %d, want %d", lane, got, want)
		}
		return b
	}
	for n := range 4 {
		s.Put(0, 1, clock.now(), payload(n))
	}
	first, held := next(Fresh, 0), next(Either, 1)
	clock.add(10 * time.Second) // the server was away, and the second request still waits
	s.Ack(first)
	s.mu.Lock()
	frames, _ := s.pick(Fresh)
	s.mu.Unlock()
	if len(frames) > 0 {
		t.Fatal("an old batch is fresh")
	}
	s.Put(0, 1, clock.now(), payload(4))
	s.Ack(next(Fresh, 4))
	s.Back(held)
	for n := range 3 {
		s.Ack(next(Either, n+1)) // the backlog first
	}
	s.Put(0, 1, clock.now(), payload(5))
	s.Ack(next(Either, 5))
	s.Seal()
	for lane := range Lanes {
		if _, err := s.Next(t.Context(), lane); !errors.Is(err, ErrDrained) {
			t.Errorf("lane %d: %v", lane, err)
		}
	}
}

func contains(list []int, n int) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: t.TempDir(), MaxBytes: 1}} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v is allowed", cfg)
		}
	}
}

func TestRanges(t *testing.T) {
	var r ranges
	all := map[uint64]bool{}
	for _, s := range []span{{5, 5}, {7, 9}, {6, 6}, {1, 2}, {20, 30}, {3, 4}, {8, 25}, {40, 40}, {39, 41}, {32, 31}} {
		r.add(s.first, s.last)
		for n := s.first; n <= s.last; n++ {
			all[n] = true
		}
		for n := uint64(0); n < 50; n++ {
			if r.has(n) != all[n] {
				t.Fatalf("%v has(%d) = %v", r, n, r.has(n))
			}
		}
	}
	if fmt.Sprint(r) != "[{1 30} {39 41}]" {
		t.Errorf("%v", r)
	}
	next, got, ok := decodeCursor(encodeCursor(50, r))
	if !ok || next != 50 || fmt.Sprint(got) != fmt.Sprint(r) {
		t.Errorf("%d %v %v", next, got, ok)
	}
}

// What was delivered from a segment on disk does not count among what waits.
func TestOldestIsOfWhatWaits(t *testing.T) {
	s := open(t, Config{Dir: "/s", fs: newMemFS(), SyncEvery: 0})
	for i := 1; i <= 3; i++ {
		s.Put(0, 1, time.Unix(int64(i), 0), payload(i))
		if st := s.Stats(); st.Disk == 0 || !st.Oldest.Equal(time.Unix(int64(i), 0)) {
			t.Fatalf("after batch %d: %d bytes on disk, oldest of %v", i, st.Disk, st.Oldest)
		}
		b, err := s.Next(t.Context(), Fresh)
		if err != nil {
			t.Fatal(err)
		}
		s.Ack(b)
		if st := s.Stats(); !st.Oldest.IsZero() {
			t.Fatalf("nothing waits, and the oldest of it is of %v", st.Oldest)
		}
	}
}

// clock is a clock of the test's, which the spool reads from its own goroutine.
type clock struct{ ns atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.ns.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.ns.Load()) }
func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }
