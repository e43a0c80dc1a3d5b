//go:build all

package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
)

// What is built of telegraf: no more than takes line protocol and hands it on.
const (
	telegrafModule = "github.com/influxdata/telegraf/cmd/telegraf@v1.37.2"
	telegrafTags   = "custom,inputs.influxdb_v2_listener,inputs.influxdb_listener,inputs.socket_listener," +
		"outputs.file,outputs.influxdb,outputs.influxdb_v2,parsers.influx,serializers.influx"
)

// telegraf is the program, built once for all runs.
func telegraf(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "ipfsmon", "telegraf-1.37.2")
	program := filepath.Join(dir, "telegraf")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.Command("go", "install", "-tags", telegrafTags, telegrafModule)
	build.Dir = t.TempDir() // outside of our module
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build telegraf")
	return program
}

// free gives an address on loopback that nobody uses.
func free(t *testing.T, network string) string {
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

// startTelegraf runs telegraf with an input, and its output in a file.
func startTelegraf(t *testing.T, input string) (file string) {
	t.Helper()
	program, dir := telegraf(t), t.TempDir()
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
	p := launch(t, withoutInflux(dir), program, "--config", config)
	p.find(`(Loaded outputs)`)
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
		if all >= sum(want) {
			break
		}
	}
	require.Equal(t, want, got)
}

// TestAllTelegraf sends to a real telegraf in all ways that it takes, as the
// servers that our points come through where there is no way to InfluxDB.
func TestAllTelegraf(t *testing.T) {
	no := false
	t.Run("v2 with a token", func(t *testing.T) {
		address := free(t, "tcp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.influxdb_v2_listener]]\n  service_address = %q\n  token = \"the-right-one\"\n", address))
		file := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte("a-wrong-one"), 0o600))
		r := runSink(t, influx.Config{URL: "http://" + address, Org: "o", TokenFile: file, CreateDatabase: &no, FlushInterval: "50ms"})
		all, points := events(t, 5000)
		r.publish(all)
		r.until("refused for its token", func(s influx.Stats) bool { return s.Failing && strings.Contains(s.LastErr, "401") })
		require.NoError(t, os.WriteFile(file, []byte("the-right-one\n"), 0o600))
		r.delivered(points)
		r.finish(sum(points), 0)
		arrived(t, out, points)
	})
	t.Run("v1 with a password", func(t *testing.T) {
		address := free(t, "tcp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.influxdb_listener]]\n  service_address = %q\n  basic_username = \"monitor\"\n  basic_password = \"secret\"\n", address))
		r := runSink(t, influx.Config{URL: "http://" + address, Username: "monitor", Password: "secret", CreateDatabase: &no, FlushInterval: "50ms", Gzip: "on"})
		all, points := events(t, 5000)
		r.publish(all)
		r.delivered(points)
		r.finish(sum(points), 0)
		arrived(t, out, points)
	})
	t.Run("UDP relay", func(t *testing.T) {
		address := free(t, "udp")
		out := startTelegraf(t, fmt.Sprintf("[[inputs.socket_listener]]\n  service_address = \"udp://%s\"\n  data_format = \"influx\"\n  read_buffer_size = \"4MiB\"\n", address))
		r := runSink(t, influx.Config{URL: "udp://" + address, FlushInterval: "50ms", UDPRate: 5000})
		all, points := events(t, 3000)
		r.publish(all)
		r.delivered(points)
		r.finish(sum(points), 0)
		arrived(t, out, points)
	})
}
