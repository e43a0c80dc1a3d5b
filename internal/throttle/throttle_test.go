package throttle

import (
	"bytes"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneLineInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Line
		if held, ok := l.Allow(); !ok || held != 0 {
			t.Fatalf("first: %d, %v", held, ok)
		}
		for range 5 {
			if _, ok := l.Allow(); ok {
				t.Fatal("a second line within ten seconds")
			}
		}
		time.Sleep(Every)
		if held, ok := l.Allow(); !ok || held != 5 {
			t.Fatalf("after ten seconds: %d, %v", held, ok)
		}
	})
}

// Every loss is reported: the sum with the next line, or at the end.
func TestLossIsSummed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		said := func(want string) {
			t.Helper()
			if b.String() != want {
				t.Errorf("log %q, want %q", b.String(), want)
			}
			b.Reset()
		}
		var l Loss
		l.Flush()
		said("")
		l.Warn(log, "dropped", "points", 3, "why", "full")
		said("level=WARN msg=dropped points=3 why=full\n")
		l.Warn(log, "dropped", "points", 4, "why", "full")
		l.Warn(log, "dropped", "points", 5, "why", "full")
		said("")
		time.Sleep(Every)
		l.Warn(log, "dropped", "points", 1, "why", "old")
		said("level=WARN msg=dropped points=10 why=old\n")
		l.Warn(log, "dropped", "points", 6, "why", "tick")
		l.Tick()
		said("")
		time.Sleep(Every)
		l.Tick()
		said("level=WARN msg=dropped points=6 why=tick\n")
		l.Warn(log, "dropped", "points", 2, "why", "end")
		l.Flush()
		l.Flush()
		said("level=WARN msg=dropped points=2 why=end\n")

		var line Line
		for range 3 {
			line.Warn(log, "away", "url", "u")
		}
		said("level=WARN msg=away url=u\n")
		time.Sleep(Every)
		line.Warn(log, "away", "url", "u")
		said("level=WARN msg=away url=u held_back=2\n")
	})
}
