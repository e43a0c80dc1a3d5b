//go:build !race

package influx

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// dhtSummary makes the DHT's figures of a minute.
func dhtSummary(r *rand.Rand) *event.DHTSummary {
	s := &event.DHTSummary{Peers: [2]uint64{uint64(r.IntN(50)), uint64(r.IntN(50))}}
	for dir := range s.Requests {
		for kind := range s.Requests[dir] {
			for status := range s.Requests[dir][kind].Status {
				s.Requests[dir][kind].Status[status] = uint64(r.IntN(3) * r.IntN(9))
			}
			if n := s.Requests[dir][kind].Status[event.DHTAnswered]; n > 0 && event.DHTType(kind) != event.DHTUnsent {
				half := time.Duration(1+r.IntN(1e6)) * time.Microsecond
				s.Requests[dir][kind].Elapsed = event.LatencyStats{Count: n, Sum: time.Duration(n) * half, P50: half, P90: 2 * half, P99: 2 * half, Max: 3 * half}
			}
		}
		keys := r.Perm(40)[:r.IntN(30)]
		for i, k := range keys {
			s.TopKeys[dir] = append(s.TopKeys[dir], event.TopDHTKey{CID: influxtest.CID(3*k + 1), Requests: uint64(100 - i), Error: uint64(r.IntN(3)), Peers: uint64(i)})
		}
		for i, k := range r.Perm(9) {
			s.Agents[dir] = append(s.Agents[dir], event.Share{Name: event.AgentFamilies[k], N: uint64(100*(90-i) + k)}) // no two sums are the same
		}
	}
	return s
}

// dhtRequest makes one request of the DHT's protocol.
func dhtRequest(r *rand.Rand, at int64) event.Event {
	e := event.Event{Time: at, Kind: event.KindDHT, Dir: event.Direction(r.IntN(2)), Peer: influxtest.Peer(r.IntN(30)), Country: "DE",
		DHT: &event.DHTRequest{Type: event.DHTType(r.IntN(int(event.DHTTypes))), Status: event.DHTStatus(r.IntN(int(event.DHTStatuses))),
			Providers: r.IntN(20), Closer: r.IntN(20), Elapsed: time.Duration(r.IntN(1e6)) * time.Microsecond}}
	switch e.DHT.Type {
	case event.DHTAddProvider, event.DHTGetProviders:
		e.DHT.CID = influxtest.CID(1 + 3*r.IntN(40))
	case event.DHTFindNode:
		e.DHT.Target = influxtest.Peer(r.IntN(30))
	case event.DHTGetValue, event.DHTPutValue:
		e.DHT.Name = "/v/name"
	}
	return e
}

const dhtRow = "Peers and connections / DHT / "

// dhtRate is how many requests of a direction came in a second of each step, by type.
func dhtRate(dir event.Direction) func(o *oracle) any {
	return func(o *oracle) any {
		return o.per(o.sum(ofDHT(func(s *event.DHTSummary, put put) {
			for kind := range s.Requests[dir] {
				put(event.DHTTypeNames[kind], float64(s.Requests[dir][kind].Requests()))
			}
		})))
	}
}

func ofDHT(f func(s *event.DHTSummary, put put)) func(e seen, put put) {
	return ofSummary(func(s *event.Summary, put put) {
		if s.DHT != nil {
			f(s.DHT, put)
		}
	})
}

// dhtTop adds up what f puts in a table with one column that names the row.
func dhtTop(column string, f func(s *event.DHTSummary, put put)) func(o *oracle) any {
	return func(o *oracle) any {
		t := adding(column)
		o.seenIn(func(e seen) {
			ofDHT(f)(e, func(name string, v float64) { t.at(name).add("Requests", v) })
		})
		return t.sorted("Requests", 20)
	}
}

