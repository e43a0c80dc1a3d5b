package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/proxy"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Where "ipfsmon proxy" listens by default, in addition to its peers' addresses;
// the second one is where kitsune had its metrics.
const (
	defaultProxyStream = "127.0.0.1:8182"
	defaultProxyHTTP   = "127.0.0.1:9090"
)

func proxyCommand() *cli.Command {
	return &cli.Command{
		Name:  "proxy",
		Usage: "put many kubo nodes behind one peer ID",
		Description: "Peers connect to the proxy and ask it for blocks; it asks the nodes behind it. The messages of both sides go to\n" +
			"the same sinks as those of `ipfsmon run`.\n\n" +
			"Example: ipfsmon proxy -d /ip4/127.0.0.1/tcp/5001 -l /ip4/0.0.0.0/tcp/4441\n" +
			"         ipfsmon proxy -d a=/ip4/10.0.1.42/tcp/5001,b=/ip4/10.0.5.3/tcp/5001 --influxdb http://127.0.0.1:8086\n" +
			"         ipfsmon proxy -d /ip4/127.0.0.1/tcp/5001 -w /ip4/127.0.0.1/tcp/8442 -p 8441      with preload\n" +
			"         ipfsmon proxy -d /ip4/127.0.0.1/tcp/5001 --swarm-key swarm.key                    a one-way bridge\n\n" +
			configText +
			"Ctrl-C delivers what is in flight, stores everything and exits; a second one exits at once.",
		Flags:  proxyFlags(),
		Action: runProxy,
	}
}

