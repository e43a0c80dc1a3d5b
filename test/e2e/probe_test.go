package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestProbe: servers that are killed and started again, two fleets, points in
// InfluxDB, report.
func TestProbe(t *testing.T) {
	t.Parallel()
	f := harness.NewProbeFleet(t, "--sqlite", filepath.Join(t.TempDir(), "p.sqlite"))
	a, url := f.Server("one")
	b, _ := f.Server("one")
	f.Server("two")
	lines := filepath.Join(t.TempDir(), "points")
	s := f.Scheduler("one,two", "--influxdb", "file://"+lines, "--name", "lab")
	require.Eventually(t, func() bool { return harness.Good(f.Results(), "retrieve") >= 4 }, harness.ProbePatience, 100*time.Millisecond)

	// Killed in the middle: marked offline, and the rounds continue.
	b.Signal(syscall.SIGKILL)
	b.Wait(30 * time.Second)
	s.Find(`marking it (offline)`)
	n := harness.Good(f.Results(), "retrieve")
	require.Eventually(t, func() bool { return harness.Good(f.Results(), "retrieve") >= n+2 }, harness.ProbePatience, 100*time.Millisecond)

	// Another one takes its place.
	_, _ = f.Server("one")
	require.Eventually(t, func() bool {
		for _, r := range f.Results() {
			if r["region"] == "r4" && r["error"] == "" {
				return true
			}
		}
		return false
	}, harness.ProbePatience, 100*time.Millisecond)

	resp, err := http.Post(url+"/retrieve/nothing", "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 400, resp.StatusCode)
	_, err = harness.Run(f.Env, "probe", "health", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)

	s.Signal(syscall.SIGTERM)
	require.Zero(t, s.Wait(30*time.Second))
	a.Signal(syscall.SIGTERM)
	require.Zero(t, a.Wait(30*time.Second))

	rows := f.Results()
	b1, err := os.ReadFile(lines)
	require.NoError(t, err)
	points := string(b1)
	require.Equal(t, len(rows), strings.Count(points, "dht_provide,")+strings.Count(points, "dht_retrieve,"))
	require.Contains(t, points, "fleet=two,node=lab,region=r3,")

	out, err := harness.Run(f.Env, "probe", "report", f.Database[0], f.Database[1], "--fleets", "two", "--out", filepath.Join(t.TempDir(), "report"))
	require.NoError(t, err, out)
	require.Regexp(t, `retrieve +two`, out)
	require.NotContains(t, out, " one ")
	require.Contains(t, out, "plot.svg")
}

// TestProbeLab runs the whole command on a small network.
func TestProbeLab(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := harness.Run(harness.Environ(dir), "probe", "lab", "--nodes", "8", "--k", "3", "--rounds", "3", "--servers", "2", "--latency", "2ms", "--fleet", "a", "--fleet", "b:alpha=2,beta=1", "--out", filepath.Join(dir, "lab"))
	require.NoError(t, err, out)
	require.NotContains(t, out, "ERROR", "nothing but what was asked for")
	require.Contains(t, out, "100.0 %")
	var doc struct {
		Groups  []struct{ Fleet, Kind string }
		Results []json.RawMessage
	}
	b, err := os.ReadFile(filepath.Join(dir, "lab", "results.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &doc))
	require.Len(t, doc.Groups, 4)
	require.Len(t, doc.Results, 12)
	for name, begin := range map[string]string{"plot.svg": "<?xml", "plot.png": "\x89PNG", "results.csv": "time,kind,"} {
		b, err := os.ReadFile(filepath.Join(dir, "lab", name))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(b), begin), name)
	}
}

// TestProbeFlags: errors are named, and nothing is opened.
func TestProbeFlags(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir())
	f := func(want string, args ...string) {
		t.Helper()
		out, err := harness.Run(env, append([]string{"probe"}, args...)...)
		require.Error(t, err)
		require.Contains(t, out, want)
	}
	f("--fleet", "server")
	f("--token-file FILE, --allow-insecure", "server", "--fleet", "f", "--server-host", "0.0.0.0")
	f("two databases", "--db-host", "h", "report", "--sqlite", "x")
	f("fullrt", "server", "--fleet", "f", "--fullrt", "--optprov", "--level-db", "memory")
	f("dht, ipni", "server", "--fleet", "f", "what")
	f("ipni without --indexer-host", "server", "--fleet", "f", "ipni")
	f("--badbits: deny list", "server", "--fleet", "f", "--badbits", filepath.Join(t.TempDir(), "none"))
	f("only public", "server", "--fleet", "f", "--level-db", "memory", "--peer-port", "0", "--bootstrap", "public", "--bootstrap", "none")
	f("does not use; want addresses", "server", "--dry-run", "--fleet", "f", "--level-db", "memory", "--peer-host", "127.0.0.1", "--peer-port", "0", "--server-port", "0", "--telemetry-port", "0",
		"--dht-prefix", "/x", "--bootstrap", "fleet")
	f("--fleets is missing", "scheduler")
	f("want DHT or IPNI", "scheduler", "--fleets", "f", "--routing", "x")
	f("loss", "lab", "--loss", "much")
	f("k far below nodes", "lab", "--nodes", "10", "--k", "10")
	f("want table, csv, json, svg or png", "report", "--format", "x", "--sqlite", filepath.Join(t.TempDir(), "p.sqlite"))
}
