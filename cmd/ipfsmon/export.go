package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/textout"
)

// exportCommand writes the points of a store as line protocol, for another server.
func exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "write the points of a store as line protocol, to move them to another server",
		Description: "Reads the same store as `ipfsmon query`: that of --data, of the node's configuration, or --url. History and totals\n" +
			"belong into different buckets, so each is exported on its own. A point that is written twice is stored once: if a\n" +
			"move is interrupted, start it again.\n\n" +
			"Example: ipfsmon export --kind history | split -l 5000 --filter 'curl -sS --fail-with-body --data-binary @- \\\n" +
			"           -H \"Authorization: Token $(cat token)\" \"http://127.0.0.1:8086/api/v2/write?org=ipfsmon&bucket=ipfsmon/history\"'\n" +
			"         ipfsmon export --kind totals --since 720h > totals.lp",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "kind", Required: true, Usage: "`KIND` of points, history or totals"},
			&cli.DurationFlag{Name: "since", Usage: "points of the last `TIME`, such as 6h or 30d (default: all)"},
		}, targetFlags()...),
		Action: func(c *cli.Context) error {
			kind := schema.History
			switch c.String("kind") {
			case schema.History.String():
			case schema.Totals.String():
				kind = schema.Totals
			default:
				return wrongUse(c, "--kind %q: want history or totals", c.String("kind"))
			}
			ctx, stop := interruptible(c.Context)
			defer stop()
			cfg, end, err := queryTarget(ctx, c, false)
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			defer end()
			client, err := client.New(cfg)
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			defer client.Close()
			var since time.Time
			if c.IsSet("since") {
				since = time.Now().Add(-c.Duration("since"))
			}
			points, err := query.Export(ctx, client, kind, since, time.Time{}, textout.ForTerminal(os.Stdout))
			if err != nil {
				return cli.Exit(fmt.Sprintf("ipfsmon export: after %d points: %v", points, err), 1)
			}
			fmt.Fprintf(os.Stderr, "%d points\n", points)
			return nil
		},
	}
}

// targetFlags are the flags by which queryTarget finds the store.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		repoFlag(),
		&cli.StringFlag{Name: "data", Usage: "`FOLDER` with the embedded InfluxDB of a monitor"},
		&cli.StringFlag{Name: "url", Usage: "`URL` of an InfluxDB"},
		&cli.StringFlag{Name: "database", Usage: "`NAME` of the database for InfluxQL (default: " + client.DefaultDatabase + ")"},
		&cli.StringFlag{Name: "username", Usage: "`NAME` for InfluxDB 1.x"},
		&cli.StringFlag{Name: "password", Usage: "`PASSWORD` for InfluxDB 1.x; the list of processes shows it, prefer --password-file"},
		&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password"},
		&cli.StringFlag{Name: "org", Usage: "`NAME` of the organisation for InfluxDB 2"},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` for InfluxDB 2, with --org, or 3; the list of processes shows it, prefer --token-file"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token"},
	}
}
