package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/fleet/gateways"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
)

func fleetGatewaysCommand() *cli.Command {
	return &cli.Command{
		Name:  "gateways",
		Usage: "find the nodes behind HTTP gateways, for GatewayList",
		Description: "Puts a random block on the monitors' nodes, asks one gateway for it, and reports which peers then ask a monitor for the\n" +
			"block: nobody else knows it. Each gateway has a block of its own; all are removed at the end.\n\n" +
			"FILE of --gateways has a URL on each line, comments after #: https://gateway.example, or one with :hash in place of the\n" +
			"CID, such as https://:hash.ipfs.gateway.example. FILE of --fleet is that of `ipfsmon fleet collect`: the streams of all its\n" +
			"monitors are read, and blocks are put on the nodes of those with the key api, the URL of kubo's RPC API. Without --fleet\n" +
			"the running monitor of this machine is used.\n\n" +
			"The gateways are others' machines: all of them together get --rate requests a second, each one at most one in five\n" +
			"seconds, later if it answers Retry-After, and --tries in all. Each request names ipfsmon as its User-Agent.\n\n" +
			"Example: ipfsmon fleet gateways --gateways gateways.txt\n" +
			"         ipfsmon fleet gateways --fleet fleet.json --gateways gateways.txt --output /etc/ipfsmon/gateways.list\n" +
			"         ipfsmon fleet gateways --gateways gateways.txt --format json | jq '.gateways[] | {url, served, peers: [.peers[].peer]}'\n\n" +
			"Then, in the configuration of each monitor: \"GatewayList\": \"/etc/ipfsmon/gateways.list\".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "gateways", Required: true, Usage: "`FILE` with the URLs of the gateways"},
			&cli.StringFlag{Name: "fleet", Usage: "JSON `FILE` with the monitors (default: the running monitor of this machine)"},
			&cli.Float64Flag{Name: "rate", Value: gateways.DefaultRate, Usage: "`NUMBER` of requests a second to all gateways together, at most 10"},
			&cli.IntFlag{Name: "tries", Value: gateways.DefaultTries, Usage: "most requests to one gateway: `NUMBER`"},
			&cli.DurationFlag{Name: "wait", Value: gateways.DefaultWait, Usage: "`TIME` that one gateway has"},
			&cli.StringFlag{Name: "format", Value: "list", Usage: "`FORMAT`: list (a file for GatewayList) or json"},
			&cli.StringFlag{Name: "output", Usage: "`FILE` to write to, whole or not at all (default: standard output)"},
		},
		Action: runFleetGateways,
	}
}

func runFleetGateways(c *cli.Context) error {
	format := c.String("format")
	if format != "list" && format != "json" {
		return wrongUse(c, "--format %q: want list or json", format)
	}
	text, err := os.ReadFile(c.String("gateways"))
	if err != nil {
		return fmt.Errorf("--gateways: %w", err)
	}
	cfg := gateways.Config{Rate: c.Float64("rate"), Tries: c.Int("tries"), Wait: c.Duration("wait"), Agent: "ipfsmon/" + monitor.Version + " (finds the nodes behind gateways; https://github.com/ipfsmon/ipfsmon)"}
	if cfg.Rate == 0 || cfg.Tries == 0 || cfg.Wait == 0 {
		return wrongUse(c, "--rate, --tries and --wait: want more than 0")
	}
	if cfg.Gateways, err = gateways.Parse(string(text)); err != nil {
		return fmt.Errorf("--gateways %s: %w", c.String("gateways"), err)
	}
	if path := c.String("fleet"); path != "" {
		file, err := readFleetFile(path)
		if err != nil {
			return err
		}
		if cfg.Monitors, err = gateways.Of(file.Config); err != nil {
			return fmt.Errorf("--fleet %s: %w", path, err)
		}
	} else if cfg.Monitors, err = gatewaysHere(); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	var mu sync.Mutex
	cfg.Each = func(g gateways.Gateway) {
		how := "served the block"
		if !g.Served {
			how = g.Error
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stderr, "ipfsmon: %s: %s, after %d requests\n", textout.Line(g.URL, 200), textout.Line(how, 300), g.Requests)
	}
	report, err := gateways.Run(ctx, cfg)
	if err != nil {
		return fmt.Errorf("fleet gateways: %w", err)
	}
	for _, m := range report.Monitors {
		if m.Error != "" {
			fmt.Fprintf(os.Stderr, "ipfsmon: the monitor %s was not read: %s\n", textout.Line(m.Name, 128), textout.Line(m.Error, 300))
		}
	}
	return writeGateways(ctx, report, format, c.String("output"), os.Stdout)
}

// writeGateways writes a report to a file or, without one, to out. What was found until
// an interrupt is only a part: it replaces no file.
func writeGateways(ctx context.Context, report *gateways.Report, format, path string, out io.Writer) (err error) {
	if format == "list" && report.Found() == 0 {
		return errors.New("fleet gateways: no peer asked for any of the blocks, so there is no list: want monitors that the gateways' nodes find or are connected to; --format json has the details")
	}
	var b bytes.Buffer
	if format == "list" {
		err = report.WriteList(&b)
	} else {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	}
	if err != nil {
		return err
	}
	switch {
	case path == "":
		if _, err := out.Write(b.Bytes()); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("fleet gateways: interrupted: this is what was found until then")
		}
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("fleet gateways: interrupted: what was found is only a part, and %s stays as it was", shortened(path))
	}
	return replaceFile(path, b.Bytes())
}

// gatewaysHere returns the running monitor of this machine and its node.
func gatewaysHere() ([]gateways.Monitor, error) {
	m, err := findMonitor("", nil)
	if err != nil {
		return nil, err
	}
	if m.running == nil || len(m.running.Stream) == 0 {
		return nil, errors.New("fleet gateways: no monitor with an event stream is running here: want one, or --fleet")
	}
	api, err := os.ReadFile(apiFile(m.repo))
	if err != nil {
		return nil, fmt.Errorf("fleet gateways: find the node's RPC API: %w; want the monitor of a kubo node, or --fleet", err)
	}
	rpc, err := rpcURL(strings.TrimSpace(string(api)))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(rpc)
	if err != nil {
		return nil, err
	}
	return []gateways.Monitor{{Name: m.running.Monitor, Stream: m.running.Stream[0], API: u}}, nil
}

// replaceFile writes a file whole or not at all; who may read it stays as it was. A link
// stays a link; a device or a pipe, which is no file to replace, is written to.
func replaceFile(path string, content []byte) error {
	mode := os.FileMode(0o644)
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return fmt.Errorf("--output: %s is a folder: want a file", path)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		_, err = f.Write(content)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		return nil
	case err == nil:
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer os.Remove(f.Name()) // no effect after the rename
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}
