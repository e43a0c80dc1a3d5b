package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve serves HTTP on the listeners until ctx ends or one of them fails, and
// closes them. Running requests then have grace to end; after it, and at once if
// it is 0, their connections are closed. Serve returns when all listeners have
// ended. Its error is that of the listener that failed, nil if ctx ended. It may
// be called once for a server.
func Serve(ctx context.Context, s *http.Server, grace time.Duration, listeners ...net.Listener) error {
	failed := make(chan error, len(listeners))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, l := range listeners {
		wg.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	late, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if grace <= 0 || s.Shutdown(late) != nil {
		_ = s.Close() // its error is that of a listener that is closed already
	}
	return err
}

// Background is Serve in the background, without grace. The caller ends it with
// the function that it returns, which waits for the listeners.
func Background(s *http.Server, listeners ...net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Serve(ctx, s, 0, listeners...)
	}()
	return func() { cancel(); <-done }
}
