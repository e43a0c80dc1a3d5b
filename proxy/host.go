package proxy

import (
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// userAgent is the proxy's agent version.
const userAgent = "ipfsmon-proxy"

// upHost creates the host that peers connect to.
func upHost(s *settings, key crypto.PrivKey) (host.Host, error) {
	addrs := append([]ma.Multiaddr(nil), s.listen...)
	if s.ws != nil {
		addrs = append(addrs, s.ws)
	}
	opts := []libp2p.Option{libp2p.ListenAddrs(addrs...), wire.Security()}
	if s.SwarmKeyFile != "" {
		psk, err := loadSwarmKey(s.SwarmKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--swarm-key: %w", err)
		}
		opts = append(opts, libp2p.PrivateNetwork(psk))
	}
	rm, err := peersManager(s.MaxUpstreams)
	if err != nil {
		return nil, err
	}
	opts = append(opts, libp2p.DefaultMuxers)
	h, err := newHost(key, rm, append(opts, s.HostOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("listen (-l, -w): %w", err)
	}
	return h, nil
}

// downHost creates the host that connects to the nodes. It listens nowhere, so that it only
// knows the nodes that it dialled. It has the same key, so that the nodes' owner configures a
// single peer ID in them.
func downHost(s *settings, key crypto.PrivKey) (host.Host, error) {
	opts := []libp2p.Option{libp2p.NoListenAddrs}
	if s.DownSwarmKeyFile != "" {
		psk, err := loadSwarmKey(s.DownSwarmKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--downstream-swarm-key: %w", err)
		}
		opts = append(opts, libp2p.PrivateNetwork(psk))
	}
	rm, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.InfiniteLimits))
	if err != nil {
		return nil, err
	}
	return newHost(key, rm, opts...)
}

func newHost(key crypto.PrivKey, rm network.ResourceManager, opts ...libp2p.Option) (host.Host, error) {
	return libp2p.New(append(opts,
		libp2p.Identity(key), libp2p.UserAgent(userAgent), libp2p.ResourceManager(rm),
		libp2p.DisableRelay(), libp2p.ForceReachabilityPrivate(), libp2p.DisableMetrics())...)
}

// peersManager limits the resources of all peers together and of each.
func peersManager(peers int) (network.ResourceManager, error) {
	whole := func(n int) rcmgr.LimitVal { return rcmgr.LimitVal(min(n, math.MaxInt32)) }
	conns := rcmgr.ResourceLimits{
		Conns: whole(2*peers + 128), ConnsInbound: whole(2*peers + 128), FD: whole(2*peers + 512),
		Streams: whole(32*peers + 2048), StreamsInbound: whole(16*peers + 2048), StreamsOutbound: whole(16*peers + 2048),
		Memory: rcmgr.LimitVal64(1 << 30),
	}
	transient := rcmgr.ResourceLimits{Conns: whole(peers + 128), ConnsInbound: whole(peers + 128), FD: whole(peers + 128),
		Streams: whole(2*peers + 1024), StreamsInbound: whole(2*peers + 1024), StreamsOutbound: whole(2*peers + 1024)}
	services := rcmgr.ResourceLimits{Streams: whole(16*peers + 1024), StreamsInbound: whole(16*peers + 1024), StreamsOutbound: whole(16*peers + 1024)}
	base := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&base)
	limits := rcmgr.PartialLimitConfig{System: conns, Transient: transient, ServiceDefault: services, ProtocolDefault: services}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(base.AutoScale())))
}
