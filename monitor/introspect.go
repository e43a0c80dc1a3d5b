package monitor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/samesite"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
	"github.com/ipfsmon/ipfsmon/introspect/ui"
	"github.com/ipfsmon/ipfsmon/privacy"
)

// IntrospectConfig configures introspection: the WebSocket /introspect and the live page.
// Without the section both are on the HTTP API's listener.
type IntrospectConfig struct {
	// Off turns introspection off.
	Off bool `json:",omitempty"`
	// ListenAddresses are further addresses for both, "host:port" or "unix:/path", besides
	// those of HTTPServerConfig. Default: none.
	ListenAddresses []string `json:",omitempty" split_words:"true"`
	// AllowedOrigins are the origins of other sites' pages that may open the WebSocket, as in
	// https://visualizer.example.org. Default: none.
	AllowedOrigins []string `json:",omitempty" split_words:"true"`
	// AllowedHosts applies to ListenAddresses, like that of HTTPServerConfig; so do
	// TLSCertFile, TLSKeyFile, TokenFiles and AllowInsecure.
	AllowedHosts []string `json:",omitempty" split_words:"true"`
	access.Config
	// MaxConnections is how many open connections a state lists. Default: 20000.
	MaxConnections int `json:",omitempty" split_words:"true"`
}

// Validate reports all invalid settings.
func (c IntrospectConfig) Validate() error {
	var errs []error
	if len(c.ListenAddresses) > 0 {
		errs = append(errs, c.Config.Check(c.ListenAddresses))
	} else if !c.Config.IsZero() {
		errs = append(errs, errors.New("ListenAddresses: empty, so TLSCertFile, TLSKeyFile, TokenFiles and AllowInsecure have no effect: want addresses, or these keys in HTTPServerConfig"))
	}
	for _, o := range c.AllowedOrigins {
		if err := samesite.CheckOrigin(o); err != nil {
			errs = append(errs, fmt.Errorf("AllowedOrigins: %q: %w", o, err))
		}
	}
	if c.MaxConnections < 0 || c.MaxConnections > 1_000_000 {
		errs = append(errs, fmt.Errorf("MaxConnections: %d: want 1 to 1000000, or 0 for %d", c.MaxConnections, introspect.DefaultMaxConnections))
	}
	return errors.Join(errs...)
}

// introspection serves the state of the node and of the monitor.
type introspection struct {
	m        *Monitor
	named    bool // peers and CIDs may be named
	started  time.Time
	server   *introspect.Server
	registry *introspect.Registry
	node     *nodestate.State
	feed     *introspect.Feed
	endpoint introspect.Endpoint // nil without its own addresses
}

// openIntrospection creates the server and its providers. It opens its own listeners, and
// starts nothing else.
func (m *Monitor) openIntrospection() (err error) {
	cfg := IntrospectConfig{}
	if m.Config.IntrospectConfig != nil {
		cfg = *m.Config.IntrospectConfig
	}
	if cfg.Off {
		return nil
	}
	hosts := cfg.AllowedHosts
	if h := m.Config.HTTPServerConfig; h != nil {
		hosts = append(append([]string{}, hosts...), h.AllowedHosts...)
	}
	in := &introspection{m: m, named: m.Config.StreamPrivacy == privacy.Raw, started: time.Now(), registry: introspect.NewRegistry()}
	in.registry.MaxConnections, in.registry.Guard.Log = cfg.MaxConnections, m.log
	in.server = introspect.NewServer(introspect.Config{
		Introspector: in.registry, AllowedOrigins: cfg.AllowedOrigins, AllowedHosts: hosts, Logger: m.log,
	})
	providers := &introspect.DataProviders{Runtime: in.runtime, Pipeline: in.pipeline, Content: in.content}
	if in.named {
		in.feed = introspect.NewFeed(in.server, m.watched.Agent)
	} else {
		in.feed = introspect.NewQuietFeed(in.server)
		providers.Agents = in.sampledAgents
	}
	in.node = nodestate.New(m.watched.Node, nodestate.Config{
		Started: in.started, Named: in.named, Bitswap: m.traffic, DHT: m.capture.DHTRequests, Origin: m.whence, RepoBytes: in.repoBytes,
		Proxy: m.watched.Proxy, Logger: m.log,
	})
	if err = errors.Join(in.node.Register(in.registry), in.registry.RegisterDataProviders(providers)); err != nil {
		return err
	}
	m.introspect = in
	if len(cfg.ListenAddresses) > 0 {
		in.endpoint, err = introspect.NewEndpoint(introspect.EndpointConfig{
			ListenAddresses: cfg.ListenAddresses, Config: cfg.Config, Page: ui.Handler(), Logger: m.log,
		}, in.server)
	}
	return err
}

