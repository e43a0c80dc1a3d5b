//go:build dashboards || all

package dashboards

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// demoInto runs the demo with its own InfluxDB and adds the sample points.
func demoInto(t *testing.T, address, authorization string, env ...string) {
	t.Helper()
	p := harness.Start(t, harness.Environ(t.TempDir(), env...), "demo", "--duration", "40s", "--influxdb", address,
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "2")
	require.Zero(t, p.Wait(3*time.Minute), p.Out.String())
	fillSamples(t, address, func(r *http.Request) { r.Header.Set("Authorization", authorization) })
}

// TestDashboardsInfluxDB16 queries Debian's InfluxDB 1.6.7, which has no Flux.
func TestDashboardsInfluxDB16(t *testing.T) {
	address, authorization := harness.StartInfluxDB16(t)
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("of-the-test"), 0o600))
	demoInto(t, address, authorization, "IPFSMON_INFLUXDB_USERNAME=admin", "IPFSMON_INFLUXDB_PASSWORD_FILE="+password)
	dashboardsAnswer(t, influx.Config{URL: address, Username: "admin", PasswordFile: password})
}

// TestDashboardsInfluxDB2 queries InfluxDB 2.7.12, whose build here has no Flux.
func TestDashboardsInfluxDB2(t *testing.T) {
	address, org, token := harness.StartInfluxDB2(t)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	demoInto(t, address, "Token "+token, "IPFSMON_INFLUXDB_ORG="+org, "IPFSMON_INFLUXDB_TOKEN_FILE="+file)
	dashboardsAnswer(t, influx.Config{URL: address, Org: org, TokenFile: file})
}

// checkers returns a folder with the npm packages that package.json here names.
func checkers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "types.mjs", "flux.mjs"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
	return dir
}

// TestDashboardsTypes checks the dashboards against Grafana's own types with tsc --strict, and
// the Flux questions with Flux's own parser.
func TestDashboardsTypes(t *testing.T) {
	dir := checkers(t)
	args := []string{"types.mjs"}
	paths, err := filepath.Glob("../../grafana/dashboards/*.json")
	require.NoError(t, err)
	require.Len(t, paths, 8)
	for _, p := range append(paths, "../../dashboards.json") {
		p, err := filepath.Abs(p)
		require.NoError(t, err)
		args = append(args, p)
	}
	cmd := exec.Command("node", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "9 dashboards, 0 wrong")

	all := map[string]string{}
	for _, q := range query.Questions {
		all[q.Name], err = query.Fill(q.Flux, "1h", "ipfsmon")
		require.NoError(t, err)
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	cmd = exec.Command("node", "flux.mjs")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b)
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
