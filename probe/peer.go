package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	ds "github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p-kad-dht/fullrt"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// DefaultPrefix is the prefix of the public DHT's protocols.
const DefaultPrefix = protocol.ID("/ipfs")

// agentVersion is the agent version of a probe.
const agentVersion = "ipfsmon-probe"

// PeerConfig says what kind of peer measures. The zero value is a client of
// the public DHT on a free port.
type PeerConfig struct {
	Listen []string // multiaddrs; nil: all interfaces, TCP and QUIC, at Port
	Port   int      // 0: any free one

	Server  bool // be a DHT server: answer requests of other peers
	OptProv bool // optimistic provide
	FullRT  bool // the accelerated client, which knows all peers by a crawl

	Prefix      protocol.ID     // "": DefaultPrefix
	Bootstrap   []peer.AddrInfo // nil: the public ones, for the public prefix
	BucketSize  int             // 0: kad-dht's, 20
	Concurrency int             // alpha; 0: kad-dht's, 10
	Resiliency  int             // beta; 0: kad-dht's, 3
	Datastore   ds.Batching     // nil: in memory

	Host []libp2p.Option // additional options
	DHT  []dht.Option    // additional options
	full []fullrt.Option // additional options, of tests
}

// validate returns all errors of the configuration, joined.
func (c PeerConfig) validate() error {
	var errs []error
	if c.FullRT && (c.OptProv || c.Server) {
		errs = append(errs, errors.New("fullrt with dht-server or optprov: want fullrt alone, because the accelerated client is not a DHT server and does not provide optimistically"))
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("peer port %d: want 0 to 65535", c.Port))
	}
	if c.prefix() == DefaultPrefix && c.BucketSize != 0 && c.BucketSize != amino.DefaultBucketSize {
		errs = append(errs, fmt.Errorf("bucket size %d with prefix %s: want %d", c.BucketSize, DefaultPrefix, amino.DefaultBucketSize))
	}
	for name, n := range map[string]int{"bucket size": c.BucketSize, "alpha": c.Concurrency, "beta": c.Resiliency} {
		if n < 0 || n > 1000 {
			errs = append(errs, fmt.Errorf("%s %d: want 1 to 1000, or 0 for kad-dht's default", name, n))
		}
	}
	return errors.Join(errs...)
}

func (c *PeerConfig) prefix() protocol.ID {
	if c.Prefix == "" {
		return DefaultPrefix
	}
	return c.Prefix
}

// Peer is a libp2p host with the DHT that is measured.
type Peer struct {
	Measurer
	Key   crypto.PrivKey
	table *dht.IpfsDHT // nil with FullRT
	full  *fullrt.FullRT
}

// NewPeer makes the host, which listens, and its DHT. Bootstrap connects it.
func NewPeer(c PeerConfig) (_ *Peer, err error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	makeRoom()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("probe: make a key: %w", err)
	}
	if c.Listen == nil {
		port := strconv.Itoa(c.Port)
		c.Listen = []string{"/ip4/0.0.0.0/tcp/" + port, "/ip4/0.0.0.0/udp/" + port + "/quic-v1", "/ip6/::/tcp/" + port, "/ip6/::/udp/" + port + "/quic-v1"}
	}
	h, err := libp2p.New(append([]libp2p.Option{libp2p.Identity(key), libp2p.ListenAddrStrings(c.Listen...), libp2p.UserAgent(agentVersion)}, c.Host...)...)
	if err != nil {
		return nil, fmt.Errorf("probe: make a libp2p host: %w", err)
	}
	p := &Peer{Key: key, Measurer: Measurer{Host: h}}
	if err := p.route(&c); err != nil {
		return nil, errors.Join(fmt.Errorf("probe: make a DHT: %w", err), h.Close())
	}
	return p, nil
}

func (p *Peer) route(c *PeerConfig) (err error) {
	mode := dht.ModeClient
	if c.Server {
		mode = dht.ModeServer
	}
	boot := c.Bootstrap
	if boot == nil && c.prefix() == DefaultPrefix {
		boot = dht.GetDefaultBootstrapPeerAddrInfos()
	}
	opts := []dht.Option{dht.Mode(mode), dht.BootstrapPeers(boot...)}
	if c.BucketSize > 0 {
		opts = append(opts, dht.BucketSize(c.BucketSize))
	}
	if c.Concurrency > 0 {
		opts = append(opts, dht.Concurrency(c.Concurrency))
	}
	if c.Resiliency > 0 {
		opts = append(opts, dht.Resiliency(c.Resiliency))
	}
	if c.OptProv {
		opts = append(opts, dht.EnableOptimisticProvide())
	}
	if c.Datastore != nil {
		opts = append(opts, dht.Datastore(c.Datastore))
	}
	opts = append(opts, c.DHT...)
	if c.FullRT {
		if c.BucketSize == 0 { // the accelerated client has no default
			opts = append(opts, dht.BucketSize(amino.DefaultBucketSize))
		}
		if p.full, err = fullrt.NewFullRT(p.Host, c.prefix(), append([]fullrt.Option{fullrt.DHTOption(opts...)}, c.full...)...); err != nil {
			return err
		}
		p.Router, p.Table = p.full, func() int { return len(p.full.Stat()) }
		return nil
	}
	if p.table, err = dht.New(p.Host, append(opts, dht.ProtocolPrefix(c.prefix()))...); err != nil {
		return err
	}
	p.Router, p.Table = p.table, p.table.RoutingTable().Size
	return nil
}

// Bootstrap connects to the bootstrap peers and starts to fill the routing table,
// or to crawl, without waiting for the end.
func (p *Peer) Bootstrap(ctx context.Context) error {
	if p.full != nil {
		return p.full.Bootstrap(ctx)
	}
	return p.table.Bootstrap(ctx)
}

// Ready reports whether the routing table has a peer.
func (p *Peer) Ready() bool {
	if p.full != nil {
		return p.full.Ready() && p.Table() > 0
	}
	return p.Table() > 0
}

// NetworkSize returns the DHT's own estimate of its size; 0 while it has none.
func (p *Peer) NetworkSize() int {
	if p.full != nil {
		return p.Table()
	}
	n, err := p.table.NetworkSize()
	if err != nil {
		return 0
	}
	return int(n)
}

// DHT returns the DHT, nil with FullRT.
func (p *Peer) DHT() *dht.IpfsDHT { return p.table }

// Port returns the port on which the host listens for peers: TCP if any, else UDP.
func (p *Peer) Port() int { return portOf(p.Host) }

func portOf(h host.Host) int {
	for _, code := range []string{"tcp", "udp"} {
		for _, a := range h.Network().ListenAddresses() {
			for _, c := range a {
				if c.Protocol().Name == code {
					n, _ := strconv.Atoi(c.Value()) // a multiaddr's port is a number
					return n
				}
			}
		}
	}
	return 0
}

// Close ends the DHT and the host.
func (p *Peer) Close() error {
	var err error
	if p.full != nil {
		err = p.full.Close()
	} else {
		err = p.table.Close()
	}
	return errors.Join(err, p.Host.Close())
}