// proxyEnv returns the environment variable of a flag.
func proxyEnv(flag string) []string {
	return []string{"IPFSMON_PROXY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// proxyFlags are the flags of the proxy and of its monitor.
func proxyFlags() []cli.Flag {
	list := func(name, short, usage string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Aliases: aliases(short), Usage: usage, EnvVars: proxyEnv(name)}
	}
	text := func(name, short, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Aliases: aliases(short), Usage: usage, EnvVars: proxyEnv(name)}
	}
	number := func(name, short, usage string, def int) cli.Flag {
		f := &cli.IntFlag{Name: name, Aliases: aliases(short), Usage: usage, EnvVars: proxyEnv(name)}
		if def != 0 {
			f.DefaultText = fmt.Sprint(def)
		}
		return f
	}
	duration := func(name, usage string, def time.Duration) cli.Flag {
		return &cli.DurationFlag{Name: name, Usage: usage, EnvVars: proxyEnv(name), DefaultText: def.String()}
	}
	truth := func(name, usage string) cli.Flag {
		return &cli.BoolFlag{Name: name, Usage: usage, EnvVars: proxyEnv(name)}
	}
	return []cli.Flag{
		list("downstream", "d", "`MULTIADDR` of a node's RPC API, or NAME=MULTIADDR; several, separated by commas (mandatory)"),
		list("listen", "l", "`MULTIADDR` to listen on, tcp or udp/quic-v1 (default: "+proxy.DefaultListen+")"),
		text("websocket", "w", "`MULTIADDR` to listen on for WebSockets, with or without /ws (default: none)"),
		text("key", "k", "`FILE` with the private key, as 'ipfs key export' writes it; created if it does not exist (default: "+proxy.DefaultKeyFile+")"),
		number("preload", "p", "`PORT` of /api/v0/refs, at the address of -w, which it needs (default: off)", 0),
		text("balance", "", "`RULE` that chooses the node to ask first: "+strings.Join(proxy.Balances, ", ")+" (default: "+proxy.ByCID+")"),
		truth("sticky", "always ask the same node first for the wants of a peer"),
		duration("fallback", "ask the next node as well when one has not answered for this `TIME`", proxy.DefaultFallback),
		text("token-file", "", "`FILE` with the token that the RPC APIs require"),
		text("swarm-key", "", "`FILE` with the key of the private swarm that the peers are in: a one-way bridge"),
		text("downstream-swarm-key", "", "`FILE` with the key of the private swarm that the nodes are in"),
		list("block", "", "name `PREFIXES` of protocols that are not passed on to the nodes (default: "+strings.Join(proxy.DefaultBlock, ", ")+")"),
		truth("no-pass", "pass on no protocol but Bitswap"),
		number("max-peers", "", "most `PEERS` at a time", proxy.DefaultMaxUpstreams),
		number("max-wants", "", "most `WANTS` of one peer", proxy.DefaultMaxWants),
		number("queue-bytes", "", "most `BYTES` of blocks queued for one peer", proxy.DefaultQueueBytes),
		number("cache-bytes", "", "`BYTES` of the cache that keeps fetched blocks for 10 s; -1: none", proxy.DefaultCacheBytes),
		text("preload-token-file", "", "`FILE` with the token that /api/v0/refs requires (default: none)"),
		number("preload-rate", "", "`REQUESTS` of one caller in a minute", proxy.DefaultPreloadRate),
		number("preload-parallel", "", "`REQUESTS` of one caller at a time", proxy.DefaultPreloadParallel),
		number("preload-nodes", "", "most `NODES` that one request lists", proxy.DefaultPreloadNodes),
		duration("preload-timeout", "`TIME` that a request may take", proxy.DefaultPreloadTimeout),
		truth("preload-any-peer", "ask all peers for a caller's blocks if none has the caller's address, as behind a reverse proxy"),
		list("trusted-proxies", "", "`ADDRESSES` or networks whose X-Forwarded-For is trusted"),
		configFlag(proxyEnv("config")...),
		&cli.StringFlag{Name: "data", Usage: "`FOLDER` for the monitor's data; with it, and without --influxdb, history is kept in an embedded InfluxDB there"},
		&cli.StringSliceFlag{Name: "stream", Usage: "`HOST:PORT` of the event stream (default: " + defaultProxyStream + ")"},
		&cli.StringSliceFlag{Name: "http", Usage: "`HOST:PORT` of the HTTP API and /metrics (default: " + defaultProxyHTTP + ")"},
		&cli.StringFlag{Name: "store", Usage: "`HOST:PORT` of the embedded InfluxDB (default: " + defaultStore + ")"},
		&cli.StringFlag{Name: "influxdb", Usage: "`URL` of an InfluxDB to write to; or udp://host:port, file:///path"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the monitor, in the tag node (default: the host name)"},
		&cli.IntFlag{Name: "interval", Usage: "`SECONDS` between two samples of the totals (default: 10)"},
	}
}

func aliases(short string) []string {
	if short == "" {
		return nil
	}
	return []string{short}
}

// proxyConfig reads the flags; the environment and the file of --config are in
// them already.
func proxyConfig(c *cli.Context) proxy.Config {
	return proxy.Config{
		Downstreams: c.StringSlice("downstream"), Listen: c.StringSlice("listen"), WebSocket: c.String("websocket"), KeyFile: c.String("key"),
		PreloadPort: c.Int("preload"), Balance: c.String("balance"), Sticky: c.Bool("sticky"), Fallback: c.Duration("fallback"),
		TokenFile: c.String("token-file"), SwarmKeyFile: c.String("swarm-key"), DownSwarmKeyFile: c.String("downstream-swarm-key"),
		Block: c.StringSlice("block"), NoPass: c.Bool("no-pass"),
		MaxUpstreams: c.Int("max-peers"), MaxWants: c.Int("max-wants"), QueueBytes: c.Int("queue-bytes"), CacheBytes: c.Int("cache-bytes"),
		PreloadToken: c.String("preload-token-file"), PreloadRate: c.Int("preload-rate"), PreloadParallel: c.Int("preload-parallel"),
		PreloadNodes: c.Int("preload-nodes"), PreloadTimeout: c.Duration("preload-timeout"), PreloadAnyPeer: c.Bool("preload-any-peer"),
		TrustedProxies: c.StringSlice("trusted-proxies"),
	}
}

// proxyDefaults sets the defaults of the proxy's monitor.
func proxyDefaults(cfg *monitor.Config) {
	cfg.TCPServerConfig = &stream.Config{ListenAddresses: []string{defaultProxyStream}}
	cfg.HTTPServerConfig = &httpapi.Config{ListenAddresses: []string{defaultProxyHTTP}}
	cfg.StoreListenAddress = defaultStore
}

// monitorConfig returns the configuration of the monitor of a program that is not
// kubo, which writes to storeURL unless that is "".
func monitorConfig(c *cli.Context, defaults func(*monitor.Config), storeURL string) (*monitor.Config, error) {
	layers := monitor.Layers{
		Defaults: defaults,
		File:     fileOf(c).monitorSection(strings.Fields(c.Command.HelpName)[1:]),
		Flags: func(cfg *monitor.Config) {
			newRunner(c).flags(cfg)
			if storeURL != "" {
				if cfg.InfluxDB == nil {
					cfg.InfluxDB = new(influx.Config)
				}
				useStore(cfg.InfluxDB, storeURL, cfg.DataFolder)
			}
		},
	}
	cfg, _, err := layers.Effective()
	return cfg, fileOf(c).located(err)
}

// proxySettings returns the settings of the proxy and of its monitor, which
// writes to storeURL unless that is "".
func proxySettings(c *cli.Context, storeURL string) (proxy.Config, *monitor.Config, error) {
	pc := proxyConfig(c)
	mc, err := monitorConfig(c, proxyDefaults, storeURL)
	return pc, mc, errors.Join(fileOf(c).located(pc.Validate()), err)
}

func runProxy(c *cli.Context) error {
	pc, mc, err := proxySettings(c, "")
	if err != nil {
		return err
	}
	if err := findTaken(monitorPorts(mc)); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	out := output()
	var storeStats func() pipeline.Store
	if mc.DataFolder != "" && (mc.InfluxDB == nil || mc.InfluxDB.URL == "") {
		var child *embedded.Child
		if child, err = startStore(context.WithoutCancel(ctx), mc); err != nil {
			return err
		}
		defer child.Close()
		storeStats = child.Stats
		fmt.Fprintf(out, "InfluxDB listening on %s, data in %s\n", child.URL(), mc.DataFolder)
		if pc, mc, err = proxySettings(c, child.URL()); err != nil {
			return err
		}
	}
	return serveProxy(ctx, stop, out, pc, mc, storeStats)
}

// proxyPlace is the folder through which other commands find the monitor of a
// running proxy, as they find that of a node by its repository.
func proxyPlace() (string, error) { return paths.Home("~/.ipfsmon/proxy") }

// serveProxy runs proxy and monitor until ctx ends.
func serveProxy(ctx context.Context, stop func(), out io.Writer, pc proxy.Config, mc *monitor.Config, storeStats func() pipeline.Store) error {
	log := slog.Default()
	b := bus.New(bus.Config{})
	seen := capture.New(b, log)
	var p *proxy.Proxy
	var err error
	nodes := seen.Behind(func(id peer.ID) event.Text { return p.NodeName(id) }) // not called before Start
	pc.Tracer, pc.DownTracer, pc.Logger = seen, nodes, log
	traffic, taps := metrics.NewBandwidthCounter(), nodestate.NewTaps()
	pc.HostOptions = []libp2p.Option{libp2p.BandwidthReporter(traffic), taps.Option()}
	p, err = proxy.New(pc)
	if err != nil {
		return err
	}
	place, err := proxyPlace()
	if err != nil {
		log.Warn("other commands cannot find this monitor without its address", "err", err)
	}
	node := nodestate.Node{Host: p.Host(), Reporter: traffic, Taps: taps}
	sampler := nodestate.NewSampler(node)
	m, err := monitor.Start(mc, monitor.Watched{
		Node: node,
		Sample: func(ctx context.Context) event.Node {
			traffic.TrimIdle(time.Now().Add(-time.Hour)) // otherwise it keeps every peer that ever connected
			return sampler.Sample(ctx)
		},
		Repo:        place,
		Kubo:        kuboversion.CurrentVersionNumber,
		NoBroadcast: true,
		Store:       storeStats,
		Collectors:  []prometheus.Collector{p},
		Proxy:       p.Status,
		Panics:      p.Panics,
		Publish: func(publish func(*event.Event) bool) func() {
			return p.Publish(time.Duration(mc.PopulatePrometheusInterval)*time.Second, publish)
		},
	}, b, seen, log)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	if err = nodes.Start(p.DownHost(), capture.Sampling{}); err != nil {
		return errors.Join(err, p.Close(), m.Close())
	}
	p.Start()
	fmt.Fprintln(out, "Peer ID:", p.Host().ID())
	fmt.Fprintln(out, "Proxy addresses:")
	for _, a := range p.Addrs() {
		fmt.Fprintln(out, "   ", a)
	}
	if a := p.RefsAddr(); a != nil {
		fmt.Fprintf(out, "Preload mode enabled with HTTP /api/v0/refs on %s\n", a)
	}
	m.Announce(out)
	fmt.Fprintln(out, "Proxy is ready")
	whatNext(out, m, place, place)
	r := &runner{out: out}
	r.monitorStarted(m)
	<-ctx.Done()
	stop() // a second signal ends the program at once
	fmt.Fprintln(out, "Stopping: delivering what is in flight.")
	err = p.Close()
	nodes.Close()
	err = errors.Join(err, m.Close())
	fmt.Fprintln(out, m.Closing())
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
