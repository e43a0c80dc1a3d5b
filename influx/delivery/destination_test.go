package delivery

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// sinkEnv makes the test program a process with a sink, to be killed.
const sinkEnv = "IPFSMON_TEST_SINK"

// sinkChild is the configuration of such a process.
type sinkChild struct {
	Config   client.Config
	From, To int // the events that it publishes
}

// sinkMain publishes events, says so when all of them are on disk for the last
// destination and delivered to the first, and waits for its end.
func sinkMain() {
	var c sinkChild
	if err := json.Unmarshal([]byte(os.Getenv(sinkEnv)), &c); err != nil {
		panic(err)
	}
	c.Config.Log = slog.New(slog.DiscardHandler)
	sink, err := newSink(c.Config, "test")
	if err != nil {
		panic(err)
	}
	b := bus.New(bus.Config{MaxEvents: 1 << 20, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	go sink.Run(context.Background(), r) // ends with the process
	for _, e := range influxtest.Numbered(c.From, c.To) {
		b.Publish(e)
	}
	for last := sink.to[len(sink.to)-1]; ; time.Sleep(time.Millisecond) {
		st, d := sink.Stats(), last.disk.Stats()
		if st.Events == uint64(c.To-c.From) && d.Points == c.To && d.Unsynced == 0 && st.Destinations[0].Queued == 0 {
			break
		}
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// killSink runs such a process until it is ready and kills it.
func killSink(t *testing.T, cfg client.Config, from, to int) {
	t.Helper()
	told, err := json.Marshal(sinkChild{cfg, from, to})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkEnv+"="+string(told))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end ends the process, should this one die
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if line != "ready\n" {
		t.Fatalf("the process with the sink said %q", line)
	}
}

// Two servers, one of them down while two processes with the sink are killed: in the end both
// have all points exactly once.
func TestFaultTwoDestinations(t *testing.T) {
	var up atomic.Bool
	first := influxtest.NewFaulty(t, influxtest.TakeAll)
	second := influxtest.NewFaulty(t, func(n int, r *http.Request, lines []string) (int, string, []string) {
		if !up.Load() {
			return 502, "", nil
		}
		return influxtest.TakeAll(n, r, lines)
	})
	cfg := first.Destination()
	cfg.SpoolDir, cfg.SpoolSyncEvery, cfg.BatchSize = filepath.Join(t.TempDir(), "spool"), "0s", 100
	cfg.Also = client.Destinations{{Name: "second", URL: second.URL, CreateDatabase: cfg.CreateDatabase}}
	const n = 1000
	killSink(t, cfg, 0, n)
	killSink(t, cfg, n, 2*n)
	if first.Lines() != 2*n || second.Lines() != 0 {
		t.Errorf("%d and %d lines, want %d and none", first.Lines(), second.Lines(), 2*n)
	}
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(2*n, 3*n))
	st := f.until("the first has all", 2*time.Minute, func(st Stats) bool { return st.Events == n && st.Destinations[0].Queued == 0 })
	if d := st.Destinations[1]; d.Queued != 3*n || d.Stored != 0 || d.Restored != 2*n || d.Name != "second" {
		t.Errorf("the second: %+v", d)
	}
	f.until("the second fails", 2*time.Minute, func(st Stats) bool { return st.Destinations[1].Failing })
	if st := f.sink.Stats(); !st.Failing || st.Destinations[0].Failing || !strings.Contains(st.LastError, "502") {
		t.Errorf("%+v", st)
	}
	up.Store(true)
	f.until("the second has all", 5*time.Minute, func(st Stats) bool { return st.Queued == 0 })
	st, err := f.stop()
	if err != nil || st.Accepted != st.Stored || st.Dropped+st.Rejected != 0 {
		t.Errorf("%v, %+v", err, st)
	}
	if !maps.Equal(keys(first.Stored), keys(second.Stored)) || len(first.Stored) != 3*n {
		t.Errorf("%d and %d different lines, want the same %d", len(first.Stored), len(second.Stored), 3*n)
	}
}

func keys(m map[string]int) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// A server that never answers, with a spool that is too small, loses only its own points, which
// are counted; the other has all, and history if configured.
func TestFaultDestinationsApart(t *testing.T) {
	first := influxtest.NewFaulty(t, influxtest.TakeAll)
	hangs := influxtest.NewFaulty(t, func(_ int, r *http.Request, _ []string) (int, string, []string) {
		<-r.Context().Done()
		return 500, "", nil
	})
	totals := influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := first.Destination()
	cfg.SpoolDir, cfg.BatchSize, cfg.SpoolSyncEvery = filepath.Join(t.TempDir(), "spool"), 500, "50ms"
	no := false
	cfg.Also = client.Destinations{
		{Name: "hangs", URL: hangs.URL, CreateDatabase: &no, SpoolMaxBytes: 1 << 20, Timeout: "1m"},
		{Name: "totals", URL: totals.URL, CreateDatabase: &no, History: &no},
	}
	f := startFlow(t, cfg)
	const n = 20_000
	f.publish(influxtest.Numbered(0, n))
	st := f.until("lost by the one, stored by the other", 5*time.Minute, func(st Stats) bool {
		return st.Destinations[0].Stored == n && st.Destinations[1].Dropped > 0
	})
	if d := st.Destinations[0]; d.Dropped != 0 || d.Failing {
		t.Errorf("the first: %+v", d)
	}
	if d := st.Destinations[2]; d.Accepted != 0 || totals.Lines() != 0 {
		t.Errorf("the one without history: %+v", d)
	}
	st, _ = f.stop()
	for _, d := range st.Destinations {
		if d.Accepted != d.Stored+d.Dropped+d.Rejected+uint64(d.Queued) {
			t.Errorf("%+v", d)
		}
	}
	if st.Dropped != st.Destinations[1].Dropped || first.Lines() != n {
		t.Errorf("%d lines, %+v", first.Lines(), st)
	}
}

// The file of rejected lines is the destination's, and names it.
func TestRejectedNamesDestination(t *testing.T) {
	first := influxtest.NewFaulty(t, influxtest.TakeAll)
	second := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		good, found := bad(lines, 7)
		if found > 0 {
			return 422, `{"message":"no such number"}`, nil
		}
		return 204, "", good
	})
	cfg := first.Destination()
	cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
	cfg.Also = client.Destinations{{Name: "second", URL: second.URL, CreateDatabase: cfg.CreateDatabase}}
	st, err := publish(t, cfg, influxtest.Messages(20))
	if err != nil || st.Destinations[0].Stored != 20 || st.Destinations[1].Stored != 19 || st.Destinations[1].Rejected != 1 {
		t.Fatalf("%v, %+v", err, st)
	}
	b, err := os.ReadFile(filepath.Join(cfg.SpoolDir, "to-second", "rejected.lp"))
	if err != nil || !strings.Contains(string(b), " second 1 points: no such number\nwants,") {
		t.Errorf("%v: %s", err, b)
	}
	if _, err := os.Stat(filepath.Join(cfg.SpoolDir, "rejected.lp")); err == nil {
		t.Error("the first destination has one too")
	}
}

