// Package logtest has a log that a test reads while other goroutines write to it.
package logtest

import (
	"bytes"
	"sync"
)

// Buffer keeps everything that is written to it. Its methods may be called from any
// goroutine; the zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends b. It never fails.
func (l *Buffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// String returns everything that was written so far.
func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
