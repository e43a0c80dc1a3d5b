package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	leveldb "github.com/ipfs/go-ds-leveldb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/ipni"
	"github.com/ipfsmon/ipfsmon/probe/server"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// inMemory is the value of --level-db for no files.
const inMemory = "memory"

func probeServerCommand() *cli.Command {
	env := func(name string) []string { return []string{"PARSEC_SERVER_" + name} }
	return &cli.Command{
		Name:  "server",
		Usage: "run a DHT peer that measures on request",
		Description: "Serves POST /provide, POST /retrieve/{cid} and GET /readiness (docs/probe-openapi.yaml), and registers in the database,\n" +
			"where the scheduler finds it. It joins the public DHT unless --bootstrap and --dht-prefix name another.\n\n" +
			"Example: ipfsmon probe server --fleet default --region eu\n" +
			"         ipfsmon probe server --fleet optprov --optprov --server-port 7071 --peer-port 4002 --telemetry-port 6667\n" +
			"         curl -d '{\"Content\":\"aGVsbG8=\"}' http://localhost:7070/provide",
		ArgsUsage: "[dht|ipni]",
		Flags: append(probeFlags(),
			&cli.StringFlag{Name: "server-host", Value: "localhost", EnvVars: []string{"PARSEC_SERVER_SERVER_HOST", "PARSEC_SERVER_HOST"}, Usage: "`HOST` to serve the API on"},
			&cli.IntFlag{Name: "server-port", Value: 7070, EnvVars: []string{"PARSEC_SERVER_SERVER_PORT", "PARSEC_SERVER_PORT"}, Usage: "`PORT` of the API; 0: any free one"},
			&cli.StringFlag{Name: "peer-host", EnvVars: []string{"IPFSMON_PROBE_PEER_HOST"}, DefaultText: "all", Usage: "`ADDRESS` to listen for peers on"},
			&cli.IntFlag{Name: "peer-port", Value: 4001, EnvVars: env("PEER_PORT"), Usage: "`PORT` for peers, TCP and QUIC; 0: any free one"},
			&cli.BoolFlag{Name: "fullrt", EnvVars: env("FULLRT"), Usage: "use the accelerated client, which knows all peers by a crawl"},
			&cli.BoolFlag{Name: "dht-server", EnvVars: env("DHT_SERVER"), Usage: "be a DHT server: answer requests of other peers"},
			&cli.BoolFlag{Name: "optprov", EnvVars: env("OPTPROV"), Usage: "use optimistic provide"},
			&cli.StringFlag{Name: "fleet", EnvVars: env("FLEET"), Usage: "`NAME` of the fleet"},
			&cli.StringFlag{Name: "level-db", Value: "./leveldb", EnvVars: env("LEVEL_DB"), Usage: "`FOLDER` of the DHT's datastore, or memory"},
			&cli.DurationFlag{Name: "startup-delay", Value: 3 * time.Minute, EnvVars: env("STARTUP_DELAY"), Usage: "`TIME` before the first heartbeat, in which the routing table fills"},
			&cli.DurationFlag{Name: "heartbeat", Value: server.DefaultHeartbeat, EnvVars: []string{"IPFSMON_PROBE_HEARTBEAT"}, Usage: "`TIME` between two heartbeats; a scheduler ignores a server without one in two minutes"},
			&cli.IntFlag{Name: "generation", Value: 1, EnvVars: []string{"IPFSMON_PROBE_GENERATION"}, Usage: "`FORM` of answers to requests without ?generation=: 1 as in parsec's README, 2 as in its later versions"},
			&cli.StringSliceFlag{Name: "bootstrap", EnvVars: []string{"IPFSMON_PROBE_BOOTSTRAP"}, Usage: "`MULTIADDR` with /p2p/ of a bootstrap peer; may be repeated; fleet: the fleet's other servers, from the database; none: no peer; public: those of the public DHT (default)"},
			&cli.StringFlag{Name: "dht-prefix", Value: string(probe.DefaultPrefix), EnvVars: []string{"IPFSMON_PROBE_DHT_PREFIX"}, Usage: "`PREFIX` of the DHT's protocols"},
			&cli.StringFlag{Name: "indexer-host", EnvVars: env("INDEXER_HOST"), Usage: "`URL` of an IPNI indexer, for requests with Routing IPNI"},
			&cli.StringFlag{Name: "publisher-address", Value: "localhost:3104", EnvVars: []string{"IPFSMON_PROBE_PUBLISHER_ADDRESS"}, Usage: "`HOST:PORT` to serve advertisements to the indexer on"},
			&cli.StringFlag{Name: "publisher-announce", EnvVars: []string{"IPFSMON_PROBE_PUBLISHER_ANNOUNCE"}, DefaultText: "that of --publisher-address", Usage: "`MULTIADDR` at which the indexer can reach it, /ip4/.../tcp/.../http"},
			&cli.StringFlag{Name: "firehose-region", Value: "us-east-1", EnvVars: env("FIREHOSE_REGION"), Usage: "`REGION`: accepted, without effect; ipfsmon run records connections"},
			&cli.StringFlag{Name: "firehose-stream", EnvVars: env("FIREHOSE_STREAM"), Usage: "`NAME`: accepted, without effect"},
			&cli.DurationFlag{Name: "firehose-batch-time", Value: 30 * time.Second, EnvVars: env("FIREHOSE_BATCH_TIME"), Usage: "`TIME`: accepted, without effect"},
			&cli.IntFlag{Name: "firehose-batch-size", Value: 500, EnvVars: env("FIREHOSE_BATCH_SIZE"), Usage: "`NUMBER`: accepted, without effect"},
			&cli.BoolFlag{Name: "firehose-connection-events", Value: true, EnvVars: env("FIREHOSE_CONNECTION_EVENTS"), Usage: "accepted, without effect"},
			&cli.BoolFlag{Name: "firehose-rpc-events", Value: true, EnvVars: env("FIREHOSE_RPC_EVENTS"), Usage: "accepted, without effect"},
			&cli.StringFlag{Name: "badbits", EnvVars: env("BADBITS"), Usage: "`FILE` or http URL of a deny list: requests for its content are answered with 451"},
			&cli.StringFlag{Name: "denied-cids", EnvVars: env("DENIED_CIDS"), Usage: "`FILE` or http URL of a second deny list; a line may also be a CID alone"},
		),
		Action: runProbeServer,
	}
}

