package server

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Alive is how old a server's last heartbeat may be for it to count.
const Alive = 2 * time.Minute

// joinEvery is how often Join calls ready.
const joinEvery = time.Second

// Lister reports which servers are alive.
type Lister interface {
	Nodes(ctx context.Context, fleets []string, within time.Duration) ([]store.Node, error)
}

// Join connects to the other servers of a fleet, which it finds in the store,
// whenever ready returns false, until ctx is done. So the servers of a private DHT
// need no addresses of each other in their configuration.
func Join(ctx context.Context, l Lister, fleet string, h host.Host, ready func() bool, log *slog.Logger) {
	tick := time.NewTicker(joinEvery)
	defer tick.Stop()
	for {
		if !ready() {
			nodes, err := l.Nodes(ctx, []string{fleet}, Alive)
			if err != nil && ctx.Err() == nil {
				log.Debug("probe: cannot read the fleet from the database, retrying", "err", err)
			}
			for _, n := range nodes {
				connect(ctx, h, &n, log)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func connect(ctx context.Context, h host.Host, n *store.Node, log *slog.Logger) {
	id, err := peertext.ID(n.PeerID)
	if err != nil || id == h.ID() || n.PeerPort < 1 || n.PeerPort > 65535 {
		return // a server of another program may write anything there
	}
	tcp, err := manet.FromNetAddr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.IP, uint16(n.PeerPort))))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := h.Connect(ctx, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{tcp}}); err != nil && ctx.Err() == nil {
		log.Debug("probe: a server of the fleet cannot be reached", "node", n.ID, "err", err)
	}
}
