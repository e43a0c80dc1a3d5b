package e2e

import (
	"encoding/json"
	"io"
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

// fleetState is what a test reads of /metric_plugin/v1/fleet.
type fleetState struct {
	Result struct {
		Monitors []struct {
			Name     string
			Page     string
			Up       bool
			Events   uint64
			Wants    uint64
			Peers    int
			Complete bool
			Clock    struct {
				Known  bool
				Offset float64 `json:"offset_seconds"`
				Error  float64 `json:"error_seconds"`
			}
		}
		Totals *struct {
			Closed   uint64
			Matched  uint64
			Peers    int
			Coverage []struct{ Share float64 }
			Overlaps []struct{ Common int }
			Sizes    []struct{ Of string }
			Top      []struct {
				CID  string
				Seen []string
			}
		}
	}
}

// TestDemoMonitors: three monitors of one swarm see different parts, and the
// collector joins them; every sink has it.
func TestDemoMonitors(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := harness.Environ(home)
	p := harness.Start(t, env, "demo", "--monitors", "3", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	at := p.Find(`fleet: Metric Export HTTP server listening on (\S+)`)
	stream := p.Find(`fleet: Metric Export TCP server listening on (\S+)`)
	var state fleetState
	require.Eventually(t, func() bool {
		state = fleetState{}
		require.NoError(t, json.Unmarshal([]byte(page(t, "http://"+at+"/metric_plugin/v1/fleet")), &state))
		if len(state.Result.Monitors) != 3 || state.Result.Totals == nil || state.Result.Totals.Closed == 0 || state.Result.Totals.Matched == 0 || len(state.Result.Totals.Top) == 0 {
			return false
		}
		for _, m := range state.Result.Monitors {
			if !m.Up || m.Wants == 0 || !m.Complete || m.Peers == 0 || !m.Clock.Known {
				return false
			}
		}
		return true
	}, 3*time.Minute, 200*time.Millisecond, "%+v", &state)
	fewer := 0
	for _, m := range state.Result.Monitors {
		require.LessOrEqual(t, max(m.Clock.Offset, -m.Clock.Offset), m.Clock.Error+1e-6, "all have the clock of this machine")
		if m.Peers < state.Result.Totals.Peers {
			fewer++
		}
	}
	require.GreaterOrEqual(t, fewer, 2, "they see different parts: %+v", state)
	require.Len(t, state.Result.Totals.Overlaps, 3)
	require.Equal(t, "all", state.Result.Totals.Sizes[0].Of)
	require.NotEmpty(t, state.Result.Totals.Top[0].Seen)

	// The live page of the fleet, which is printed, and the pages of the monitors.
	live := p.Find(`fleet: Live page at (http://\S+)`)
	require.Equal(t, "http://"+at+"/", live)
	require.Contains(t, browse(t, live), "ui/js/fleet.js")
	require.Contains(t, page(t, live+"metric_plugin/v1/fleet/history"), `"moments":[{"time":`)
	for _, m := range state.Result.Monitors {
		require.Contains(t, browse(t, m.Page), "ui/js/main.js", m.Name)
	}

	var out, seen string
	var err error
	require.Eventually(t, func() bool { // the kubo sees much more than the light nodes
		out, err = harness.Run(env, "tail", "--count", "100", "--kind", "message", "--format", "json", stream)
		require.NoError(t, err, out)
		seen += out
		return strings.Contains(seen, `"monitor":"watch-1"`) && strings.Contains(seen, `"monitor":"watch-2"`)
	}, 2*time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { // an archive of a collector has each monitor
		out, err = harness.Run(env, "record", "--format", "parquet", "--all", "--count", "300", "--from", stream, filepath.Join(home, "archive"))
		require.NoError(t, err, out)
		out, err = harness.Run(env, "archive", "info", filepath.Join(home, "archive"))
		require.NoError(t, err, out)
		return strings.Contains(out, "\nwatch-1: ") && strings.Contains(out, "\nwatch-2: ")
	}, 2*time.Minute, time.Millisecond, "%s", &out)
	metrics := page(t, "http://"+at+"/metrics")
	for _, want := range []string{`ipfsmon_fleet_monitor_up{monitor="watch-1"} 1`, "ipfsmon_fleet_requests_total", `monitoring_size_estimator_coupon_size_estimate{agent_version="",protocol=""}`} {
		require.Contains(t, metrics, want)
	}
	for _, m := range []string{"fleet", "fleet_monitors", "fleet_overlaps", "fleet_sizes", "fleet_top"} {
		require.Eventually(t, func() bool {
			out, err = harness.Run(env, "query", "--format", "csv", "SELECT * FROM totals."+m+" LIMIT 5")
			return err == nil && strings.Count(out, "\n") >= 2
		}, time.Minute, 200*time.Millisecond, m)
	}
	out, err = harness.Run(env, "query", "--format", "csv", "SELECT count(cid) FROM wants WHERE \"node\" = 'fleet'")
	require.NoError(t, err, out)
	require.Contains(t, out, "no rows", "the events of others are stored by them")
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(time.Minute), p.Out.String())
}

// TestFleetCollectSaysWhatIsWrong: and --check explains what is right.
func TestFleetCollectSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir())
	config := func(text string) string {
		name := filepath.Join(t.TempDir(), "fleet.json")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	f := func(want string, args ...string) {
		t.Helper()
		code, out, stderr := harness.Apart(t, env, append([]string{"fleet", "collect"}, args...)...)
		require.NotZero(t, code, out)
		require.Contains(t, stderr, want)
	}
	f("--fleet is missing: want a JSON file")
	f("--fleet: open", "--fleet", "/nonexistent")
	f(`monitors.0.nam: unknown key; did you mean name?`, "--fleet", config(`{"monitors":[{"stream":"127.0.0.1:1","nam":"x"}]}`))
	f(`monitor.MonitrName: unknown key; did you mean MonitorName?`, "--fleet", config(`{"monitors":[{"stream":"127.0.0.1:1"}],"monitor":{"MonitrName":"x"}}`))
	f("a collector has no node to look into", "--fleet", config(`{"monitors":[{"stream":"127.0.0.1:1"}],"monitor":{"IntrospectConfig":{}}}`))
	good := config(`{"monitors":[{"stream":"127.0.0.1:1","name":"de1"}],"monitor":{"MonitorName":"all"}}`)
	code, out, stderr := harness.Apart(t, env, "fleet", "collect", "--fleet", good, "--check")
	require.Zero(t, code, stderr)
	for _, want := range []string{"monitors.0.name", "de1", "lateness", "10s", `monitor.MonitorName`, `"all"`, "(file)"} {
		require.Contains(t, out, want)
	}

	// One that is not there is waited for, and named.
	p := harness.Start(t, env, "fleet", "collect", "--fleet", good, "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0")
	at := p.Find(`Metric Export HTTP server listening on (\S+)`)
	p.Find(`(Collecting from 1 monitors)`)
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + at + "/metric_plugin/v1/ready")
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "de1")
	}, time.Minute, 100*time.Millisecond)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(time.Minute), p.Out.String())
}

// browse fetches a page as a browser does.
func browse(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode, url)
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}
