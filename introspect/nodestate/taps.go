package nodestate

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/internal/peermap"
)

// Limits of Taps: peers, and protocols of each peer. Traffic beyond them is not shown by
// stream.
const (
	maxTappedPeers     = 1 << 16
	maxTappedProtocols = 64
)

// Taps counts traffic in more detail than libp2p: by connection if it has a muxer, and by peer
// and protocol. It adds two atomic additions and one map lookup to each read and write of a
// stream, and allocates only for the first of a peer and protocol.
type Taps struct {
	peers peermap.Map[peerTap]

	mu    sync.Mutex   // held to change peers
	count atomic.Int64 // of peers; changed under mu
}

// NewTaps returns taps that count nothing yet.
func NewTaps() *Taps { return &Taps{} }

// Option puts the taps into a libp2p host. It must come after the options that
// set reporter and muxers.
func (t *Taps) Option() libp2p.Option {
	return func(cfg *libp2p.Config) error {
		if cfg.Reporter == nil {
			cfg.Reporter = noReporter{}
		}
		cfg.Reporter = &reporter{cfg.Reporter, t}
		cfg.Muxers = slices.Clone(cfg.Muxers)
		for i := range cfg.Muxers {
			cfg.Muxers[i].Muxer = countingMuxer{cfg.Muxers[i].Muxer}
		}
		return nil
	}
}

// ConnCounter counts the bytes of one connection, between its encryption and its muxer. As of a
// network.Conn returns it.
type ConnCounter struct{ in, out atomic.Uint64 }

// Bytes returns the received and sent bytes.
func (c *ConnCounter) Bytes() (in, out uint64) { return c.in.Load(), c.out.Load() }

// countingMuxer makes a muxer work on a counted connection.
type countingMuxer struct{ network.Multiplexer }

func (m countingMuxer) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	k := new(ConnCounter)
	mc, err := m.Multiplexer.NewConn(&countedConn{c, k}, isServer, scope)
	if err != nil {
		return nil, err
	}
	return &countedMuxed{mc, k}, nil
}

type countedConn struct {
	net.Conn
	count *ConnCounter
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.count.in.Add(uint64(max(n, 0)))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.count.out.Add(uint64(max(n, 0)))
	return n, err
}

type countedMuxed struct {
	network.MuxedConn
	count *ConnCounter
}

// As is libp2p's way to access the inner layers of a connection.
func (c *countedMuxed) As(target any) bool {
	if t, ok := target.(**ConnCounter); ok {
		*t = c.count
		return true
	}
	return c.MuxedConn.As(target)
}

// reporter is called for each read and write of a stream, on its goroutine.
type reporter struct {
	metrics.Reporter
	taps *Taps
}

func (r *reporter) LogSentMessageStream(n int64, p protocol.ID, to peer.ID) {
	r.Reporter.LogSentMessageStream(n, p, to)
	if k := r.taps.of(to, p); k != nil && n > 0 {
		k.out.Add(uint64(n))
	}
}

func (r *reporter) LogRecvMessageStream(n int64, p protocol.ID, from peer.ID) {
	r.Reporter.LogRecvMessageStream(n, p, from)
	if k := r.taps.of(from, p); k != nil && n > 0 {
		k.in.Add(uint64(n))
	}
}

// noReporter replaces a reporter that is turned off.
type noReporter struct{}

func (noReporter) Reset()                                                {}
func (noReporter) TrimIdle(time.Time)                                    {}
func (noReporter) LogSentMessage(int64)                                  {}
func (noReporter) LogRecvMessage(int64)                                  {}
func (noReporter) LogSentMessageStream(int64, protocol.ID, peer.ID)      {}
func (noReporter) LogRecvMessageStream(int64, protocol.ID, peer.ID)      {}
func (noReporter) GetBandwidthForPeer(peer.ID) (s metrics.Stats)         { return s }
func (noReporter) GetBandwidthForProtocol(protocol.ID) (s metrics.Stats) { return s }
func (noReporter) GetBandwidthTotals() (s metrics.Stats)                 { return s }
func (noReporter) GetBandwidthByPeer() map[peer.ID]metrics.Stats         { return nil }
func (noReporter) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }

