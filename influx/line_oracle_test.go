//go:build !race

package influx

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// addLine puts into a summary what used the line in minute m, and the coverage.
func addLine(u *event.Summary, m int) {
	r := rand.New(rand.NewPCG(uint64(m), 99))
	for dir := range u.Line {
		l := &u.Line[dir]
		for i := range r.IntN(6) {
			n := uint64(1 + r.IntN(1_000_000))
			l.CIDs = append(l.CIDs, event.CIDBytes{CID: influxtest.CID(500 + (m+i)%9), Bytes: n, Error: n / 10})
			l.Peers = append(l.Peers, event.PeerBytes{Peer: influxtest.Peer(500 + (m+i)%9), Agent: "line/1", Bytes: 2 * n, Error: n / 10})
			l.Bytes, l.BlockBytes = l.Bytes+2*n, l.BlockBytes+n
		}
		for i, family := range []string{"kubo", "helia", "other"}[:1+r.IntN(3)] {
			l.Agents = append(l.Agents, event.FamilyBytes{Family: family, Messages: uint64(1 + i), Bytes: uint64(r.IntN(1e6)), BlockBytes: uint64(r.IntN(1e5)), DontHaves: uint64(1 + r.IntN(99))})
		}
	}
	u.Coverage.Untracked = m % 2
	for i, family := range []string{"kubo", "helia", "other"} {
		if i == 2 && m >= oracleSteps-3 { // these have gone
			continue
		}
		n := 20 - 5*i + m%5
		u.Coverage.Families = append(u.Coverage.Families, event.FamilyCoverage{Family: family, Connected: n, Asked: n / 2, Broadcast: n / 4})
	}
}

// floodOf is the flood of minute m; nil: there is none.
func floodOf(m int, at int64) *event.Event {
	if m%4 > 2 {
		return nil
	}
	return &event.Event{Time: at, Kind: event.KindFlood, Peer: influxtest.Peer(600 + m/4), Country: "DE", Addrs: []event.Text{"/ip4/203.0.113.7/tcp/4001"},
		Flood: &event.Flood{State: event.FloodState(m % 4), Since: time.Unix(0, at).Add(-time.Duration(m%4) * time.Minute), Agent: "loop/1", Wants: uint64(m) * 1000, Messages: uint64(m),
			WantRate: uint64(200 + m), MessageRate: uint64(m), Share: uint16(200 + m), Repeats: uint16(m), Block: "ipfs swarm filters add /ip4/203.0.113.7/ipcidr/32"}}
}

func (o *oracle) summariesOf(f func(node string, s *event.Summary)) {
	for _, e := range o.events {
		if e.Kind == event.KindSummary {
			f(e.node, e.Summary)
		}
	}
}

