package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/archive/sources"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/privacy"
	"github.com/ipfsmon/ipfsmon/stream"
)

// archiveCommand makes and looks after archives: traces in Parquet files.
func archiveCommand() *cli.Command {
	return &cli.Command{
		Name:  "archive",
		Usage: "keep traces in Parquet files, and publish them",
		Description: "An archive is a folder of Parquet files by table, monitor, day and hour, which DuckDB, pandas, ClickHouse, Spark and\n" +
			"R read (docs/archive.md, docs/research.md).\n\n" +
			"Example: ipfsmon record --format parquet archive                    from a running monitor, hour by hour\n" +
			"         ipfsmon archive make --from traces/de1 archive             from a recording\n" +
			"         ipfsmon archive make --store --since 7d archive            from the history of the store\n" +
			"         ipfsmon archive info archive\n" +
			"         ipfsmon archive publish --to public --licence CC-BY-4.0 archive",
		Subcommands: []*cli.Command{
			{
				Name: "make", Usage: "add recordings, or the history of a store", ArgsUsage: "ARCHIVE",
				Description: "A recording is the folder of one monitor, the folder above with several, or a file, in any form that replay reads: of\n" +
					"ipfsmon record, also of a collector's stream, of the old\n" +
					"exporter's Rust client, or the older JSONMessage of ipfs-tools. What the archive has already is left out, so that the\n" +
					"command can be repeated. --store reads the same store as ipfsmon query, in whole hours, and not the one that runs.\n\n" +
					"Example: ipfsmon archive make --from traces/de1 --from traces/us1 archive\n" +
					"         ipfsmon archive make --from old/2021-04-30_14-00-00_UTC.json.gz --name us1 archive\n" +
					"         ipfsmon archive make --store --since 7d archive\n" +
					"         ipfsmon archive make --unified unified archive",
				Flags: append([]cli.Flag{
					&cli.StringSliceFlag{Name: "from", Usage: "`DIR` of a monitor's recording, or a file of one; may be given several times"},
					&cli.StringSliceFlag{Name: "unified", Usage: "`DIR` with the CSV files of a unified trace (ipfsmon fleet unify), or one of them"},
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the monitor of the recordings (default: that of the folder)"},
					&cli.BoolFlag{Name: "store", Usage: "the history of the store"},
					&cli.StringFlag{Name: "since", Usage: "of a store: the last `TIME`, such as 6h or 30d (default: all)"},
					&cli.BoolFlag{Name: "binary-cids", Usage: "fill the columns cid_bytes: CIDs also in binary"},
				}, targetFlags()...),
				Action: archiveMake,
			},
			{
				Name: "info", Usage: "show what an archive has", ArgsUsage: "ARCHIVE", Description: "Example: ipfsmon archive info archive\n" +
					"         ipfsmon archive info --checksums archive > files",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "checksums", Usage: "list all files instead, with the first 16 digits of their SHA-256"}},
				Action: archiveInfo,
			},
			{
				Name: "verify", Usage: "read every byte; exit code 1 if anything is wrong", ArgsUsage: "ARCHIVE",
				Description: "Example: ipfsmon archive verify archive", Action: archiveVerify,
			},
			{
				Name: "merge", Usage: "merge the files of each hour into one", ArgsUsage: "ARCHIVE",
				Description: "Late files and those of several sources become one file for each table, monitor and hour. An interrupted merge loses\n" +
					"nothing; start it again.\n\nExample: ipfsmon archive merge archive",
				Action: archiveMerge,
			},
			{
				Name: "publish", Usage: "write a copy that may be given away: pseudonyms, no addresses", ArgsUsage: "ARCHIVE",
				Description: "Peers, CIDs and connections get pseudonyms with a key of the publication's own, addresses are cut to networks, texts of\n" +
					"peers that name somebody are withheld. The copy is then read and compared with all names of the trace; it appears only\n" +
					"if nothing of these is in it (docs/archive.md says what this cannot hide).\n\n" +
					"Example: ipfsmon archive publish --to public --licence CC-BY-4.0 archive\n" +
					"         ipfsmon archive publish --to public-2 --licence CC-BY-4.0 --key trace.key archive     as in another part",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "to", Required: true, Usage: "`DIR` of the copy, which must not exist"},
					&cli.StringFlag{Name: "licence", Required: true, Usage: "`LICENCE` for the README, such as CC-BY-4.0"},
					&cli.StringFlag{Name: "title", Usage: "`TITLE` of the README"},
					&cli.StringFlag{Name: "key", Usage: "`FILE` with the key, made if missing: later parts then have the same pseudonyms (default: a key that is forgotten)"},
				},
				Action: archivePublish,
			},
		},
	}
}

