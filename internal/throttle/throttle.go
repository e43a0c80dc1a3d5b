// Package throttle keeps log lines about things that may happen thousands of
// times a second to one in ten seconds, without hiding how many there were.
package throttle

import (
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
