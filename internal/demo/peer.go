package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"unsafe"

	"github.com/ipfsmon/ipfsmon/internal/loopback"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/keystore"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/coreapi"
	iface "github.com/ipfs/kubo/core/coreiface"
	kubop2p "github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// agents are the agent versions of our nodes, in turn: common ones of the public
// network.
var agents = []string{
	"kubo/0.43.0/desktop",
	"kubo/0.39.0/2896aed/docker",
	"go-ipfs/0.8.0/48f94e2",
	"rainbow/v1.18.0",
	"someguy/v0.10.0",
	"kubo/0.34.1/4649554",
	"go-ipfs/0.12.2/0e8b121",
	"kubo/0.18.1/675f8bd/docker",
}

// maxProviderRecords is how many DHT provider records one of our nodes keeps in
// memory. They expire only after two days.
const maxProviderRecords = 20_000

// ownPeer is one of our nodes. It keeps its identity and its blocks while it is
// stopped.
type ownPeer struct {
	number int
	cfg    config.Config
	store  ds.Batching
	agent  string
	client bool // of the DHT: asks, but does not serve

	use  sync.RWMutex // held for reading by operations, for writing to start or stop
	node *core.IpfsNode
	core iface.CoreAPI
	info peer.AddrInfo // the ID never changes; the addresses are of the current start
}

func newPeer(seed int64, number int) (*ownPeer, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "ipfsmon demo peer %d %d", seed, number))
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(sum[:]))
	if err != nil {
		return nil, fmt.Errorf("make the identity of peer %d: %w", number, err)
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the identity of peer %d: %w", number, err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the identity of peer %d: %w", number, err)
	}
	p := &ownPeer{
		number: number,
		store:  dssync.MutexWrap(ds.NewMapDatastore()),
		agent:  agents[number%len(agents)],
		client: number%5 == 4,
		info:   peer.AddrInfo{ID: id},
	}
	p.cfg.Identity = config.Identity{PeerID: id.String(), PrivKey: base64.StdEncoding.EncodeToString(raw)}
	loopback.Apply(&p.cfg)
	p.cfg.Swarm.ConnMgr.Type = config.NewOptionalString("none")
	p.cfg.Swarm.ResourceMgr.Enabled = config.False
	// Only the operations provide. Otherwise the records of every block of every
	// node would take most of the memory.
	p.cfg.Provide.Enabled = config.False
	return p, nil
}

// building is held for writing while kubo builds a node of this process, and
// for reading by what reads the same variables of its packages: adding files.
var building sync.RWMutex

// start starts the node if it is stopped. The caller holds use for writing,
// unless nobody else has the peer yet.
func (p *ownPeer) start(ctx context.Context) error {
	if p.node != nil {
		return nil
	}
	if !free(p.cfg.Addresses.Swarm) {
		loopback.Apply(&p.cfg)
	}
	routing := kubop2p.DHTServerOption
	if p.client {
		routing = kubop2p.DHTClientOption
	}
	// kubo writes to package variables while it builds a node, so only one is
	// built at a time. The node's context ends in stop, not with the operation
	// that started it.
	building.Lock()
	n, err := core.NewNode(context.WithoutCancel(ctx), &core.BuildCfg{
		Online:  true,
		Routing: routing,
		Host: func(id peer.ID, ps peerstore.Peerstore, opts ...libp2p.Option) (host.Host, error) {
			return kubop2p.DefaultHostOption(id, ps, append(opts, libp2p.UserAgent(p.agent))...)
		},
		Repo:            &repo.Mock{C: p.cfg, D: p.store, K: keystore.NewMemKeystore()},
		ShutdownTimeout: stopTime,
	})
	building.Unlock()
	if err != nil {
		return fmt.Errorf("start peer %d: %w", p.number, err)
	}
	// It comes back at the same addresses, where others look for it.
	p.cfg.Addresses.Swarm = nil
	for _, a := range n.PeerHost.Network().ListenAddresses() {
		p.cfg.Addresses.Swarm = append(p.cfg.Addresses.Swarm, a.String())
	}
	api, err := coreapi.NewCoreAPI(n)
	if err != nil {
		return errors.Join(fmt.Errorf("start peer %d: %w", p.number, err), n.Close())
	}
	p.node, p.core, p.info.Addrs = n, api, n.PeerHost.Addrs()
	return nil
}