var dhtPanels = map[string]func(o *oracle) any{
	dhtRow + "Requests received": dhtRate(event.Received),
	dhtRow + "Requests sent":     dhtRate(event.Sent),
	dhtRow + "Without an answer": func(o *oracle) any {
		count := func(f func(x *event.DHTFigures) uint64) graph {
			return o.sum(ofDHT(func(s *event.DHTSummary, put put) {
				for kind := range s.Requests[event.Sent] {
					if event.DHTType(kind) != event.DHTUnsent {
						n := float64(f(&s.Requests[event.Sent][kind]))
						put("failed", n)
						put("late", n)
					}
				}
			}))
		}
		all := count((*event.DHTFigures).Requests)
		g := count(func(x *event.DHTFigures) uint64 { return x.Status[event.DHTFailed] })
		g["late"] = count(func(x *event.DHTFigures) uint64 { return x.Status[event.DHTTimedOut] })["late"]
		return g.over(all)
	},
	dhtRow + "Time to an answer": worstOf(func(s *event.Summary, put put) {
		for kind := range s.DHT.Requests[event.Sent] {
			if x := &s.DHT.Requests[event.Sent][kind]; x.Elapsed.Max > 0 {
				put(event.DHTTypeNames[kind], float64(x.Elapsed.P50.Microseconds()))
			}
		}
	}),
	dhtRow + "Peers that ask the DHT": func(o *oracle) any {
		by := o.most(func(e seen, p put) {
			ofDHT(func(s *event.DHTSummary, put put) {
				for dir, name := range schema.TagDirection.Values {
					put(name, float64(s.Peers[dir]))
				}
			})(e, func(name string, v float64) { p(e.node+" "+name, v) })
		})
		g := graph{}
		for name, steps := range by {
			_, direction, _ := strings.Cut(name, " ")
			for at, v := range steps {
				g.set(direction, at, g[direction][at]+v)
			}
		}
		return g
	},
	dhtRow + "Who asks the DHT": dhtTop("Agent", func(s *event.DHTSummary, put put) {
		for _, a := range s.Agents[event.Received] {
			put(a.Name, float64(a.N))
		}
	}),
	dhtRow + "Providers looked for most": dhtTop("CID", func(s *event.DHTSummary, put put) {
		for _, k := range s.TopKeys[event.Received] {
			put(k.CID.String(), float64(k.Requests))
		}
	}),
	dhtRow + "Requests seen last": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if x := e.DHT; e.Kind == event.KindDHT {
				put(row{"direction": directionOf(e), "type": x.Type.String(), "status": x.Status.String(), "target": string(x.Key()), "peer": e.Peer.String(),
					"elapsed_us": float64(x.Elapsed.Microseconds()), "providers": float64(x.Providers), "closer": float64(x.Closer)})
			}
		})
	},
}

func init() { maps.Copy(panelOracles, dhtPanels) }

func oracleDHTRequests(o *oracle, _ bool) []row {
	t := adding("direction", "type")
	o.dht(func(s *event.DHTSummary) {
		for dir := range s.Requests {
			for kind := range s.Requests[dir] {
				f := &s.Requests[dir][kind]
				if f.Requests() == 0 {
					continue
				}
				r := t.at(schema.TagDirection.Values[dir], event.DHTTypeNames[kind])
				r.add("requests", float64(f.Requests()))
				r.add("failed", float64(f.Status[event.DHTFailed]))
				r.add("timeouts", float64(f.Status[event.DHTTimedOut]))
				r.add("canceled", float64(f.Status[event.DHTCanceled]))
			}
		}
	})
	return t.sorted("requests", 0)
}

func oracleDHTKeys(o *oracle, _ bool) []row {
	t := adding("cid")
	o.dht(func(s *event.DHTSummary) {
		for _, k := range s.TopKeys[event.Received] {
			r := t.at(k.CID.String())
			r.add("requests", float64(k.Requests))
			r.add("error", float64(k.Error))
		}
	})
	return t.sorted("requests", 20)
}

func oracleDHTAgents(o *oracle, _ bool) []row {
	t := adding("agent")
	o.dht(func(s *event.DHTSummary) {
		for _, a := range s.Agents[event.Received] {
			t.at(a.Name).add("requests", float64(a.N))
		}
	})
	return t.sorted("requests", 0)
}

func (o *oracle) dht(f func(*event.DHTSummary)) {
	for e := range slices.Values(o.events) {
		if e.Kind == event.KindSummary && e.Summary.DHT != nil {
			f(e.Summary.DHT)
		}
	}
}
