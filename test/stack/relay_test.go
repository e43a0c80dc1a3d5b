//go:build stack || all

package stack

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// relayTelegraf is telegraf with what docker/telegraf.conf needs, built once for
// all runs.
func relayTelegraf(t *testing.T) string {
	t.Helper()
	program := cached(t, "telegraf-relay-1.39.3", "telegraf")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.Command("go", "install", "-tags", "custom,inputs.socket_listener,outputs.influxdb_v2,parsers.influx,serializers.influx,secretstores.docker", harness.TelegrafModule)
	build.Dir = t.TempDir() // outside of our module
	build.Env = append(os.Environ(), "GOBIN="+filepath.Dir(program), "GOFLAGS=")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build telegraf")
	return program
}

// TestStackRelay sends points by UDP through a real telegraf with the
// project's configuration, and finds each in the bucket where it belongs.
func TestStackRelay(t *testing.T) {
	program := relayTelegraf(t)
	address, org, admin := harness.StartInfluxDB2(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "influxdb_token"), []byte(admin), 0o440))
	require.NoError(t, client.Setup(t.Context(), influx.Config{URL: address, Org: org, Token: admin}))

	conf, err := os.ReadFile("../../docker/telegraf.conf")
	require.NoError(t, err)
	history, totals := harness.FreeAddress(t, "udp"), harness.FreeAddress(t, "udp")
	text := strings.NewReplacer("udp://:8089", "udp://"+history, "udp://:8090", "udp://"+totals,
		"http://influxdb:8086", address, `"/secrets"`, `"`+dir+`"`).Replace(string(conf))
	file := filepath.Join(dir, "telegraf.conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	harness.Launch(t, harness.Environ(dir), program, "--config", file).Find("(Loaded inputs)")

	// Until telegraf listens, the system says that nobody does.
	require.Eventually(t, func() bool {
		for _, to := range []string{history, totals} {
			c, err := net.Dial("udp", to)
			if err != nil {
				return false
			}
			defer c.Close()
			for range 2 {
				if _, err := c.Write([]byte("ready v=1i 1\n")); err != nil {
					return false
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond)

	_, port, err := net.SplitHostPort(totals)
	require.NoError(t, err)
	all, points := harness.Events(t, 2000)
	r := harness.RunSink(t, influx.Config{URL: "udp://" + history + "?totals=" + port, UDPRate: 2000})
	r.Publish(all)
	r.Delivered(points)
	r.Bus.Close()
	require.NoError(t, <-r.End)

	for _, m := range schema.All {
		if points[m.Name] == 0 {
			continue
		}
		where := "ipfsmon." + m.Kind.String() + "." + m.Name
		require.Eventually(t, func() bool {
			q := url.Values{"db": {"ipfsmon"}, "q": {"SELECT count(" + m.Fields[0].Key + ") FROM " + where}}
			status, body := harness.Request(t, "POST", address+"/query?"+q.Encode(), "Token "+admin, "")
			return status == 200 && strings.Contains(string(body), `"count"`) && !strings.Contains(string(body), "relay_bucket") &&
				strings.Contains(string(body), ","+strconv.Itoa(points[m.Name])+"]]")
		}, time.Minute, 200*time.Millisecond, "%d points in %s", points[m.Name], where)
	}
	// What distinguishes the two on the way is not stored.
	q := url.Values{"db": {"ipfsmon"}, "q": {"SHOW TAG KEYS"}}
	_, body := harness.Request(t, "POST", address+"/query?"+q.Encode(), "Token "+admin, "")
	require.Contains(t, string(body), `"node"`)
	require.NotContains(t, string(body), "relay_bucket")
}
