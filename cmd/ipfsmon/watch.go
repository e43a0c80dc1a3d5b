package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/watch"
)

// watchGC is how much garbage there may be before it is collected, in percent of
// what is in use, unless GOGC says otherwise. Most of it is connections, which are
// there for hours: memory counts more than the collector's work.
const watchGC = 50

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
			"Each flag can be set in the environment, and by its name in a JSON file (--config); flags override the\n" +
			"environment, which overrides the file. The file's key \"monitor\" has the settings that `ipfsmon config` shows.\n" +
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
		&cli.StringFlag{Name: "config", EnvVars: watchEnv("config"), Usage: "JSON `FILE` with these settings"},
		&cli.BoolFlag{Name: "with-parent", Hidden: true, Usage: "end when standard input ends, and print no status"},
	}, monitorFlags()...)
}

// watchFile is the content of the --config file: the flags by their names.
type watchFile struct {
	Repo          string         `json:"repo"`
	Listen        []string       `json:"listen"`
	Peers         int            `json:"peers"`
	DHT           string         `json:"dht"`
	Bootstrap     []string       `json:"bootstrap"`
	BootstrapFile string         `json:"bootstrap-file"`
	Blocks        string         `json:"blocks"`
	LookupEvery   string         `json:"lookup-every"`
	WantEvery     string         `json:"want-every"`
	Rate          int            `json:"rate"`
	Answers       int            `json:"answers"`
	Isolated      bool           `json:"isolated"`
	Monitor       map[string]any `json:"monitor"`
}

// watchConfig merges file, environment and flags; the library reads the
// environment into the flags.
func watchConfig(c *cli.Context, f *watchFile) (watch.Config, error) {
	var errs []error
	pickTime := func(flag, text string) time.Duration {
		d, given := c.Duration(flag), c.IsSet(flag)
		if !given && text != "" {
			var err error
			if d, err = units.ParseDuration(text); err != nil {
				errs = append(errs, fmt.Errorf("--config: %s: %w", flag, err))
			}
			given = true
		}
		if given && d == 0 && flag == "lookup-every" {
			return -1 // none
		}
		return d
	}
	cfg := watch.Config{
		Dir: pick(c, "repo", c.String, f.Repo), Listen: pick(c, "listen", c.StringSlice, f.Listen),
		Peers: pick(c, "peers", c.Int, f.Peers), DHT: pick(c, "dht", c.String, f.DHT),
		Bootstrap: pick(c, "bootstrap", c.StringSlice, f.Bootstrap), BootstrapFile: pick(c, "bootstrap-file", c.String, f.BootstrapFile),
		Blocks: pick(c, "blocks", c.String, f.Blocks), LookupEvery: pickTime("lookup-every", f.LookupEvery), WantEvery: pickTime("want-every", f.WantEvery),
		Rate: pick(c, "rate", c.Int, f.Rate), Answers: pick(c, "answers", c.Int, f.Answers), Isolated: pick(c, "isolated", c.Bool, f.Isolated),
	}
	for flag, n := range map[string]int{"peers": cfg.Peers, "rate": cfg.Rate, "answers": cfg.Answers} {
		if c.IsSet(flag) && n == 0 { // 0 means the default in the configuration
			errs = append(errs, fmt.Errorf("--%s 0: want 1 or more", flag))
		}
	}
	errs = append(errs, paths.Expand(map[string]*string{"repo": &cfg.Dir, "bootstrap-file": &cfg.BootstrapFile, "blocks": &cfg.Blocks}))
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

func runWatch(c *cli.Context) error {
	file := &watchFile{}
	if err := readJSONFile(c.String("config"), file); err != nil {
		return err
	}
	wc, err := watchConfig(c, file)
	if err != nil {
		return err
	}
	var storeURL string
	effective := func() (*monitor.Config, error) {
		return monitorConfig(c, file.Monitor, func(cfg *monitor.Config) {
			runDefaults(cfg)
			cfg.DataFolder = monitor.DataFolder(wc.Dir)
		}, func(cfg *monitor.Config) {
			if storeURL != "" {
				if cfg.InfluxDB == nil {
					cfg.InfluxDB = new(influx.Config)
				}
				useStore(cfg.InfluxDB, storeURL, cfg.DataFolder)
			}
		})
	}
	mc, err := effective()
	if err = errors.Join(wc.Validate(), err); err != nil {
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
	out := os.Stdout
	if mc.InfluxDB != nil && mc.InfluxDB.URL == "stdout:" { // only for points
		mc.InfluxDB.Stdout = out
		out, os.Stdout = os.Stderr, os.Stderr
	}
	var storeStats func() pipeline.Store
	if mc.InfluxDB == nil || mc.InfluxDB.URL == "" {
		var child *embedded.Child
		if child, err = startStore(context.WithoutCancel(ctx), mc); err != nil {
			return err
		}
		defer child.Close()
		storeURL, storeStats = child.URL(), child.Stats
		fmt.Fprintf(out, "InfluxDB listening on %s, data in %s\n", storeURL, mc.DataFolder)
		if mc, err = effective(); err != nil {
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
func serveWatch(ctx context.Context, stop func(), out *os.File, status bool, wc watch.Config, mc *monitor.Config, storeStats func() pipeline.Store) error {
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
