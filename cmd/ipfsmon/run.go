package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipfs/kubo/config"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/plugin"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Where "ipfsmon run" listens by default.
const (
	defaultStream = "127.0.0.1:8181"
	defaultHTTP   = "127.0.0.1:8432"
	defaultStore  = "127.0.0.1:8086"
)

// statusEvery is how often the status is logged without a terminal.
const statusEvery = 10 * time.Second

func runFlags() []cli.Flag { return append([]cli.Flag{repoFlag(), configFlag()}, monitorFlags()...) }

// monitorFlags are the flags of a node's monitor.
func monitorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Usage: "`FOLDER` for the embedded InfluxDB (default: ipfsmon in the repository)"},
		&cli.StringSliceFlag{Name: "stream", Usage: "`HOST:PORT` of the event stream (default: " + defaultStream + ")"},
		&cli.StringSliceFlag{Name: "http", Usage: "`HOST:PORT` of the HTTP API (default: " + defaultHTTP + ")"},
		&cli.StringFlag{Name: "store", Usage: "`HOST:PORT` of the embedded InfluxDB (default: " + defaultStore + ")"},
		&cli.StringFlag{Name: "influxdb", Usage: "`URL` of an InfluxDB to write to, in place of the embedded one; or udp://host:port, file:///path, stdout:"},
		&cli.StringFlag{Name: "amqp", Usage: "`URL` of an AMQP broker to send events to: amqp://user:password@host:port/vhost"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the monitor, in the tag node (default: the host name)"},
		&cli.IntFlag{Name: "interval", Usage: "`SECONDS` between two samples of the node's totals (default: 10)"},
	}
}

func repoFlag() cli.Flag {
	return &cli.StringFlag{Name: "repo", Usage: "`FOLDER` of the node's repository", EnvVars: []string{config.EnvDir}, DefaultText: "~/.ipfs"}
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run a monitored node",
		Description: "Runs a kubo node with the monitor on the public IPFS network. The repository is created if there is none. If no\n" +
			"InfluxDB is configured, an embedded one in the data folder keeps the history.\n\n" +
			"Example: ipfsmon run\n" +
			"         ipfsmon run --influxdb http://influx.example:8086 --name de1\n" +
			"         ipfsmon run --isolated --repo /tmp/lab       never leaves this machine\n\n" +
			"A repository of an older kubo is migrated with --migrate. Without it kubo asks at a terminal; elsewhere it is an error.\n" +
			"All other settings: `ipfsmon config --all`. Ctrl-C stores everything and exits; a second one exits at once.",
		Flags: append(runFlags(),
			&cli.BoolFlag{Name: "isolated", Usage: "keep the node on the loopback interface; needs its own repository"},
			&cli.BoolFlag{Name: "migrate", Usage: "migrate the repository of an older kubo without asking, as 'ipfs daemon --migrate' does"},
			&cli.BoolFlag{Name: "enable-gc", Usage: "collect garbage periodically, as 'ipfs daemon --enable-gc' does; the config's Datastore section says when"}),
		Action: func(c *cli.Context) error {
			r := newRunner(c)
			repo, err := repoPath(c.String("repo"))
			if err != nil {
				return err
			}
			standard, err := repoPath("")
			if err != nil {
				return err
			}
			o := runOptions{command: "ipfsmon run", standard: standard, isolated: c.Bool("isolated"), migrate: c.Bool("migrate")}
			if c.Bool("enable-gc") {
				o.daemon = append(o.daemon, "--enable-gc")
			}
			return r.run(c.Context, repo, o)
		},
	}
}

// runner runs one monitored node in this process.
type runner struct {
	flags   func(*monitor.Config)
	file    *configFile // of --config; nil: none
	command []string    // whose part of it has settings
	out     io.Writer
	started func(*monitor.Monitor)          // called when the monitor has started; may be nil
	ended   func()                          // called when it has ended, while the embedded InfluxDB still runs; may be nil
	monitor atomic.Pointer[monitor.Monitor] // nil until it runs
}

