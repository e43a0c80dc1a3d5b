package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAStrayWordStartsNothing: a word before the flags must not drop them; the
// node would join the public network.
func TestAStrayWordStartsNothing(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"run lab --isolated --store 127.0.0.1:0", "run --name --isolated", "run --isolated false", "isolated", "run --isolted",
		"demo lab --duration 1s", "config lab --name x", "proxy x -d /ip4/127.0.0.1/tcp/1", "ru", "probe server dht x --dry-run", "store x --dir nowhere"} {
		home := t.TempDir()
		p := harness.Start(t, harness.Environ(home), strings.Fields(line)...)
		require.Equal(t, 2, p.Wait(60*time.Second), line)
		require.Equal(t, 1, strings.Count(p.Out.String(), "\n"), p.Out.String())
		made, err := os.ReadDir(home)
		require.NoError(t, err)
		require.Empty(t, made, line)
	}
}

// TestSecondInterruptEndsACommand: one that waits for a pipe that nobody writes notices
// the first Ctrl-C only then; the second one ends it at once. SIGHUP, of which a closing
// terminal may send two, does not.
func TestSecondInterruptEndsACommand(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	pipe := filepath.Join(home, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	out := filepath.Join(home, "out")
	p := harness.Start(t, harness.Environ(home), "fleet", "unify", "--output", out, pipe)
	require.Eventually(t, func() bool { _, err := os.Stat(out); return err == nil }, 60*time.Second, 10*time.Millisecond)
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGHUP)
	require.Eventually(t, func() bool {
		select {
		case <-p.Done:
			return true
		default:
			_ = p.Cmd.Process.Signal(syscall.SIGINT) // it may have ended
			return false
		}
	}, 30*time.Second, 100*time.Millisecond, "it swallows each Ctrl-C")
	require.Equal(t, syscall.SIGINT, p.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// streamOf serves a stream with one event each few milliseconds until the test ends.
func streamOf(t *testing.T, e event.Event) (addr string) {
	t.Helper()
	s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: "de1"})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	b := bus.New(bus.Config{})
	r := b.Subscribe("stream")
	b.Live()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx, r) }()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for ctx.Err() == nil {
			next := e
			next.Time = time.Now().UnixNano()
			b.Publish(&next)
			time.Sleep(5 * time.Millisecond) // the pace of the feed, nothing waits for it
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-fed
		b.Close()
		<-done
		s.Close()
	})
	return s.Addrs()[0].String()
}

var anIdentify = event.Event{Kind: event.KindIdentify, Peer: "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
	Identify: &event.Identify{Agent: "kubo/0.43.1"}}

// TestHangupEndsAsTermDoes: closing the terminal ends each kind of command in order.
func TestHangupEndsAsTermDoes(t *testing.T) {
	t.Parallel()
	addr := streamOf(t, anIdentify)
	dir := t.TempDir()
	for _, c := range []struct {
		ready string
		args  []string
	}{
		{"listening on", []string{"store", "--create", "--dir", filepath.Join(dir, "influxdb"), "--listen", "127.0.0.1:0"}},
		{"kubo/0.43.1", []string{"tail", addr}},
		{"Probe server of fleet", []string{"probe", "server", "--dry-run", "--fleet", "f", "--bootstrap", "none", "--peer-host", "127.0.0.1", "--peer-port", "0",
			"--server-port", "0", "--telemetry-port", "0", "--level-db", "memory", "--dht-prefix", "/lab"}},
		{"Daemon is ready", []string{"run", "--isolated", "--store", "127.0.0.1:0", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0"}},
	} {
		p := harness.Start(t, harness.Environ(t.TempDir()), c.args...)
		p.Find(c.ready)
		p.Signal(syscall.SIGHUP)
		require.Zero(t, p.Wait(60*time.Second), "%s: %s", c.args, p.Out)
	}

	traces := filepath.Join(dir, "traces")
	p := harness.Start(t, harness.Environ(t.TempDir()), "record", "--all", "--from", addr, traces)
	require.Eventually(t, func() bool {
		all, _ := filepath.Glob(filepath.Join(traces, "de1", "*.tmp"))
		return len(all) == 1
	}, 60*time.Second, 10*time.Millisecond)
	p.Signal(syscall.SIGHUP)
	require.Zero(t, p.Wait(60*time.Second))
	left, err := filepath.Glob(filepath.Join(traces, "de1", "[0-9]*"))
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.True(t, strings.HasSuffix(left[0], "_UTC.json.gz"), left[0])
}

// TestNohup: a program started with SIGHUP ignored continues without a terminal.
func TestNohup(t *testing.T) {
	t.Parallel()
	for ready, line := range map[string]string{
		"listening on":    "store --create --dir " + t.TempDir() + "/influxdb --listen 127.0.0.1:0",
		"Daemon is ready": "run --isolated --store 127.0.0.1:0 --stream 127.0.0.1:0 --http 127.0.0.1:0",
	} {
		p := harness.Launch(t, harness.Environ(t.TempDir()), "sh", "-c", "trap '' HUP; exec "+harness.Bin+" "+line)
		p.Find(ready)
		p.Signal(syscall.SIGHUP)
		p.Signal(syscall.SIGHUP)
		select {
		case <-p.Done:
			require.Fail(t, "SIGHUP ended it", p.Out.String())
		case <-time.After(time.Second):
		}
		p.Signal(syscall.SIGTERM)
		require.Zero(t, p.Wait(60*time.Second))
	}
}

// TestReadingMakesNothing: a mistyped name is an error and leaves nothing.
func TestReadingMakesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := filepath.Join(dir, "other.sqlite")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	for want, args := range map[string][]string{
		"no store in":  {"store", "--dir", filepath.Join(dir, "typo"), "--listen", "127.0.0.1:0"},
		"no such file": {"probe", "report", "--sqlite", filepath.Join(dir, "typo", "x.sqlite")},
		"the tables are missing: want the file of a probe's database": {"probe", "report", "--sqlite", other},
		"does not answer": {"setup", "--dir", filepath.Join(dir, "secrets"), "--wait", "300ms"},
		"there is none":   {"store", "backup", "--data", filepath.Join(dir, "typo"), filepath.Join(dir, "b.zip")},
	} {
		p := harness.Start(t, harness.Environ(t.TempDir(), "IPFSMON_INFLUXDB_URL=http://127.0.0.1:9"), args...)
		require.Equal(t, 1, p.Wait(60*time.Second), args)
		require.Contains(t, p.Out.String(), want)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1, "%s made something", args)
		info, err := os.Stat(other)
		require.NoError(t, err)
		require.Zero(t, info.Size())
	}
}

