package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// demoRepo returns the default repository of the demo's node, separate from the
// user's own.
func demoRepo() (string, error) {
	repo, err := paths.Home("~/.ipfsmon/demo")
	if err != nil {
		return "", fmt.Errorf("find the home folder: %w: want --repo FOLDER", err)
	}
	return repo, nil
}

func demoCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "repo", Usage: "`FOLDER` of the demo node's repository", DefaultText: "~/.ipfsmon/demo"},
		&cli.IntFlag{Name: "peers", Value: 6, Usage: "`NUMBER` of other nodes, 5 or more"},
		&cli.Float64Flag{Name: "rate", Value: 5, Usage: "`NUMBER` of operations per second of the swarm"},
		&cli.IntFlag{Name: "watch", Usage: fmt.Sprintf("`NUMBER` of light nodes (ipfsmon watch) in the same swarm, up to %d (default: none)", maxDemoWatch)},
		&cli.IntFlag{Name: "monitors", Usage: fmt.Sprintf("`NUMBER` of monitors, 2 to %d: this node and light nodes that see a part of the swarm each, and a collector (ipfsmon fleet collect) that joins them (default: none)", maxDemoWatch+1)},
		&cli.StringFlag{Name: "broker", Usage: "`URL` of an AMQP broker that is there, through which the monitors of --monitors send to the collector: amqp://user:password@host:port/vhost (default: it reads their streams)"},
		&cli.DurationFlag{Name: "duration", Usage: "`TIME` after which it ends, such as 30s or 1d (default: until Ctrl-C)"},
		&cli.Int64Flag{Name: "seed", Value: 1, Usage: "`NUMBER`: the same seed makes the same sequence of operations"},
	}
	return &cli.Command{
		Name:  "demo",
		Usage: "run a monitored node in a private swarm on loopback",
		Description: "Runs a monitored node like `ipfsmon run --isolated`, and around it a swarm of real kubo nodes that add files, fetch\n" +
			"them, want and cancel, stop and come back. Nothing leaves this machine.\n\n" +
			"Example: ipfsmon demo\n" +
			"         ipfsmon demo --monitors 3                          three monitors, and a collector that joins what they see\n" +
			"         ipfsmon demo --duration 30s --rate 20 && ipfsmon query \"SELECT count(cid) FROM wants\"",
		Flags: append(flags, monitorFlags()...),
		Action: func(c *cli.Context) error {
			repo := c.String("repo")
			if repo == "" {
				var err error
				if repo, err = demoRepo(); err != nil {
					return err
				}
			}
			repo, err := repoPath(repo)
			if err != nil {
				return err
			}
			if err := demoOptions(c).Validate(); err != nil {
				return wrongUse(c, "%w", err)
			}
			if n := c.Int("watch"); n > maxDemoWatch {
				return wrongUse(c, "--watch %d: want at most %d", n, maxDemoWatch)
			}
			if n := c.Int("monitors"); c.IsSet("monitors") && (n < 2 || n > maxDemoWatch+1) {
				return wrongUse(c, "--monitors %d: want 2 to %d", n, maxDemoWatch+1)
			} else if n > 0 && c.Int("watch") > 0 {
				return wrongUse(c, "--monitors and --watch: want one of them")
			}
			if b := c.String("broker"); c.IsSet("broker") {
				if err := broker.CheckAddress(b); err != nil {
					return wrongUse(c, "--broker: %w", err)
				}
				if c.Int("monitors") == 0 || c.IsSet("amqp") {
					return wrongUse(c, "--broker is for --monitors, in place of --amqp: want --monitors too, and no --amqp")
				}
			}
			return runDemo(c, repo)
		},
	}
}

// runDemo runs the monitored node in this process and the swarm in a child
// process, so that the figures of the node's process are of the node alone.
func runDemo(c *cli.Context, repo string) error {
	r := newRunner(c)
	var swarm swarmProcess
	var light demoWatch
	address := c.String("broker")
	if address != "" {
		flags := r.flags
		r.flags = func(cfg *monitor.Config) {
			flags(cfg)
			cfg.AMQPServerAddress, cfg.AMQPConfig = address, &broker.Config{Formats: []string{broker.V4}}
			if !c.IsSet("name") {
				cfg.MonitorName = demoName
			}
		}
	}
	r.started = func(m *monitor.Monitor) {
		// A killed node leaves its address behind; ours is not written yet.
		_ = os.Remove(apiFile(repo))
		light.wg.Go(func() {
			if n := c.Int("monitors"); n > 0 {
				light.err = runDemoFleet(n, repo, address, r.out, m)
				return
			}
			light.run(c.Int("watch"), repo, r.out, m)
		})
		swarm.wg.Go(func() {
			swarm.err = swarm.run(c, repo, r.out, m.Done())
			select {
			case <-m.Done(): // the node is already stopping; a second Ctrl-C would end it at once
			default:
				// Stops the node like Ctrl-C: kubo's command line has no other way.
				_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
			}
		})
	}
	r.ended = light.wg.Wait
	standard, err := demoRepo()
	if err != nil {
		return err
	}
	err = r.run(c.Context, repo, runOptions{command: "ipfsmon demo", standard: standard, isolated: true, migrate: true})
	swarm.wg.Wait()
	return errors.Join(err, swarm.err, light.err)
}

type swarmProcess struct {
	wg  sync.WaitGroup
	err error
}

// run starts the swarm when the node's RPC API answers, and ends it with the
// monitor or after --duration.
func (s *swarmProcess) run(c *cli.Context, repo string, out io.Writer, done <-chan struct{}) error {
	api, err := waitForAPI(repo, done)
	if err != nil || api == "" {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with run
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	cmd := exec.CommandContext(ctx, self, "demo-swarm", "--api", api,
		"--peers", strconv.Itoa(c.Int("peers")),
		"--rate", strconv.FormatFloat(c.Float64("rate"), 'g', -1, 64),
		"--duration", c.Duration("duration").String(),
		"--seed", strconv.FormatInt(c.Int64("seed"), 10))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for this process
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	stdin, err := cmd.StdinPipe() // the swarm ends when this is closed
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the demo's swarm: %w", err)
	}
	return nil
}

// apiFile is where kubo writes the address of a running node's RPC API.
func apiFile(repo string) string { return filepath.Join(repo, "api") }

// waitForAPI returns the address of the node's RPC API as soon as there is one,
// or "" if the monitor ended first.
func waitForAPI(repo string, done <-chan struct{}) (string, error) {
	for tick := time.Tick(50 * time.Millisecond); ; {
		select {
		case <-done:
			return "", nil
		case <-tick:
		}
		b, err := os.ReadFile(apiFile(repo))
		if err == nil && len(b) > 0 {
			return strings.TrimSpace(string(b)), nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("find the node's RPC API: %w", err)
		}
	}
}
