package collect

import (
	"math"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/size"
)

const (
	// maxPairs is how many pairs of a CID and a peer are counted in an interval,
	// of about 100 bytes each.
	maxPairs = 1 << 18
	// topCIDs is the length of the lists of CIDs.
	topCIDs = 20
)

// popularity counts what was requested in an interval. It is for one goroutine at
// a time.
type popularity struct{ of *size.Popularity }

func (p *popularity) add(c cid.Cid, by peer.ID) {
	if p.of == nil {
		p.of = size.NewPopularity(maxPairs)
	}
	p.of.Add(c, by)
}

// seen notes that a monitor had a request for a CID, which may be a duplicate.
func (p *popularity) seen(c cid.Cid, monitor int) {
	if p.of != nil {
		p.of.Seen(c, monitor)
	}
}

// take returns the popularity of the interval and begins another; nil: nothing was
// requested.
func (p *popularity) take() *size.Popularity {
	of := p.of
	p.of = nil
	return of
}

func popularCIDs(in []size.Popular) (out []event.FleetCID) {
	for _, c := range in {
		out = append(out, event.FleetCID{CID: c.CID, Requests: c.Requests, Peers: c.Peers, Seen: c.Seen})
	}
	return out
}

// estimate fills what the connected peers of the monitors say of the network.
func (c *Collector) estimate(f *event.Fleet) {
	samples := make([]size.Sample, len(c.sources))
	names := make([]event.Text, len(c.sources))
	has := c.has()
	for i, s := range c.sources {
		names[i] = f.Monitors[i].Name
		samples[i] = size.Sample{Monitor: string(names[i]), Peers: s.peers.snapshot(has)}
	}
	r := size.EstimateOf(samples)
	f.Peers = r.All.Peers
	for _, p := range r.All.Pairs {
		if len(f.Overlaps) == event.MaxOverlaps {
			break
		}
		f.Overlaps = append(f.Overlaps, event.FleetOverlap{A: names[p.A], B: names[p.B], Common: p.Both, Only: [2]int{p.NA - p.Both, p.NB - p.Both}, Size: ofPair(&p)})
	}
	add := func(name string, e *size.Estimate) {
		if len(f.Sizes) < event.MaxFleetSizes {
			f.Sizes = append(f.Sizes, event.FleetSize{Of: event.Text(name), Seen: e.Peers, Coupon: ofDraws(&e.Draws, e.Pairs), Pair: narrowest(e.Pairs)})
		}
	}
	add("all", &r.All)
	for i := range r.Families {
		add(r.Families[i].Name, &r.Families[i].Estimate)
	}
	for i := range r.Protocols {
		add(r.Protocols[i].Name, &r.Protocols[i].Estimate)
	}
	c.sizes, c.sizeNames = r, names
}

func whole(v float64) uint64 { return uint64(math.Round(max(0, min(v, math.MaxInt64/2)))) }

func ofPair(p *size.Pair) event.FleetEstimate {
	return event.FleetEstimate{Known: p.Enough, N: whole(p.Chapman), Low: whole(p.Low), High: whole(p.High), Dependent: p.Dependence.Dependent()}
}

// ofDraws is dependent if any of the pairs is.
func ofDraws(d *size.Draws, pairs []size.Pair) event.FleetEstimate {
	out := event.FleetEstimate{Known: !d.Open, N: whole(d.Size), Low: whole(d.Low), High: whole(d.High)}
	for i := range pairs {
		out.Dependent = out.Dependent || pairs[i].Dependence.Dependent()
	}
	return out
}

// narrowest returns the estimate of the pair whose interval is the smallest part
// of its estimate.
func narrowest(pairs []size.Pair) (out event.FleetEstimate) {
	best := math.Inf(1)
	for i := range pairs {
		if p := &pairs[i]; p.Enough && (p.High-p.Low)/p.Chapman < best {
			best, out = (p.High-p.Low)/p.Chapman, ofPair(p)
		}
	}
	return out
}
