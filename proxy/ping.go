package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// Parameters of the measurement of round-trip times to peers. A proxy has no DHT, whose
// requests measure them in a kubo node.
const (
	pingEvery   = time.Minute
	pingLook    = time.Second // how soon a new peer is pinged
	pingTimeout = 10 * time.Second
	pingAtOnce  = 16
)

// pings measures the round-trip time to each connected peer, after it has connected and every
// pingEvery, until ctx ends. Libp2p's peerstore keeps it.
func (p *Proxy) pings(ctx context.Context) {
	tick := time.NewTicker(pingLook)
	defer tick.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, pingAtOnce)
	next := map[peer.ID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, connected := time.Now(), map[peer.ID]time.Time{}
		for _, id := range p.engine.peers() {
			at, there := next[id]
			if there && now.Before(at) {
				connected[id] = at
				continue
			}
			select {
			case slots <- struct{}{}:
				connected[id] = now.Add(pingEvery)
				all.Go(func() {
					defer func() { <-slots }()
					defer p.engine.guard.Recover("proxy: ping a peer")
					p.ping(ctx, id)
				})
			default: // at the next check
				if there {
					connected[id] = at
				}
			}
		}
		next = connected
	}
}

// ping measures one round-trip time. A peer that does not answer has none.
func (p *Proxy) ping(ctx context.Context, id peer.ID) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "a ping only to connected peers"), pingTimeout)
	defer cancel()
	for range ping.Ping(ctx, p.up, id) { // the peerstore keeps it; one is enough
		return
	}
}
