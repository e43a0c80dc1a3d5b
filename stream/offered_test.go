package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOffered: the old exporter counted the sent bytes of an event once for each
// subscriber; so does Offered, although the event is encoded once for all.
func TestOffered(t *testing.T) {
	s := start(t, nil)
	s.subscribe(t, 3)
	for n := range 10 {
		s.bus.Publish(message(n, 1))
	}
	s.await(t, func(st Stats) bool { return st.SentFrames == 30 })
	st := s.Stats()
	require.Positive(t, st.FrameBytes)
	require.Equal(t, 3*st.RawBytes, st.OfferedRawBytes)
	require.Equal(t, 3*st.FrameBytes, st.OfferedBytes)
	require.Equal(t, st.SentBytes, st.OfferedBytes)
}
