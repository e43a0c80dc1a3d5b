package server

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// lister is a database that fails at first.
type lister struct {
	mu    sync.Mutex
	asked int
	nodes []store.Node
}

func (l *lister) Nodes(_ context.Context, fleets []string, _ time.Duration) ([]store.Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; l.asked == 1 {
		return nil, errors.New("not yet")
	}
	if fleets[0] != "f" {
		return nil, nil
	}
	return l.nodes, nil
}

// TestJoin: servers without peers find each other through the database, whatever else it
// contains, and find each other again after they have lost their connections.
func TestJoin(t *testing.T) {
	var peers []*probe.Peer
	l := &lister{nodes: []store.Node{
		{ID: 1, PeerID: "no peer", IP: netip.MustParseAddr("127.0.0.1"), PeerPort: 1},
		{ID: 2, PeerID: "12D3KooWC262ndt4452Us1TM1qiZi5JJhdNNp92pAUERY9aPC3wN", IP: netip.MustParseAddr("127.0.0.1"), PeerPort: 70000},
		{ID: 3, PeerID: "12D3KooWC262ndt4452Us1TM1qiZi5JJhdNNp92pAUERY9aPC3wN", PeerPort: 1},
	}}
	for range 2 {
		p, err := probe.NewPeer(probe.PeerConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Server: true, Prefix: "/join-test"})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		peers = append(peers, p)
		l.nodes = append(l.nodes, store.Node{ID: 4, PeerID: p.Host.ID().String(), IP: netip.MustParseAddr("127.0.0.1"), PeerPort: p.Port()})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	for _, p := range peers {
		wg.Go(func() { Join(ctx, l, "f", p.Host, p.Ready, slog.Default()) })
	}
	both := func() bool { return peers[0].Ready() && peers[1].Ready() }
	require.Eventually(t, both, time.Minute, 10*time.Millisecond)
	require.Equal(t, network.Connected, peers[0].Host.Network().Connectedness(peers[1].Host.ID()))
	require.NoError(t, peers[0].Host.Network().ClosePeer(peers[1].Host.ID()))
	peers[0].DHT().RoutingTable().RemovePeer(peers[1].Host.ID())
	require.Eventually(t, func() bool {
		return both() && peers[0].Host.Network().Connectedness(peers[1].Host.ID()) == network.Connected
	}, time.Minute, 10*time.Millisecond)
}
