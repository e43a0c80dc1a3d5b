package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestArchiveSurvivesAKill kills a recorder of an archive, lets another continue, and
// replays, merges and publishes what both wrote.
func TestArchiveSurvivesAKill(t *testing.T) {
	t.Parallel()
	home, addr := t.TempDir(), monitored(t)
	dir := filepath.Join(home, "archive")
	run := func(want int, args ...string) string {
		t.Helper()
		p := harness.Start(t, harness.Environ(home), args...)
		require.Equal(t, want, p.Wait(time.Minute), p.Out.String())
		return p.Out.String()
	}
	first := harness.Start(t, harness.Environ(home), "record", "--format", "parquet", "--from", addr, dir)
	open := func() string {
		names, err := filepath.Glob(filepath.Join(dir, "_journal", "m1", "*.json.gz.tmp"))
		require.NoError(t, err)
		return strings.Join(names, " ")
	}
	require.Eventually(t, func() bool {
		info, err := os.Stat(open())
		return err == nil && info.Size() > 1000
	}, 30*time.Second, 50*time.Millisecond, "flushed every few seconds")
	first.Signal(syscall.SIGKILL)
	<-first.Done
	journal := open()
	require.NotEmpty(t, journal)
	require.Contains(t, run(0, "record", "--format", "parquet", "--from", addr, "--count", "500", dir), "events recorded")
	left, err := filepath.Glob(filepath.Join(dir, "_journal", "m1", "*.json.gz*"))
	require.NoError(t, err)
	require.Empty(t, left)

	info, err := archive.Look(t.Context(), dir, nil)
	require.NoError(t, err)
	rows := info.Rows["connections"]
	require.Greater(t, rows, int64(500), "also what the killed one had flushed")
	require.Contains(t, run(0, "archive", "verify", dir), "0 faults")
	require.Contains(t, run(0, "archive", "info", dir), "connections")
	require.Contains(t, run(0, "archive", "info", "--checksums", dir), "connections/monitor=m1/")
	require.Contains(t, run(0, "archive", "merge", dir), "files became")
	require.Contains(t, run(0, "archive", "publish", "--to", filepath.Join(home, "public"), "--licence", "CC0-1.0", dir), "none of which is in it")
	require.FileExists(t, filepath.Join(home, "public", "README.md"))

	replay := harness.Start(t, harness.Environ(home), "replay", "--speed", "max", "--listen", "127.0.0.1:0", dir)
	out, err := exec.Command(harness.Bin, "tail", "--once", "--format", "json", replay.Find(`replaying on \[(\S+)\]`)).Output()
	require.NoError(t, err)
	require.EqualValues(t, rows, bytes.Count(out, []byte(`"monitor":"m1"}`+"\n")))
	require.Zero(t, replay.Wait(30*time.Second), replay.Out.String())

	// Damage is named, and the exit code says it.
	l, err := filepath.Glob(filepath.Join(dir, "connections", "*", "*", "*", "*.parquet"))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(l[0], 100))
	require.Contains(t, run(1, "archive", "verify", dir), filepath.Base(l[0]))
	require.Contains(t, run(1, "archive", "info", dir), "damaged")
}
