//go:build programs || all

package programs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

const rulesFile = "grafana/prometheus/ipfsmon.rules.yml"

// ruleCase is a series of samples, one a minute, with which an alert fires, and one with which
// it does not.
type ruleCase struct {
	fires, quiet [][2]string // series and values in promtool's notation
	at           string      // when
}

var ruleCases = map[string]ruleCase{
	"ipfsmon_no_points": {
		[][2]string{{`ipfsmon_influx_stored_points_total{instance="a",destination="main"}`, "500x30"}},
		[][2]string{{`ipfsmon_influx_stored_points_total{instance="a",destination="main"}`, "0+50x30"}}, "20m"},
	"ipfsmon_node_down": {
		[][2]string{{`ipfsmon_info{instance="a",job="ipfsmon",monitor="de1"}`, "1x10 _x20"}},
		[][2]string{{`ipfsmon_info{instance="a",job="ipfsmon",monitor="de1"}`, "1x30"}}, "28m"},
	"ipfsmon_lost": {
		[][2]string{{`ipfsmon_influx_rejected_points_total{instance="a",destination="main"}`, "0x15 7x15"}},
		[][2]string{{`ipfsmon_influx_rejected_points_total{instance="a",destination="main"}`, "7x30"}, {`ipfsmon_bus_missed_events_total{instance="a",reader="x"}`, "0x30"}}, "20m"},
	"ipfsmon_disk": {
		[][2]string{{`ipfsmon_influx_spool_full_ratio{instance="a",destination="main"}`, "0.9x30"}},
		[][2]string{{`ipfsmon_influx_spool_full_ratio{instance="a",destination="main"}`, "0.7x30"}}, "20m"},
	"ipfsmon_storm": {
		[][2]string{{`ipfsmon_capture_entries_total{instance="a",direction="received",type="want_have"}`, "0+600x60 50000+60000x10"}},
		[][2]string{{`ipfsmon_capture_entries_total{instance="a",direction="received",type="want_have"}`, "0+60000x70"}}, "64m"},
	"ipfsmon_flood": {
		[][2]string{{`ipfsmon_derive_flooding_peers{instance="a"}`, "1x30"}},
		[][2]string{{`ipfsmon_derive_flooding_peers{instance="a"}`, "0x30"}}, "20m"},
	"ipfsmon_fleet_away": {
		[][2]string{{`ipfsmon_fleet_monitor_up{instance="a",monitor="m1"}`, "1x30"}, {`ipfsmon_fleet_monitor_up{instance="a",monitor="m2"}`, "1x5 0x25"}},
		[][2]string{{`ipfsmon_fleet_monitor_up{instance="a",monitor="m1"}`, "1x30"}, {`ipfsmon_fleet_monitor_up{instance="a",monitor="m2"}`, "1x30"}}, "20m"},
	"ipfsmon_fleet_clock": {
		[][2]string{{`ipfsmon_fleet_clock_offset_seconds{instance="a",monitor="m1"}`, "-1.1x30"}},
		[][2]string{{`ipfsmon_fleet_clock_offset_seconds{instance="a",monitor="m1"}`, "-0.9x30"}, {`ipfsmon_fleet_clock_offset_seconds{instance="a",monitor="m2"}`, "0.9x30"}}, "20m"},
	"ipfsmon_peers": {
		[][2]string{{`plugin_metric_export_wiretap_connections{instance="a"}`, "900x300 90x30"}},
		[][2]string{{`plugin_metric_export_wiretap_connections{instance="a"}`, "900x300 500x30"}}, "320m"},
}

// TestPrometheusRules: Prometheus accepts the rules; each fires when it must and only then,
// which is tried with promtool, and each alert of Grafana is among them, unless the file says
// why not.
func TestPrometheusRules(t *testing.T) {
	harness.Tool(t, "promtool", "check", "rules", rulesFile)
	text, err := os.ReadFile(filepath.Join(harness.Root, rulesFile))
	require.NoError(t, err)
	root, err := filepath.Abs(harness.Root)
	require.NoError(t, err)
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%s]\nevaluation_interval: 1m\ntests:\n", filepath.Join(root, rulesFile))
	for _, a := range grafana.Alerts() {
		name := strings.ReplaceAll(a.UID, "-", "_")
		if a.Prometheus == "" {
			require.Contains(t, strings.ReplaceAll(string(text), "\n# ", " "), `"`+a.Title+`" is not here`)
			continue
		}
		c, ok := ruleCases[name]
		require.True(t, ok, "%s is not tried", name)
		for fires, series := range map[bool][][2]string{true: c.fires, false: c.quiet} {
			b.WriteString("- interval: 1m\n  input_series:\n")
			for _, s := range series {
				fmt.Fprintf(&b, "  - series: '%s'\n    values: '%s'\n", s[0], s[1])
			}
			// promtool compares whole alerts; a count of those that fire is enough here.
			count := "0"
			if fires {
				count = "1"
			}
			fmt.Fprintf(&b, "  promql_expr_test:\n  - expr: 'count(ALERTS{alertname=\"%s\",alertstate=\"firing\"}) or vector(0)'\n    eval_time: %s\n    exp_samples: [{value: %s}]\n", name, c.at, count)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.test.yml")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	harness.Tool(t, "promtool", "test", "rules", file)
}

// TestPrometheusScrapesOpenMetrics: a Prometheus, which asks for OpenMetrics, has the figures by
// the names that the text format has, and evaluates the rules without an error.
func TestPrometheusScrapesOpenMetrics(t *testing.T) {
	n := harness.StartNode(t, t.TempDir())
	get := func(accept string) (kind, body string) {
		q, err := http.NewRequest(http.MethodGet, "http://"+n.HTTP+"/metrics", nil)
		require.NoError(t, err)
		q.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.Header.Get("Content-Type"), string(b)
	}
	kind, body := get("application/openmetrics-text; version=1.0.0")
	require.Contains(t, kind, "application/openmetrics-text; version=1.0.0")
	require.True(t, strings.HasSuffix(body, "# EOF\n"))

	dir := t.TempDir()
	root, err := filepath.Abs(harness.Root)
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs:\n- job_name: ipfsmon\n  static_configs: [{targets: ['%s']}]\n",
		filepath.Join(root, rulesFile), n.HTTP), 0o600))
	address := harness.FreeAddress(t, "tcp")
	p := harness.Launch(t, harness.Environ(dir), "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	ask := func(path string, into any) bool {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(into) == nil && resp.StatusCode == http.StatusOK
	}
	for _, name := range []string{"plugin_metric_export_wiretap_sent_bytes", "ipfsmon_capture_messages_total", "ipfsmon_peers", "ipfsmon_info"} {
		require.Eventually(t, func() bool {
			var answer struct{ Data struct{ Result []any } }
			return ask("/api/v1/query?query="+url.QueryEscape(name), &answer) && (len(answer.Data.Result) > 0 || name == "ipfsmon_peers")
		}, 60*time.Second, 100*time.Millisecond, "%s: %s", name, p.Out)
	}
	require.Eventually(t, func() bool {
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if !ask("/api/v1/rules", &answer) || len(answer.Data.Groups) != 1 {
			return false
		}
		for _, r := range answer.Data.Groups[0].Rules {
			require.Empty(t, r.LastError, r.Name)
			if r.Health != "ok" {
				return false
			}
		}
		return len(answer.Data.Groups[0].Rules) == len(ruleCases)
	}, 60*time.Second, 100*time.Millisecond)
}