// newRunner returns a runner with the flags of runFlags.
func newRunner(c *cli.Context) *runner {
	return &runner{out: output(), file: fileOf(c), command: strings.Fields(c.Command.HelpName)[1:], flags: func(cfg *monitor.Config) {
		if c.IsSet("data") {
			cfg.DataFolder = c.String("data")
		}
		if c.IsSet("stream") {
			if cfg.TCPServerConfig == nil {
				cfg.TCPServerConfig = new(stream.Config)
			}
			cfg.TCPServerConfig.ListenAddresses = c.StringSlice("stream")
		}
		if c.IsSet("http") {
			if cfg.HTTPServerConfig == nil {
				cfg.HTTPServerConfig = new(httpapi.Config)
			}
			cfg.HTTPServerConfig.ListenAddresses = c.StringSlice("http")
		}
		if c.IsSet("store") {
			cfg.StoreListenAddress = c.String("store")
		}
		if c.IsSet("influxdb") {
			if cfg.InfluxDB == nil {
				cfg.InfluxDB = new(influx.Config)
			}
			cfg.InfluxDB.URL = c.String("influxdb")
		}
		if c.IsSet("amqp") {
			cfg.AMQPServerAddress = c.String("amqp")
		}
		if c.IsSet("name") {
			cfg.MonitorName = c.String("name")
		}
		if c.IsSet("interval") {
			cfg.PopulatePrometheusInterval = c.Int("interval")
		}
	}}
}

// runDefaults sets the defaults of "ipfsmon run", which kubo's section overrides.
func runDefaults(cfg *monitor.Config) {
	cfg.TCPServerConfig = &stream.Config{ListenAddresses: []string{defaultStream}}
	cfg.HTTPServerConfig = &httpapi.Config{ListenAddresses: []string{defaultHTTP}}
	cfg.StoreListenAddress = defaultStore
}

// runOptions says how to run a node, in addition to its configuration.
type runOptions struct {
	command  string   // the command's name, for messages
	standard string   // the repository that other commands find without being given it
	isolated bool     // the node stays on the loopback interface
	migrate  bool     // migrate an older repository without asking
	daemon   []string // more flags of kubo's daemon
}

// run runs the node until it is interrupted.
func (r *runner) run(ctx context.Context, repo string, o runOptions) error {
	var made bytes.Buffer // printed when it is known whether standard output is only for points
	defer func() { made.WriteTo(r.out) }()
	if err := prepareRepo(ctx, repo, o.command, o.isolated, o.migrate, &made); err != nil {
		return err
	}
	var storeURL string // set once the embedded InfluxDB runs
	var child *embedded.Child
	var points *os.File // set where points go to standard output
	opts := plugin.Options{
		Defaults: runDefaults,
		File:     r.file.monitorSection(r.command),
		Flags: func(cfg *monitor.Config) {
			r.flags(cfg)
			if points != nil {
				cfg.InfluxDB.Stdout = points
			}
			if storeURL != "" {
				if cfg.InfluxDB == nil {
					cfg.InfluxDB = new(influx.Config)
				}
				useStore(cfg.InfluxDB, storeURL, cfg.DataFolder)
			}
		},
		Started: r.monitorStarted,
	}
	p := plugin.New(opts)
	entry, err := pluginEntry(repo)
	if err != nil {
		return err
	}
	if entry.Disabled {
		return errDisabled
	}
	if err := checkPlugins(repo); err != nil {
		return err
	}
	cfg, _, err := p.Check(repo, entry.Config)
	if err != nil {
		return fmt.Errorf("configuration:\n%w", r.file.located(err))
	}
	if err := checkPorts(repo, cfg); err != nil {
		return err
	}
	if cfg.InfluxDB != nil && cfg.InfluxDB.URL == "stdout:" {
		// Standard output is only for points: everything else goes to standard
		// error.
		points = os.Stdout
		os.Stdout = os.Stderr
		r.out = output()
	}
	made.WriteTo(r.out)

	if cfg.InfluxDB == nil || cfg.InfluxDB.URL == "" {
		if child, err = startStore(ctx, cfg); err != nil {
			return err
		}
		storeURL = child.URL()
		opts.Store = child.Stats
		p = plugin.New(opts)
		fmt.Fprintf(r.out, "InfluxDB listening on %s, data in %s\n", storeURL, cfg.DataFolder)
	}
	os.Setenv(config.EnvDir, repo)
	if o.migrate {
		o.daemon = append(o.daemon, "--migrate")
	}
	restore, err := r.shortenKubo(func() {
		if m := r.monitor.Load(); m != nil {
			whatNext(r.out, m, repo, o.standard)
		}
	})
	if err != nil {
		return err
	}
	code := runKubo(p, append([]string{"daemon"}, o.daemon...))
	restore()
	err = p.Close() // if the daemon started, kubo has closed it already, and this returns the same error
	if r.ended != nil {
		r.ended()
	}
	if child != nil {
		err = errors.Join(err, child.Close())
	}
	if m := r.monitor.Load(); m != nil {
		fmt.Fprintln(r.out, m.Closing())
	}
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if code != 0 {
		return cli.Exit("", code)
	}
	return nil
}

