package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// healthCommand checks the health of a monitor, for images that have no other
// program to do it with.
func healthCommand() *cli.Command {
	return &cli.Command{
		Name:      "health",
		Usage:     "check the health of a monitor by its HTTP API; exit code 0 if it is healthy",
		ArgsUsage: "[ADDRESS]",
		Description: "ADDRESS is that of the HTTP API, host:port, unix:/path or a URL (default: that of the running monitor, or " + defaultHTTP + ").\n\n" +
			"Example: ipfsmon health\n" +
			"         ipfsmon health --token-file token https://node.example:8432\n" +
			"         ipfsmon health --ready unix:/run/ipfsmon/http.sock      also check that it captures and that points get through\n\n" +
			"/health fails when a part of the monitor has ended: restart the monitor. /ready also fails when the node is offline, and when\n" +
			"for 30 s no points have got through to a destination or points were lost; the error says where and why.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "ready", Usage: "check /ready instead of /health"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "`TIME` to wait for the answer"},
		}, reachFlags()...),
		Action: func(c *cli.Context) error {
			address, method := "", "health"
			if c.Args().Present() {
				address = c.Args().First()
			} else {
				address = httpAddress()
			}
			if c.Bool("ready") {
				method = "ready"
			}
			to, err := reach(c)
			if err != nil {
				return fmt.Errorf("health: %w", err)
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			if err := askHealth(ctx, address, method, to); err != nil {
				return cli.Exit("ipfsmon health: "+err.Error(), 1)
			}
			return nil
		},
	}
}

// askHealth calls a method of the HTTP API at an address in the form of the
// configuration, or at a URL.
func askHealth(ctx context.Context, address, method string, to listen.To) error {
	address, to.Socket = listen.SplitAddress(address)
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/metric_plugin/v1/"+method, nil)
	if err != nil {
		return err
	}
	client := to.Client()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // with an error: what has arrived
		return fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// reachFlags are the flags of commands that send requests to a monitor.
func reachFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token that the node requires"},
		&cli.StringFlag{Name: "ca", Usage: "trust only the certificates in `FILE` (PEM)"},
	}
}

// reach reads reachFlags.
func reach(c *cli.Context) (to listen.To, err error) {
	if path := c.String("token-file"); path != "" {
		if to.Token, err = access.ReadSecret(path); err != nil {
			return to, fmt.Errorf("--token-file: %w", err)
		}
	}
	if path := c.String("ca"); path != "" {
		if to.Roots, err = listen.ReadRoots(path); err != nil {
			return to, fmt.Errorf("--ca: %w", err)
		}
	}
	return to, nil
}
