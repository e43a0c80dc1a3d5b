//go:build faults || all

package faults

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/disktest"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// supervised is a flow into a store supervised as by `ipfsmon run`, with its data in the given
// folder.
func supervised(t *testing.T, data string) (*faultFlow, *embedded.Child) {
	t.Helper()
	child, err := embedded.Supervise(t.Context(), embedded.ChildConfig{
		Data: data, Listen: "127.0.0.1:0", Command: harness.Bin, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, child.Close()) })
	f := newFaultFlow(t)
	f.addr, f.home = child.Addr(), data
	f.cfg.URL = child.URL()
	f.cfg.Username, f.cfg.PasswordFile = child.Login()
	return f, child
}

// fill writes a file until the disk is full. Removing the file makes room.
func fill(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "filler")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 64<<10)
	for len(b) > 0 {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			b = b[:len(b)/2]
		} else {
			require.NoError(t, err)
		}
	}
	return file
}

// R30: the disk of the embedded store is full, and then has room again. While it
// is full the store is left alone and answers queries; when there is room it is
// started again, once, and takes everything that waited. The second time it is
// killed in the middle of that, the third time while the disk is full.
func TestFaultR30StoreDisk(t *testing.T) {
	full, times := 5*time.Second, 1
	if long() {
		full, times = 2*time.Minute, 3
	}
	disk := disktest.Small(t, "48m")
	f, child := supervised(t, disk)
	for i := range times {
		before := child.Stats()
		f.during(1000, func(s *influx.Sink) {
			stored := s.Stats().Stored
			require.Eventually(t, func() bool { return s.Stats().Stored > stored+1000 }, time.Minute, 10*time.Millisecond, "%+v", s.Stats())
			filler := fill(t, disk)
			require.Eventually(t, func() bool { return s.Stats().Failing }, time.Minute, 10*time.Millisecond, "%+v", s.Stats())
			until := time.Now().Add(full)
			for time.Now().Before(until) {
				fill(t, disk) // what InfluxDB has taken away meanwhile
				require.Equal(t, before.Restarts, child.Stats().Restarts, "a restart does not help a disk that is full: %+v", child.Stats())
				_, err := harness.InfluxQL(harness.AsReader(t, child.URL(), filepath.Join(disk, "influxdb")), "SELECT count(cid) FROM history.wants")
				require.NoError(t, err, "it does not answer queries while its disk is full")
				time.Sleep(100 * time.Millisecond)
			}
			require.True(t, s.Stats().Failing, "%+v", s.Stats())
			if i == 2 {
				require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
				time.Sleep(full) // it cannot start, or starts and takes nothing
			}
			require.NoError(t, os.Remove(filler))
			if i == 1 {
				require.Eventually(t, func() bool { return !child.Stats().Up }, time.Minute, 10*time.Millisecond)
				require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
			}
			require.Eventually(t, func() bool { return child.Stats().Restarts > before.Restarts && child.Stats().Up }, 2*time.Minute, 10*time.Millisecond, "%+v", child.Stats())
			f.delivered(s, 2*time.Minute)
		})
		f.counted()
		after := child.Stats()
		require.True(t, after.Up, "%+v", after)
		if i < 2 {
			require.Equal(t, before.Restarts+1, after.Restarts, "one restart is enough: %+v", after)
		}
		if i == 0 {
			require.Equal(t, before.Stuck+1, after.Stuck, "%+v", after)
			require.Contains(t, after.LastError, "no space left on device")
		}
	}
	t.Logf("%d events, the disk was full for %v, %d times", f.sent, full, times)
}

// R31: the embedded store hangs: it is restarted, and nothing is lost.
func TestFaultR31StoreHangs(t *testing.T) {
	f, child := supervised(t, t.TempDir())
	f.during(1000, func(s *influx.Sink) {
		require.Eventually(t, func() bool { return s.Stats().Stored > 1000 }, time.Minute, 10*time.Millisecond, "%+v", s.Stats())
		still := child.PID()
		require.NoError(t, syscall.Kill(still, syscall.SIGSTOP))
		require.Eventually(t, func() bool { return child.Stats().Hung == 1 && child.Stats().Up }, 3*time.Minute, 50*time.Millisecond, "%+v", child.Stats())
		require.NotEqual(t, still, child.PID())
		f.delivered(s, 2*time.Minute)
	})
	f.counted()
	require.EqualValues(t, 1, child.Stats().Restarts, "%+v", child.Stats())
}
