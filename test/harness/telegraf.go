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
	TelegrafModule = "github.com/influxdata/telegraf/cmd/telegraf@v1.39.3"
	telegrafTags   = "custom,inputs.influxdb_v2_listener,inputs.influxdb_listener,inputs.socket_listener," +
		"outputs.file,outputs.influxdb,outputs.influxdb_v2,parsers.influx,serializers.influx"
)

// BuildTelegraf returns telegraf, built once for all runs.
func BuildTelegraf(t *testing.T) string {
	t.Helper()
	return installed(t, TelegrafModule, "telegraf-1.39.3", "telegraf", "-tags", telegrafTags)
}

// installed returns a program of a module, with the module's own requirements; it is built once for all runs, into a
// folder of its name and version.
func installed(t *testing.T, module, folder, name string, flags ...string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "ipfsmon", folder)
	program := filepath.Join(dir, name)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.Command("go", append(append([]string{"install"}, flags...), module)...)
	build.Dir = t.TempDir() // outside of our module
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build %s", module)
	return program
}
