package capture

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// unknownAgent stands for peers that have not been identified (yet).
const unknownAgent = event.Text("unknown")

// maxNamed is how many protocols a sample names; the rest is summed as Others.
const maxNamed = 200

// sample publishes the node's totals every interval, and once more when ctx
// ends, so that the traffic of all samples together is all the traffic.
func (c *Capture) sample(ctx context.Context, h host.Host, s Sampling) {
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	var before [event.MessageTransports][event.Directions]event.Traffic
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.publishSample(ctx, h, s, &before, &last)
			return
		}
		c.publishSample(ctx, h, s, &before, &last)
	}
}

func (c *Capture) publishSample(ctx context.Context, h host.Host, s Sampling, before *[event.MessageTransports][event.Directions]event.Traffic, last *time.Time) {
	defer c.guard.Recover("capture: sample")
	c.clock.set()
	now := time.Now()
	out := &event.Sample{Interval: now.Sub(*last)}
	*last = now
	for via, of := range [event.MessageTransports]*[event.Directions]event.Traffic{event.Libp2p: &out.Traffic, event.HTTP: &out.HTTP} {
		for d := range event.Directions {
			t := c.Traffic(event.Transport(via), d)
			of[d] = t.Sub(before[via][d])
			before[via][d] = t
		}
	}
	// Deferred before anything that may panic in foreign code: the traffic of
	// this interval must not be lost with the rest.
	defer c.bus.Publish(&event.Event{Time: now.UnixNano(), Kind: event.KindSample, Sample: out})
	c.conns.count(out, s.AgentCutOff)
	out.Known = len(h.Peerstore().Peers())
	if s.Node != nil {
		ctx, cancel := context.WithTimeout(ctx, s.Interval)
		defer cancel()
		out.Node = s.Node(ctx)
	}
}

// sampled is what the counting needs of one connected peer.
type sampled struct {
	inbound   bool
	transport string
	identity  *identity
}

// count fills a sample with the connected peers by direction and transport (of
// each peer's oldest connection), by agent and by protocol, and with their open
// streams. It locks the table only while it lists it.
func (t *connTable) count(out *event.Sample, cutOff int) {
	t.mu.Lock()
	out.Conns = len(t.open)
	conns := make([]network.Conn, 0, len(t.open))
	all := make([]sampled, 0, len(t.open))
	for _, s := range t.peers.All() {
		if len(s.conns) == 0 {
			continue
		}
		first := &s.conns[0].event
		for _, oc := range s.conns {
			conns = append(conns, oc.conn)
		}
		all = append(all, sampled{first.Inbound, first.Transport, s.identity.Load()})
	}
	t.mu.Unlock()

	type way struct {
		inbound   bool
		transport string
	}
	ways := make(map[way]int)
	agents, protocols := make(map[event.Text]int), make(map[event.Text]int)
	for i := range all {
		p := &all[i]
		ways[way{p.inbound, p.transport}]++
		agents[cmp.Or(p.identity.agent, unknownAgent)]++
		for _, x := range p.identity.protocols {
			protocols[x]++
		}
	}
	for w, n := range ways {
		out.Peers = append(out.Peers, event.PeerCount{Inbound: w.inbound, Transport: w.transport, Peers: n})
	}
	slices.SortFunc(out.Peers, func(a, b event.PeerCount) int {
		if a.Inbound != b.Inbound {
			if a.Inbound {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Transport, b.Transport)
	})
	for _, n := range top(agents, cutOff, event.OthersAgent) {
		out.Agents = append(out.Agents, event.AgentCount{Agent: n.Name, Peers: n.N})
	}
	for _, n := range top(protocols, maxNamed, event.Others) {
		out.Protocols = append(out.Protocols, event.ProtocolCount{Protocol: n.Name, Peers: n.N})
	}
	out.Streams = streams(conns, out.Protocols)
}

// streams counts the open streams of connections by protocol and direction. It
// names the protocols that the sample names and at most as many more as make
// 2*maxNamed; the rest is summed as Others.
func streams(conns []network.Conn, named []event.ProtocolCount) []event.StreamCount {
	known := make(map[string]event.Text, len(named))
	for _, p := range named {
		known[string(p.Protocol)] = p.Protocol
	}
	type key struct {
		protocol event.Text
		dir      network.Direction
	}
	counts := make(map[key]int)
	for _, nc := range conns {
		for _, s := range nc.GetStreams() {
			p := string(s.Protocol())
			name, ok := known[p]
			if !ok && len(known) < 2*maxNamed {
				name = event.Clean(p, event.MaxProtocolText)
				known[p], ok = name, true
			}
			if !ok {
				name = event.Others
			}
			counts[key{name, s.Stat().Direction}]++
		}
	}
	out := make([]event.StreamCount, 0, len(counts))
	for k, n := range counts {
		dir := event.StreamDirections[2]
		switch k.dir {
		case network.DirInbound:
			dir = event.StreamDirections[0]
		case network.DirOutbound:
			dir = event.StreamDirections[1]
		}
		out = append(out, event.StreamCount{Protocol: k.protocol, Direction: dir, Streams: n})
	}
	slices.SortFunc(out, func(a, b event.StreamCount) int {
		return cmp.Or(cmp.Compare(b.Streams, a.Streams), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Direction, b.Direction))
	})
	return out
}

// named is a count by name.
type named = topn.Count[event.Text, int]

// top returns the names with the highest counts, and the sum of the others as
// the last, also when it is 0.
func top(counts map[event.Text]int, most int, others event.Text) []named {
	list, rest, _ := topn.Of(counts, most, others)
	return append(list, named{Name: others, N: rest})
}
