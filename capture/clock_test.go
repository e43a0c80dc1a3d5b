package capture

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockFollowsTheWallClock(t *testing.T) {
	var c clock
	c.set()
	for range 100 {
		before := time.Now()
		got := c.now()
		after := time.Now()
		require.InDelta(t, before.UnixNano(), got, float64(after.Sub(before)+time.Millisecond))
	}
	// A reading that is an hour old.
	old := time.Now().Add(-time.Hour)
	c.base.Store(&old)
	require.InDelta(t, time.Now().UnixNano(), c.now(), float64(time.Second))
	c.set()
	require.InDelta(t, time.Now().UnixNano(), c.now(), float64(10*time.Millisecond))
}
