//go:build !race

package plugin

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core/node"
	"github.com/ipfs/kubo/core/node/helpers"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	lpnetwork "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
)

// nowhere is a routing that finds no provider.
type nowhere struct{}

func (nowhere) FindProvidersAsync(context.Context, cid.Cid, int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo)
	close(out)
	return out
}

// kubosBitswap calls kubo's own constructor.
func kubosBitswap(in bitswapIn, lc fx.Lifecycle) (*bitswap.Bitswap, error) {
	ctor := constructor(in.Cfg)
	arg, from := reflect.New(ctor.Type().In(0)).Elem(), reflect.ValueOf(in)
	for i := range arg.NumField() {
		if f := arg.Type().Field(i); !f.Anonymous {
			arg.Field(i).Set(from.FieldByName(f.Name))
		}
	}
	out := ctor.Call([]reflect.Value{arg, reflect.ValueOf(lc)})
	err, _ := out[1].Interface().(error)
	x, _ := out[0].Interface().(*bitswap.Bitswap)
	return x, err
}

// TestBitswapIsKubos changes each of kubo's settings of Bitswap in turn and compares what
// boxo has stored of its settings after kubo's constructor and after ours. Each setting
// must make a difference somewhere.
func TestBitswapIsKubos(t *testing.T) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.ResourceManager(&lpnetwork.NullResourceManager{}))
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	b := bus.New(bus.Config{})
	t.Cleanup(b.Close)
	c := capture.New(b, nil)
	build := func(cfg *config.Config, make func(bitswapIn, fx.Lifecycle) (*bitswap.Bitswap, error)) (map[string]string, error) {
		lc := fxtest.NewLifecycle(t)
		store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
		options := reflect.ValueOf(node.BitswapOptions(cfg)).Call(nil)[0].FieldByName("BitswapOpts").Interface().([]bitswap.Option)
		x, err := make(bitswapIn{
			Mctx: helpers.MetricsCtx(t.Context()), Cfg: cfg, Host: h, Discovery: nowhere{},
			Bs: blockstore.NewGCBlockstore(store, blockstore.NewGCLocker()), BitswapOpts: options,
		}, lc)
		if err != nil {
			return nil, err
		}
		out := map[string]string{}
		settingsOf(out, "", reflect.ValueOf(x), map[unsafe.Pointer]bool{})
		lc.RequireStart().RequireStop()
		return out, nil
	}
	ours := NewBitswap(c).(func(bitswapIn, fx.Lifecycle) (*bitswap.Bitswap, error))
	defaults, err := build(&config.Config{}, kubosBitswap)
	require.NoError(t, err)
	require.Greater(t, len(defaults), 40, "what boxo has stored of its settings: %v", defaults)

	internal := func(f func(*config.InternalBitswap)) func(*config.Config) {
		return func(c *config.Config) {
			c.Internal.Bitswap = new(config.InternalBitswap)
			f(c.Internal.Bitswap)
		}
	}
	broadcast := func(f func(*config.BitswapBroadcastControl)) func(*config.Config) {
		return internal(func(b *config.InternalBitswap) {
			b.BroadcastControl = new(config.BitswapBroadcastControl)
			f(b.BroadcastControl)
		})
	}
	number := func(n int64) config.OptionalInteger { return *config.NewOptionalInteger(n) }
	settings := map[string]func(*config.Config){
		"Bitswap.ServerEnabled":                        func(c *config.Config) { c.Bitswap.ServerEnabled = config.False },
		"Bitswap.Libp2pEnabled":                        func(c *config.Config) { c.Bitswap.Libp2pEnabled = config.False },
		"HTTPRetrieval.Enabled":                        func(c *config.Config) { c.HTTPRetrieval.Enabled = config.False },
		"HTTPRetrieval.Allowlist":                      func(c *config.Config) { c.HTTPRetrieval.Allowlist = []string{"a.example", "b.example"} },
		"HTTPRetrieval.Denylist":                       func(c *config.Config) { c.HTTPRetrieval.Denylist = []string{"c.example"} },
		"HTTPRetrieval.NumWorkers":                     func(c *config.Config) { c.HTTPRetrieval.NumWorkers = config.NewOptionalInteger(3) },
		"HTTPRetrieval.MaxBlockSize":                   func(c *config.Config) { c.HTTPRetrieval.MaxBlockSize = config.NewOptionalString("1MiB") },
		"HTTPRetrieval.TLSInsecureSkipVerify":          func(c *config.Config) { c.HTTPRetrieval.TLSInsecureSkipVerify = config.True },
		"Routing.IgnoreProviders":                      func(c *config.Config) { c.Routing.IgnoreProviders = []string{h.ID().String()} },
		"Internal.Bitswap.TaskWorkerCount":             internal(func(b *config.InternalBitswap) { b.TaskWorkerCount = number(3) }),
		"Internal.Bitswap.EngineBlockstoreWorkerCount": internal(func(b *config.InternalBitswap) { b.EngineBlockstoreWorkerCount = number(3) }),
		"Internal.Bitswap.EngineTaskWorkerCount":       internal(func(b *config.InternalBitswap) { b.EngineTaskWorkerCount = number(3) }),
		"Internal.Bitswap.MaxOutstandingBytesPerPeer":  internal(func(b *config.InternalBitswap) { b.MaxOutstandingBytesPerPeer = number(3) }),
		"Internal.Bitswap.WantHaveReplaceSize":         internal(func(b *config.InternalBitswap) { b.WantHaveReplaceSize = number(3) }),
		"Internal.Bitswap.ProviderSearchMaxResults":    internal(func(b *config.InternalBitswap) { b.ProviderSearchMaxResults = number(3) }),
		"Internal.Bitswap.ProviderSearchDelay": internal(func(b *config.InternalBitswap) {
			b.ProviderSearchDelay = *config.NewOptionalDuration(3 * time.Second)
		}),
		"BroadcastControl.Enable":             broadcast(func(b *config.BitswapBroadcastControl) { b.Enable = config.False }),
		"BroadcastControl.MaxPeers":           broadcast(func(b *config.BitswapBroadcastControl) { b.MaxPeers = number(3) }),
		"BroadcastControl.LocalPeers":         broadcast(func(b *config.BitswapBroadcastControl) { b.LocalPeers = config.True }),
		"BroadcastControl.PeeredPeers":        broadcast(func(b *config.BitswapBroadcastControl) { b.PeeredPeers = config.True }),
		"BroadcastControl.MaxRandomPeers":     broadcast(func(b *config.BitswapBroadcastControl) { b.MaxRandomPeers = number(3) }),
		"BroadcastControl.SendToPendingPeers": broadcast(func(b *config.BitswapBroadcastControl) { b.SendToPendingPeers = config.True }),
	}
	f := func(name string, change func(*config.Config)) {
		t.Helper()
		cfg := new(config.Config)
		change(cfg)
		want, err := build(cfg, kubosBitswap)
		require.NoError(t, err, name)
		got, err := build(cfg, ours)
		require.NoError(t, err, name)
		for _, at := range slices.Sorted(maps.Keys(want)) {
			if got[at] != want[at] {
				t.Errorf("%s: %s is %q, kubo's %q", name, at, got[at], want[at])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d settings, kubo's %d", name, len(got), len(want))
		}
		if name != "defaults" && maps.Equal(want, defaults) {
			t.Errorf("%s: changing the setting makes no difference in Bitswap", name)
		}
	}
	f("defaults", func(*config.Config) {})
	for name, change := range settings {
		f(name, change)
	}
	// All of kubo's settings are in the table.
	for at, section := range map[string]reflect.Type{
		"Bitswap": reflect.TypeFor[config.Bitswap](), "HTTPRetrieval": reflect.TypeFor[config.HTTPRetrieval](),
		"Internal.Bitswap": reflect.TypeFor[config.InternalBitswap](), "BroadcastControl": reflect.TypeFor[config.BitswapBroadcastControl](),
	} {
		for i := range section.NumField() {
			name := at + "." + section.Field(i).Name
			if _, ok := settings[name]; !ok && name != "Internal.Bitswap.BroadcastControl" {
				t.Errorf("%s is a setting of kubo's that this test does not know", name)
			}
		}
	}
	// Settings that kubo rejects are rejected.
	for name, change := range map[string]func(*config.Config){
		"want one of them true": func(c *config.Config) { c.Bitswap.Libp2pEnabled, c.HTTPRetrieval.Enabled = config.False, config.False },
		"MaxBlockSize":          func(c *config.Config) { c.HTTPRetrieval.MaxBlockSize = config.NewOptionalString("much") },
		`IgnoreProviders: "x"`:  func(c *config.Config) { c.Routing.IgnoreProviders = []string{"x"} },
	} {
		cfg := new(config.Config)
		change(cfg)
		_, err := build(cfg, kubosBitswap)
		require.Error(t, err)
		_, err = build(cfg, ours)
		require.ErrorContains(t, err, name)
	}
	// A node without a network has no Bitswap.
	x, err := ours(bitswapIn{Cfg: new(config.Config)}, nil)
	require.NoError(t, err)
	require.Nil(t, x)
}

