package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/kubo/config"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestFleetGateways finds the nodes behind the gateways of two kubo nodes that are
// connected to the monitored one.
func TestFleetGateways(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	node := ""
	out, err := harness.Run(n.Env, "ipfs", "id", "-f", "<addrs>")
	require.NoError(t, err, out)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "/ip4/127.0.0.1/tcp/") && !strings.Contains(line, "/ws") {
			node = strings.TrimSpace(line)
		}
	}
	require.NotEmpty(t, node, out)
	var urls, ids []string
	for range 2 {
		k := harness.StartKubo(t, func(c *config.Config) { c.Addresses.Gateway = config.Strings{"/ip4/127.0.0.1/tcp/0"} })
		urls = append(urls, "http://127.0.0.1:"+k.Find(`Gateway server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`))
		k.IPFS("swarm", "connect", node)
		ids = append(ids, k.IPFS("id", "-f", "<id>"))
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	list := file("gateways", urls[0]+" # the first\n"+urls[1]+"/ipfs/:hash\n")
	to := filepath.Join(dir, "list")
	code, out, stderr := harness.Apart(t, n.Env, "fleet", "gateways", "--gateways", list, "--output", to, "--rate", "2")
	require.Zero(t, code, stderr)
	require.Empty(t, out)
	require.Contains(t, stderr, urls[0]+": served the block, after 1 requests")
	content, err := os.ReadFile(to)
	require.NoError(t, err)
	for i, id := range ids {
		_, after, there := strings.Cut(string(content), "# "+urls[i])
		require.True(t, there, "%s", content)
		require.Contains(t, strings.SplitN(after, "\n", 3)[1], id+" # kubo/", "%s", content)
	}

	// By a fleet's file, as JSON; a gateway that is down is in the report.
	api, err := os.ReadFile(filepath.Join(n.Repo, "api"))
	require.NoError(t, err)
	fleet := file("fleet.json", `{"monitors": [{"name": "de1", "stream": "`+n.Stream+`", "api": "http://127.0.0.1:`+string(api)[strings.LastIndexByte(string(api), '/')+1:]+`"}]}`)
	code, out, stderr = harness.Apart(t, n.Env, "fleet", "gateways", "--fleet", fleet, "--gateways", file("two", urls[1]+"\nhttp://127.0.0.1:1\n"), "--format", "json", "--tries", "1")
	require.Zero(t, code, stderr)
	var report struct {
		Monitors []struct{ Name, Error string }
		Gateways []struct {
			URL, Error string
			Served     bool
			Peers      []struct{ Peer string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	require.Equal(t, "de1", report.Monitors[0].Name)
	require.True(t, report.Gateways[0].Served, out)
	require.Equal(t, ids[1], report.Gateways[0].Peers[0].Peer)
	require.False(t, report.Gateways[1].Served)
	require.Contains(t, report.Gateways[1].Error, "refused")
	require.Empty(t, report.Gateways[1].Peers)

	// Without a list to write, what was there stays.
	code, _, stderr = harness.Apart(t, n.Env, "fleet", "gateways", "--gateways", file("none", "http://127.0.0.1:1\n"), "--tries", "1", "--output", to)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "no peer asked for any of the blocks, so there is no list")
	still, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, string(content), string(still))
	for _, args := range [][]string{{"--format", "csv"}, {"--rate", "0"}, {"--rate", "11"}} {
		code, _, stderr = harness.Apart(t, n.Env, append([]string{"fleet", "gateways", "--gateways", list}, args...)...)
		require.NotZero(t, code)
		require.Contains(t, stderr, "want ")
	}
}
