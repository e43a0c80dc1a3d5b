package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/network/httpnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/routing/providerquerymanager"
	ipfs "github.com/ipfs/kubo"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core/node"
	"github.com/ipfs/kubo/core/node/helpers"
	"github.com/ipfs/kubo/core/shutdown"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	"go.uber.org/fx"

	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// bitswapIn mirrors, field by field, what kubo's constructor of Bitswap asks
// for (core/node/bitswap.go, an unexported struct of the same name).
// checkConstructor compares the two. Host and Discovery are optional here,
// because a node without a network has none and its commands must still work.
type bitswapIn struct {
	fx.In

	Mctx        helpers.MetricsCtx
	Cfg         *config.Config
	Host        host.Host                `optional:"true"`
	Discovery   routing.ContentDiscovery `optional:"true"`
	Bs          blockstore.GCBlockstore
	BitswapOpts []bitswap.Option `group:"bitswap-options"`
}

// constructor returns kubo's own constructor of Bitswap for a configuration, as
// core/node/groups.go makes it.
func constructor(cfg *config.Config) reflect.Value {
	return reflect.ValueOf(node.Bitswap(
		cfg.Bitswap.ServerEnabled.WithDefault(config.DefaultBitswapServerEnabled),
		cfg.Bitswap.Libp2pEnabled.WithDefault(config.DefaultBitswapLibp2pEnabled),
		cfg.HTTPRetrieval.Enabled.WithDefault(config.DefaultHTTPRetrievalEnabled),
	))
}

// checkConstructor returns how kubo's constructor differs from the one that
// NewBitswap replaces; nil means that it may be replaced.
func checkConstructor(ctor reflect.Type) error {
	if ctor.Kind() != reflect.Func || ctor.NumIn() != 2 || ctor.NumOut() != 2 {
		return fmt.Errorf("kubo's Bitswap constructor is %v, want a function of two parameters and two results", ctor)
	}
	ours, theirs := reflect.TypeFor[bitswapIn](), ctor.In(0)
	if theirs.Kind() != reflect.Struct {
		return fmt.Errorf("kubo's Bitswap constructor takes %v, want a struct", theirs)
	}
	for i := range theirs.NumField() {
		f := theirs.Field(i)
		if f.Anonymous {
			continue
		}
		g, ok := ours.FieldByName(f.Name)
		switch {
		case !f.IsExported():
			return fmt.Errorf("kubo's Bitswap constructor asks for %s, which is not exported", f.Name)
		case !ok:
			return fmt.Errorf("kubo's Bitswap constructor asks for %s %v, which is not known here", f.Name, f.Type)
		case g.Type != f.Type:
			return fmt.Errorf("kubo's Bitswap constructor asks for %s as %v, known here as %v", f.Name, f.Type, g.Type)
		case g.Tag.Get("group") != f.Tag.Get("group"):
			return fmt.Errorf("kubo's Bitswap constructor asks for %s of group %q, known here as %q", f.Name, f.Tag.Get("group"), g.Tag.Get("group"))
		}
	}
	if lc := reflect.TypeFor[fx.Lifecycle](); ctor.In(1) != lc {
		return fmt.Errorf("kubo's Bitswap constructor takes %v second, want %v", ctor.In(1), lc)
	}
	if bs := reflect.TypeFor[*bitswap.Bitswap](); ctor.Out(0) != bs {
		return fmt.Errorf("kubo's Bitswap constructor returns %v, want %v", ctor.Out(0), bs)
	}
	if e := reflect.TypeFor[error](); ctor.Out(1) != e {
		return fmt.Errorf("kubo's Bitswap constructor returns %v second, want %v", ctor.Out(1), e)
	}
	return nil
}

// NewBitswap returns an fx decorator that builds the node's Bitswap as kubo's
// constructor does, of the same settings, on networks and with a content routing
// that c watches: kubo makes the networks inside its constructor, where nobody
// can reach them.
// TestBitswapIsKubos holds it to kubo's behaviour, TestKuboSourceIsKnown to the
// source that it was written for.
func NewBitswap(c *capture.Capture) any {
	return func(in bitswapIn, lc fx.Lifecycle) (*bitswap.Bitswap, error) {
		if in.Host == nil {
			return nil, nil // a node without a network has no Bitswap
		}
		nets, err := bitswapNetworks(in.Cfg, in.Host, c.Network)
		if err != nil {
			return nil, err
		}
		providers, err := providerQueries(in.Cfg, nets, c.Discovery(in.Discovery))
		if err != nil {
			return nil, err
		}
		opts := append(slices.Clip(in.BitswapOpts), clientOptions(in.Cfg)...)
		opts = append(opts, bitswap.WithServerEnabled(in.Cfg.Bitswap.ServerEnabled.WithDefault(config.DefaultBitswapServerEnabled)))
		x := bitswap.New(helpers.LifecycleCtx(in.Mctx, lc), nets, providers, in.Bs, opts...)
		lc.Append(fx.Hook{OnStop: func(ctx context.Context) error {
			return shutdown.CloseWithCtx(ctx, "bitswap", x.Close)
		}})
		return x, nil
	}
}

