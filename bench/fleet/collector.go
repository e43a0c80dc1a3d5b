package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
)

// The collector's clock is this machine's: the traffic is of the last collectSeconds, and
// the last of it is joined when the lateness is over.
const (
	collectSeconds  = 12
	collectLateness = 45 * time.Second
)

// collector measures the collector itself: frames of three monitors, each read by a goroutine,
// until everything is joined. What it publishes goes nowhere.
func collector(g *harness.Gates, profile string) error {
	events := traffic(5000, 2500, collectSeconds)
	entries := entriesOf(events)
	dir, err := os.MkdirTemp("", "bench-fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The repeats are 30 s later: they are put between the others.
	const long = int64(collectSeconds * time.Second)
	first := time.Now().UnixNano() - long
	for i := range events {
		events[i].Time = first + (events[i].Time-begin)%long
	}
	sessions, err := encode(events)
	if err != nil {
		return err
	}
	if profile != "" {
		out, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	used, err := collected(filepath.Join(dir, "m"), sessions, entries)
	if err != nil {
		return err
	}
	rate := float64(entries) / used
	fmt.Println(g.Check(rate >= leastRate, "\nthe collector (fleet collect without its sinks), the same messages: %.0f entries a second of one core, at least %d", rate, leastRate))
	return nil
}

// collected returns the CPU time of this process, in seconds, until all entries are joined.
func collected(path string, sessions [][]byte, entries int) (used float64, err error) {
	cfg := collect.Config{Lateness: collectLateness.String(), MaxRate: 1 << 30}
	for m, name := range monitors {
		l, err := net.Listen("unix", path+name)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		go serve(l, name, sessions[m])
		cfg.Monitors = append(cfg.Monitors, collect.Source{Name: name, Stream: "unix:" + path + name})
	}
	c, err := collect.New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return 0, err
	}
	var joined, late atomic.Uint64
	began := harness.CPUTime()
	end := c.Publish(time.Second, func(e *event.Event) bool {
		if e.Fleet != nil {
			joined.Add(e.Fleet.Entries)
			late.Add(e.Fleet.Late + e.Fleet.Dropped)
			for i := range e.Fleet.Monitors {
				late.Add(e.Fleet.Monitors[i].Untimely)
			}
		}
		return true
	})
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for joined.Load() < uint64(entries) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, errors.New("not everything is joined within three minutes")
		}
		if n := late.Load(); n > 0 {
			return 0, fmt.Errorf("%d of the events came too late or found no room: want none, on a machine that is less busy", n)
		}
	}
	return harness.CPUTime() - began, nil
}
