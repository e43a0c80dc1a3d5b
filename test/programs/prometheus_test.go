//go:build programs || all

package programs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// promMayBeEmpty lists queries that find nothing after a demo, with the reason.
var promMayBeEmpty = map[string]string{
	"Requests by outcome": "a demo asks nothing over HTTP: kubo's HTTP retrieval needs TLS",
	"Requests received":   "the monitored node of a demo may be asked nothing in the minute",
	"Requests sent":       "the monitored node of a demo may ask nothing in the minute",
	"Without an answer":   "the same",
	"Size of a block":     "no block may have come in the last minute",
}

// TestPrometheusDashboards: a real Prometheus scrapes a demo's /metrics, and every query of the dashboards for
// it has an answer.
func TestPrometheusDashboards(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	require.NoError(t, err, "prometheus is missing; on Debian: apt-get install --no-install-recommends prometheus")
	home := t.TempDir()
	env := harness.Environ(home)
	demo := harness.Start(t, env, "demo", "--duration", "10m", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1")
	page := demo.Find(`Metric Export HTTP server listening on (\S+)`)
	listen := harness.FreeAddress(t, "tcp")
	config := filepath.Join(home, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: ipfsmon\n    static_configs:\n      - targets: ['%s']\n", page), 0o600))
	harness.Launch(t, env, program, "--config.file", config, "--storage.tsdb.path", filepath.Join(home, "prometheus"), "--web.listen-address", listen)

	ask := func(query string) (rows []json.RawMessage, problem string) {
		resp, err := http.Get("http://" + listen + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return nil, err.Error()
		}
		defer resp.Body.Close()
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return nil, err.Error()
		}
		if answer.Status != "success" {
			problem = answer.Error
		}
		return answer.Data.Result, problem
	}
	// What is of whole minutes comes with the first one.
	for _, first := range []string{"ipfsmon_info", "ipfsmon_coverage_peers", "ipfsmon_retrieval_wanted_total"} {
		require.Eventually(t, func() bool {
			rows, problem := ask(first)
			return problem == "" && len(rows) > 0
		}, 4*time.Minute, 200*time.Millisecond, first)
	}
	fill := strings.NewReplacer("$node", ".*", "$__rate_interval", "1m", "$__interval", "1m", "$__range", "1h")
	queries := grafana.PromQueries()
	require.Greater(t, len(queries), 60)
	for _, q := range queries {
		expr := fill.Replace(q.Expr)
		require.NotContains(t, expr, "$", q.Where)
		title := strings.Split(q.Where, " / ")[1]
		empty := true
		for end := time.Now().Add(time.Minute); empty && time.Now().Before(end); time.Sleep(time.Second) {
			rows, problem := ask(expr)
			require.Empty(t, problem, "%s: %s", q.Where, expr)
			// NaN is a quotient without anything in it.
			empty = len(rows) == 0 || regexp.MustCompile(`"NaN"\]`).Match(rows[0]) && len(rows) == 1
			if promMayBeEmpty[title] != "" {
				break
			}
		}
		if empty && promMayBeEmpty[title] == "" {
			t.Errorf("%s finds nothing: %s", q.Where, expr)
		}
	}
	// The dashboard's figure is the page's.
	rows, problem := ask("sum(ipfsmon_peers)")
	require.Empty(t, problem)
	require.Len(t, rows, 1)
	require.NotContains(t, string(rows[0]), `"0"`)
}
