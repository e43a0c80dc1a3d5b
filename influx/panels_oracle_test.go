//go:build !race

package influx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// seenIn calls f for each event of the time that is asked about.
func (o *oracle) seenIn(f func(e seen)) {
	for _, e := range o.all {
		if e.Time >= o.from && e.Time <= o.to {
			f(e)
		}
	}
}

// stepOf is the begin of an event's step, in seconds.
func (o *oracle) stepOf(e seen) int64 {
	return time.Unix(0, e.Time-e.Time%int64(o.every)).Unix()
}

type put func(name string, v float64)

// sum adds up in each step what f puts.
func (o *oracle) sum(f func(e seen, put put)) graph {
	g := graph{}
	o.seenIn(func(e seen) {
		f(e, func(name string, v float64) { g.set(name, o.stepOf(e), g[name][o.stepOf(e)]+v) })
	})
	return g
}

// most is the greatest of each step.
func (o *oracle) most(f func(e seen, put put)) graph {
	g := graph{}
	o.seenIn(func(e seen) {
		f(e, func(name string, v float64) { g.set(name, o.stepOf(e), max(v, g[name][o.stepOf(e)])) })
	})
	return g
}

// ranked has the percentiles ps of what f puts, as p50 and so on.
func (o *oracle) ranked(ps []float64, f func(e seen, put func(v float64))) graph {
	of := map[int64][]float64{}
	o.seenIn(func(e seen) { f(e, func(v float64) { of[o.stepOf(e)] = append(of[o.stepOf(e)], v) }) })
	g := graph{}
	for at, all := range of {
		for _, p := range ps {
			g.set(fmt.Sprintf("p%.0f", p), at, rank(all, p, false))
		}
	}
	return g
}

// means are those of what f puts in each step.
func (o *oracle) means(f func(e seen, put put)) graph {
	n := o.sum(func(e seen, p put) { f(e, func(name string, _ float64) { p(name, 1) }) })
	return o.sum(f).over(n)
}

// over divides by another graph's figures.
func (g graph) over(other graph) graph {
	out := graph{}
	for name, s := range g {
		for at, v := range s {
			out.set(name, at, v/other[name][at])
		}
	}
	return out
}

// whole is the sum of all steps.
func (g graph) whole() graph { return g.reduced("sum") }

// per is what came in a second of the step.
func (o *oracle) per(g graph) graph {
	for _, s := range g {
		for at := range s {
			s[at] /= o.every.Seconds()
		}
	}
	return g
}

// perSecond is what each node counted, by the time in which it did: the intervals
// of its events of that kind.
func (o *oracle) perSecond(of event.Kind, f func(e seen, put put)) graph {
	measured := map[string]map[int64]float64{"one": {}, "two": {}, "proxy": {}, "fleet": {}}
	sums := o.sum(func(e seen, p put) {
		if e.Kind == of {
			measured[e.node][o.stepOf(e)] += 60
		}
		f(e, func(name string, v float64) { p(e.node+"\x00"+name, v) })
	})
	g := graph{}
	for id, s := range sums {
		node, name, _ := strings.Cut(id, "\x00")
		for at, v := range s {
			g.set(name, at, g[name][at]+v/measured[node][at])
		}
	}
	return g
}

// level is the mean of each node's parts in each step, and their sum.
func (o *oracle) level(f func(e seen, put func(name, part string, v float64))) graph {
	g := graph{}
	for id, s := range o.means(func(e seen, p put) {
		f(e, func(name, part string, v float64) { p(name+"\x00"+e.node+part, v) })
	}) {
		name, _, _ := strings.Cut(id, "\x00")
		for at, v := range s {
			g.set(name, at, g[name][at]+v)
		}
	}
	return g
}

// grown is by how much the counters of each node grew from one step to the next,
// or in a second of it: nothing from the step before a new start to that after.
// before: the time of one step before the first is looked at too.
func (o *oracle) grown(perSecond, before bool, f func(e seen, put put)) graph {
	last := graph{}
	for _, e := range o.all {
		if e.Time > o.to || e.Time < o.from-int64(o.every)*int64(sets.Bit(before)) {
			continue
		}
		f(e, func(name string, v float64) { last.set(name+"\x00"+e.node, o.stepOf(e), v) })
	}
	g := graph{}
	for id, s := range last {
		name, _, _ := strings.Cut(id, "\x00")
		var steps []int64
		for at := range s {
			steps = append(steps, at)
		}
		slices.Sort(steps)
		for i := 1; i < len(steps); i++ {
			if v := s[steps[i]] - s[steps[i-1]]; v >= 0 {
				if perSecond {
					v /= float64(steps[i] - steps[i-1])
				}
				g.set(name, steps[i], g[name][steps[i]]+v)
			}
		}
	}
	return g
}

// newest are rows of the newest events.
func (o *oracle) newest(n int, f func(e seen, put func(r row))) (out []row) {
	o.seenIn(func(e seen) { f(e, func(r row) { out = append(out, r) }) })
	slices.Reverse(out)
	return out[:min(n, len(out))]
}

// all are single values.
func (o *oracle) each(f func(e seen, put func(v float64))) (all values) {
	o.seenIn(func(e seen) { f(e, func(v float64) { all = append(all, v) }) })
	return all
}

// entries are what a message of Bitswap over libp2p carries.
func entries(e seen, put put) {
	if e.Kind != event.KindMessage || e.Side != event.NoSide || e.Transport != event.Libp2p {
		return
	}
	put("messages", 1)
	for _, w := range e.Wants {
		put(wantType(w), 1)
	}
	for _, p := range e.Presences {
		put([]string{"have", "dont_have"}[sets.Bit(p.Type != event.Have)], 1)
	}
	for _, b := range e.Blocks {
		put("blocks", 1)
		put("block_bytes", float64(b.Size))
	}
}

// traffic is what messages of a direction carry, in a second.
func traffic1(dir event.Direction, names ...string) func(o *oracle) any {
	return func(o *oracle) any {
		return o.perSecond(event.KindSample, func(e seen, put put) {
			entries(e, func(name string, v float64) {
				if e.Dir == dir && slices.Contains(names, name) {
					put(name, v)
				}
			})
		})
	}
}

