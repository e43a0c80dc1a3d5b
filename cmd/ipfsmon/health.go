package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// healthCommand checks the health of a monitor, for images that have no other
// program to do it with.
func healthCommand() *cli.Command {
	return &cli.Command{
		Name:      "health",
		Usage:     "check the health of a monitor by its HTTP API; exit code 0 if it is healthy",
		ArgsUsage: "[ADDRESS]",
		Description: "ADDRESS is that of the HTTP API, host:port or unix:/path (default: that of the running monitor, or " + defaultHTTP + ").\n\n" +
			"Example: ipfsmon health\n" +
			"         ipfsmon health --ready unix:/run/ipfsmon/http.sock      also check that it captures and that points get through\n\n" +
			"/health fails when a part of the monitor has ended: restart the monitor. /ready also fails when the node is offline, and when\n" +
			"for 30 s no points have got through to a destination or points were lost; the error says where and why.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "ready", Usage: "check /ready instead of /health"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "`TIME` to wait for the answer"},
		},
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
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			if err := askHealth(ctx, address, method); err != nil {
				return cli.Exit("ipfsmon health: "+err.Error(), 1)
			}
			return nil
		},
	}
}

// askHealth calls a method of the HTTP API at an address in the form of the
// configuration.
func askHealth(ctx context.Context, address, method string) error {
	network, host := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address, host = "unix", path, "localhost"
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/metric_plugin/v1/"+method, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
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
