// Package loopback confines a kubo node to this machine, by its configuration.
//
// In: any kubo config. Out: the same config, changed so that a node with it
// listens on 127.0.0.1 only, has no bootstrap peers, queries no service, and
// neither dials nor accepts any address outside 127.0.0.0/8, whatever peers
// announce. Promised: the rest of the config (identity, datastore, limits, plugins
// except telemetry) is unchanged. Not covered: commands by which the user makes
// the node connect elsewhere, such as "ipfs pin remote" or a filestore URL.
package loopback

import "github.com/ipfs/kubo/config"

// deadResolver is where DNS names are looked up: a port of this machine on which
// nobody answers (9, discard). Without resolvers, kubo would ask the system's
// resolver for each /dns address that a peer announces, and that request leaves
// the machine.
const deadResolver = "http://127.0.0.1:9/dns-query"

// filters are the addresses that are neither dialled nor accepted: IPv4 without
// 127.0.0.0/8, which are the eight prefixes that differ from 01111111 in their
// last bit, and all of IPv6, since the node listens on IPv4 only. IPv4 addresses
// written as IPv6 match the IPv4 prefixes.
var filters = []string{
	"/ip4/0.0.0.0/ipcidr/2",   // 0-63
	"/ip4/64.0.0.0/ipcidr/3",  // 64-95
	"/ip4/96.0.0.0/ipcidr/4",  // 96-111
	"/ip4/112.0.0.0/ipcidr/5", // 112-119
	"/ip4/120.0.0.0/ipcidr/6", // 120-123
	"/ip4/124.0.0.0/ipcidr/7", // 124-125
	"/ip4/126.0.0.0/ipcidr/8", // 126
	"/ip4/128.0.0.0/ipcidr/1", // 128-255
	"/ip6/::/ipcidr/0",
}

// Apply changes cfg so that its node is confined to loopback. It overwrites
// addresses: keep a copy of a config that you still need.
//
// The node listens for peers on free TCP and QUIC ports and for the RPC API on
// a free TCP port; the gateway is off. It is a DHT server, so that a handful
// of such nodes have a working DHT among them once they are connected.
func Apply(cfg *config.Config) {
	cfg.Addresses = config.Addresses{
		Swarm:          []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		Announce:       []string{},
		AppendAnnounce: []string{},
		NoAnnounce:     []string{},
		API:            config.Strings{"/ip4/127.0.0.1/tcp/0"},
		Gateway:        config.Strings{},
	}
	cfg.Swarm.AddrFilters = append([]string(nil), filters...)

	// No known peers at the start, and no discovery outside libp2p.
	cfg.Bootstrap = []string{}
	cfg.Peering.Peers = nil
	cfg.Discovery.MDNS.Enabled = false
	cfg.AutoConf.Enabled = config.False
	cfg.AutoTLS.Enabled = config.False
	cfg.DNS.Resolvers = map[string]string{".": deadResolver, "eth.": deadResolver}

	cfg.Routing.Type = config.NewOptionalString("dhtserver")
	cfg.Routing.LoopbackAddressesOnLanDHT = config.True
	cfg.Routing.AcceleratedDHTClient = config.False // it crawls the public DHT
	cfg.Routing.DelegatedRouters = []string{}
	cfg.Routing.Routers = nil
	cfg.Routing.Methods = nil
	cfg.Ipns.DelegatedPublishers = []string{}
	cfg.HTTPRetrieval.Enabled = config.False

	// On loopback no NAT traversal is needed.
	cfg.AutoNAT.ServiceMode = config.AutoNATServiceDisabled
	cfg.Swarm.DisableNatPortMap = true
	cfg.Swarm.RelayClient.Enabled = config.False
	cfg.Swarm.RelayClient.StaticRelays = nil
	cfg.Swarm.RelayService.Enabled = config.False
	cfg.Swarm.EnableHolePunching = config.False
	cfg.Swarm.Transports.Network.Relay = config.False

	// No reports to anybody.
	cfg.Version.SwarmCheckEnabled = config.False
	telemetry := cfg.Plugins.Plugins["telemetry"]
	telemetry.Disabled = true
	if cfg.Plugins.Plugins == nil {
		cfg.Plugins.Plugins = make(map[string]config.Plugin)
	}
	cfg.Plugins.Plugins["telemetry"] = telemetry
	for name, service := range cfg.Pinning.RemoteServices {
		service.Policies.MFS.Enable = false // otherwise kubo sends the MFS root there
		cfg.Pinning.RemoteServices[name] = service
	}
}
