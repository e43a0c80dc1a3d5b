package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/stream"
)

func fleetUnifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "unify",
		Usage:     "unify recordings of several monitors: match their requests and mark repeats",
		ArgsUsage: "FILE...",
		Description: "FILE is a recording (.json.gz) of ipfsmon record or of the old exporter's Rust client, a trace of ipfs-tools\n" +
			"(JSONMessage, .gz), or the folder with the recordings of one monitor. Its monitor has the name of its folder;\n" +
			"NAME=FILE sets another one. Files of one name are read one after the other, as given. The monitors get the numbers\n" +
			"0, 1, 2 ... in the order of the arguments.\n\n" +
			"Writes FOLDER/wl-<message>.csv, about 100,000 rows each, with the columns of ipfs-tools' unify-bitswap-traces; or, with\n" +
			"--format recording, a recording of all monitors without what repeats within 31 s.\n" +
			"A damaged file is read up to the damage; the others are unified, and the command fails at the end.\n\n" +
			"Example: ipfsmon fleet unify --output unified traces/de1 traces/us1\n" +
			"         ipfsmon fleet unify --gzip --output unified de=a/2026-11-20_14-00-00_UTC.json.gz us=b/2026-11-20_14-00-00_UTC.json.gz\n" +
			"         ipfsmon fleet unify --format recording --name fleet --output traces traces/de1 traces/us1",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Required: true, Usage: "`FOLDER` to write to; it is made if needed"},
			&cli.StringFlag{Name: "format", Value: "csv", Usage: "`FORMAT`: csv or recording"},
			&cli.BoolFlag{Name: "gzip", Usage: "compress the CSV files; a recording is compressed anyway"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the recording's monitor, and of its folder in FOLDER (default: fleet)"},
			&cli.DurationFlag{Name: "lateness", Value: 10 * time.Second, Usage: "`TIME` by which the events of one recording may be out of order; later ones are counted and left out"},
		},
		Action: func(c *cli.Context) error {
			u := unifying{format: c.String("format"), output: c.String("output"), gzip: c.Bool("gzip"), name: cmp.Or(c.String("name"), "fleet"),
				lateness: c.Duration("lateness"), log: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
			switch {
			case u.format != "csv" && u.format != "recording":
				return wrongUse(c, "--format %q: want csv or recording", u.format)
			case u.format == "csv" && c.IsSet("name"):
				return wrongUse(c, "--name is of a recording; want --format recording with it")
			case u.format == "recording" && u.gzip:
				return wrongUse(c, "--gzip is of CSV files; a recording is compressed anyway")
			case u.lateness > 24*time.Hour:
				return wrongUse(c, "--lateness %v: want at most 24h", u.lateness)
			}
			if err := event.CheckName(u.name); err != nil {
				return wrongUse(c, "--name %w", err)
			}
			ctx, cancel := interruptible(c.Context)
			defer cancel()
			err := u.read(c.Args().Slice())
			if err == nil {
				err = u.run(ctx)
			}
			if err != nil {
				return fmt.Errorf("fleet unify: %w", err)
			}
			return nil
		},
	}
}

// unifying is one run of the command.
type unifying struct {
	format, output, name string
	gzip                 bool
	lateness             time.Duration
	log                  io.Writer
	terminal             bool

	sources []*source
}

// source is what was recorded of one monitor.
type source struct {
	name  string
	files []string

	next   func() (*stream.Event, bool)
	newest int64 // time of what was read, ns
	lines  int   // events in the files
	bad    int   // lines that are no events
	err    error // that ended it
	broken []error
}

// read finds the files and their monitors.
func (u *unifying) read(args []string) error {
	used := map[string]bool{}
	for _, arg := range args {
		name, path := "", arg
		if _, err := os.Lstat(arg); err != nil {
			if before, after, ok := strings.Cut(arg, "="); ok {
				name, path = before, after
				if err := event.CheckName(name); err != nil {
					return fmt.Errorf("%s: a monitor's name %w", shortened(arg), err)
				}
			}
		}
		path, err := paths.Home(path)
		if err != nil {
			return err
		}
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.IsDir() {
			if files, err = stream.Recordings(path); err != nil {
				return err
			}
		}
		if name == "" {
			name = filepath.Base(filepath.Dir(absolute(files[0])))
		}
		at := slices.IndexFunc(u.sources, func(s *source) bool { return s.name == name })
		if at < 0 {
			at = len(u.sources)
			u.sources = append(u.sources, &source{name: name})
		}
		for _, f := range files {
			if used[absolute(f)] {
				return fmt.Errorf("%s is there twice; want each file once", f)
			}
			used[absolute(f)] = true
		}
		u.sources[at].files = append(u.sources[at].files, files...)
	}
	return nil
}

// events returns the events of a source's files, in their order.
func (s *source) events() iter.Seq[*stream.Event] {
	return func(yield func(*stream.Event) bool) {
		for _, file := range s.files {
			bad, err := stream.ReadRecording(file, func(e *stream.Event) error {
				s.lines++
				if !yield(e) {
					return errEnough
				}
				return nil
			})
			s.bad += bad
			if damaged := (*stream.DamagedError)(nil); errors.As(err, &damaged) {
				s.broken = append(s.broken, err)
				continue
			}
			if err != nil {
				if !errors.Is(err, errEnough) {
					s.err = err
				}
				return
			}
		}
	}
}