// TestWhatCannotBeEnds: an unreachable address and a folder that is a file are errors at once,
// not after waiting for a monitor.
func TestWhatCannotBeEnds(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"invalid port":                  {"tail", "127.0.0.1:99999"},
		"address 99999":                 {"tail", "nothere:99999"},
		"/etc/passwd is a file; want a": {"record", "/etc/passwd"},
		"missing port":                  {"record", "--from", "localhost", t.TempDir()},
	} {
		p := harness.Start(t, harness.Environ(t.TempDir()), args...)
		require.Equal(t, 1, p.Wait(60*time.Second), args)
		require.Contains(t, p.Out.String(), want)
	}
}

// TestHostileStream: no text of a stream's server moves the cursor.
func TestHostileStream(t *testing.T) {
	t.Parallel()
	e := anIdentify
	e.Identify = &event.Identify{Agent: hostileText, ProtocolVersion: hostileText, Protocols: []event.Text{hostileText}}
	addr := streamOf(t, e)
	for _, args := range [][]string{{"tail", "--count", "3", addr}, {"tail", "--count", "3", "--format", "csv", addr}, {"tail", "--count", "30", "--stats", "--interval", "100ms", addr}} {
		p := harness.Start(t, harness.Environ(t.TempDir()), args...)
		require.Zero(t, p.Wait(60*time.Second), p.Out)
		require.NotEmpty(t, p.Out.String())
		requireHarmless(t, p.Out.String())
	}
}

// TestHostileServer: nor does the answer of an InfluxDB, or of a server in its place.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // what cannot be parsed asks for nothing wrong
		if strings.Contains(r.Form.Get("q"), "wrong") || strings.Contains(r.URL.Path, "metric_plugin") {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": hostileText})
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"results": []any{map[string]any{"series": []any{map[string]any{
			"name": hostileText, "columns": []string{"time", hostileText}, "values": []any{[]any{"2026-01-02T15:04:05Z", hostileText}}}}}}})
	}))
	t.Cleanup(s.Close)
	for _, args := range [][]string{{"query", "--url", s.URL, "SELECT wrong"}, {"query", "--url", s.URL, "--format", "table", "SELECT right"},
		{"query", "--url", s.URL, "--plot", "SELECT right"}, {"health", strings.TrimPrefix(s.URL, "http://")}} {
		p := harness.Start(t, harness.Environ(t.TempDir()), args...)
		p.Wait(60 * time.Second)
		require.NotEmpty(t, p.Out.String())
		requireHarmless(t, p.Out.String())
	}
	// On a terminal csv is shown, too; script makes one.
	p := harness.Launch(t, harness.Environ(t.TempDir()), "script", "-qec", harness.Bin+" query --url "+s.URL+" --format csv 'SELECT right' 2>/dev/null", "/dev/null")
	require.Zero(t, p.Wait(60*time.Second), p.Out)
	require.Contains(t, p.Out.String(), "2026-01-02")
	requireHarmless(t, strings.ReplaceAll(p.Out.String(), "\r\n", "\n"))
}

// TestHostileNames: nor does text in a command line.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{hostileArg}, {"run", "--" + hostileArg}, {"run", hostileArg}, {"demo", "--rate", hostileArg}, {"tail", hostileArg},
		{"store", "--dir", hostileArg}, {"record", "--once", "--from", hostileArg, "x"}, {"query", hostileArg}, {"introspect", hostileArg}, {"replay", hostileArg}} {
		p := harness.Start(t, harness.Environ(t.TempDir()), args...)
		require.NotZero(t, p.Wait(60*time.Second), "%q", args)
		requireHarmless(t, p.Out.String())
	}
}

// hostileText has terminal control sequences: a title, a colour, C1's CSI, a change of
// direction, NUL, and a line that imitates another; hostileArg is the part that an argument can
// contain.
const (
	hostileArg  = "a\x1b]0;owned\x07\x1b[31m\u009b2J\u202egnp\nipfsmon: all is well\x7f"
	hostileText = hostileArg + "\x00\r"
)

func requireHarmless(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
			require.Fail(t, fmt.Sprintf("%U reaches the terminal", r), "%q", s)
		}
	}
}
