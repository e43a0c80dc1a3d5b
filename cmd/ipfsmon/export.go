package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/archive/answer"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/textout"
)

// exportCommand writes the points of a store as line protocol, for another server.
func exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "write the points of a store as line protocol, to move them to another server, or as Parquet",
		Description: "Reads the same store as `ipfsmon query`: that of --data, of the node's configuration, or --url. History and totals\n" +
			"belong into different buckets, so each is exported on its own. A point that is written twice is stored once: if a\n" +
			"move is interrupted, start it again. With --format parquet there is a file for each measurement in the folder of\n" +
			"--to, whose columns are time, tags and fields (docs/schema.md); an interrupted one leaves no file that is not whole.\n\n" +
			"Example: ipfsmon export --kind history | split -l 5000 --filter 'curl -sS --fail-with-body --data-binary @- \\\n" +
			"           -H \"Authorization: Token $(cat token)\" \"http://127.0.0.1:8086/api/v2/write?org=ipfsmon&bucket=ipfsmon/history\"'\n" +
			"         ipfsmon export --kind totals --since 720h > totals.lp\n" +
			"         ipfsmon export --kind totals --format parquet --to totals",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "kind", Required: true, Usage: "`KIND` of points, history or totals"},
			&cli.DurationFlag{Name: "since", Usage: "points of the last `TIME`, such as 6h or 30d (default: all)"},
			&cli.StringFlag{Name: "format", Value: "lines", Usage: "`FORMAT`, lines or parquet"},
			&cli.StringFlag{Name: "to", Usage: "`DIR` for the files of --format parquet, which must not exist or be empty"},
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
			parquet := c.String("format") == "parquet"
			switch to := c.String("to"); {
			case !parquet && c.String("format") != "lines":
				return wrongUse(c, "--format %q: want lines or parquet", c.String("format"))
			case parquet && to == "":
				return wrongUse(c, "--format parquet without --to: want a folder for the files")
			case !parquet && to != "":
				return wrongUse(c, "--to is for --format parquet; lines go to standard output")
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
			if parquet {
				files, rows, err := exportParquet(ctx, client, kind, since, c.String("to"))
				if err != nil {
					return cli.Exit(fmt.Sprintf("ipfsmon export: after %d files: %v", files, err), 1)
				}
				fmt.Fprintf(os.Stderr, "%d points in %d files in %s\n", rows, files, c.String("to"))
				return nil
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

// exportParquet writes a Parquet file for each measurement. A file has its name when it is whole.
func exportParquet(ctx context.Context, c *client.Client, kind schema.Kind, since time.Time, dir string) (files int, rows int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, 0, err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return 0, 0, errors.Join(err, fmt.Errorf("%s is not empty: want a new folder", dir))
	}
	err = query.ExportTables(ctx, c, kind, since, time.Time{}, func(name string, types map[string]string) (client.Output, error) {
		f, err := os.CreateTemp(dir, ".export-*")
		if err != nil {
			return nil, err
		}
		out, err := answer.New(f, types)
		if err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		return &exportedTable{Output: out, file: f, path: filepath.Join(dir, url.PathEscape(name)+".parquet"), files: &files, rows: &rows}, nil
	})
	if err != nil {
		for _, path := range paths.Glob(dir, ".export-*") {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return files, rows, err
}

// exportedTable is the file of one measurement.
type exportedTable struct {
	*answer.Output
	file  *os.File
	path  string
	files *int
	rows  *int64
}

func (e *exportedTable) Close() error {
	if err := errors.Join(e.Output.Close(), e.file.Sync(), e.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(e.file.Name(), e.path); err != nil {
		return err
	}
	*e.files++
	*e.rows += e.Rows()
	return nil
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
