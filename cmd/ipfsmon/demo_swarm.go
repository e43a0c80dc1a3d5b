package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/demo"
)

// demoSwarmCommand is the swarm of the demo, which `ipfsmon demo` starts as a
// child process. It ends when its standard input is closed, so that it never
// outlives its parent, not even a killed one.
func demoSwarmCommand() *cli.Command {
	return &cli.Command{
		Name:   "demo-swarm",
		Usage:  "run the swarm around the demo's node; ends when its standard input is closed",
		Hidden: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "api", Required: true, Usage: "RPC API of the monitored node, `ADDRESS` on loopback"},
			&cli.IntFlag{Name: "peers", Value: demo.DefaultPeers, Usage: "`NUMBER` of other nodes"},
			&cli.Float64Flag{Name: "rate", Value: demo.DefaultRate, Usage: "`NUMBER` of operations per second"},
			&cli.DurationFlag{Name: "duration", Usage: "`TIME` after which it ends, 0 for never"},
			&cli.Int64Flag{Name: "seed", Usage: "`NUMBER`: seed of identities, contents and decisions"},
		},
		Description: "Example: ipfsmon demo-swarm --api /ip4/127.0.0.1/tcp/5001 --duration 30s",
		Action: func(c *cli.Context) error {
			// quic-go would print advice about buffers that loopback does not need.
			os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
			ctx, stop := interruptibleChild(c.Context, true)
			defer stop()
			o := demoOptions(c)
			if o.API == "" {
				return errors.New("demo-swarm: --api is empty: want an address on loopback")
			}
			o.Out = os.Stdout
			return demo.Run(ctx, o)
		},
	}
}

// demoOptions reads the flags that both demo commands have, and --api if the
// command has it.
func demoOptions(c *cli.Context) demo.Options {
	return demo.Options{
		Peers:    c.Int("peers"),
		Rate:     c.Float64("rate"),
		Duration: c.Duration("duration"),
		Seed:     c.Int64("seed"),
		API:      c.String("api"),
	}
}
