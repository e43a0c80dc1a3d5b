package nodestate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/topn"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// memory is the reused memory of a list of connections.
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
	named  []namedStream
}

// sharedTap is a stream and the counter that it shares with other streams.
type sharedTap struct {
	stream *pb.Stream
	with   *uint32 // how many streams share it
}

// counted marks a peer in Conns.perPeer whose agent has been counted.
const counted = 1 << 31

// grow makes room for so many connections and their streams.
func (m *memory) grow(conns []network.Conn, streams bool) {
	m.out = slices.Grow(m.out, len(conns))
	if !streams {
		return
	}
	n := 0
	for _, c := range conns {
		n += c.Stat().NumStreams
	}
	m.inside, m.shared = slices.Grow(m.inside, n), slices.Grow(m.shared, n)
}

// reset makes the memory available for another list.
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
	clear(m.named[:cap(m.named)])
	m.known, m.out, m.inside, m.shared = m.known[:0], m.out[:0], m.inside[:0], m.shared[:0]
}

// connections lists open connections, then those closed within introspect.MaxRetention.
func (t *Conns) connections(q introspect.ConnectionQuery) ([]*pb.Connection, error) {
	now := time.Now()
	m := &memory{}
	if q.Scratch {
		m = &t.scratch
		m.reset()
	}
	conns := t.cfg.Conns()
	t.opened, t.leftOut = uint32(len(conns)), 0
	clear(t.agents)
	if clear(t.perPeer); t.round == 0 {
		t.perPeer = make(map[peer.ID]uint32, len(conns))
	}
	for _, c := range conns {
		t.perPeer[c.RemotePeer()]++
	}
	if q.Limit > 0 && len(conns) > q.Limit {
		t.leftOut = uint32(len(conns) - q.Limit)
		conns = conns[:q.Limit]
	}
	t.lookUp(m, conns)
	t.round++
	m.grow(conns, q.Streams)
	for i, c := range conns {
		k := m.known[i]
		n := t.perPeer[k.peer]
		r := t.read(k, now, n&^counted)
		if n&counted == 0 {
			t.perPeer[k.peer] = n | counted
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
			break // listed above, as it was then
		}
		out := m.connection(c.known, &c.reading)
		out.Status, out.Timeline.CloseTs = pb.Status_CLOSED, pb.Millis(c.at)
		m.out = append(m.out, out)
	}
	t.mu.Unlock()
	if t.cfg.Taps != nil && now.Sub(t.swept) > sweepEvery {
		t.swept = now
		t.cfg.Taps.sweep(func(p peer.ID) bool { return t.perPeer[p] > 0 })
	}
	return m.out, nil
}

// lookUp finds the known properties of connections, and reads those of new ones.
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
		m.known[i] = t.add(c)
	}
}

// connection returns the message of a connection.
func (m *memory) connection(k *known, r *reading) *pb.Connection {
	out := m.conns.take()
	out.Id, out.PeerId, out.TransportId, out.Role = k.id, k.peerText, k.transport, k.role
	out.Endpoints = m.endpoints.take()
	out.Endpoints.SrcMultiaddr, out.Endpoints.DstMultiaddr = k.src, k.dst
	out.Timeline = m.times.take()
	// Libp2p has only one time: it reports connections once they are upgraded.
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

// addStreams adds the open streams to their connection.
func (t *Conns) addStreams(m *memory, out *pb.Connection, c network.Conn, k *known, r *reading, now time.Time) {
	streams := c.GetStreams()
	if len(streams) == 0 {
		k.streams = nil
		return
	}
	var taps *peerTap
	if t.cfg.Taps != nil {
		taps = t.cfg.Taps.peers.Get(k.peer)
	}
	from := len(m.inside)
	m.name(k, streams)
	for i, s := range streams {
		st := s.Stat()
		p := s.Protocol()
		ps := m.streams.take()
		ps.Id = k.streams[i].id
		ps.Protocol = string(event.Clean(string(p), event.MaxProtocolText))
		ps.Role = roleOf(st.Direction)
		ps.LatencyNs = uint64(max(0, r.latency))
		ps.Timeline = m.streamTimes.take()
		ps.Timeline.OpenTs = pb.Millis(st.Opened)
		if taps != nil {
			if tap := taps.find(p); tap != nil {
				if tap.round != t.round {
					tap.round, tap.streams = t.round, [3]uint32{}
				}
				in, sent := tap.in.Load(), tap.out.Load()
				inRate, outRate := tap.rate.read(now, in, sent)
				with := &tap.streams[network.DirUnknown]
				if oneWay(p) { // so the two directions belong to different streams
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

// namedStream is a stream and its ID.
type namedStream struct {
	stream network.Stream
	id     []byte
}

// fewStreams is up to how many streams are searched linearly.
const fewStreams = 16

// name assigns each stream an ID, the connection's with a number, and keeps it for the stream's
// lifetime. Libp2p's own ID costs more than everything else here: it encodes the peer's ID for
// each stream.
func (m *memory) name(k *known, streams []network.Stream) {
	before := append(m.named[:0], k.streams...)
	m.named = before
	k.streams = slices.Grow(k.streams[:0], len(streams))[:len(streams)]
	var byStream map[network.Stream][]byte
	if len(before) > fewStreams {
		byStream = make(map[network.Stream][]byte, len(before))
		for _, b := range before {
			byStream[b.stream] = b.id
		}
	}
	for i, s := range streams {
		id := byStream[s]
		if byStream == nil {
			for _, b := range before {
				if b.stream == s {
					id = b.id
					break
				}
			}
		}
		if id == nil {
			k.lastStream++
			id = append(append(make([]byte, 0, len(k.id)+8), k.id...), '/')
			id = strconv.AppendUint(id, k.lastStream, 10)
		}
		k.streams[i] = namedStream{s, id}
	}
	clear(k.streams[len(streams):cap(k.streams)]) // closed streams are not kept in memory
}

// oneWay reports whether a protocol's streams carry data only from the side that opened them,
// as Bitswap's do.
func oneWay(p protocol.ID) bool { return strings.HasPrefix(string(p), "/ipfs/bitswap") }

// setRelays makes connections through a relay refer to the connection to the relay.
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

// agentCounts returns the connected peers by agent version, as of the last list of connections.
func (t *Conns) agentCounts() ([]*pb.AgentCount, error) {
	top, rest, beyond := topn.Of(t.agents, maxAgents, string(event.OthersAgent))
	out := make([]*pb.AgentCount, 0, len(top)+1)
	for _, a := range top {
		out = append(out, &pb.AgentCount{Agent: cmp.Or(a.Name, "unknown"), Peers: a.N})
	}
	if beyond {
		out = append(out, &pb.AgentCount{Agent: string(event.OthersAgent), Peers: rest})
	}
	return out, nil
}
