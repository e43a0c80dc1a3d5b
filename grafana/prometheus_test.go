package grafana

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/metrics"
)

// The dashboards for Prometheus are read strictly, need no InfluxDB, and ask for metrics and labels that
// exist; every query of the list is in one.
func TestPrometheusDashboards(t *testing.T) {
	RegisterPlugins()
	labels := map[string][]string{}
	for _, f := range metrics.Families() {
		own := []string{"instance"}
		for _, l := range f.Labels {
			own = append(own, l.Name)
		}
		if f.Kind == metrics.Summary {
			own = append(own, "quantile")
		}
		labels[f.Name] = own
	}
	paths, err := filepath.Glob("prometheus/*.json")
	require.NoError(t, err)
	require.Len(t, paths, len(PrometheusDashboards()))
	require.Len(t, paths, len(promPanels))
	titles := map[string]map[string]bool{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotRegexp(t, `(?i)"influx|DS_INFLUXDB|timeFilter|FROM totals`, string(raw), path)
		var d dashboard.Dashboard
		require.NoError(t, d.UnmarshalJSONStrict(raw), path)
		require.NoError(t, d.Validate(), path)
		of := strings.Replace(*d.Uid, "ipfsmon-prometheus-", "ipfsmon-", 1)
		titles[of] = map[string]bool{}
		for _, p := range AllPanels(d) {
			if p.Type == "text" {
				continue
			}
			titles[of][*p.Title] = true
			require.NotEmpty(t, p.Targets, *p.Title)
			for _, target := range p.Targets {
				var q prometheus.Dataquery
				text, err := json.Marshal(target)
				require.NoError(t, err)
				require.NoError(t, json.Unmarshal(text, &q))
				where := path + ": " + *p.Title + ": " + q.Expr
				require.Contains(t, q.Expr, `instance=~"$node"`, where)
				require.NotContains(t, q.Expr, "{{", where)
				require.NotEqual(t, *q.Instant, *q.Range, where)
				used := promNames.FindAllString(q.Expr, -1)
				require.NotEmpty(t, used, where)
				var all []string
				for _, name := range used {
					require.Contains(t, labels, name, where)
					require.Equal(t, strings.HasSuffix(name, "_total"), regexp.MustCompile(`(rate|increase)\(`+name+`\b`).MatchString(q.Expr), "%s: a counter, and only that, has a rate", where)
					all = append(all, labels[name]...)
				}
				for _, m := range promLabels.FindAllStringSubmatch(q.Expr, -1) {
					for _, label := range append(strings.Split(m[1], ","), m[2]) {
						if label = strings.TrimSpace(label); label != "" {
							require.Contains(t, all, label, where)
						}
					}
				}
				for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(*q.LegendFormat, -1) {
					require.Regexp(t, `by \([^)]*\b`+m[1]+`\b`, q.Expr, where)
				}
			}
		}
	}
	for board, panels := range promPanels {
		for title := range panels {
			require.True(t, titles[board][title], "%s has no panel %q; there are %v", board, title, slices.Sorted(maps.Keys(titles[board])))
		}
	}
}

var (
	promNames  = regexp.MustCompile(`\b(ipfsmon|plugin_metric_export)_\w+`)
	promLabels = regexp.MustCompile(`by \(([^)]*)\)|[{,](\w+)[=!]`)
)
