package delivery

import (
	"fmt"
	"time"
)

func points(n uint64) string { return verbed(n, "point", "points") }

func is(n uint64) string { return choose(n, "is", "are") }

func was(n uint64) string { return choose(n, "was", "were") }

func verbed(n uint64, one, more string) string { return fmt.Sprintf("%d %s", n, choose(n, one, more)) }

func choose(n uint64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// stuckAfter is how long an interactive command keeps trying while a server accepts nothing.
const stuckAfter = 30 * time.Second

// Stuck watches a sink for an interactive command, which should end soon if the server accepts
// nothing. Its zero value is ready.
type Stuck struct {
	settled uint64
	since   time.Time
}

// Check returns an error once requests have failed for 30 s, or for twice their timeout if that
// is longer, with no point stored or rejected.
func (s *Stuck) Check(sink *Sink) error { return s.check(sink.Stats(), sink.set.RequestTimeout) }

func (s *Stuck) check(st Stats, timeout time.Duration) error {
	now := time.Now()
	if n := st.Stored + st.Rejected; !st.Failing || n != s.settled || s.since.IsZero() {
		s.settled, s.since = n, now
	}
	if now.Sub(s.since) <= max(stuckAfter, timeout*2) {
		return nil
	}
	return fmt.Errorf("influx: the server has accepted nothing for %v: %s", now.Sub(s.since).Round(time.Second), st.LastError)
}
