package capture

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// closedStream fails every write.
type closedStream struct{ network.Stream }

func (closedStream) Write([]byte) (int, error) { return 0, errors.New("closed") }

// openStream takes every write.
type openStream struct{ network.Stream }

func (openStream) Write(b []byte) (int, error) { return len(b), nil }

// TestAFailedWriteWasNotSent: it makes no event and counts as nothing.
func TestAFailedWriteWasNotSent(t *testing.T) {
	c, next := newTest(t)
	raw, err := protoBytes(wantMessage(3))
	require.NoError(t, err)
	s := &tapStream{Stream: closedStream{}, capture: c, peer: testPeer}
	_, err = s.Write(raw)
	require.EqualError(t, err, "closed")
	require.Zero(t, c.Traffic(event.Sent))
	s.Stream = openStream{}
	n, err := s.Write(raw)
	require.NoError(t, err)
	require.Len(t, raw, n)
	require.EqualValues(t, 1, c.Traffic(event.Sent).Messages)
	require.EqualValues(t, 3, c.Traffic(event.Sent).WantBlock)
	require.Len(t, next().Wants, 3, "the first event of all")
}

// TestASampleIsOfItsInterval: of the time and of the traffic since the one before.
func TestASampleIsOfItsInterval(t *testing.T) {
	h := newHost(t)
	c, next := newTest(t)
	var before [event.Directions]event.Traffic
	last := time.Now().Add(-time.Hour)
	sample := func() *event.Sample {
		c.MessageReceived(testPeer, wantMessage(2))
		c.publishSample(context.Background(), h, Sampling{Interval: time.Second}, &before, &last)
		return nextOf(next, event.KindSample).Sample
	}
	for i, least := range []time.Duration{time.Hour, 0, 0} {
		s := sample()
		require.GreaterOrEqual(t, s.Interval, least, "sample %d", i)
		require.Less(t, s.Interval, least+30*time.Minute, "sample %d", i)
		require.EqualValues(t, 1, s.Traffic[event.Received].Messages, "sample %d", i)
		require.EqualValues(t, 2, s.Traffic[event.Received].WantBlock, "sample %d", i)
	}
}
