package collect

import "github.com/ipfsmon/ipfsmon/stream"

// A Hole is a place in a monitor's stream where events are missing.
type Hole struct {
	// Missed is how many events of any kind are missing at most: some of them may be
	// of kinds that the stream does not have. 0 if Unknown.
	Missed uint64
	// Unknown: nothing bounds what is missing; the monitor was started again, or
	// does not number its events.
	Unknown bool
	Why     string // for people
}

// sequence follows the numbers of a monitor's events over reconnects. It is for
// one goroutine.
type sequence struct {
	run  string // the monitor's run; "": not known
	last uint64 // the number of the last event; 0: none yet
	met  bool   // there was a connection before

	fresh  bool // the first event of a connection is due
	before string
}

// connected notes a new connection to the run of that name.
func (q *sequence) connected(run string) {
	q.before, q.run, q.fresh = q.run, run, true
}

// event takes the number of an event of the connection, and returns the hole
// before it, if there is one.
func (q *sequence) event(seq uint64) (h Hole, is bool) {
	fresh, last, met := q.fresh, q.last, q.met
	q.fresh, q.last, q.met = false, seq, true
	if !fresh {
		if seq != 0 && seq <= last {
			return Hole{Unknown: true, Why: "the numbers of its events went back"}, true
		}
		return h, false
	}
	switch {
	case !met:
		return h, false // nothing was read of it before: what it saw earlier is no loss
	case seq == 0 || last == 0:
		return Hole{Unknown: true, Why: "the connection was interrupted, and it does not number its events"}, true
	case q.run != q.before || seq <= last:
		return Hole{Unknown: true, Missed: seq - 1, Why: "it was started again"}, true
	case seq == last+1:
		return h, false // the connection was interrupted, and nothing happened
	}
	return Hole{Missed: seq - last - 1, Why: "the connection was interrupted"}, true
}

// reported returns the hole that the monitor reports itself.
func (q *sequence) reported(g *stream.Gap) Hole {
	q.last = max(q.last, g.Last)
	why := "this collector was too slow"
	if g.Slow == 0 {
		why = "the monitor was too slow"
	}
	return Hole{Missed: g.Missed(), Why: why}
}
