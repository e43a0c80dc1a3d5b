package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/delivery"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/stream"
)

func replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "replay a recording to subscribers or to InfluxDB",
		ArgsUsage: "DIR",
		Description: "DIR is the folder of one monitor, written by ipfsmon record or a client of the old exporter, or an archive. Without --influxdb the\n" +
			"recording is served like a monitor's stream, starting with the first subscriber, until all is sent. With --influxdb\n" +
			"it is written there, with its original times, as fast as the server accepts it; the command fails if the server\n" +
			"accepts nothing for 30 s. The server drops points that are older than the retention of history. Credentials are\n" +
			"those of ipfsmon run, such as IPFSMON_INFLUXDB_TOKEN_FILE.\n\n" +
			"Example: ipfsmon replay traces/de1\n" +
			"         ipfsmon replay --speed 60 --listen 127.0.0.1:9000 traces/de1\n" +
			"         IPFSMON_INFLUXDB_HISTORY_RETENTION=0s ipfsmon replay --influxdb http://influx.example:8086 traces/de1\n" +
			"         IPFSMON_INFLUXDB_USERNAME=monitor IPFSMON_INFLUXDB_PASSWORD_FILE=~/.ipfs/ipfsmon/influxdb/monitor.password \\\n" +
			"           ipfsmon replay --influxdb http://127.0.0.1:8086 traces/de1          into the embedded store",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "speed", Usage: "replay `N` times as fast as recorded, or max (default: 1 for subscribers, max for InfluxDB)"},
			&cli.StringSliceFlag{Name: "listen", Usage: "`ADDR` to serve the stream on: host:port or unix:/path (default: " + defaultStream + ")"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait for the first subscriber"},
			&cli.StringFlag{Name: "influxdb", Usage: "`URL` of an InfluxDB to write to, instead of serving"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the monitor (default: that of the folder, or the archive's only one)"},
		},
		Action: func(c *cli.Context) error {
			r := replay{name: c.String("name"), listen: c.StringSlice("listen"), wait: !c.Bool("no-wait"), influx: c.String("influxdb"), log: os.Stderr}
			speed := c.String("speed")
			if speed == "" && r.influx == "" {
				speed = "1"
			}
			if speed != "" && speed != "max" {
				n, err := strconv.ParseFloat(speed, 64)
				if err != nil || !(n > 0 && n <= 1e9) {
					return wrongUse(c, "--speed %q: want a number above 0, or max", speed)
				}
				r.pace.Speed = n
			}
			if len(r.listen) == 0 {
				r.listen = []string{defaultStream}
			}
			if err := r.open(c.Args().First()); err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			ctx, cancel := interruptible(c.Context)
			defer cancel()
			if err := r.run(ctx); err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			return nil
		},
	}
}