// A destination that is removed from the configuration leaves its points, and a warning at each
// start; Drain delivers them.
func TestForgottenDestination(t *testing.T) {
	first, second := influxtest.NewFaulty(t, influxtest.TakeAll), influxtest.NewFaulty(t, influxtest.TakeAll)
	cfg := first.Destination()
	cfg.SpoolDir, cfg.SpoolSyncEvery = filepath.Join(t.TempDir(), "spool"), "0s"
	away := cfg
	away.Also = client.Destinations{{Name: "second", URL: "http://127.0.0.1:1", CreateDatabase: cfg.CreateDatabase}}
	f := startFlow(t, away)
	f.publish(influxtest.Numbered(0, 50))
	f.until("on disk", 2*time.Minute, func(st Stats) bool { return st.Destinations[1].SpoolBytes > 0 && st.Destinations[0].Stored == 50 })
	f.stop()
	var said strings.Builder
	cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
	f = startFlow(t, cfg)
	f.stop()
	if !strings.Contains(said.String(), "destination=second") || !strings.Contains(said.String(), filepath.Join(cfg.SpoolDir, "to-second")) {
		t.Errorf("said %q", said.String())
	}
	away.Also[0].URL = second.URL
	one, err := away.Destination("second")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Drain(t.Context(), away, func(Stats) {}); err == nil || !strings.Contains(err.Error(), "several destinations") {
		t.Error(err)
	}
	said.Reset()
	one.Log = cfg.Log
	if st, err := Drain(t.Context(), one, func(Stats) {}); err != nil || st.Stored != 50 || second.Lines() != 50 || said.Len() > 0 {
		t.Errorf("%v, %d lines, said %q, %+v", err, second.Lines(), said.String(), st)
	}
}
