package collect

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// countries counts wants by the country of the peer that sent them. All methods may
// be called from any goroutine.
type countries []atomic.Uint64 // by the place in event.Countries

func newCountries() countries { return make(countries, len(event.Countries)) }

func (c countries) add(country string, wants uint64) {
	if wants > 0 {
		c[event.CountryIndex(country)].Add(wants)
	}
}

// take returns the counts of the interval, most first, and begins another.
func (c countries) take() (out []event.Share) {
	for i := range c {
		if n := c[i].Swap(0); n > 0 {
			out = append(out, event.Share{Name: event.Countries[i], N: n})
		}
	}
	slices.SortStableFunc(out, func(a, b event.Share) int { return cmp.Compare(b.N, a.N) })
	return out
}

// inOrder turns the monitors of the lists of CIDs, which are numbered as they are
// configured, into those of f.Monitors.
func (c *Collector) inOrder(f *event.Fleet) {
	place := make([]int, len(c.sizeNames))
	for i, name := range c.sizeNames {
		place[i] = slices.IndexFunc(f.Monitors, func(m event.FleetMonitor) bool { return m.Name == name })
	}
	for _, list := range [][]event.FleetCID{f.TopCIDs, f.TopByPeer} {
		for i := range list {
			seen := list[i].Seen
			list[i].Seen = 0
			for k, to := range place {
				list[i].Seen |= (seen >> k & 1) << to
			}
		}
	}
}

// maxPast is how many intervals are kept for the live page: two hours of 10 s.
const maxPast = 720

// Past are the last intervals, oldest first.
type Past struct {
	Moments []Moment `json:"moments"`
}

// Moment is what the live page shows of one interval over time.
type Moment struct {
	Time     time.Time `json:"time"` // the end of the interval
	Interval Seconds   `json:"interval_seconds"`
	Entries  uint64    `json:"entries"`
	Requests uint64    `json:"requests"`
	Matched  uint64    `json:"matched"`
	Peers    int       `json:"peers"`
	Size     Estimate  `json:"size"` // of the network, from all monitors
}

func (p *Past) add(now time.Time, f *event.Fleet) {
	if len(p.Moments) == maxPast {
		p.Moments = slices.Delete(p.Moments, 0, 1)
	}
	m := Moment{Time: now.UTC(), Interval: Seconds(f.Interval), Entries: f.Entries, Requests: f.Requests, Matched: f.Matched, Peers: f.Peers}
	if len(f.Sizes) > 0 {
		m.Size = estimateOf(f.Sizes[0].Coupon)
	}
	p.Moments = append(p.Moments, m)
}

// Past returns the last intervals, at most two hours of the default ones, oldest first.
func (c *Collector) Past() Past {
	c.totalsMu.Lock()
	defer c.totalsMu.Unlock()
	return Past{append([]Moment{}, c.past.Moments...)}
}
