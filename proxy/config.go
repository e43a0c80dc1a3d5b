package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/boxo/bitswap/tracer"
	"github.com/libp2p/go-libp2p"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/event"
)

// The strategies to choose the node that is asked first.
const (
	ByCID       = "cid"         // rendezvous hashing: a CID has always the same first node
	roundRobin  = "round-robin" // each want the next node
	leastBusy   = "least"       // the node with the fewest wants outstanding
	minFallback = 50 * time.Millisecond
)

// Balances lists them.
var Balances = []string{ByCID, roundRobin, leastBusy}

// Defaults of Config.
const (
	DefaultListen          = "/ip4/0.0.0.0/tcp/0"
	DefaultKeyFile         = "./key"
	DefaultFallback        = time.Second
	DefaultMaxUpstreams    = 2000
	DefaultMaxWants        = 16384
	DefaultQueueBytes      = 8 << 20
	DefaultCacheBytes      = 32 << 20
	DefaultPreloadRate     = 60
	DefaultPreloadParallel = 4
	DefaultPreloadNodes    = 100_000
	DefaultPreloadTimeout  = 10 * time.Minute
)

// DefaultBlock are the prefixes of protocols that are not forwarded: those that would make the
// proxy part of a DHT on the local network, or a relay, or reveal the addresses of the nodes
// behind it to peers.
var DefaultBlock = []string{
	"/ipfs/lan/kad/", "/libp2p/autonat/", "/libp2p/circuit/relay/", "/libp2p/dcutr", "/x/",
}

// Config is the configuration of a proxy. Validate reports errors by the flag that sets the
// value.
type Config struct {
	Downstreams  []string      // -d: multiaddrs of RPC APIs, each with NAME= before it if it has a name
	TokenFile    string        // --token-file: file with the token for the RPC APIs; "": none
	Listen       []string      // -l: multiaddrs
	WebSocket    string        // -w: multiaddr, with or without /ws; "": none
	KeyFile      string        // -k
	PreloadPort  int           // -p: 0: off
	Balance      string        // --balance: one of Balances
	Sticky       bool          // --sticky: a peer's wants ask always the same node first
	Fallback     time.Duration // --fallback: after this time without an answer the next node is asked too
	MaxUpstreams int           // --max-peers
	MaxWants     int           // --max-wants: of one peer
	QueueBytes   int           // --queue-bytes: blocks that wait for one peer
	CacheBytes   int           // --cache-bytes: recently fetched blocks; below 0: none
	Block        []string      // --block: how the names of protocols begin that are not passed; nil: DefaultBlock
	NoPass       bool          // --no-pass: pass no other protocol
	SwarmKeyFile string        // --swarm-key: the upstream side is in this private swarm: a bridge
	// DownSwarmKeyFile: --downstream-swarm-key: the nodes are in this private swarm
	DownSwarmKeyFile string

	PreloadToken    string        // --preload-token-file: file with the token that /api/v0/refs wants; "": none
	PreloadRate     int           // --preload-rate: requests of one caller in a minute
	PreloadParallel int           // --preload-parallel: requests of one caller at a time
	PreloadNodes    int           // --preload-nodes: nodes that one request may list
	PreloadTimeout  time.Duration // --preload-timeout: of one request
	PreloadAnyPeer  bool          // --preload-any-peer: ask all peers for a caller's blocks if none has its address
	TrustedProxies  []string      // --trusted-proxies: addresses or networks whose X-Forwarded-For counts

	HostOptions []libp2p.Option // of the host that peers connect to, after the proxy's own

	Tracer     tracer.Tracer // gets every message of peers and to them; nil: nobody
	DownTracer tracer.Tracer // gets every message of nodes and to them; nil: nobody
	Logger     *slog.Logger  // nil: slog.Default()
}

