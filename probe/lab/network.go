package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/probe"
)

const (
	// prefix separates the lab's DHT from all others.
	prefix = "/ipfsmon-lab"
	// joinTimeout is how long a peer may take to join.
	joinTimeout = 3 * time.Minute
	// dialTimeout is how long a new peer waits for one of those that it knows.
	dialTimeout = 30 * time.Second
	// contacts is how many peers a new one knows at first.
	contacts = 3
	// walks is how many random lookups fill a new peer's routing table, in
	// addition to the one for itself.
	walks = 4
	// checksAtOnce is how many peers a peer checks at a time before they enter its routing table. In
	// a small network the same ones are found again and again, and the 256 checks that kad-dht
	// allows wait for each other, and lookups behind them, on the one stream to a peer.
	checksAtOnce = 4
	// atOnce is how many peers join concurrently.
	atOnce = 16
)

// private is the private DHT: its peers, in this process.
type private struct {
	cfg   *Config
	links *links

	mu     sync.Mutex
	peers  []*probe.Peer
	number int
	joined int // by churn
	left   int
}

// host are the options that keep a libp2p host in the lab.
func (n *private) host(number int) []libp2p.Option {
	opts := []libp2p.Option{
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.NoTransports,
	}
	if n.links.latency == 0 && n.links.loss == 0 {
		return append(opts, libp2p.Transport(tcp.NewTCPTransport))
	}
	d := dialer{n.links, number}
	return append(opts, libp2p.Transport(tcp.NewTCPTransport, tcp.WithDialerForAddr(func(ma.Multiaddr) (tcp.ContextDialer, error) { return d, nil })))
}

// add makes a peer and joins it to the DHT.
func (n *private) add(ctx context.Context, cfg probe.PeerConfig) (*probe.Peer, error) {
	n.mu.Lock()
	number := n.number
	n.number++
	n.mu.Unlock()
	cfg.Prefix, cfg.BucketSize, cfg.Bootstrap = prefix, n.cfg.Bucket, []peer.AddrInfo{}
	cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.Host = n.host(number)
	cfg.DHT = append(cfg.DHT, dht.AddressFilter(nil), dht.DisableAutoRefresh(), dht.LookupCheckConcurrency(checksAtOnce))
	p, err := probe.NewPeer(cfg)
	if err != nil {
		return nil, err
	}
	n.links.owners.Store(p.Port(), number)
	return p, nil
}

// some returns a few random peers.
func (n *private) some(but *probe.Peer) (out []peer.AddrInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range mathrand.Perm(len(n.peers)) {
		if p := n.peers[i]; p != but && len(out) < contacts {
			out = append(out, peer.AddrInfo{ID: p.Host.ID(), Addrs: p.Host.Addrs()})
		}
	}
	return out
}

// join connects a peer and fills its routing table, which no refresh would do in
// time.
func (n *private) join(ctx context.Context, p *probe.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for connected := 0; ; {
		var errs []error
		for _, a := range n.some(p) {
			dialing, stop := context.WithTimeout(ctx, dialTimeout)
			if err := p.Host.Connect(dialing, a); err != nil {
				errs = append(errs, err)
			} else {
				connected++
			}
			stop()
		}
		if connected > 0 {
			break
		}
		// A contact that is leaving may accept no handshake: others are tried.
		if backoff.Sleep(ctx, time.Second) != nil {
			return fmt.Errorf("lab: a peer cannot join: %w", errors.Join(errs...))
		}
	}
	for !p.Ready() { // the table fills after identify
		if err := backoff.Sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("lab: a peer cannot join: %w", err)
		}
	}
	return n.walk(ctx, p)
}

// walk looks for the peer itself and for random keys.
func (n *private) walk(ctx context.Context, p *probe.Peer) error {
	keys := []string{string(p.Host.ID())}
	for range walks {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // never fails
		keys = append(keys, string(b))
	}
	for _, k := range keys {
		if _, err := p.DHT().GetClosestPeers(ctx, k); err != nil && ctx.Err() != nil {
			return fmt.Errorf("lab: a peer cannot join: %w", err)
		}
	}
	return nil
}

// build makes the network and calls onJoin for each peer that has joined.
func (n *private) build(ctx context.Context, onJoin func()) error {
	for range n.cfg.Nodes {
		p, err := n.add(ctx, probe.PeerConfig{Server: true, DHT: n.cfg.nodeDHT})
		if err != nil {
			return err
		}
		n.peers = append(n.peers, p)
	}
	for pass := range 2 { // the peers that joined first know the fewest others
		var g errgroup.Group
		g.SetLimit(atOnce)
		for _, p := range n.peers {
			g.Go(func() error {
				if pass == 0 {
					defer onJoin()
					return n.join(ctx, p)
				}
				return n.walk(ctx, p)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// churn closes random peers without notice, and adds a new one for each.
func (n *private) churn(ctx context.Context, every time.Duration) {
	for {
		t := time.NewTimer(time.Duration(float64(every) * (0.5 + mathrand.Float64())))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		n.mu.Lock()
		i := mathrand.IntN(len(n.peers))
		gone := n.peers[i]
		n.peers = append(n.peers[:i], n.peers[i+1:]...)
		n.left++
		n.mu.Unlock()
		_ = gone.Close() // nothing of it is needed any more
		p, err := n.add(ctx, probe.PeerConfig{Server: true, DHT: n.cfg.nodeDHT})
		if err != nil {
			continue // the network stays smaller by one peer
		}
		if n.join(ctx, p) != nil {
			_ = p.Close() // the same
			continue
		}
		n.mu.Lock()
		n.peers = append(n.peers, p)
		n.joined++
		n.mu.Unlock()
	}
}

func (n *private) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, p := range n.peers {
		g.Go(p.Close)
	}
	n.peers = nil
	return g.Wait()
}
