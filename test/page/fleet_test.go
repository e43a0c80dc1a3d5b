//go:build page || all

package page

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestPageFleet looks at the page of a fleet with a real browser: that of the demo's
// collector, and that of one whose monitors and peers send what a page must not run.
func TestPageFleet(t *testing.T) {
	demo := harness.Start(t, harness.Environ(t.TempDir()), "demo", "--monitors", "3", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	node := demo.Find(`(?m)^Live page at (http://\S+)`)
	page := demo.Find(`fleet: Live page at (http://\S+)`)

	const evil = `<img src=x onerror=alert(1)>`
	monitors := []map[string]any{{"name": evil + "away", "stream": "127.0.0.1:1", "page": "https://monitor.example/%22onclick=alert(1)"}}
	for i := range 2 {
		monitors = append(monitors, map[string]any{"stream": hostileMonitor(t, fmt.Sprintf("%s%d", evil, i))})
	}
	text, err := json.Marshal(map[string]any{"monitors": monitors})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "fleet.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	hostile := harness.Start(t, harness.Environ(t.TempDir()), "fleet", "collect", "--fleet", file, "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "1")
	look(t, "fleet.test.mjs", 15*time.Minute, "PAGE_URL="+page, "PAGE_NODE="+node, "PAGE_HOSTILE="+hostile.Find(`Live page at (http://\S+)`))
}

// hostileMonitor serves the stream of a monitor whose name, peers and their agents are
// hostile, and returns its address.
func hostileMonitor(t *testing.T, name string) string {
	s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: name, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	b := bus.New(bus.Config{})
	r := b.Subscribe("stream")
	b.Live()
	done, stop := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(t.Context(), r) }()
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			who := peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, fmt.Sprintf("%032d", n%30)...))
			now := time.Now().UnixNano()
			b.Publish(&event.Event{Kind: event.KindConnection, Time: now, Peer: who, Conn: &event.Conn{ID: fmt.Sprint(n), Addr: "/ip4/192.0.2.1/tcp/4001", Transport: "tcp", PeerConns: 1, TotalConns: 1}})
			b.Publish(&event.Event{Kind: event.KindIdentify, Time: now, Peer: who, Identify: &event.Identify{Agent: `<script>alert(1)</script>`, Protocols: []event.Text{"/\u202e<script>alert(1)</script>", `/"><img src=x onerror=alert(1)>`}}})
			b.Publish(&event.Event{Kind: event.KindMessage, Time: now, Peer: who, Country: "FR", Wants: []event.Want{{CID: eventtest.CID}}})
		}
	}()
	t.Cleanup(func() { close(stop); <-sending; b.Close(); <-done; s.Close() })
	return s.Addrs()[0].String()
}