// open finds the files of a recording, or an archive with one monitor, or with that of
// --name.
func (r *replay) open(dir string) error {
	if archive.Is(dir) {
		a, err := archive.Open(dir)
		if err != nil {
			return err
		}
		all := a.Monitors()
		switch {
		case r.name == "" && len(all) == 1:
			r.name = all[0]
		case !slices.Contains(all, r.name):
			return fmt.Errorf("%s has the monitors %s; want --name with one of them", dir, strings.Join(all, ", "))
		}
		a.Damaged = func(err error) {
			r.damaged++
			fmt.Fprintf(r.log, "ipfsmon: %v; left out\n", shown(err))
		}
		r.archive = a
		return nil
	}
	var err error
	if r.files, err = stream.Recordings(dir); err == nil && r.name == "" {
		r.name = filepath.Base(filepath.Dir(absolute(r.files[0])))
	}
	return err
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// replay is one run of the command.
type replay struct {
	files   []string
	archive *archive.Archive // instead of files, if not nil
	name    string
	pace    stream.Pace
	listen  []string
	wait    bool
	influx  string // URL; "": serve the stream
	log     io.Writer

	addrs   func([]string) // called with the addresses that it listens on, if not nil
	events  int
	damaged int // files that could not be read to their end
}

// sink is where a recording goes.
type sink struct {
	run   func(context.Context, *bus.Reader) error
	ready func(context.Context) error // waits for the first receiver; may be nil
	busy  func() bool                 // its queue is full enough for now
	rest  func(context.Context) error // waits until it has delivered; may be nil
	stuck func() error                // why waiting for it is useless; may be nil
	words func() string               // the result, after run; may be nil
}

func (r *replay) run(ctx context.Context) error {
	b := bus.New(bus.Config{})
	var to sink
	var err error
	if r.influx != "" {
		to, err = r.toInflux()
	} else {
		var server *stream.Server
		if server, err = r.toStream(&to); err == nil {
			defer server.Close()
		}
	}
	if err != nil {
		return err
	}
	reader := b.Subscribe("replay")
	b.Live()
	ended := make(chan error, 1)
	go func() { ended <- to.run(ctx, reader) }()

	if to.ready != nil {
		err = to.ready(ctx)
	}
	if err == nil {
		err = r.feed(ctx, b, to)
	}
	if err == nil && to.rest != nil {
		err = to.rest(ctx)
	}
	b.Close()
	ran := <-ended
	err = errors.Join(err, ran)
	fmt.Fprintf(r.log, "ipfsmon: %d events replayed\n", r.events)
	if to.words != nil {
		fmt.Fprintf(r.log, "ipfsmon: %s\n", to.words())
	}
	switch {
	case err == nil && r.damaged > 0:
		return fmt.Errorf("%d files or rows are damaged: not all of the recording was replayed", r.damaged)
	case !errors.Is(err, context.Canceled):
		return err
	case r.influx == "":
		return nil // Ctrl-C
	}
	return errors.Join(fmt.Errorf("interrupted after %d events: the rest of the recording is not written", r.events), ran)
}

// feed publishes the recording, or the archive, at its pace.
func (r *replay) feed(ctx context.Context, b *bus.Bus, to sink) error {
	if r.archive != nil {
		return r.archive.Read(ctx, r.name, func(item archive.Item) error {
			if item.Event == nil {
				return nil // a gap
			}
			return r.publish(ctx, b, to, item.Event.Clone())
		})
	}
	skipped, strange := 0, 0
	for i, file := range r.files {
		bad, err := stream.ReadRecording(file, func(e *stream.Event) error {
			full, err := e.ToEvent()
			if err != nil {
				skipped++ // a gap, or an invalid event
				return nil
			}
			return r.publish(ctx, b, to, full)
		})
		strange += bad
		if damaged := (*stream.DamagedError)(nil); errors.As(err, &damaged) {
			r.damaged++
			fmt.Fprintf(r.log, "ipfsmon: %v; continuing after it (file %d of %d)\n", shown(err), i+1, len(r.files))
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if skipped+strange > 0 {
		fmt.Fprintf(r.log, "ipfsmon: skipped %d lines that are gaps or not events\n", skipped+strange)
	}
	if r.events == 0 && skipped+strange > 0 {
		return fmt.Errorf("none of %d lines is an event: want a recording of ipfsmon record, of the old exporter's Rust client, or of ipfs-tools (JSONMessage)", skipped+strange)
	}
	return nil
}

// publish publishes an event when it is due.
func (r *replay) publish(ctx context.Context, b *bus.Bus, to sink, e *event.Event) error {
	if err := r.pace.Wait(ctx, e.At()); err != nil {
		return err
	}
	if r.events++; r.events%64 == 0 {
		for to.busy() || b.Stats().Held > 4096 {
			if err := backoff.Sleep(ctx, time.Millisecond); err != nil {
				return err
			}
			if to.stuck != nil {
				if err := to.stuck(); err != nil {
					return err
				}
			}
		}
	}
	b.Publish(e)
	return nil
}

// toStream serves the recording like a monitor's stream.
func (r *replay) toStream(to *sink) (*stream.Server, error) {
	server, err := stream.New(stream.Config{ListenAddresses: r.listen, Monitor: r.name})
	if err != nil {
		return nil, err
	}
	if err := server.Listen(); err != nil {
		server.Close()
		return nil, err
	}
	var addrs []string
	for _, a := range server.Addrs() {
		addrs = append(addrs, a.String())
	}
	fmt.Fprintln(r.log, "ipfsmon: replaying on", addrs)
	if r.addrs != nil {
		r.addrs(addrs)
	}
	to.run = server.Run
	to.busy = func() bool {
		st := server.Stats()
		for _, s := range st.Subscribers {
			if s.QueuedBytes > s.QueueLimit/2 {
				return true // the server disconnects one that reads nothing
			}
		}
		return false
	}
	to.ready = func(ctx context.Context) error {
		for r.wait && len(server.Stats().Subscribers) == 0 {
			if err := backoff.Sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}
	return server, nil
}

// toInflux writes the recording to an InfluxDB.
func (r *replay) toInflux() (to sink, err error) {
	var cfg influx.Config
	if err := settings.FromEnv("IPFSMON_INFLUXDB", &cfg); err != nil {
		return to, err
	}
	cfg.URL, cfg.Log = r.influx, slog.Default()
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = client.DefaultQueueBytes
	}
	s, err := influx.New(cfg, r.name)
	if err != nil {
		return to, err
	}
	var stuck delivery.Stuck
	return sink{
		run:   s.Run,
		stuck: func() error { return stuck.Check(s) },
		words: func() string { return s.Stats().Closing() },
		busy:  func() bool { return s.Stats().QueueBytes > uint64(cfg.QueueBytes)/2 },
		rest: func(ctx context.Context) error {
			for s.Stats().Events < uint64(r.events) || s.Stats().Queued > 0 {
				if err := backoff.Sleep(ctx, time.Millisecond); err != nil {
					st := s.Stats()
					return fmt.Errorf("%d points were not stored: %s", st.Queued, st.LastError)
				}
				if err := stuck.Check(s); err != nil {
					return err
				}
			}
			st := s.Stats()
			if st.Rejected+st.Dropped > 0 {
				return fmt.Errorf("not all points were stored: %s", st.LastError)
			}
			return nil
		},
	}, nil
}
