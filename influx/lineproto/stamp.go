package lineproto

import (
	"math"
)

// maxTime is the last timestamp that InfluxDB takes, with room above it.
const maxTime = math.MaxInt64 - 1<<40

// When a clock that goes another way than before was set. What comes from
// several goroutines is out of order by less than clockBack, and a clock that
// goes forward by less than clockForward may leave a gap that is not used when
// it is set back.
const (
	clockBack    = 2e9    // ns
	clockForward = 3600e9 // ns
	maxUsed      = 32
)

// used is a stretch of time that has points.
type used struct{ first, last int64 }

// stamps returns the timestamps of one measurement, each once: the time itself,
// or the next nanosecond after the last point if that is later. When the clock
// is set it starts again where the clock is, and goes around the times that were
// used before: after a step back time stands still, in nanoseconds, until the
// clock has passed them; after a step forward that was undone it does not.
type stamps struct {
	last  int64 // the last one
	clock int64 // the time that it was given for
	first int64 // of the current stretch
	old   []used
	high  int64 // the last of old
}

func (s *stamps) stamp(at int64) int64 {
	at = min(max(at, 0), maxTime)
	if (at < s.clock-clockBack || at > s.clock+clockForward) && s.last > 0 {
		s.set()
	}
	s.clock = at
	at = max(at, s.last+1)
	if at <= s.high {
		at = s.around(at)
	}
	if s.first == 0 {
		s.first = at
	}
	s.last = at
	return at
}

// set ends a stretch.
func (s *stamps) set() {
	s.old = append(s.old, used{s.first, s.last})
	s.high = max(s.high, s.last)
	s.first, s.last = 0, 0
	if len(s.old) > maxUsed { // the two oldest become one, with what is between them
		a, b := s.old[0], s.old[1]
		s.old[1] = used{min(a.first, b.first), max(a.last, b.last)}
		s.old = append(s.old[:0], s.old[1:]...)
	}
}

// around returns the first time from at on that no old stretch has.
func (s *stamps) around(at int64) int64 {
	for moved := true; moved; {
		moved = false
		for _, u := range s.old {
			if at >= u.first && at <= u.last {
				at, moved = u.last+1, true
			}
		}
	}
	return at
}