// trafficBy is one of them by the direction.
func trafficBy(which string) func(o *oracle) any {
	return func(o *oracle) any {
		return o.perSecond(event.KindSample, func(e seen, put put) {
			entries(e, func(name string, v float64) {
				if name == which {
					put(directionOf(e), v)
				}
			})
		})
	}
}

// received calls f for each want that was received, cancels left out.
func received(e seen, f func(w event.Want)) {
	if e.Kind != event.KindMessage || e.Dir != event.Received || e.Side != event.NoSide {
		return
	}
	for _, w := range e.Wants {
		if !w.Cancel {
			f(w)
		}
	}
}

func hits(o *oracle) any {
	part := func(names ...string) graph {
		return o.sum(func(e seen, put put) {
			entries(e, func(name string, v float64) {
				if e.Dir == event.Sent && slices.Contains(names, name) {
					put("hits", v)
				}
			})
		})
	}
	return part("have", "blocks").over(part("have", "blocks", "dont_have"))
}

// lost are the counters of losses.
func lost(e seen, put put) {
	if e.pipe == nil {
		return
	}
	missed := uint64(0)
	for _, r := range e.pipe.Bus.Readers {
		missed += r.Missed
	}
	put("events missed", float64(missed))
	put("points dropped", float64(e.pipe.Influx.Dropped))
	put("points rejected", float64(e.pipe.Influx.Rejected))
}

// quantiles are those of the summaries, the worst.
func quantiles(dir event.Direction, answer event.AnswerType) func(o *oracle) any {
	return func(o *oracle) any {
		return o.most(func(e seen, put put) {
			if e.Kind == event.KindSummary {
				if l := e.Summary.Latency[dir][answer]; l.Count > 0 {
					put("p50", float64(l.P50.Microseconds()))
					put("p90", float64(l.P90.Microseconds()))
					put("p99", float64(l.P99.Microseconds()))
				}
			}
		})
	}
}

// listed adds up the minutes' lists of CIDs, and has the truth beside it where
// the list says how far it may be from that.
func listed(o *oracle, n int, by string, peers bool) best {
	t := adding("CID")
	b := best{key: "CID", by: by, n: n}
	unlisted := 0.0 // what a CID may have been wanted in minutes whose list it is not in
	atMost := map[string]float64{}
	if by == "Wants" {
		b.least, b.most, b.truth = map[string]float64{}, map[string]float64{}, map[string]float64{}
	}
	o.seenIn(func(e seen) {
		received(e, func(w event.Want) {
			if b.truth != nil {
				b.truth[w.CID.String()]++
			}
		})
		if e.Kind != event.KindSummary {
			return
		}
		list := e.Summary.TopCIDs
		if by == "Peers" {
			list = e.Summary.TopCIDsByPeers
		}
		end := 0.0
		if len(list) == schema.MaxRank {
			end = float64(list[schema.MaxRank-1].Wants)
		}
		unlisted += end
		for _, c := range list {
			r := t.at(c.CID.String())
			r.add("Wants", float64(c.Wants))
			if peers {
				r.most("Peers", float64(c.Peers))
			}
			if b.truth != nil {
				b.least[c.CID.String()] += float64(c.Error)
				atMost[c.CID.String()] += end
			}
		}
	})
	for key, v := range atMost {
		b.most[key] = unlisted - v
	}
	for _, r := range t.rows {
		b.rows = append(b.rows, r)
	}
	return b
}

// of makes oracles of samples and of summaries shorter.
func ofSample(f func(s *event.Sample, e seen, put put)) func(e seen, put put) {
	return func(e seen, put put) {
		if e.Kind == event.KindSample {
			f(e.Sample, e, put)
		}
	}
}

func ofSummary(f func(s *event.Summary, put put)) func(e seen, put put) {
	return func(e seen, put put) {
		if e.Kind == event.KindSummary {
			f(e.Summary, put)
		}
	}
}

// levelOf is the level of a sample's figures by their names.
func levelOf(f func(s *event.Sample, e seen, put put)) func(o *oracle) any {
	return func(o *oracle) any {
		return o.level(func(e seen, put func(name, part string, v float64)) {
			ofSample(f)(e, func(name string, v float64) { put(name, "", v) })
		})
	}
}

func counterOf(f func(s *event.Sample, e seen, put put)) func(o *oracle) any {
	return func(o *oracle) any { return o.grown(true, false, ofSample(f)) }
}

// peersOf puts the connected peers by direction and transport.
func peersOf(s *event.Sample, put func(direction, transport string, v float64)) {
	for _, inbound := range []bool{true, false} {
		for _, transport := range []string{"tcp", "quic-v1"} {
			n := 0
			for _, c := range s.Peers {
				if c.Inbound == inbound && c.Transport == transport {
					n += c.Peers
				}
			}
			put(inOut(inbound), transport, float64(n))
		}
	}
}

// now adds up the newest figures of the nodes.
func newestOf(f func(s *event.Sample, put put)) func(o *oracle) any {
	return func(o *oracle) any {
		g := graph{}
		for _, node := range []string{"one", "two"} {
			f(o.lastSample(node).Sample, func(name string, v float64) { g.set(name, 0, g[name][0]+v) })
		}
		return g
	}
}

// opened calls put for each connection that was opened or closed.
func connected(closed bool, f func(e seen, put put)) func(e seen, put put) {
	return func(e seen, put put) {
		if e.Kind == event.KindConnection && e.Conn.Closed == closed {
			f(e, put)
		}
	}
}