// settings is a parsed Config.
type settings struct {
	Config
	downs   []*downstreamAddr
	listen  []ma.Multiaddr
	ws      ma.Multiaddr // nil: none
	trusted []netip.Prefix
	refsAt  string // host:port of /api/v0/refs, "": off
}

// downstreamAddr is the address of a node's RPC API.
type downstreamAddr struct {
	name string
	addr ma.Multiaddr
	host ma.Multiaddr // the part before the port
	dial string       // host:port
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = []string{DefaultListen}
	}
	c.KeyFile = cmp.Or(c.KeyFile, DefaultKeyFile)
	c.Balance = cmp.Or(c.Balance, ByCID)
	c.Fallback = cmp.Or(c.Fallback, DefaultFallback)
	c.MaxUpstreams = cmp.Or(c.MaxUpstreams, DefaultMaxUpstreams)
	c.MaxWants = cmp.Or(c.MaxWants, DefaultMaxWants)
	c.QueueBytes = cmp.Or(c.QueueBytes, DefaultQueueBytes)
	c.CacheBytes = cmp.Or(c.CacheBytes, DefaultCacheBytes)
	if c.Block == nil {
		c.Block = DefaultBlock
	}
	c.PreloadRate = cmp.Or(c.PreloadRate, DefaultPreloadRate)
	c.PreloadParallel = cmp.Or(c.PreloadParallel, DefaultPreloadParallel)
	c.PreloadNodes = cmp.Or(c.PreloadNodes, DefaultPreloadNodes)
	c.PreloadTimeout = cmp.Or(c.PreloadTimeout, DefaultPreloadTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports all errors of a configuration.
func (c Config) Validate() error {
	_, err := c.settings()
	return err
}

func (c Config) settings() (*settings, error) {
	c = c.withDefaults()
	s := &settings{Config: c}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, usage(format, args...)) }

	if len(c.Downstreams) == 0 {
		wrong("You must specify the -d flag: the RPC API of each node, as in /ip4/127.0.0.1/tcp/5001")
	}
	names := map[string]bool{}
	for _, text := range c.Downstreams {
		d, err := parseDownstream(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if names[d.name] {
			wrong("-d %s: another node has this name or address already", text)
		}
		names[d.name] = true
		s.downs = append(s.downs, d)
	}
	for _, text := range c.Listen {
		a, err := ma.NewMultiaddr(strings.TrimSpace(text))
		if err != nil {
			wrong("Invalid multiaddr %q specified for -l flag: %w", text, err)
			continue
		}
		if c.SwarmKeyFile != "" && !has(a, ma.P_TCP) {
			wrong("-l %s: a private swarm (--swarm-key) is reached by tcp alone", text)
		}
		if err := spoken(a); err != nil {
			wrong("-l %s: %w", text, err)
		}
		s.listen = append(s.listen, a)
	}
	if c.WebSocket != "" {
		a, err := ma.NewMultiaddr(c.WebSocket)
		if err == nil && !has(a, ma.P_TCP) {
			err = errors.New("want an address of tcp, as in /ip4/127.0.0.1/tcp/8442")
		}
		if err != nil {
			wrong("Invalid multiaddr %q specified for -w flag: %w", c.WebSocket, err)
		} else {
			if !has(a, ma.P_WS) && !has(a, ma.P_WSS) {
				a = a.Encapsulate(ma.StringCast("/ws"))
			}
			s.ws = a
		}
	}
	switch {
	case c.PreloadPort < 0 || c.PreloadPort > 65535:
		wrong("Invalid preload port: -p %d, want 1 to 65535, or 0 for none", c.PreloadPort)
	case c.PreloadPort > 0 && c.WebSocket == "":
		wrong("You must specify -w if you specify -p")
	case c.PreloadPort > 0 && c.SwarmKeyFile != "":
		wrong("-p: a bridge (--swarm-key) works in one direction; it has no preload")
	case c.PreloadPort > 0 && s.ws != nil:
		// Preloads are permitted from where their peers are permitted.
		host := "0.0.0.0"
		if ip, err := manet.ToIP(s.ws); err == nil {
			host = ip.String()
		}
		s.refsAt = net.JoinHostPort(host, strconv.Itoa(c.PreloadPort))
	}
	if !slices.Contains(Balances, c.Balance) {
		wrong("--balance %q: want one of %s", c.Balance, strings.Join(Balances, ", "))
	}
	if c.Fallback < minFallback {
		wrong("--fallback %v: want %v or more", c.Fallback, minFallback)
	}
	for flag, n := range map[string]int{"--max-peers": c.MaxUpstreams, "--max-wants": c.MaxWants, "--queue-bytes": c.QueueBytes,
		"--preload-rate": c.PreloadRate, "--preload-parallel": c.PreloadParallel, "--preload-nodes": c.PreloadNodes} {
		if n < 1 {
			wrong("%s %d: want 1 or more", flag, n)
		}
	}
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(text); err == nil {
				p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
			}
		}
		if err != nil {
			wrong("--trusted-proxies %q: want an IP address or a network, as in 10.0.0.0/8", text)
			continue
		}
		s.trusted = append(s.trusted, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// usage returns an error in the wording of the predecessor, which begins in upper case.
func usage(format string, args ...any) error { return fmt.Errorf(format, args...) }

// parseDownstream reads [NAME=]MULTIADDR.
func parseDownstream(text string) (*downstreamAddr, error) {
	name, addr, named := strings.Cut(strings.TrimSpace(text), "=")
	if !named {
		name, addr = "", name
	}
	a, err := ma.NewMultiaddr(addr)
	if err != nil {
		return nil, usage("Invalid multiaddr %q specified for -d flag: %w", text, err)
	}
	d := &downstreamAddr{name: name, addr: a}
	if len(a) == 2 && a[1].Protocol().Code == ma.P_TCP {
		switch a[0].Protocol().Code {
		case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
			d.host = ma.Multiaddr{a[0]}
			d.dial = net.JoinHostPort(a[0].Value(), a[1].Value())
		}
	}
	if d.dial == "" {
		return nil, usage("Invalid multiaddr %q specified for -d flag: want /ip4, /ip6, /dns4 or /dns6 and /tcp, as in /ip4/127.0.0.1/tcp/5001", text)
	}
	if d.name == "" {
		d.name = d.dial
	}
	if string(event.Clean(d.name, 64)) != d.name || strings.ContainsAny(d.name, `\"`) {
		return nil, fmt.Errorf("-d %q: want a name of at most 64 printable bytes without quotes and backslashes", text)
	}
	return d, nil
}

// url returns the URL of one of the API's commands.
func (d *downstreamAddr) url(command string, query url.Values) string {
	u := url.URL{Scheme: "http", Host: d.dial, Path: "/api/v0/" + command, RawQuery: query.Encode()}
	return u.String()
}

// spoken returns why the proxy cannot listen for peers at an address.
func spoken(a ma.Multiaddr) error {
	switch {
	case has(a, ma.P_QUIC):
		return fmt.Errorf("/quic is a draft that is no longer supported: want quic-v1, as in %s", strings.Replace(a.String(), "/quic", "/quic-v1", 1))
	case has(a, ma.P_TCP), has(a, ma.P_QUIC_V1), has(a, ma.P_WEBRTC_DIRECT):
		return nil
	case has(a, ma.P_UDP):
		return fmt.Errorf("udp alone is not a transport: want quic-v1 after it, as in %s/quic-v1", a)
	}
	return errors.New("want tcp or udp and quic-v1, as in /ip4/0.0.0.0/tcp/4441 or /ip4/0.0.0.0/udp/4441/quic-v1")
}

func has(a ma.Multiaddr, code int) bool {
	for _, part := range a {
		if part.Protocol().Code == code {
			return true
		}
	}
	return false
}
