package derive

import (
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// The kinds of Top.
const (
	TopKindCIDs  = "cids"
	TopKindPeers = "peers"
)

// Top has the rankings of the last complete interval and of the running one.
// Last.Seconds is 0 until an interval is complete.
type Top struct {
	Last, Running Ranking
}

// Ranking lists the CIDs that were wanted most in an interval, or the peers that
// wanted most. Only the lists of the requested kind are set. The package comment
// states the errors of the figures.
type Ranking struct {
	Until       time.Time // its end, or now
	Seconds     float64   // its length
	CIDs        []event.TopCID
	CIDsByPeers []event.TopCID
	Peers       []event.TopPeer
}

// Top returns the first n entries of each list, at most Config.TopN; n of zero or
// less means TopN. kind is TopKindCIDs or TopKindPeers; others are an error.
func (d *Deriver) Top(kind string, n int) (Top, error) {
	if kind != TopKindCIDs && kind != TopKindPeers {
		return Top{}, fmt.Errorf("derive: top of kind %q: want %s or %s", kind, TopKindCIDs, TopKindPeers)
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
		t.Running.Peers = d.now.topPeers(n, &d.peers)
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

// first returns the first n entries. They belong to a published event: do not
// write to them.
func first[T any](all []T, n int) []T { return all[:min(n, len(all)):min(n, len(all))] }
