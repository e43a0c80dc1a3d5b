package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

func probeCommand() *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "measure how fast a DHT provides and retrieves, like parsec",
		Description: "Servers measure, a scheduler makes them measure in turn, and a database stores the results; a lab does all of it in\n" +
			"one process. More in docs/probe.md. parsec's flags and environment variables work here.\n\n" +
			"Example: ipfsmon probe lab --nodes 50 --latency 40ms --loss 1% --churn 5/min --rounds 20\n" +
			"         ipfsmon probe server --fleet default --region eu\n" +
			"         ipfsmon probe scheduler --fleets default\n" +
			"         ipfsmon probe report --since 24h",
		Flags:       probeFlags(),
		Subcommands: []*cli.Command{probeServerCommand(), probeSchedulerCommand(), probeLabCommand(), probeReportCommand(), probeHealthCommand()},
	}
}

// probeFlags are parsec's global flags. parsec reads them before the name of the
// sub-command; here they may also follow it.
func probeFlags() []cli.Flag {
	env := func(name string) []string { return []string{"PARSEC_" + name} }
	return []cli.Flag{
		configFlag(),
		&cli.BoolFlag{Name: "debug", EnvVars: env("DEBUG"), Usage: "log everything"},
		&cli.StringFlag{Name: "log-level", Value: "info", EnvVars: append(env("LOG_LEVEL"), logLevelVariable), Category: logCategory,
			Usage: "`LEVEL` of the log: " + strings.Join(logLevels, ", ") + "; or as in parsec: 0 or 1 errors only, 3 warnings, 4 notices, 5 and more everything"},
		&cli.StringFlag{Name: "telemetry-host", Value: "localhost", EnvVars: env("TELEMETRY_HOST"), Usage: "`HOST` to serve /metrics and /debug/pprof on"},
		&cli.IntFlag{Name: "telemetry-port", Value: 6666, EnvVars: env("TELEMETRY_PORT"), Usage: "`PORT` of /metrics and /debug/pprof; 0: any free one"},
		&cli.BoolFlag{Name: "dry-run", EnvVars: env("SCHEDULE_DRY_RUN"), Usage: "write nothing to the database"},
		&cli.StringFlag{Name: "sqlite", EnvVars: []string{"IPFSMON_PROBE_SQLITE"}, DefaultText: "~/.ipfsmon/probe/probe.sqlite", Usage: "`FILE` of the database, unless a --db-* flag chooses PostgreSQL"},
		&cli.StringFlag{Name: "db-host", Value: "localhost", EnvVars: env("DATABASE_HOST"), Usage: "`HOST` of PostgreSQL; any of the --db-* flags or their environment chooses PostgreSQL"},
		&cli.IntFlag{Name: "db-port", Value: 5432, EnvVars: env("DATABASE_PORT"), Usage: "`PORT` of PostgreSQL"},
		&cli.StringFlag{Name: "db-name", Value: "parsec", EnvVars: env("DATABASE_NAME"), Usage: "`NAME` of the database"},
		&cli.StringFlag{Name: "db-password", Value: "password", EnvVars: env("DATABASE_PASSWORD"), Usage: "`PASSWORD`; the list of processes shows it, prefer the environment"},
		&cli.StringFlag{Name: "db-password-file", EnvVars: []string{"IPFSMON_PROBE_DB_PASSWORD_FILE"}, Usage: "`FILE` with the password, instead of --db-password"},
		&cli.StringFlag{Name: "db-user", Value: "parsec", EnvVars: env("DATABASE_USER"), Usage: "`NAME` of the user"},
		&cli.StringFlag{Name: "db-sslmode", Value: "disable", EnvVars: env("DATABASE_SSL_MODE"), Usage: "`MODE` as in libpq: disable, allow, prefer, require, verify-ca or verify-full"},
		&cli.DurationFlag{Name: "db-wait", Value: time.Minute, EnvVars: []string{"IPFSMON_PROBE_DB_WAIT"}, Usage: "`TIME` to wait for the database at the start"},
		&cli.StringFlag{Name: "ecs-metadata-uri-v4", EnvVars: []string{"ECS_CONTAINER_METADATA_URI_V4"}, Usage: "`URI` of the ECS task's metadata, for processors, memory and address"},
		&cli.StringFlag{Name: "ecs-metadata", EnvVars: []string{"ECS_CONTAINER_METADATA"}, Usage: "the metadata itself, as `JSON`"},
		&cli.StringFlag{Name: "aws-region", Aliases: []string{"region"}, EnvVars: []string{"AWS_REGION"}, Usage: "`REGION` of the server, by which results are grouped"},
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"IPFSMON_PROBE_TOKEN_FILE"}, Usage: "`FILE` with the token that servers require and the scheduler sends"},
		&cli.BoolFlag{Name: "allow-insecure", EnvVars: []string{"IPFSMON_PROBE_ALLOW_INSECURE"}, Usage: "listen beyond loopback without a token: everyone who can reach the port can use it"},
	}
}