// panelOracles have what each panel must show, by dashboard, row and panel.
var panelOracles = map[string]func(o *oracle) any{
	"IPFS overview / Now / Connected peers": levelOf(func(s *event.Sample, _ seen, put put) {
		n := 0.0
		peersOf(s, func(_, _ string, v float64) { n += v })
		put("peers", n)
	}),
	"IPFS overview / Now / Peers with a ledger": levelOf(func(s *event.Sample, _ seen, put put) { put("peers", float64(s.Node.Ledgers)) }),
	"IPFS overview / Now / Wants received": func(o *oracle) any {
		return o.perSecond(event.KindSample, func(e seen, put put) { received(e, func(event.Want) { put("wants", 1) }) })
	},
	"IPFS overview / Now / Hits": hits,
	"IPFS overview / Now / Lost": func(o *oracle) any {
		g := graph{}
		for _, s := range o.grown(false, false, lost) {
			for at, v := range s {
				g.set("lost", at, g["lost"][at]+v)
			}
		}
		return g
	},
	"IPFS overview / Now / Behind": func(o *oracle) any {
		return o.most(ofSample(func(_ *event.Sample, e seen, put put) { put("lag", e.pipe.Influx.LagSeconds*1000) }))
	},
	"IPFS overview / Now / Nodes": func(o *oracle) any {
		var out []row
		for _, node := range []string{"one", "two"} {
			s := o.lastSample(node).Sample
			out = append(out, row{"node": node, "Connections": float64(s.Conns), "Wantlist": float64(s.Node.Wantlist), "Ledgers": float64(s.Node.Ledgers), "Repository": float64(s.Node.RepoBytes)})
		}
		return out
	},
	"IPFS overview / Now / What happened": func(o *oracle) any {
		var out []row
		told, toldAt := map[string]uint64{}, map[string]int64{}
		for _, e := range o.all { // a loss is reported at once, and later ones every five minutes
			if e.Kind != event.KindSample {
				continue
			}
			sum := uint64(0)
			lost(e, func(_ string, v float64) { sum += uint64(v) })
			if sum > told[e.node] && (told[e.node] == 0 || e.Time-toldAt[e.node] >= int64(5*time.Minute)) {
				if e.Time >= o.from {
					out = append(out, row{"text": fmt.Sprintf("%d points or events lost", sum-told[e.node]), "node": e.node, "kind": "loss"})
				}
				told[e.node], toldAt[e.node] = sum, e.Time
			}
		}
		slices.Reverse(out)
		return out
	},
	"IPFS overview / Traffic and peers / Wants received": traffic1(event.Received, "want_have", "want_block", "cancel"),
	"IPFS overview / Traffic and peers / Answers sent":   traffic1(event.Sent, "have", "dont_have", "blocks"),
	"IPFS overview / Traffic and peers / Data in blocks": trafficBy("block_bytes"),
	"IPFS overview / Traffic and peers / Connected peers": func(o *oracle) any {
		return o.level(func(e seen, put func(name, part string, v float64)) {
			if e.Kind == event.KindSample {
				peersOf(e.Sample, put)
			}
		})
	},
	"IPFS overview / Traffic and peers / Time to a block": quantiles(event.Sent, event.AnswerBlock),
	"IPFS overview / Traffic and peers / Most wanted":     func(o *oracle) any { return listed(o, 10, "Wants", false) },

	"Bitswap traffic / Wants / Wants received": traffic1(event.Received, "want_have", "want_block", "cancel"),
	"Bitswap traffic / Wants / Wants sent":     traffic1(event.Sent, "want_have", "want_block", "cancel"),
	"Bitswap traffic / Wants / Wants repeated": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			for d, direction := range schema.TagDirection.Values {
				put("duplicates "+direction, float64(s.Duplicates[d]))
				put("rebroadcasts "+direction, float64(s.Rebroadcasts[d]))
			}
		}))
	},
	"Bitswap traffic / Wants / Repeats among wants received": func(o *oracle) any {
		repeats := o.sum(ofSummary(func(s *event.Summary, put put) { put("repeats", float64(s.Duplicates[event.Received])) }))
		return repeats.over(o.sum(func(e seen, put put) { received(e, func(event.Want) { put("repeats", 1) }) }))
	},
	"Bitswap traffic / Wants / Wants by kind of peer": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			received(e, func(event.Want) { put([]string{"others", "gateways"}[sets.Bit(e.Gateway)], 1) })
		}))
	},
	"Bitswap traffic / Wants / How peers ask": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			received(e, func(w event.Want) {
				put([]string{"not requested", "requested"}[sets.Bit(w.SendDontHave)], 1)
				if e.Full {
					put("full wantlist", 1)
				}
			})
		}))
	},
	"Bitswap traffic / Answers and data / Answers sent":     traffic1(event.Sent, "have", "dont_have", "blocks"),
	"Bitswap traffic / Answers and data / Answers received": traffic1(event.Received, "have", "dont_have", "blocks"),
	"Bitswap traffic / Answers and data / Data in blocks":   trafficBy("block_bytes"),
	"Bitswap traffic / Answers and data / Hits":             hits,
	"Bitswap traffic / Answers and data / Size of a block": func(o *oracle) any {
		return o.means(func(e seen, put put) {
			entries(e, func(name string, v float64) {
				if name == "block_bytes" {
					put(directionOf(e), v)
				}
			})
		})
	},
	"Bitswap traffic / Messages / Messages": trafficBy("messages"),
	"Bitswap traffic / Messages / Entries in a message": func(o *oracle) any {
		return o.means(func(e seen, put put) {
			if e.Kind == event.KindMessage && e.Transport == event.Libp2p {
				put(directionOf(e), float64(len(e.Wants)))
			}
		})
	},
	"Bitswap traffic / Messages / How many messages come in ten seconds": func(o *oracle) any {
		var all values
		o.every = time.Minute
		for _, s := range o.sum(func(e seen, put put) {
			if e.Kind == event.KindMessage && e.Transport == event.Libp2p && e.Dir == event.Received {
				put(e.node, 1)
			}
		}) {
			for _, v := range s {
				all = append(all, v)
			}
		}
		return all
	},
	"Bitswap traffic / Messages / Rhythm of the week": func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			if e.Kind == event.KindMessage && e.Transport == event.Libp2p && e.Dir == event.Received {
				put("messages", 1)
			}
		})
	},
	"Bitswap traffic / Messages / Not looked at": func(o *oracle) any {
		g := o.perSecond(event.KindSample, ofSample(func(s *event.Sample, _ seen, put put) {
			put("entries", float64(s.Traffic[event.Received].Truncated))
		}))
		g["messages"] = o.grown(true, false, ofSample(func(_ *event.Sample, e seen, put put) { put("messages", float64(e.pipe.Capture.Limited)) }))["messages"]
		return g
	},

	"Content / Most wanted / By wants": func(o *oracle) any { return listed(o, 20, "Wants", true) },
	"Content / Most wanted / Most missed": func(o *oracle) any {
		t := adding("CID")
		b := best{key: "CID", by: "Asked", n: 20, least: map[string]float64{}, most: map[string]float64{}, truth: map[string]float64{}}
		o.seenIn(func(e seen) {
			for _, p := range e.Presences {
				if e.Dir == event.Sent && p.Type == event.DontHave {
					b.truth[p.CID.String()]++
				}
			}
			if e.Kind == event.KindSummary {
				for _, c := range e.Summary.TopMissing {
					t.at(c.CID.String()).add("Asked", float64(c.Wants))
					b.least[c.CID.String()] += float64(c.Error)
				}
			}
		})
		for _, r := range t.rows {
			b.rows = append(b.rows, r)
		}
		return b
	},
	"Content / Most wanted / By peers": func(o *oracle) any { return listed(o, 20, "Peers", true) },
	"Content / Kinds / Codec": func(o *oracle) any {
		return o.sum(func(e seen, put put) { received(e, func(w event.Want) { put(codecOf(w.CID), 1) }) }).whole()
	},
	"Content / Kinds / CID version": func(o *oracle) any {
		return o.sum(func(e seen, put put) { received(e, func(w event.Want) { put(fmt.Sprint(w.CID.Version()), 1) }) }).whole()
	},
	"Content / Kinds / Hash": func(o *oracle) any {
		return o.sum(func(e seen, put put) { received(e, func(event.Want) { put("sha2-256", 1) }) }).whole()
	},
	"Content / Kinds / Wants by codec": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) { received(e, func(w event.Want) { put(codecOf(w.CID), 1) }) }))
	},
	"Content / Kinds / Data by codec": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			for _, b := range e.Blocks {
				put(codecOf(b.CID), float64(b.Size))
			}
		}))
	},
	"Content / How much is different / Different CIDs wanted": func(o *oracle) any {
		return o.most(ofSummary(func(s *event.Summary, put put) {
			for d, direction := range schema.TagDirection.Values {
				put(direction, float64(s.UniqueCIDs[d]))
			}
		}))
	},
	"Content / How much is different / Different peers": func(o *oracle) any {
		return o.most(ofSummary(func(s *event.Summary, put put) {
			for d, direction := range schema.TagDirection.Values {
				put(direction, float64(s.UniquePeers[d]))
			}
		}))
	},
	"Content / How much is different / Not here": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			for _, p := range e.Presences {
				if e.Dir == event.Sent && p.Type == event.DontHave {
					put(codecOf(p.CID), 1)
				}
			}
		}))
	},
	"Content / Blocks / Sizes of blocks": func(o *oracle) any {
		return o.each(func(e seen, put func(v float64)) {
			for _, b := range e.Blocks {
				put(float64(b.Size))
			}
		})
	},
	"Content / Blocks / Sizes over time": func(o *oracle) any {
		return o.each(func(e seen, put func(v float64)) {
			for _, b := range e.Blocks {
				put(float64(b.Size))
			}
		})
	},
	"Content / Blocks / Blocks that came last": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			for _, b := range e.Blocks {
				put(row{"cid": b.CID.String(), "size": float64(b.Size), "direction": directionOf(e), "codec": codecOf(b.CID), "peer": e.Peer.String()})
			}
		})
	},

	"Peers and connections / Connected / Peers by transport": func(o *oracle) any {
		return o.level(func(e seen, put func(name, part string, v float64)) {
			if e.Kind == event.KindSample {
				peersOf(e.Sample, func(direction, transport string, v float64) { put(direction+" "+transport, "", v) })
			}
		})
	},
	"Peers and connections / Connected / Known peers": func(o *oracle) any {
		g := graph{}
		for _, s := range o.most(ofSample(func(s *event.Sample, e seen, put put) { put(e.node, float64(s.Known)) })) {
			for at, v := range s {
				g.set("known", at, g["known"][at]+v)
			}
		}
		return g
	},
	"Peers and connections / Connected / Peers that come and go": func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			if e.Kind == event.KindConnection {
				put([]string{"opened", "closed"}[sets.Bit(e.Conn.Closed)], 1)
			}
		})
	},
	"Peers and connections / Connected / How long connections lived": func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			if e.Kind != event.KindConnection || !e.Conn.Closed || e.Conn.Unmatched {
				return
			}
			switch d := e.Conn.Duration; {
			case d <= 10*time.Second:
				put("up to 10 s", 1)
			case d <= time.Minute:
				put("up to 1 min", 1)
			case d <= 15*time.Minute:
				put("up to 15 min", 1)
			case d <= 4*time.Hour:
				put("up to 4 h", 1)
			default:
				put("longer", 1)
			}
		})
	},
	"Peers and connections / Connected / Secured and multiplexed by": func(o *oracle) any {
		return o.sum(connected(false, func(e seen, put put) { put(e.Conn.Security+" "+e.Conn.Muxer, 1) })).whole()
	},
	"Peers and connections / Connected / Routing tables": levelOf(func(s *event.Sample, _ seen, put put) {
		for _, x := range s.Node.Routing {
			put(x.Name, float64(x.Peers))
		}
	}),
	"Peers and connections / Software / Peers by agent": levelOf(func(s *event.Sample, _ seen, put put) {
		for _, x := range s.Agents {
			put(string(x.Agent), float64(x.Peers))
		}
	}),
	"Peers and connections / Software / Agents now": newestOf(func(s *event.Sample, put put) {
		for _, x := range s.Agents {
			put(string(x.Agent), float64(x.Peers))
		}
	}),
	"Peers and connections / Software / Bitswap versions": newestOf(func(s *event.Sample, put put) {
		for _, x := range s.Protocols {
			if strings.Contains(string(x.Protocol), "bitswap") {
				put(string(x.Protocol), float64(x.Peers))
			}
		}
	}),
	"Peers and connections / Software / Protocols": newestOf(func(s *event.Sample, put put) {
		for _, x := range s.Protocols {
			put(string(x.Protocol), float64(x.Peers))
		}
	}),
	"Peers and connections / Software / Streams by protocol": func(o *oracle) any {
		return o.level(func(e seen, put func(name, part string, v float64)) {
			if e.Kind == event.KindSample {
				for _, x := range e.Sample.Streams {
					put(string(x.Protocol), x.Direction, float64(x.Streams))
				}
			}
		})
	},
	"Peers and connections / Who asks / Top 20 requesting peers": func(o *oracle) any {
		t := adding("Peer", "Agent")
		b := best{key: "Peer", by: "Wants", n: 20, least: map[string]float64{}, most: map[string]float64{}, truth: map[string]float64{}}
		unlisted, atMost := 0.0, map[string]float64{}
		o.seenIn(func(e seen) {
			received(e, func(event.Want) { b.truth[e.Peer.String()]++ })
			if e.Kind != event.KindSummary {
				return
			}
			end := 0.0
			if list := e.Summary.TopPeers; len(list) == schema.MaxRank {
				end = float64(list[schema.MaxRank-1].Wants)
			}
			unlisted += end
			for _, p := range e.Summary.TopPeers {
				t.at(p.Peer.String(), string(p.Agent)).add("Wants", float64(p.Wants))
				atMost[p.Peer.String()] += end
			}
		})
		for key, v := range atMost {
			b.most[key] = unlisted - v
		}
		for _, r := range t.rows {
			b.rows = append(b.rows, r)
		}
		return b
	},
	"Peers and connections / Who asks / Connected last": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if e.Kind == event.KindConnection && !e.Conn.Closed {
				put(row{"peer": e.Peer.String(), "addr": string(e.Conn.Addr), "country": country(e), "direction": inOut(e.Conn.Inbound), "transport": e.Conn.Transport, "security": e.Conn.Security, "muxer": e.Conn.Muxer})
			}
		})
	},
	"Peers and connections / Where from / Wants by country": func(o *oracle) any {
		return o.sum(func(e seen, put put) { received(e, func(event.Want) { put(country(e), 1) }) }).whole()
	},
	"Peers and connections / Where from / Data sent by country": func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			for _, b := range e.Blocks {
				if e.Dir == event.Sent {
					put(country(e), float64(b.Size))
				}
			}
		}).whole()
	},
	"Peers and connections / Where from / Connections by country": func(o *oracle) any {
		return o.per(o.sum(connected(false, func(e seen, put put) { put(country(e), 1) })))
	},

	"Latency / How fast others answer / A block":        quantiles(event.Sent, event.AnswerBlock),
	"Latency / How fast others answer / A HAVE":         quantiles(event.Sent, event.AnswerHave),
	"Latency / How fast others answer / A DONT_HAVE":    quantiles(event.Sent, event.AnswerDontHave),
	"Latency / How fast the node answers / A block":     quantiles(event.Received, event.AnswerBlock),
	"Latency / How fast the node answers / A HAVE":      quantiles(event.Received, event.AnswerHave),
	"Latency / How fast the node answers / A DONT_HAVE": quantiles(event.Received, event.AnswerDontHave),
	"Latency / Answers / Mean time to an answer": func(o *oracle) any {
		part := func(of func(l event.LatencyStats) float64) graph {
			return o.sum(ofSummary(func(s *event.Summary, put put) {
				latencies(s, func(name string, l event.LatencyStats) { put(name, of(l)) })
			})).whole()
		}
		return part(func(l event.LatencyStats) float64 { return float64(l.Sum.Microseconds()) }).over(part(func(l event.LatencyStats) float64 { return float64(l.Count) }))
	},
	"Latency / Answers / Answers": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			latencies(s, func(name string, l event.LatencyStats) { put(name, float64(l.Count)) })
		}))
	},
	"Latency / Answers / Wants without an answer": func(o *oracle) any {
		return o.level(func(e seen, put func(name, part string, v float64)) {
			if e.Kind == event.KindSummary {
				put("waiting", "", float64(e.Summary.Pending))
				put("given up for room", "", float64(e.Summary.Lost))
			}
		})
	},
	"Latency / Single answers / Time to a block": func(o *oracle) any {
		return o.each(func(e seen, put func(v float64)) {
			if e.Kind == event.KindLatency && e.Dir == event.Sent && e.Latency.Answer == event.AnswerBlock {
				put(float64(e.Latency.Elapsed.Microseconds()))
			}
		})
	},
	"Latency / Single answers / Quantiles of single answers": func(o *oracle) any {
		return o.ranked([]float64{50, 95, 99}, func(e seen, put func(v float64)) {
			if e.Kind == event.KindLatency && e.Dir == event.Sent {
				put(float64(e.Latency.Elapsed.Microseconds()))
			}
		})
	},

	"Pipeline health / From the node to InfluxDB / Points": counterOf(func(_ *event.Sample, e seen, put put) {
		put("encoded", float64(e.pipe.Influx.Accepted))
		put("stored", float64(e.pipe.Influx.Stored))
	}),
	"Pipeline health / From the node to InfluxDB / Lost":           func(o *oracle) any { return o.grown(false, false, lost) },
	"Pipeline health / From the node to InfluxDB / Waiting points": levelOf(func(_ *event.Sample, e seen, put put) { put("points", float64(e.pipe.Influx.Queued)) }),
	"Pipeline health / From the node to InfluxDB / Behind": func(o *oracle) any {
		return o.most(ofSample(func(_ *event.Sample, e seen, put put) { put(e.node, e.pipe.Influx.LagSeconds*1000) }))
	},
	"Pipeline health / From the node to InfluxDB / Memory of what waits": levelOf(func(_ *event.Sample, e seen, put put) {
		put("on the bus", float64(e.pipe.Bus.HeldBytes))
		put("points", float64(e.pipe.Influx.QueueBytes))
	}),
	"Pipeline health / From the node to InfluxDB / Events":                           counterOf(func(_ *event.Sample, e seen, put put) { put("events", float64(e.pipe.Bus.Published)) }),
	"Pipeline health / Subscribers and derived figures / Subscribers of the stream":  levelOf(func(_ *event.Sample, e seen, put put) { put("subscribers", float64(e.pipe.Stream.Subscribers)) }),
	"Pipeline health / Subscribers and derived figures / Missed by slow subscribers": counterOf(func(_ *event.Sample, e seen, put put) { put("events", float64(e.pipe.Stream.DroppedEvents)) }),
	"Pipeline health / Subscribers and derived figures / Derived figures": func(o *oracle) any {
		return o.sum(ofSummary(func(s *event.Summary, put put) {
			put("missed", float64(s.Missed))
			put("given up", float64(s.Lost))
		}))
	},
	"Pipeline health / Subscribers and derived figures / Floods and faults": counterOf(func(_ *event.Sample, e seen, put put) {
		put("limited", float64(e.pipe.Capture.Limited))
		put("send_errors", float64(e.pipe.Capture.SendErrors))
		put("panics", float64(e.pipe.Capture.Panics))
	}),
	"Pipeline health / What it costs / Processor": func(o *oracle) any {
		return o.grown(true, true, ofSample(func(s *event.Sample, e seen, put put) {
			put(e.node, math.Round(s.Node.Process.CPUSeconds*1000)/1000)
		}))
	},
	"Pipeline health / What it costs / Memory": levelOf(func(s *event.Sample, _ seen, put put) {
		put("resident", float64(s.Node.Process.ResidentMem))
		put("in use", float64(s.Node.Process.HeapBytes))
	}),
	"Pipeline health / What it costs / Goroutines and files": levelOf(func(s *event.Sample, _ seen, put put) {
		put("goroutines", float64(s.Node.Process.Goroutines))
		put("files", float64(s.Node.Process.OpenFiles))
	}),
	"Pipeline health / What it costs / Line by protocol": counterOf(func(s *event.Sample, _ seen, put put) {
		for _, b := range s.Node.Bandwidth {
			put(string(b.Protocol)+" received", float64(b.InBytes))
			put(string(b.Protocol)+" sent", float64(b.OutBytes))
		}
	}),
	"Pipeline health / What it costs / Line": counterOf(func(s *event.Sample, _ seen, put put) {
		put("received", float64(s.Node.BandwidthTotal.InBytes))
		put("sent", float64(s.Node.BandwidthTotal.OutBytes))
	}),
	"Pipeline health / What it costs / Repository": func(o *oracle) any {
		return o.most(ofSample(func(s *event.Sample, e seen, put put) { put(e.node, float64(s.Node.RepoBytes)) })) // it only grows here
	},
}

