package introspect

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// memory is what a list of connections is made of.
type memory struct {
	conns       arena[pb.Connection, *pb.Connection]
	endpoints   arena[pb.EndpointPair, *pb.EndpointPair]
	times       arena[pb.Connection_Timeline, *pb.Connection_Timeline]
	attribs     arena[pb.Connection_Attributes, *pb.Connection_Attributes]
	traffic     arena[pb.Traffic, *pb.Traffic]
	gauges      arena[pb.DataGauge, *pb.DataGauge]
	lists       arena[pb.StreamList, *pb.StreamList]
	streams     arena[pb.Stream, *pb.Stream]
	streamTimes arena[pb.Stream_Timeline, *pb.Stream_Timeline]

	known  []*known
	out    []*pb.Connection
	inside []*pb.Stream // of all connections, one after the other
	shared []sharedTap  // streams whose traffic_of is not known yet
	ids    texts
}

// sharedTap is a stream and the counter that it shares with others.
type sharedTap struct {
	stream *pb.Stream
	with   *uint32 // how many streams share it
}

// reset lets the memory be used for another list.
func (m *memory) reset() {
	m.conns.reset()
	m.endpoints.reset()
	m.times.reset()
	m.attribs.reset()
	m.traffic.reset()
	m.gauges.reset()
	m.lists.reset()
	m.streams.reset()
	m.streamTimes.reset()
	clear(m.known)
	clear(m.out)
	clear(m.inside)
	clear(m.shared)
	m.known, m.out, m.inside, m.shared = m.known[:0], m.out[:0], m.inside[:0], m.shared[:0]
	m.ids.buf = m.ids.buf[:0]
}

// connections lists what is open, then what closed within MaxRetention.
func (t *Conns) connections(q ConnectionQuery) ([]*pb.Connection, error) {
	now := time.Now()
	m := &memory{}
	if q.scratch {
		m = &t.scratch
		m.reset()
	}
	conns := t.cfg.Conns()
	t.opened, t.leftOut = uint32(len(conns)), 0
	clear(t.agents)
	clear(t.perPeer)
	for _, c := range conns {
		t.perPeer[c.RemotePeer()]++
	}
	if q.Limit > 0 && len(conns) > q.Limit {
		t.leftOut = uint32(len(conns) - q.Limit)
		conns = conns[:q.Limit]
	}
	t.lookUp(m, conns)
	t.round++
	counted := make(map[peer.ID]struct{}, len(t.perPeer)) // whose agent was counted
	m.out = slices.Grow(m.out, len(conns))
	for i, c := range conns {
		k := m.known[i]
		r := t.read(k, now, t.perPeer[k.peer])
		if _, ok := counted[k.peer]; !ok {
			counted[k.peer] = struct{}{}
			t.agents[r.agent]++
		}
		out := m.connection(k, &r)
		if q.Streams {
			t.addStreams(m, out, c, k, &r, now)
		}
		m.out = append(m.out, out)
	}
	for _, s := range m.shared {
		s.stream.TrafficOf = *s.with
	}
	setRelays(m)

	t.mu.Lock()
	t.expire(now)
	for i := range t.closed {
		c := &t.closed[i]
		if c.at.After(now) {
			break // it is above, as it was then
		}
		out := m.connection(c.known, &c.reading)
		out.Status, out.Timeline.CloseTs = pb.Status_CLOSED, millis(c.at)
		m.out = append(m.out, out)
	}
	t.mu.Unlock()
	if t.cfg.Taps != nil && now.Sub(t.swept) > sweepEvery {
		t.swept = now
		t.cfg.Taps.sweep(func(p peer.ID) bool { return t.perPeer[p] > 0 })
	}
	return m.out, nil
}

// lookUp finds what is known of connections, and learns what is not.
func (t *Conns) lookUp(m *memory, conns []network.Conn) {
	m.known = slices.Grow(m.known, len(conns))
	t.mu.Lock()
	for _, c := range conns {
		m.known = append(m.known, t.open[c])
	}
	t.mu.Unlock()
	for i, c := range conns {
		if m.known[i] != nil {
			continue
		}
		k := t.learn(c)
		m.known[i] = k
		t.mu.Lock()
		t.open[c] = k
		if c.IsClosed() { // Disconnected may have come and gone
			delete(t.open, c)
		}
		t.mu.Unlock()
	}
}

