package monitor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

func TestClockSteps(t *testing.T) {
	var wall int64
	var steady time.Duration
	w := &clockWatch{wall: func() int64 { return wall }, steady: func() time.Duration { return steady }}
	wall, steady = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano(), time.Hour
	w.lastWall, w.lastSteady = wall, steady
	// pass advances time; the wall clock is set forward or back meanwhile.
	pass := func(by time.Duration) *event.Event {
		steady += time.Second
		wall += int64(time.Second + by)
		return w.look()
	}
	is := func(e *event.Event, by time.Duration) {
		t.Helper()
		require.NotNil(t, e)
		require.Equal(t, &event.Event{Time: wall, Kind: event.KindClockStep, ClockStep: &event.ClockStep{By: by}}, e)
	}
	require.Nil(t, pass(0))
	for range 3600 * 24 { // a leap second, smeared over a day
		require.Nil(t, pass(time.Second/(3600*24)))
	}
	require.Nil(t, pass(-2*time.Second))
	require.Nil(t, pass(2*time.Second))
	is(pass(-time.Hour), -time.Hour)
	require.Nil(t, pass(0), "reported once")
	is(pass(10*365*24*time.Hour), 10*365*24*time.Hour)
	is(pass(-10*365*24*time.Hour), -10*365*24*time.Hour)
	is(pass(3*time.Second), 3*time.Second)
	require.Equal(t, pipeline.ClockSteps{Back: 2, Forward: 2}, w.status())

	real := newClockWatch()
	for range 100 {
		require.Nil(t, real.look())
	}
}