// latencies calls f for each kind of answer that there was.
func latencies(s *event.Summary, f func(name string, l event.LatencyStats)) {
	for d, direction := range schema.TagDirection.Values {
		for a, answer := range schema.TagAnswer.Values {
			if l := s.Latency[d][a]; l.Count > 0 {
				f(direction+" "+answer, l)
			}
		}
	}
}

// quotients is one graph of figures by another.
func (o *oracle) quotients(part, of func(e seen, put put)) graph { return o.sum(part).over(o.sum(of)) }

// probes calls f for each measurement of the kind; success: for those that
// succeeded alone.
func probes(provide, success bool, f func(p *event.Probe, e seen)) func(e seen) {
	return func(e seen) {
		if e.Kind == event.KindProbe && e.Probe.Provide == provide && (!success || e.Probe.Error == "") {
			f(e.Probe, e)
		}
	}
}

func probeTimes(provide bool) func(o *oracle) any {
	return func(o *oracle) any {
		return o.ranked([]float64{50, 90, 99}, func(e seen, put func(v float64)) {
			probes(provide, true, func(p *event.Probe, _ seen) { put(float64(p.Duration.Microseconds())) })(e)
		})
	}
}

func probeSuccess(provide bool) func(o *oracle) any {
	return func(o *oracle) any {
		count := func(success bool) graph {
			return o.sum(func(e seen, put put) {
				probes(provide, success, func(*event.Probe, seen) { put("success", 1) })(e)
			}).whole()
		}
		return count(true).over(count(false))
	}
}

