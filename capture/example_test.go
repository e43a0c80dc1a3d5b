package capture_test

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
)

// A DHT is watched if it is made with the capture's host. Here another peer pings it, and
// the bus has an event for that.
func ExampleCapture_DHT() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		panic(err)
	}
	defer h.Close()

	events := bus.New(bus.Config{})
	defer events.Close()
	c := capture.New(events, nil)
	d, err := dht.New(c.DHT(h), dht.ProtocolPrefix("/example"), dht.Mode(dht.ModeServer), dht.DisableAutoRefresh())
	if err != nil {
		panic(err)
	}
	defer d.Close()
	reader := events.Subscribe("example")
	events.Live()

	asker, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		panic(err)
	}
	defer asker.Close()
	client, err := dht.New(asker, dht.ProtocolPrefix("/example"), dht.Mode(dht.ModeClient), dht.DisableAutoRefresh())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	if err := asker.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
		panic(err)
	}
	if err := client.Ping(ctx, h.ID()); err != nil {
		panic(err)
	}

	buf := make([]*event.Event, 1)
	for {
		if _, _, err := reader.Next(ctx, buf); err != nil {
			panic(err)
		}
		if e := buf[0]; e.Kind == event.KindDHT && e.DHT.Type == event.DHTPing {
			fmt.Println(e.Dir, e.DHT.Type, e.DHT.Status, e.Peer == asker.ID())
			return
		}
	}
	// Output: received ping ok true
}
