package delivery

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// Closing returns the outcome of all points as text for the end of a command, one sentence for
// each destination: stored, waiting and where, dropped, rejected. It is final after Run has
// returned.
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
	if d.LastError != "" && d.Queued+d.Dropped+d.Rejected > 0 {
		text += " The last error: " + d.LastError
	}
	return text
}

// Stats is the state of a sink. Delivery is the sum over all destinations: a point counts once
// for each destination.
type Stats struct {
	Events uint64 // events read from the bus
	Missed uint64 // events that the bus dropped before they were read
	Panics uint64 // events and batches lost to an internal panic
	// LateSums counts points that were too late for the sum of their minute or hour.
	LateSums uint64
	Delivery
	Destinations []DestinationStats // the first one first; never empty
}

// DestinationStats is the state of one destination.
type DestinationStats struct {
	Name string
	URL  string // without credentials
	// SpoolDir is the folder of points that the server has not accepted; "" if there is none.
	SpoolDir string
	Delivery
}

// Delivery counts the outcomes of the points of one destination, or of all.
type Delivery = pipeline.Delivery

// Stats returns the counters of the sink. It may be called from any goroutine.
func (s *Sink) Stats() Stats {
	st := Stats{Events: s.events.Load(), Missed: s.missed.Load(), Panics: s.guard.Panics()}
	if sums := s.sums.Load(); sums != nil {
		st.LateSums = sums.Late()
	}
	if s.unacked != nil {
		st.Delivery = s.unacked.delivery(s.taken.Load())
		st.Destinations = []DestinationStats{{client.MainDestination, s.set.Base.Redacted(), "", st.Delivery}}
		return st
	}
	open := s.batcher.size()
	var accepted [schema.Kinds]uint64
	for k := range accepted {
		accepted[k] = s.batcher.accepted[k].Load()
	}
	for _, o := range s.to {
		d := o.delivery(accepted, s.batcher.summed.Load(), open)
		st.Destinations = append(st.Destinations, DestinationStats{o.set.Name, o.set.Base.Redacted(), o.set.SpoolDir, d})
		st.Add(d)
		st.Panics += o.guard.Panics()
	}
	for _, w := range open {
		st.QueueBytes += uint64(w.bytes)
	}
	return st
}