// archiveBars returns the progress bars of an archive's commands.
func archiveBars() *bars { return newBars(os.Stderr, term.IsTerminal(int(os.Stderr.Fd()))) }

// monitorFile is a file of a recording, and the name of its monitor.
type monitorFile struct{ path, monitor string }

// recordings lists the files of recordings.
func recordings(from []string, name string) (out []monitorFile, err error) {
	for _, at := range from {
		files := []string{at}
		info, err := os.Stat(at)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			if files, err = recordedFiles(at, name); err != nil {
				return nil, err
			}
		}
		for _, f := range files {
			monitor := name
			if monitor == "" {
				monitor = filepath.Base(filepath.Dir(absolute(f)))
			}
			out = append(out, monitorFile{f, monitor})
		}
	}
	return out, nil
}

// recordedFiles lists the files of a folder: of one monitor, or, if name is not given, of several.
func recordedFiles(dir, name string) (files []string, err error) {
	if files, err = stream.Recordings(dir); err == nil || name != "" {
		return files, err
	}
	monitors, of := stream.RecordedMonitors(dir)
	if of != nil || len(monitors) < 2 {
		return nil, err
	}
	for _, m := range monitors {
		of, err := stream.Recordings(filepath.Join(dir, m))
		if err != nil {
			return nil, err
		}
		files = append(files, of...)
	}
	return files, nil
}

func archiveMake(c *cli.Context) error {
	from, store := c.StringSlice("from"), c.Bool("store")
	if len(from)+len(c.StringSlice("unified")) == 0 && !store {
		return wrongUse(c, "nothing to read; want --from DIR of a recording, --unified DIR, or --store")
	}
	if !store {
		for _, flag := range append([]string{"since"}, flagNames(targetFlags())...) {
			if c.IsSet(flag) {
				return wrongUse(c, "--%s is of a store; want --store too", flag)
			}
		}
	}
	var since time.Time
	if s := c.String("since"); s != "" {
		d, err := units.ParseDuration(s)
		if err != nil {
			return wrongUse(c, "--since %w", err)
		}
		since = time.Now().Add(-d)
	}
	files, err := recordings(from, c.String("name"))
	if err != nil {
		return fmt.Errorf("archive make: %w", err)
	}
	traces, err := unifiedFiles(c.StringSlice("unified"))
	if err != nil {
		return fmt.Errorf("archive make: %w", err)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	m := archiveMaking{dir: c.Args().First(), bars: archiveBars(), log: os.Stderr, options: sources.Options{Dir: c.Args().First(), BinaryCIDs: c.Bool("binary-cids")}}
	defer m.bars.end()
	if err := archive.Create(m.dir); err != nil {
		return err
	}
	if err := m.recordings(ctx, files); err != nil {
		return fmt.Errorf("archive make: %w", err)
	}
	if err := m.unified(ctx, traces); err != nil {
		return fmt.Errorf("archive make: %w", err)
	}
	if store {
		cfg, end, err := queryTarget(ctx, c, false)
		if err != nil {
			return fmt.Errorf("archive make: %w", err)
		}
		defer end()
		server, err := client.New(cfg)
		if err != nil {
			return fmt.Errorf("archive make: %w", err)
		}
		defer server.Close()
		if err := m.store(ctx, server, since); err != nil {
			return fmt.Errorf("archive make: %w", err)
		}
	}
	m.bars.end()
	fmt.Fprintf(m.log, "ipfsmon: %d rows of %d sources added to %s", m.rows, m.made, m.dir)
	if m.before > 0 {
		fmt.Fprintf(m.log, "; %d sources were there already", m.before)
	}
	fmt.Fprintln(m.log)
	if m.made+m.before == 0 {
		return errors.New("archive make: there is nothing in what was given")
	}
	if m.damaged > 0 {
		return fmt.Errorf("archive make: %d files are damaged: what comes after the damage is missing", m.damaged)
	}
	return nil
}

// unifiedFiles lists the files of unified traces.
func unifiedFiles(from []string) (out []string, err error) {
	for _, at := range from {
		info, err := os.Stat(at)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, at)
			continue
		}
		n := len(out)
		for _, pattern := range []string{"*.csv", "*.csv.gz"} {
			out = append(out, paths.Glob(at, pattern)...)
		}
		if len(out) == n {
			return nil, fmt.Errorf("no *.csv or *.csv.gz in %s", at)
		}
	}
	return out, nil
}

