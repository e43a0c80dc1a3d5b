package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestQueryFindsTheRunning: with a stopped node's store and a running demo, all commands use
// the running one, and say so.
func TestQueryFindsTheRunning(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	old := harness.StartNode(t, home, "--name", "old")
	old.Signal(2)
	require.Zero(t, old.Wait(time.Minute), old.Out.String())
	env := harness.Environ(home)

	code, out, said := harness.Apart(t, env, "query", "--format", "csv", "SELECT last(connections) FROM totals.\"node\" GROUP BY \"node\"")
	require.Zero(t, code, said)
	require.Contains(t, out, "old")
	require.Empty(t, said, "it is the obvious one")

	demo := harness.StartNode(t, home, "--name", "new", "--repo", filepath.Join(home, ".ipfsmon", "demo"))
	demo.Find(`Metric Export (Plugin) started`)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // the first points come some seconds after the start
		code, out, said = harness.Apart(t, env, "query", "--format", "csv", "SELECT last(connections) FROM totals.\"node\" GROUP BY \"node\"")
		require.Zero(t, code, said)
		if out != "" || time.Now().After(deadline) {
			break
		}
	}
	require.Contains(t, out, "new")
	require.NotContains(t, out, "old")
	require.Contains(t, said, "running demo")

	code, _, said = harness.Apart(t, env, "health", "--ready")
	require.Zero(t, code, said)
	require.Contains(t, said, "running demo")
	code, out, said = harness.Apart(t, env, "introspect")
	require.Zero(t, code, said)
	require.NotEmpty(t, out)
	code, _, said = harness.Apart(t, env, "spool", "ls")
	require.Zero(t, code, said)
	require.Contains(t, said, "running demo")
	code, out, said = harness.Apart(t, env, "export", "--kind", "totals")
	require.Zero(t, code, said)
	require.Contains(t, out, "node=new")
	code, out, said = harness.Apart(t, env, "store", "backup", t.TempDir())
	require.Zero(t, code, said)
	require.Contains(t, said, "running demo", out)

	// The other one can be named, without a message.
	code, out, said = harness.Apart(t, env, "query", "--repo", filepath.Join(home, ".ipfs"), "--format", "csv", "SELECT last(connections) FROM totals.\"node\" GROUP BY \"node\"")
	require.Zero(t, code, said)
	require.Contains(t, out, "old")
	require.Empty(t, said)

	again := harness.StartNode(t, home, "--name", "old")
	code, out, said = harness.Apart(t, env, "query", "--format", "csv", "SELECT last(connections) FROM totals.\"node\" GROUP BY \"node\"")
	require.Zero(t, code, said)
	require.Contains(t, out, "old")
	require.Contains(t, said, "2 monitors are running")
	again.Signal(9)
	again.Wait(time.Minute)
	require.Eventually(t, func() bool { // once killed, it does not count as running
		_, out, said = harness.Apart(t, env, "health")
		return strings.Contains(said, "running demo")
	}, 30*time.Second, 100*time.Millisecond)

	demo.Signal(2)
	require.Zero(t, demo.Wait(time.Minute), demo.Out.String())
}

// TestQuerySaysWhy: an empty answer prints hints on standard error.
func TestQuerySaysWhy(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	code, out, said := harness.Apart(t, n.Env, "query", "DROP MEASUREMENT node")
	require.Equal(t, 2, code)
	require.Contains(t, said, "DROP MEASUREMENT")
	require.Contains(t, said, "--write")
	require.Empty(t, out)
	code, _, said = harness.Apart(t, n.Env, "query", "--flux", `from(bucket: "ipfsmon/totals") |> range(start: -1h) |> to(bucket: "ipfsmon/history")`)
	require.Equal(t, 2, code)
	require.Contains(t, said, "to() writes")

	f := func(want string, args ...string) {
		t.Helper()
		code, out, said := harness.Apart(t, n.Env, append([]string{"query", "--format", "json"}, args...)...)
		require.Zero(t, code, said)
		require.Equal(t, "[]\n", out)
		require.Contains(t, said, "no rows")
		require.Contains(t, said, want)
	}
	f("did you mean totals.traffic?", "SELECT sum(blocks) FROM traffic")
	f("did you mean wants?", "SELECT cid FROM want")
	f("HistoryRetention", "SELECT cid FROM presences WHERE type = 'have'")
	f("there is no field or tag bogus there", "SELECT bogus FROM totals.traffic")

	// One row for all nodes, without a meaningless time.
	code, out, said = harness.Apart(t, n.Env, "query", "--format", "json", "SELECT sum(messages) AS messages FROM totals.traffic GROUP BY direction")
	require.Zero(t, code, said)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Len(t, rows, 2)
	for _, r := range rows {
		require.NotContains(t, r, "time")
	}
	code, out, said = harness.Apart(t, n.Env, "query", "--format", "table", "SELECT sum(messages) AS messages FROM totals.traffic GROUP BY direction")
	require.Zero(t, code, said)
	require.Equal(t, 1, strings.Count(out, "---  "), out)
	require.NotContains(t, out, "1970")

	code, _, said = harness.Apart(t, n.Env, "query", "--write", "DROP MEASUREMENT node")
	require.Zero(t, code, said)
	require.Empty(t, said)
}
