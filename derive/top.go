package derive

import (
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// The kinds that Top knows.
const (
	TopKindCIDs  = "cids"
	TopKindPeers = "peers"
)

// Top is a ranking over the last complete interval, whose Seconds are 0 before
// there is one, and over the running one.
type Top struct {
	Last, Running Ranking
}

// Ranking is what was wanted most in an interval, or who wanted most; the
// lists of the kind that was not asked for are empty. The package comment
// gives the errors.
type Ranking struct {
	Until       time.Time // its end, or now
	Seconds     float64   // its length
	CIDs        []event.TopCID
	CIDsByPeers []event.TopCID
	Peers       []event.TopPeer
}

// Top returns at most n of each list, at most TopN of them; n of zero or less
// means TopN. kind is one of TopKindCIDs and TopKindPeers, all else an error.
func (d *Deriver) Top(kind string, n int) (Top, error) {
	if kind != TopKindCIDs && kind != TopKindPeers {
		return Top{}, fmt.Errorf("derive: top of kind %q: must be %s or %s", kind, TopKindCIDs, TopKindPeers)
	}
	if n <= 0 || n > d.cfg.TopN {
		n = d.cfg.TopN
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	t := Top{Running: Ranking{Until: now, Seconds: now.Sub(d.now.started).Seconds()}}
	if d.last != nil {
		t.Last = Ranking{Until: d.lastEnd, Seconds: d.last.Interval.Seconds()}
	}
	if kind == TopKindPeers {
		t.Running.Peers = d.now.topPeers(n, &d.agents)
		if d.last != nil {
			t.Last.Peers = first(d.last.TopPeers, n)
		}
		return t, nil
	}
	t.Running.CIDs, t.Running.CIDsByPeers = d.now.topCIDs(n), d.now.topCIDsByPeers(n)
	if d.last != nil {
		t.Last.CIDs, t.Last.CIDsByPeers = first(d.last.TopCIDs, n), first(d.last.TopCIDsByPeers, n)
	}
	return t, nil
}

// first returns the first n. They are a published event's: nobody may write to them.
func first[T any](all []T, n int) []T { return all[:min(n, len(all)):min(n, len(all))] }
