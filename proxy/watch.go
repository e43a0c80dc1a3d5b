package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// The back-off of reconnects to a node.
const (
	firstBackoff   = 250 * time.Millisecond
	lastBackoff    = 30 * time.Second
	connectTimeout = 10 * time.Second
)

// watch keeps a node connected until ctx ends.
func (p *Proxy) watch(ctx context.Context, d *downstream) {
	waits, said := backoff.New(firstBackoff, lastBackoff), ""
	for ctx.Err() == nil {
		var id peer.ID
		err := p.engine.guard.Call("proxy: connect to a node", func() (err error) { id, err = p.connect(ctx, d); return err })
		if err == nil {
			p.cfg.Logger.Info("proxy: connected to a node", "downstream", d.addr.name, "peer", id)
			began := time.Now()
			p.engine.nodeConnected(d, id)
			p.pass.offer()
			p.stay(ctx, d, id)
			p.engine.nodeGone(d)
			p.pass.offer()
			if ctx.Err() != nil {
				return
			}
			p.cfg.Logger.Warn("proxy: a node disconnected", "downstream", d.addr.name, "peer", id)
			if said = ""; time.Since(began) > lastBackoff {
				waits.Reset()
			}
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			p.cfg.Logger.Warn("proxy: a node cannot be reached, retrying", "downstream", d.addr.name, "api", d.addr.addr.String(), "err", err)
			said = text
		}
		_ = waits.Wait(ctx)
	}
}

// connect asks a node for its ID and connects to it.
func (p *Proxy) connect(ctx context.Context, d *downstream) (peer.ID, error) {
	info, err := p.rpc.id(ctx, d.addr)
	if err != nil {
		return "", err
	}
	if info.ID == p.down.ID() {
		return "", fmt.Errorf("its peer ID %s is the proxy's own", info.ID)
	}
	if other := p.engine.nodeOf(info.ID); other != nil && other != d {
		return "", fmt.Errorf("it is the same node as %s", other.addr.name)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	p.down.Peerstore().ClearAddrs(info.ID)
	p.down.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
	p.names.set(d, info.ID)
	if err := p.down.Connect(ctx, *info); err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	p.down.ConnManager().Protect(info.ID, "downstream")
	return info.ID, nil
}

// stay waits until a node's connection has ended.
func (p *Proxy) stay(ctx context.Context, d *downstream, id peer.ID) {
	for {
		gone := p.engine.goneSignal(d)
		if p.down.Network().Connectedness(id) != network.Connected {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-gone:
		case <-time.After(sweepEvery): // in case a notification is lost
		}
	}
}

// nodeDisconnected handles libp2p's notification.
func (p *Proxy) nodeDisconnected(n network.Network, c network.Conn) {
	defer p.engine.guard.Recover("proxy: handle a node's disconnect")
	id := c.RemotePeer()
	if n.Connectedness(id) == network.Connected {
		return
	}
	if d := p.engine.nodeOf(id); d != nil {
		p.engine.nodeGone(d)
		p.engine.signalGone(d)
	}
}

// hangUp closes the connection to a silent node; watch opens a new one.
func (p *Proxy) hangUp(d *downstream) {
	id := p.engine.idOf(d)
	p.cfg.Logger.Warn("proxy: a node is silent; reconnecting", "downstream", d.addr.name, "peer", id)
	p.engine.nodeGone(d)
	p.tasks.Go(func() { // closing can wait for stuck streams
		defer p.engine.guard.Recover("proxy: disconnect a node")
		_ = p.down.Network().ClosePeer(id) // the connection is gone either way
		p.engine.signalGone(d)
	})
}
