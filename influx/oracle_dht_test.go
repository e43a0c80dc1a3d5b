package influx

import (
	"math/rand/v2"
	"slices"

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
		}
		keys := r.Perm(40)[:r.IntN(30)]
		for i, k := range keys {
			s.TopKeys[dir] = append(s.TopKeys[dir], event.TopDHTKey{CID: influxtest.CID(3*k + 1), Requests: uint64(100 - i), Error: uint64(r.IntN(3)), Peers: uint64(i)})
		}
		for i, k := range r.Perm(9) {
			s.Agents[dir] = append(s.Agents[dir], event.Share{Name: event.AgentFamilies[k], N: uint64(90 - i)})
		}
	}
	return s
}

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