// free reports whether a node can listen on these addresses.
func free(addrs []string) bool {
	for _, text := range addrs {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return false
		}
		network, address, err := manet.DialArgs(a)
		if err != nil {
			return false
		}
		var l io.Closer
		if network == "tcp4" {
			l, err = net.Listen(network, address)
		} else {
			l, err = net.ListenPacket(network, address)
		}
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// stop stops the node, which takes at most stopTime. The caller holds the same
// lock as for start.
func (p *ownPeer) stop() error {
	n := p.node
	if n == nil {
		return nil
	}
	p.node, p.core = nil, nil
	var errs []error
	if n.Bootstrapper != nil { // node.Close does not end it
		errs = append(errs, n.Bootstrapper.Close())
	}
	err := n.Close()
	if finder := providerFinder(n); finder != nil {
		finder.Close()
	}
	return errors.Join(append(errs, err)...)
}

// providerFinder returns the provider query manager that kubo makes for Bitswap
// and never closes, by reflection. Unclosed, it keeps all of a stopped node in
// memory, a few megabytes each time. It returns nil if the field is not as in
// boxo 0.42, which a test checks.
func providerFinder(n *core.IpfsNode) interface{ Close() } {
	if n.Bitswap == nil || n.Bitswap.Client == nil {
		return nil
	}
	f := reflect.ValueOf(n.Bitswap.Client).Elem().FieldByName("providerFinder")
	if !f.IsValid() || f.Kind() != reflect.Interface {
		return nil
	}
	finder, _ := reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Interface().(interface{ Close() })
	return finder
}

func (p *ownPeer) hold() bool {
	if !p.use.TryRLock() {
		return false
	}
	if p.node == nil {
		p.use.RUnlock()
		return false
	}
	return true
}

func (p *ownPeer) release()           { p.use.RUnlock() }
func (p *ownPeer) api() iface.CoreAPI { return p.core }

func (p *ownPeer) read(ctx context.Context, root cid.Cid, w io.Writer) error {
	n, err := p.core.Unixfs().Get(ctx, path.FromCid(root))
	if err != nil {
		return err
	}
	defer n.Close()
	f, ok := n.(files.File)
	if !ok {
		return fmt.Errorf("%s: want a file", root)
	}
	_, err = io.Copy(w, f)
	return err
}

func (p *ownPeer) provide(ctx context.Context, c cid.Cid) error {
	return p.node.DHT.Provide(ctx, c, true)
}

func (p *ownPeer) drop(ctx context.Context, cids []cid.Cid) error {
	p.use.RLock()
	defer p.use.RUnlock()
	var blocks blockstore.Blockstore
	if p.node != nil {
		blocks = p.node.Blockstore // its cache must know of the deletion
	} else {
		blocks = blockstore.NewBlockstore(p.store)
	}
	var errs []error
	for _, c := range cids {
		errs = append(errs, blocks.DeleteBlock(ctx, c))
	}
	return errors.Join(errs...)
}

// dropProviders deletes arbitrary DHT provider records until limit are left. It
// sees only records that the DHT has written; the DHT writes in batches of a few
// hundred.
func (p *ownPeer) dropProviders(ctx context.Context, limit int) error {
	found, err := p.store.Query(ctx, query.Query{Prefix: records.ProvidersKeyPrefix, KeysOnly: true})
	if err != nil {
		return err
	}
	keys, err := found.Rest()
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range keys[min(limit, len(keys)):] {
		errs = append(errs, p.store.Delete(ctx, ds.NewKey(k.Key)))
	}
	return errors.Join(errs...)
}
