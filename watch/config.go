package watch

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/autoconf"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/capture"
)

// Modes of the DHT.
const (
	DHTAuto   = "auto"   // a server while peers can reach the node, else a client
	DHTServer = "server" // answers requests
	DHTClient = "client" // only asks
)

// DHTModes lists them.
var DHTModes = []string{DHTAuto, DHTServer, DHTClient}

// Defaults and limits of Config.
const (
	DefaultPeers       = 2000
	MinPeers           = 50
	MaxPeers           = 20_000
	DefaultLookupEvery = time.Minute
	MinEvery           = time.Second // between two look-ups, or two wants
	DefaultRate        = 50
	DefaultAnswers     = 5000
	MaxRate            = 1_000_000
)

// NoBootstrap, as the only bootstrap peer, means that the node connects to nobody at the start.
const NoBootstrap = "none"

// maxBootstrapFile bounds a file of bootstrap peers, in bytes.
const maxBootstrapFile = 1 << 20

// DefaultListen are kubo's addresses.
var DefaultListen = []string{
	"/ip4/0.0.0.0/tcp/4001",
	"/ip6/::/tcp/4001",
	"/ip4/0.0.0.0/udp/4001/quic-v1",
	"/ip4/0.0.0.0/udp/4001/quic-v1/webtransport",
	"/ip4/0.0.0.0/udp/4001/webrtc-direct",
	"/ip6/::/udp/4001/quic-v1",
	"/ip6/::/udp/4001/quic-v1/webtransport",
	"/ip6/::/udp/4001/webrtc-direct",
}

// isolatedListen are the addresses of an isolated node.
var isolatedListen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}

// Config is the configuration of a node. Validate reports errors by the flag of "ipfsmon watch"
// that sets the value. The zero value of a field means its default, if it has one.
type Config struct {
	Dir           string        // the node's folder, with its key; made if it does not exist
	Listen        []string      // --listen: multiaddrs
	Peers         int           // --peers: connections are closed beyond a quarter more
	DHT           string        // --dht: one of DHTModes
	Bootstrap     []string      // --bootstrap: multiaddrs with /p2p/ID, or NoBootstrap; none: kubo's list
	BootstrapFile string        // --bootstrap-file: a file with one of them on each line, # before comments
	Blocks        string        // --blocks: a folder with CAR files, whose blocks are served; "": none
	LookupEvery   time.Duration // --lookup-every: time between two look-ups of random keys in the DHT; below 0: none
	WantEvery     time.Duration // --want-every: time between two wants of random CIDs; 0: none
	Rate          int           // --rate: most dials, requests and wants a second that the node begins
	Answers       int           // --answers: most messages a second with which it answers
	Isolated      bool          // --isolated: only loopback
	OnlyBootstrap bool          // --only-bootstrap, of an isolated node: no connection with other peers than Bootstrap's

	Capture *capture.Capture // sees what passes; required
	Logger  *slog.Logger     // nil: slog.Default()
}

