package nodestate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// Bounds of what a state lists besides connections.
const (
	maxLedgers  = 1000 // peers
	maxWants    = 1000 // of this node
	maxWantlist = 8    // CIDs of each ledger, of the first maxLists ledgers
	maxLists    = 100
	maxTopics   = 200
	maxTopic    = 32 // peers named of each
	maxScopes   = 200

	// slowEvery is how often figures are read again that cost more than a look
	// at a counter.
	slowEvery = 2 * time.Second
	slowShare = 20
)

// Config has the sources of a State outside the node.
type Config struct {
	Started time.Time // when the node started
	// Named: peers and CIDs may be named.
	Named bool
	// Bitswap reads the counters of Bitswap messages.
	Bitswap func(event.Direction) event.Traffic
	// DHT reads the counters of the requests of one DHT; nil: unknown.
	DHT func(lan bool) event.DHTCounters
	// Origin returns the country of a peer and whether it is a gateway; nil: unknown.
	Origin func(peer.ID, multiaddr.Multiaddr) (country string, gateway bool)
	// RepoBytes returns the repository's size as last read, -1 if unknown; nil: unknown.
	RepoBytes func() int64
	// Proxy returns a proxy's current state, with counters since its start, and its last
	// sample, nil if there was none yet. nil: the program is not a proxy.
	Proxy func() (now, last *event.Proxy)
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// State reads a node for introspection.
type State struct {
	node     Node
	cfg      Config
	conns    *Conns // nil without a host, or if peers may not be named
	rates    bitswapRates
	follower *follower

	cancel context.CancelFunc // nil before Start
	wg     sync.WaitGroup

	// of the one snapshot that is made at a time
	bitswap   kept[*pb.Bitswap]
	peerstore kept[*pb.Peerstore]
	resources kept[*pb.ResourceManager]
	process   kept[*pb.Process]
}

// New returns the state of a node. It starts nothing.
func New(n Node, cfg Config) *State {
	n = n.OfHost()
	s := &State{node: n, cfg: cfg, rates: bitswapRates{read: cfg.Bitswap}, follower: newFollower(cfg.Logger)}
	if n.Host != nil && cfg.Named {
		s.conns = NewConns(s.connsConfig())
	}
	return s
}

// Start follows the node's connections, events and traffic rates, and forwards events to the
// sessions of a server. Close ends it.
func (s *State) Start(srv *introspect.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	if h := s.node.Host; s.conns != nil {
		h.Network().Notify(s.conns)
		s.wg.Go(func() {
			if err := s.follower.follow(ctx, h.EventBus(), srv); err != nil {
				s.log().Warn("introspection does not show libp2p's events", "err", err)
			}
		})
	}
	s.wg.Go(func() { s.rates.run(ctx) })
}

// Close ends what Start started and waits for it; without a Start it does nothing.
func (s *State) Close() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	if s.conns != nil {
		s.node.Host.Network().StopNotify(s.conns)
	}
	s.wg.Wait()
}

func (s *State) log() *slog.Logger {
	if s.cfg.Logger != nil {
		return s.cfg.Logger
	}
	return slog.Default()
}

// Panics returns the number of panics caught in callbacks of the node.
func (s *State) Panics() uint64 {
	n := s.follower.guard.Panics()
	if s.conns != nil {
		n += s.conns.Panics()
	}
	return n
}

// Register adds the providers of the node's parts.
func (s *State) Register(r introspect.Introspector) error {
	n := s.node
	out := &introspect.DataProviders{Traffic: s.traffic, Bitswap: s.bitswapState, Process: s.processState}
	if n.Peerstore != nil {
		out.Peerstore = s.peerstoreState
	}
	if f := s.cfg.Proxy; f != nil {
		out.Proxy = func() (*pb.Proxy, error) {
			now, last := f()
			return proxyState(now, last, s.cfg.Named), nil
		}
	}
	if n.PubSub != nil {
		out.PubSub = s.pubsub
	}
	if m, ok := n.Resources.(rcmgr.ResourceManagerState); ok {
		out.Resources = func() (*pb.ResourceManager, error) {
			return s.resources.get(func() *pb.ResourceManager { return resourceState(n.Resources, m) }), nil
		}
	}
	if s.conns == nil {
		if n.Host != nil {
			network := n.Host.Network()
			out.Totals = func() (peers, connections int) { return len(network.Peers()), len(network.Conns()) }
		}
		return r.RegisterDataProviders(out)
	}
	if d := n.DHT; d != nil {
		var tables []dhtTable
		if d.WAN != nil {
			tables = append(tables, dhtTable{Name: tableWAN, Protocol: string(amino.ProtocolID), DHT: d.WAN})
		}
		if d.LAN != nil {
			tables = append(tables, dhtTable{Name: tableLAN, Protocol: "/ipfs/lan/kad/1.0.0", DHT: d.LAN})
		}
		out.DHT = dhtProvider(s.cfg.Started, tables, s.cfg.DHT, n.Agent)
	}
	return errors.Join(r.RegisterDataProviders(s.conns.Providers()), r.RegisterDataProviders(out))
}

// connsConfig has the sources of data that connections lack.
func (s *State) connsConfig() ConnsConfig {
	h := s.node.Host
	cfg := ConnsConfig{
		Conns: h.Network().Conns, Agent: s.node.Agent, Latency: h.Peerstore().LatencyEWMA, Origin: s.cfg.Origin,
		Taps: s.node.Taps, Logger: s.cfg.Logger,
	}
	if t, r := s.node.Taps, s.node.Reporter; t != nil {
		cfg.PeerTraffic = t.peer
	} else if r != nil {
		cfg.PeerTraffic = func(p peer.ID) (in, out uint64) {
			t := r.GetBandwidthForPeer(p)
			return whole(t.TotalIn), whole(t.TotalOut)
		}
	}
	return cfg
}

// kept caches a reading for slowEvery, or for slowShare times as long as it took.
type kept[T any] struct {
	value T
	at    time.Time
	took  time.Duration
}

func (k *kept[T]) get(read func() T) T {
	if now := time.Now(); k.at.IsZero() || now.Sub(k.at) >= max(slowEvery, slowShare*k.took) {
		k.value, k.at = read(), now
		k.took = time.Since(now)
	}
	return k.value
}

func whole(n int64) uint64 { return uint64(max(n, 0)) }

func (s *State) traffic() (*pb.Traffic, error) {
	r := s.node.Reporter
	if r == nil {
		return nil, errors.New("libp2p's bandwidth metrics are off in the node's configuration")
	}
	t := r.GetBandwidthTotals()
	return &pb.Traffic{
		TrafficIn:  &pb.DataGauge{CumBytes: whole(t.TotalIn), InstBw: whole(int64(t.RateIn))},
		TrafficOut: &pb.DataGauge{CumBytes: whole(t.TotalOut), InstBw: whole(int64(t.RateOut))},
	}, nil
}
