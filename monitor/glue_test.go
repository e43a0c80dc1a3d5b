package monitor

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/status"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestSlowSubscribersAreNamed(t *testing.T) {
	require.Equal(t, []status.Slow{}, slow([]stream.SubscriberStats{{ID: "well"}}))
	var all []stream.SubscriberStats
	for i := range 40 {
		all = append(all, stream.SubscriberStats{ID: fmt.Sprint("tcp-", i), DroppedEvents: uint64(i), DroppedFrames: uint64(i)})
	}
	got := slow(all)
	require.Len(t, got, status.MaxSlow)
	require.Equal(t, status.Slow{ID: "tcp-39", DroppedFrames: 39, DroppedEvents: 39}, got[0])
}