// readAhead is how many events of a source are read at a time.
const readAhead = 256

// run unifies. What it wrote keeps its temporary name unless it is complete.
func (u *unifying) run(ctx context.Context) error {
	names := make([]string, len(u.sources))
	for i, s := range u.sources {
		names[i] = s.name
	}
	add, done, err := u.writer(names)
	if err != nil {
		return err
	}
	var writing error
	join, err := unify.New(unify.Config{Monitors: names, Lateness: u.lateness, MaxPending: 16 << 20}, func(e *unify.Entry) {
		if writing == nil {
			writing = add(e)
		}
	})
	if err != nil {
		return err
	}
	var bar *progressbar.ProgressBar
	if u.terminal {
		bar = newBar(u.log, -1, "unifying, events:")
		defer func() { _ = bar.Finish() }() // an error affects the bar only
	}

	// The source that is behind is read next, so that all are at about one time.
	reading := slices.Clone(u.sources)
	convert := map[*source]*unify.Converter{}
	for i, s := range u.sources {
		var stop func()
		s.next, stop = iter.Pull(s.events())
		defer stop()
		convert[s] = unify.NewConverter(i)
	}
	skipped := 0
	for len(reading) > 0 {
		s := slices.MinFunc(reading, func(a, b *source) int { return cmp.Compare(a.newest, b.newest) })
		var batch []unify.Event
		n := 0
		for ; n < readAhead; n++ {
			e, ok := s.next()
			if !ok {
				reading = slices.DeleteFunc(reading, func(r *source) bool { return r == s })
				break
			}
			out, ok, err := convert[s].Event(e)
			if err != nil {
				skipped++
			} else if ok {
				batch = append(batch, out)
				s.newest = max(s.newest, out.Time)
			}
		}
		if s.err != nil {
			return s.err
		}
		join.Push(batch)
		if len(reading) > 0 {
			join.Advance(slices.MinFunc(reading, func(a, b *source) int { return cmp.Compare(a.newest, b.newest) }).newest)
		}
		if bar != nil {
			_ = bar.Add(n) // an error affects the bar only
		}
		if err := cmp.Or(writing, ctx.Err()); err != nil {
			return err
		}
	}
	join.Flush()
	if writing != nil {
		return writing
	}
	if err := done(); err != nil {
		return err
	}
	if bar != nil {
		_ = bar.Finish() // an error affects the bar only
	}
	return u.report(join.Stats(), skipped)
}

// writer opens the output.
func (u *unifying) writer(names []string) (add func(*unify.Entry) error, done func() error, err error) {
	if u.format == "csv" {
		files, err := unify.NewCSVFiles(u.output, u.gzip)
		if err != nil {
			return nil, nil, err
		}
		return files.Add, files.Close, nil
	}
	out, err := stream.NewRecorder(u.output, u.name)
	if err != nil {
		return nil, nil, err
	}
	trace := unify.NewTrace(names, out.Add)
	return trace.Add, func() error { return errors.Join(trace.Close(), out.Close()) }, nil
}

// report prints what was unified and what was left out. It returns an error that
// names the damaged files.
func (u *unifying) report(s unify.Stats, skipped int) error {
	var entries, matched, repeats uint64
	var errs []error
	lines, bad := 0, 0
	for i, m := range s.Monitors {
		entries, matched, repeats = entries+m.Entries(), matched+m.Matched, repeats+m.Duplicates
		fmt.Fprintf(u.log, "ipfsmon: monitor %d, %s: %d messages, %d requests, %d cancels, %d synthetic cancels\n", i, m.Name, m.Messages, m.Requests, m.Cancels, m.Synthetic)
		if m.Late > 0 {
			fmt.Fprintf(u.log, "ipfsmon: %s: left out %d events with %d entries, which were late by up to %v; --lateness %v keeps them\n",
				m.Name, m.Late, m.LateEntries, m.LateBy.Round(time.Millisecond), (u.lateness+m.LateBy).Truncate(time.Second)+time.Second)
		}
		if m.Overflow > 0 {
			errs = append(errs, fmt.Errorf("%s: left out %d events with %d entries, for which there was no room: want a smaller --lateness", m.Name, m.Overflow, m.OverflowEntries))
		}
		if m.Unknown > 0 {
			fmt.Fprintf(u.log, "ipfsmon: %s: left out %d entries of an unknown type or without a CID\n", m.Name, m.Unknown)
		}
		lines, bad = lines+u.sources[i].lines, bad+u.sources[i].bad
		for _, err := range u.sources[i].broken {
			errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
		}
	}
	fmt.Fprintf(u.log, "ipfsmon: %d entries in %s, %d matched, %d requests repeat one of the last 31 s\n", entries, u.output, matched, repeats)
	if n := s.Evicted + s.RefusedWants + s.RefusedLedgers + s.Forgotten; n > 0 {
		fmt.Fprintf(u.log, "ipfsmon: repeats may be unmarked: the bounds of memory were reached %d times\n", n)
	}
	if skipped+bad > 0 {
		fmt.Fprintf(u.log, "ipfsmon: skipped %d lines that are not events\n", skipped+bad)
	}
	if lines == 0 && bad > 0 {
		errs = append(errs, fmt.Errorf("none of %d lines is an event: want recordings of ipfsmon record, of the old exporter's Rust client, or of ipfs-tools (JSONMessage)", bad))
	}
	return errors.Join(errs...)
}