func probeMeans(f func(p *event.Probe, put put)) func(o *oracle) any {
	return func(o *oracle) any {
		return o.means(func(e seen, put put) { probes(false, false, func(p *event.Probe, _ seen) { f(p, put) })(e) })
	}
}

func ofProxy(f func(p *event.Proxy, put put)) func(e seen, put put) {
	return func(e seen, put put) {
		if e.Kind == event.KindProxy {
			f(e.Proxy, put)
		}
	}
}

func proxyRate(f func(p *event.Proxy, put put)) func(o *oracle) any {
	return func(o *oracle) any { return o.perSecond(event.KindProxy, ofProxy(f)) }
}

// sideOfEvent is how a panel names the side that an event is of.
func sideName(e seen) string {
	if e.Side == event.NoSide {
		return ""
	}
	return strings.TrimSpace(e.Side.String() + " " + string(e.Downstream))
}

// edgeOracles are those of the DHT probe's panels and the proxy's.
var edgeOracles = map[string]func(o *oracle) any{
	"DHT probe / Publish and find / Published":       probeSuccess(true),
	"DHT probe / Publish and find / Found":           probeSuccess(false),
	"DHT probe / Publish and find / Time to publish": probeTimes(true),
	"DHT probe / Publish and find / Time to find":    probeTimes(false),
	"DHT probe / Publish and find / Measurements": func(o *oracle) any {
		return o.sum(func(e seen, put put) { probes(false, false, func(*event.Probe, seen) { put("lookups", 1) })(e) })
	},
	"DHT probe / Publish and find / Median by region": func(o *oracle) any {
		of, g := map[string][]float64{}, graph{}
		o.seenIn(probes(false, true, func(p *event.Probe, _ seen) {
			of[string(p.Region)] = append(of[string(p.Region)], float64(p.Duration.Microseconds()))
		}))
		for region, all := range of {
			g.set(region, 0, median(all))
		}
		return g
	},
	"DHT probe / Why / Requests and hops": probeMeans(func(p *event.Probe, put put) {
		put("hops", float64(p.Hops))
		put("requests", float64(p.RPCs))
		put("failed", float64(p.FailedRPCs))
	}),
	"DHT probe / Why / Dials": probeMeans(func(p *event.Probe, put put) {
		put("dialled", float64(p.Dials))
		put("failed", float64(p.FailedDials))
	}),
	"DHT probe / Why / Routing table": probeMeans(func(p *event.Probe, put put) { put(string(p.Fleet), float64(p.Table)) }),
	"DHT probe / Why / Hop by hop": func(o *oracle) any {
		times := func(v func(d time.Duration) float64) graph {
			return o.sum(func(e seen, put put) {
				probes(false, false, func(p *event.Probe, _ seen) {
					for i, d := range p.HopTimes[:3] {
						if d > 0 {
							put(fmt.Sprint("hop ", i+1), v(d))
						}
					}
				})(e)
			}).whole()
		}
		return times(func(d time.Duration) float64 { return float64(d.Microseconds()) }).over(times(func(time.Duration) float64 { return 1 }))
	},
	"DHT probe / Why / Times to find": func(o *oracle) any {
		return o.each(func(e seen, put func(v float64)) {
			probes(false, true, func(p *event.Probe, _ seen) { put(float64(p.Duration.Microseconds())) })(e)
		})
	},
	"DHT probe / Why / Failures": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			probes(false, false, func(p *event.Probe, _ seen) {
				if p.Error != "" {
					put(row{"error": string(p.Error), "fleet": string(p.Fleet), "region": string(p.Region), "target": p.Target, "cid": p.CID.String()})
				}
			})(e)
		})
	},

	"Bitswap proxy / The peers' side / Peers": func(o *oracle) any {
		return o.means(ofProxy(func(p *event.Proxy, put put) { put("peers", float64(p.UpstreamPeers)) }))
	},
	"Bitswap proxy / The peers' side / Nodes behind": func(o *oracle) any {
		return o.means(ofProxy(func(p *event.Proxy, put put) {
			n := 0
			for _, d := range p.Downstreams {
				n += sets.Bit(d.Connected)
			}
			put("nodes", float64(n))
		}))
	},
	"Bitswap proxy / The peers' side / Spared": func(o *oracle) any {
		return o.quotients(ofProxy(func(p *event.Proxy, put put) { put("spared", float64(p.Merged+p.Cached)) }),
			ofProxy(func(p *event.Proxy, put put) { put("spared", float64(p.Received.WantBlock)) }))
	},
	"Bitswap proxy / The peers' side / Time to a block": func(o *oracle) any {
		return o.most(ofProxy(func(p *event.Proxy, put put) {
			if p.Answer.Count > 0 {
				put("p50", float64(p.Answer.P50.Microseconds()))
				put("p99", float64(p.Answer.P99.Microseconds()))
			}
		}))
	},
	"Bitswap proxy / The peers' side / Wants": proxyRate(func(p *event.Proxy, put put) {
		put("want_have", float64(p.Received.WantHave))
		put("want_block", float64(p.Received.WantBlock))
		put("cancel", float64(p.Received.Cancel))
	}),
	"Bitswap proxy / The peers' side / Answers": proxyRate(func(p *event.Proxy, put put) {
		put("have", float64(p.Sent.Have))
		put("dont_have", float64(p.Sent.DontHave))
		put("blocks", float64(p.Sent.Blocks))
	}),
	"Bitswap proxy / The peers' side / Data to peers": proxyRate(func(p *event.Proxy, put put) { put("sent", float64(p.Sent.BlockBytes)) }),
	"Bitswap proxy / The peers' side / Waiting": func(o *oracle) any {
		g := o.means(ofProxy(func(p *event.Proxy, put put) {
			put("outstanding", float64(p.Outstanding))
			put("waiting", float64(p.Waiting))
		}))
		for name, s := range o.perSecond(event.KindProxy, ofProxy(func(p *event.Proxy, put put) {
			put("refused per second", float64(p.Overflow))
			put("put off per second", float64(p.Deferred))
		})) {
			g[name] = s
		}
		return g
	},
	"Bitswap proxy / The nodes behind / Round trip": func(o *oracle) any {
		return o.most(ofProxy(func(p *event.Proxy, put put) {
			for _, d := range p.Downstreams {
				if d.RTT.Count > 0 {
					put(d.Name, float64(d.RTT.P50.Microseconds()))
				}
			}
		}))
	},
	"Bitswap proxy / The nodes behind / Part of the work": func(o *oracle) any {
		return o.means(ofProxy(func(p *event.Proxy, put put) {
			all := uint64(0)
			for _, d := range p.Downstreams {
				all += d.Verified
			}
			for _, d := range p.Downstreams {
				put(d.Name, float64(d.Verified*1000/max(all, 1)))
			}
		}))
	},
	"Bitswap proxy / The nodes behind / Data from nodes": proxyRate(func(p *event.Proxy, put put) {
		for _, d := range p.Downstreams {
			put(d.Name, float64(d.VerifiedBytes))
		}
	}),
	"Bitswap proxy / The nodes behind / Refused, late, timed out": proxyRate(func(p *event.Proxy, put put) {
		for _, d := range p.Downstreams {
			put("refused", float64(d.Refused))
			put("late", float64(d.Late))
			put("timeouts", float64(d.Timeouts))
		}
	}),
	"Bitswap proxy / The nodes behind / Nodes": func(o *oracle) any {
		var out []row
		o.seenIn(func(e seen) {
			if e.Kind != event.KindProxy {
				return
			}
			out = nil
			for _, d := range e.Proxy.Downstreams {
				out = append(out, row{"downstream": d.Name, "Connected": fmt.Sprint(d.Connected), "Stalled": fmt.Sprint(d.Stalled), "Outstanding": float64(d.Outstanding),
					"Round trip": float64(d.RTT.P50.Microseconds()), "Blocks": float64(d.Verified)})
			}
		})
		return out
	},
	"Bitswap proxy / The nodes behind / Other streams and preloads": proxyRate(func(p *event.Proxy, put put) {
		put("passed_streams", float64(p.PassedStreams))
		put("blocked_streams", float64(p.BlockedStreams))
		put("preload_requests", float64(p.PreloadRequests))
		put("preload_refused", float64(p.PreloadRefused))
	}),
	"Bitswap proxy / Both sides / Wants on each side": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			for _, w := range e.Wants {
				if !w.Cancel {
					put(sideName(e), 1)
				}
			}
		}))
	},
	"Bitswap proxy / Both sides / Data on each side": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			for _, b := range e.Blocks {
				put(sideName(e), float64(b.Size))
			}
		}))
	},
	"Bitswap proxy / Both sides / Asked in vain": func(o *oracle) any {
		return o.per(o.sum(func(e seen, put put) {
			for _, p := range e.Presences {
				if e.Side == event.Downstream && p.Type == event.DontHave {
					put(string(e.Downstream), 1)
				}
			}
		}))
	},
	"Bitswap proxy / Both sides / Nodes come and go": func(o *oracle) any {
		return o.sum(func(e seen, put put) {
			if e.Kind == event.KindConnection && e.Side == event.Downstream {
				put(string(e.Downstream)+[]string{" opened", " closed"}[sets.Bit(e.Conn.Closed)], 1)
			}
		})
	},
	"Bitswap proxy / Both sides / Last blocks": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			for _, b := range e.Blocks {
				put(row{"cid": b.CID.String(), "size": float64(b.Size), "side": e.Side.String(), "downstream": string(e.Downstream), "peer": e.Peer.String()})
			}
		})
	},
}

