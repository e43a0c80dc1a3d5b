package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/archive/sources"
	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/stream"
)

// flushEvery is how much time of a recording a kill loses at most.
const flushEvery = 5 * time.Second

func recordCommand() *cli.Command {
	return &cli.Command{
		Name:      "record",
		Usage:     "record what a monitor sees in hourly files",
		ArgsUsage: "DIR",
		Description: "Writes DIR/MONITOR/YYYY-MM-DD_HH-MM-SS_UTC.json.gz, a new file each hour, with a line of JSON for each event, in the\n" +
			"form that the old exporter's tools read: received messages and connections, unless filters or --all select\n" +
			"others. The name of an unfinished file ends in .tmp; one that a kill left is repaired at the next start.\n" +
			"Reconnects when the stream breaks; Ctrl-C exits. Of a collector (ipfsmon fleet collect) each monitor has its folder.\n\n" +
			"With --format parquet DIR is an archive (ipfsmon archive). The hour that runs is a recording in DIR/_journal, which\n" +
			"becomes Parquet files when it is over, or when the command ends; after a kill, when it starts again.\n\n" +
			"Example: ipfsmon record traces\n" +
			"         ipfsmon record --from monitor.example:8181 --ca monitor.pem --token-file token --all traces\n" +
			"         ipfsmon record --format parquet --all archive",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`ADDR` of the monitor: host:port or unix:/path (default: that of the running one, or " + defaultStream + ")"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the folder, not for a collector (default: the monitor's name, or ADDR if the server does not send it)"},
			&cli.StringFlag{Name: "format", Value: "json", Usage: "`FORMAT` of the files, json or parquet"},
			&cli.BoolFlag{Name: "all", Usage: "also record sent messages, all other kinds of events and gaps, which other tools may not read"},
			&cli.Uint64Flag{Name: "count", Usage: "exit after `N` events (0: never)"},
			&cli.BoolFlag{Name: "once", Usage: "do not reconnect when the stream breaks"},
		}, subscribeFlags()...),
		Action: func(c *cli.Context) error {
			options, err := subscribeOptions(c)
			if err != nil {
				return asUsed("record", err)
			}
			f := &options.Filter
			if !c.Bool("all") {
				if len(f.Kinds) == 0 {
					f.Kinds = []string{"message", "connection"}
				}
				if len(f.Directions) == 0 {
					f.Directions = []string{"received"}
				}
			}
			from := c.String("from")
			if from == "" {
				from = streamAddress()
			}
			if broker.IsAddress(from) {
				return wrongUse(c, "--from %s: want the address of one monitor; a broker has many", shortened(broker.Server{Address: from}.Shown()))
			}
			if info, err := os.Stat(c.Args().First()); err == nil && !info.IsDir() {
				return cli.Exit(fmt.Sprintf("ipfsmon record: %s is a file; want a folder", shortened(c.Args().First())), exitFailed)
			}
			r := recording{options: options, from: from, dir: c.Args().First(), name: c.String("name"),
				gaps: c.Bool("all"), count: c.Uint64("count"), once: c.Bool("once")}
			switch c.String("format") {
			case "json":
			case "parquet":
				r.archive, r.dir, r.gaps = r.dir, filepath.Join(r.dir, journalFolder), true
				if err := archive.Create(r.archive); err != nil {
					return err
				}
			default:
				return wrongUse(c, "--format %q: want json or parquet", c.String("format"))
			}
			ctx, cancel := interruptible(c.Context)
			defer cancel()
			return r.run(ctx)
		},
	}
}

// recording is one run of the command.
type recording struct {
	options stream.Options
	from    string
	dir     string
	archive string // its folder, to which finished files of dir are moved as Parquet; "": none
	name    string // of the folder; "": the monitor's
	gaps    bool   // also write gaps
	count   uint64 // 0: no limit
	once    bool   // do not reconnect

	mu     sync.Mutex
	of     map[string]*monitorRecording // by monitor; a collector has several
	events uint64
	moved  int64 // rows in the archive
}

// monitorRecording is the recording of one monitor.
type monitorRecording struct {
	*stream.Recorder
	monitor string // its name
}

// maxRecorded is the most monitors of one recording: twice those of a fleet.
const maxRecorded = 2 * collect.MaxMonitors

// journalFolder is where an archive has the recording of the hour that runs.
const journalFolder = "_journal"

