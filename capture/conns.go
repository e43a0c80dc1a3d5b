package capture

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/connstate"
	"github.com/ipfsmon/ipfsmon/internal/peermap"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// connTable has every open connection and the addresses of each connected peer;
// the hot path reads the addresses without a lock.
type connTable struct {
	peers     peermap.Map[peerState] // connected peers; changed under mu
	strangers bucket

	mu       sync.Mutex // held while an event is published: lock order is this one, then the bus's
	open     map[string]*openConn
	origin   Origin              // nil: no countries and gateways; immutable once Start was called
	starting bool                // Start is still listing connections
	gone     map[string]struct{} // closed while starting, before Start listed them
}

// openConn is what is known of one open connection.
type openConn struct {
	peer    peer.ID
	conn    network.Conn
	event   event.Conn // as it was published when it opened
	country string
}

// peerState is what is known of one connected peer.
type peerState struct {
	info     atomic.Pointer[peerInfo] // replaced, never changed
	identity atomic.Pointer[identity] // likewise
	bucket   bucket

	conns []*openConn // oldest first; guarded by connTable.mu
}

// peerInfo is what every event about a peer carries.
type peerInfo struct {
	addrs   []event.Text
	country string
	gateway bool
}

// noInfo is the info of peers that are not connected.
var noInfo peerInfo

// Origin reports where a peer is from. libp2p's callbacks call its methods once
// per connection: they must return at once.
type Origin interface {
	Country(ma.Multiaddr) string // ISO 3166-1 alpha-2; "" if not known or not a public address
	Gateway(peer.ID) bool
}

func (t *connTable) init() {
	t.open = make(map[string]*openConn)
	t.gone = make(map[string]struct{})
}

// peer returns what is known of a peer, and the bucket that limits its messages;
// both are shared. All peers without a connection share one bucket.
func (t *connTable) peer(p peer.ID) (*peerInfo, *bucket) {
	s := t.peers.Get(p)
	if s == nil {
		return &noInfo, &t.strangers
	}
	return s.info.Load(), &s.bucket
}

func newPeerState() *peerState {
	s := new(peerState)
	s.info.Store(&noInfo)
	s.identity.Store(&noIdentity)
	return s
}

// identity is what the samplers keep of a peer's identify.
type identity struct {
	agent     event.Text
	protocols []event.Text
}

var noIdentity identity

// setIdentity keeps what a connected peer reported about itself.
func (t *connTable) setIdentity(p peer.ID, id *event.Identify) {
	if s := t.peers.Get(p); s != nil {
		s.identity.Store(&identity{id.Agent, id.Protocols})
	}
}

// changeProtocols applies a change of protocols that a connected peer reported.
func (t *connTable) changeProtocols(p peer.ID, added, removed []event.Text) {
	s := t.peers.Get(p)
	if s == nil {
		return
	}
	old := s.identity.Load()
	var now []event.Text
	for _, x := range old.protocols {
		if !slices.Contains(removed, x) {
			now = append(now, x)
		}
	}
	for _, x := range added {
		if len(now) < event.MaxProtocols && !slices.Contains(now, x) {
			now = append(now, x)
		}
	}
	s.identity.Store(&identity{old.agent, now})
}

// refresh updates the peer's info after conns or the origin changed. The caller
// holds the table's mu. The country is that of the oldest connection that has one.
func (s *peerState) refresh(p peer.ID, origin Origin) {
	info := &peerInfo{addrs: make([]event.Text, 0, min(len(s.conns), event.MaxAddrs))}
	for _, c := range s.conns {
		if len(info.addrs) < event.MaxAddrs && !slices.Contains(info.addrs, c.event.Addr) {
			info.addrs = append(info.addrs, c.event.Addr)
		}
		if info.country == "" {
			info.country = c.country
		}
	}
	if origin != nil {
		info.gateway = origin.Gateway(p)
	}
	s.info.Store(info)
}

// SetOrigin makes events carry countries and gateways. Call it before Start.
func (c *Capture) SetOrigin(o Origin) { c.conns.origin = o }

