package metrics

import (
	"slices"
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// The most values, beside others, of a label that peers choose.
const (
	maxProtocols = 200
	maxAgents    = 200
)

const others = string(event.Others)

// bitswapPrefix begins the name of every version of Bitswap.
const bitswapPrefix = "/ipfs/bitswap"

// tally is a sum by name. A peer may use the name others itself.
type tally struct {
	name  string
	count int
}

// capped returns the largest sums, at most limit of them, ties in the order of
// the names, and then the sum of the rest as others, if there is a rest or always
// is set.
func capped(all []tally, limit int, always bool) []tally {
	sums := make(map[string]int, len(all))
	for _, t := range all {
		sums[t.name] += t.count
	}
	top, rest, beyond := topn.Of(sums, limit, others)
	out := make([]tally, 0, len(top)+1)
	for _, c := range top {
		out = append(out, tally{c.Name, c.N})
	}
	if beyond || always {
		out = append(out, tally{others, rest})
	}
	return out
}

func supportedProtocols(s *event.Sample, out emit) {
	all := make([]tally, 0, len(s.Protocols))
	for _, p := range s.Protocols {
		all = append(all, tally{string(p.Protocol), p.Peers})
	}
	for _, t := range capped(all, maxProtocols, false) {
		out(float64(t.count), t.name)
	}
}

// agentVersions always emits others, as the old exporter did.
func agentVersions(s *event.Sample, out emit) {
	all := make([]tally, 0, len(s.Agents))
	for _, a := range s.Agents {
		all = append(all, tally{string(a.Agent), a.Peers})
	}
	for _, t := range capped(all, maxAgents, true) {
		out(float64(t.count), t.name)
	}
}

// openStreams leaves out counts of zero, as the old exporter did.
func openStreams(s *event.Sample, out emit) {
	all := make([]tally, 0, len(s.Streams))
	for _, st := range s.Streams {
		all = append(all, tally{string(st.Protocol), st.Streams})
	}
	kept := make(map[string]bool)
	for _, t := range capped(all, maxProtocols, false) {
		kept[t.name] = true
	}
	type key struct{ protocol, direction string }
	sums := make(map[key]int)
	for _, st := range s.Streams {
		k := key{string(st.Protocol), st.Direction}
		if !kept[k.protocol] {
			k.protocol = others
		}
		if !slices.Contains(event.StreamDirections, k.direction) {
			k.direction = "unknown"
		}
		sums[k] += st.Streams
	}
	for k, n := range sums {
		if n != 0 {
			out(float64(n), k.protocol, k.direction)
		}
	}
}

func bitswapSenders(s *event.Sample, out emit) {
	n := 0
	for _, st := range s.Streams {
		if st.Direction == "outbound" && strings.HasPrefix(string(st.Protocol), bitswapPrefix) {
			n += st.Streams
		}
	}
	out(float64(n))
}

func wiretapPeers(s *event.Sample, out emit) {
	n := 0
	for _, p := range s.Peers {
		n += p.Peers
	}
	out(float64(n))
}
