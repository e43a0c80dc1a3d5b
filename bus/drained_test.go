package bus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Drained waits until a slow reader is done with the events published before the call,
// and no longer: it must not return when the reader has only received the last of them,
// nor wait for events that are published later.
func TestDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{})
		defer b.Close()
		r := b.Subscribe("slow")
		b.Live()
		if err := r.Drained(t.Context()); err != nil {
			t.Errorf("without a waiting event: %v, want nil", err)
		}
		publish(b, 10)
		ended := make(chan error)
		go func() {
			buf := make([]*event.Event, 5)
			for {
				if _, _, err := r.Next(t.Context(), buf); err != nil {
					ended <- err
					return
				}
				time.Sleep(time.Hour) // the reader's work on them
			}
		}()
		start := time.Now()
		go func() {
			time.Sleep(90 * time.Minute)
			publish(b, 100)
		}()
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Drained(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("with a deadline of a minute: %v after %v", err, time.Since(start))
		}
		if err := r.Drained(t.Context()); err != nil || time.Since(start) != 2*time.Hour {
			t.Errorf("10 events in two hours: %v after %v", err, time.Since(start))
		}
		waits := make(chan error)
		go func() { waits <- r.Drained(t.Context()) }()
		synctest.Wait()
		r.Close()
		if err := <-waits; !errors.Is(err, ErrClosed) {
			t.Errorf("closed with events left: %v", err)
		}
		if err := r.Drained(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("closed before, with events left: %v", err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Next: %v", err)
		}
	})
}
