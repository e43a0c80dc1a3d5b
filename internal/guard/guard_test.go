package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

func breaks(what string) { panic(what) }

// TestOneLineForEachThing: every panic is counted; for each guarded operation one line is
// logged in ten seconds.
func TestOneLineForEachThing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		g := guard.New(slog.New(slog.NewTextHandler(&out, nil)))
		read := func() { defer g.Recover("read"); breaks("one") }
		write := func() { defer g.Recover("write"); breaks("two") }
		for range 3 {
			read()
		}
		write()
		require.EqualValues(t, 4, g.Panics())
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 2)
		require.Contains(t, lines[0], `level=ERROR msg="recovered from a panic" doing=read err=one so_far=1 held_back=0 stack=`)
		require.Contains(t, lines[0], "guard_test.breaks(")
		require.Contains(t, lines[1], "doing=write err=two so_far=4 held_back=0")

		out.Reset()
		time.Sleep(throttle.Every)
		read()
		require.Contains(t, out.String(), "doing=read err=one so_far=5 held_back=2")
	})
}

func TestCall(t *testing.T) {
	log, lines := guardtest.New()
	g := guard.Guard{Log: log}
	no := errors.New("no")
	require.Same(t, no, g.Call("ask", func() error { return no }))
	require.NoError(t, g.Call("ask", func() error { return nil }))
	require.Zero(t, g.Panics())
	err := g.Call("ask", func() error { breaks("here"); return nil })
	require.EqualError(t, err, "panic: here")
	require.ErrorIs(t, err, guard.ErrPanic)
	require.EqualValues(t, 1, g.Panics())
	lines.Once(t, "ask", "guard_test.breaks(")
}

// TestHandler: the connection ends, the server continues; http.ErrAbortHandler is not
// counted as a panic.
func TestHandler(t *testing.T) {
	log, lines := guardtest.New()
	g := guard.Guard{Log: log}
	s := httptest.NewServer(g.Handler("answer", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/breaks":
			_, _ = w.Write([]byte("half an an"))
			breaks("here")
		case "/aborts":
			panic(http.ErrAbortHandler)
		}
	})))
	defer s.Close()
	for range 2 {
		_, err := s.Client().Get(s.URL + "/breaks")
		require.Error(t, err)
	}
	_, err := s.Client().Get(s.URL + "/aborts")
	require.Error(t, err)
	resp, err := s.Client().Get(s.URL + "/")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.EqualValues(t, 2, g.Panics())
	lines.Once(t, "answer", "guard_test.breaks(")
}

type brokenLog struct{ slog.Handler }

func (brokenLog) Handle(context.Context, slog.Record) error { panic("the log, too") }

func TestALoggerThatPanics(t *testing.T) {
	g := guard.New(slog.New(brokenLog{slog.DiscardHandler}))
	func() { defer g.Recover("read"); breaks("here") }()
	require.EqualValues(t, 1, g.Panics())
}

// TestTheZeroValueIsReady: it logs to the default log.
func TestTheZeroValueIsReady(t *testing.T) {
	lines := guardtest.Default(t)
	var g guard.Guard
	func() { defer g.Recover("read"); breaks("here") }()
	lines.Once(t, "read", "guard_test.breaks(")
}

func TestNoPanicCostsNothing(t *testing.T) {
	var g guard.Guard
	require.Zero(t, testing.AllocsPerRun(100, func() { defer g.Recover("read") }))
}
