package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/keyfile"
	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// How often the engine's clock ticks, and how often the peers of the host and of the engine are
// compared.
const (
	tickEvery  = 50 * time.Millisecond
	sweepEvery = 10 * time.Second
)

// drainTimeout is how long Close waits until queued data has been sent to peers.
const drainTimeout = 5 * time.Second

// Proxy is a proxy. New opens its listeners, Start serves, Close ends it.
type Proxy struct {
	cfg    *settings
	up     host.Host
	down   host.Host
	upNet  bsnetwork.BitSwapNetwork
	downNt bsnetwork.BitSwapNetwork
	engine *engine
	rpc    *rpc
	pass   *passer
	refs   *refsServer // nil: off

	names    nodeNames
	last     atomic.Pointer[event.Proxy] // the last sample
	received [event.Sides]atomic.Uint64  // messages of both sides since the start
	seen     [event.Sides]*bsnetwork.ConnectEventManager

	notifee *network.NotifyBundle
	cancel  context.CancelFunc
	ctx     context.Context
	tasks   sync.WaitGroup
	closing sync.Once
}

// New validates the configuration, reads or creates the key, and opens the listeners. Close it,
// even if Start was not called.
func New(cfg Config) (_ *Proxy, err error) {
	s, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: s}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			p.abandon()
		}
	}()
	if p.rpc, err = newRPC(s); err != nil {
		return nil, err
	}
	key, err := keyfile.Load(s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("-k: %w", err)
	}
	if p.down, err = downHost(s, key); err != nil {
		return nil, err
	}
	if p.up, err = upHost(s, key); err != nil {
		return nil, err
	}
	for _, side := range []event.Side{event.Upstream, event.Downstream} {
		p.seen[side] = bsnetwork.NewConnectEventManager()
	}
	p.upNet = bsnet.NewFromIpfsHost(p.up, bsnet.WithConnectEventManager(p.seen[event.Upstream]))
	p.downNt = bsnet.NewFromIpfsHost(p.down, bsnet.WithConnectEventManager(p.seen[event.Downstream]))
	p.engine = newEngine(s, p.upNet, p.downNt)
	p.engine.reverse.at = p.addressesOf
	p.pass = newPasser(p)
	countBlocked(p.up, p.engine)
	if s.refsAt != "" {
		if p.refs, err = newRefsServer(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// abandon closes everything that New opened before it failed.
func (p *Proxy) abandon() {
	p.cancel()
	if p.refs != nil {
		p.refs.close()
	}
	for _, h := range []host.Host{p.up, p.down} {
		if h != nil {
			_ = h.Close() // nothing was running on it
		}
	}
	if p.rpc != nil {
		p.rpc.close()
	}
}

// Start starts to serve.
func (p *Proxy) Start() {
	p.downNt.Start((*downSide)(p))
	p.upNet.Start((*upSide)(p))
	wire.Listen(p.down, (*downSide)(p), p.seen[event.Downstream], &p.engine.guard)
	wire.Listen(p.up, (*upSide)(p), p.seen[event.Upstream], &p.engine.guard)
	p.notifee = &network.NotifyBundle{DisconnectedF: p.nodeDisconnected}
	p.down.Network().Notify(p.notifee)
	for _, d := range p.engine.downs {
		p.tasks.Go(func() { p.watch(p.ctx, d) })
	}
	p.tasks.Go(p.ticks)
	p.tasks.Go(func() { p.pings(p.ctx) })
	if p.refs != nil {
		p.tasks.Go(p.refs.serve)
	}
}

// ticks is the engine's clock.
func (p *Proxy) ticks() {
	tick, sweep, retry := time.NewTicker(tickEvery), time.NewTicker(sweepEvery), time.NewTicker(retryEvery)
	defer tick.Stop()
	defer sweep.Stop()
	defer retry.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-tick.C:
			p.due(now)
		case <-retry.C:
			p.retry()
		case <-sweep.C:
			p.sweep()
		}
	}
}

func (p *Proxy) due(now time.Time) {
	defer p.engine.guard.Recover("proxy: check due asks")
	for _, d := range p.engine.tick(now) {
		p.hangUp(d)
	}
}

func (p *Proxy) retry() {
	defer p.engine.guard.Recover("proxy: ask again")
	p.engine.retry()
}

func (p *Proxy) sweep() {
	defer p.engine.guard.Recover("proxy: look for disconnected peers")
	for _, id := range p.engine.peers() {
		if p.up.Network().Connectedness(id) != network.Connected {
			p.engine.peerGone(id)
		}
	}
}

// Panics returns how many panics were caught: each has lost only a message, a stream or a
// request.
func (p *Proxy) Panics() uint64 { return p.engine.guard.Panics() }

// Close stops the proxy: it accepts no new peers and wants, delivers what is queued for at most
// drainTimeout, then closes all connections. It may be called more than once.
func (p *Proxy) Close() error {
	var err error
	p.closing.Do(func() {
		if p.notifee == nil { // Start was not called
			p.abandon()
			return
		}
		if p.refs != nil {
			p.refs.close()
		}
		for _, a := range p.up.Network().ListenAddresses() {
			if l, ok := p.up.Network().(interface{ ListenClose(...ma.Multiaddr) }); ok {
				l.ListenClose(a)
			}
		}
		p.engine.drain(drainTimeout)
		p.cancel()
		p.pass.close()
		p.engine.close()
		p.tasks.Wait()
		p.down.Network().StopNotify(p.notifee)
		err = errors.Join(p.up.Close(), p.down.Close())
		p.upNet.Stop()
		p.downNt.Stop()
		p.rpc.close()
	})
	return err
}

// Host returns the upstream side's host.
func (p *Proxy) Host() host.Host { return p.up }

// DownHost returns the downstream side's host.
func (p *Proxy) DownHost() host.Host { return p.down }

// Addrs returns the addresses at which peers reach the proxy, with its peer ID.
func (p *Proxy) Addrs() []ma.Multiaddr {
	all, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: p.up.ID(), Addrs: p.up.Addrs()})
	if err != nil {
		return nil // for an invalid ID
	}
	return all
}

// RefsAddr returns the address of /api/v0/refs; nil: not served.
func (p *Proxy) RefsAddr() net.Addr {
	if p.refs == nil {
		return nil
	}
	return p.refs.listener.Addr()
}

// addressesOf returns the IP addresses of a peer's connections.
func (p *Proxy) addressesOf(id peer.ID) []netip.Addr {
	var out []netip.Addr
	for _, c := range p.up.Network().ConnsToPeer(id) {
		if ip, err := manet.ToIP(c.RemoteMultiaddr()); err == nil {
			if a, ok := netip.AddrFromSlice(ip); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}
