//go:build programs || all

package programs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// startTelegraf runs telegraf with an input, and its output in a file.
func startTelegraf(t *testing.T, input string) (file string) {
	t.Helper()
	program, dir := harness.BuildTelegraf(t), t.TempDir()
	file = filepath.Join(dir, "out.lp")
	config := filepath.Join(dir, "telegraf.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = 5000
  metric_buffer_limit = 1000000
  omit_hostname = true
[[outputs.file]]
  files = [%q]
  data_format = "influx"
%s`, file, input), 0o600))
	p := harness.Launch(t, harness.WithoutInflux(dir), program, "--config", config)
	p.Find(`(Loaded outputs)`)
	return file
}

// arrived waits until telegraf's file has so many points of each measurement.
func arrived(t *testing.T, file string, want map[string]int) {
	t.Helper()
	var got map[string]int
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = map[string]int{}
		b, err := os.ReadFile(file)
		if err == nil {
			for line := range bytes.Lines(b) {
				got[string(line[:bytes.IndexByte(line, ',')])]++
			}
		}
		all := 0
		for _, n := range got {
			all += n
		}
		if all >= harness.Sum(want) {
			break
		}
	}
	require.Equal(t, want, got)
}

// TestTelegraf sends to a real telegraf in all ways that it takes, as the
// servers that our points come through where there is no way to InfluxDB.
func TestTelegraf(t *testing.T) {
	no := false
	t.Run("v2 with a token", func(t *testing.T) {
		address := harness.FreeAddress(t, "tcp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.influxdb_v2_listener]]\n  service_address = %q\n  token = \"the-right-one\"\n", address))
		file := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte("a-wrong-one"), 0o600))
		r := harness.RunSink(t, influx.Config{URL: "http://" + address, Org: "o", TokenFile: file, CreateDatabase: &no, FlushInterval: "50ms"})
		all, points := harness.Events(t, 5000)
		r.Publish(all)
		r.Until("refused for its token", func(s influx.Stats) bool { return s.Failing && strings.Contains(s.LastError, "401") })
		require.NoError(t, os.WriteFile(file, []byte("the-right-one\n"), 0o600))
		r.Delivered(points)
		r.Finish(harness.Sum(points), 0)
		arrived(t, out, points)
	})
	t.Run("v1 with a password", func(t *testing.T) {
		address := harness.FreeAddress(t, "tcp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.influxdb_listener]]\n  service_address = %q\n  basic_username = \"monitor\"\n  basic_password = \"secret\"\n", address))
		r := harness.RunSink(t, influx.Config{URL: "http://" + address, Username: "monitor", Password: "secret", CreateDatabase: &no, FlushInterval: "50ms", Gzip: "on"})
		all, points := harness.Events(t, 5000)
		r.Publish(all)
		r.Delivered(points)
		r.Finish(harness.Sum(points), 0)
		arrived(t, out, points)
	})
	t.Run("UDP relay", func(t *testing.T) {
		address := harness.FreeAddress(t, "udp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.socket_listener]]\n  service_address = \"udp://%s\"\n  data_format = \"influx\"\n  read_buffer_size = \"4MiB\"\n", address))
		r := harness.RunSink(t, influx.Config{URL: "udp://" + address, FlushInterval: "50ms", UDPRate: 5000})
		all, points := harness.Events(t, 3000)
		r.Publish(all)
		r.Delivered(points)
		r.Finish(harness.Sum(points), 0)
		arrived(t, out, points)
	})
}