func init() {
	directions := schema.TagDirection.Values
	oracles["line"] = func(o *oracle, _ bool) []row {
		t := adding("family", "direction")
		o.summariesOf(func(_ string, s *event.Summary) {
			for dir := range s.Line {
				for _, a := range s.Line[dir].Agents {
					t.at(a.Family, directions[dir]).add("bytes", float64(a.Bytes))
					t.at(a.Family, directions[dir]).add("block_bytes", float64(a.BlockBytes))
				}
			}
		})
		return t.sorted("bytes", 0)
	}
	oracles["line-cids"] = func(o *oracle, _ bool) []row {
		t := adding("cid", "direction")
		o.summariesOf(func(_ string, s *event.Summary) {
			for dir := range s.Line {
				for _, c := range s.Line[dir].CIDs {
					t.at(c.CID.String(), directions[dir]).add("bytes", float64(c.Bytes))
					t.at(c.CID.String(), directions[dir]).add("error", float64(c.Error))
				}
			}
		})
		return t.sorted("bytes", 20)
	}
	oracles["line-peers"] = func(o *oracle, _ bool) []row {
		t := adding("peer", "direction")
		o.summariesOf(func(_ string, s *event.Summary) {
			for dir := range s.Line {
				for _, p := range s.Line[dir].Peers {
					r := t.at(p.Peer.String(), directions[dir])
					r.add("bytes", float64(p.Bytes))
					r.add("error", float64(p.Error))
					r["agent"] = string(p.Agent)
				}
			}
		})
		return t.sorted("bytes", 20)
	}
	oracles["line-countries"] = func(o *oracle, _ bool) []row {
		t := adding("country", "direction")
		for _, e := range o.events {
			if e.Kind != event.KindMessage || e.Transport != event.Libp2p { // origins are of libp2p
				continue
			}
			at := t.at(country(e), directionOf(e)) // messages without a block make a row too
			at.add("block_bytes", 0)
			at.add("blocks", float64(len(e.Blocks)))
			for i := range e.Blocks {
				at.add("block_bytes", float64(e.Blocks[i].Size))
			}
		}
		return t.sorted("block_bytes", 0)
	}
	oracles["coverage"] = func(o *oracle, _ bool) []row {
		last := map[string]map[string]event.FamilyCoverage{}
		families := map[string]bool{}
		o.summariesOf(func(node string, s *event.Summary) {
			last[node] = map[string]event.FamilyCoverage{}
			for _, c := range s.Coverage.Families {
				last[node][c.Family] = c
				families[c.Family] = true
			}
		})
		t := adding("family")
		for _, of := range last {
			for family := range families {
				r := t.at(family)
				r.add("connected", float64(of[family].Connected))
				r.add("asked", float64(of[family].Asked))
				r.add("broadcast", float64(of[family].Broadcast))
			}
		}
		return t.sorted("connected", 0)
	}
	oracles["floods"] = func(o *oracle, _ bool) (out []row) {
		for i := len(o.events) - 1; i >= 0; i-- {
			e := o.events[i]
			if e.Kind == event.KindFlood && e.Flood.State == event.FloodBegan {
				f := e.Flood
				out = append(out, row{"peer": e.Peer.String(), "agent": string(f.Agent), "addr": string(e.Addrs[0]), "want_rate": float64(f.WantRate), "message_rate": float64(f.MessageRate),
					"share_permille": float64(f.Share), "repeats_permille": float64(f.Repeats), "command": string(f.Block)})
			}
		}
		return out[:min(len(out), 50)]
	}

	const line = "Bitswap traffic / What uses the line / "
	panelOracles[line+"By agent"] = func(o *oracle) any {
		return o.per(o.sum(ofSummary(func(s *event.Summary, put put) {
			for dir := range s.Line {
				for _, a := range s.Line[dir].Agents {
					put(directions[dir]+" "+a.Family, float64(a.Bytes))
				}
			}
		})))
	}
	panelOracles[line+"By country"] = func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			if e.Transport != event.Libp2p { // origins are of libp2p
				return
			}
			for _, b := range e.Blocks {
				put(directionOf(e)+" "+country(e), float64(b.Size))
			}
		}).whole()
	}
	panelOracles[line+"By CID"] = func(o *oracle) any {
		t := adding("CID", "direction")
		o.seenIn(func(e seen) {
			if e.Kind == event.KindSummary {
				for dir := range e.Summary.Line {
					for _, c := range e.Summary.Line[dir].CIDs {
						t.at(c.CID.String(), directions[dir]).add("Bytes", float64(c.Bytes))
					}
				}
			}
		})
		return t.sorted("Bytes", 20)
	}
	panelOracles[line+"By peer"] = func(o *oracle) any {
		t := adding("Peer", "Agent", "direction")
		o.seenIn(func(e seen) {
			if e.Kind == event.KindSummary {
				for dir := range e.Summary.Line {
					for _, p := range e.Summary.Line[dir].Peers {
						t.at(p.Peer.String(), string(p.Agent), directions[dir]).add("Bytes", float64(p.Bytes))
					}
				}
			}
		})
		return t.sorted("Bytes", 20)
	}
	panelOracles[line+"Floods"] = func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if e.Kind == event.KindFlood {
				f := e.Flood
				put(row{"state": f.State.String(), "peer": e.Peer.String(), "agent": string(f.Agent), "addr": string(e.Addrs[0]), "want_rate": float64(f.WantRate), "message_rate": float64(f.MessageRate),
					"share_permille": float64(f.Share), "repeats_permille": float64(f.Repeats), "command": string(f.Block)})
			}
		})
	}
	covered := func(name func(family, what string) string) func(o *oracle) any {
		return func(o *oracle) any {
			return o.level(func(e seen, put func(name, part string, v float64)) {
				if e.Kind != event.KindSummary {
					return
				}
				for _, family := range []string{"kubo", "helia", "other"} { // each is written once it was seen
					c := event.FamilyCoverage{}
					for _, x := range e.Summary.Coverage.Families {
						if x.Family == family {
							c = x
						}
					}
					for what, n := range map[string]int{"connected": c.Connected, "asked": c.Asked, "broadcast": c.Broadcast} {
						if id := name(family, what); id != "" {
							put(id, family, float64(n))
						}
					}
				}
			})
		}
	}
	for _, board := range []string{"Content / Coverage / ", "Peers and connections / Coverage / ", "Bitswap traffic / Coverage / ", "IPFS overview / Traffic and peers / "} {
		panelOracles[board+"Peers that ask"] = covered(func(_, what string) string { return what })
		if strings.HasPrefix(board, "IPFS") {
			continue // it has one panel of the row
		}
		panelOracles[board+"Peers that ask, by agent"] = covered(func(family, what string) string {
			if what == "connected" {
				return ""
			}
			return fmt.Sprint(family, " ", strings.TrimSpace(what))
		})
	}
}
