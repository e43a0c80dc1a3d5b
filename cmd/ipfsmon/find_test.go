package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/monitor"
)

// TestFindsARunningProxy: without an address, commands use the monitor of a running proxy
// if no node's is running. A proxy that has ended is not used.
func TestFindsARunningProxy(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("IPFS_PATH", "")
	require.Equal(t, defaultHTTP, httpAddress())
	place, err := proxyPlace()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(monitor.DataFolder(place), 0o700))
	f, err := os.Create(filepath.Join(monitor.DataFolder(place), "monitor.json"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(`{"pid":1,"monitor":"front","data_folder":"","influxdb":"http://127.0.0.1:1","http":["127.0.0.1:1234"],"stream":["127.0.0.1:1235"]}`)
	require.NoError(t, err)
	require.Equal(t, defaultHTTP, httpAddress(), "no process holds its lock")

	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	require.Equal(t, "127.0.0.1:1234", httpAddress())
	require.Equal(t, "127.0.0.1:1235", streamAddress())
	m, err := findMonitor("", nil)
	require.NoError(t, err)
	cfg, data, err := m.config()
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:1", cfg.URL)
	require.Equal(t, monitor.DataFolder(place), data, "a proxy without --data has the default folder")
}
