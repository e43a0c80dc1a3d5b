package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// Agent is the node's agent version.
const Agent = "ipfsmon-watch/1"

// maxAddresses bounds the addresses of peers that are not connected. Those that are expire an
// hour after the connection, libp2p's default; keys and protocols after a minute.
const maxAddresses = 100_000

// Limits of one peer.
const (
	peerConns   = 8
	peerStreams = 64
)

// newHost makes the libp2p host: listeners and NAT traversal as kubo's.
func (n *Node) newHost(key crypto.PrivKey) (_ host.Host, err error) {
	s := n.cfg
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range undo {
				err = errors.Join(err, f())
			}
		}
	}()
	limits, err := limits(s)
	if err != nil {
		return nil, fmt.Errorf("watch: limit resources: %w", err)
	}
	undo = append(undo, limits.Close)
	conns, err := connmgr.NewConnManager(s.Peers, s.highWater(), connmgr.WithGracePeriod(20*time.Second))
	if err != nil {
		return nil, fmt.Errorf("watch: --peers %d: %w", s.Peers, err)
	}
	undo = append(undo, conns.Close)
	peers, err := pstoremem.NewPeerstore(pstoremem.WithMaxAddresses(maxAddresses), pstoremem.WithMaxSignedPeerRecords(maxAddresses/10))
	if err != nil {
		return nil, fmt.Errorf("watch: keep peers: %w", err)
	}
	undo = append(undo, peers.Close)
	n.traffic, n.taps = metrics.NewBandwidthCounter(), nodestate.NewTaps()
	opts := []libp2p.Option{
		libp2p.Identity(key), libp2p.UserAgent(Agent),
		libp2p.ResourceManager(limits), libp2p.ConnectionManager(conns), libp2p.Peerstore(peers),
		libp2p.DefaultTransports, libp2p.Muxer(yamux.ID, muxer()), libp2p.ShareTCPListener(), libp2p.DisableMetrics(),
		libp2p.BandwidthReporter(noPeers{n.traffic}),
	}
	if s.Isolated {
		gate := onlyLoopback{}
		if s.OnlyBootstrap {
			gate.peers = map[peer.ID]bool{}
			for _, p := range s.bootstrap {
				gate.peers[p.ID] = true
			}
		}
		opts = append(opts, libp2p.ConnectionGater(gate), libp2p.MultiaddrResolver(noNames{}), libp2p.DisableRelay())
	} else {
		opts = append(opts, libp2p.NATPortMap(), libp2p.EnableRelay(), libp2p.EnableHolePunching(),
			libp2p.EnableNATService(), libp2p.EnableAutoNATv2(), libp2p.EnableAutoRelayWithPeerSource(n.relays))
	}
	// The taps come after the muxers. It listens below, since a host that cannot does not clean up.
	h, err := libp2p.New(append(opts, libp2p.NoListenAddrs, n.taps.Option())...)
	if err != nil {
		return nil, fmt.Errorf("watch: make a libp2p host: %w", err)
	}
	undo = []func() error{h.Close} // it closes the rest
	var errs []error
	for _, a := range s.listen {
		if e := h.Network().Listen(a); e != nil {
			errs = append(errs, fmt.Errorf("--listen %s: %w", a, e))
		}
	}
	if len(errs) == len(s.listen) {
		return nil, fmt.Errorf("watch: %w", errors.Join(errs...))
	}
	for _, e := range errs { // as on a machine without IPv6
		s.Logger.Warn("watch: an address is left out", "err", e)
	}
	n.resources = limits
	return h, nil
}

// rttEvery is how often the round-trip time of a TCP connection is measured: only large windows
// depend on it. What keeps a silent connection alive is another ping.
const rttEvery = time.Hour

// muxer is yamux with libp2p's configuration, for connections that have few streams and are
// silent most of the time.
func muxer() *yamux.Transport {
	t := *yamux.DefaultTransport
	t.AcceptBacklog = peerStreams // a queue of each connection: no peer may have more
	t.MeasureRTTInterval = rttEvery
	return &t
}

// noPeers counts traffic in all and by protocol. That of each peer is in the taps.
type noPeers struct{ *metrics.BandwidthCounter }

func (c noPeers) LogSentMessageStream(n int64, p protocol.ID, _ peer.ID) {
	c.BandwidthCounter.LogSentMessageStream(n, p, "")
}

func (c noPeers) LogRecvMessageStream(n int64, p protocol.ID, _ peer.ID) {
	c.BandwidthCounter.LogRecvMessageStream(n, p, "")
}

// limits bounds what peers take, together and each.
func limits(s *settings) (network.ResourceManager, error) {
	conns := rcmgr.LimitVal(s.mostConns())
	streams := 16*conns + 2048
	base := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&base)
	part := rcmgr.PartialLimitConfig{
		// The memory that libp2p counts is what windows of streams could take, of which most
		// use nothing: streams are the limit that counts.
		System: rcmgr.ResourceLimits{Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns,
			Streams: 2 * streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: rcmgr.Unlimited64},
		Transient: rcmgr.ResourceLimits{Conns: conns/2 + 128, ConnsInbound: conns/4 + 128, ConnsOutbound: conns/4 + 128, FD: conns/2 + 128,
			Streams: conns + 1024, StreamsInbound: conns + 1024, StreamsOutbound: conns + 1024, Memory: rcmgr.Unlimited64},
		ServiceDefault:  rcmgr.ResourceLimits{Streams: 2 * streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: rcmgr.Unlimited64},
		ProtocolDefault: rcmgr.ResourceLimits{Streams: 2 * streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: rcmgr.Unlimited64},
		PeerDefault: rcmgr.ResourceLimits{Conns: peerConns, ConnsInbound: peerConns, ConnsOutbound: peerConns, FD: peerConns,
			Streams: 2 * peerStreams, StreamsInbound: peerStreams, StreamsOutbound: peerStreams},
	}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(part.Build(base.AutoScale())))
}

// relays returns peers that may be relays: those that are connected.
func (n *Node) relays(_ context.Context, most int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo, most)
	defer close(out)
	h := n.host.Load()
	if h == nil {
		return out // not made yet
	}
	for i, p := range (*h).Network().Peers() {
		if i == most {
			break
		}
		out <- (*h).Peerstore().PeerInfo(p)
	}
	return out
}

// onlyLoopback refuses connections beyond loopback, and with other peers than these.
type onlyLoopback struct {
	peers map[peer.ID]bool // nil: all
}

func (o onlyLoopback) InterceptPeerDial(p peer.ID) bool { return o.peers == nil || o.peers[p] }
func (onlyLoopback) InterceptAddrDial(_ peer.ID, a ma.Multiaddr) bool {
	return manet.IsIPLoopback(a)
}
func (onlyLoopback) InterceptAccept(c network.ConnMultiaddrs) bool {
	return manet.IsIPLoopback(c.RemoteMultiaddr())
}
func (o onlyLoopback) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return o.InterceptPeerDial(p)
}
func (onlyLoopback) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) {
	return true, 0
}

// noNames resolves no names: a request for one would leave the machine.
type noNames struct{}

var errIsolated = errors.New("an isolated node resolves no names")

func (noNames) ResolveDNSAddr(context.Context, peer.ID, ma.Multiaddr, int, int) ([]ma.Multiaddr, error) {
	return nil, errIsolated
}
func (noNames) ResolveDNSComponent(context.Context, ma.Multiaddr, int) ([]ma.Multiaddr, error) {
	return nil, errIsolated
}
