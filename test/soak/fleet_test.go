//go:build soak || all

package soak

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// Gates: three monitors, and a collector of them.
const (
	fleetRate   = 5000 // messages a second in all, of four entries each
	mostLag     = 2.0  // seconds, of any monitor at any time
	leastGrowth = 32.0 // MiB over the whole time that are none
)

// fleetMonitor is a monitor: a real server of the stream on a bus.
type fleetMonitor struct {
	bus  *bus.Bus
	addr string
	done chan error
}

func startFleetMonitor(b *testing.B, name string) *fleetMonitor {
	b.Helper()
	s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: name, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(b, err)
	require.NoError(b, s.Listen())
	m := &fleetMonitor{bus: bus.New(bus.Config{}), addr: s.Addrs()[0].String(), done: make(chan error, 1)}
	r := m.bus.Subscribe("stream")
	m.bus.Live()
	go func() { m.done <- s.Run(context.Background(), r); s.Close() }() // ended by the cleanup
	b.Cleanup(func() { m.bus.Close(); <-m.done })
	return m
}

// fleetSample is what the collector says at a time.
type fleetSample struct {
	Result struct {
		Monitors []struct {
			Up                                  bool
			Events, Gaps, Missed, Bad, Untimely uint64
			Lag                                 float64 `json:"lag_seconds"`
		}
		Totals *struct{ Late, Dropped uint64 }
	}
}

// BenchmarkFleet runs a collector of three monitors, whose peers send 5,000 messages of four
// entries a second in all, for IPFSMON_BENCH_TIME (10m): its lag stays under two seconds, it
// loses nothing, and its memory does not grow.
func BenchmarkFleet(b *testing.B) {
	long := 10 * time.Minute
	if s := os.Getenv("IPFSMON_BENCH_TIME"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(b, err)
		fmt.Fprintln(os.Stderr, "for", long, "only: the gates are meant for 10m")
	}
	var cfg collect.Config
	var monitors []*fleetMonitor
	for _, name := range []string{"de1", "us1", "sg1"} {
		m := startFleetMonitor(b, name)
		monitors = append(monitors, m)
		cfg.Monitors = append(cfg.Monitors, collect.Source{Name: name, Stream: m.addr})
	}
	dir := b.TempDir()
	raw, err := json.Marshal(cfg)
	require.NoError(b, err)
	file := filepath.Join(dir, "fleet.json")
	require.NoError(b, os.WriteFile(file, raw, 0o600))
	p := harness.Start(b, harness.Environ(dir), "fleet", "collect", "--fleet", file, "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "1")
	url := "http://" + p.Find(`Metric Export HTTP server listening on (\S+)`) + "/metric_plugin/v1/fleet"
	read := func() (f fleetSample) {
		resp, err := http.Get(url)
		require.NoError(b, err)
		defer resp.Body.Close()
		require.NoError(b, json.NewDecoder(resp.Body).Decode(&f))
		return f
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		up := 0
		for _, m := range read().Result.Monitors {
			if m.Up {
				up++
			}
		}
		if up == len(monitors) {
			break
		}
		require.True(b, time.Now().Before(deadline), p.Out.String())
	}
	for b.Loop() {
		sent := make(chan uint64, 1)
		loading, stop := context.WithTimeout(b.Context(), long)
		go func() { sent <- fleetLoad(loading, monitors) }()
		var memory, minutes, lags []float64
		began, cpu := time.Now(), processCPU(b, p)
		late := uint64(0)
		for loading.Err() == nil {
			time.Sleep(time.Second)
			f := read()
			for _, m := range f.Result.Monitors {
				lags = append(lags, m.Lag)
			}
			if f.Result.Totals != nil {
				late += f.Result.Totals.Late + f.Result.Totals.Dropped
			}
			memory, minutes = append(memory, bench.ResidentMiB(p.Cmd.Process.Pid)), append(minutes, time.Since(began).Minutes())
		}
		stop()
		n := <-sent
		took, used := time.Since(began).Seconds(), processCPU(b, p)-cpu
		var last fleetSample
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			if last = read(); eventsOf(last) >= n*uint64(len(monitors)) {
				break
			}
		}
		from := len(memory) / 4 // the windows and the ledgers fill
		_, slope := stat.LinearRegression(minutes[from:], memory[from:], nil, false)
		growth := slope * (minutes[len(minutes)-1] - minutes[from])
		var g bench.Gates
		fmt.Fprintf(os.Stderr, "%.0f messages a second of four entries, %.2f of a core\n", float64(n)*float64(len(monitors))/took, used/took)
		fmt.Fprintln(os.Stderr, g.Check(float64(n)*float64(len(monitors)) >= 0.98*fleetRate*took, "sent: at least 98 %% of %d a second", fleetRate))
		fmt.Fprintln(os.Stderr, g.Check(slices.Max(lags) < mostLag, "lag: median %.2f s, most %.2f, under %.0f", bench.Median(lags), slices.Max(lags), mostLag))
		lost := late
		for _, m := range last.Result.Monitors {
			lost += m.Gaps + m.Missed + m.Bad + m.Untimely
		}
		fmt.Fprintln(os.Stderr, g.Check(lost == 0 && eventsOf(last) == n*uint64(len(monitors)), "%d of %d messages came, %d lost, late or left out", eventsOf(last), n*uint64(len(monitors)), lost))
		fmt.Fprintln(os.Stderr, g.Check(growth <= max(leastGrowth, bench.Median(memory)/10), "memory: median %.0f MiB, most %.0f, growth %.0f", bench.Median(memory), slices.Max(memory), growth))
		if err := g.Err(); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	p.Signal(syscall.SIGINT)
	require.Zero(b, p.Wait(time.Minute), p.Out.String())
}

func eventsOf(f fleetSample) (n uint64) {
	for _, m := range f.Result.Monitors {
		n += m.Events
	}
	return n
}

// fleetLoad has peers send messages to all monitors, of which half cancel an earlier one and a tenth repeat one, and
// returns how many each got.
func fleetLoad(ctx context.Context, monitors []*fleetMonitor) (n uint64) {
	cids := func(k uint64) cid.Cid {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, k))
		mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
		if err != nil {
			panic(err) // not for this hash
		}
		return cid.NewCidV1(cid.Raw, mh)
	}
	const every = 10 * time.Millisecond
	due, began := 0.0, time.Now()
	for tick := time.Tick(every); ; {
		select {
		case <-ctx.Done():
			return n
		case <-tick:
		}
		due = time.Since(began).Seconds() * fleetRate / float64(len(monitors))
		for ; float64(n) < due; n++ {
			// Every second message cancels what an earlier one asked for.
			k, cancel := n, false
			switch {
			case n < 4001:
			case n%2 == 1:
				k, cancel = n-2001, true
			case n%10 == 0:
				k = n - 1000
			}
			e := event.Event{Kind: event.KindMessage, Time: time.Now().UnixNano(), Peer: harness.PeerOf(int(k % 5000)), Addrs: []event.Text{"/ip4/192.0.2.7/tcp/4001"}}
			for i := range uint64(4) {
				e.Wants = append(e.Wants, event.Want{CID: cids(4*k + i), Priority: rand.Int32N(100), Type: event.WantHave, Cancel: cancel})
			}
			for _, m := range monitors {
				one := e
				m.bus.Publish(&one)
			}
		}
	}
}
