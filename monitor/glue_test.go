package monitor

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestSlowSubscribersAreNamed(t *testing.T) {
	require.Equal(t, []pipeline.Slow{}, slow([]stream.SubscriberStats{{ID: "well"}}))
	var all []stream.SubscriberStats
	for i := range 40 {
		all = append(all, stream.SubscriberStats{ID: fmt.Sprint("tcp-", i), DroppedEvents: uint64(i), DroppedFrames: uint64(i)})
	}
	got := slow(all)
	require.Len(t, got, pipeline.MaxSlow)
	require.Equal(t, pipeline.Slow{ID: "tcp-39", DroppedFrames: 39, DroppedEvents: 39}, got[0])
	require.Equal(t, []pipeline.Slow{{ID: "frames", DroppedFrames: 1}}, slow([]stream.SubscriberStats{{ID: "frames", DroppedFrames: 1}}), "frames of samples have no events")
	require.Equal(t, []pipeline.Slow{{ID: "events", DroppedEvents: 1}}, slow([]stream.SubscriberStats{{ID: "events", DroppedEvents: 1}}))
}
