// Command gateway is an IPFS gateway made of boxo, with a monitor in it: an
// example of how any program that exchanges blocks gets ipfsmon's eyes. It
// serves raw blocks and CAR files (a trustless gateway) of what it fetches from
// the peers that it is connected to.
//
//	go run ./examples/gateway -listen 127.0.0.1:8080 -monitor 127.0.0.1:8432 -peer /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	boxogateway "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/contentrouter"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// gateway is a host with Bitswap on it, watched by a monitor.
type gateway struct {
	http.Handler // serves /ipfs/

	host    host.Host
	bitswap *bitswap.Bitswap
	capture *capture.Capture
	monitor *monitor.Monitor
}

// open starts a gateway on a host, which close closes too. router finds
// providers; nil: only connected peers are asked.
func open(ctx context.Context, h host.Host, router routing.ContentDiscovery, cfg *monitor.Config) (*gateway, error) {
	g := &gateway{host: h}
	events := bus.New(bus.Config{})
	g.capture = capture.New(events, nil)

	// What makes Bitswap visible: its network, wrapped, and below its routing.
	network := g.capture.Network(bsnet.NewFromIpfsHost(h), event.Libp2p)

	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	g.bitswap = bitswap.New(ctx, network, g.capture.Discovery(router), store)
	backend, err := boxogateway.NewBlocksBackend(blockservice.New(store, g.bitswap))
	if err == nil {
		g.Handler = boxogateway.NewHandler(boxogateway.Config{}, backend)
		g.monitor, err = monitor.Start(cfg, monitor.Watched{Node: nodestate.Node{Host: h, Bitswap: g.bitswap}}, events, g.capture, slog.Default())
	}
	if err != nil {
		events.Close()
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *gateway) close() error {
	err := errors.Join(g.bitswap.Close(), g.host.Close())
	if g.monitor != nil {
		err = errors.Join(err, g.monitor.Close())
	}
	return err
}

func run(ctx context.Context) error {
	listen := flag.String("listen", "127.0.0.1:8080", "`HOST:PORT` of the gateway")
	watch := flag.String("monitor", "127.0.0.1:8432", "`HOST:PORT` of the monitor's API and live page")
	from := flag.String("peer", "", "`MULTIADDR` of a peer to fetch from, with its /p2p/ID")
	finds := flag.String("router", "", "`URL` of a delegated router that finds providers")
	flag.Parse()
	var router routing.ContentDiscovery
	if *finds != "" {
		c, err := client.New(*finds)
		if err != nil {
			return fmt.Errorf("-router %q: %w", *finds, err)
		}
		router = contentrouter.NewContentRoutingClient(c)
	}
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		return err
	}
	layers := monitor.Layers{Defaults: func(c *monitor.Config) {
		c.HTTPServerConfig = &httpapi.Config{ListenAddresses: []string{*watch}}
	}}
	cfg, _, err := layers.Effective() // IPFSMON_... variables are read too
	if err != nil {
		return errors.Join(err, h.Close())
	}
	g, err := open(ctx, h, router, cfg)
	if err != nil {
		return err
	}
	defer g.close()
	if *from != "" {
		to, err := peer.AddrInfoFromString(*from)
		if err != nil {
			return fmt.Errorf("-peer %q: %w", *from, err)
		}
		if err := h.Connect(ctx, *to); err != nil {
			return err
		}
	}
	g.monitor.Announce(os.Stdout)
	fmt.Printf("Gateway at http://%s/ipfs/CID?format=raw\n", *listen)
	server := &http.Server{Addr: *listen, Handler: g}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}
