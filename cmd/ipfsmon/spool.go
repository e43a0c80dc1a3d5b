package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/spool"
	"github.com/ipfsmon/ipfsmon/internal/textout"
)

// spoolCommand shows and delivers the points that wait on disk for the server.
func spoolCommand() *cli.Command {
	flags := []cli.Flag{repoFlag(),
		&cli.StringFlag{Name: "dir", Usage: "`FOLDER` of the spool (default: that of the node's configuration)"},
		&cli.StringFlag{Name: "to", Value: client.MainDestination, Usage: "`NAME` of the destination, where InfluxDB.Also has more than one"}}
	return &cli.Command{
		Name:  "spool",
		Usage: "show or deliver the points that wait on disk for the server",
		Description: "Points that the server has not stored yet are in files, which survive a restart of the node (docs/durability.md).\n\n" +
			"Example: ipfsmon spool ls\n" +
			"         ipfsmon spool inspect > points.lp\n" +
			"         ipfsmon spool verify\n" +
			"         ipfsmon spool ls --to cloud\n" +
			"         ipfsmon spool drain          while no node runs",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list the segments and what waits in each", Description: "Example: ipfsmon spool ls", Flags: flags, Action: spoolAction(spoolList)},
			{Name: "inspect", Usage: "print the points that wait, as line protocol", Description: "Example: ipfsmon spool inspect", Flags: flags, Action: spoolAction(spoolInspect)},
			{Name: "verify", Usage: "read every byte; exit code 1 if any is damaged", Description: "Example: ipfsmon spool verify", Flags: flags, Action: spoolAction(spoolVerify)},
			{Name: "drain", Usage: "deliver what waits, without a node", Description: "Example: ipfsmon spool drain", Flags: flags, Action: spoolDrain},
		},
	}
}

// spoolDir returns the folder of the spool and the configuration of its server.
func spoolDir(c *cli.Context) (string, influx.Config, error) {
	m, err := findMonitor(c.String("repo"), hasSpool)
	if err != nil {
		return "", influx.Config{}, err
	}
	cfg, data, err := m.config()
	if err != nil && !c.IsSet("dir") {
		return "", cfg, err
	}
	if cfg.SpoolDir == "" {
		cfg.SpoolDir = filepath.Join(data, "spool")
	}
	if cfg, err = cfg.Destination(c.String("to")); err != nil {
		return "", cfg, err
	}
	dir := cfg.SpoolDir
	if c.IsSet("dir") {
		dir = c.String("dir")
	}
	dir, err = filepath.Abs(dir)
	return dir, cfg, err
}

func spoolAction(do func(dir string, out io.Writer) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		dir, _, err := spoolDir(c)
		if err != nil {
			return err
		}
		out := c.App.Writer
		if f, ok := out.(*os.File); ok {
			out = textout.ForTerminal(f)
		}
		return do(dir, out)
	}
}

// spoolList prints a line for each segment.
func spoolList(dir string, out io.Writer) error {
	segs, err := spool.Inspect(dir, false, nil)
	if err != nil {
		return err
	}
	t := textout.NewNumbers(out)
	t.Row("segment", "bytes", "batches", "points", "not delivered", "damaged bytes", "from", "to")
	for _, s := range segs {
		points, waiting := 0, 0
		var from, to time.Time
		for _, f := range s.Frames {
			points += f.Points
			if !f.Delivered {
				waiting += f.Points
			}
			if from.IsZero() || f.Since.Before(from) {
				from = f.Since
			}
			if f.Since.After(to) {
				to = f.Since
			}
		}
		t.Row(s.Name, s.Bytes, len(s.Frames), points, waiting, s.Lost, stamp(from), stamp(to))
	}
	return t.Flush()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// spoolInspect prints the lines that are not delivered, with a comment before
// each batch.
func spoolInspect(dir string, out io.Writer) error {
	_, err := spool.Inspect(dir, true, func(f spool.FrameInfo, lines []byte) error {
		if f.Delivered {
			return nil
		}
		if _, err := fmt.Fprintf(out, "# batch %d, %s, %d points, %s\n", f.Number, schema.Kind(f.Kind), f.Points, stamp(f.Since)); err != nil {
			return err
		}
		_, err := out.Write(lines)
		return err
	})
	return err
}

// spoolVerify reads everything.
func spoolVerify(dir string, out io.Writer) error {
	segs, err := spool.Inspect(dir, true, nil)
	if err != nil {
		return err
	}
	frames, points, damaged, lost, stretches := 0, 0, 0, int64(0), 0
	for _, s := range segs {
		for _, f := range s.Frames {
			if f.Damaged {
				damaged++
				fmt.Fprintf(out, "%s at %d: a batch of %d points is damaged\n", s.Name, f.Offset, f.Points)
				continue
			}
			frames++
			points += f.Points
		}
		if s.Holes > 0 {
			fmt.Fprintf(out, "%s: %d bytes in %d places are not batches\n", s.Name, s.Lost, s.Holes)
		}
		lost += s.Lost
		stretches += s.Holes
	}
	fmt.Fprintf(out, "%d segments, %d intact batches with %d points, %d damaged, %d bytes that are not batches\n", len(segs), frames, points, damaged, lost)
	if damaged+stretches > 0 {
		return cli.Exit("", 1)
	}
	return nil
}

// spoolDrain delivers what waits until it is interrupted.
func spoolDrain(c *cli.Context) error {
	dir, cfg, err := spoolDir(c)
	if err != nil {
		return err
	}
	if cfg.URL == "" {
		return cli.Exit("ipfsmon spool drain: no InfluxDB is configured for this node; want IPFSMON_INFLUXDB_URL, or start the node, which drains the spool into its embedded one", exitFailed)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	cfg.SpoolDir = dir
	st, err := influx.Drain(ctx, cfg, func(st influx.Stats) {
		fmt.Fprintf(os.Stderr, "%d points stored, %d to go\n", st.Stored, st.Queued)
	})
	if err != nil {
		return cli.Exit(err, 1)
	}
	fmt.Fprintln(c.App.Writer, st.Closing())
	return nil
}
