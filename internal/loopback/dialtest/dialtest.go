// Package dialtest records what libp2p dials, for tests.
//
// In: the debug log of libp2p's swarm. Out: every address that any host of this
// process began to dial, after the gater permitted it. For tests only: it takes
// over libp2p's log, and its memory is not bounded.
package dialtest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libp2p/go-libp2p/gologshim"
)

// Log holds the addresses dialled. Use one per process, from Watch.
type Log struct {
	mu    sync.Mutex
	addrs []string
}

// Watch starts recording. Call it before the first libp2p host of the process is
// made (from an init or TestMain), because libp2p chooses its logger only once.
func Watch() *Log {
	l := &Log{}
	gologshim.SetDefaultHandler(handler{log: l})
	return l
}

// Addrs returns the addresses dialled so far, in order, as multiaddrs.
func (l *Log) Addrs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.addrs...)
}

// handler picks the line that swarm.dialAddr writes right before it asks a
// transport to dial.
type handler struct {
	log   *Log
	swarm bool // the logger is the swarm's
}

func (h handler) Enabled(context.Context, slog.Level) bool { return h.swarm }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "swarm dialing peer" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "addr" {
			return true
		}
		h.log.mu.Lock()
		h.log.addrs = append(h.log.addrs, fmt.Sprint(a.Value.Any()))
		h.log.mu.Unlock()
		return false
	})
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "logger" && a.Value.String() == "swarm2" {
			h.swarm = true
		}
	}
	return h
}

func (h handler) WithGroup(string) slog.Handler { return h }
