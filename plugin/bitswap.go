package plugin

import (
	"fmt"
	"reflect"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core/node"
	"github.com/ipfs/kubo/core/node/helpers"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/routing"
	"go.uber.org/fx"
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

// checkConstructor says how kubo's constructor differs from what tapBitswap
// relies on; nil means that it may be used.
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
		return fmt.Errorf("kubo's Bitswap constructor gives %v, want %v", ctor.Out(0), bs)
	}
	if e := reflect.TypeFor[error](); ctor.Out(1) != e {
		return fmt.Errorf("kubo's Bitswap constructor gives %v second, want %v", ctor.Out(1), e)
	}
	return nil
}

// tapBitswap returns an fx decorator that has kubo build its Bitswap on a host
// of our choosing: the network that Bitswap sends through is made inside
// kubo's constructor and cannot be reached in another way without reading
// private fields. Everything else is kubo's own doing.
func tapBitswap(tap func(host.Host) host.Host) any {
	return func(in bitswapIn, lc fx.Lifecycle) (*bitswap.Bitswap, error) {
		if in.Host == nil {
			return nil, nil // a node without a network has no Bitswap
		}
		in.Host = tap(in.Host)
		ctor := constructor(in.Cfg)
		arg, src := reflect.New(ctor.Type().In(0)).Elem(), reflect.ValueOf(in)
		for i := range arg.NumField() {
			if f := arg.Type().Field(i); !f.Anonymous {
				arg.Field(i).Set(src.FieldByName(f.Name))
			}
		}
		out := ctor.Call([]reflect.Value{arg, reflect.ValueOf(lc)})
		bs, _ := out[0].Interface().(*bitswap.Bitswap)
		err, _ := out[1].Interface().(error)
		return bs, err
	}
}
