package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/probe/lab"
)

func probeLabCommand() *cli.Command {
	return &cli.Command{
		Name:  "lab",
		Usage: "measure in a private DHT in this process, with delay, loss and churn",
		Description: "Runs peers, the servers of each fleet and a scheduler for each, on loopback only. Prints a table at the end, and writes\n" +
			"plot.svg, plot.png, results.csv, results.json and the database probe.sqlite. With two fleets it compares two\n" +
			"configurations of the DHT.\n\n" +
			"Example: ipfsmon probe lab --nodes 50 --latency 40ms --loss 1% --churn 5/min --rounds 20\n" +
			"         ipfsmon probe lab --fleet narrow:alpha=3 --fleet wide:alpha=20 --out /tmp/lab",
		Flags: append(append(probeInfluxFlags(), configFlag()),
			&cli.IntFlag{Name: "nodes", Value: 50, Usage: "`NUMBER` of peers in addition to the servers, 5 to 500"},
			&cli.IntFlag{Name: "k", Value: 6, Usage: "`NUMBER` of peers that store a record; choose it far below --nodes, otherwise lookups find every record at once"},
			&cli.DurationFlag{Name: "latency", Usage: "mean round-trip `TIME` between two peers; each pair has 0.5 to 1.5 times this"},
			&cli.StringFlag{Name: "loss", Value: "0%", Usage: "`SHARE` of segments that are lost and retransmitted, such as 1%"},
			&cli.StringFlag{Name: "churn", Value: "0/min", Usage: "`NUMBER` of peers that leave and are replaced, such as 5/min"},
			&cli.IntFlag{Name: "rounds", Value: 20, Usage: "`NUMBER` of rounds per fleet"},
			&cli.IntFlag{Name: "servers", Value: 3, Usage: "`NUMBER` of servers in each fleet"},
			&cli.StringSliceFlag{Name: "fleet", Value: cli.NewStringSlice("default", "optprov:optprov"), Usage: "`FLEET`: " + lab.FleetSyntax + "; may be repeated"},
			&cli.DurationFlag{Name: "settle", Value: 200 * time.Millisecond, Usage: "`TIME` between a provide and the retrievals"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER`: the same seed makes the same round trips between peers"},
			&cli.StringFlag{Name: "out", DefaultText: "probe-lab in this folder", Usage: "`FOLDER` for the files"},
		),
		Action: runProbeLab,
	}
}

func runProbeLab(c *cli.Context) (err error) {
	cfg := lab.Config{Nodes: c.Int("nodes"), Bucket: c.Int("k"), Latency: c.Duration("latency"), Rounds: c.Int("rounds"), Servers: c.Int("servers"),
		Settle: c.Duration("settle"), Seed: c.Uint64("seed"), Log: monitor.Logger()}
	var errs []error
	if cfg.Loss, err = lab.ParseLoss(c.String("loss")); err != nil {
		errs = append(errs, err)
	}
	if cfg.Churn, err = lab.ParseChurn(c.String("churn")); err != nil {
		errs = append(errs, err)
	}
	for _, text := range fleetFlags(c) {
		f, err := lab.ParseFleet(text)
		if err != nil {
			errs = append(errs, err)
		}
		cfg.Fleets = append(cfg.Fleets, f)
	}
	if err := errors.Join(append(errs, cfg.Validate())...); err != nil {
		return wrongUse(c, "%w", err)
	}
	dir := c.String("out")
	if dir == "" {
		dir = "probe-lab"
	}
	if cfg.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	points, err := newProbePoints(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, points.close()) }()
	if points != nil {
		cfg.Publish = func(e *event.Event) { points.bus.Publish(e) }
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	bars := newBars(os.Stderr, term.IsTerminal(int(os.Stderr.Fd())))
	cfg.Setup = bars.step("peers join")
	cfg.Round = bars.step("rounds")
	out, err := lab.Run(ctx, cfg)
	bars.end()
	if out == nil {
		return err
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	if len(out.Results) == 0 {
		return errors.New("probe lab: interrupted before the first result")
	}
	about := map[string]any{"nodes": cfg.Nodes, "k": cfg.Bucket, "latency": cfg.Latency.String(), "loss": cfg.Loss, "churn_per_minute": cfg.Churn,
		"rounds": cfg.Rounds, "servers": cfg.Servers, "seed": cfg.Seed, "fleets": fleetFlags(c), "left": out.Left, "joined": out.Joined}
	fmt.Printf("%d peers, k=%d, round trips of about %v, %.3g %% loss; %d peers left, %d joined\n", cfg.Nodes, cfg.Bucket, cfg.Latency, 100*cfg.Loss, out.Left, out.Joined)
	return writeReport(textout.ForTerminal(os.Stdout), cfg.Dir, out.Results, about)
}

// fleetFlags returns the values of --fleet. The library splits them at commas,
// which the options of a fleet have too; a part that is an option belongs to the
// part before it.
func fleetFlags(c *cli.Context) (out []string) {
	for _, part := range c.StringSlice("fleet") {
		word, _, _ := strings.Cut(part, "=")
		option := strings.Contains(" client dht-server optprov alpha beta fullrt ", " "+word+" ")
		if n := len(out); n > 0 && option && strings.Contains(out[n-1], ":") {
			out[n-1] += "," + part
			continue
		}
		out = append(out, part)
	}
	return out
}
