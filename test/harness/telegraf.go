package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The parts of telegraf that are built: only those that receive line protocol and forward it.
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
