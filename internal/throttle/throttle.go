// Package throttle limits log lines about things that may happen thousands of
// times a second to one in ten seconds, and counts those that it holds back.
package throttle

import (
	"log/slog"
	"sync"
	"time"
)

// Every is the least time between two lines.
const Every = 10 * time.Second

// Line limits one kind of log line. Its zero value is ready for use, from any
// goroutine.
type Line struct {
	mu   sync.Mutex
	last time.Time
	held uint64
}

// Allow reports whether the line may be written now; held is then how many were
// held back since the last one that was written.
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

// Warn logs a warning, unless the last one was less than Every ago; then it counts
// it, and the next one says how many were held back.
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

// Loss limits the log line about one kind of loss. Each line has the sum of what
// was lost since the line before it, and Flush logs the rest, so that every loss
// is logged. Its zero value is ready for use, from any goroutine.
type Loss struct {
	mu    sync.Mutex
	last  time.Time
	n     int
	write func(n int)
}

// Warn adds n to the loss and logs a warning, with the sum under key, unless the
// last one was less than Every ago.
func (l *Loss) Warn(log *slog.Logger, msg, key string, n int, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += n
	l.write = func(n int) { log.Warn(msg, append([]any{key, n}, args...)...) }
	l.tick()
}

// Tick logs the loss that no line has reported yet, if there is any and the last
// line is at least Every old.
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

// Flush logs the loss that no line has reported yet, if there is any. Call it at
// the end.
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
