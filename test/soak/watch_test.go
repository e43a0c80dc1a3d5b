//go:build soak || all

package soak

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// Gates: the cost of a light node against that of a monitored kubo.
const (
	mostWatchMemory   = 0.6 // for a peer; the goal is 0.5
	mostWatchCPU      = 0.7 // for a message
	mostWatchMetrics  = 100 * time.Millisecond
	mostWatchSnapshot = 150 * time.Millisecond // of CPU time
	mostWatchFill     = 5 * time.Minute        // for 5,000 peers
	watchFill         = 5000
)

// BenchmarkWatch connects peers, real libp2p hosts of this process, half over TCP
// and half over QUIC, to a light node and to a monitored kubo at once, and has
// them send both the same small Bitswap messages, 2,000 a second. Memory is
// counted above that of the program without peers, CPU time in windows of
// IPFSMON_BENCH_TIME (10s). The gate of /metrics is for a node whose cores are not taken by the
// peers of this process. The embedded InfluxDBs are processes of their own.
// IPFSMON_BENCH_PEERS is how many peers ("1000,5000,10000").
func BenchmarkWatch(b *testing.B) { forPeers(b, "1000,5000,10000", watchPeers) }

func watchPeers(b *testing.B, count int, window time.Duration) {
	kubo := benchNode(b, openHome(b, count), true)
	light := harness.StartWatch(b, b.TempDir(), "--peers", strconv.Itoa(max(count, 50)), "--dht", "server", "--interval", "10")
	processes := []*harness.Process{kubo.Process, light.Process}
	stores := []string{kubo.Influx, light.Influx}
	tcp, quic := kubo.Address(), ""
	for _, a := range strings.Fields(kubo.IPFS("id", "-f", "<addrs>")) {
		if strings.Contains(a, "/127.0.0.1/") && strings.Contains(a, "/quic-v1/p2p/") {
			quic = a
		}
	}
	require.NotEmpty(b, quic)
	time.Sleep(5 * time.Second) // both are idle
	var idle [2]float64
	for i, p := range processes {
		idle[i] = bench.ResidentMiB(p.Cmd.Process.Pid)
	}

	began := time.Now()
	swarm := newSwarmVia(b, count, func(i int) []string {
		if i%2 == 0 {
			return []string{tcp, light.TCP}
		}
		return []string{quic, light.QUIC}
	})
	filled := time.Since(began)
	require.Eventually(b, func() bool { return peersOf(b, light.HTTP) >= count }, time.Minute, 100*time.Millisecond, "the light node has fewer peers than have connected")
	time.Sleep(2 * time.Second) // the last identifies

	loading, stop := context.WithCancel(b.Context())
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return swarm.run(loading, peersRate) })
	time.Sleep(window) // until both are at their pace
	cpu := func() (out [2]float64) {
		for i, p := range processes {
			out[i] = processCPU(b, p)
		}
		return out
	}
	var ratios, memories []float64
	var each, memory [2][]float64 // CPU seconds for a message; KiB for a peer
	scrape := func() time.Duration {
		start := time.Now()
		get(b, "http://"+light.HTTP+"/metrics")
		return time.Since(start)
	}
	busiest, slowest := time.Duration(0), time.Duration(0)
	before, sent := cpu(), swarm.messages.Load()
	for range peersWindows {
		time.Sleep(window)
		now, n := cpu(), swarm.messages.Load()
		for i, p := range processes {
			each[i] = append(each[i], (now[i]-before[i])/float64(n-sent))
			memory[i] = append(memory[i], (bench.ResidentMiB(p.Cmd.Process.Pid)-idle[i])*1024/float64(count))
		}
		ratios = append(ratios, (now[1]-before[1])/(now[0]-before[0]))
		memories = append(memories, memory[1][len(memory[1])-1]/memory[0][len(memory[0])-1])
		busiest = max(busiest, scrape())
		before, sent = cpu(), swarm.messages.Load()
	}
	held := peersOf(b, light.HTTP)
	stop()
	require.NoError(b, group.Wait())

	// Every want that arrived is stored, by both.
	deadline := time.Now().Add(5 * time.Minute)
	for i, store := range stores {
		for {
			got, err := harness.InfluxQL(store, "SELECT count(cid) FROM history.wants WHERE direction = 'received'")
			require.NoError(b, err)
			if swarm.sees(got[""]) {
				break
			}
			require.True(b, time.Now().Before(deadline), "%s: %d wants were sent, %.0f are stored", []string{"kubo", "the light node"}[i], swarm.wants.Load(), got[""])
			time.Sleep(100 * time.Millisecond)
		}
	}
	snapshot := snapshotCPU(b, light)
	for range 20 { // over two samples of the node
		slowest = max(slowest, scrape())
		time.Sleep(time.Second)
	}

	ratio, mem := bench.Paired(ratios), bench.Median(memories)
	fmt.Fprintf(os.Stderr, "%d peers in %v (%d dials tried again), %d held, %d with a lost connection: a peer takes %.0f KiB, of a monitored kubo %.0f KiB (%.2f); a message costs %.0f us, %.0f us (%v); "+
		"/metrics at most %v, and %v while nodes and peers share the cores; a snapshot %v of CPU; %d wants sent, all stored by both except some of %d by peers that lost a connection; idle %.0f and %.0f MiB\n",
		count, filled.Round(time.Second), swarm.retries.Load(), held, swarm.lost.Load(), bench.Median(memory[1]), bench.Median(memory[0]), mem, 1e6*bench.Median(each[1]), 1e6*bench.Median(each[0]), ratio,
		slowest.Round(time.Millisecond), busiest.Round(time.Millisecond), snapshot, swarm.wants.Load(), swarm.unsure.Load(), idle[1], idle[0])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(mem, "memory-ratio")
	b.ReportMetric(ratio.Median, "CPU-ratio")
	gate := func(ok bool, format string, args ...any) {
		if !ok {
			b.Errorf(format, args...)
		}
	}
	gate(held+int(swarm.lost.Load()) >= count, "%d peers are held, want %d", held, count)
	gate(mem <= mostWatchMemory, "a peer takes %.2f of what it takes of a monitored kubo, want at most %.2f", mem, mostWatchMemory)
	gate(ratio.Median <= mostWatchCPU, "a message costs %.2f of what it costs a monitored kubo, want at most %.2f", ratio.Median, mostWatchCPU)
	gate(slowest <= mostWatchMetrics, "/metrics took %v, want at most %v", slowest, mostWatchMetrics)
	gate(snapshot <= mostWatchSnapshot, "a snapshot took %v of CPU time, want at most %v", snapshot, mostWatchSnapshot)
	gate(count < watchFill || filled*watchFill/time.Duration(count) <= mostWatchFill, "%d peers took %v to connect, want %v for %d", count, filled, mostWatchFill, watchFill)
	for _, p := range processes {
		p.Signal(syscall.SIGINT)
		p.Wait(time.Minute)
	}
}