// bitswapNetworks returns the networks that the configuration turns on, which
// share one view of who is connected.
func bitswapNetworks(cfg *config.Config, h host.Host, watch func(network.BitSwapNetwork, event.Transport) network.BitSwapNetwork) (network.BitSwapNetwork, error) {
	connected := network.NewConnectEventManager()
	var libp2p, http network.BitSwapNetwork
	if cfg.Bitswap.Libp2pEnabled.WithDefault(config.DefaultBitswapLibp2pEnabled) {
		libp2p = watch(bsnet.NewFromIpfsHost(h, bsnet.WithConnectEventManager(connected)), event.Libp2p)
	}
	if web := &cfg.HTTPRetrieval; web.Enabled.WithDefault(config.DefaultHTTPRetrievalEnabled) {
		largest, err := humanize.ParseBytes(web.MaxBlockSize.WithDefault(config.DefaultHTTPRetrievalMaxBlockSize))
		if err != nil {
			return nil, fmt.Errorf("HTTPRetrieval.MaxBlockSize: %w", err)
		}
		http = watch(httpnet.New(h,
			httpnet.WithConnectEventManager(connected),
			httpnet.WithUserAgent(ipfs.GetUserAgentVersion()),
			httpnet.WithHTTPWorkers(int(web.NumWorkers.WithDefault(config.DefaultHTTPRetrievalNumWorkers))),
			httpnet.WithMaxBlockSize(int64(largest)),
			httpnet.WithAllowlist(web.Allowlist),
			httpnet.WithDenylist(web.Denylist),
			httpnet.WithMetricsLabelsForEndpoints(web.Allowlist),
			httpnet.WithInsecureSkipVerify(web.TLSInsecureSkipVerify.WithDefault(config.DefaultHTTPRetrievalTLSInsecureSkipVerify)),
		), event.HTTP)
	}
	if libp2p == nil && http == nil {
		return nil, errors.New("Bitswap.Libp2pEnabled and HTTPRetrieval.Enabled are both false; want one of them true")
	}
	return network.New(h.Peerstore(), libp2p, http), nil
}

// providerQueries returns what asks the routing for providers.
func providerQueries(cfg *config.Config, nets network.BitSwapNetwork, discovery routing.ContentDiscovery) (*providerquerymanager.ProviderQueryManager, error) {
	most := node.DefaultMaxProviders
	if b := cfg.Internal.Bitswap; b != nil {
		most = int(b.ProviderSearchMaxResults.WithDefault(node.DefaultMaxProviders))
	}
	var ignored []peer.ID
	for _, text := range cfg.Routing.IgnoreProviders {
		id, err := peertext.ID(text)
		if err != nil {
			return nil, fmt.Errorf("Routing.IgnoreProviders: %q: %w", text, err)
		}
		ignored = append(ignored, id)
	}
	return providerquerymanager.New(nets, discovery, providerquerymanager.WithMaxProviders(most), providerquerymanager.WithIgnoreProviders(ignored...))
}

// clientOptions returns what kubo sets of Bitswap's client: its provider
// queries are ours, and how many peers a broadcast reaches.
func clientOptions(cfg *config.Config) []bitswap.Option {
	var to config.BitswapBroadcastControl
	if b := cfg.Internal.Bitswap; b != nil && b.BroadcastControl != nil {
		to = *b.BroadcastControl
	}
	var out []bitswap.Option
	set := func(o client.Option) { out = append(out, bitswap.WithClientOption(o)) }
	set(client.WithDefaultProviderQueryManager(false))
	reduced := to.Enable.WithDefault(config.DefaultBroadcastControlEnable)
	set(client.BroadcastControlEnable(reduced))
	if reduced {
		set(client.BroadcastControlMaxPeers(int(to.MaxPeers.WithDefault(config.DefaultBroadcastControlMaxPeers))))
		set(client.BroadcastControlLocalPeers(to.LocalPeers.WithDefault(config.DefaultBroadcastControlLocalPeers)))
		set(client.BroadcastControlPeeredPeers(to.PeeredPeers.WithDefault(config.DefaultBroadcastControlPeeredPeers)))
		set(client.BroadcastControlMaxRandomPeers(int(to.MaxRandomPeers.WithDefault(config.DefaultBroadcastControlMaxRandomPeers))))
		set(client.BroadcastControlSendToPendingPeers(to.SendToPendingPeers.WithDefault(config.DefaultBroadcastControlSendToPendingPeers)))
	}
	return out
}
