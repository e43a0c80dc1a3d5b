//go:build all

package test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
)

// influxdb2 is the InfluxDB 2.7.12 that influxdb2/build.sh builds, once for
// all runs: it takes minutes.
func influxdb2(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	out := filepath.Join(cache, "ipfsmon", "influxd-2.7.12")
	build := exec.Command("influxdb2/build.sh", out)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build InfluxDB 2.7.12")
	return out
}

// startInfluxDB2 runs InfluxDB 2.7.12 on loopback until the test's end and
// gives its address, its organisation and a token that may do everything. It
// has a bucket "initial", which its set-up asks for, and none of ours.
func startInfluxDB2(t *testing.T) (address, org, token string) {
	t.Helper()
	program, dir := influxdb2(t), t.TempDir()
	p := launch(t, withoutInflux(dir), program, "--http-bind-address", "127.0.0.1:0", "--reporting-disabled",
		"--bolt-path", filepath.Join(dir, "bolt"), "--sqlite-path", filepath.Join(dir, "sqlite"), "--engine-path", filepath.Join(dir, "engine"))
	address, org = "http://127.0.0.1:"+p.find(`service=tcp-listener.* port=(\d+)`), "ipfsmon"

	var answer struct{ Auth struct{ Token string } }
	status, body := request(t, "POST", address+"/api/v2/setup", "",
		`{"username": "admin", "password": "of-the-test", "org": "`+org+`", "bucket": "initial"}`)
	decode(t, 201, status, body, &answer)
	return address, org, answer.Auth.Token
}

// TestAllInfluxDB2 is about a real InfluxDB 2 and a token with no more rights
// than the monitor needs.
func TestAllInfluxDB2(t *testing.T) {
	address, org, admin := startInfluxDB2(t)
	file := filepath.Join(t.TempDir(), "token")
	d := &database{
		cfg:           influx.Config{URL: address, Org: org, TokenFile: file, FlushInterval: "100ms"},
		secretFile:    file,
		authorization: "Token " + admin,
	}
	var found struct{ Orgs []struct{ ID string } }
	status, body := d.call(t, "GET", "/api/v2/orgs", url.Values{"org": {org}}, "")
	decode(t, 200, status, body, &found)
	id := found.Orgs[0].ID

	authorize := func(permissions ...string) (made struct{ ID, Token string }) {
		body := `{"orgID": "ORG", "permissions": [` + strings.Join(permissions, ",") + `]}`
		status, answer := d.call(t, "POST", "/api/v2/authorizations", nil, strings.ReplaceAll(body, "ORG", id))
		decode(t, 201, status, answer, &made)
		return made
	}
	enough := []string{
		`{"action": "read", "resource": {"type": "orgs", "id": "ORG"}}`,
		`{"action": "read", "resource": {"type": "buckets", "orgID": "ORG"}}`,
		`{"action": "write", "resource": {"type": "buckets", "orgID": "ORG"}}`,
	}
	first := authorize(enough...)
	d.secret = first.Token
	d.rotate = func() string {
		status, body := d.call(t, "DELETE", "/api/v2/authorizations/"+first.ID, nil, "")
		require.Equal(t, 204, status, string(body))
		return authorize(enough...).Token
	}
	deliversAll(t, d)

	for name, seconds := range map[string]int{"ipfsmon/history": 168 * 3600, "ipfsmon/totals": 0} {
		var found struct {
			Buckets []struct{ RetentionRules []struct{ EverySeconds int } }
		}
		status, body := d.call(t, "GET", "/api/v2/buckets", url.Values{"name": {name}, "org": {org}}, "")
		decode(t, 200, status, body, &found)
		require.Len(t, found.Buckets, 1, name)
		every := 0 // for ever
		for _, rule := range found.Buckets[0].RetentionRules {
			every += rule.EverySeconds
		}
		require.Equal(t, seconds, every, name)
	}

	// Now that the buckets are there, a token that may only write will do.
	only := d.cfg
	only.TokenFile, only.Token = "", authorize(enough[2]).Token
	all, points := events(t, 1000)
	r := runSink(t, only)
	r.publish(all)
	r.finish(sum(points), 0)

	refusesJustOne(t, d)
}
