//go:build soak || all

package soak

import (
	"context"
	"encoding/csv"
	"fmt"
	"image/color"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// soaked is a figure that must not grow as long as the node runs.
type soaked struct {
	name  string
	unit  string
	least float64 // growth over the whole time that is none: what the figure does from one minute to the next
	read  func(f map[string]float64, n *harness.Node, store int) float64
}

var soakedFigures = []soaked{
	{"memory of the node", "MiB", 48, func(_ map[string]float64, n *harness.Node, _ int) float64 {
		return bench.ResidentMiB(n.Cmd.Process.Pid)
	}},
	{"heap in use of the node", "MiB", 32, func(f map[string]float64, _ *harness.Node, _ int) float64 {
		return f["go_memstats_heap_inuse_bytes"] / (1 << 20)
	}},
	{"descriptors of the node", "open", 16, func(f map[string]float64, _ *harness.Node, _ int) float64 { return f["process_open_fds"] }},
	{"goroutines of the node", "running", 32, func(f map[string]float64, _ *harness.Node, _ int) float64 { return f["go_goroutines"] }},
	{"age of the oldest point", "s", 2, func(f map[string]float64, _ *harness.Node, _ int) float64 { return f["ipfsmon_influx_lag_seconds"] }},
	{"points that wait", "points", 5000, func(f map[string]float64, _ *harness.Node, _ int) float64 { return f["ipfsmon_influx_queued_points"] }},
	{"memory of the store", "MiB", 256, func(_ map[string]float64, _ *harness.Node, store int) float64 { return bench.ResidentMiB(store) }},
}

// BenchmarkSoak runs a monitored node under load for the duration SOAK (3m), and reports what
// grows. Peers connect, send wants, fetch blocks and leave; one reads the stream. Samples are
// in SOAK_DIR (bin/soak): samples.csv and soak.png. A figure grows if its slope after the first
// quarter, times that time, is more than a tenth of its median and more than what it does in a
// minute anyhow.
func BenchmarkSoak(b *testing.B) {
	long, dir := 3*time.Minute, filepath.Join("../..", "bin", "soak")
	if s := os.Getenv("SOAK"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(b, err, "SOAK is a duration such as 8h")
	}
	if s := os.Getenv("SOAK_DIR"); s != "" {
		dir = s
	}
	rate := envInt(b, "SOAK_RATE", 2000)
	require.NoError(b, os.MkdirAll(dir, 0o755))
	n := benchNode(b, b.TempDir(), true)
	store := harness.StoreOf(n)
	cids, address := addFile(n, 16<<20), n.Address()

	group, ctx := errgroup.WithContext(b.Context())
	loading, stop := context.WithTimeout(ctx, long)
	defer stop()
	steady := newLoader(b, address)
	group.Go(func() error { return steady.run(loading, rate) })
	group.Go(func() error { return comeAndGo(loading, b, address, cids, rate/4) })
	var times []float64
	values := make([][]float64, len(soakedFigures))
	group.Go(func() error {
		begin, every := time.Now(), min(max(long/600, 500*time.Millisecond), time.Minute)
		for loading.Err() == nil {
			f, err := n.Figures()
			if err != nil {
				return err
			}
			times = append(times, time.Since(begin).Minutes())
			for i := range soakedFigures {
				values[i] = append(values[i], soakedFigures[i].read(f, n, store))
			}
			select {
			case <-time.After(every):
			case <-loading.Done():
			}
		}
		return nil
	})
	for b.Loop() {
		require.NoError(b, group.Wait())
	}
	require.NoError(b, writeSamples(filepath.Join(dir, "samples.csv"), times, values))
	require.NoError(b, drawSamples(filepath.Join(dir, "soak.png"), times, values))

	passed, failed := 0, 0
	check := func(ok bool, format string, args ...any) {
		word := "ok    "
		if ok {
			passed++
		} else {
			failed++
			word = "FAILED"
			b.Fail()
		}
		fmt.Fprintf(os.Stderr, "%s %s\n", word, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(os.Stderr, "%v at %d points/s, %d samples in %s\n", long, rate+rate/4, len(times), dir)
	from := len(times) / 4 // the node fills its caches
	for i, s := range soakedFigures {
		at, v := times[from:], values[i][from:]
		_, slope := stat.LinearRegression(at, v, nil, false)
		growth := slope * (at[len(at)-1] - at[0])
		check(growth <= max(s.least, bench.Median(v)/10), "%-24s median %8.1f, most %8.1f, slope %+.2f %s an hour", s.name, bench.Median(v), slices.Max(v), slope*60, s.unit)
	}
	last, err := n.Figures()
	require.NoError(b, err)
	for _, name := range []string{"ipfsmon_influx_dropped_points_total", "ipfsmon_influx_rejected_points_total", "ipfsmon_influx_panics_total"} {
		check(last[name] == 0, "%-36s %.0f", name, last[name])
	}
	n.Signal(syscall.SIGINT)
	check(n.Wait(30*time.Second) == 0, "the node ends on request")
	fmt.Fprintf(os.Stderr, "%d passed, %d failed\n", passed, failed)
	b.ReportMetric(0, "ns/op")
}

// comeAndGo has peers that stay for some seconds each.
func comeAndGo(ctx context.Context, b *testing.B, address string, cids []cid.Cid, rate int) error {
	for ctx.Err() == nil {
		l := newLoader(b, address)
		visit, leave := context.WithTimeout(ctx, time.Second+rand.N(4*time.Second))
		_, err := l.fetch(visit, cids[:min(len(cids), 16)])
		if err == nil {
			err = l.run(visit, rate)
		}
		over := visit.Err() != nil
		leave()
		if e := l.host.Close(); err == nil {
			err = e
		}
		if err != nil && !over {
			return err
		}
	}
	return nil
}

func writeSamples(file string, times []float64, values [][]float64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	row := []string{"minutes"}
	for _, s := range soakedFigures {
		row = append(row, s.name+" ("+s.unit+")")
	}
	_ = w.Write(row) // Error returns the error
	for i, at := range times {
		row = append(row[:0], strconv.FormatFloat(at, 'f', 3, 64))
		for _, v := range values {
			row = append(row, strconv.FormatFloat(v[i], 'f', 2, 64))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}

// drawSamples draws one panel for each figure.
func drawSamples(file string, times []float64, values [][]float64) error {
	panels := make([][]*plot.Plot, len(soakedFigures))
	for i, s := range soakedFigures {
		p := plot.New()
		p.Title.Text = s.name
		p.Title.TextStyle.Font.Size = font.Length(11)
		p.Y.Label.Text = s.unit
		p.Y.Min = 0
		if i == len(soakedFigures)-1 {
			p.X.Label.Text = "minutes"
		}
		points := make(plotter.XYs, len(times))
		for k := range times {
			points[k] = plotter.XY{X: times[k], Y: values[i][k]}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color = color.RGBA{R: 20, G: 90, B: 160, A: 255}
		p.Add(plotter.NewGrid(), line)
		panels[i] = []*plot.Plot{p}
	}
	img := vgimg.New(24*vg.Centimeter, vg.Length(len(panels))*5*vg.Centimeter)
	for i, row := range plot.Align(panels, draw.Tiles{Rows: len(panels), Cols: 1, PadY: 3 * vg.Millimeter, PadX: vg.Millimeter,
		PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 6 * vg.Millimeter}, draw.New(img)) {
		panels[i][0].Draw(row[0])
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = vgimg.PngCanvas{Canvas: img}.WriteTo(f)
	return err
}
