//go:build stack || all

package stack

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/cmd/ipfsmon/setup"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestStackSetup runs ipfsmon setup against a real InfluxDB: a new one, one that is set up, one
// with an interrupted set-up, and a foreign one.
func TestStackSetup(t *testing.T) {
	program, dir := harness.BuildInfluxDB2(t), t.TempDir()
	p := harness.Launch(t, harness.WithoutInflux(dir), program, "--http-bind-address", "127.0.0.1:0", "--reporting-disabled",
		"--bolt-path", filepath.Join(dir, "bolt"), "--sqlite-path", filepath.Join(dir, "sqlite"), "--engine-path", filepath.Join(dir, "engine"))
	address := "http://127.0.0.1:" + p.Find(`service=tcp-listener.* port=(\d+)`)
	secrets := filepath.Join(dir, "secrets")
	env := append(harness.Environ(dir), "IPFSMON_INFLUXDB_URL="+address)
	runSetup := func() string {
		t.Helper()
		out, err := harness.Run(env, "setup", "--dir", secrets)
		require.NoError(t, err, out)
		return out
	}
	read := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		for _, name := range setup.Files {
			secret, err := setup.Show(secrets, name)
			require.NoError(t, err)
			all[name] = secret
		}
		return all
	}
	ask := func(token, method, path, body string) int {
		t.Helper()
		status, _ := harness.Request(t, method, address+path, "Token "+token, body)
		return status
	}

	out := runSetup()
	require.Contains(t, out, "InfluxDB is set up")
	require.NotContains(t, out, "WARN")
	first := read()
	for name, secret := range first {
		require.NotContains(t, out, secret, name)
	}
	require.NotContains(t, runSetup(), "made the token")
	require.Equal(t, first, read())

	// The node writes and cannot read; Grafana reads and cannot write; neither
	// can do anything else.
	node, grafana, admin := first[setup.NodeToken], first[setup.GrafanaToken], first[setup.AdminToken]
	for _, bucket := range []string{"ipfsmon/history", "ipfsmon/totals"} {
		path := "/api/v2/write?" + url.Values{"org": {"ipfsmon"}, "bucket": {bucket}}.Encode()
		require.Equal(t, 204, ask(node, "POST", path, "m v=1i"))
		require.Equal(t, 403, ask(grafana, "POST", path, "m v=2i"))
	}
	ql := "/query?" + url.Values{"db": {"ipfsmon"}, "q": {"SELECT v FROM m"}}.Encode()
	_, body := harness.Request(t, "POST", address+ql, "Token "+grafana, "")
	require.Contains(t, string(body), `"values":[[`)
	_, body = harness.Request(t, "POST", address+ql, "Token "+node, "")
	require.NotContains(t, string(body), `"values"`)
	for _, token := range []string{node, grafana} {
		require.NotEqual(t, 201, ask(token, "POST", "/api/v2/buckets", `{"name":"x"}`))
		_, body := harness.Request(t, "GET", address+"/api/v2/authorizations", "Token "+token, "")
		require.NotContains(t, string(body), admin)
	}

	// Cut short after the token was made and before it was on disk: there is
	// one again, and no other that nobody knows.
	require.NoError(t, os.Remove(filepath.Join(secrets, filepath.FromSlash(setup.NodeToken))))
	require.Contains(t, runSetup(), "the node writes points")
	second := read()
	require.NotEqual(t, node, second[setup.NodeToken])
	require.Equal(t, grafana, second[setup.GrafanaToken])
	require.Equal(t, 401, ask(node, "GET", "/api/v2/buckets", ""))
	_, body = harness.Request(t, "GET", address+"/api/v2/authorizations", "Token "+admin, "")
	require.Equal(t, 1, strings.Count(string(body), "ipfsmon: the node writes points"))

	// A bucket was deleted: it is made again, and the tokens for the new one.
	var found struct{ Buckets []struct{ ID string } }
	status, body := harness.Request(t, "GET", address+"/api/v2/buckets?name=ipfsmon/totals", "Token "+admin, "")
	harness.Decode(t, 200, status, body, &found)
	require.Equal(t, 204, ask(admin, "DELETE", "/api/v2/buckets/"+found.Buckets[0].ID, ""))
	runSetup()
	third := read()
	require.Equal(t, 204, ask(third[setup.NodeToken], "POST", "/api/v2/write?org=ipfsmon&bucket=ipfsmon/totals", "m v=1i"))

	// Somebody else's secrets: nothing is done to a server that does not know them.
	other := filepath.Join(dir, "other")
	text, err := harness.Run(env, "setup", "--dir", other)
	require.Error(t, err)
	require.Contains(t, text, "is in use and does not know the token")
	// With an operator's token it works, on buckets of another name.
	operator := filepath.Join(dir, "operator")
	require.NoError(t, os.WriteFile(operator, []byte(admin+"\n"), 0o600))
	text, err = harness.Run(append(env, "IPFSMON_INFLUXDB_TOKEN_FILE="+operator, "IPFSMON_INFLUXDB_BUCKET=second", "IPFSMON_INFLUXDB_DATABASE=second"), "setup", "--dir", other)
	require.NoError(t, err, text)
	token, err := setup.Show(other, setup.NodeToken)
	require.NoError(t, err)
	require.Equal(t, 204, ask(token, "POST", "/api/v2/write?org=ipfsmon&bucket=second/history", "m v=1i"))
	require.Equal(t, 403, ask(token, "POST", "/api/v2/write?org=ipfsmon&bucket=ipfsmon/history", "m v=1i"))
}
