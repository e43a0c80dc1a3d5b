package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/watch"
)

// watchGC is how much garbage there may be before it is collected, in percent of
// what is in use, unless GOGC says otherwise. Most of it is connections, which are
// there for hours, and a message leaves little garbage: memory counts more than
// the collector's work.
const watchGC = 25

// watchPlace is the default folder of a light node; other commands find its
// monitor through it.
func watchPlace() (string, error) { return paths.Home("~/.ipfsmon/watch") }

func watchCommand() *cli.Command {
	return &cli.Command{
		Name:  "watch",
		Usage: "run a light node that only watches, with many peers",
		Description: "Runs a node that is not kubo: it keeps thousands of connections, stores nothing, answers truthfully that it does not\n" +
			"have what it is asked for, and records what it sees in the same sinks as `ipfsmon run`.\n\n" +
			"Example: ipfsmon watch\n" +
			"         ipfsmon watch --peers 5000 --dht server --influxdb http://influx.example:8086 --name de1\n" +
			"         ipfsmon watch --blocks ~/cars                      also serve the blocks of CAR files\n" +
			"         ipfsmon watch --isolated --repo /tmp/lab           never leaves this machine\n\n" +
			configText +
			"Ctrl-C stores everything and exits; a second one exits at once.",
		Flags:  watchFlags(),
		Action: runWatch,
	}
}

func watchEnv(flag string) []string {
	return []string{"IPFSMON_WATCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// watchFlags are the flags of the light node and of its monitor.
func watchFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "repo", Usage: "`FOLDER` with the node's key", DefaultText: "~/.ipfsmon/watch", EnvVars: watchEnv("repo")},
		&cli.StringSliceFlag{Name: "listen", Aliases: []string{"l"}, EnvVars: watchEnv("listen"),
			Usage: "`MULTIADDR` to listen on; several, separated by commas (default: kubo's: port 4001, tcp, quic-v1, webtransport, webrtc-direct)"},
		&cli.IntFlag{Name: "peers", EnvVars: watchEnv("peers"), DefaultText: strconv.Itoa(watch.DefaultPeers),
			Usage: fmt.Sprintf("`NUMBER` of connections to keep, %d to %d", watch.MinPeers, watch.MaxPeers)},
		&cli.StringFlag{Name: "dht", EnvVars: watchEnv("dht"), DefaultText: watch.DHTAuto,
			Usage: "`MODE` of the DHT: " + strings.Join(watch.DHTModes, ", ")},
		&cli.StringSliceFlag{Name: "bootstrap", EnvVars: watchEnv("bootstrap"),
			Usage: "`MULTIADDR` of a peer to connect to first, with /p2p/ID; several; or " + watch.NoBootstrap + " (default: kubo's list)"},
		&cli.StringFlag{Name: "bootstrap-file", EnvVars: watchEnv("bootstrap-file"), Usage: "`FILE` with such peers, one on each line"},
		&cli.StringFlag{Name: "blocks", EnvVars: watchEnv("blocks"), Usage: "`FOLDER` with CAR files, whose blocks are served and announced"},
		&cli.DurationFlag{Name: "lookup-every", EnvVars: watchEnv("lookup-every"), DefaultText: "1m",
			Usage: "`TIME` between two look-ups of random keys in the DHT, by which the node becomes known; 0: none"},
		&cli.DurationFlag{Name: "want-every", EnvVars: watchEnv("want-every"),
			Usage: "`TIME` between two wants of random CIDs, by which peers see that it exchanges blocks (default: none)"},
		&cli.IntFlag{Name: "rate", EnvVars: watchEnv("rate"), DefaultText: strconv.Itoa(watch.DefaultRate),
			Usage: "most `NUMBER` a second of dials, requests and wants that the node begins"},
		&cli.IntFlag{Name: "answers", EnvVars: watchEnv("answers"), DefaultText: strconv.Itoa(watch.DefaultAnswers),
			Usage: "most `NUMBER` a second of messages with which it answers"},
		&cli.BoolFlag{Name: "isolated", EnvVars: watchEnv("isolated"), Usage: "keep the node on the loopback interface"},
		configFlag(watchEnv("config")...),
		&cli.BoolFlag{Name: "with-parent", Hidden: true, Usage: "end when standard input ends, and print no status"},
		&cli.BoolFlag{Name: "only-bootstrap", Hidden: true, Usage: "with --isolated, connect with no other peers than those of --bootstrap"},
	}, monitorFlags()...)
}

