package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/samesite"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
	"github.com/ipfsmon/ipfsmon/privacy"
)

// IntrospectConfig is about introspection: the WebSocket /introspect and the
// live page. Without the section both are on the HTTP API's listener.
type IntrospectConfig struct {
	// Off turns introspection off.
	Off bool `json:",omitempty"`
	// ListenAddresses are more addresses for both, "host:port" or "unix:/path",
	// beside those of HTTPServerConfig. Default: none.
	ListenAddresses []string `json:",omitempty" split_words:"true"`
	// AllowedOrigins are the origins of pages from elsewhere that may open the
	// WebSocket, as in https://visualizer.example.org. Default: none.
	AllowedOrigins []string `json:",omitempty" split_words:"true"`
	// AllowedHosts, TLSCertFile, TLSKeyFile, TokenFiles and AllowInsecure are
	// about ListenAddresses, as those of HTTPServerConfig.
	AllowedHosts  []string `json:",omitempty" split_words:"true"`
	TLSCertFile   string   `json:",omitempty" split_words:"true"`
	TLSKeyFile    string   `json:",omitempty" split_words:"true"`
	TokenFiles    []string `json:",omitempty" split_words:"true"`
	AllowInsecure bool     `json:",omitempty" split_words:"true"`
	// MaxConnections is how many open connections a state lists. Default: 20000.
	MaxConnections int `json:",omitempty" split_words:"true"`
}

// Validate says all that is wrong with the configuration.
func (c IntrospectConfig) Validate() error {
	var errs []error
	if len(c.ListenAddresses) > 0 {
		errs = append(errs, access.Config{
			TLSCertFile: c.TLSCertFile, TLSKeyFile: c.TLSKeyFile, TokenFiles: c.TokenFiles, AllowInsecure: c.AllowInsecure,
		}.Check(c.ListenAddresses))
	} else if c.TLSCertFile != "" || c.TLSKeyFile != "" || len(c.TokenFiles) > 0 || c.AllowInsecure {
		errs = append(errs, errors.New("ListenAddresses: there are none, so TLSCertFile, TLSKeyFile, TokenFiles and AllowInsecure mean nothing: those of HTTPServerConfig count there"))
	}
	for _, o := range c.AllowedOrigins {
		if err := samesite.CheckOrigin(o); err != nil {
			errs = append(errs, fmt.Errorf("AllowedOrigins: %q: %w", o, err))
		}
	}
	if c.MaxConnections < 0 || c.MaxConnections > 1_000_000 {
		errs = append(errs, fmt.Errorf("MaxConnections: %d: want 1 to 1000000, or 0 for %d", c.MaxConnections, introspect.DefaultMaxConnections))
	}
	var flat []error
	for _, e := range errs {
		flat = append(flat, split(e)...)
	}
	return errors.Join(flat...)
}

// introspection is what serves the node's state.
type introspection struct {
	server   *introspect.Server
	endpoint introspect.Endpoint // nil when there are no addresses of its own
	feed     *introspect.Feed
	rates    *rates
	registry *introspect.Registry
	conns    *introspect.Conns   // nil where there is no host, or none may be named
	dht      *introspect.DHTTaps // nil where there are none

	cancel context.CancelFunc
	wg     sync.WaitGroup
	attach func() // has the host tell of connections; nil where there is none
	detach func()
}

// openIntrospection makes the server and its providers. Nothing runs yet but
// the listeners of its own.
func (m *Monitor) openIntrospection() (err error) {
	node := m.watched.Node
	cfg := IntrospectConfig{}
	if m.Config.IntrospectConfig != nil {
		cfg = *m.Config.IntrospectConfig
	}
	if cfg.Off {
		return nil
	}
	started := time.Now()
	named := m.Config.StreamPrivacy == privacy.Raw
	hosts := cfg.AllowedHosts
	if h := m.Config.HTTPServerConfig; h != nil {
		hosts = append(append([]string{}, hosts...), h.AllowedHosts...)
	}
	registry := introspect.NewRegistry()
	registry.MaxConnections, registry.Guard.Log = cfg.MaxConnections, m.log
	in := &introspection{registry: registry, server: introspect.NewServer(introspect.Config{
		Introspector: registry, AllowedOrigins: cfg.AllowedOrigins, AllowedHosts: hosts, Logger: m.log,
	})}
	agent := func(p peer.ID) string { return rawAgent(node, p) }
	if !named {
		in.feed = introspect.NewQuietFeed(in.server)
	} else {
		in.feed = introspect.NewFeed(in.server, agent)
	}
	p := &providers{m: m, node: node, in: in, named: named, started: started, rates: &rates{read: m.capture.Traffic}}
	all := p.all()
	if node.Host != nil && !named {
		network := node.Host.Network()
		all.Totals = func() (peers, connections int) { return len(network.Peers()), len(network.Conns()) }
	}
	if node.Host != nil && named {
		conns := introspect.NewConns(m.connsConfig(node, agent))
		network := node.Host.Network()
		in.conns, in.dht = conns, node.DHTTaps
		in.attach = func() { network.Notify(conns) }
		in.detach = func() { network.StopNotify(conns) }
		err = registry.RegisterDataProviders(conns.Providers())
		if d := node.DHT; d != nil {
			var tables []introspect.DHTTable
			if d.WAN != nil {
				tables = append(tables, introspect.DHTTable{Name: "wan", Protocol: string(amino.ProtocolID), DHT: d.WAN})
			}
			if d.LAN != nil {
				tables = append(tables, introspect.DHTTable{Name: "lan", Protocol: "/ipfs/lan/kad/1.0.0", DHT: d.LAN})
			}
			all.DHT = introspect.DHTProvider(started, tables, node.DHTTaps, agent)
		}
		if node.DHTTaps != nil {
			node.DHTTaps.Tell(in.server.Query)
		}
	}
	if err = errors.Join(err, registry.RegisterDataProviders(all)); err != nil {
		return err
	}
	m.introspect = in
	in.rates = p.rates
	if len(cfg.ListenAddresses) > 0 {
		in.endpoint, err = introspect.NewEndpoint(introspect.EndpointConfig{
			ListenAddresses: cfg.ListenAddresses, TLSCertFile: cfg.TLSCertFile, TLSKeyFile: cfg.TLSKeyFile,
			TokenFiles: cfg.TokenFiles, AllowInsecure: cfg.AllowInsecure, Page: introspect.Page(), Logger: m.log,
		}, in.server)
	}
	return err
}

