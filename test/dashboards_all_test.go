//go:build all

package test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
)

// demoInto runs the demo with an InfluxDB of its own and adds the sample points.
func demoInto(t *testing.T, address, authorization string, env ...string) {
	t.Helper()
	p := start(t, environ(t.TempDir(), env...), "demo", "--duration", "40s", "--influxdb", address,
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "2")
	require.Zero(t, p.wait(3*time.Minute), p.out.String())
	fillSamples(t, address+"/write?db=ipfsmon&rp=totals", func(r *http.Request) { r.Header.Set("Authorization", authorization) })
}

// TestAllDashboardsInfluxDB16 asks Debian's InfluxDB 1.6.7, which has no Flux.
func TestAllDashboardsInfluxDB16(t *testing.T) {
	address, authorization := startInfluxDB16(t)
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("of-the-test"), 0o600))
	demoInto(t, address, authorization, "IPFSMON_INFLUXDB_USERNAME=admin", "IPFSMON_INFLUXDB_PASSWORD_FILE="+password)
	dashboardsAnswer(t, influx.Config{URL: address, Username: "admin", PasswordFile: password})
}

// TestAllDashboardsInfluxDB2 asks InfluxDB 2.7.12, whose build here has no Flux.
func TestAllDashboardsInfluxDB2(t *testing.T) {
	address, org, token := startInfluxDB2(t)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	demoInto(t, address, "Token "+token, "IPFSMON_INFLUXDB_ORG="+org, "IPFSMON_INFLUXDB_TOKEN_FILE="+file)
	dashboardsAnswer(t, influx.Config{URL: address, Org: org, TokenFile: file})
}