// OriginChanged looks up all connected peers again.
func (c *Capture) OriginChanged() {
	defer c.guard.Recover("capture: origin")
	t := &c.conns
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, s := range t.peers.All() {
		s.refresh(p, t.origin)
	}
}

// opened adds a connection to the table and publishes it, unless it is known.
func (c *Capture) opened(nc network.Conn, wasOpen bool) {
	defer c.guard.Recover("capture: connection opened")
	info := connInfo(nc)
	info.WasOpen = wasOpen
	p := nc.RemotePeer()

	t := &c.conns
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.open[info.ID]; known {
		return
	}
	if _, gone := t.gone[info.ID]; gone {
		return
	}
	s := t.peers.Get(p)
	if s == nil {
		s = newPeerState()
		t.peers.Set(p, s)
	}
	oc := &openConn{peer: p, conn: nc, event: info}
	if t.origin != nil && !info.Limited { // a relay's address is not the peer's
		oc.country = t.origin.Country(nc.RemoteMultiaddr())
	}
	t.open[info.ID] = oc
	s.conns = append(s.conns, oc)
	s.refresh(p, t.origin)
	c.publishConn(p, info, s, time.Now())
}

// closed removes a connection and publishes that it closed and how long it lasted.
func (c *Capture) closed(nc network.Conn) {
	defer c.guard.Recover("capture: connection closed")
	now := time.Now()
	p, id := nc.RemotePeer(), nc.ID()

	t := &c.conns
	t.mu.Lock()
	defer t.mu.Unlock()
	oc, known := t.open[id]
	if !known {
		if t.starting {
			t.gone[id] = struct{}{}
		}
		info := connInfo(nc)
		info.Closed, info.Unmatched = true, true
		info.Duration = since(info.Opened, now)
		c.publishConn(p, info, nil, now)
		return
	}
	delete(t.open, id)
	info := oc.event
	info.Closed, info.WasOpen = true, false
	info.Duration = since(info.Opened, now)
	info.Streams = 0

	s := t.peers.Get(p)
	if s != nil {
		s.conns = slices.DeleteFunc(s.conns, func(o *openConn) bool { return o == oc })
		if len(s.conns) == 0 {
			t.peers.Set(p, nil) // the event still carries s.info
		} else {
			s.refresh(p, t.origin)
		}
	}
	c.publishConn(p, info, s, now)
}

// since returns the time between two times, never less than 0: the clock may
// have been set.
func since(from, to time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	return max(0, to.Sub(from))
}

// publishConn publishes a change of a connection. The caller holds the table's
// mu, so that the bus has the changes in the table's order.
func (c *Capture) publishConn(p peer.ID, info event.Conn, s *peerState, at time.Time) {
	e := &event.Event{Time: at.UnixNano(), Kind: event.KindConnection, Peer: p, Conn: &info}
	info.TotalConns = len(c.conns.open)
	if s != nil {
		info.PeerConns = len(s.conns)
		s.info.Load().fill(e)
	}
	c.place(e)
	c.bus.Publish(e)
}

// fill sets what every event about the peer carries.
func (i *peerInfo) fill(e *event.Event) {
	e.Addrs, e.Country, e.Gateway = i.addrs, i.country, i.gateway
}

// connInfo copies what libp2p knows of a connection.
func connInfo(nc network.Conn) event.Conn {
	st, cs := nc.Stat(), connstate.Of(nc)
	return event.Conn{
		ID:        nc.ID(),
		Inbound:   st.Direction == network.DirInbound,
		Limited:   st.Limited,
		Addr:      peertext.Addr(nc.RemoteMultiaddr()),
		Transport: sets.Name(event.Transports, cs.Transport),
		Security:  sets.Name(event.Securities, securities[string(cs.Security)]),
		Muxer:     sets.Name(event.Muxers, muxers[string(cs.StreamMultiplexer)]),
		Opened:    st.Opened,
		Streams:   st.NumStreams,
	}
}

// libp2p's names for security and multiplexers, and ours. QUIC, WebTransport and
// WebRTC have both built in and leave the names empty.
var (
	securities = map[string]string{"": "none", "/tls/1.0.0": "tls", "/noise": "noise"}
	muxers     = map[string]string{"": "none", "/yamux/1.0.0": "yamux"}
)
