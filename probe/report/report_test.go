package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hundred is 100 provides of 1 to 100 ms, two fleets' retrievals, and failures.
func hundred() (out []store.Result) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 100 {
		out = append(out, store.Result{Provide: true, Step: probe.StepProvide, Fleet: "a", CID: "Qm", At: at, Duration: time.Duration(100-i) * time.Millisecond,
			Lookup: &probe.Lookup{Hops: 1 + i%2, RPCs: 6, Dials: 2, FailedDials: 1, HopTimes: []time.Duration{time.Millisecond}}})
	}
	out = append(out,
		store.Result{Fleet: "b", Region: "=cmd()", CID: "Qm", At: at, Duration: 2500 * time.Millisecond},
		store.Result{Fleet: "a", CID: "Qm", At: at, Duration: 90 * time.Microsecond},
		store.Result{Fleet: "a", CID: "Qm", At: at, Duration: time.Hour, Error: "-not, \"found\""})
	return out
}

// TestQuantiles computes them from the durations of successful measurements only.
func TestQuantiles(t *testing.T) {
	g := Groups(hundred())
	require.Len(t, g, 3)
	p := g[0]
	require.Equal(t, []any{"provide", "a", 100, 100, 0.05, 0.09, 0.095, 0.099, 1.5, 6.0}, []any{p.Kind, p.Fleet, p.Count, p.Success, p.P50, p.P90, p.P95, p.P99, p.Hops, p.RPCs})
	require.Equal(t, []any{"retrieve", "a", 2, 1, 0.00009}, []any{g[1].Kind, g[1].Fleet, g[1].Count, g[1].Success, g[1].P99})
	none := Groups([]store.Result{{Error: "x"}})
	require.Zero(t, none[0].P50)
	require.Empty(t, Groups(nil))
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Table(&b, Groups(hundred())))
	require.Equal(t, strings.TrimPrefix(`
      kind  fleet  runs  success   p50   p90   p95   p99  hops  RPCs  dials  failed
   provide      a   100  100.0 %  50ms  90ms  95ms  99ms   1.5   6.0    2.0     1.0
  retrieve      a     2   50.0 %  90µs  90µs  90µs  90µs   0.0   0.0    0.0     0.0
  retrieve      b     1  100.0 %  2.5s  2.5s  2.5s  2.5s   0.0   0.0    0.0     0.0
`, "\n"), b.String())
}

func TestCSVAndJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, CSV(&b, hundred()))
	rows, err := csv.NewReader(&b).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 104)
	require.Equal(t, "0.1", rows[1][7])
	require.Equal(t, "'=cmd()", rows[101][3], "a spreadsheet must not read a formula")
	require.Equal(t, `'-not, "found"`, rows[103][8])
	require.Empty(t, rows[103][10])

	b.Reset()
	require.NoError(t, JSON(&b, hundred(), map[string]any{"nodes": 5}))
	var doc map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &doc))
	require.Len(t, doc["groups"], 3)
	require.Len(t, doc["results"], 103)
	require.Equal(t, []any{0.001}, doc["results"].([]any)[0].(map[string]any)["lookup"].(map[string]any)["hop_times"])
	b.Reset()
	require.NoError(t, JSON(&b, nil, nil))
	require.Contains(t, b.String(), `"results": []`)
}

func TestPlot(t *testing.T) {
	var svg, again, picture bytes.Buffer
	g := Groups(hundred())
	require.NoError(t, Plot(&svg, g, "svg"))
	require.NoError(t, Plot(&again, g, "svg"))
	require.Equal(t, svg.String(), again.String(), "the same rows make the same bytes")
	for _, want := range []string{"a (100)", "b (1)", "provide", "retrieve", "per cent done"} {
		require.Contains(t, svg.String(), want)
	}
	require.NoError(t, Plot(&picture, g, "png"))
	image, err := png.Decode(&picture)
	require.NoError(t, err)
	require.Greater(t, image.Bounds().Dx(), 900)
	require.ErrorContains(t, Plot(&svg, g, "gif"), "want svg or png")
	require.True(t, errors.Is(Plot(&svg, Groups([]store.Result{{Error: "x"}}), "svg"), ErrNothing))
}
