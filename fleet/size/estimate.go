package size

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// Peer is a peer that a monitor is connected to.
type Peer struct {
	ID        peer.ID
	Agent     event.Text // "" where unknown
	Protocols []event.Text
}

// Sample is what one monitor is connected to at one time.
type Sample struct {
	Monitor string
	Peers   []Peer
}

// The most names of peers' agents and protocols in a Report.
const (
	MaxAgents    = 20
	MaxProtocols = 50
)

// Estimate is what samples say of the size of a network, or of the part of it
// with one agent or protocol.
type Estimate struct {
	Monitors  []int // peers of each
	Peers     int   // of at least one
	Pairs     []Pair
	Coupon    uint64 // the field's; 0 if CouponErr is not nil
	CouponErr error
	Draws     Draws
	Overlap   Overlap
}

// Neighbours returns the pairs of monitors that follow each other, which are those
// that the field reports.
func (e *Estimate) Neighbours() (out []Pair) {
	for _, p := range e.Pairs {
		if p.B == p.A+1 {
			out = append(out, p)
		}
	}
	return out
}

// Named is an estimate of a part.
type Named struct {
	Name string
	Estimate
}

// Report is what samples say of the whole and of its parts.
type Report struct {
	All       Estimate
	Families  []Named // by event.AgentFamilies: those that have peers, in that order
	Agents    []Named // by agent: the MaxAgents with most peers, most first
	Protocols []Named // by protocol: the MaxProtocols with most peers, most first

	OtherAgents, OtherProtocols int // distinct names that are not in the lists
}

// known is what the samples say of a peer together.
type known struct {
	seen      Set
	agent     event.Text
	protocols []event.Text
}

// EstimateOf returns the estimates from samples of at most 64 monitors that were
// taken at one time. A peer's agent and protocols are those that any monitor
// knows, so that a peer that only one of two has identified yet is in the same
// part at both; the field asks each monitor for its own.
func EstimateOf(samples []Sample) Report {
	peers := map[peer.ID]*known{}
	for i := range samples {
		for j := range samples[i].Peers {
			p := &samples[i].Peers[j]
			k := peers[p.ID]
			if k == nil {
				k = &known{}
				peers[p.ID] = k
			}
			k.seen |= SetOf(i)
			if k.agent == "" {
				k.agent = p.Agent
			}
			if len(k.protocols) == 0 {
				k.protocols = p.Protocols
			}
		}
	}

	all, families := Overlap{}, make([]Overlap, len(event.AgentFamilies))
	agents, protocols := map[event.Text]int{}, map[event.Text]int{}
	for _, k := range peers {
		all[k.seen]++
		family := event.AgentFamily(k.agent)
		if families[family] == nil {
			families[family] = Overlap{}
		}
		families[family][k.seen]++
		if k.agent != "" {
			agents[k.agent]++
		}
		for i, p := range k.protocols {
			if !slices.Contains(k.protocols[:i], p) {
				protocols[p]++
			}
		}
	}
	byAgent, byProtocol := most(agents, MaxAgents), most(protocols, MaxProtocols)
	for _, k := range peers {
		if o := byAgent[k.agent]; o != nil {
			o[k.seen]++
		}
		for i, p := range k.protocols {
			if o := byProtocol[p]; o != nil && !slices.Contains(k.protocols[:i], p) {
				o[k.seen]++
			}
		}
	}

	r := Report{OtherAgents: len(agents) - len(byAgent), OtherProtocols: len(protocols) - len(byProtocol)}
	r.All = estimate(all, families, len(samples))
	for i, o := range families {
		if o != nil {
			r.Families = append(r.Families, Named{event.AgentFamilies[i], estimate(o, nil, len(samples))})
		}
	}
	r.Agents, r.Protocols = named(byAgent, len(samples)), named(byProtocol, len(samples))
	return r
}

// most returns an empty overlap for each of the names that count most.
func most(counts map[event.Text]int, n int) map[event.Text]Overlap {
	out := map[event.Text]Overlap{}
	top, _ := topn.Split(entries(counts), n, func(c topn.Count[event.Text, int]) (int, event.Text) { return c.N, c.Name })
	for _, c := range top {
		out[c.Name] = Overlap{}
	}
	return out
}

func entries(counts map[event.Text]int) (out []topn.Count[event.Text, int]) {
	for name, n := range counts {
		out = append(out, topn.Count[event.Text, int]{Name: name, N: n})
	}
	return out
}

func named(by map[event.Text]Overlap, monitors int) (out []Named) {
	for name, o := range by {
		out = append(out, Named{string(name), estimate(o, nil, monitors)})
	}
	out, _ = topn.Split(out, len(out), func(n Named) (int, string) { return n.Peers, n.Name })
	return out
}

// estimate returns the estimates of one part. families may be nil.
func estimate(o Overlap, families []Overlap, monitors int) Estimate {
	e := Estimate{Monitors: make([]int, monitors), Overlap: o}
	both := make([][]int, monitors)
	for i := range both {
		both[i] = make([]int, monitors)
	}
	for s, n := range o {
		e.Peers += n
		s.each(func(i int) {
			e.Monitors[i] += n
			s.each(func(j int) { both[i][j] += n })
		})
	}
	for a := range monitors {
		for b := a + 1; b < monitors; b++ {
			p := newPair(a, b, e.Monitors[a], e.Monitors[b], both[a][b])
			p.Dependence = dependence(o, families, a, b, monitors)
			e.Pairs = append(e.Pairs, p)
		}
	}
	e.Coupon, e.CouponErr = Coupon(e.Monitors, e.Peers)
	e.Draws = DrawsOf(e.Monitors, e.Peers)
	return e
}