// peerTap holds the counters of one peer. The list is replaced, not changed.
type peerTap struct {
	last atomic.Pointer[protoTap] // that was found last: most traffic with a peer is of one protocol
	mu   sync.Mutex               // held to add
	list atomic.Pointer[[]*protoTap]
}

// protoTap counts the traffic of one protocol with one peer.
type protoTap struct {
	proto   protocol.ID
	in, out atomic.Uint64

	// used by snapshots only
	rate    rate
	round   uint64    // the snapshot that streams belongs to
	streams [3]uint32 // open ones, by network.Direction where a protocol goes one way, else all at DirUnknown
}

// of returns a counter and creates it if missing; nil if there are too many.
func (t *Taps) of(p peer.ID, proto protocol.ID) *protoTap {
	pt := t.peers.Get(p)
	if pt == nil {
		if pt = t.add(p); pt == nil {
			return nil
		}
	}
	if k := pt.find(proto); k != nil {
		return k
	}
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if k := pt.find(proto); k != nil {
		return k
	}
	var old []*protoTap
	if l := pt.list.Load(); l != nil {
		old = *l
	}
	if len(old) >= maxTappedProtocols {
		return nil
	}
	k := &protoTap{proto: proto}
	list := append(slices.Clip(old), k)
	pt.list.Store(&list)
	return k
}

func (pt *peerTap) find(proto protocol.ID) *protoTap {
	if k := pt.last.Load(); k != nil && k.proto == proto {
		return k
	}
	if l := pt.list.Load(); l != nil {
		for _, k := range *l {
			if k.proto == proto {
				pt.last.Store(k)
				return k
			}
		}
	}
	return nil
}

// add makes the counters of a peer, unless there are too many.
func (t *Taps) add(p peer.ID) *peerTap {
	if t.count.Load() >= maxTappedPeers { // without the lock: at the limit each read comes here
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	pt := t.peers.Get(p)
	if pt == nil && t.count.Load() < maxTappedPeers {
		pt = new(peerTap)
		t.peers.Set(p, pt)
		t.count.Add(1)
	}
	return pt
}

// peer returns the bytes of all streams with a peer.
func (t *Taps) peer(p peer.ID) (in, out uint64) {
	pt := t.peers.Get(p)
	if pt == nil {
		return 0, 0
	}
	if l := pt.list.Load(); l != nil {
		for _, k := range *l {
			in, out = in+k.in.Load(), out+k.out.Load()
		}
	}
	return in, out
}

// forget drops a peer's counters.
func (t *Taps) forget(p peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers.Get(p) != nil {
		t.peers.Set(p, nil)
		t.count.Add(-1)
	}
}

// sweep drops the counters of disconnected peers: reads after their last connection closed have
// created the counters again.
func (t *Taps) sweep(connected func(peer.ID) bool) {
	for p := range t.peers.All() {
		if !connected(p) {
			t.forget(p)
		}
	}
}

// rate computes the speed of a counter from readings that are not too close together. It must
// not be used concurrently.
type rate struct {
	at              time.Time
	in, out         uint64
	inRate, outRate uint64
}

// rateEvery is the minimum time between two readings.
const rateEvery = 400 * time.Millisecond

// read takes a reading and returns bytes per second.
func (r *rate) read(now time.Time, in, out uint64) (inRate, outRate uint64) {
	switch d := now.Sub(r.at); {
	case r.at.IsZero():
		r.at, r.in, r.out = now, in, out
	case d >= rateEvery:
		r.inRate, r.outRate = perSecond(in, r.in, d), perSecond(out, r.out, d)
		r.at, r.in, r.out = now, in, out
	}
	return r.inRate, r.outRate
}

func perSecond(now, before uint64, d time.Duration) uint64 {
	if now < before {
		return 0
	}
	return uint64(float64(now-before) / d.Seconds())
}