func flagNames(flags []cli.Flag) (out []string) {
	for _, f := range flags {
		out = append(out, f.Names()[0])
	}
	return out
}

// archiveMaking is one run of archive make.
type archiveMaking struct {
	dir          string
	options      sources.Options
	bars         *bars
	log          io.Writer
	rows         int64
	made, before int
	damaged      int // recordings and traces that could not be read to their end
}

func (m *archiveMaking) result(r sources.Result) {
	switch {
	case r.Before:
		m.before++
	case r.Rows > 0:
		m.made++
		m.rows += r.Rows
	}
	if r.Damaged != "" || r.Skipped > 0 {
		m.bars.end()
	}
	if r.Damaged != "" {
		m.damaged++
		fmt.Fprintf(m.log, "ipfsmon: %s; what comes before is in the archive\n", textout.Line(r.Damaged, 512))
	}
	if r.Skipped > 0 {
		fmt.Fprintf(m.log, "ipfsmon: %s: skipped %d lines or points that are not events\n", textout.Line(r.Name, 512), r.Skipped)
	}
}

func (m *archiveMaking) recordings(ctx context.Context, files []monitorFile) error {
	for i, f := range files {
		m.bars.step("recordings")(i, len(files))
		r, err := sources.Recording(ctx, f.path, f.monitor, m.options)
		if err != nil {
			return err
		}
		m.result(r)
		m.bars.step("recordings")(i+1, len(files))
	}
	return nil
}

func (m *archiveMaking) unified(ctx context.Context, files []string) error {
	for i, f := range files {
		m.bars.step("unified traces")(i, len(files))
		r, err := sources.Unified(ctx, f, m.options)
		if err != nil {
			return err
		}
		m.result(r)
		m.bars.step("unified traces")(i+1, len(files))
	}
	return nil
}

func (m *archiveMaking) store(ctx context.Context, server *client.Client, since time.Time) error {
	s := sources.NewStore(server, m.options)
	hours, err := s.Hours(ctx, since, time.Now())
	if err != nil {
		return err
	}
	for i, h := range hours {
		m.bars.step("hours of the store")(i, len(hours))
		r, err := s.Hour(ctx, h)
		if err != nil {
			return err
		}
		m.result(r)
		m.bars.step("hours of the store")(i+1, len(hours))
	}
	if len(hours) == 0 {
		m.bars.end()
		fmt.Fprintln(m.log, "ipfsmon: the store has no hour that is over")
	}
	return nil
}

func archiveInfo(c *cli.Context) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	b := archiveBars()
	info, err := archive.Look(ctx, c.Args().First(), b.step("files"))
	b.end()
	if err != nil {
		return fmt.Errorf("archive info: %w", err)
	}
	out := textout.ForTerminal(os.Stdout)
	if c.Bool("checksums") {
		for _, f := range info.Sums {
			fmt.Fprintf(out, "%s  %s\n", f.Sum, f.Path)
		}
		return nil
	}
	printInfo(out, info)
	if len(info.Damaged) > 0 {
		return fmt.Errorf("archive info: %d files are damaged; ipfsmon archive verify names what is wrong", len(info.Damaged))
	}
	return nil
}

