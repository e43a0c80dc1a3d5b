package test

import (
	"context"
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
)

// TestAStrayWordStartsNothing: a word before the flags must not drop them; the
// node would join the public network.
func TestAStrayWordStartsNothing(t *testing.T) {
	for _, line := range []string{"run lab --isolated --store 127.0.0.1:0", "run --name --isolated", "run --isolated false", "isolated", "run --isolted",
		"demo lab --duration 1s", "config lab --name x", "proxy x -d /ip4/127.0.0.1/tcp/1", "ru", "probe server dht x --dry-run", "store x --dir nowhere"} {
		home := t.TempDir()
		p := start(t, environ(home), strings.Fields(line)...)
		require.Equal(t, 2, p.wait(60*time.Second), line)
		require.Equal(t, 1, strings.Count(p.out.String(), "\n"), p.out.String())
		made, err := os.ReadDir(home)
		require.NoError(t, err)
		require.Empty(t, made, line)
	}
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

// TestHangupEndsAsTermDoes: a terminal that closes ends each kind of command
// in order.
func TestHangupEndsAsTermDoes(t *testing.T) {
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
		p := start(t, environ(t.TempDir()), c.args...)
		p.find(c.ready)
		p.signal(syscall.SIGHUP)
		require.Zero(t, p.wait(60*time.Second), "%s: %s", c.args, p.out)
	}

	traces := filepath.Join(dir, "traces")
	p := start(t, environ(t.TempDir()), "record", "--all", "--from", addr, traces)
	require.Eventually(t, func() bool {
		all, _ := filepath.Glob(filepath.Join(traces, "de1", "*.tmp"))
		return len(all) == 1
	}, 60*time.Second, 10*time.Millisecond)
	p.signal(syscall.SIGHUP)
	require.Zero(t, p.wait(60*time.Second))
	left, err := os.ReadDir(filepath.Join(traces, "de1"))
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.True(t, strings.HasSuffix(left[0].Name(), ".json.gz"), left[0].Name())
}

// TestNohup: what was started with SIGHUP ignored goes on without a terminal.
func TestNohup(t *testing.T) {
	for ready, line := range map[string]string{
		"listening on":    "store --create --dir " + t.TempDir() + "/influxdb --listen 127.0.0.1:0",
		"Daemon is ready": "run --isolated --store 127.0.0.1:0 --stream 127.0.0.1:0 --http 127.0.0.1:0",
	} {
		p := launch(t, environ(t.TempDir()), "sh", "-c", "trap '' HUP; exec "+bin+" "+line)
		p.find(ready)
		p.signal(syscall.SIGHUP)
		p.signal(syscall.SIGHUP)
		select {
		case <-p.done:
			require.Fail(t, "SIGHUP ended it", p.out.String())
		case <-time.After(time.Second):
		}
		p.signal(syscall.SIGTERM)
		require.Zero(t, p.wait(60*time.Second))
	}
}

// TestReadingMakesNothing: a mistyped name is an error and leaves nothing.
func TestReadingMakesNothing(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.sqlite")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	for want, args := range map[string][]string{
		"there is no store in": {"store", "--dir", filepath.Join(dir, "typo"), "--listen", "127.0.0.1:0"},
		"no such file":         {"probe", "report", "--sqlite", filepath.Join(dir, "typo", "x.sqlite")},
		"want the file of a probe's database: the t": {"probe", "report", "--sqlite", other},
		"does not answer": {"setup", "--dir", filepath.Join(dir, "secrets"), "--wait", "300ms"},
		"there is none":   {"store", "backup", "--data", filepath.Join(dir, "typo"), filepath.Join(dir, "b.zip")},
	} {
		p := start(t, environ(t.TempDir(), "IPFSMON_INFLUXDB_URL=http://127.0.0.1:9"), args...)
		require.Equal(t, 1, p.wait(60*time.Second), args)
		require.Contains(t, p.out.String(), want)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1, "%s made something", args)
		info, err := os.Stat(other)
		require.NoError(t, err)
		require.Zero(t, info.Size())
	}
}
