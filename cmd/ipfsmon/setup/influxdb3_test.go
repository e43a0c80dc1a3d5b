package setup

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// A new InfluxDB 3 gets an administrator's token, databases, and a token each for the node and
// for Grafana; a second run changes nothing, and what is missing is made again. (The server is
// the stand-in: none can be had.)
func TestSetupInfluxDB3(t *testing.T) {
	s := influxtest.New3()
	s.Auth, s.PingOpen = true, true
	url := s.Start(t).URL
	var out strings.Builder
	cfg := Config{Dir: t.TempDir(), InfluxDB: influx.Config{URL: url, Org: "ipfsmon"}, Wait: time.Minute, Out: &out}
	read := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		for _, name := range []string{AdminToken3, NodeToken, GrafanaToken} {
			secret, err := Show(cfg.Dir, name)
			require.NoError(t, err, name)
			all[name] = secret
		}
		return all
	}
	// As after a stack with InfluxDB 2, whose tokens this server does not know.
	require.NoError(t, folder(cfg.Dir).write(NodeToken, "of-another-server"))
	require.NoError(t, folder(cfg.Dir).write(AdminToken, "of another server"))
	require.NoError(t, Setup(t.Context(), cfg), out.String())
	first := read()
	require.Equal(t, map[string]string{AdminToken3: s.Token("_admin"), NodeToken: s.Token(nodeName3), GrafanaToken: s.Token(grafanaName3)}, first)
	for name, want := range map[string]time.Duration{"ipfsmon/history": 7 * 24 * time.Hour, "ipfsmon/totals": 0} {
		keep, written, there := s.Database(name)
		require.True(t, there && !written && keep == want, name)
	}
	kept, err := folder(cfg.Dir).read(AdminToken)
	require.NoError(t, err)
	require.Equal(t, "of another server", kept)
	require.NoError(t, Setup(t.Context(), cfg))
	require.Equal(t, first, read())

	// The node's token was lost with its file: there is one of the name, and it is valid.
	require.NoError(t, os.Remove(folder(cfg.Dir).path(NodeToken)))
	require.NoError(t, Setup(t.Context(), cfg))
	second := read()
	require.NotEqual(t, first[NodeToken], second[NodeToken])
	require.Equal(t, s.Token(nodeName3), second[NodeToken])
	require.Equal(t, first[GrafanaToken], second[GrafanaToken])

	// A server that is in use, without its secrets, and then with an operator's token.
	other := cfg
	other.Dir = t.TempDir()
	err = Setup(t.Context(), other)
	require.ErrorContains(t, err, "is in use and its administrator's token is not in "+folder(other.Dir).path(AdminToken3))
	other.InfluxDB.Token = "wrong"
	require.ErrorContains(t, Setup(t.Context(), other), "does not accept the operator's token")
	other.InfluxDB.Token = s.Token("_admin")
	require.NoError(t, Setup(t.Context(), other))

	// One that wants a token for /ping cannot be recognised: the error says what to do.
	s = influxtest.New3()
	s.Auth = true
	cfg.InfluxDB.URL = s.Start(t).URL
	require.ErrorContains(t, Setup(t.Context(), cfg), "start it with --disable-authz ping,health")
}
