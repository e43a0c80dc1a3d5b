package plugin

import (
	"reflect"
	"testing"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/kubo/config"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
)

// TestKuboConstructor fails when a new kubo builds Bitswap in another way.
func TestKuboConstructor(t *testing.T) {
	require.NoError(t, checkConstructor(constructor(&config.Config{}).Type()))
}

func TestDriftIsNamed(t *testing.T) {
	f := func(ctor any, want string) {
		t.Helper()
		require.ErrorContains(t, checkConstructor(reflect.TypeOf(ctor)), want)
	}
	f(1, "want a function")
	f(func() {}, "two parameters and two results")
	f(func(int, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil }, "want a struct")
	type in struct {
		fx.In
		Host host.Host
	}
	type other struct {
		fx.In
		Novelty string
	}
	type retyped struct {
		fx.In
		Host string
	}
	type regrouped struct {
		fx.In
		BitswapOpts []bitswap.Option `group:"exchange-options"`
	}
	type private struct {
		fx.In
		host host.Host
	}
	_ = private{}.host
	f(func(other, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil }, "asks for Novelty string")
	f(func(retyped, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil }, "asks for Host as string")
	f(func(regrouped, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil }, `group "exchange-options"`)
	f(func(private, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil }, "not exported")
	f(func(in, int) (*bitswap.Bitswap, error) { return nil, nil }, "want fx.Lifecycle")
	f(func(in, fx.Lifecycle) (int, error) { return 0, nil }, "returns int")
	f(func(in, fx.Lifecycle) (*bitswap.Bitswap, int) { return nil, 0 }, "returns int second")
	require.NoError(t, checkConstructor(reflect.TypeOf(func(in, fx.Lifecycle) (*bitswap.Bitswap, error) { return nil, nil })))
}
