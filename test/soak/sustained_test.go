//go:build soak || all

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// Gates: the effect of 20,000 points a second on a node.
const (
	sustainedRate = 20_000
	mostMemory    = 100.0 // MiB more than an unmonitored node
	mostQueued    = 3.0   // seconds of points, at any time
	leastFetch    = 0.98  // of the unmonitored node's rate
	loaders       = 4     // peers, since capture bounds what it keeps of one
)

// BenchmarkSustained runs two nodes, one monitored and one not, with the same
// 20,000 wantlist entries a second, and fetches blocks from both in turn. Each
// entry is a point in the monitored node's embedded InfluxDB.
// IPFSMON_BENCH_TIME is how long (10m).
func BenchmarkSustained(b *testing.B) {
	long := 10 * time.Minute
	if s := os.Getenv("IPFSMON_BENCH_TIME"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(b, err)
		fmt.Fprintln(os.Stderr, "for", long, "only: the gates are meant for 10m")
	}
	on := benchNode(b, b.TempDir(), true)
	off := benchNode(b, b.TempDir(), false)
	for b.Loop() {
		sustained(b, long, on, off)
	}
}

// benchNode runs a node on free ports.
func benchNode(b *testing.B, home string, monitored bool) *harness.Node {
	benchRepo(b, home, false, "")
	n := &harness.Node{Home: home, Env: harness.Environ(home)}
	if !monitored {
		n.Process = harness.Start(b, n.Env, "ipfs", "daemon")
		n.Find(`Daemon is (ready)`)
		return n
	}
	benchRepo(b, home, true, "")
	n.Process = harness.Start(b, n.Env, "run", "--isolated", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	n.Find(`Daemon is (ready)`)
	n.Influx = harness.AsReader(b, n.Find(`InfluxDB listening on (http://\S+),`), filepath.Join(n.Find(`InfluxDB listening on .* data in (\S+)`), "influxdb"))
	return n
}

func sustained(b *testing.B, long time.Duration, on, off *harness.Node) {
	nodes := []*harness.Node{off, on}
	group, ctx := errgroup.WithContext(b.Context())
	var senders [2][]*loader
	var fetchers []*loader
	var memory, fetches [2][]float64
	var ratios, queued []float64
	cids := [2][]cid.Cid{addFile(off, 16<<20), addFile(on, 16<<20)}
	loading, stop := context.WithTimeout(ctx, long)
	defer stop()
	for i, n := range nodes {
		address := n.Address()
		fetchers = append(fetchers, newLoader(b, address))
		for range loaders {
			s := newLoader(b, address)
			senders[i] = append(senders[i], s)
			group.Go(func() error { return s.run(loading, sustainedRate/loaders) })
		}
	}
	group.Go(func() error {
		for round := 0; loading.Err() == nil; round++ {
			var took [2]float64
			for _, i := range [][]int{{0, 1}, {1, 0}}[round%2] {
				d, err := fetchers[i].fetch(ctx, cids[i])
				if err != nil {
					return err
				}
				took[i] = d.Seconds()
				fetches[i] = append(fetches[i], 16/d.Seconds())
			}
			ratios = append(ratios, took[0]/took[1])
			time.Sleep(time.Second)
		}
		return nil
	})
	group.Go(func() error {
		for loading.Err() == nil {
			for i, n := range nodes {
				memory[i] = append(memory[i], bench.ResidentMiB(n.Cmd.Process.Pid))
			}
			f, err := on.Figures()
			if err != nil {
				return err
			}
			queued = append(queued, f["ipfsmon_influx_queued_points"])
			time.Sleep(time.Second)
		}
		return nil
	})
	require.NoError(b, group.Wait())

	sent := uint64(0)
	for _, s := range senders[1] {
		sent += s.sent.Load()
	}
	quarter := max(1, len(queued)/4)
	first, end := bench.Median(queued[:quarter]), bench.Median(queued[len(queued)-quarter:])
	more := bench.Median(memory[1]) - bench.Median(memory[0])
	rate := bench.Median(ratios)
	fmt.Fprintf(os.Stderr, "%v at %d points/s; queued %.0f at first, %.0f at the end, %.0f at most; memory %.0f MiB, unmonitored %.0f MiB; "+
		"16 MiB fetched at %.0f MiB/s, unmonitored %.0f MiB/s, %d pairs\n",
		long, int(float64(sent)/long.Seconds()), first, end, slices.Max(queued), bench.Median(memory[1]), bench.Median(memory[0]),
		bench.Median(fetches[1]), bench.Median(fetches[0]), len(ratios))
	// What waits is delivered afterwards, however long that takes; what capture
	// did not keep of a peer that made up for a stall all at once is no loss.
	var last map[string]float64
	settled := func() float64 {
		return last["ipfsmon_influx_stored_points_total"] + entriesInMessage*last["ipfsmon_capture_limited_messages_total"]
	}
	for deadline := time.Now().Add(15 * time.Minute); settled() < float64(sent); time.Sleep(100 * time.Millisecond) {
		var err error
		last, err = on.Figures()
		require.NoError(b, err)
		require.True(b, time.Now().Before(deadline), "of %d entries that were sent: %v", sent, ours(last))
	}
	got, err := harness.InfluxQL(on.Influx, "SELECT count(cid) FROM history.wants")
	require.NoError(b, err)
	fmt.Fprintf(os.Stderr, "%.0f are stored, %.0f messages were over the rate of a peer\n", got[""], last["ipfsmon_capture_limited_messages_total"])

	b.ReportMetric(0, "ns/op")
	b.ReportMetric(more, "MiB-more")
	b.ReportMetric(rate, "fetch-on/off")
	b.ReportMetric(slices.Max(queued), "points-queued")
	if float64(sent) < 0.98*sustainedRate*long.Seconds() {
		b.Errorf("the loader sent %d points only", sent)
	}
	if lost := last["ipfsmon_influx_dropped_points_total"] + last["ipfsmon_influx_rejected_points_total"]; lost > 0 || got[""]+entriesInMessage*last["ipfsmon_capture_limited_messages_total"] < float64(sent) {
		b.Errorf("%d points were sent, %.0f are stored, %.0f counted as lost", sent, got[""], lost)
	}
	if end > first+sustainedRate || slices.Max(queued) > mostQueued*sustainedRate {
		b.Errorf("the queue is not flat: %.0f points at first, %.0f at the end, %.0f at most", first, end, slices.Max(queued))
	}
	if more > mostMemory {
		b.Errorf("the monitor takes %.0f MiB, at most %.0f are allowed", more, mostMemory)
	}
	if rate < leastFetch {
		b.Errorf("blocks are fetched at %.3f of the unmonitored node's rate, at least %.2f is allowed", rate, leastFetch)
	}
	for _, n := range nodes {
		n.Signal(syscall.SIGINT)
		n.Wait(30 * time.Second)
	}
}

// ours leaves those of the figures that are the monitor's.
func ours(all map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for name, v := range all {
		if strings.HasPrefix(name, "ipfsmon_") && v != 0 {
			out[name] = v
		}
	}
	return out
}