// watchConfig reads the flags; the environment and the file of --config are in
// them already.
func watchConfig(c *cli.Context) (watch.Config, error) {
	var errs []error
	cfg := watch.Config{
		Dir: c.String("repo"), Listen: c.StringSlice("listen"), Peers: c.Int("peers"), DHT: c.String("dht"),
		Bootstrap: c.StringSlice("bootstrap"), BootstrapFile: c.String("bootstrap-file"), Blocks: c.String("blocks"),
		LookupEvery: c.Duration("lookup-every"), WantEvery: c.Duration("want-every"),
		Rate: c.Int("rate"), Answers: c.Int("answers"), Isolated: c.Bool("isolated"), OnlyBootstrap: c.Bool("only-bootstrap"),
	}
	if c.IsSet("lookup-every") && cfg.LookupEvery == 0 {
		cfg.LookupEvery = -1 // none
	}
	for flag, n := range map[string]int{"peers": cfg.Peers, "rate": cfg.Rate, "answers": cfg.Answers} {
		if c.IsSet(flag) && n == 0 { // 0 means the default in the configuration
			errs = append(errs, fmt.Errorf("--%s 0: want 1 or more", flag))
		}
	}
	if cfg.Dir == "" {
		var err error
		if cfg.Dir, err = watchPlace(); err != nil {
			errs = append(errs, fmt.Errorf("find the home folder: %w: want --repo FOLDER", err))
		}
	}
	if dir, err := filepath.Abs(cfg.Dir); err != nil {
		errs = append(errs, fmt.Errorf("--repo: %w", err))
	} else {
		cfg.Dir = dir
	}
	return cfg, errors.Join(errs...)
}

// watchSettings returns the settings of the light node and of its monitor, which
// writes to storeURL unless that is "".
func watchSettings(c *cli.Context, storeURL string) (watch.Config, *monitor.Config, error) {
	wc, err := watchConfig(c)
	if err != nil {
		return wc, nil, fileOf(c).located(err)
	}
	mc, err := monitorConfig(c, func(cfg *monitor.Config) {
		runDefaults(cfg)
		cfg.DataFolder = monitor.DataFolder(wc.Dir)
	}, storeURL)
	return wc, mc, errors.Join(fileOf(c).located(wc.Validate()), err)
}

func runWatch(c *cli.Context) error {
	wc, mc, err := watchSettings(c, "")
	if err != nil {
		return err
	}
	if running, err := monitor.FindRunning(wc.Dir); err == nil {
		return fmt.Errorf("the node of %s is running already, as process %d: stop it first, or use another folder with --repo", wc.Dir, running.PID)
	}
	if err := watch.Reserve(wc.Descriptors()); err != nil {
		return fmt.Errorf("--peers: %w", err)
	}
	if err := findTaken(append(monitorPorts(mc), watchPorts(wc)...)); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(watchGC)
	}
	ctx, stop := interruptibleChild(c.Context, c.Bool("with-parent"))
	defer stop()
	out := output()
	if mc.InfluxDB != nil && mc.InfluxDB.URL == "stdout:" { // only for points
		mc.InfluxDB.Stdout, os.Stdout = os.Stdout, os.Stderr
		out = output()
	}
	var storeStats func() pipeline.Store
	if mc.InfluxDB == nil || mc.InfluxDB.URL == "" {
		var child *embedded.Child
		if child, err = startStore(context.WithoutCancel(ctx), mc); err != nil {
			return err
		}
		defer child.Close()
		storeStats = child.Stats
		fmt.Fprintf(out, "InfluxDB listening on %s, data in %s\n", child.URL(), mc.DataFolder)
		if wc, mc, err = watchSettings(c, child.URL()); err != nil {
			return err
		}
	}
	return serveWatch(ctx, stop, out, !c.Bool("with-parent"), wc, mc, storeStats)
}

// watchPorts returns the TCP addresses at which peers reach the node.
func watchPorts(wc watch.Config) (out []wantedPort) {
	for _, a := range wc.TCPAddresses() {
		out = append(out, wantedPort{"the node", a, "another node may be running; want other addresses with --listen MULTIADDR"})
	}
	return out
}

// serveWatch runs node and monitor until ctx ends.
func serveWatch(ctx context.Context, stop func(), out io.Writer, status bool, wc watch.Config, mc *monitor.Config, storeStats func() pipeline.Store) error {
	log := slog.Default()
	b := bus.New(bus.Config{})
	seen := capture.New(b, log)
	wc.Capture, wc.Logger = seen, log
	n, err := watch.New(ctx, wc)
	if err != nil {
		return err
	}
	m, err := monitor.Start(mc, monitor.Watched{Node: n.State(), Repo: wc.Dir, Store: storeStats, Panics: n.Panics}, b, seen, log)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	n.Start()
	fmt.Fprintln(out, "Peer ID:", n.Host().ID())
	fmt.Fprintln(out, "Addresses:")
	for _, a := range n.Addrs() {
		fmt.Fprintln(out, "   ", a)
	}
	if wc.Blocks != "" {
		fmt.Fprintf(out, "Serving %d blocks of %s\n", n.Blocks(), wc.Blocks)
	}
	m.Announce(out)
	fmt.Fprintln(out, "The node is ready")
	if place, err := watchPlace(); err == nil && status {
		whatNext(out, m, wc.Dir, place)
	}
	if status {
		r := &runner{out: out}
		r.monitorStarted(m)
	}
	<-ctx.Done()
	stop() // a second signal ends the program at once
	err = errors.Join(n.Close(), m.Close())
	fmt.Fprintln(out, m.Closing())
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
