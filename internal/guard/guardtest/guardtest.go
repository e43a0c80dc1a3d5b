// Package guardtest checks the log lines of package guard, in the tests of
// packages that use it.
package guardtest

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Lines keeps log lines. It may be used from any goroutine.
type Lines struct {
	mu  sync.Mutex
	all []map[string]string // the attributes of each line of a guard
}

// New returns a logger and the lines that are written to it.
func New() (*slog.Logger, *Lines) {
	l := new(Lines)
	return slog.New(handler{l}), l
}

// Default makes such a logger the default one until the test ends.
func Default(t testing.TB) *Lines {
	t.Helper()
	log, l := New()
	before := slog.Default()
	slog.SetDefault(log)
	t.Cleanup(func() { slog.SetDefault(before) })
	return l
}

// Once fails the test unless there is exactly one line about the operation, also
// after several panics, with a stack that names the function that panicked. A
// guard counts a panic before it logs it, so Once waits for the line.
func (l *Lines) Once(t testing.TB, doing, function string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !l.has(doing) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.all {
		if line["doing"] != doing {
			continue
		}
		n++
		if !strings.Contains(line["stack"], function) {
			t.Errorf("the stack of %q does not name %s:\n%s", doing, function, line["stack"])
		}
		if line["err"] == "" || line["level"] != "ERROR" {
			t.Errorf("the line of %q: level %q, err %q, want ERROR and the panic", doing, line["level"], line["err"])
		}
	}
	if n != 1 {
		t.Errorf("%d lines of %q, want 1; all: %v", n, doing, l.doings())
	}
}

func (l *Lines) has(doing string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.doings(), doing)
}

func (l *Lines) doings() (out []string) {
	for _, line := range l.all {
		out = append(out, line["doing"])
	}
	return out
}

type handler struct{ lines *Lines }

func (handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h handler) WithGroup(string) slog.Handler          { return h }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	if r.Message != guard.Message {
		return nil
	}
	line := map[string]string{"level": r.Level.String()}
	r.Attrs(func(a slog.Attr) bool {
		line[a.Key] = a.Value.String()
		return true
	})
	h.lines.mu.Lock()
	h.lines.all = append(h.lines.all, line)
	h.lines.mu.Unlock()
	return nil
}