func printInfo(out io.Writer, info *archive.Info) {
	const day = "2006-01-02 15:04:05"
	span := func(from, to time.Time) string {
		if from.IsZero() {
			return "nothing"
		}
		return from.Format(day) + " to " + to.Format(day) + " UTC"
	}
	fmt.Fprintf(out, "%s, %d files, %s\n\n", span(info.First, info.Last), info.Files, humanize.IBytes(uint64(info.Bytes)))
	t := textout.NewTable(out)
	t.Row("table", "rows", "size", "bytes a row")
	for _, table := range archive.Tables() {
		if n := info.Rows[table.Name]; n > 0 {
			t.Row(table.Name, n, humanize.IBytes(uint64(info.Sizes[table.Name])), fmt.Sprintf("%.1f", float64(info.Sizes[table.Name])/float64(n)))
		}
	}
	_ = t.Flush() // an error of the terminal comes again below
	for _, m := range info.Monitors {
		fmt.Fprintf(out, "\n%s: %s, %d hours, %d messages, %d wants\n", textout.Line(m.Name, 128), span(m.First, m.Last), m.Hours, m.Rows["messages"], m.Rows["wants"])
		for _, h := range m.Missing {
			fmt.Fprintf(out, "  nothing from %s to %s UTC\n", h.From.Format(day), h.To.Add(time.Hour).Format(day))
		}
		if m.Gaps > 0 {
			fmt.Fprintf(out, "  %d gaps, at most %d events missed\n", m.Gaps, m.Missed)
		}
	}
	for _, part := range []struct {
		what  string
		paths []string
	}{{"not finished, or left by a writer that was killed", info.Open}, {"merged into others, and to be removed by archive merge", info.Leftover}, {"not of an archive", info.Foreign}} {
		for _, path := range part.paths {
			fmt.Fprintf(out, "%s: %s\n", part.what, textout.Line(path, 512))
		}
	}
	for _, err := range info.Damaged {
		fmt.Fprintln(out, textout.Line(err.Error(), 512))
	}
}

func archiveVerify(c *cli.Context) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	b := archiveBars()
	files, wrong, err := archive.Verify(ctx, c.Args().First(), b.step("files"))
	b.end()
	if err != nil {
		return fmt.Errorf("archive verify: %w", err)
	}
	for _, err := range wrong {
		fmt.Println(textout.Line(err.Error(), 512))
	}
	fmt.Printf("%d files read, %d faults\n", files, len(wrong))
	if len(wrong) > 0 {
		return cli.Exit("", exitFailed)
	}
	return nil
}

func archiveMerge(c *cli.Context) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	b := archiveBars()
	m, err := archive.Merge(ctx, c.Args().First(), b.step("files"))
	b.end()
	for _, path := range m.Removed {
		fmt.Println("removed, left by a writer or a merge that was killed:", textout.Line(path, 512))
	}
	for _, err := range m.Damaged {
		fmt.Println(textout.Line(err.Error(), 512))
	}
	if err != nil {
		return fmt.Errorf("archive merge: %w", err)
	}
	fmt.Printf("%d files became %d, %s\n", m.Before, m.Partitions, saved(m.Bytes))
	if len(m.Damaged) > 0 {
		return cli.Exit(fmt.Sprintf("ipfsmon archive merge: %d damaged files stay as they are", len(m.Damaged)), exitFailed)
	}
	return nil
}

func saved(bytes int64) string {
	if bytes < 0 {
		return humanize.IBytes(uint64(-bytes)) + " more"
	}
	return humanize.IBytes(uint64(bytes)) + " less"
}

func archivePublish(c *cli.Context) error {
	key := privacy.NewPublicationKey()
	if file := c.String("key"); file != "" {
		var err error
		if key, err = privacy.OpenPublicationKey(file); err != nil {
			return fmt.Errorf("archive publish: %w", err)
		}
	}
	if strings.TrimSpace(c.String("licence")) == "" {
		return wrongUse(c, `--licence "": want a licence, such as CC-BY-4.0`)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	b := archiveBars()
	defer b.end()
	left := 0
	p, err := archive.Publish(ctx, c.Args().First(), archive.Publication{To: c.String("to"), Key: key, Licence: c.String("licence"), Title: c.String("title"),
		Version: monitor.Version, Progress: func(part string, done, total int) { b.step(part)(done, total) }}, func(err error) {
		b.end()
		left++
		fmt.Fprintln(os.Stderr, "ipfsmon:", textout.Line(err.Error(), 512)+"; left out")
	})
	b.end()
	if err != nil {
		return fmt.Errorf("archive publish: %w", err)
	}
	fmt.Printf("%d rows published in %s: %d texts compared with %d names and addresses of the trace, none of which is in it; %d texts of peers withheld\n",
		p.Rows, c.String("to"), p.Checked, p.Names, p.Withheld)
	if left > 0 {
		return cli.Exit(fmt.Sprintf("ipfsmon archive publish: %d files or rows were left out", left), exitFailed)
	}
	return nil
}
