package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestTotals: each counter has its place, counters of several parts are added up, and a
// part that is off counts as 0.
func TestTotals(t *testing.T) {
	p := Pipeline{
		Capture: Capture{Limited: 1, SendErrors: 2, Panics: 3},
		Bus:     Bus{Published: 4, Held: 5, HeldBytes: 6, Readers: []Reader{{Missed: 7}, {Missed: 8}}},
	}
	want := event.Pipeline{Limited: 1, SendErrors: 2, Published: 4, Held: 5, HeldBytes: 6, Missed: 15, Panics: 3}
	require.Equal(t, want, p.Totals())
	require.EqualValues(t, 15, want.Lost())

	p.Influx = &Influx{Panics: 20, Delivery: Delivery{Accepted: 9, Stored: 10, Dropped: 11, Rejected: 12, Queued: 13, QueueBytes: 14, LagSeconds: 1.5, SpoolBytes: 16, SpoolFull: 0.25}}
	p.Stream, p.HTTP = &Stream{Subscribers: 17, DroppedEvents: 18, Panics: 100}, &HTTP{Panics: 1000}
	want.Accepted, want.Stored, want.Dropped, want.Rejected, want.Queued, want.QueueBytes = 9, 10, 11, 12, 13, 14
	want.Lag, want.SpoolBytes, want.SpoolFull, want.Subscribers, want.StreamDropped, want.Panics = 1500*time.Millisecond, 16, 0.25, 17, 18, 1123
	require.Equal(t, want, p.Totals())
	require.EqualValues(t, 15+11+12, want.Lost())
}
