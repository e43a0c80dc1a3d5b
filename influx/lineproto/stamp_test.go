package lineproto

import (
	"math/rand/v2"
	"testing"
	"time"
)

// However the clock is set, no time is used twice, and the clock's time is used again as soon
// as it is unused.
func TestStamps(t *testing.T) {
	var s stamps
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	seen := map[int64]bool{}
	take := func(at int64) int64 {
		t.Helper()
		got := s.stamp(at)
		if seen[got] {
			t.Fatalf("%d was given twice", got)
		}
		seen[got] = true
		return got
	}
	near := func(got, want int64) {
		t.Helper()
		if d := time.Duration(got - want); d < 0 || d > time.Millisecond {
			t.Errorf("off by %v", d)
		}
	}
	for range 100 {
		near(take(now), now)
	}
	take(now - int64(time.Second)) // out of order, not set
	if s.old != nil {
		t.Error("taken for a step")
	}
	const year = int64(365 * 24 * time.Hour)
	// Ten years forward, and back to where it was: that was not used.
	for i := range int64(100) {
		near(take(now+10*year+i), now+10*year+i)
	}
	near(take(now+int64(time.Minute)), now+int64(time.Minute))
	// An hour of points, and half an hour back: time stands still until the clock
	// has passed what was used.
	const minute = int64(time.Minute)
	for range 60 {
		now += minute
		near(take(now+minute), now+minute)
	}
	end := s.last
	for i := range int64(90) {
		at := now - 30*minute + i*minute
		near(take(at), max(at, end))
	}
	// Before what was used, and then into it.
	end = s.last
	for i := range int64(90) {
		at := now - 90*minute + i*minute
		if at <= now-60*minute {
			near(take(at), at)
		} else {
			near(take(at), end)
		}
	}
	// Back into the wrong ten years.
	wrong := now - 60*minute + 10*year
	near(take(wrong+50), wrong+99)
	// At the ends of time.
	for _, at := range []int64{-1, 0, maxTime + 5, maxTime, 0} {
		take(at)
	}

	for range 200_000 {
		switch rand.N(1000) {
		case 0:
			now += rand.N(2*year) - year
		case 1:
			now -= rand.N(int64(10 * time.Second))
		}
		now += rand.N(int64(1000))
		take(now + rand.N(int64(100)))
	}
	if len(s.old) > maxUsed || cap(s.old) > 4*maxUsed {
		t.Errorf("%d stretches of %d", len(s.old), cap(s.old))
	}
	if n := testing.AllocsPerRun(100, func() { now += 1000; s.stamp(now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestStampsAtTheirBounds: how far a clock may go without a step, and how many stretches are kept.
func TestStampsAtTheirBounds(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	for step, want := range map[int64]int{-clockBack: 0, -clockBack - 1: 1, clockForward: 0, clockForward + 1: 1} {
		var s stamps
		s.stamp(now)
		if s.stamp(now + step); len(s.old) != want {
			t.Errorf("%v: %d steps, want %d", time.Duration(step), len(s.old), want)
		}
	}
	var s stamps
	for i := range int64(2 * maxUsed) {
		s.stamp(now + i*2*clockForward)
	}
	if len(s.old) != maxUsed {
		t.Errorf("%d stretches are kept, want %d", len(s.old), maxUsed)
	}
}
