package influx

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Closing is what became of all points, in a sentence or one for each
// destination, for the end of a command: stored, waiting and where, dropped,
// rejected. It is true after Run has returned.
func (st Stats) Closing() string {
	var out []string
	for _, d := range st.Destinations {
		text := d.closing(st.Missed)
		if len(st.Destinations) > 1 {
			text = d.Name + ": " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}

func (d DestinationStats) closing(missed uint64) string {
	scheme, _, _ := strings.Cut(d.URL, ":")
	verb, where := "stored", ""
	switch scheme {
	case "udp":
		verb, where = "sent", " to "+d.URL+", which does not say what has arrived"
	case "file", "stdout":
		verb, where = "written", " to "+d.URL
	}
	if d.Stored == d.Accepted && missed == 0 {
		if verb == "stored" {
			return "Everything is stored."
		}
		return fmt.Sprintf("Everything is %s%s.", verb, where)
	}
	parts := []string{fmt.Sprintf("%s %s %s%s", points(d.Stored), is(d.Stored), verb, where)}
	if d.Queued > 0 {
		parts = append(parts, fmt.Sprintf("%s in %s for the next run", verbed(uint64(d.Queued), "waits", "wait"), d.SpoolDir))
	}
	if d.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("%d %s dropped", d.Dropped, was(d.Dropped)))
	}
	if d.Rejected > 0 {
		text := fmt.Sprintf("%d %s rejected by the server", d.Rejected, was(d.Rejected))
		if scheme == "udp" {
			text = fmt.Sprintf("%d did not fit into a datagram", d.Rejected)
		} else if d.SpoolDir != "" {
			text += " (" + filepath.Join(d.SpoolDir, rejectedName) + ")"
		}
		parts = append(parts, text)
	}
	if missed > 0 {
		parts = append(parts, fmt.Sprintf("%s missed before they became points", verbed(missed, "event was", "events were")))
	}
	text := strings.Join(parts, ", ") + "."
	if d.LastErr != "" && uint64(d.Queued)+d.Dropped+d.Rejected > 0 {
		text += " The last error: " + d.LastErr
	}
	return text
}

func points(n uint64) string { return verbed(n, "point", "points") }
func is(n uint64) string     { return choose(n, "is", "are") }
func was(n uint64) string    { return choose(n, "was", "were") }

func verbed(n uint64, one, more string) string { return fmt.Sprintf("%d %s", n, choose(n, one, more)) }

func choose(n uint64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// stuckAfter is how long a command that a person waits for tries while a server
// takes nothing.
const stuckAfter = 30 * time.Second

// Stuck watches a sink for a command that a person waits for, which is to end
// soon where the server takes nothing. Its zero value is ready.
type Stuck struct {
	settled uint64
	since   time.Time
}

// Check returns an error if requests have failed for 30 s, or for twice their
// timeout if that is longer, without a point that was stored or rejected.
func (s *Stuck) Check(sink *Sink) error { return s.check(sink.Stats(), sink.set.timeout) }

func (s *Stuck) check(st Stats, timeout time.Duration) error {
	now := time.Now()
	if n := st.Stored + st.Rejected; !st.Failing || n != s.settled || s.since.IsZero() {
		s.settled, s.since = n, now
	}
	if now.Sub(s.since) <= max(stuckAfter, timeout*2) {
		return nil
	}
	return fmt.Errorf("influx: the server has taken nothing for %v: %s", now.Sub(s.since).Round(time.Second), st.LastErr)
}
