package loopback

import (
	"strings"
	"testing"

	"github.com/ipfs/kubo/config"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

func TestCheck(t *testing.T) {
	f := func(change func(*config.Config), want ...string) {
		t.Helper()
		id, _ := identity(t, 1)
		cfg, err := config.InitWithIdentity(id)
		if err != nil {
			t.Fatal(err)
		}
		Apply(cfg)
		if cfg, err = cfg.Clone(); err != nil { // in the form of a file
			t.Fatal(err)
		}
		change(cfg)
		faults, err := Check(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range faults {
			got = append(got, f.String())
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("got:\n%s\nwant:\n%s", g, w)
		}
	}
	id, peerID := identity(t, 2)
	there := func(addr string) []peer.AddrInfo {
		return []peer.AddrInfo{{ID: peerID, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(addr)}}}
	}

	// Addresses on this machine are permitted.
	f(func(*config.Config) {})
	f(func(c *config.Config) { c.Addresses.API = config.Strings{"/ip4/127.0.0.1/tcp/5001"} })
	f(func(c *config.Config) {
		c.Addresses.API = config.Strings{"/unix/run/ipfs.sock", "/ip4/127.0.0.2/tcp/5001"}
	})
	f(func(c *config.Config) { c.Addresses.Gateway = config.Strings{"/ip4/127.0.0.1/tcp/8080"} })
	f(func(c *config.Config) { c.Addresses.Swarm = []string{"/ip4/127.0.0.1/tcp/4001"} })
	f(func(c *config.Config) { c.Bootstrap = []string{"/ip4/127.0.0.1/tcp/4001/p2p/" + id.PeerID} })
	f(func(c *config.Config) { c.Bootstrap = nil })
	f(func(c *config.Config) { c.Peering.Peers = there("/ip4/127.0.0.1/tcp/4001") })
	f(func(c *config.Config) { c.Routing.Type = config.NewOptionalString("dhtclient") })
	f(func(c *config.Config) { c.Datastore.StorageMax = "1GB" })
	f(func(c *config.Config) {
		c.Plugins.Plugins["metric-export-plugin"] = config.Plugin{Config: map[string]any{"MonitorName": "x"}}
	})

	// Any other address is named in the error, with what is wanted.
	f(func(c *config.Config) { c.Addresses.API = config.Strings{"/ip4/0.0.0.0/tcp/5001"} },
		`Addresses.API is "/ip4/0.0.0.0/tcp/5001": want addresses in 127.0.0.0/8 only`)
	f(func(c *config.Config) { c.Addresses.Swarm = append(c.Addresses.Swarm, "/ip6/::/tcp/4001") },
		`Addresses.Swarm is ["/ip4/127.0.0.1/tcp/0","/ip4/127.0.0.1/udp/0/quic-v1","/ip6/::/tcp/4001"]: want addresses in 127.0.0.0/8 only`)
	f(func(c *config.Config) { c.Bootstrap = []string{"auto"} },
		`Bootstrap is ["auto"]: want addresses in 127.0.0.0/8 only`)
	f(func(c *config.Config) { c.Bootstrap = []string{"/dnsaddr/bootstrap.libp2p.io/p2p/" + id.PeerID} },
		`Bootstrap is ["/dnsaddr/bootstrap.libp2p.io/p2p/`+id.PeerID+`"]: want addresses in 127.0.0.0/8 only`)
	f(func(c *config.Config) { c.Peering.Peers = there("/ip4/192.0.2.1/tcp/4001") },
		`Peering.Peers is [{"Addrs":["/ip4/192.0.2.1/tcp/4001"],"ID":"`+id.PeerID+`"}]: want addresses in 127.0.0.0/8 only`)
	f(func(c *config.Config) { c.Routing.Type = config.NewOptionalString("auto") },
		`Routing.Type is "auto": want "dhtserver"`)
	f(func(c *config.Config) { c.AutoConf.Enabled = config.Default; c.Discovery.MDNS.Enabled = true },
		`AutoConf.Enabled is nothing: want false`, `Discovery.MDNS.Enabled is true: want false`)
	f(func(c *config.Config) { c.Swarm.AddrFilters = nil },
		`Swarm.AddrFilters is nothing: want `+text(filters))

	cfg, err := config.InitWithIdentity(id)
	if err != nil {
		t.Fatal(err)
	}
	if faults, err := Check(cfg); err != nil || len(faults) < 10 {
		t.Errorf("a public node's configuration has the faults %v, %v: want many", faults, err)
	}
}
