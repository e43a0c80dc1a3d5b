package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/influxdata/influxdb"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/tsdb"

	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// stuckHeader is in the answer to /ping of a store whose writes fail although its disk accepts
// writes: a restart repairs that. Its value is the reason.
const stuckHeader = "X-Ipfsmon-Store-Stuck"

const (
	// stuckAfter is how long all writes to a shard must fail, on a disk that accepts writes,
	// before the engine counts as stuck.
	stuckAfter = 10 * time.Second
	// slowAfter is how long a write may take before it counts as hanging.
	slowAfter = time.Minute
	// stuckEvery is how often that is checked.
	stuckEvery = time.Second
	// diskTry is how many bytes are written to test whether a disk accepts writes.
	diskTry = 1 << 20
)

// writeWatch wraps the writes to InfluxDB's shards and finds shards that only a restart
// repairs. InfluxDB 1.8 keeps the first error of the writer of a WAL, an index or a series file
// for ever: once the disk was full, every write to that shard fails, however much space there
// is later.
type writeWatch struct {
	next   *tsdb.Store
	walDir string
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	shards map[uint64]*writes

	reason atomic.Pointer[string] // nil: none is stuck
	line   throttle.Line
}

// writes is the state of the writes to a shard.
type writes struct {
	running map[int]time.Time // the start of each write that has not returned
	serial  int

	err    error     // of the last one; nil if it succeeded
	failed time.Time // when that was
	mended time.Time // the disk accepts writes since then; zero: it does not
}

func newWriteWatch(next *tsdb.Store, walDir string, log *slog.Logger) *writeWatch {
	return &writeWatch{next: next, walDir: walDir, log: log, now: time.Now, shards: make(map[uint64]*writes)}
}

// CreateShard is that of coordinator.PointsWriter's TSDBStore.
func (w *writeWatch) CreateShard(database, policy string, id uint64, enabled bool) error {
	return w.next.CreateShard(database, policy, id, enabled)
}

// WriteToShard is that of coordinator.PointsWriter's TSDBStore.
func (w *writeWatch) WriteToShard(id uint64, points []models.Point) error {
	return w.WriteToShardWithContext(context.Background(), id, points)
}

// WriteToShardWithContext is WriteToShard with a context.
func (w *writeWatch) WriteToShardWithContext(ctx context.Context, id uint64, points []models.Point) error {
	w.mu.Lock()
	s := w.shards[id]
	if s == nil {
		s = &writes{running: make(map[int]time.Time)}
		w.shards[id] = s
	}
	s.serial++
	n := s.serial
	s.running[n] = w.now()
	w.mu.Unlock()

	err := w.next.WriteToShardWithContext(ctx, id, points)

	w.mu.Lock()
	defer w.mu.Unlock()
	delete(s.running, n)
	if s.err, s.failed = err, w.now(); ofPoints(err) {
		s.err, s.mended = nil, time.Time{}
	}
	return err
}

// ofPoints reports whether a write failed because of its points, or because the shard does not
// exist.
func ofPoints(err error) bool {
	if err == nil || influxdb.IsClientError(err) || errors.Is(err, tsdb.ErrShardNotFound) || errors.Is(err, tsdb.ErrShardDeletion) {
		return true
	}
	_, partly := err.(tsdb.PartialWriteError) // never wrapped
	return partly
}

// run checks the writes periodically until ctx is done.
func (w *writeWatch) run(ctx context.Context) {
	tick := time.NewTicker(stuckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.look()
	}
}

// look determines whether the engine is stuck.
func (w *writeWatch) look() {
	w.mu.Lock()
	var suspects []uint64
	for id, s := range w.shards {
		switch {
		case s.err != nil || w.oldest(s) > slowAfter:
			suspects = append(suspects, id)
		case len(s.running) == 0:
			delete(w.shards, id)
		}
	}
	w.mu.Unlock()

	reason := ""
	for _, id := range suspects {
		shard := w.next.Shard(id)
		if shard == nil {
			w.mu.Lock()
			delete(w.shards, id) // deleted meanwhile
			w.mu.Unlock()
			continue
		}
		// Without holding mu: a broken disk can block for long.
		wal := filepath.Join(w.walDir, shard.Database(), shard.RetentionPolicy(), strconv.FormatUint(id, 10))
		disk := errors.Join(tryWrite(wal), tryWrite(shard.Path()))
		w.mu.Lock()
		if s := w.shards[id]; s != nil {
			if why := w.judge(s, disk); why != "" {
				reason = fmt.Sprintf("writes to shard %d of %s.%s fail, although the disk accepts writes: %s", id, shard.Database(), shard.RetentionPolicy(), why)
			}
		}
		w.mu.Unlock()
	}
	if reason == "" {
		w.reason.Store(nil)
		return
	}
	w.reason.Store(&reason)
	if held, ok := w.line.Allow(); ok {
		w.log.Error("store: InfluxDB is stuck until it is restarted", "reason", reason, "held_back", held)
	}
}

// oldest returns the age of the oldest write that has not returned. mu is held.
func (w *writeWatch) oldest(s *writes) (age time.Duration) {
	for _, began := range s.running {
		age = max(age, w.now().Sub(began))
	}
	return age
}

// judge returns why a shard is stuck, or "" if it is not, given whether its disk accepts
// writes. mu is held.
func (w *writeWatch) judge(s *writes, disk error) (why string) {
	hangs := w.oldest(s)
	if s.err == nil && hangs <= slowAfter {
		return "" // a write succeeded meanwhile
	}
	now := w.now()
	if disk != nil {
		s.mended = time.Time{}
		return ""
	}
	if s.mended.IsZero() {
		s.mended = now
	}
	switch {
	case now.Sub(s.mended) < stuckAfter:
		return ""
	case hangs > slowAfter:
		return fmt.Sprintf("one has not returned for %v", hangs.Truncate(time.Second))
	case s.failed.Before(s.mended.Add(stuckAfter / 2)):
		return "" // no write was tried since
	}
	return s.err.Error()
}

// tryWrite writes a file of diskTry bytes into a folder and removes it. It needs twice that
// space free, so that it does not fill the disk itself.
func tryWrite(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	if uint64(fs.Bavail)*uint64(fs.Bsize) < 2*diskTry {
		return fmt.Errorf("write to %s: %w", dir, syscall.ENOSPC)
	}
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return err
	}
	b := make([]byte, diskTry)
	_, _ = rand.Read(b) // never fails; random, because zeros could be compressed and need no space
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// mark adds stuckHeader to the answers to /ping while the engine is stuck.
func (w *writeWatch) mark(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if why := w.reason.Load(); why != nil && r.URL.Path == "/ping" {
			rw.Header().Set(stuckHeader, strings.Map(printable, (*why)[:min(len(*why), 500)]))
		}
		next.ServeHTTP(rw, r)
	})
}

// printable replaces characters that a header's value may not have.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
