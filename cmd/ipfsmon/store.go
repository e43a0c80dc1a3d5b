package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// storeCommand runs the embedded InfluxDB on its own.
func storeCommand() *cli.Command {
	return &cli.Command{
		Name:  "store",
		Usage: "run the embedded InfluxDB " + embedded.ServerVersion,
		Description: `Serves a store until it is interrupted. ` + "`ipfsmon run`" + ` starts its own; run it
alone to look at what a stopped monitor has stored, with Grafana or another program.
It listens on this machine only, and asks for a password. Two users are made at the first start, with
passwords in files of the store's folder that only its owner can read:
   ` + embedded.MonitorUser + `   can do everything: ` + "`ipfsmon run`, `ipfsmon store backup` and `ipfsmon query --write`" + ` use this one
   ` + embedded.ReaderUser + `    can read everything and change nothing: for Grafana, and ` + "`ipfsmon query`" + `
Another password: write it into the file, 16 characters or more, and start the store again.

Example:
   ipfsmon store --dir ~/.ipfs/ipfsmon/influxdb --listen 127.0.0.1:8086
   cat ~/.ipfs/ipfsmon/influxdb/` + embedded.ReaderUser + `.password
   curl -u ` + embedded.ReaderUser + `:$(cat ~/.ipfs/ipfsmon/influxdb/` + embedded.ReaderUser + `.password) 'http://127.0.0.1:8086/query?db=ipfsmon&q=SHOW+MEASUREMENTS'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Usage: "folder of the store: `DIR`/influxdb of a data folder"},
			&cli.BoolFlag{Name: "create", Usage: "create a new store if the folder has none"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8086", Usage: "loopback `ADDRESS` and port; port 0 means any free port"},
			&cli.StringFlag{Name: "max-bytes", Usage: "most data on disk, `SIZE` such as 20GiB; beyond it the oldest is deleted"},
			&cli.BoolFlag{Name: "with-parent", Hidden: true, Usage: "end when standard input ends"},
		},
		Subcommands: []*cli.Command{backupCommand(), restoreCommand()},
		Action: func(c *cli.Context) error {
			if c.String("dir") == "" {
				return wrongUse(c, "--dir is missing; want the store's folder")
			}
			if !c.Bool("create") && !c.Bool("with-parent") && !embedded.IsStore(c.String("dir")) {
				return cli.Exit(fmt.Sprintf("ipfsmon store: no store in %s; want the folder influxdb in a monitor's data folder, or --create for a new one", shortened(c.String("dir"))), exitFailed)
			}
			most := int64(0)
			if c.IsSet("max-bytes") {
				var err error
				if most, err = units.ParseBytes(c.String("max-bytes")); err != nil {
					return wrongUse(c, "--max-bytes %w", err)
				}
			}
			ctx, stop := interruptibleChild(c.Context, c.Bool("with-parent"))
			defer stop()
			err := embedded.Serve(ctx, embedded.ServerConfig{
				Dir:      c.String("dir"),
				Listen:   c.String("listen"),
				MaxBytes: most,
				Queries:  schema.RollupNames(),
				Ready:    func(addr string) { fmt.Println(embedded.ListeningLine + addr) },
			})
			if err != nil {
				return cli.Exit(err, 1)
			}
			return nil
		},
	}
}

// dataFlags are the flags that name a data folder.
func dataFlags() []cli.Flag {
	return []cli.Flag{repoFlag(), &cli.StringFlag{Name: "data", Usage: "`FOLDER` with the monitor's data (default: that of the node's configuration)"}}
}

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "write everything in a store to a file", ArgsUsage: "FILE or FOLDER",
		Description: "The store may be running, and keeps running. In a folder the file is named by the time.\n\n" +
			"Example: ipfsmon store backup --data ~/.ipfs/ipfsmon /backups/",
		Flags: dataFlags(),
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c.Context)
			defer stop()
			data, err := dataFolder(c)
			if err != nil {
				return err
			}
			name, size, err := embedded.Backup(ctx, data, c.Args().First(), schema.RollupNames())
			if err != nil {
				return cli.Exit(err, 1)
			}
			fmt.Printf("%s, %d bytes\n", name, size)
			return nil
		},
	}
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "restore a store from a backup", ArgsUsage: "FILE",
		Description: "The data folder must not have a store: move an old one away first. The monitor must not be running on it.\n\n" +
			"Example: ipfsmon store restore --data ~/.ipfs/ipfsmon /backups/ipfsmon-20260102T030405Z.zip",
		Flags: dataFlags(),
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c.Context)
			defer stop()
			data, err := dataFolder(c)
			if err != nil {
				return err
			}
			if err := embedded.Restore(ctx, data, c.Args().First()); err != nil {
				return cli.Exit(err, 1)
			}
			fmt.Println("Restored into", data)
			return nil
		},
	}
}
