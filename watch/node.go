// Package watch is a light node that watches the network: a libp2p host with a DHT and Bitswap's
// server, which keeps many connections and stores nothing.
//
// In: a configuration, and a capture that sees what passes. Out: a running node. Promised: it
// answers truthfully (DONT_HAVE for every block but those of --blocks), sends no more than its
// configured rates, and its memory is bounded by the number of peers: what the DHT keeps for
// others, the addresses of peers, connections and streams all have limits. It imports nothing
// of kubo. Not promised: that peers find it; that depends on its address and its DHT.
package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ipfs/boxo/bitswap"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/dual"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/keyfile"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// keyName is the file with the node's key, in its folder.
const keyName = "key"

// Node is a node. New opens its listeners, Start lets it take part, Close ends it.
type Node struct {
	cfg       *settings
	host      atomic.Pointer[host.Host]
	resources network.ResourceManager
	traffic   *metrics.BandwidthCounter
	taps      *nodestate.Taps
	budget    *budget
	dht       *dual.DHT
	net       bsnetwork.BitSwapNetwork // seen by the capture
	server    *server.Server           // of a node with blocks; else nil
	answers   *answerer                // of a node without; else nil
	blocks    *blockFiles
	guard     guard.Guard

	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	started bool
	closing sync.Once
	err     error // of Close
}

// New validates the configuration, reads or makes the key, verifies the blocks of --blocks,
// and opens the listeners. Close it, even if Start was not called.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	s, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: s, budget: newBudget(s), guard: guard.Guard{Log: s.Logger}, blocks: &blockFiles{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("watch: make the node's folder: %w", err)
	}
	key, err := keyfile.Load(filepath.Join(s.Dir, keyName))
	if err != nil {
		return nil, fmt.Errorf("watch: the node's key: %w", err)
	}
	if n.blocks, err = openBlocks(ctx, s.Blocks); err != nil {
		n.blocks = &blockFiles{}
		return nil, err
	}
	h, err := n.newHost(key)
	if err != nil {
		return nil, err
	}
	n.host.Store(&h)
	if n.dht, err = n.newDHT(); err != nil {
		return nil, fmt.Errorf("watch: make the DHT: %w", err)
	}
	n.net = s.Capture.Network(&smallNetwork{bsnet.NewFromIpfsHost(h), &n.guard}, event.Libp2p)
	if n.blocks.count > 0 {
		n.server = server.New(n.ctx, n.net2server(), n.blocks)
	} else {
		n.answers = newAnswerer(n.net2server(), &n.guard)
	}
	return n, nil
}

// net2server is the network as Bitswap's server uses it: its answers take their turn before
// the capture sees them.
func (n *Node) net2server() bsnetwork.BitSwapNetwork { return &budgetNetwork{n.net, n.budget} }

// newDHT makes the DHTs of the public and of the local network, as kubo has them.
func (n *Node) newDHT() (*dual.DHT, error) {
	mode := map[string]dht.ModeOpt{DHTAuto: dht.ModeAuto, DHTServer: dht.ModeServer, DHTClient: dht.ModeClient}[n.cfg.DHT]
	both := func(opts ...dht.Option) []dht.Option {
		return append(opts, dht.Mode(mode), dht.ProviderDatastore(newProviders()), dht.ValueDatastore(newValues()))
	}
	wan := both(dht.BootstrapPeers(n.cfg.bootstrap...))
	lan := both()
	if n.cfg.Isolated {
		lan = append(lan, dht.AddressFilter(nil)) // which otherwise leaves out loopback
	}
	return dual.New(&budgetHost{n.cfg.Capture.DHT(n.Host()), n.budget}, dual.WanDHTOption(wan...), dual.LanDHTOption(lan...))
}

// Start connects to bootstrap peers and lets the node take part: it answers, and does what
// makes it known. Call it once.
func (n *Node) Start() {
	n.started = true
	if n.server != nil {
		n.net.Start(n.server)
	} else {
		n.net.Start(n.answers)
	}
	run := func(doing string, f func()) {
		n.tasks.Go(func() {
			defer n.guard.Recover(doing)
			f()
		})
	}
	run("watch: start the DHT", func() { _ = n.dht.Bootstrap(n.ctx) }) // never fails
	run("watch: connect to bootstrap peers", n.bootstrap)
	run("watch: look up random keys", n.lookups)
	run("watch: want random CIDs", n.wants)
	run("watch: announce the blocks", n.announce)
}

// Close closes all connections, and what New opened. It may be called more than once.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.cancel()
		n.tasks.Wait()
		var errs []error
		if n.started {
			n.net.Stop()
		}
		if n.server != nil {
			n.server.Close()
		}
		if n.answers != nil {
			n.answers.Close()
		}
		if n.dht != nil {
			errs = append(errs, n.dht.Close())
		}
		if h := n.host.Load(); h != nil {
			errs = append(errs, (*h).Close())
		}
		n.err = errors.Join(append(errs, n.blocks.Close())...)
	})
	return n.err
}

// Host returns the node's host.
func (n *Node) Host() host.Host { return *n.host.Load() }

// State returns the node's parts for its monitor.
func (n *Node) State() nodestate.Node {
	out := nodestate.Node{Host: n.Host(), Resources: n.resources, Reporter: n.traffic, DHT: n.dht, Taps: n.taps}
	if n.server != nil {
		out.Bitswap = &bitswap.Bitswap{Server: n.server} // it has no client
	} else {
		out.Ledgers = n.answers
	}
	return out
}

// Addrs returns the addresses at which peers reach the node, with its peer ID.
func (n *Node) Addrs() []ma.Multiaddr {
	all, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.Host().ID(), Addrs: n.Host().Addrs()})
	if err != nil {
		return nil // for an invalid ID
	}
	return all
}

// Blocks returns how many blocks the node serves.
func (n *Node) Blocks() int { return n.blocks.count }

// Panics returns how many panics were caught.
func (n *Node) Panics() uint64 { return n.guard.Panics() }
