package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/cmd/ipfsmon/setup"
	"github.com/ipfsmon/ipfsmon/internal/settings"
)

// setupCommand makes the secrets, buckets and tokens of docker-compose.yml.
func setupCommand() *cli.Command {
	dir := &cli.StringFlag{Name: "dir", Value: "/secrets", Usage: "`FOLDER` of the secrets"}
	return &cli.Command{
		Name:  "setup",
		Usage: "create the secrets, buckets and tokens of the containers' stack",
		Description: "Runs first at every start of docker-compose.yml: it creates what is missing and leaves the rest unchanged. It reads\n" +
			"IPFSMON_INFLUXDB_URL, _ORG (default ipfsmon), _BUCKET, _DATABASE and _HISTORY_RETENTION from the\n" +
			"environment, like the node. It sets up a new server, InfluxDB 2 or 3; for one that is already set up,\n" +
			"IPFSMON_INFLUXDB_TOKEN_FILE must name a file with an operator token.\n\n" +
			"Example: docker compose run --rm setup show grafana/admin-password\n" +
			"         IPFSMON_INFLUXDB_URL=http://127.0.0.1:8086 ipfsmon setup --dir secrets",
		Flags: []cli.Flag{dir,
			&cli.BoolFlag{Name: "remove-old-rollups", Usage: "remove the tasks that computed minutes and hours of history for earlier versions"},
			&cli.DurationFlag{Name: "wait", Value: 5 * time.Minute, Usage: "`TIME` to wait for InfluxDB"}},
		Subcommands: []*cli.Command{{
			Name: "show", Usage: "print a secret", ArgsUsage: "NAME",
			Description: "NAME is one of " + strings.Join(append(setup.Files, setup.AdminToken3), ", ") + ".\n\n" +
				"Example: ipfsmon setup show " + setup.GrafanaPassword,
			Flags: []cli.Flag{dir},
			Action: func(c *cli.Context) error {
				secret, err := setup.Show(c.String("dir"), c.Args().First())
				if err != nil {
					return cli.Exit("ipfsmon setup show: "+err.Error(), 1)
				}
				fmt.Println(secret)
				return nil
			},
		}},
		Action: func(c *cli.Context) error {
			cfg := setup.Config{Dir: c.String("dir"), Wait: c.Duration("wait"), RemoveOldRollups: c.Bool("remove-old-rollups"), Out: os.Stdout}
			if err := settings.FromEnv("IPFSMON_INFLUXDB", &cfg.InfluxDB); err != nil {
				return cli.Exit("ipfsmon setup: "+err.Error(), 1)
			}
			ctx, stop := interruptible(c.Context)
			defer stop()
			if err := setup.Setup(ctx, cfg); err != nil {
				return cli.Exit("ipfsmon setup: "+err.Error(), 1)
			}
			fmt.Println("The stack is set up. Passwords: docker compose run --rm setup show", setup.GrafanaPassword)
			return nil
		},
	}
}
