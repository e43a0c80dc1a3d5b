package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
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
	"github.com/ipfsmon/ipfsmon/internal/units"
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
			"Each flag can be set in the environment, and by its name in a JSON file (--config); flags override the\n" +
			"environment, which overrides the file. The file's key \"monitor\" has the settings that `ipfsmon config` shows.\n" +
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
		&cli.StringFlag{Name: "config", Usage: "JSON `FILE` with these settings", EnvVars: proxyEnv("config")},
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

// proxyFile is the content of the --config file: the flags by their names.
type proxyFile struct {
	Downstream         []string       `json:"downstream"`
	Listen             []string       `json:"listen"`
	WebSocket          string         `json:"websocket"`
	Key                string         `json:"key"`
	Preload            int            `json:"preload"`
	Balance            string         `json:"balance"`
	Sticky             bool           `json:"sticky"`
	Fallback           string         `json:"fallback"`
	TokenFile          string         `json:"token-file"`
	SwarmKey           string         `json:"swarm-key"`
	DownstreamSwarmKey string         `json:"downstream-swarm-key"`
	Block              []string       `json:"block"`
	NoPass             bool           `json:"no-pass"`
	MaxPeers           int            `json:"max-peers"`
	MaxWants           int            `json:"max-wants"`
	QueueBytes         units.Bytes    `json:"queue-bytes"`
	CacheBytes         int            `json:"cache-bytes"`
	PreloadTokenFile   string         `json:"preload-token-file"`
	PreloadRate        int            `json:"preload-rate"`
	PreloadParallel    int            `json:"preload-parallel"`
	PreloadNodes       int            `json:"preload-nodes"`
	PreloadTimeout     string         `json:"preload-timeout"`
	PreloadAnyPeer     bool           `json:"preload-any-peer"`
	TrustedProxies     []string       `json:"trusted-proxies"`
	Monitor            map[string]any `json:"monitor"`
}

func readProxyFile(path string) (*proxyFile, error) {
	f := &proxyFile{}
	return f, readJSONFile(path, f)
}

