package loopback

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/loopback/dialtest"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	mamask "github.com/whyrusleeping/multiaddr-filter"
	"go.uber.org/goleak"
)

var dials = dialtest.Watch()

// kubo makes a provider query manager for each node and never closes it, with a worker
// and a queue. The sweeper of libp2p's bandwidth meters and the worker that OpenCensus
// starts in an init run once per process and never end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/ipfs/boxo/routing/providerquerymanager.(*ProviderQueryManager).run"),
		goleak.IgnoreAnyFunction("github.com/ipfs/boxo/routing/providerquerymanager.(*ProviderQueryManager).findProviderWorker"),
		goleak.IgnoreAnyFunction("github.com/gammazero/chanqueue.(*ChanQueue[...]).bufferData"),
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

func identity(t *testing.T, seed byte) (config.Identity, peer.ID) {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize))))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return config.Identity{PeerID: id.String(), PrivKey: base64.StdEncoding.EncodeToString(raw)}, id
}

func startNode(t *testing.T, seed byte) *core.IpfsNode {
	t.Helper()
	var cfg config.Config
	cfg.Identity, _ = identity(t, seed)
	Apply(&cfg)
	n, err := core.NewNode(context.Background(), &core.BuildCfg{
		Online:          true,
		Routing:         libp2p.DHTServerOption,
		Repo:            &repo.Mock{C: cfg, D: dssync.MutexWrap(ds.NewMapDatastore())},
		ShutdownTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Bootstrapper.Close(); err != nil { // Close removes it
			t.Errorf("close bootstrapper: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
	})
	return n
}

func TestNodeRefusesPublicAddresses(t *testing.T) {
	a, b := startNode(t, 'a'), startNode(t, 'b')
	for _, listen := range a.PeerHost.Network().ListenAddresses() {
		if !strings.HasPrefix(listen.String(), "/ip4/127.0.0.1/") {
			t.Errorf("listens on %s, want 127.0.0.1 only", listen)
		}
	}

	before := len(dials.Addrs())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, stranger := identity(t, 'c')
	for _, s := range []string{
		"/ip4/203.0.113.1/tcp/4001",
		"/ip4/203.0.113.1/udp/4001/quic-v1",
		"/ip4/10.1.2.3/tcp/4001",
		"/ip6/2001:db8::1/tcp/4001",
		"/ip6/::ffff:203.0.113.1/tcp/4001",
		"/ip6/::1/tcp/4001",
	} {
		a.PeerHost.Peerstore().ClearAddrs(stranger)
		err := a.PeerHost.Connect(ctx, peer.AddrInfo{ID: stranger, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(s)}})
		var dial *swarm.DialError
		if !errors.As(err, &dial) || len(dial.DialErrors) != 1 || !errors.Is(dial.DialErrors[0].Cause, swarm.ErrGaterDisallowedConnection) {
			t.Errorf("connect to %s: %v, want it refused by the gater", s, err)
		}
	}
	// A name is looked up nowhere but on the dead port of this machine.
	a.PeerHost.Peerstore().ClearAddrs(stranger)
	start := time.Now()
	err := a.PeerHost.Connect(ctx, peer.AddrInfo{ID: stranger, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/localhost/tcp/4001")}})
	if err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("connect to a name: %v after %s, want a quick failure", err, time.Since(start))
	}
	if got := dials.Addrs()[before:]; len(got) != 0 {
		t.Fatalf("dialled %q, want nothing", got)
	}

	// The same log shows a permitted dial, so its silence above is evidence.
	if err := a.PeerHost.Connect(ctx, peer.AddrInfo{ID: b.Identity, Addrs: b.PeerHost.Addrs()}); err != nil {
		t.Fatal(err)
	}
	got := dials.Addrs()[before:]
	if len(got) == 0 {
		t.Fatal("no dial seen in the log, want the one to the other node")
	}
	for _, addr := range got {
		if !strings.HasPrefix(addr, "/ip4/127.0.0.1/") {
			t.Errorf("dialled %s", addr)
		}
	}
}

func TestDHTAmongNodes(t *testing.T) {
	a, b := startNode(t, 'd'), startNode(t, 'e')
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.PeerHost.Connect(ctx, peer.AddrInfo{ID: b.Identity, Addrs: b.PeerHost.Addrs()}); err != nil {
		t.Fatal(err)
	}
	for a.DHT.LAN.RoutingTable().Size() == 0 || b.DHT.LAN.RoutingTable().Size() == 0 {
		if ctx.Err() != nil {
			t.Fatal("routing tables stay empty, want the other node in each")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestFilters tries all first octets, so that a hole in the prefixes is found.
func TestFilters(t *testing.T) {
	gate := multiaddr.NewFilters()
	for _, s := range filters {
		mask, err := mamask.NewMask(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		gate.AddFilter(*mask, multiaddr.ActionDeny)
	}
	for octet := range 256 {
		for _, rest := range []string{"0.0.0", "0.0.1", "255.255.255"} {
			ip := fmt.Sprintf("%d.%s", octet, rest)
			blocked := gate.AddrBlocked(multiaddr.StringCast("/ip4/" + ip + "/tcp/1"))
			if want := !net.ParseIP(ip).IsLoopback(); blocked != want {
				t.Errorf("%s blocked: %v, want %v", ip, blocked, want)
			}
		}
	}
}

func TestApplyKeepsTheRest(t *testing.T) {
	cfg := config.Config{Identity: config.Identity{PeerID: "me"}}
	cfg.Plugins.Plugins = map[string]config.Plugin{"ours": {Config: 1}, "telemetry": {Config: "x"}}
	cfg.Pinning.RemoteServices = map[string]config.RemotePinningService{"s": {
		API:      config.RemotePinningServiceAPI{Endpoint: "https://example.com", Key: "k"},
		Policies: config.RemotePinningServicePolicies{MFS: config.RemotePinningServiceMFSPolicy{Enable: true}},
	}}
	cfg.Bootstrap = []string{config.AutoPlaceholder}
	cfg.Addresses.Announce = []string{"/ip4/203.0.113.1/tcp/4001"}
	Apply(&cfg)
	Apply(&cfg) // a second call changes nothing more
	if cfg.Identity.PeerID != "me" || cfg.Plugins.Plugins["ours"].Config != 1 {
		t.Error("identity or another plugin's config changed")
	}
	if p := cfg.Plugins.Plugins["telemetry"]; !p.Disabled || p.Config != "x" {
		t.Errorf("telemetry: %+v, want it disabled and its config kept", p)
	}
	if s := cfg.Pinning.RemoteServices["s"]; s.Policies.MFS.Enable || s.API.Key != "k" {
		t.Errorf("remote pinning: %+v, want the policy off and the key kept", s)
	}
	if len(cfg.Bootstrap)+len(cfg.Addresses.Announce)+len(cfg.Addresses.Gateway) != 0 || len(cfg.Swarm.AddrFilters) != len(filters) {
		t.Errorf("addresses: %+v, filters: %q", cfg.Addresses, cfg.Swarm.AddrFilters)
	}
	raw, err := json.Marshal(cfg)
	if err != nil || strings.Contains(string(raw), `"auto"`) {
		t.Errorf("config still holds auto values: %v", err)
	}
}
