package listen_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// served is a server whose requests take until release is closed.
func served(t *testing.T) (s *http.Server, l net.Listener, entered, release chan struct{}) {
	t.Helper()
	all, err := listen.All([]string{"127.0.0.1:0"}, false)
	require.NoError(t, err)
	entered, release = make(chan struct{}, 1), make(chan struct{})
	s = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-q.Context().Done():
		}
		_, _ = io.WriteString(w, "late") // its reader may be gone
	})}
	return s, all[0], entered, release
}

func ask(l net.Listener) <-chan error {
	answered := make(chan error, 1)
	go func() {
		r, err := listen.Client(time.Minute).Get("http://" + l.Addr().String())
		if err == nil {
			_, err = io.ReadAll(r.Body)
			r.Body.Close()
		}
		answered <- err
	}()
	return answered
}

func TestServeWaitsForRequests(t *testing.T) {
	s, l, entered, release := served(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- listen.Serve(ctx, s, time.Minute, l) }()
	answered := ask(l)
	<-entered
	cancel()
	require.Eventually(t, func() bool { // no new requests
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond)
	require.Empty(t, done)
	close(release)
	require.NoError(t, <-answered)
	require.NoError(t, <-done)
}

func TestServeEndsRequestsAfterTheGrace(t *testing.T) {
	for _, grace := range []time.Duration{0, 10 * time.Millisecond} {
		s, l, entered, _ := served(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- listen.Serve(ctx, s, grace, l) }()
		answered := ask(l)
		<-entered
		cancel()
		require.NoError(t, <-done)
		require.Error(t, <-answered)
	}
}

func TestServeReportsAFailedListener(t *testing.T) {
	s, l, _, _ := served(t)
	_, other, _, _ := served(t)
	require.NoError(t, other.Close())
	require.ErrorIs(t, listen.Serve(t.Context(), s, time.Minute, l, other), net.ErrClosed)
	_, err := net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "the other listener is closed too")
}

func TestBackground(t *testing.T) {
	s, l, entered, _ := served(t)
	stop := listen.Background(s, l)
	answered := ask(l)
	<-entered
	stop()
	require.Error(t, <-answered)
}
