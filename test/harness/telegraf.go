package harness

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is built of telegraf: no more than takes line protocol and hands it on.
const (
	TelegrafModule = "github.com/influxdata/telegraf/cmd/telegraf@v1.37.2"
	telegrafTags   = "custom,inputs.influxdb_v2_listener,inputs.influxdb_listener,inputs.socket_listener," +
		"outputs.file,outputs.influxdb,outputs.influxdb_v2,parsers.influx,serializers.influx"
)

// BuildTelegraf returns telegraf, built once for all runs.
func BuildTelegraf(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "ipfsmon", "telegraf-1.37.2")
	program := filepath.Join(dir, "telegraf")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.Command("go", "install", "-tags", telegrafTags, TelegrafModule)
	build.Dir = t.TempDir() // outside of our module
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build telegraf")
	return program
}

// Free gives an address on loopback that nobody uses.
func Free(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