// settingsOf collects the booleans, numbers, texts and sets of names in a value of
// boxo's, keyed by the path of fields. Values below our wrappers are entered as if the
// wrappers were not there.
func settingsOf(out map[string]string, at string, v reflect.Value, seen map[unsafe.Pointer]bool) {
	switch v.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.String, reflect.Float64:
		out[at] = fmt.Sprint(v)
	case reflect.Interface:
		if !v.IsNil() {
			settingsOf(out, at, v.Elem(), seen)
		}
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.UnsafePointer()] {
			seen[v.UnsafePointer()] = true
			settingsOf(out, at, v.Elem(), seen)
		}
	case reflect.Map:
		if v.Type().Elem() == reflect.TypeFor[struct{}]() {
			var names []string
			for _, k := range v.MapKeys() {
				names = append(names, fmt.Sprint(k))
			}
			slices.Sort(names)
			out[at] = strings.Join(names, " ")
		}
	case reflect.Struct:
		of := v.Type().PkgPath()
		if !strings.HasPrefix(of, "github.com/ipfs/boxo/") && of != "net/http" && of != "crypto/tls" && !strings.HasPrefix(of, "github.com/ipfsmon/") {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch {
			case strings.HasPrefix(of, "github.com/ipfsmon/"):
				if f.Type == reflect.TypeFor[network.BitSwapNetwork]() {
					settingsOf(out, at, v.Field(i), seen)
				}
			case f.Type == reflect.TypeFor[host.Host](), f.Name == "host":
			case f.Name == "tagQueued", f.Name == "tagUseful": // random
			default:
				settingsOf(out, at+"."+f.Name, v.Field(i), seen)
			}
		}
	}
}
