// Package throttle keeps log lines about things that may happen thousands of
// times a second to one in ten seconds, without hiding how many there were.
package throttle

import (
	"log/slog"
	"sync"
	"time"
)

// Every is the least time between two lines.
const Every = 10 * time.Second

// Line guards one line of the log. Its zero value is ready, and it may be used
// from any goroutine.
type Line struct {
	mu   sync.Mutex
	last time.Time
	held uint64
}

// Allow is true if the line may be written now; held is then how many were
// kept back since the last that was.
func (l *Line) Allow() (held uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < Every {
		l.held++
		return 0, false
	}
	held, l.held = l.held, 0
	l.last = now
	return held, true
}

// Warn writes a warning to the log, unless the last one was a moment ago; then
// it is counted, and the next one says how many were held back.
func (l *Line) Warn(log *slog.Logger, msg string, args ...any) {
	held, ok := l.Allow()
	if !ok {
		return
	}
	if held > 0 {
		args = append(args, "held_back", held)
	}
	log.Warn(msg, args...)
}

// Loss guards the line of the log about one way to lose something. A line has
// the sum of what was lost since the one before it, and what no line has said
// is left for Flush, so that no loss stays unsaid. Its zero value is ready, and it may be
// used from any goroutine.
type Loss struct {
	mu    sync.Mutex
	last  time.Time
	n     int
	write func(n int)
}

// Warn counts n of what is lost and writes a warning, with the sum under key,
// unless the last one was a moment ago.
func (l *Loss) Warn(log *slog.Logger, msg, key string, n int, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += n
	l.write = func(n int) { log.Warn(msg, append([]any{key, n}, args...)...) }
	l.tick()
}

// Tick writes what no line has said yet, if there is anything and the last line
// is old enough.
func (l *Loss) Tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
}

func (l *Loss) tick() {
	if l.last.IsZero() || time.Since(l.last) >= Every {
		l.flush()
	}
}

// Flush writes what no line has said yet, if there is anything: for the end.
func (l *Loss) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

func (l *Loss) flush() {
	if l.n > 0 {
		l.last = time.Now()
		l.write(l.n)
		l.n = 0
	}
}