// readJSONFile reads the file of --config, which has flags by their names, into a
// struct; "": there is none.
func readJSONFile(path string, into any) error {
	if path == "" {
		return nil
	}
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer in.Close()
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("--config %s: %w", path, jsonFileError(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("--config %s: text after the object: want one JSON object", path)
	}
	return nil
}

// jsonFileError translates an error of encoding/json into the terms of the file.
func jsonFileError(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	want := map[reflect.Kind]string{
		reflect.Slice: "a list of texts", reflect.String: "a text", reflect.Int: "a whole number", reflect.Bool: "true or false",
		reflect.Map: "an object", reflect.Struct: "an object with settings",
	}[wrong.Type.Kind()]
	switch wrong.Field {
	case "downstream", "listen", "bootstrap":
		want = "a list of multiaddrs"
	case "fallback", "preload-timeout", "lookup-every", "want-every":
		want = `a duration, as in "10s"`
	case "":
		wrong.Field = "the file"
	}
	return fmt.Errorf("%s: want %s, not %s", wrong.Field, want, wrong.Value)
}

// proxyConfig merges file, environment and flags; the library reads the
// environment into the flags.
func proxyConfig(c *cli.Context, f *proxyFile) (proxy.Config, error) {
	var errs []error
	pickTime := func(flag, text string) time.Duration {
		if c.IsSet(flag) || text == "" {
			return c.Duration(flag)
		}
		d, err := units.ParseDuration(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--config: %s: %w", flag, err))
		}
		return d
	}
	cfg := proxy.Config{
		Downstreams: pick(c, "downstream", c.StringSlice, f.Downstream), Listen: pick(c, "listen", c.StringSlice, f.Listen),
		WebSocket: pick(c, "websocket", c.String, f.WebSocket), KeyFile: pick(c, "key", c.String, f.Key),
		PreloadPort: pick(c, "preload", c.Int, f.Preload), Balance: pick(c, "balance", c.String, f.Balance),
		Sticky: pick(c, "sticky", c.Bool, f.Sticky), Fallback: pickTime("fallback", f.Fallback),
		TokenFile: pick(c, "token-file", c.String, f.TokenFile), SwarmKeyFile: pick(c, "swarm-key", c.String, f.SwarmKey),
		DownSwarmKeyFile: pick(c, "downstream-swarm-key", c.String, f.DownstreamSwarmKey),
		NoPass:           pick(c, "no-pass", c.Bool, f.NoPass),
		MaxUpstreams:     pick(c, "max-peers", c.Int, f.MaxPeers), MaxWants: pick(c, "max-wants", c.Int, f.MaxWants),
		QueueBytes: pick(c, "queue-bytes", c.Int, int(f.QueueBytes)), CacheBytes: pick(c, "cache-bytes", c.Int, f.CacheBytes),
		PreloadToken: pick(c, "preload-token-file", c.String, f.PreloadTokenFile),
		PreloadRate:  pick(c, "preload-rate", c.Int, f.PreloadRate), PreloadParallel: pick(c, "preload-parallel", c.Int, f.PreloadParallel),
		PreloadNodes: pick(c, "preload-nodes", c.Int, f.PreloadNodes), PreloadTimeout: pickTime("preload-timeout", f.PreloadTimeout),
		PreloadAnyPeer: pick(c, "preload-any-peer", c.Bool, f.PreloadAnyPeer), TrustedProxies: pick(c, "trusted-proxies", c.StringSlice, f.TrustedProxies),
	}
	cfg.Block = pick(c, "block", c.StringSlice, f.Block)
	errs = append(errs, paths.Expand(map[string]*string{"key": &cfg.KeyFile, "token-file": &cfg.TokenFile, "swarm-key": &cfg.SwarmKeyFile,
		"downstream-swarm-key": &cfg.DownSwarmKeyFile, "preload-token-file": &cfg.PreloadToken}))
	return cfg, errors.Join(errs...)
}

// pick returns the flag's value if it was given, else the file's.
func pick[T any](c *cli.Context, flag string, get func(string) T, file T) T {
	if c.IsSet(flag) {
		return get(flag)
	}
	return file
}

// proxyDefaults sets the defaults of the proxy's monitor.
func proxyDefaults(cfg *monitor.Config) {
	cfg.TCPServerConfig = &stream.Config{ListenAddresses: []string{defaultProxyStream}}
	cfg.HTTPServerConfig = &httpapi.Config{ListenAddresses: []string{defaultProxyHTTP}}
	cfg.StoreListenAddress = defaultStore
}

// monitorConfig returns the configuration of the monitor of a program that is not
// kubo, whose --config file has the given section; more is applied after the flags.
func monitorConfig(c *cli.Context, section map[string]any, defaults, more func(*monitor.Config)) (*monitor.Config, error) {
	layers := monitor.Layers{
		Path:     "monitor", // the file's key
		Defaults: defaults,
		Flags: func(cfg *monitor.Config) {
			newRunner(c).flags(cfg)
			more(cfg)
		},
	}
	if section != nil {
		layers.Section = section
	}
	cfg, _, err := layers.Effective()
	return cfg, err
}

func runProxy(c *cli.Context) error {
	file, err := readProxyFile(c.String("config"))
	if err != nil {
		return err
	}
	pc, err := proxyConfig(c, file)
	if err != nil {
		return err
	}
	var storeURL string
	more := func(cfg *monitor.Config) {
		if storeURL != "" {
			if cfg.InfluxDB == nil {
				cfg.InfluxDB = new(influx.Config)
			}
			useStore(cfg.InfluxDB, storeURL, cfg.DataFolder)
		}
	}
	mc, err := monitorConfig(c, file.Monitor, proxyDefaults, more)
	if err = errors.Join(pc.Validate(), err); err != nil {
		return err
	}
	if err := findTaken(monitorPorts(mc)); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	var storeStats func() pipeline.Store
	if mc.DataFolder != "" && (mc.InfluxDB == nil || mc.InfluxDB.URL == "") {
		var child *embedded.Child
		if child, err = startStore(context.WithoutCancel(ctx), mc); err != nil {
			return err
		}
		defer child.Close()
		storeURL, storeStats = child.URL(), child.Stats
		fmt.Printf("InfluxDB listening on %s, data in %s\n", storeURL, mc.DataFolder)
		if mc, err = monitorConfig(c, file.Monitor, proxyDefaults, more); err != nil {
			return err
		}
	}
	return serveProxy(ctx, stop, pc, mc, storeStats)
}

// proxyPlace is the folder through which other commands find the monitor of a
// running proxy, as they find that of a node by its repository.
func proxyPlace() (string, error) { return paths.Home("~/.ipfsmon/proxy") }

// serveProxy runs proxy and monitor until ctx ends.
func serveProxy(ctx context.Context, stop func(), pc proxy.Config, mc *monitor.Config, storeStats func() pipeline.Store) error {
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
	fmt.Println("Peer ID:", p.Host().ID())
	fmt.Println("Proxy addresses:")
	for _, a := range p.Addrs() {
		fmt.Println("   ", a)
	}
	if a := p.RefsAddr(); a != nil {
		fmt.Printf("Preload mode enabled with HTTP /api/v0/refs on %s\n", a)
	}
	m.Announce(os.Stdout)
	fmt.Println("Proxy is ready")
	r := &runner{out: os.Stdout}
	r.monitorStarted(m)
	<-ctx.Done()
	stop() // a second signal ends the program at once
	fmt.Println("Stopping: delivering what is in flight.")
	err = p.Close()
	nodes.Close()
	err = errors.Join(err, m.Close())
	fmt.Println(m.Closing())
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
