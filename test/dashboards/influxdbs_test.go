//go:build dashboards || all

package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
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
	dashboardsAnswer1(t, address, authorization)
}

// TestDashboardsInfluxDB113 queries the newest InfluxDB 1.x, 1.13.2, the questions in InfluxQL too: its build here has no Flux.
func TestDashboardsInfluxDB113(t *testing.T) {
	address, authorization := harness.StartInfluxDB113(t)
	questionsAnswer(t, dashboardsAnswer1(t, address, authorization), "InfluxQL")
}

func dashboardsAnswer1(t *testing.T, address, authorization string) influx.Config {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("of-the-test"), 0o600))
	demoInto(t, address, authorization, "IPFSMON_INFLUXDB_USERNAME=admin", "IPFSMON_INFLUXDB_PASSWORD_FILE="+password)
	cfg := influx.Config{URL: address, Username: "admin", PasswordFile: password}
	dashboardsAnswer(t, cfg)
	return cfg
}

// TestDashboardsInfluxDB2 queries InfluxDB 2.9.1, whose build here has no Flux.
func TestDashboardsInfluxDB2(t *testing.T) {
	address, org, token := harness.StartInfluxDB2(t)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	demoInto(t, address, "Token "+token, "IPFSMON_INFLUXDB_ORG="+org, "IPFSMON_INFLUXDB_TOKEN_FILE="+file)
	dashboardsAnswer(t, influx.Config{URL: address, Org: org, TokenFile: file})
}

// TestDashboardsInfluxDB3 queries the stand-in for InfluxDB 3 in front of a real 1.8.10. The demo
// makes the databases and tables and writes by the API of InfluxDB 3.
func TestDashboardsInfluxDB3(t *testing.T) {
	home := t.TempDir()
	folder := filepath.Join(home, "influxdb")
	store := harness.Start(t, harness.Environ(home), "store", "--create", "--dir", folder, "--listen", "127.0.0.1:0")
	behind := influx.Config{
		URL:      "http://" + store.Find(`InfluxDB 1\.8\.10 listening on (127\.0\.0\.1:\d+)`),
		Username: "monitor", PasswordFile: filepath.Join(folder, "monitor.password"),
	}
	require.NoError(t, client.Setup(t.Context(), behind))
	password, err := os.ReadFile(behind.PasswordFile)
	require.NoError(t, err)
	s := influxtest.New3()
	s.Auth = true
	s.Behind = &influxtest.Behind3{URL: behind.URL, Username: behind.Username, Password: strings.TrimSpace(string(password))}
	address, file := s.Start(t).URL, filepath.Join(home, "token")
	require.NoError(t, os.WriteFile(file, []byte(s.Admin("_admin")), 0o600))
	demoInto(t, address, "Token "+s.Token("_admin"), "IPFSMON_INFLUXDB_VERSION=3", "IPFSMON_INFLUXDB_TOKEN_FILE="+file)
	keep, written, there := s.Database("ipfsmon/history")
	require.True(t, there && !written && keep == 7*24*time.Hour)
	require.NotZero(t, s.Asked()["POST /api/v3/write_lp"])
	dashboardsAnswer(t, influx.Config{URL: address, Version: "3", TokenFile: file})
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
	require.NotEmpty(t, paths)
	for _, p := range append(paths, "../../dashboards.json", "../../dashboards-v2.json") {
		p, err := filepath.Abs(p)
		require.NoError(t, err)
		args = append(args, p)
	}
	cmd := exec.Command("node", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), fmt.Sprintf("%d dashboards, 0 wrong", len(paths)+2))

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