func get(b *testing.B, url string) []byte {
	resp, err := http.Get(url)
	require.NoError(b, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	require.Equal(b, http.StatusOK, resp.StatusCode, string(body))
	return body
}

// peersOf returns how many peers the node of an HTTP API has.
func peersOf(b *testing.B, api string) int {
	for line := range strings.Lines(string(get(b, "http://"+api+"/metrics"))) {
		if text, ok := strings.CutPrefix(line, "plugin_metric_export_wiretap_peers "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			require.NoError(b, err)
			return int(n)
		}
	}
	require.FailNow(b, "/metrics has no number of peers")
	return 0
}

// snapshots is how many snapshots are measured together: the clock of a process
// has steps of 10 ms.
const snapshots = 5

// snapshotCPU returns the CPU time of a node for one state of introspection, over
// what it uses in the same time anyway.
func snapshotCPU(b *testing.B, w *harness.Watch) time.Duration {
	took := func(f func()) (cpu, wall float64) {
		start, at := processCPU(b, w.Process), time.Now()
		f()
		return processCPU(b, w.Process) - start, time.Since(at).Seconds()
	}
	quiet, quietFor := took(func() { time.Sleep(5 * time.Second) })
	busy, busyFor := took(func() {
		for range snapshots {
			out, err := harness.Run(w.Env, "introspect", "--format", "json")
			require.NoError(b, err, out)
		}
	})
	return time.Duration((busy - quiet/quietFor*busyFor) / snapshots * float64(time.Second)).Round(time.Millisecond)
}