func (r *recording) run(ctx context.Context) (err error) {
	if r.archive != "" {
		if err := r.recover(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		r.flush(ctx, cancel)
	}()
	defer func() {
		cancel(nil)
		<-flushed
		where := r.dir
		for _, out := range r.of {
			if err = errors.Join(err, out.Close()); len(r.of) == 1 {
				where = out.Dir()
			}
		}
		of := ""
		if len(r.of) > 1 {
			of = fmt.Sprintf(" of %d monitors", len(r.of))
		}
		switch {
		case len(r.of) == 0:
		case r.archive != "":
			err = errors.Join(err, r.move(context.WithoutCancel(ctx)))
			fmt.Fprintf(os.Stderr, "ipfsmon: %d events%s recorded, %d rows in %s\n", r.events, of, r.moved, r.archive)
		default:
			fmt.Fprintf(os.Stderr, "ipfsmon: %d events%s recorded in %s\n", r.events, of, where)
		}
	}()
	err = follow(ctx, r.options, r.from, r.once, r.add)
	if errors.Is(err, errEnough) {
		return nil
	}
	if why := context.Cause(ctx); err == nil && why != nil && !errors.Is(why, context.Canceled) {
		return why
	}
	return err
}

// add writes an event.
func (r *recording) add(e *stream.Event) error {
	e.Clean()
	if e.Gap != nil {
		fmt.Fprintf(os.Stderr, "ipfsmon: %d events missed: %d because this client was too slow, %d because the monitor was\n",
			e.Gap.Missed(), e.Gap.Slow, e.Gap.Bus)
		if !r.gaps {
			return nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out, err := r.recorder(cmp.Or(e.Monitor, r.from))
	if err != nil {
		return err
	}
	e.Monitor = "" // it is the name of the folder
	if err := out.Add(e); err != nil {
		return err
	}
	if e.Gap != nil { // of a collector any of its monitors may have the missing events
		for _, other := range r.of {
			if other == out {
				continue
			}
			if err := other.Add(e); err != nil {
				return err
			}
		}
	}
	if r.events++; r.events == r.count {
		return errEnough
	}
	return nil
}

// recorder returns the recorder of a monitor.
func (r *recording) recorder(monitor string) (*monitorRecording, error) {
	if out := r.of[monitor]; out != nil {
		return out, nil
	}
	name := cmp.Or(r.name, monitor)
	for other := range r.of {
		switch {
		case r.name != "":
			return nil, fmt.Errorf("--name %s: the stream has events of %s and of %s: want no --name, so that each has its own folder", shortened(r.name), shortened(other), shortened(monitor))
		case len(r.of) >= maxRecorded:
			return nil, fmt.Errorf("the stream has events of more than %d monitors", maxRecorded)
		}
	}
	out, err := stream.NewRecorder(r.dir, name)
	if err != nil {
		return nil, err
	}
	if r.of == nil {
		r.of = map[string]*monitorRecording{}
	}
	r.of[monitor] = &monitorRecording{out, name}
	if r.archive != "" {
		if err := os.WriteFile(filepath.Join(out.Dir(), monitorFileName), []byte(name), 0o600); err != nil {
			return nil, err
		}
	}
	return r.of[monitor], nil
}

// monitorFileName is the file in a folder of the journal with the monitor's name, of
// which the folder's own may have lost characters.
const monitorFileName = ".monitor"

// recover makes Parquet files of what recorders that were killed left in the journal,
// whichever monitors it is of. Folders that another recorder is at stay.
func (r *recording) recover(ctx context.Context) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		name := e.Name()
		if b, err := os.ReadFile(filepath.Join(r.dir, name, monitorFileName)); err == nil && event.CheckName(string(b)) == nil {
			name = string(b)
		}
		out, err := stream.NewRecorder(r.dir, name) // it repairs the file that was open
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err == nil {
			err = errors.Join(r.moveOf(ctx, &monitorRecording{out, name}), out.Close())
		}
		if err != nil {
			return err
		}
	}
	if r.moved > 0 {
		fmt.Fprintf(os.Stderr, "ipfsmon: %d rows in %s of a recorder that was killed\n", r.moved, r.archive)
		r.moved = 0
	}
	return nil
}

// flush flushes every few seconds; an error, such as a full disk, ends the run.
func (r *recording) flush(ctx context.Context, fail context.CancelCauseFunc) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		var err error
		for _, out := range r.of {
			err = errors.Join(err, out.Flush())
		}
		r.mu.Unlock()
		if err == nil && r.archive != "" {
			err = r.move(ctx)
		}
		if err != nil {
			fail(err)
			return
		}
	}
}

// move makes Parquet files of the finished files of the journal, and removes these.
func (r *recording) move(ctx context.Context) error {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.of))
	r.mu.Unlock()
	for _, out := range all {
		if err := r.moveOf(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// moveOf is move for one monitor.
func (r *recording) moveOf(ctx context.Context, out *monitorRecording) error {
	for _, f := range paths.Glob(out.Dir(), "*.json.gz") {
		made, err := sources.Recording(ctx, f, out.monitor, sources.Options{Dir: r.archive})
		if ctx.Err() != nil {
			return nil // the end moves it
		}
		if err != nil {
			return err
		}
		if made.Damaged != "" {
			fmt.Fprintln(os.Stderr, "ipfsmon:", made.Damaged)
			if err := os.Rename(f, f+".damaged"); err != nil {
				return err
			}
			continue
		}
		r.moved += made.Rows
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}
