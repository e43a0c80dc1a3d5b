package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestWaitsDoubleAndBeginAgain: each wait is between a half and the whole of a bound that
// doubles up to the longest, and is the first again after Reset.
func TestWaitsDoubleAndBeginAgain(t *testing.T) {
	const first, most = 500 * time.Millisecond, time.Minute
	b := New(first, most)
	for round := range 200 {
		for n, bound := 0, first; n < 20; n, bound = n+1, min(2*bound, most) {
			if d := b.Next(); d < bound/2-1 || d > bound {
				t.Fatalf("round %d: wait %d is %v, want %v to %v", round, n, d, bound/2, bound)
			}
		}
		b.Reset()
	}
}

func TestWaitsDiffer(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[New(time.Second, time.Minute).Next()] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different waits of 100", len(seen))
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b := New(time.Second, time.Minute)
		if err := b.Wait(t.Context()); err != nil || time.Since(start) < time.Second/2-1 || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start = time.Now()
		if err := Sleep(ctx, time.Hour); err != context.DeadlineExceeded || time.Since(start) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