// settings is a parsed Config.
type settings struct {
	Config
	listen    []ma.Multiaddr
	bootstrap []peer.AddrInfo
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = DefaultListen
		if c.Isolated {
			c.Listen = isolatedListen
		}
	}
	c.Peers = cmp.Or(c.Peers, DefaultPeers)
	c.DHT = cmp.Or(c.DHT, DHTAuto)
	c.LookupEvery = cmp.Or(c.LookupEvery, DefaultLookupEvery)
	c.Rate = cmp.Or(c.Rate, DefaultRate)
	c.Answers = cmp.Or(c.Answers, DefaultAnswers)
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
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, text := range c.Listen {
		a, err := ma.NewMultiaddr(strings.TrimSpace(text))
		switch {
		case err != nil:
			wrong("--listen %q: want a multiaddr, as in /ip4/0.0.0.0/tcp/4001: %w", text, err)
		case !slices.ContainsFunc([]int{ma.P_TCP, ma.P_QUIC_V1, ma.P_WEBRTC_DIRECT}, func(code int) bool { _, err := a.ValueForProtocol(code); return err == nil }):
			wrong("--listen %s: want tcp, udp/PORT/quic-v1 or udp/PORT/webrtc-direct, as in /ip4/0.0.0.0/udp/4001/quic-v1", a)
		case c.Isolated && !manet.IsIPLoopback(a):
			wrong("--listen %s: an isolated node listens on loopback: want 127.0.0.1", a)
		default:
			s.listen = append(s.listen, a)
		}
	}
	if c.Peers < MinPeers || c.Peers > MaxPeers {
		wrong("--peers %d: want %d to %d", c.Peers, MinPeers, MaxPeers)
	}
	if !slices.Contains(DHTModes, c.DHT) {
		wrong("--dht %q: want one of %s", c.DHT, strings.Join(DHTModes, ", "))
	}
	if c.LookupEvery > 0 && c.LookupEvery < MinEvery {
		wrong("--lookup-every %v: want %v or more, or 0 for none", c.LookupEvery, MinEvery)
	}
	if c.WantEvery < 0 || c.WantEvery > 0 && c.WantEvery < MinEvery {
		wrong("--want-every %v: want %v or more, or 0 for none", c.WantEvery, MinEvery)
	}
	for flag, n := range map[string]int{"--rate": c.Rate, "--answers": c.Answers} {
		if n < 1 || n > MaxRate {
			wrong("%s %d: want 1 to %d a second", flag, n, MaxRate)
		}
	}
	if c.Blocks != "" {
		if info, err := os.Stat(c.Blocks); err != nil {
			wrong("--blocks: want a folder with CAR files: %w", err)
		} else if !info.IsDir() {
			wrong("--blocks %s: want a folder with CAR files, not a file", c.Blocks)
		}
	}
	var err error
	if s.bootstrap, err = c.bootstrapPeers(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// bootstrapPeers returns the peers of flags and file, else kubo's own list, which an isolated
// node does not have.
func (c Config) bootstrapPeers() ([]peer.AddrInfo, error) {
	var all []ma.Multiaddr
	var errs []error
	add := func(from, text string) {
		a, err := ma.NewMultiaddr(text)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %q: want a multiaddr with a peer ID, as in /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...: %w", from, text, err))
		case c.Isolated && !manet.IsIPLoopback(a):
			errs = append(errs, fmt.Errorf("%s %s: an isolated node connects to loopback alone: want an address in 127.0.0.0/8", from, a))
		default:
			all = append(all, a)
		}
	}
	switch {
	case slices.Equal(c.Bootstrap, []string{NoBootstrap}):
		if c.BootstrapFile != "" {
			return nil, fmt.Errorf("--bootstrap %s and --bootstrap-file: want one of them", NoBootstrap)
		}
		return nil, nil
	case len(c.Bootstrap) == 0 && c.BootstrapFile == "" && !c.Isolated:
		for _, text := range autoconf.FallbackBootstrapPeers {
			add("the default bootstrap peer", text)
		}
	}
	for _, text := range c.Bootstrap {
		add("--bootstrap", strings.TrimSpace(text))
	}
	if c.BootstrapFile != "" {
		lines, err := readLines(c.BootstrapFile)
		if err == nil && len(lines) == 0 {
			err = fmt.Errorf("%s: want a bootstrap peer on each line, there is none", c.BootstrapFile)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--bootstrap-file: %w", err))
		}
		for _, text := range lines {
			add("--bootstrap-file "+c.BootstrapFile+":", text)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return peer.AddrInfosFromP2pAddrs(all...)
}

// readLines reads the lines of a file, without comments and empty lines.
func readLines(path string) (out []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBootstrapFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBootstrapFile {
		return nil, fmt.Errorf("%s: want at most %d bytes", path, maxBootstrapFile)
	}
	in := bufio.NewScanner(bytes.NewReader(b))
	for in.Scan() {
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, text)
		}
	}
	return out, in.Err()
}

// highWater is how many connections there may be before the connection manager closes those
// beyond Peers.
func (s *settings) highWater() int { return s.Peers + s.Peers/4 }

// mostConns bounds connections, those that are being opened included.
func (s *settings) mostConns() int { return s.Peers + s.Peers/2 + 128 }

// Descriptors is how many file descriptors the node needs, with those of the monitor's
// listeners, files and requests.
func (c Config) Descriptors() int {
	s := settings{Config: c.withDefaults()}
	return min(s.mostConns(), math.MaxInt32) + 1024
}

// TCPAddresses returns the addresses, host:port, on which the node listens by TCP. Those of all
// interfaces, of IPv4 and IPv6, are one.
func (c Config) TCPAddresses() (out []string) {
	s, err := c.settings()
	if err != nil {
		return nil // Validate reports it
	}
	for _, a := range s.listen {
		network, address, err := manet.DialArgs(a)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			continue
		}
		if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().IsUnspecified() {
			address = fmt.Sprintf("0.0.0.0:%d", at.Port())
		}
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}
