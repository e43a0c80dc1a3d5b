package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// said sums the points of the log's lines with a text, and counts the lines.
func said(log, text string) (points, lines int) {
	n := regexp.MustCompile(`points=(\d+)`)
	for line := range strings.Lines(log) {
		if m := n.FindStringSubmatch(line); m != nil && strings.Contains(line, text) {
			p, _ := strconv.Atoi(m[1]) // digits
			points += p
			lines++
		}
	}
	return points, lines
}

// The disk is tried again by the spool's own clock, a second after it failed.
func TestDiskIsTriedAgainByTheClock(t *testing.T) {
	m := newMemFS()
	m.fail = func(_ int, what, _ string) error {
		if what == "create" {
			return syscall.ENOSPC
		}
		return nil
	}
	var mu sync.Mutex
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: time.Minute, now: clock})
	s.Put(0, 1, now, payload(0))
	s.flush()
	failed := s.Stats().DiskErrors
	if failed == 0 {
		t.Fatalf("%+v, want a disk that fails", s.Stats())
	}
	s.flush()
	if st := s.Stats(); st.DiskErrors != failed {
		t.Errorf("it was tried again at once: %+v", st)
	}
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	s.flush()
	if st := s.Stats(); st.Err == nil || st.Unsynced == 0 {
		t.Errorf("it was tried again before its time: %+v", st)
	}
	mu.Lock()
	now = now.Add(retryDisk)
	mu.Unlock()
	s.flush()
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 {
		t.Errorf("it was not tried again: %+v", st)
	}
}

// After an fsync that failed the segment is one like others: when it is
// delivered it goes, though the disk takes no new one.
func TestSegmentOfAFailedSyncGoes(t *testing.T) {
	m := newMemFS()
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: time.Hour})
	s.Put(0, 1, time.Now(), payload(0))
	s.flush()
	m.mu.Lock()
	m.fail = func(_ int, what, name string) error {
		if what == "sync" && strings.HasSuffix(name, suffix) || what == "create" {
			return syscall.EIO
		}
		return nil
	}
	m.mu.Unlock()
	s.Put(0, 1, time.Now(), payload(2))
	s.flush()
	if st := s.Stats(); st.SyncErrors != 1 || st.Segments != 1 {
		t.Fatalf("%+v", st)
	}
	b, err := s.Next(t.Context(), Fresh)
	if err != nil || b.Points != 2 {
		t.Fatalf("%+v, %v", b, err)
	}
	s.Ack(b)
	s.disk.Lock()
	s.retryAt = time.Time{}
	s.disk.Unlock()
	s.flush()
	if st := s.Stats(); st.Segments != 0 || st.Disk != 0 {
		t.Errorf("%+v, want no segment: all is delivered", st)
	}
	if _, err := m.Open("/s/0000000000000001.seg"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

// Each way to lose points has its line of the log, with all of them, and a
// damaged spool does not fill the log.
func TestLossesAreLogged(t *testing.T) {
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		const n = 200
		for _, seg := range fill(t, dir, n, 8<<20) {
			b, err := os.ReadFile(seg)
			if err != nil {
				t.Fatal(err)
			}
			refs, _, err := scan(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range refs {
				b[r.off+headerSize]++
			}
			write(t, seg, b)
		}
		var log logtest.Buffer
		s := open(t, Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		drain(t, s)
		st := s.Stats()
		s.Close()
		if points, lines := said(log.String(), "the disk has changed or removed"); points != int(st.Damaged) || points == 0 || lines > 2 {
			t.Errorf("%d points in %d lines, %d damaged:\n%s", points, lines, st.Damaged, log.String())
		}
	})
	t.Run("too large", func(t *testing.T) {
		var log logtest.Buffer
		s := open(t, Config{Dir: "/s", fs: newMemFS(), SyncEvery: time.Hour, MaxBytes: 64 << 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 3 {
			s.Put(0, 7, time.Now(), make([]byte, 65<<10))
			s.flush()
		}
		st := s.Stats()
		s.Close()
		if points, _ := said(log.String(), "larger than the limit of the spool"); points != 21 || st.Dropped != 21 {
			t.Errorf("%d points, %+v:\n%s", points, st, log.String())
		}
	})
	t.Run("bounds and end", func(t *testing.T) {
		var log logtest.Buffer
		m := newMemFS()
		s := open(t, Config{Dir: "/s", fs: m, SyncEvery: time.Hour, MaxBytes: 64 << 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 40 {
			s.Put(0, 2, time.Now(), make([]byte, 8<<10))
			s.flush()
		}
		m.mu.Lock()
		m.fail = func(int, string, string) error { return syscall.EIO }
		m.mu.Unlock()
		s.Put(0, 5, time.Now(), payload(0))
		lost := s.Close()
		st := s.Stats()
		bound, _ := said(log.String(), "the limit is reached")
		end, _ := said(log.String(), "dropped at the end")
		if end != 5 || lost != 5 || bound == 0 || uint64(bound+end) != st.Dropped {
			t.Errorf("%d at the bound, %d at the end, %d in all:\n%s", bound, end, st.Dropped, log.String())
		}
	})
	t.Run("removed", func(t *testing.T) {
		dir := t.TempDir()
		fill(t, dir, 10, 8<<20)
		var log logtest.Buffer
		s := open(t, Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err := os.Remove(dir + "/0000000000000001.seg"); err != nil {
			t.Fatal(err)
		}
		drain(t, s)
		s.Close()
		if points, _ := said(log.String(), "the disk has changed or removed"); points != 10 {
			t.Errorf("%d points:\n%s", points, log.String())
		}
	})
}