// makeEdges makes the events of a scheduler of the DHT probe and of a proxy.
func makeEdges(now time.Time, write writer) *oracle {
	o := &oracle{now: now, begin: now.Add(-time.Hour)}
	r := rand.New(rand.NewPCG(3, 7))
	emit := func(node string, e event.Event) {
		s := seen{Event: &e, node: node}
		write(node, s)
		o.all = append(o.all, s)
	}
	some := func() uint64 { return uint64(r.IntN(100)) }
	times := func() event.LatencyStats {
		return event.LatencyStats{Count: uint64(r.IntN(3)), P50: time.Duration(r.IntN(1e6)) * time.Microsecond, P99: time.Duration(r.IntN(1e6)) * time.Microsecond}
	}
	downstream := func(name string, i int) event.ProxyDownstream {
		return event.ProxyDownstream{Name: name, Peer: influxtest.Peer(i), Connected: r.IntN(3) > 0, Stalled: r.IntN(4) == 0, Outstanding: int(some()),
			Verified: some(), VerifiedBytes: some(), Refused: some(), Late: some(), Timeouts: some(), RTT: times()}
	}
	start := now.Add(-50 * time.Minute).Truncate(time.Minute)
	for m := range 48 {
		at := start.Add(time.Duration(m) * time.Minute).UnixNano()
		for range 8 {
			at += int64(time.Second) + int64(r.IntN(int(time.Second)))
			p := &event.Probe{Provide: r.IntN(3) == 0, Fleet: event.Text([]string{"default", "large"}[r.IntN(2)]), Region: event.Text([]string{"eu", "us"}[r.IntN(2)]), Target: "DHT",
				CID: influxtest.CID(int(some())), Duration: time.Duration(1+r.IntN(1e6)) * time.Microsecond, Table: int(some()), Hops: r.IntN(5), RPCs: int(some()), FailedRPCs: int(some()), Dials: int(some()), FailedDials: int(some())}
			for h := range r.IntN(event.ProbeHops + 1) {
				p.HopTimes[h] = time.Duration(1+r.IntN(1e6)) * time.Microsecond
			}
			if r.IntN(6) == 0 {
				p.Error = event.Text([]string{"no provider was found", "timed out"}[r.IntN(2)])
			}
			emit("probe", event.Event{Time: at, Kind: event.KindProbe, Peer: influxtest.Peer(1), Probe: p})

			side, name := event.Upstream, event.Text("")
			if r.IntN(2) == 0 {
				side, name = event.Downstream, event.Text([]string{"one", "two"}[r.IntN(2)])
			}
			e := event.Event{Time: at + 1, Kind: event.KindMessage, Dir: event.Direction(r.IntN(2)), Peer: influxtest.Peer(int(some())), Side: side, Downstream: name}
			for range r.IntN(3) {
				e.Wants = append(e.Wants, event.Want{CID: influxtest.CID(int(some())), Type: event.WantType(r.IntN(2)), Cancel: r.IntN(4) == 0})
				e.Presences = append(e.Presences, event.Presence{CID: influxtest.CID(int(some())), Type: event.PresenceType(r.IntN(2))})
				e.Blocks = append(e.Blocks, event.Block{CID: influxtest.CID(int(some())), Size: int32(r.IntN(1 << 20))})
			}
			emit("proxy", e)
			emit("proxy", event.Event{Time: at + 2, Kind: event.KindConnection, Peer: influxtest.Peer(2), Side: side, Downstream: name,
				Conn: &event.Conn{Closed: r.IntN(3) == 0, Transport: "tcp", Security: "noise", Muxer: "yamux"}})
		}
		at = start.Add(time.Duration(m)*time.Minute + 55*time.Second).UnixNano()
		emit("fleet", makeFleet(r, at))
		emit("proxy", event.Event{Time: at, Kind: event.KindProxy, Proxy: &event.Proxy{Interval: time.Minute, UpstreamPeers: int(some()), Outstanding: int(some()), Waiting: int(some()),
			Received: event.Traffic{WantBlock: 1 + some(), WantHave: some(), Cancel: some()}, Sent: event.Traffic{Blocks: some(), BlockBytes: some(), Have: some(), DontHave: some()},
			Merged: some(), Cached: some(), Deferred: some(), Overflow: some(), Answer: times(),
			PassedStreams: some(), BlockedStreams: some(), PreloadRequests: some(), PreloadRefused: some(),
			Downstreams: []event.ProxyDownstream{downstream("one", 1), downstream("two", 2)}}})
	}
	o.inOrder()
	return o
}
