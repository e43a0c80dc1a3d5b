package influx

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
)

// sinkEnv makes the test program a process with a sink, to be killed.
const sinkEnv = "IPFSMON_TEST_SINK"

// sinkChild is what such a process is told.
type sinkChild struct {
	Config   Config
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
	sink, err := New(c.Config, "test")
	if err != nil {
		panic(err)
	}
	b := bus.New(bus.Config{MaxEvents: 1 << 20, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	go sink.Run(context.Background(), r) // ends with the process
	for _, e := range numbered(c.From, c.To) {
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
func killSink(t *testing.T, cfg Config, from, to int) {
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

// Two servers, one of them away while two processes with the sink are killed:
// in the end both have all points, each once by count.
func TestFaultTwoDestinations(t *testing.T) {
	var up atomic.Bool
	first := newFaulty(t, takeAll)
	second := newFaulty(t, func(n int, r *http.Request, lines []string) (int, string, []string) {
		if !up.Load() {
			return 502, "", nil
		}
		return takeAll(n, r, lines)
	})
	cfg := first.config()
	cfg.SpoolDir, cfg.SpoolSyncEvery, cfg.BatchSize = filepath.Join(t.TempDir(), "spool"), "0s", 100
	cfg.Also = Destinations{{Name: "second", URL: second.URL, CreateDatabase: cfg.CreateDatabase}}
	const n = 1000
	killSink(t, cfg, 0, n)
	killSink(t, cfg, n, 2*n)
	if first.lines() != 2*n || second.lines() != 0 {
		t.Errorf("%d and %d lines, want %d and none", first.lines(), second.lines(), 2*n)
	}
	f := startFlow(t, cfg)
	f.publish(numbered(2*n, 3*n))
	st := f.until("the first has all", 30*time.Second, func(st Stats) bool { return st.Events == n && st.Destinations[0].Queued == 0 })
	if d := st.Destinations[1]; d.Queued != 3*n || d.Stored != 0 || d.Restored != 2*n || d.Name != "second" {
		t.Errorf("the second: %+v", d)
	}
	f.until("the second fails", 30*time.Second, func(st Stats) bool { return st.Destinations[1].Failing })
	if st := f.sink.Stats(); !st.Failing || st.Destinations[0].Failing || !strings.Contains(st.LastErr, "502") {
		t.Errorf("%+v", st)
	}
	up.Store(true)
	f.until("the second has all", 60*time.Second, func(st Stats) bool { return st.Queued == 0 })
	st, err := f.stop()
	if err != nil || st.Accepted != st.Stored || st.Dropped+st.Rejected != 0 {
		t.Errorf("%v, %+v", err, st)
	}
	if !maps.Equal(keys(first.stored), keys(second.stored)) || len(first.stored) != 3*n {
		t.Errorf("%d and %d different lines, want the same %d", len(first.stored), len(second.stored), 3*n)
	}
}

func keys(m map[string]int) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// A server that never answers, with a spool that is too small, loses its own
// points only, and counts them; the other has all, and history where it wants it.
func TestFaultDestinationsApart(t *testing.T) {
	first := newFaulty(t, takeAll)
	hangs := newFaulty(t, func(_ int, r *http.Request, _ []string) (int, string, []string) {
		<-r.Context().Done()
		return 500, "", nil
	})
	totals := newFaulty(t, takeAll)
	cfg := first.config()
	cfg.SpoolDir, cfg.BatchSize, cfg.SpoolSyncEvery = filepath.Join(t.TempDir(), "spool"), 500, "50ms"
	no := false
	cfg.Also = Destinations{
		{Name: "hangs", URL: hangs.URL, CreateDatabase: &no, SpoolMaxBytes: 1 << 20, Timeout: "1m"},
		{Name: "totals", URL: totals.URL, CreateDatabase: &no, History: &no},
	}
	f := startFlow(t, cfg)
	const n = 20_000
	f.publish(numbered(0, n))
	st := f.until("lost by the one, stored by the other", 60*time.Second, func(st Stats) bool {
		return st.Destinations[0].Stored == n && st.Destinations[1].Dropped > 0
	})
	if d := st.Destinations[0]; d.Dropped != 0 || d.Failing {
		t.Errorf("the first: %+v", d)
	}
	if d := st.Destinations[2]; d.Accepted != 0 || totals.lines() != 0 {
		t.Errorf("the one without history: %+v", d)
	}
	st, _ = f.stop()
	for _, d := range st.Destinations {
		if d.Accepted != d.Stored+d.Dropped+d.Rejected+uint64(d.Queued) {
			t.Errorf("%+v", d)
		}
	}
	if st.Dropped != st.Destinations[1].Dropped || first.lines() != n {
		t.Errorf("%d lines, %+v", first.lines(), st)
	}
}

// The file of rejected lines is the destination's, and names it.
func TestRejectedNamesDestination(t *testing.T) {
	first := newFaulty(t, takeAll)
	second := newFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		good, found := bad(lines, 7)
		if found > 0 {
			return 422, `{"message":"no such number"}`, nil
		}
		return 204, "", good
	})
	cfg := first.config()
	cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
	cfg.Also = Destinations{{Name: "second", URL: second.URL, CreateDatabase: cfg.CreateDatabase}}
	st, err := publish(t, cfg, messages(20))
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

func TestDestinationsConfig(t *testing.T) {
	f := func(want string, main string, also ...Destination) {
		t.Helper()
		err := Config{URL: main, Also: also}.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", also, err, want)
		}
	}
	good := Destination{Name: "a", URL: "http://a"}
	f("", "", good, Destination{Name: "b-2", URL: "https://b", Org: "o", Token: "t"})
	f("Also.0.Name", "", Destination{URL: "http://a"})
	f("Also.0.Name", "", Destination{Name: "../x", URL: "http://a"})
	f("Also.0.Name", "", Destination{Name: MainDestination, URL: "http://a"})
	f("Also.1.Name", "", good, good)
	f("Also.a.URL: missing", "", Destination{Name: "a"})
	f("Also.a.URL", "", Destination{Name: "a", URL: "file:///x"})
	f("Also.a.Org: missing", "", Destination{Name: "a", URL: "http://a", Token: "t"})
	f("goes alone", "stdout:", good)
	f("at most 7", "", good, good, good, good, good, good, good, good)

	main := Config{URL: "http://m", Token: "secret", Org: "o", Timeout: "3s", SpoolDir: "/s", SpoolMaxBytes: 1 << 20, BatchSize: 7,
		Also: Destinations{{Name: "a", URL: "http://a", Database: "d", SpoolMaxBytes: 2 << 20, Password: "secret"}}}
	got, err := main.Destination("a")
	want := Config{URL: "http://a", Database: "d", Password: "secret", Timeout: "3s", SpoolDir: "/s/to-a", SpoolMaxBytes: 2 << 20, BatchSize: 7}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); err != nil || a != b {
		t.Errorf("%v, got %s, want %s", err, a, b)
	}
	if got, err := main.Destination("main"); err != nil || got.Also != nil || got.URL != "http://m" {
		t.Errorf("%v, %+v", err, got)
	}
	if _, err := main.Destination("c"); err == nil || !strings.Contains(err.Error(), `["main" "a"]`) {
		t.Error(err)
	}
	if b, err := json.Marshal(main.Masked()); err != nil || strings.Contains(string(b), "secret") || main.Also[0].Password != "secret" {
		t.Errorf("masked %s, %v", b, err)
	}

	var d Destinations
	if err := d.Decode(`[{"Name":"a","URL":"http://a","Token":"secret"}]`); err != nil || len(d) != 1 || d[0].Token != "secret" {
		t.Errorf("%v, %+v", err, d)
	}
	for _, text := range []string{`{"Name":"a"}`, `[{"Nam":"secret"}]`, `secret`} {
		if err := d.Decode(text); err == nil || !strings.Contains(err.Error(), "want a JSON list") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A destination that is taken out of the configuration leaves its points, and a
// warning at each start; Drain delivers them.
func TestForgottenDestination(t *testing.T) {
	first, second := newFaulty(t, takeAll), newFaulty(t, takeAll)
	cfg := first.config()
	cfg.SpoolDir, cfg.SpoolSyncEvery = filepath.Join(t.TempDir(), "spool"), "0s"
	away := cfg
	away.Also = Destinations{{Name: "second", URL: "http://127.0.0.1:1", CreateDatabase: cfg.CreateDatabase}}
	f := startFlow(t, away)
	f.publish(numbered(0, 50))
	f.until("on disk", 30*time.Second, func(st Stats) bool { return st.Destinations[1].Spooled > 0 && st.Destinations[0].Stored == 50 })
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
	if st, err := Drain(t.Context(), one, func(Stats) {}); err != nil || st.Stored != 50 || second.lines() != 50 || said.Len() > 0 {
		t.Errorf("%v, %d lines, said %q, %+v", err, second.lines(), said.String(), st)
	}
}
