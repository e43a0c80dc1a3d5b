package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/scheduler"
	"github.com/ipfsmon/ipfsmon/probe/server"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

func probeSchedulerCommand() *cli.Command {
	env := func(name string) []string { return []string{"PARSEC_SCHEDULER_" + name} }
	return &cli.Command{
		Name:  "scheduler",
		Usage: "make servers measure in turn",
		Description: "In each round one server provides 1024 random bytes and all others of the fleets retrieve them. Results go to the\n" +
			"database and, with --influxdb, to InfluxDB as dht_provide and dht_retrieve. With --dry-run they are only printed.\n\n" +
			"Example: ipfsmon probe scheduler --fleets default --influxdb http://127.0.0.1:8086\n" +
			"         ipfsmon probe scheduler --fleets default,fullrt --interval 5m --probes 2\n" +
			"         ipfsmon probe scheduler --fleets default --dry-run",
		Flags: append(append(probeFlags(), probeInfluxFlags()...),
			&cli.StringFlag{Name: "fleets", EnvVars: env("FLEETS"), Usage: "`NAMES` of the fleets, separated by commas"},
			&cli.StringFlag{Name: "routing", Value: "DHT", EnvVars: env("ROUTING"), Usage: "`ROUTING`: DHT or IPNI"},
			&cli.DurationFlag{Name: "interval", Value: scheduler.DefaultInterval, EnvVars: env("INTERVAL"), Usage: "`TIME` between two rounds"},
			&cli.IntFlag{Name: "probes", Value: 1, EnvVars: env("PROBES"), Usage: "`NUMBER` of rounds in an interval, one after the other, each with the next server"},
			&cli.DurationFlag{Name: "settle", Value: scheduler.DefaultSettle, EnvVars: []string{"IPFSMON_PROBE_SETTLE"}, Usage: "`TIME` between a provide and the retrievals"},
			&cli.DurationFlag{Name: "wait", Value: scheduler.DefaultWait, EnvVars: []string{"IPFSMON_PROBE_WAIT"}, Usage: "`TIME` to wait after a failed round, or while there are less than two servers"},
			&cli.StringFlag{Name: "queue", EnvVars: []string{"IPFSMON_PROBE_QUEUE"}, DefaultText: "in ~/.ipfsmon/probe, by fleets and routing", Usage: "`FILE` for results that the database does not have yet, or memory; one per scheduler"},
			&cli.IntFlag{Name: "rounds", Usage: "exit after `NUMBER` rounds (default: never)"},
		),
		Action: runProbeScheduler,
	}
}

func runProbeScheduler(c *cli.Context) (err error) {
	probeLog(c)
	target, err := probe.ParseTarget(c.String("routing"))
	if err != nil {
		return wrongUse(c, "--%w", err)
	}
	if c.String("fleets") == "" {
		return wrongUse(c, "--fleets is missing; want the names of one or more fleets, separated by commas")
	}
	token, err := probeToken(c)
	if err != nil {
		return err
	}
	var fleets []string
	for _, f := range strings.Split(c.String("fleets"), ",") {
		fleets = append(fleets, strings.TrimSpace(f))
	}
	cfg := scheduler.Config{
		Fleets: fleets, Target: target, Interval: c.Duration("interval"), Probes: c.Int("probes"), Settle: c.Duration("settle"), Wait: c.Duration("wait"),
		Rounds: c.Int("rounds"), DryRun: probeBool(c, "dry-run"), Token: token, Dependencies: server.Dependencies(), Log: monitor.Logger(),
	}
	if err := cfg.Validate(); err != nil {
		return wrongUse(c, "%w", err)
	}
	if cfg.Queue, err = probeQueue(c, &cfg); err != nil {
		return err
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	if cfg.DryRun {
		cfg.Result = printResults()
	} else {
		points, err := newProbePoints(c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, points.close()) }()
		if points != nil {
			cfg.Publish = func(e *event.Event) { points.bus.Publish(e) }
		}
	}
	st, err := probeStore(ctx, c, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	cfg.Store = st
	s, err := scheduler.New(cfg)
	if err != nil {
		return err
	}
	return runScheduler(ctx, c, s)
}

// probeQueue returns the file of the results that wait for the database; "" for
// memory.
func probeQueue(c *cli.Context, cfg *scheduler.Config) (string, error) {
	file := c.String("queue")
	if file == inMemory {
		return "", nil
	}
	if file == "" {
		dir, err := probeFolder()
		if err != nil {
			return "", err
		}
		// Schedulers of one user with different settings have different files.
		sum := sha256.Sum256([]byte(strings.Join(cfg.Fleets, ",") + " " + string(cfg.Target)))
		file = filepath.Join(dir, fmt.Sprintf("queue-%x.sqlite", sum[:4]))
	}
	return filepath.Abs(file)
}

func runScheduler(ctx context.Context, c *cli.Context, s *scheduler.Scheduler) error {
	reg := prometheus.NewRegistry()
	m, err := probe.NewSchedulerMetrics(reg,
		func() float64 { n, _ := s.Waiting(); return float64(n) },
		func() float64 { _, n := s.Waiting(); return float64(n) })
	if err != nil {
		return err
	}
	s.SetMetrics(m)
	telemetry, stop, err := probeTelemetry(c, reg)
	if err != nil {
		return err
	}
	defer stop()
	if !probeBool(c, "dry-run") {
		fmt.Printf("Probe scheduler of fleets %s\nMetrics on http://%s/metrics\n", c.String("fleets"), telemetry)
	}
	return s.Run(ctx)
}

// printResults prints each result as a line of JSON.
func printResults() func(store.Result) {
	var mu sync.Mutex
	enc := json.NewEncoder(textout.JSON(os.Stdout))
	return func(r store.Result) {
		line := struct {
			Time    string  `json:"time"`
			Kind    string  `json:"kind"`
			Fleet   string  `json:"fleet"`
			Region  string  `json:"region"`
			Node    int     `json:"node"`
			CID     string  `json:"cid"`
			Seconds float64 `json:"seconds"`
			Error   string  `json:"error,omitempty"`
		}{r.At.UTC().Format(time.RFC3339Nano), r.Step, r.Fleet, r.Region, r.Node, r.CID, r.Duration.Seconds(), r.Error}
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(line) // an error of standard output cannot be reported anywhere
	}
}