// run starts to serve its own addresses, and to follow the node.
func (in *introspection) run() error {
	if in.endpoint != nil {
		if err := in.endpoint.Start(); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	in.node.Start(in.server)
	return nil
}

// close ends the sessions and stops following the node.
func (in *introspection) close() (err error) {
	in.node.Close()
	if in.endpoint != nil {
		err = in.endpoint.Close()
	}
	return errors.Join(err, in.server.Close())
}

// panics returns the number of panics in providers and in callbacks of the node.
func (in *introspection) panics() uint64 { return in.registry.Guard.Panics() + in.node.Panics() }

// whence returns a peer's origin according to the configured files.
func (m *Monitor) whence(p peer.ID, a multiaddr.Multiaddr) (country string, gateway bool) {
	if m.origin == nil { // opened after introspection, and before the first session
		return "", false
	}
	return m.origin.Country(a), m.origin.Gateway(p)
}

// repoBytes returns the size of the node's repository as of the last sample.
func (in *introspection) repoBytes() int64 {
	if s := in.feed.Sample(); s != nil {
		return s.Node.RepoBytes
	}
	return -1
}

// runtime returns the constant properties of the node.
func (in *introspection) runtime() (*pb.Runtime, error) {
	return &pb.Runtime{
		Implementation: "go-libp2p", Version: moduleVersion("github.com/libp2p/go-libp2p"), Platform: runtime.GOOS,
		PeerId: in.m.watched.Identity.String(), Monitor: string(event.Clean(in.m.Config.MonitorName, 128)), Kubo: in.m.watched.Kubo,
		MonitorVersion: Version,
		Go:             runtime.Version(), StartTs: uint64(in.started.UnixMilli()), Named: in.named,
	}, nil
}

// moduleVersion returns the version of a linked module, without the v.
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

// IntrospectAddresses returns the URLs of the live page, one for each listener.
func (m *Monitor) IntrospectAddresses() []string {
	if m.introspect == nil && m.watched.Fleet == nil {
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
	if m.introspect == nil {
		return out
	}
	if e := m.introspect.endpoint; e != nil {
		for _, a := range e.ListenAddrs() {
			add(a, m.Config.IntrospectConfig.TLSCertFile != "")
		}
	}
	return out
}

// maxTopShown is how many entries each list of the current interval has.
const maxTopShown = 50

// sampledAgents returns the agents of the last sample.
func (in *introspection) sampledAgents() ([]*pb.AgentCount, error) {
	s := in.feed.Sample()
	if s == nil {
		return nil, nil
	}
	out := make([]*pb.AgentCount, 0, len(s.Agents))
	for _, a := range s.Agents {
		out = append(out, &pb.AgentCount{Agent: string(a.Agent), Peers: uint32(a.Peers)})
	}
	return out, nil
}

// content returns the figures of the last complete interval. Before there is one, the lists are
// those of the current one.
func (in *introspection) content() (*pb.Content, error) {
	out := in.feed.Content()
	if out == nil {
		out = &pb.Content{}
		cids, err := in.m.derive.Top(derive.TopKindCIDs, maxTopShown)
		if err != nil {
			return nil, err
		}
		peers, err := in.m.derive.Top(derive.TopKindPeers, maxTopShown)
		if err != nil {
			return nil, err
		}
		out.TopCids, out.TopCidsByPeers = introspect.TopCIDs(cids.Running.CIDs), introspect.TopCIDs(cids.Running.CIDsByPeers)
		out.TopPeers = introspect.TopPeers(peers.Running.Peers)
	}
	out.Floods = in.m.shownFloods()
	if !in.named {
		out.TopCids, out.TopCidsByPeers, out.TopPeers, out.DhtKeys, out.Floods = nil, nil, nil, nil, nil
		for _, l := range out.Lines {
			l.Cids, l.Peers = nil, nil
		}
	}
	return out, nil
}
