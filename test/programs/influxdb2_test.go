//go:build programs || all

package programs

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestInfluxDB2 delivers to a real InfluxDB 2 with a token that has only the rights that the
// monitor needs.
func TestInfluxDB2(t *testing.T) {
	address, org, admin := harness.StartInfluxDB2(t)
	file := filepath.Join(t.TempDir(), "token")
	d := &harness.Database{
		Config:        influx.Config{URL: address, Org: org, TokenFile: file, FlushInterval: "100ms"},
		SecretFile:    file,
		Authorization: "Token " + admin,
	}
	var found struct{ Orgs []struct{ ID string } }
	status, body := d.Call(t, "GET", "/api/v2/orgs", url.Values{"org": {org}}, "")
	harness.Decode(t, 200, status, body, &found)
	id := found.Orgs[0].ID

	authorize := func(permissions ...string) (made struct{ ID, Token string }) {
		body := `{"orgID": "ORG", "permissions": [` + strings.Join(permissions, ",") + `]}`
		status, answer := d.Call(t, "POST", "/api/v2/authorizations", nil, strings.ReplaceAll(body, "ORG", id))
		harness.Decode(t, 201, status, answer, &made)
		return made
	}
	enough := []string{
		`{"action": "read", "resource": {"type": "orgs", "id": "ORG"}}`,
		`{"action": "read", "resource": {"type": "buckets", "orgID": "ORG"}}`,
		`{"action": "write", "resource": {"type": "buckets", "orgID": "ORG"}}`,
	}
	first := authorize(enough...)
	d.Secret = first.Token
	d.Rotate = func() string {
		status, body := d.Call(t, "DELETE", "/api/v2/authorizations/"+first.ID, nil, "")
		require.Equal(t, 204, status, string(body))
		return authorize(enough...).Token
	}
	deliversAll(t, d)

	for name, seconds := range map[string]int{"ipfsmon/history": 168 * 3600, "ipfsmon/totals": 0} {
		var found struct {
			Buckets []struct{ RetentionRules []struct{ EverySeconds int } }
		}
		status, body := d.Call(t, "GET", "/api/v2/buckets", url.Values{"name": {name}, "org": {org}}, "")
		harness.Decode(t, 200, status, body, &found)
		require.Len(t, found.Buckets, 1, name)
		every := 0 // for ever
		for _, rule := range found.Buckets[0].RetentionRules {
			every += rule.EverySeconds
		}
		require.Equal(t, seconds, every, name)
	}

	// Now that the buckets are there, a token that may only write will do.
	only := d.Config
	only.TokenFile, only.Token = "", authorize(enough[2]).Token
	all, points := harness.Events(t, 1000)
	r := harness.RunSink(t, only)
	r.Publish(all)
	r.Finish(harness.Sum(points), 0)

	refusesJustOne(t, d)
}
