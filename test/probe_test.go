package test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probeFleet is a small private DHT of probe servers.
type probeFleet struct {
	t        *testing.T
	env      []string
	database []string // flags
	first    string   // address of the first one
	n        int
}

func newProbeFleet(t *testing.T, database ...string) *probeFleet {
	home := t.TempDir()
	var env []string
	for _, e := range environ(home) {
		if !strings.HasPrefix(e, "PARSEC_") && !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "ECS_") {
			env = append(env, e)
		}
	}
	return &probeFleet{t: t, env: env, database: database}
}

// server runs "ipfsmon probe server" and gives it when it listens.
func (f *probeFleet) server(fleet string, args ...string) (p *process, url string) {
	f.t.Helper()
	bootstrap := f.first
	if bootstrap == "" {
		bootstrap = "none"
	}
	f.n++
	all := append([]string{"probe"}, f.database...) // parsec takes them before the sub-command
	all = append(all, "server", "--fleet", fleet, "--region", fmt.Sprint("r", f.n), "--dht-server", "--dht-prefix", "/probe-test", "--bootstrap", bootstrap,
		"--peer-host", "127.0.0.1", "--peer-port", "0", "--server-port", "0", "--telemetry-port", "0", "--level-db", "memory", "--startup-delay", "100ms", "--heartbeat", "1s")
	p = start(f.t, f.env, append(all, args...)...)
	url = p.find(`listening on (http://\S+)`)
	if f.first == "" {
		port := p.find(`Peer \S+ listening on port (\d+)`)
		f.first = "/ip4/127.0.0.1/tcp/" + port + "/p2p/" + p.find(`Peer (\S+) listening`)
	}
	return p, url
}

func (f *probeFleet) scheduler(fleets string, args ...string) *process {
	f.t.Helper()
	all := append([]string{"probe", "scheduler", "--fleets", fleets, "--interval", "200ms", "--settle", "50ms", "--wait", "200ms", "--telemetry-port", "0"}, f.database...)
	return start(f.t, f.env, append(all, args...)...)
}

// results are the rows of "ipfsmon probe report".
func (f *probeFleet) results() (rows []map[string]string) {
	f.t.Helper()
	out, err := run(f.env, append([]string{"probe", "report", "--format", "csv"}, f.database...)...)
	require.NoError(f.t, err, out)
	all, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(f.t, err, out)
	for _, r := range all[1:] {
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = r[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func good(rows []map[string]string, kind string) (n int) {
	for _, r := range rows {
		if r["kind"] == kind && r["error"] == "" {
			n++
		}
	}
	return n
}

const probePatience = 90 * time.Second

// TestProbe: servers that are killed and started again, two fleets, points in
// InfluxDB, report.
func TestProbe(t *testing.T) {
	f := newProbeFleet(t, "--sqlite", filepath.Join(t.TempDir(), "p.sqlite"))
	a, url := f.server("one")
	b, _ := f.server("one")
	f.server("two")
	lines := filepath.Join(t.TempDir(), "points")
	s := f.scheduler("one,two", "--influxdb", "file://"+lines, "--name", "lab")
	require.Eventually(t, func() bool { return good(f.results(), "retrieve") >= 4 }, probePatience, 100*time.Millisecond)

	// Killed in the middle: marked offline, and the rounds continue.
	b.signal(syscall.SIGKILL)
	b.wait(30 * time.Second)
	s.find(`marking it (offline)`)
	n := good(f.results(), "retrieve")
	require.Eventually(t, func() bool { return good(f.results(), "retrieve") >= n+2 }, probePatience, 100*time.Millisecond)

	// Another one takes its place.
	_, _ = f.server("one")
	require.Eventually(t, func() bool {
		for _, r := range f.results() {
			if r["region"] == "r4" && r["error"] == "" {
				return true
			}
		}
		return false
	}, probePatience, 100*time.Millisecond)

	resp, err := http.Post(url+"/retrieve/nothing", "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 400, resp.StatusCode)
	_, err = run(f.env, "probe", "health", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)

	s.signal(syscall.SIGTERM)
	require.Zero(t, s.wait(30*time.Second))
	a.signal(syscall.SIGTERM)
	require.Zero(t, a.wait(30*time.Second))

	rows := f.results()
	b1, err := os.ReadFile(lines)
	require.NoError(t, err)
	points := string(b1)
	require.Equal(t, len(rows), strings.Count(points, "dht_provide,")+strings.Count(points, "dht_retrieve,"))
	require.Contains(t, points, "fleet=two,node=lab,region=r3,")

	out, err := run(f.env, "probe", "report", f.database[0], f.database[1], "--fleets", "two", "--out", filepath.Join(t.TempDir(), "report"))
	require.NoError(t, err, out)
	require.Contains(t, out, "retrieve  two")
	require.NotContains(t, out, " one ")
	require.Contains(t, out, "plot.svg")
}

// TestProbeLab runs the whole command on a small network.
func TestProbeLab(t *testing.T) {
	dir := t.TempDir()
	out, err := run(environ(dir), "probe", "lab", "--nodes", "8", "--k", "3", "--rounds", "3", "--servers", "2", "--latency", "2ms", "--fleet", "a", "--fleet", "b:alpha=2,beta=1", "--out", filepath.Join(dir, "lab"))
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

// TestProbeFlags: what is wrong is named, and nothing is opened.
func TestProbeFlags(t *testing.T) {
	env := environ(t.TempDir())
	f := func(want string, args ...string) {
		t.Helper()
		out, err := run(env, append([]string{"probe"}, args...)...)
		require.Error(t, err)
		require.Contains(t, out, want)
	}
	f("--fleet", "server")
	f("--token-file FILE, or --allow-insecure", "server", "--fleet", "f", "--server-host", "0.0.0.0")
	f("two databases", "--db-host", "h", "report", "--sqlite", "x")
	f("fullrt", "server", "--fleet", "f", "--fullrt", "--optprov", "--level-db", "memory")
	f("dht, ipni", "server", "--fleet", "f", "what")
	f("indexer-host is missing", "server", "--fleet", "f", "ipni")
	f("--badbits: deny list", "server", "--fleet", "f", "--badbits", filepath.Join(t.TempDir(), "none"))
	f("public alone", "server", "--fleet", "f", "--level-db", "memory", "--peer-port", "0", "--bootstrap", "public", "--bootstrap", "none")
	f("leaves alone; want addresses", "server", "--dry-run", "--fleet", "f", "--level-db", "memory", "--peer-host", "127.0.0.1", "--peer-port", "0", "--server-port", "0", "--telemetry-port", "0",
		"--dht-prefix", "/x", "--bootstrap", "fleet")
	f("--fleets is missing", "scheduler")
	f("allowed is DHT or IPNI", "scheduler", "--fleets", "f", "--routing", "x")
	f("loss", "lab", "--loss", "much")
	f("k far below nodes", "lab", "--nodes", "10", "--k", "10")
	f("want table, csv, json, svg or png", "report", "--format", "x", "--sqlite", filepath.Join(t.TempDir(), "p.sqlite"))
}