// probeSetting returns the context in which a flag was given: that of the
// sub-command or, as in parsec, that of the command before it.
func probeSetting(c *cli.Context, name string) *cli.Context {
	for _, at := range c.Lineage() {
		if at.Command == nil {
			continue
		}
		for _, set := range at.LocalFlagNames() {
			if set == name {
				return at
			}
		}
	}
	return c
}

func probeString(c *cli.Context, name string) string { return probeSetting(c, name).String(name) }
func probeInt(c *cli.Context, name string) int       { return probeSetting(c, name).Int(name) }
func probeBool(c *cli.Context, name string) bool     { return probeSetting(c, name).Bool(name) }

// probeLog sets how much is logged: notices, unless a flag says otherwise.
func probeLog(c *cli.Context) {
	level := probeString(c, "log-level")
	if probeBool(c, "debug") {
		level = "debug"
	}
	_ = setLogs(level, "") // applyLogs has checked it
}

// probeFolder returns the default folder of a probe's files: in the configured
// data folder, or in the home folder.
func probeFolder() (string, error) {
	if dir := os.Getenv("IPFSMON_DATA_FOLDER"); dir != "" {
		return filepath.Join(dir, "probe"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home folder: %w", err)
	}
	return filepath.Join(home, ".ipfsmon", "probe"), nil
}

// probeDatabase returns the database that the flags choose.
func probeDatabase(c *cli.Context) (cfg store.Config, err error) {
	postgres := false
	for _, name := range []string{"db-host", "db-port", "db-name", "db-password", "db-password-file", "db-user", "db-sslmode"} {
		postgres = postgres || probeSetting(c, name).IsSet(name)
	}
	cfg.Path = probeString(c, "sqlite")
	if postgres {
		if cfg.Path != "" {
			return cfg, wrongUse(c, "--sqlite and --db-* name two databases; want one of them")
		}
		cfg = store.Config{Host: probeString(c, "db-host"), Port: probeInt(c, "db-port"), Name: probeString(c, "db-name"),
			User: probeString(c, "db-user"), Password: probeString(c, "db-password"), SSLMode: probeString(c, "db-sslmode")}
		if file := probeString(c, "db-password-file"); file != "" {
			var err error
			if cfg.Password, err = access.ReadSecret(file); err != nil {
				return cfg, fmt.Errorf("probe: --db-password-file: %w", err)
			}
		}
		if err := cfg.Validate(); err != nil {
			return cfg, wrongUse(c, "%w", err)
		}
		return cfg, nil
	}
	if cfg.Path == "" {
		dir, err := probeFolder()
		if err != nil {
			return cfg, err
		}
		cfg.Path = filepath.Join(dir, "probe.sqlite")
	}
	if cfg.Path, err = filepath.Abs(cfg.Path); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// probeStore opens the database, readOnly for a command that only reads. It waits
// up to --db-wait for one that does not answer.
func probeStore(ctx context.Context, c *cli.Context, readOnly bool) (*store.Store, error) {
	cfg, err := probeDatabase(c)
	if err != nil {
		return nil, err
	}
	cfg.ReadOnly = readOnly
	for end := time.Now().Add(probeSetting(c, "db-wait").Duration("db-wait")); ; {
		s, err := store.Open(ctx, cfg)
		if err == nil || ctx.Err() != nil || cfg.Host == "" || store.Refused(err) || time.Now().After(end) {
			return s, err
		}
		monitor.Logger().Warn("probe: waiting for the database", "database", cfg.String(), "err", err)
		if err := backoff.Sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// probeToken reads the token; "" if there is none.
func probeToken(c *cli.Context) (string, error) {
	path := probeString(c, "token-file")
	if path == "" {
		return "", nil
	}
	token, err := access.ReadSecret(path)
	if err != nil {
		return "", fmt.Errorf("probe: --token-file: %w", err)
	}
	if len(token) < 16 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("probe: --token-file: %s: want one token of 16 or more printable characters without spaces", path)
	}
	return token, nil
}

// probeBeyond rejects an address beyond loopback unless there is a token or
// --allow-insecure.
func probeBeyond(c *cli.Context, flag, host, token string) error {
	if listen.LoopbackHost(host) || token != "" || probeBool(c, "allow-insecure") {
		return nil
	}
	return wrongUse(c, "--%s %q is beyond loopback, where everyone who can reach it could use it; want --token-file FILE, --allow-insecure, or localhost", flag, host)
}

// probeTelemetry serves metrics and profiles until the returned function is
// called.
func probeTelemetry(c *cli.Context, reg *prometheus.Registry) (string, func(), error) {
	host := probeString(c, "telemetry-host")
	if err := probeBeyond(c, "telemetry-host", host, ""); err != nil {
		return "", nil, err
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(probeInt(c, "telemetry-port"))))
	if err != nil {
		return "", nil, fmt.Errorf("probe: serve metrics: %w; want another port with --telemetry-port", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	conns := listen.NewConns(listen.Bounds{Total: 64, PerAddress: 16})
	conns.Serve(s)
	return l.Addr().String(), listen.Background(s, conns.Listener(l)), nil
}

// influxFlags are those of a sink; the rest of its settings come from the
// environment, IPFSMON_INFLUXDB_*, as in "ipfsmon run".
func probeInfluxFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "influxdb", Usage: "`URL` of an InfluxDB that gets each result as a point; IPFSMON_INFLUXDB_* sets the rest"},
		&cli.StringFlag{Name: "name", EnvVars: []string{"IPFSMON_MONITOR_NAME"}, DefaultText: "the machine's host name", Usage: "`NAME` of the points' tag node"},
	}
}

// probePoints writes results to InfluxDB; nil if none is configured.
type probePoints struct {
	bus  *bus.Bus
	done chan error
	stop context.CancelFunc
	sink *influx.Sink
}

func newProbePoints(c *cli.Context) (*probePoints, error) {
	section := fileOf(c).monitorSection(strings.Fields(c.Command.HelpName)[1:])
	all, _, err := monitor.Layers{File: section, Flags: func(cfg *monitor.Config) {
		if u := c.String("influxdb"); u != "" {
			if cfg.InfluxDB == nil {
				cfg.InfluxDB = new(influx.Config)
			}
			cfg.InfluxDB.URL = u
		}
		if name := c.String("name"); name != "" {
			cfg.MonitorName = name
		}
	}}.Effective()
	if err != nil {
		return nil, fmt.Errorf("probe: %w", fileOf(c).located(err))
	}
	if all.InfluxDB == nil || all.InfluxDB.URL == "" {
		return nil, nil
	}
	cfg := *all.InfluxDB
	cfg.Log = monitor.Logger()
	if cfg.SpoolDir == "" {
		dir, err := probeFolder()
		if err != nil {
			return nil, err
		}
		cfg.SpoolDir = filepath.Join(dir, "spool")
	}
	sink, err := influx.New(cfg, all.MonitorName)
	if err != nil {
		return nil, fmt.Errorf("probe: write to InfluxDB: %w", err)
	}
	p := &probePoints{bus: bus.New(bus.Config{}), done: make(chan error, 1), sink: sink}
	r := p.bus.Subscribe("influx")
	p.bus.Live()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() { // ends with close
		defer r.Close()
		p.done <- sink.Run(ctx, r)
	}()
	return p, nil
}

// close delivers what is queued, for at most some seconds.
func (p *probePoints) close() error {
	if p == nil {
		return nil
	}
	p.bus.Close()
	err := <-p.done
	p.stop()
	return err
}

func probeHealthCommand() *cli.Command {
	return &cli.Command{
		Name:        "health",
		Usage:       "check whether a server is ready; exit code 0 if it is",
		ArgsUsage:   "HOST:PORT",
		Description: "Example: ipfsmon probe health localhost:7070",
		Action: func(c *cli.Context) error {
			req, err := http.NewRequestWithContext(c.Context, http.MethodGet, "http://"+c.Args().First()+"/readiness", nil)
			if err != nil {
				return fmt.Errorf("probe health: %w", err)
			}
			token, err := probeToken(c)
			if err != nil {
				return err
			}
			client := listen.To{Token: token, Timeout: 10 * time.Second}.Client()
			defer client.CloseIdleConnections()
			res, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("probe health: %w", err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("probe health: %s", res.Status)
			}
			return nil
		},
	}
}
