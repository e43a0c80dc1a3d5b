package collect

import (
	"log/slog"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/throttle"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// flushEvery is how much time of a recording a kill loses at most.
	flushEvery = 5 * time.Second
	// reopenAfter is the wait after a recording failed.
	reopenAfter = 10 * time.Second
)

// recording writes the events of one monitor to files. A failure loses events,
// which are counted, and is tried again. All methods may be called from any
// goroutine.
type recording struct {
	dir string // "": there is none
	log *slog.Logger

	mu       sync.Mutex
	out      *stream.Recorder // nil while it is closed
	failed   time.Time
	recorded uint64
	lost     uint64
	line     throttle.Line
}

// add writes an event of the monitor with that name.
func (r *recording) add(monitor string, e *stream.Event) {
	if r.dir == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		if time.Since(r.failed) < reopenAfter {
			r.lost++
			return
		}
		var err error
		if r.out, err = stream.NewRecorder(r.dir, monitor); err != nil {
			r.out = nil
			r.fail(err)
			return
		}
	}
	if err := r.out.Add(e); err != nil {
		r.fail(err)
		return
	}
	r.recorded++
}

// fail counts an event that was not recorded. The caller holds mu.
func (r *recording) fail(err error) {
	r.lost++
	r.failed = time.Now()
	if r.out != nil {
		_ = r.out.Close() // the first error is reported
		r.out = nil
	}
	if held, ok := r.line.Allow(); ok {
		r.log.Warn("fleet: events are not recorded", "folder", r.dir, "err", err, "held_back", held)
	}
}

// flush writes what was added to the operating system.
func (r *recording) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		return
	}
	if err := r.out.Flush(); err != nil {
		r.fail(err)
		r.lost-- // no event of its own
	}
}

// close finishes the file; the next event opens another.
func (r *recording) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		return
	}
	if err := r.out.Close(); err != nil {
		r.log.Warn("fleet: finish a recording", "folder", r.dir, "err", err)
	}
	r.out = nil
}

func (r *recording) counts() (recorded, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recorded, r.lost
}
