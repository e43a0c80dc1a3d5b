package collect

import (
	"slices"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Status is the state of the fleet, as the HTTP API's /fleet has it.
type Status struct {
	Time     time.Time `json:"time"`
	Monitors []Monitor `json:"monitors"` // by name
	// Counted is what a broker has of the peers that this collector reads now.
	Counted *Counted `json:"counted,omitempty"`
	// Totals are those of the last interval; nil before there are any.
	Totals *Totals `json:"totals"`
}

// Counted are sums that outlive collectors: those of the buckets of peers that this
// one has, since their queues were made, whoever counted them. Of all collectors that
// share the peers they add up to those of one.
type Counted struct {
	Buckets  []int  `json:"buckets"`
	Requests uint64 `json:"requests"`
	Entries  uint64 `json:"entries"`
	Matched  uint64 `json:"matched"`
	Closed   uint64 `json:"closed"`
}

// Totals are an event.Fleet for people and programs.
type Totals struct {
	Time     time.Time  `json:"time"` // the end of the interval
	Interval Seconds    `json:"interval_seconds"`
	Entries  uint64     `json:"entries"`  // of received wantlists, cancels included
	Requests uint64     `json:"requests"` // joined over all monitors, without repeats within 31 s
	Closed   uint64     `json:"closed"`   // requests that ended; coverage is of these
	Matched  uint64     `json:"matched"`  // entries that another monitor had seen before
	Late     uint64     `json:"late"`     // events that came after their time was closed
	Dropped  uint64     `json:"dropped"`  // entries left out because of a bound of memory
	Peers    int        `json:"peers"`    // connected to any monitor
	Coverage []Coverage `json:"coverage"`
	Overlaps []Overlap  `json:"overlaps"`
	Sizes    []Size     `json:"sizes"`
	Top      []Popular  `json:"top"`          // by requests; absent in the privacy modes that name no CID
	TopPeers []Popular  `json:"top_by_peers"` // by distinct peers
	// Countries are the received wants of all monitors by the country of the peer, most
	// first; empty if no monitor knows countries. A want at two monitors counts twice.
	Countries []Country `json:"countries"`
}

// Country is what peers of a country sent.
type Country struct {
	Country string `json:"country"` // ISO 3166-1 alpha-2, none or other
	Wants   uint64 `json:"wants"`
}

// Coverage is what one monitor sees of the fleet's requests.
type Coverage struct {
	Monitor string  `json:"monitor"`
	Seen    uint64  `json:"seen"`          // of the closed requests
	Share   float64 `json:"share"`         // the same, 0 to 1
	Apart   Seconds `json:"apart_seconds"` // median of how much later than another monitor it has the same entry
	Pairs   uint64  `json:"pairs"`         // of how many that is
}

// Overlap is what two monitors have in common.
type Overlap struct {
	A        string   `json:"a"`
	B        string   `json:"b"`
	Common   int      `json:"common"` // peers connected to both
	OnlyA    int      `json:"only_a"`
	OnlyB    int      `json:"only_b"`
	Requests uint64   `json:"requests"` // of the closed ones, those that both saw
	Size     Estimate `json:"size"`
}

// Size is the estimated number of peers of a group.
type Size struct {
	Of     string   `json:"of"`   // all, a family of agents, or a protocol
	Seen   int      `json:"seen"` // different peers
	Coupon Estimate `json:"coupon"`
	Pair   Estimate `json:"pair"` // of two monitors: of those with the narrowest interval
}

// Estimate is an estimated number with its interval of confidence of 95 %.
type Estimate struct {
	Known     bool   `json:"known"`
	N         uint64 `json:"n"`
	Low       uint64 `json:"low"`
	High      uint64 `json:"high"`
	Dependent bool   `json:"dependent"` // the samples are not independent: N is most likely too low
}

// Popular is a CID that was wanted often.
type Popular struct {
	CID      string `json:"cid"`
	Requests uint64 `json:"requests"`
	Peers    uint64 `json:"peers"` // different ones
	// Seen are the monitors that had a request for it.
	Seen []string `json:"seen"`
}

// Status returns the current state. Without named it names no CIDs.
func (c *Collector) Status(named bool) Status {
	out := Status{Time: time.Now().UTC(), Counted: c.joined.counted()}
	for _, s := range c.sources {
		out.Monitors = append(out.Monitors, s.status(out.Time))
	}
	slices.SortFunc(out.Monitors, func(a, b Monitor) int { return strings.Compare(a.Name, b.Name) })
	c.totalsMu.Lock()
	f, at := c.newest, c.newestAt
	c.totalsMu.Unlock()
	if f != nil {
		out.Totals = totalsOf(f, at, named)
	}
	return out
}

func totalsOf(f *event.Fleet, at time.Time, named bool) *Totals {
	t := &Totals{
		Time: at.UTC(), Countries: []Country{},
		Interval: Seconds(f.Interval), Entries: f.Entries, Requests: f.Requests, Closed: f.Closed, Matched: f.Matched, Late: f.Late, Dropped: f.Dropped,
		Peers: f.Peers, Coverage: []Coverage{}, Overlaps: []Overlap{}, Sizes: []Size{}, Top: []Popular{}, TopPeers: []Popular{},
	}
	if named {
		t.Top, t.TopPeers = popular(f, f.TopCIDs), popular(f, f.TopByPeer)
	}
	if len(f.Countries) > 1 || len(f.Countries) == 1 && f.Countries[0].Name != event.Countries[0] {
		for _, s := range f.Countries {
			t.Countries = append(t.Countries, Country{Country: s.Name, Wants: s.N})
		}
	}
	for i := range f.Monitors {
		m := &f.Monitors[i]
		one := Coverage{Monitor: string(m.Name), Seen: m.Seen, Apart: Seconds(m.Apart), Pairs: m.MatchedPairs}
		if f.Closed > 0 {
			one.Share = float64(m.Seen) / float64(f.Closed)
		}
		t.Coverage = append(t.Coverage, one)
	}
	for i := range f.Overlaps {
		o := &f.Overlaps[i]
		t.Overlaps = append(t.Overlaps, Overlap{A: string(o.A), B: string(o.B), Common: o.Common, OnlyA: o.Only[0], OnlyB: o.Only[1], Requests: o.Requests, Size: estimateOf(o.Size)})
	}
	for i := range f.Sizes {
		s := &f.Sizes[i]
		t.Sizes = append(t.Sizes, Size{Of: string(s.Of), Seen: s.Seen, Coupon: estimateOf(s.Coupon), Pair: estimateOf(s.Pair)})
	}
	return t
}

func estimateOf(e event.FleetEstimate) Estimate {
	return Estimate{Known: e.Known, N: e.N, Low: e.Low, High: e.High, Dependent: e.Dependent}
}

func popular(f *event.Fleet, in []event.FleetCID) []Popular {
	out := make([]Popular, 0, len(in))
	for _, c := range in {
		one := Popular{CID: c.CID.String(), Requests: c.Requests, Peers: c.Peers, Seen: []string{}}
		for i := range f.Monitors {
			if c.Seen&(1<<i) != 0 {
				one.Seen = append(one.Seen, string(f.Monitors[i].Name))
			}
		}
		out = append(out, one)
	}
	return out
}
