package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// monitored is a stream in this process that sees a connection every millisecond.
func monitored(t *testing.T) (addr string) {
	t.Helper()
	s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: "m1"})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	b := bus.New(bus.Config{})
	r := b.Subscribe("stream")
	b.Live()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(context.Background(), r); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			<-tick.C
			b.Publish(&event.Event{
				Kind: event.KindConnection, Time: time.Now().UnixNano(), Peer: peer.ID("\x00\x04peer"),
				Conn: &event.Conn{Addr: "/ip4/192.0.2.1/tcp/1", Transport: "tcp", Security: "noise", Muxer: "yamux", TotalConns: n},
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		b.Close()
		wg.Wait()
		require.NoError(t, s.Close())
	})
	return s.Addrs()[0].String()
}

// TestRecordSurvivesAKill kills a recorder, lets another continue, and replays what
// both wrote.
func TestRecordSurvivesAKill(t *testing.T) {
	t.Parallel()
	home, addr := t.TempDir(), monitored(t)
	dir := filepath.Join(home, "traces")
	first := harness.Start(t, harness.Environ(home), "record", "--from", addr, dir)
	open := func() string {
		names, err := filepath.Glob(filepath.Join(dir, "m1", "*.json.gz.tmp"))
		require.NoError(t, err)
		return strings.Join(names, " ")
	}
	require.Eventually(t, func() bool {
		info, err := os.Stat(open())
		return err == nil && info.Size() > 1000
	}, 30*time.Second, 50*time.Millisecond, "flushed every few seconds")
	first.Signal(syscall.SIGKILL)
	<-first.Done
	require.NotEmpty(t, open())

	second := harness.Start(t, harness.Environ(home), "record", "--from", addr, "--count", "500", dir)
	require.Zero(t, second.Wait(30*time.Second))
	require.Empty(t, open())
	files, err := stream.Recordings(dir)
	require.NoError(t, err)
	require.Len(t, files, 2)
	events := 0
	for _, f := range files {
		last := -1
		bad, err := stream.ReadRecording(f, func(e *stream.Event) error {
			if last >= 0 {
				require.Equal(t, last+1, e.Connection.TotalConns, "none is missing")
			}
			last = e.Connection.TotalConns
			events++
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, bad)
	}
	require.Greater(t, events, 500)

	replay := harness.Start(t, harness.Environ(home), "replay", "--listen", "127.0.0.1:0", "--speed", "max", dir)
	out, err := exec.Command(harness.Bin, "tail", "--once", "--format", "json", replay.Find(`replaying on \[(\S+)\]`)).Output()
	require.NoError(t, err)
	require.Equal(t, events, bytes.Count(out, []byte(`"monitor":"m1"}`+"\n")))
	require.Zero(t, replay.Wait(30*time.Second))
}
