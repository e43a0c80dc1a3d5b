package stream

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClock: the offset of a server's clock is within the stated error, in the
// handshake and by pings.
func TestClock(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -90 * 24 * time.Hour, 3 * time.Millisecond} {
		s := start(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(ahead) } })
		trips := make(chan RoundTrip, 10)
		c := s.subscribeV4(t, Options{Clock: func(r RoundTrip) { trips <- r }})
		require.Equal(t, s.run, c.Run())
		done := make(chan error, 1)
		go func() {
			_, err := c.Next()
			done <- err
		}()
		require.NoError(t, c.Ping())
		for range 2 { // the handshake and the ping
			r := <-trips
			offset, wrong := r.Offset()
			require.GreaterOrEqual(t, wrong, time.Duration(0))
			require.LessOrEqual(t, wrong, r.Received.Sub(r.Sent)/2+time.Microsecond)
			require.InDelta(t, ahead, offset, float64(wrong+time.Microsecond))
		}
		s.bus.Close()
		require.Error(t, <-done, "an answer to a ping is no event")
	}
}

// TestFollowComparesClocks: Follow pings as often as it is asked to.
func TestFollowComparesClocks(t *testing.T) {
	s := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	trips, ended := make(chan RoundTrip, 10), make(chan error, 1)
	met := 0
	o := Options{Clock: func(r RoundTrip) { trips <- r }, ClockEvery: time.Second, Met: func(c *Client) error { met++; return nil }}
	go func() {
		ended <- o.Follow(ctx, s.addr, func(*Event) error { return nil }, nil)
	}()
	for range 3 { // the handshake, at once, and after a second
		<-trips
	}
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, 1, met)

	o.Met = func(*Client) error { return context.DeadlineExceeded }
	require.ErrorIs(t, o.Follow(t.Context(), s.addr, func(*Event) error { return nil }, nil), context.DeadlineExceeded)
}

// TestClockIsAskedFor: a client that does not ask gets no new keys, and one that
// sends too much is disconnected.
func TestClockIsAskedFor(t *testing.T) {
	s := start(t, nil)
	quiet := s.subscribeV4(t, Options{})
	require.Empty(t, quiet.Run())
	require.NoError(t, quiet.Ping(), "does nothing")

	conn := s.raw(t)
	v := uint16(4)
	_, err := conn.Write(jsonFrame(hello{Version: &v, Clock: true}))
	require.NoError(t, err)
	_, err = readFrame(conn, nil, maxFrameBytes) // its hello
	require.NoError(t, err)
	answer, err := readFrame(conn, nil, maxFrameBytes)
	require.NoError(t, err)
	var w welcome
	require.NoError(t, json.Unmarshal(answer, &w))
	require.Equal(t, s.run, w.Run)
	for n := range uint64(10 * maxPings) {
		if _, err = conn.Write(jsonFrame(ping{Ping: n + 1})); err != nil {
			break // it is disconnected already
		}
	}
	answers := 0
	for {
		if _, err := readFrame(conn, nil, maxFrameBytes); err != nil {
			break
		}
		answers++
	}
	require.LessOrEqual(t, answers, maxPings+20, "and those of the time that it took")
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })

	// What is no ping is ignored, as ever.
	for _, junk := range []string{"hello, I am not a frame at all", "\x00\x00\x00\x02{}", "\x00\x00\x00\x0a{\"ping\":-1"} {
		odd := s.raw(t)
		_, err = odd.Write(append(jsonFrame(hello{Version: &v, Clock: true}), junk...))
		require.NoError(t, err)
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == 2 })
		s.bus.Publish(message(1, 1))
		e, err := quiet.Next()
		require.NoError(t, err)
		require.NotNil(t, e.Message)
		require.NoError(t, odd.Close())
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	}
}

// TestMonitorOfAnEvent: what a collector has from others names the monitor that
// saw it.
func TestMonitorOfAnEvent(t *testing.T) {
	s := start(t, func(c *Config) { c.Monitor = "fleet" })
	c := s.subscribeV4(t, Options{})
	theirs, own := message(1, 1), message(2, 1)
	theirs.Monitor = `de1 "<é>"`
	s.bus.Publish(theirs)
	s.bus.Publish(own)
	for _, want := range []string{`de1 "<é>"`, "fleet"} {
		e, err := c.Next()
		require.NoError(t, err)
		require.Equal(t, want, e.Monitor)
	}
}