// run begins to listen at addresses of its own, and to follow libp2p's events
// and the traffic's rates.
func (in *introspection) run(m *Monitor) error {
	if in.endpoint != nil {
		if err := in.endpoint.Start(); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	if in.attach != nil {
		in.attach()
	}
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	if h := m.watched.Host; h != nil && m.Config.StreamPrivacy == privacy.Raw {
		in.wg.Go(func() {
			if err := in.server.Follow(ctx, h.EventBus()); err != nil {
				m.log.Warn("libp2p's events are not told by introspection", "err", err)
			}
		})
	}
	in.wg.Go(func() { in.rates.run(ctx) })
	return nil
}

// close ends the sessions and what follows the node.
func (in *introspection) close() error {
	if in.cancel != nil {
		in.cancel()
	}
	if in.detach != nil {
		in.detach()
	}
	var err error
	if in.endpoint != nil {
		err = in.endpoint.Close()
	}
	err = errors.Join(err, in.server.Close())
	in.wg.Wait()
	return err
}

// panics counts the panics of providers and at the node's border.
func (in *introspection) panics() (n uint64) {
	n += in.registry.Guard.Panics()
	if in.conns != nil {
		n += in.conns.Panics()
	}
	if in.dht != nil {
		n += in.dht.Panics()
	}
	return n
}

// connsConfig tells where connections get what they do not know themselves.
func (m *Monitor) connsConfig(n nodestate.Node, agent func(peer.ID) string) introspect.ConnsConfig {
	h := n.Host
	cfg := introspect.ConnsConfig{
		Conns: h.Network().Conns, Agent: agent, Latency: h.Peerstore().LatencyEWMA, Taps: n.Taps, Logger: m.log,
	}
	cfg.Origin = func(p peer.ID, a multiaddr.Multiaddr) (string, bool) {
		if m.origin == nil { // it is opened after this, and before anybody looks
			return "", false
		}
		return m.origin.Country(a), m.origin.Gateway(p)
	}
	if r := n.Reporter; r != nil {
		cfg.PeerTraffic = func(p peer.ID) (in, out, inRate, outRate uint64) {
			s := r.GetBandwidthForPeer(p)
			return whole(s.TotalIn), whole(s.TotalOut), whole(int64(s.RateIn)), whole(int64(s.RateOut))
		}
	}
	return cfg
}

// rawAgent is what a peer calls itself, as it said it; "" where not known.
func rawAgent(n nodestate.Node, p peer.ID) string {
	if n.Peerstore == nil {
		return ""
	}
	v, err := n.Peerstore.Get(p, "AgentVersion")
	if err != nil {
		return ""
	}
	s, _ := v.(string)
	return s
}

// runtimeFacts is what does not change.
func (p *providers) runtimeFacts() (*pb.Runtime, error) {
	out := &pb.Runtime{
		Implementation: "go-libp2p", Version: moduleVersion("github.com/libp2p/go-libp2p"), Platform: runtime.GOOS,
		PeerId: p.node.Identity.String(), Monitor: string(event.Clean(p.m.Config.MonitorName, 128)), Kubo: p.m.watched.Kubo,
		Go: runtime.Version(), StartTs: uint64(p.started.UnixMilli()), Named: p.named,
	}
	return out, nil
}

// moduleVersion is that of a module that is linked in, without the v.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return strings.TrimPrefix(d.Version, "v")
		}
	}
	return ""
}

// IntrospectAddresses are the URLs of the live page, one for each listener.
func (m *Monitor) IntrospectAddresses() []string {
	if m.introspect == nil {
		return nil
	}
	var out []string
	add := func(address string, tls bool) {
		scheme := "http://"
		if tls && !strings.HasPrefix(address, "127.") && !strings.HasPrefix(address, "[::1]") {
			scheme = "https://"
		}
		if _, err := os.Stat(address); err != nil { // not a unix socket
			out = append(out, scheme+address+"/")
		}
	}
	if c := m.Config.HTTPServerConfig; c != nil {
		for _, a := range m.HTTPAddresses() {
			add(a, c.TLSCertFile != "")
		}
	}
	if e := m.introspect.endpoint; e != nil {
		for _, a := range e.ListenAddrs() {
			add(a, m.Config.IntrospectConfig.TLSCertFile != "")
		}
	}
	return out
}