// output is where a command prints what it does.
func output() io.Writer {
	if quiet() {
		return io.Discard
	}
	return os.Stdout
}

// useStore changes a configuration so that it is for the store of a data folder,
// without credentials for another server.
func useStore(cfg *influx.Config, url, data string) {
	cfg.URL, cfg.Version = url, ""
	cfg.Username, cfg.PasswordFile = embedded.Login(data)
	cfg.Password, cfg.Org, cfg.Bucket, cfg.Token, cfg.TokenFile = "", "", "", "", ""
}

// startStore starts the embedded InfluxDB as a child process.
func startStore(ctx context.Context, cfg *monitor.Config) (*embedded.Child, error) {
	if err := os.MkdirAll(cfg.DataFolder, 0o700); err != nil {
		return nil, fmt.Errorf("%s.DataFolder: %w", monitor.Section, err)
	}
	child, err := embedded.Supervise(ctx, embedded.ChildConfig{
		Data: cfg.DataFolder, Listen: cfg.StoreListenAddress, MaxBytes: int64(cfg.StoreMaxBytes), MemoryLimit: int64(cfg.StoreMemoryLimit),
	})
	if err != nil {
		return nil, fmt.Errorf("start the embedded InfluxDB on %s: %w", cfg.StoreListenAddress, err)
	}
	return child, nil
}

// errDisabled is the error of a node whose plugin is disabled.
var errDisabled = errors.New(plugin.DisabledKey + " is true in the node's configuration, so nothing would be monitored: " +
	"want false, by `ipfsmon ipfs config --json " + plugin.DisabledKey + " false`, or run the node alone with `ipfsmon ipfs daemon`")

// pluginSection reads the plugin's settings from a repository's configuration, in
// the form in which kubo passes them to plugins.
func pluginSection(repo string) (any, error) {
	entry, err := pluginEntry(repo)
	return entry.Config, err
}

// pluginEntry reads the plugin's part of a repository's configuration; it is empty
// if there is none.
func pluginEntry(repo string) (entry config.Plugin, err error) {
	file := filepath.Join(repo, config.DefaultConfigFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return entry, nil
	}
	if err != nil {
		return entry, fmt.Errorf("read the node's configuration: %w", err)
	}
	var cfg struct{ Plugins config.Plugins }
	if err := json.Unmarshal(b, &cfg); err != nil {
		return entry, fmt.Errorf("read the node's configuration %s: %w", file, err)
	}
	return cfg.Plugins.Plugins[monitor.Name], nil
}

// monitorStarted starts the status line.
func (r *runner) monitorStarted(m *monitor.Monitor) {
	keepNohup()
	r.monitor.Store(m)
	if err := m.Drift(); err != nil {
		fmt.Fprintf(r.out, "Wants and cancels that this node sends are not captured: %v\n", err)
	}
	if r.started != nil {
		r.started(m)
	}
	go r.status(m) // ends with the monitor
}

// status shows the monitor's status: on a terminal a line that is updated every
// second, elsewhere a log line every statusEvery.
func (r *runner) status(m *monitor.Monitor) {
	every, begin, end := statusEvery, "", "\n"
	if f, ok := r.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		every, begin, end = time.Second, "\r\x1b[K", ""
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, lastMessages := time.Now(), uint64(0)
	for {
		select {
		case <-m.Done():
			if end == "" {
				fmt.Fprintln(r.out)
			}
			return
		case now := <-tick.C:
			s := m.Status()
			line := fmt.Sprintf("%d peers, %.1f messages/s, %d points stored, %d dropped",
				s.Peers, float64(s.Messages-lastMessages)/now.Sub(last).Seconds(), s.Stored, s.Dropped)
			if s.Err != "" {
				line += fmt.Sprintf(", %d waiting for InfluxDB: %s", s.Queued, s.Err)
			}
			fmt.Fprint(r.out, begin, line, end)
			last, lastMessages = now, s.Messages
		}
	}
}
