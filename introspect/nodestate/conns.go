package nodestate

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/connstate"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// maxClosed is how many closed connections are kept for introspect.MaxRetention.
	maxClosed = 4096
	// maxAgents is how many agents are distinguished; the rest is event.OthersAgent.
	maxAgents = 100
	// unknownRole is sent for an unknown direction.
	unknownRole = pb.Role(99)
	// sweepEvery is how often counters of disconnected peers are removed.
	sweepEvery = time.Minute
)

// ConnsConfig has the sources of data that connections lack. nil: unknown.
type ConnsConfig struct {
	// Conns returns the open connections; the method of a network.Network.
	Conns func() []network.Conn
	// Agent returns a peer's agent version, unchanged.
	Agent func(peer.ID) string
	// Origin returns the country of a peer and whether it is a gateway.
	Origin func(peer.ID, multiaddr.Multiaddr) (country string, gateway bool)
	// Latency returns the round-trip time to a peer; 0: not measured.
	Latency func(peer.ID) time.Duration
	// PeerTraffic returns the bytes of all traffic with a peer, on connections that have no
	// counter of their own.
	PeerTraffic func(peer.ID) (in, out uint64)
	// Taps are the taps in the host.
	Taps *Taps
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// Conns lists the connections and streams of a node, and recently closed connections. It is a
// network.Notifiee.
type Conns struct {
	cfg   ConnsConfig
	guard guard.Guard

	mu     sync.Mutex
	open   map[network.Conn]*known
	closed []closed // ordered by time of closing

	// used by one snapshot at a time
	round   uint64
	swept   time.Time
	agents  map[string]uint32
	perPeer map[peer.ID]uint32 // open connections, and counted
	opened  uint32
	leftOut uint32
	scratch memory
}

// closed is a connection as it was when it closed.
type closed struct {
	*known
	reading
	at time.Time
}

// NewConns returns a Conns without connections. Register it with the network's Notify.
func NewConns(cfg ConnsConfig) *Conns {
	return &Conns{
		cfg: cfg, guard: guard.Guard{Log: cfg.Logger}, open: make(map[network.Conn]*known),
		agents: make(map[string]uint32), perPeer: make(map[peer.ID]uint32),
	}
}

// Providers returns the providers of connections, agents and the state's totals.
func (t *Conns) Providers() *introspect.DataProviders {
	return &introspect.DataProviders{Connections: t.connections, Agents: t.agentCounts, Annotate: func(s *pb.State) error {
		s.Connections, s.Peers, s.ConnectionsLeftOut = t.opened, uint32(len(t.perPeer)), t.leftOut
		return nil
	}}
}

// known has the constant properties of an open connection, and its last reading.
type known struct {
	id        []byte
	peer      peer.ID
	peerText  string
	transport []byte
	src, dst  string
	muxer     string
	security  string
	opened    uint64
	role      pb.Role
	limited   bool
	relay     peer.ID // the relay; "" if none
	country   string
	gateway   bool
	// used by snapshots only
	streams    []namedStream
	lastStream uint64

	counter *ConnCounter // nil if there is none
	quic    *quic.Conn   // nil where it is none

	mu       sync.Mutex // guards the fields below: a snapshot and the connection's end may coincide
	rate     rate
	agentRaw string
	agent    string
}

// learn reads the properties of a connection.
func (t *Conns) learn(c network.Conn) *known {
	st, state := c.Stat(), connstate.Of(c)
	remote := c.RemoteMultiaddr()
	k := &known{
		id: []byte(c.ID()), peer: c.RemotePeer(), peerText: c.RemotePeer().String(),
		transport: []byte(transportOf(remote)),
		src:       string(peertext.Addr(c.LocalMultiaddr())), dst: string(peertext.Addr(remote)),
		opened: pb.Millis(st.Opened), role: roleOf(st.Direction), limited: st.Limited, relay: relayOf(remote),
	}
	if st.Direction == network.DirInbound {
		k.src, k.dst = k.dst, k.src
	}
	k.muxer, k.security = attributes(state)
	if t.cfg.Origin != nil {
		k.country, k.gateway = t.cfg.Origin(k.peer, remote)
	}
	c.As(&k.counter)
	if k.counter == nil {
		c.As(&k.quic)
	}
	return k
}

// attributes returns the names of muxer and encryption; for transports that have their own, the
// known ones.
func attributes(s network.ConnectionState) (muxer, encryption string) {
	muxer, encryption = string(s.StreamMultiplexer), string(s.Security)
	switch s.Transport {
	case "quic", "quic-v1", "webtransport":
		muxer, encryption = cmp.Or(muxer, "quic"), cmp.Or(encryption, "tls")
	case "webrtc", "webrtc-direct":
		muxer, encryption = cmp.Or(muxer, "sctp"), cmp.Or(encryption, "dtls")
	}
	return string(event.Clean(muxer, event.MaxProtocolText)), string(event.Clean(encryption, event.MaxProtocolText))
}

func roleOf(d network.Direction) pb.Role {
	switch d {
	case network.DirInbound:
		return pb.Role_RESPONDER
	case network.DirOutbound:
		return pb.Role_INITIATOR
	}
	return unknownRole
}

// transportOf returns the protocol names in an address, as in ip4+udp+quic-v1.
func transportOf(a multiaddr.Multiaddr) string {
	var names []string
	for _, c := range a {
		switch name := c.Protocol().Name; name {
		case "p2p", "certhash", "sni":
		default:
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// relayOf returns the relay in an address.
func relayOf(a multiaddr.Multiaddr) peer.ID {
	var last peer.ID
	for _, c := range a {
		switch c.Protocol().Code {
		case multiaddr.P_P2P:
			if id, err := peer.IDFromBytes(c.RawValue()); err == nil {
				last = id
			}
		case multiaddr.P_CIRCUIT:
			return last
		}
	}
	return ""
}

// reading is the traffic of a connection at one time.
type reading struct {
	in, out               uint64
	packetsIn, packetsOut uint64
	inRate, outRate       uint64
	of                    uint32 // number of connections that it covers, see pb.Connection; 0: no reading
	latency               time.Duration
	agent                 string
}

// read takes a reading; conns is how many connections there are to the peer.
func (t *Conns) read(k *known, now time.Time, conns uint32) (r reading) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.counter != nil:
		r.of = 1
		r.in, r.out = k.counter.Bytes()
		r.inRate, r.outRate = k.rate.read(now, r.in, r.out)
	case k.quic != nil:
		s := k.quic.ConnectionStats()
		r.of, r.latency = 1, s.SmoothedRTT
		r.in, r.out, r.packetsIn, r.packetsOut = s.BytesReceived, s.BytesSent, s.PacketsReceived, s.PacketsSent
		r.inRate, r.outRate = k.rate.read(now, r.in, r.out)
	case t.cfg.PeerTraffic != nil:
		r.of = max(conns, 1)
		r.in, r.out = t.cfg.PeerTraffic(k.peer)
		r.inRate, r.outRate = k.rate.read(now, r.in, r.out)
	}
	if r.latency == 0 && t.cfg.Latency != nil {
		r.latency = t.cfg.Latency(k.peer)
	}
	if t.cfg.Agent != nil {
		if raw := t.cfg.Agent(k.peer); raw != "" && raw != k.agentRaw {
			k.agentRaw, k.agent = raw, string(event.Clean(raw, event.MaxAgentText))
		}
	}
	r.agent = k.agent
	return r
}

var _ network.Notifiee = (*Conns)(nil)

// Listen does nothing.
func (*Conns) Listen(network.Network, multiaddr.Multiaddr) {}

// ListenClose does nothing.
func (*Conns) ListenClose(network.Network, multiaddr.Multiaddr) {}

// Connected reads a connection's constant properties, so that a snapshot need not. Libp2p waits
// for it.
func (t *Conns) Connected(_ network.Network, c network.Conn) {
	defer t.guard.Recover("introspect: note a connection")
	t.add(c)
}

// Panics returns the number of caught panics.
func (t *Conns) Panics() uint64 { return t.guard.Panics() }

// add adds a connection, unless it has closed already.
func (t *Conns) add(c network.Conn) *known {
	k := t.learn(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if there := t.open[c]; there != nil {
		return there
	}
	if !c.IsClosed() { // else Disconnected may have been called already
		t.open[c] = k
	}
	return k
}

// Disconnected keeps the closed connection for later states. Libp2p waits for it.
func (t *Conns) Disconnected(n network.Network, c network.Conn) {
	defer t.guard.Recover("introspect: note a connection")
	now := time.Now()
	t.mu.Lock()
	k := t.open[c]
	delete(t.open, c)
	t.mu.Unlock()
	if k == nil {
		k = t.learn(c)
	}
	r := t.read(k, now, 1)
	r.inRate, r.outRate = 0, 0 // no traffic any more
	k.mu.Lock()
	k.counter, k.quic = nil, nil // they keep the whole connection in memory
	k.mu.Unlock()
	t.mu.Lock()
	t.closed = append(t.closed, closed{k, r, now})
	t.expire(now)
	t.mu.Unlock()
	if t.cfg.Taps != nil && n.Connectedness(k.peer) == network.NotConnected {
		t.cfg.Taps.forget(k.peer)
	}
}

// expire drops closed connections that are too old or too many; t.mu is held.
func (t *Conns) expire(now time.Time) {
	n := max(0, len(t.closed)-maxClosed)
	for n < len(t.closed) && now.Sub(t.closed[n].at) > introspect.MaxRetention {
		n++
	}
	t.closed = slices.Delete(t.closed, 0, n)
}
