package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/disktest"
)

// When the writes to a shard count as stuck: only while nothing but a restart
// can help.
func TestJudgeWrites(t *testing.T) {
	full := errors.New("no room")
	f := func(name, want string, what func(w *writeWatch, s *writes, look func(disk error, times int) string) string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			w := newWriteWatch(nil, "", slog.New(slog.DiscardHandler))
			s := &writes{running: make(map[int]time.Time)}
			look := func(disk error, times int) (why string) {
				for range times {
					time.Sleep(stuckEvery)
					why = w.judge(s, disk)
				}
				return why
			}
			if got := what(w, s, look); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		})
	}
	fail := func(s *writes) { s.err, s.failed = errors.New("sticky"), time.Now() }

	f("one that fails all the while, with a good disk", "sticky", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		for range 11 {
			fail(s)
			look(nil, 1)
		}
		return look(nil, 1)
	})
	f("a disk that stays full", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		for range 3600 {
			fail(s)
			look(full, 1)
		}
		return look(full, 1)
	})
	f("a disk that is full at times", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		for range 100 {
			fail(s)
			look(nil, 5)
			look(full, 1)
		}
		return look(nil, 1)
	})
	f("no write since the disk works again", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		fail(s)
		return look(nil, 3600)
	})
	f("it went well again", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		fail(s)
		look(nil, 5)
		s.err = nil
		return look(nil, 60)
	})
	f("a write that takes long", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		s.running[1] = time.Now()
		return look(nil, 50)
	})
	f("a write that does not return", "one has not returned for 1m12s", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		s.running[1] = time.Now()
		return look(nil, 72)
	})
	f("a write that waits for a broken disk", "", func(_ *writeWatch, s *writes, look func(error, int) string) string {
		s.running[1] = time.Now()
		return look(full, 3600)
	})
}

// A store that stays stuck after restarts is not restarted constantly.
func TestNoRestartStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Child{cfg: ChildConfig{Log: slog.New(slog.DiscardHandler)}}
		count := func(d time.Duration) (n int) {
			for range d / time.Second {
				time.Sleep(time.Second)
				if c.restartStuck("still") {
					n++
				}
			}
			return n
		}
		if n := count(time.Second); n != 1 {
			t.Errorf("%d restarts at once, want 1", n)
		}
		if n := count(time.Hour); n != 9 {
			t.Errorf("%d more in an hour, want 9: after 30 s, 1, 2, 4, 8 minutes, then each 10 minutes", n)
		}
		time.Sleep(24 * time.Hour) // all is well
		if n := count(time.Minute); n != 2 {
			t.Errorf("%d in a minute, a day later; want 2: it begins again at 30 s", n)
		}
	})
}

// A disk accepts writes or does not, and the check leaves no files.
func TestTryWrite(t *testing.T) {
	dir := t.TempDir()
	if err := tryWrite(dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 { // it is there
		t.Errorf("left behind: %v", left)
	}
	if err := tryWrite(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if err := tryWrite(disktest.Small(t, "1m")); err == nil {
		t.Error("a full disk takes 1 MiB")
	}
	if err := tryWrite(disktest.ReadOnly(t, "4m")); err == nil {
		t.Error("a disk that is read only takes 1 MiB")
	}
}
