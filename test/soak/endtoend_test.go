//go:build soak || all

package soak

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// Gates: the cost of a monitored node relative to an unmonitored one, moving blocks.
const (
	mostCPU       = 1.03
	leastTransfer = 0.98
)

// BenchmarkEndToEnd: one kubo daemon fetches blocks from another, with the monitor off and on
// in both, in turn; it compares the CPU time of both processes and the rate. On means stream,
// HTTP API and points to an InfluxDB that accepts everything. IPFSMON_BENCH_MIB sets the size
// (1024), and IPFSMON_BENCH_ROUNDS the rounds (5).
func BenchmarkEndToEnd(b *testing.B) {
	mib, rounds := envInt(b, "IPFSMON_BENCH_MIB", 1024), envInt(b, "IPFSMON_BENCH_ROUNDS", 5)
	influx := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is sent is of no interest
		if strings.HasPrefix(r.URL.Path, "/query") {
			_, _ = io.WriteString(w, `{"results":[{"statement_id":0}]}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer influx.Close()

	dir := benchDir(b)
	file := filepath.Join(dir, "file")
	f, err := os.Create(file)
	require.NoError(b, err)
	_, err = io.CopyN(f, rand.Reader, int64(mib)<<20)
	require.NoError(b, err)
	require.NoError(b, f.Close())

	var got [2][]transfer // off, on
	server := filepath.Join(dir, "server")
	require.NoError(b, os.Mkdir(server, 0o700))
	benchRepo(b, server, false, "")
	out, err := harness.Run(harness.Environ(server), "ipfs", "add", "-q", "--pin=false", file)
	require.NoError(b, err, out)
	cid := strings.TrimSpace(out)

	for b.Loop() {
		for round := range rounds {
			for _, on := range [][]bool{{false, true}, {true, false}}[round%2] {
				client := filepath.Join(dir, "client")
				require.NoError(b, os.RemoveAll(client))
				require.NoError(b, os.Mkdir(client, 0o700))
				benchRepo(b, client, on, influx.URL)
				benchRepo(b, server, on, influx.URL)
				r := fetch(b, server, client, cid)
				i := 0
				if on {
					i = 1
				}
				got[i] = append(got[i], r)
				fmt.Fprintf(os.Stderr, "round %d, monitor %v: %.2f CPU s/GiB, %.1f MiB/s\n", round+1, on, r.cpu*1024/float64(mib), float64(mib)/r.seconds)
			}
		}
	}
	// The median of the pairs: what else the machine does changes from round to
	// round more than within one.
	median := func(ratio func(off, on transfer) float64) float64 {
		var v []float64
		for i := range got[0] {
			v = append(v, ratio(got[0][i], got[1][i]))
		}
		return bench.Median(v)
	}
	cpu := median(func(off, on transfer) float64 { return on.cpu / off.cpu })
	rate := median(func(off, on transfer) float64 { return off.seconds / on.seconds })
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cpu, "CPU-on/off")
	b.ReportMetric(rate, "rate-on/off")
	if cpu > mostCPU || rate < leastTransfer {
		b.Errorf("with the monitor: CPU %.3f of that without (at most %.2f), rate %.3f (at least %.2f)", cpu, mostCPU, rate, leastTransfer)
	}
}

// benchDir is in memory where the system has a place for that: writing to a
// disk costs as much CPU as everything else, and never twice the same.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "ipfsmon-bench-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func envInt(b *testing.B, name string, value int) int {
	if s := os.Getenv(name); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(b, err, name)
		return n
	}
	return value
}

// benchRepo makes an isolated repository in home, or sets the monitor of one.
func benchRepo(b *testing.B, home string, on bool, influx string) {
	env := harness.Environ(home)
	file := filepath.Join(home, ".ipfs", "config")
	if _, err := os.Stat(file); err != nil {
		p := harness.Start(b, env, "run", "--isolated", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--influxdb", "http://127.0.0.1:9")
		p.Find(`Daemon is (ready)`)
		p.Signal(syscall.SIGINT)
		p.Wait(20 * time.Second)
	}
	raw, err := os.ReadFile(file)
	require.NoError(b, err)
	var cfg map[string]any
	require.NoError(b, json.Unmarshal(raw, &cfg))
	cfg["Plugins"].(map[string]any)["Plugins"].(map[string]any)[monitor.Name] = map[string]any{
		"Disabled": !on,
		"Config": map[string]any{
			"TCPServerConfig":  map[string]any{"ListenAddresses": []string{"127.0.0.1:0"}},
			"HTTPServerConfig": map[string]any{"ListenAddresses": []string{"127.0.0.1:0"}},
			"InfluxDB":         map[string]any{"URL": influx},
		},
	}
	raw, err = json.Marshal(cfg)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(file, raw, 0o600))
}

// transfer is what one fetch cost: CPU seconds of both nodes, and time.
type transfer struct{ cpu, seconds float64 }

// fetch has the one node fetch a file from the other and measures it.
func fetch(b *testing.B, serverHome, clientHome, cid string) (r transfer) {
	server := harness.Start(b, harness.Environ(serverHome), "ipfs", "daemon")
	client := harness.Start(b, harness.Environ(clientHome), "ipfs", "daemon")
	server.Find(`Daemon is (ready)`)
	client.Find(`Daemon is (ready)`)
	id, err := harness.Run(harness.Environ(serverHome), "ipfs", "id", "-f", "<addrs>")
	require.NoError(b, err, id)
	var addr string
	for _, a := range strings.Fields(id) {
		if strings.Contains(a, "/tcp/") {
			addr = a
		}
	}
	out, err := harness.Run(harness.Environ(clientHome), "ipfs", "swarm", "connect", addr)
	require.NoError(b, err, out)
	before := processCPU(b, server) + processCPU(b, client)
	begin := time.Now()
	out, err = harness.Run(harness.Environ(clientHome), "ipfs", "refs", "-r", "--unique", "--max-depth=-1", cid)
	require.NoError(b, err, out)
	r.seconds = time.Since(begin).Seconds()
	time.Sleep(500 * time.Millisecond) // what is still to be written, encoded and sent
	r.cpu = processCPU(b, server) + processCPU(b, client) - before
	for _, p := range []*harness.Process{client, server} {
		p.Signal(syscall.SIGINT)
		p.Wait(30 * time.Second)
	}
	return r
}

// processCPU is the CPU time that a process has used, in seconds: utime and
// stime of proc(5), in ticks of which Linux has 100 a second.
func processCPU(b *testing.B, p *harness.Process) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	require.NoError(b, err)
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	ticks := 0.0
	for _, s := range f[11:13] {
		n, err := strconv.ParseFloat(s, 64)
		require.NoError(b, err)
		ticks += n
	}
	return ticks / 100
}
