// Package guard recovers panics of ipfsmon before they reach other code: in a
// callback of libp2p or Bitswap, a stream of a peer, a subscriber, a request.
//
// In: a deferred call. Out: a counter, and a log line "recovered from a panic"
// with the operation and the stack, at most one in ten seconds for each
// operation. Promised: a call without a panic allocates nothing and takes no
// lock; a panic of the logger is recovered too. Not promised: that the operation
// completed; the caller cleans up after it.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// Message is the text of the log line.
const Message = "recovered from a panic"

// Guard counts and logs panics. Its zero value is ready for use and logs to
// slog.Default(). It may be used from any goroutine, and must not be copied.
type Guard struct {
	Log *slog.Logger // set before the first use; nil: slog.Default()

	count atomic.Uint64

	mu    sync.Mutex
	lines map[string]*throttle.Line // by operation, a closed set
}

// New returns a guard that logs to log; nil means slog.Default().
func New(log *slog.Logger) *Guard { return &Guard{Log: log} }

// Recover recovers from a panic of the function that defers it: `defer
// g.Recover("stream: encode an event")`. doing is a constant: the package and the
// operation.
func (g *Guard) Recover(doing string) {
	if p := recover(); p != nil {
		g.Caught(p, doing)
	}
}

// Caught counts and logs p, the value of recover(), for deferred functions that
// have more to do than Recover. args are more key-value pairs for the log line,
// as in slog.
func (g *Guard) Caught(p any, doing string, args ...any) {
	n := g.count.Add(1)
	g.mu.Lock()
	line := g.lines[doing]
	if line == nil {
		if g.lines == nil {
			g.lines = make(map[string]*throttle.Line)
		}
		line = new(throttle.Line)
		g.lines[doing] = line
	}
	g.mu.Unlock()
	held, ok := line.Allow()
	if !ok {
		return
	}
	defer func() { _ = recover() }() // the logger may panic as well
	log := g.Log
	if log == nil {
		log = slog.Default()
	}
	args = append([]any{"doing", doing, "err", fmt.Sprint(p)}, args...)
	log.Error(Message, append(args, "so_far", n, "held_back", held, "stack", string(debug.Stack()))...)
}

// Panics returns how many panics were caught.
func (g *Guard) Panics() uint64 { return g.count.Load() }

// ErrPanic is wrapped by the errors of Call that stand for a panic.
var ErrPanic = errors.New("panic")

// Call calls f and returns its error. It counts and logs a panic of f, and returns
// it as an error.
func (g *Guard) Call(doing string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.Caught(p, doing)
			err = fmt.Errorf("%w: %v", ErrPanic, p)
		}
	}()
	return f()
}

// Handler returns h with a guard. A panic closes the connection, as in net/http:
// half an answer must not look like a complete one. http.ErrAbortHandler passes
// unrecovered and uncounted.
func (g *Guard) Handler(doing string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				g.Caught(p, doing)
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(w, r)
	})
}
