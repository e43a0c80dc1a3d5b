package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/probe/report"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// writeReport prints the table and writes the files; without dir only the table.
func writeReport(w io.Writer, dir string, results []store.Result, about map[string]any) error {
	groups := report.Groups(results)
	if err := report.Table(w, groups); err != nil {
		return err
	}
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	plotted := true
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"plot.svg", func(w io.Writer) error { return report.Plot(w, groups, "svg") }},
		{"plot.png", func(w io.Writer) error { return report.Plot(w, groups, "png") }},
		{"results.csv", func(w io.Writer) error { return report.CSV(w, results) }},
		{"results.json", func(w io.Writer) error { return report.JSON(w, results, about) }},
	} {
		var b bytes.Buffer
		if err := f.write(&b); errors.Is(err, report.ErrNothing) {
			plotted = false
			continue
		} else if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	names := "plot.svg, plot.png, results.csv, results.json"
	if !plotted {
		names = "results.csv, results.json; no plot, because nothing succeeded"
	}
	_, err := fmt.Fprintf(w, "written to %s: %s\n", dir, names)
	return err
}

func probeReportCommand() *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "print or write the results of a time range as table, plot, CSV or JSON",
		Description: "Example: ipfsmon probe report --since 24h\n" +
			"         ipfsmon probe report --from 2026-01-01T00:00:00Z --to 2026-01-08T00:00:00Z --fleets default,optprov --out /tmp/report\n" +
			"         ipfsmon probe report --sqlite probe-lab/probe.sqlite --format csv > results.csv",
		Flags: append(probeFlags(),
			&cli.DurationFlag{Name: "since", Value: 24 * time.Hour, Usage: "the last `TIME`"},
			&cli.TimestampFlag{Name: "from", Layout: time.RFC3339, Usage: "`TIME` of the first result, instead of --since"},
			&cli.TimestampFlag{Name: "to", Layout: time.RFC3339, Usage: "`TIME` after the last result (default: now)"},
			&cli.StringFlag{Name: "fleets", EnvVars: []string{"PARSEC_SCHEDULER_FLEETS"}, Usage: "`NAMES` of the fleets, separated by commas (default: all)"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` for plot.svg, plot.png, results.csv and results.json (default: none, only the table)"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT` of what is printed: table, csv, json, svg or png"},
		),
		Action: runProbeReport,
	}
}

func runProbeReport(c *cli.Context) error {
	probeLog(c)
	format := c.String("format")
	if !slices.Contains([]string{"table", "csv", "json", "svg", "png"}, format) {
		return wrongUse(c, "--format %q: want table, csv, json, svg or png", format)
	}
	to, from := time.Now(), time.Time{}
	if t := c.Timestamp("to"); t != nil {
		to = *t
	}
	if from = to.Add(-c.Duration("since")); c.Timestamp("from") != nil {
		from = *c.Timestamp("from")
	}
	if !from.Before(to) {
		return wrongUse(c, "--from %s is not before --to %s; want an earlier --from", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	var fleets []string
	if text := c.String("fleets"); text != "" {
		fleets = strings.Split(text, ",")
	}
	st, err := probeStore(c.Context, c, true)
	if err != nil {
		return err
	}
	defer st.Close()
	ctx, cancel := context.WithTimeout(c.Context, 5*time.Minute)
	defer cancel()
	results, err := st.Results(ctx, from, to, fleets)
	if err != nil {
		return err
	}
	about := map[string]any{"from": from.UTC().Format(time.RFC3339), "to": to.UTC().Format(time.RFC3339), "fleets": append([]string{}, fleets...)}
	switch format {
	case "table":
		if len(results) == 0 {
			return fmt.Errorf("probe report: no results from %s to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
		}
		return writeReport(textout.ForTerminal(os.Stdout), c.String("out"), results, about)
	case "csv":
		return report.CSV(textout.ForTerminal(os.Stdout), results)
	case "json":
		return report.JSON(textout.JSON(os.Stdout), results, about)
	}
	return report.Plot(os.Stdout, report.Groups(results), format)
}