// connection makes the message of a connection.
func (m *memory) connection(k *known, r *reading) *pb.Connection {
	out := m.conns.take()
	out.Id, out.PeerId, out.TransportId, out.Role = k.id, k.peerText, k.transport, k.role
	out.Endpoints = m.endpoints.take()
	out.Endpoints.SrcMultiaddr, out.Endpoints.DstMultiaddr = k.src, k.dst
	out.Timeline = m.times.take()
	// Libp2p tells one time: connections are there once they are upgraded.
	out.Timeline.OpenTs, out.Timeline.UpgradedTs = k.opened, k.opened
	out.Attribs = m.attribs.take()
	out.Attribs.Multiplexer, out.Attribs.Encryption = k.muxer, k.security
	out.LatencyNs = uint64(max(0, r.latency))
	out.AgentVersion, out.Country, out.Gateway, out.Limited = r.agent, k.country, k.gateway, k.limited
	if out.TrafficOf = r.of; r.of > 0 {
		out.Traffic = m.flow(r.in, r.out, r.inRate, r.outRate)
		out.Traffic.TrafficIn.CumPackets, out.Traffic.TrafficOut.CumPackets = r.packetsIn, r.packetsOut
	}
	return out
}

func (m *memory) flow(in, out, inRate, outRate uint64) *pb.Traffic {
	f := m.traffic.take()
	f.TrafficIn, f.TrafficOut = m.gauges.take(), m.gauges.take()
	f.TrafficIn.CumBytes, f.TrafficIn.InstBw = in, inRate
	f.TrafficOut.CumBytes, f.TrafficOut.InstBw = out, outRate
	return f
}

// addStreams puts the open streams into their connection.
func (t *Conns) addStreams(m *memory, out *pb.Connection, c network.Conn, k *known, r *reading, now time.Time) {
	streams := c.GetStreams()
	if len(streams) == 0 {
		return
	}
	from := len(m.inside)
	for _, s := range streams {
		st := s.Stat()
		p := s.Protocol()
		ps := m.streams.take()
		ps.Id = m.ids.copy(s.ID())
		ps.Protocol = string(event.Clean(string(p), event.MaxProtocolText))
		ps.Role = roleOf(st.Direction)
		ps.LatencyNs = uint64(max(0, r.latency))
		ps.Timeline = m.streamTimes.take()
		ps.Timeline.OpenTs = millis(st.Opened)
		if t.cfg.Taps != nil {
			if tap := t.cfg.Taps.get(k.peer, p); tap != nil {
				if tap.round != t.round {
					tap.round, tap.streams = t.round, [3]uint32{}
				}
				in, sent := tap.in.Load(), tap.out.Load()
				inRate, outRate := tap.rate.read(now, in, sent)
				with := &tap.streams[network.DirUnknown]
				if oneWay(p) { // so the two directions are of different streams
					with = &tap.streams[st.Direction]
					switch st.Direction {
					case network.DirInbound:
						sent, outRate = 0, 0
					case network.DirOutbound:
						in, inRate = 0, 0
					}
				}
				*with++
				ps.Traffic = m.flow(in, sent, inRate, outRate)
				m.shared = append(m.shared, sharedTap{ps, with})
			}
		}
		m.inside = append(m.inside, ps)
	}
	out.Streams = m.lists.take()
	out.Streams.Streams = m.inside[from:len(m.inside):len(m.inside)]
}

// oneWay says whether a protocol's streams carry data from who opened them
// alone, as Bitswap's do.
func oneWay(p protocol.ID) bool { return strings.HasPrefix(string(p), "/ipfs/bitswap") }

// setRelays has the connections that go through a relay refer to the one to it.
func setRelays(m *memory) {
	var byPeer map[peer.ID]*known
	for i, k := range m.known {
		if k.relay == "" {
			continue
		}
		if byPeer == nil {
			byPeer = make(map[peer.ID]*known)
			for _, direct := range m.known {
				if direct.relay == "" {
					byPeer[direct.peer] = direct
				}
			}
		}
		if relay := byPeer[k.relay]; relay != nil {
			m.out[i].RelayedOver = &pb.Connection_ConnId{ConnId: relay.id}
		}
	}
}

// agentCounts is how many connected peers call themselves what, as the last
// list of connections found it.
func (t *Conns) agentCounts() ([]*pb.AgentCount, error) {
	out := make([]*pb.AgentCount, 0, len(t.agents))
	for a, n := range t.agents {
		out = append(out, &pb.AgentCount{Agent: cmp.Or(a, "unknown"), Peers: n})
	}
	slices.SortFunc(out, func(a, b *pb.AgentCount) int {
		return cmp.Or(cmp.Compare(b.Peers, a.Peers), cmp.Compare(a.Agent, b.Agent))
	})
	if len(out) > maxAgents {
		rest := &pb.AgentCount{Agent: string(event.OthersAgent)}
		for _, a := range out[maxAgents:] {
			rest.Peers += a.Peers
		}
		out = append(out[:maxAgents], rest)
	}
	return out, nil
}