func runProbeServer(c *cli.Context) (err error) {
	probeLog(c)
	switch c.Args().First() {
	case "", "dht":
	case "ipni":
		if c.String("indexer-host") == "" {
			return wrongUse(c, "ipni without --indexer-host; want a URL such as https://cid.contact")
		}
	default:
		return wrongUse(c, "%q: want dht, ipni or nothing", c.Args().First())
	}
	if c.String("firehose-stream") != "" {
		monitor.Logger().Warn("probe: a flag of parsec has no effect here", "flag", "--firehose-stream")
	}
	fleet, region := c.String("fleet"), probeString(c, "aws-region")
	if fleet == "" || strings.Contains(fleet, ",") || len(fleet) > 64 {
		return wrongUse(c, "--fleet %q: want a name of 1 to 64 bytes without commas", fleet)
	}
	token, err := probeToken(c)
	if err != nil {
		return err
	}
	if err := probeBeyond(c, "server-host", c.String("server-host"), token); err != nil {
		return err
	}
	generation, err := server.ParseGeneration(strconv.Itoa(c.Int("generation")), server.README)
	if err != nil {
		return wrongUse(c, "--%w", err)
	}
	if d := c.Duration("heartbeat"); d < time.Second {
		return wrongUse(c, "--heartbeat %v: want 1s or more", d)
	}
	if slices.Contains(c.StringSlice("bootstrap"), bootFleet) && probeBool(c, "dry-run") {
		return wrongUse(c, "--bootstrap fleet needs the database, which --dry-run does not use; want addresses")
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()

	deny, err := probeDeny(ctx, c)
	if err != nil {
		return err
	}
	machine, err := probeMachine(ctx, c)
	if err != nil {
		return fmt.Errorf("probe server: %w", err)
	}
	data, err := probeData(c.String("level-db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	p, err := probePeer(c, data)
	if err != nil {
		return asUsed("probe server", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()

	reg := prometheus.NewRegistry()
	disk := func() float64 {
		n, err := ds.DiskUsage(ctx, data)
		if err != nil {
			return 0
		}
		return float64(n)
	}
	metrics, err := probe.NewServerMetrics(reg, disk, func() float64 { return float64(p.NetworkSize()) })
	if err != nil {
		return err
	}
	telemetry, stop, err := probeTelemetry(c, reg)
	if err != nil {
		return err
	}
	defer stop()
	indexer, end, err := probeIndexer(c, p)
	if err != nil {
		return err
	}
	defer end()

	cfg := server.Config{
		Address: net.JoinHostPort(c.String("server-host"), strconv.Itoa(c.Int("server-port"))), Token: token, AllowInsecure: probeBool(c, "allow-insecure"),
		Measurer: &p.Measurer, Indexer: indexer, Metrics: metrics, Generation: generation, Deny: deny,
		StartupDelay: c.Duration("startup-delay"), Heartbeat: c.Duration("heartbeat"), Log: monitor.Logger(),
		Node: store.Node{CPU: machine.CPU, Memory: machine.Memory, PeerID: p.Host.ID().String(), Region: region, Cmd: strings.Join(os.Args, " "), Fleet: fleet,
			Dependencies: server.Dependencies(), IP: machine.IP, PeerPort: p.Port()},
	}
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	return serveProbe(ctx, c, s, &cfg, p, telemetry)
}

func serveProbe(ctx context.Context, c *cli.Context, s *server.Server, cfg *server.Config, p *probe.Peer, telemetry string) error {
	joins := slices.Contains(c.StringSlice("bootstrap"), bootFleet)
	if !probeBool(c, "dry-run") {
		st, err := probeStore(ctx, c, false)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		defer st.Close()
		warnOfParsec(st, cfg)
		node := cfg.Node
		node.ServerPort = s.Addr().Port
		if err := st.Fits(&node); err != nil {
			return errors.Join(fmt.Errorf("probe server: --server-port, --peer-port: %w", err), s.Close())
		}
		s.SetStore(st)
		if joins {
			var wg sync.WaitGroup
			joining, stop := context.WithCancel(ctx)
			wg.Go(func() { server.Join(joining, st, cfg.Node.Fleet, p.Host, p.Ready, cfg.Log) })
			defer func() { stop(); wg.Wait() }()
		}
	}
	if err := p.Bootstrap(ctx); err != nil {
		return errors.Join(fmt.Errorf("probe server: join the DHT: %w", err), s.Close())
	}
	fmt.Printf("Probe server of fleet %s listening on http://%s\nPeer %s listening on port %d\nMetrics on http://%s/metrics\n",
		cfg.Node.Fleet, s.Addr(), p.Host.ID(), p.Port(), telemetry)
	return s.Run(ctx)
}

// warnOfParsec warns of settings with which parsec's own schedulers cannot use
// this server, if the database is parsec's.
func warnOfParsec(st *store.Store, cfg *server.Config) {
	if st.Parsec() == 0 {
		return
	}
	want := server.README
	if st.Steps() {
		want = server.Head
	}
	if cfg.Generation != want {
		cfg.Log.Warn("probe: the database is parsec's, and its schedulers read answers of another generation", "migration", st.Parsec(), "generation", int(cfg.Generation), "want", fmt.Sprintf("--generation %d", want))
	}
	if cfg.Token != "" {
		cfg.Log.Warn("probe: the database is parsec's, and its schedulers send no token: they get 401 from this server and mark it offline", "flag", "--token-file")
	}
}

// probeMachine returns the machine of this server, by ECS's metadata if there is
// any.
func probeMachine(ctx context.Context, c *cli.Context) (server.Machine, error) {
	if doc := probeString(c, "ecs-metadata"); doc != "" {
		return server.ParseECS([]byte(doc))
	}
	if uri := probeString(c, "ecs-metadata-uri-v4"); uri != "" {
		return server.FromECS(ctx, uri)
	}
	return server.Local(ctx, c.String("server-host"))
}

// probeDeny reads the deny lists. A list that cannot be read is an error, so that
// the server never serves denied content.
func probeDeny(ctx context.Context, c *cli.Context) (out []*server.DenyList, err error) {
	for _, name := range []string{"badbits", "denied-cids"} {
		source := c.String(name)
		if source == "" {
			continue
		}
		d, err := server.NewDenyList(ctx, source, monitor.Logger())
		if err != nil {
			return nil, fmt.Errorf("probe server: --%s: %w", name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func probeData(folder string) (ds.Batching, error) {
	if folder == inMemory || folder == "" {
		return dssync.MutexWrap(ds.NewMapDatastore()), nil
	}
	d, err := leveldb.NewDatastore(folder, nil)
	if err != nil {
		return nil, fmt.Errorf("probe server: --level-db %s: %w", folder, err)
	}
	return d, nil
}

func probePeer(c *cli.Context, data ds.Batching) (*probe.Peer, error) {
	cfg := probe.PeerConfig{Port: c.Int("peer-port"), Server: c.Bool("dht-server"), OptProv: c.Bool("optprov"), FullRT: c.Bool("fullrt"),
		Prefix: protocol.ID(c.String("dht-prefix")), Datastore: data}
	if host := c.String("peer-host"); host != "" {
		ip := net.ParseIP(host)
		if ip == nil {
			return nil, wrongUse(c, "--peer-host %q: want an IP address", host)
		}
		kind := "ip4"
		if ip.To4() == nil {
			kind = "ip6"
		}
		cfg.Listen = []string{fmt.Sprintf("/%s/%s/tcp/%d", kind, ip, cfg.Port), fmt.Sprintf("/%s/%s/udp/%d/quic-v1", kind, ip, cfg.Port)}
	}
	if !strings.HasPrefix(string(cfg.Prefix), "/") {
		return nil, wrongUse(c, "--dht-prefix %q: want a path such as %s", cfg.Prefix, probe.DefaultPrefix)
	}
	var err error
	if cfg.Bootstrap, err = probeBootstrap(c.StringSlice("bootstrap")); err != nil {
		return nil, wrongUse(c, "%w", err)
	}
	return probe.NewPeer(cfg)
}

// The values of --bootstrap beside addresses.
const (
	bootPublic = "public"
	bootFleet  = "fleet"
	bootNone   = "none"
)

// probeBootstrap returns the bootstrap peers; nil means the public ones.
func probeBootstrap(texts []string) ([]peer.AddrInfo, error) {
	texts = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
	if len(texts) == 0 || len(texts) == 1 && texts[0] == bootPublic {
		return nil, nil
	}
	peers := []peer.AddrInfo{}
	for _, text := range texts {
		if text == bootNone || text == bootFleet {
			continue
		}
		a, err := peer.AddrInfoFromString(text)
		if err != nil {
			return nil, fmt.Errorf("--bootstrap %q: %w; want /ip4/.../tcp/.../p2p/PEER, fleet, none, or only public", text, err)
		}
		peers = append(peers, *a)
	}
	return peers, nil
}

// probeIndexer makes what talks to the indexer, and serves what the indexer
// fetches; nil without --indexer-host.
func probeIndexer(c *cli.Context, p *probe.Peer) (*ipni.Indexer, func(), error) {
	host := c.String("indexer-host")
	if host == "" {
		return nil, func() {}, nil
	}
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, nil, wrongUse(c, "--indexer-host %q: want a URL such as https://cid.contact", host)
	}
	l, err := net.Listen("tcp", c.String("publisher-address"))
	if err != nil {
		return nil, nil, fmt.Errorf("probe server: --publisher-address: %w", err)
	}
	at := c.String("publisher-announce")
	if at == "" {
		tcp, _ := l.Addr().(*net.TCPAddr)
		kind := "ip4"
		if tcp.IP.To4() == nil {
			kind = "ip6"
		}
		at = fmt.Sprintf("/%s/%s/tcp/%d/http", kind, tcp.IP, tcp.Port)
	}
	addr, err := ma.NewMultiaddr(at)
	if err != nil {
		_ = l.Close()
		return nil, nil, fmt.Errorf("probe server: --publisher-announce %q: %w", at, err)
	}
	x := &ipni.Indexer{URL: u, Publish: addr, Key: p.Key, Addrs: p.Host.Addrs(), Client: &http.Client{}}
	s := &http.Server{Handler: probe.Guard.Handler("probe: answer an indexer", x), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}
	conns := listen.NewConns(listen.Bounds{Total: 256, PerAddress: 16})
	conns.Serve(s)
	return x, listen.Background(s, conns.Listener(l)), nil
}
