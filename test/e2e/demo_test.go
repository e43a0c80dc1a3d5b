package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestDemo runs the demo as a newcomer would, in a clean home, and checks every measurement of
// a node and every kind of event.
func TestDemo(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := harness.Environ(home)
	p := harness.Start(t, env, "demo", "--duration", "30s", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	require.Zero(t, p.Wait(2*time.Minute), p.Out.String())

	for _, m := range ofNodes() {
		out, err := harness.Run(env, "query", "--format", "csv", "SELECT * FROM "+m.Kind.String()+"."+m.Name+" LIMIT 5")
		require.NoError(t, err, out)
		require.GreaterOrEqual(t, strings.Count(out, "\n"), 2, "no rows in %s: %s", m.Name, out)
	}
	f := func(from, where string) {
		t.Helper()
		out, err := harness.Run(env, "query", "--format", "csv", "SELECT count(peer) FROM "+from+" WHERE "+where)
		require.NoError(t, err, out)
		require.GreaterOrEqual(t, strings.Count(out, "\n"), 2, "nothing in %s where %s", from, where)
	}
	for _, d := range []string{"received", "sent"} {
		for _, kind := range []string{"want_block", "want_have", "cancel"} {
			f("wants", "direction='"+d+"' AND type='"+kind+"'")
		}
		for _, kind := range []string{"have", "dont_have"} {
			f("presences", "direction='"+d+"' AND type='"+kind+"'")
		}
		f("blocks", "direction='"+d+"'")
	}
	for _, d := range []string{"inbound", "outbound"} {
		f("connections", "direction='"+d+"' AND state='opened'")
		f("connections", "direction='"+d+"' AND state='closed'")
	}
	out, err := harness.Run(env, "query", "--format", "csv", "SELECT count(distinct(agent)) FROM identifies")
	require.NoError(t, err, out)
	require.NotContains(t, out, ",1\n", "agent versions are mixed")
	asksByName(t, env)
	savesAndRestores(t, env, filepath.Join(home, ".ipfsmon", "demo", "ipfsmon"))
}

// ofNodes are the measurements of nodes; the others are those of the proxy, the collector and the probe.
func ofNodes() []*schema.Measurement {
	return slices.DeleteFunc(slices.Clone(schema.All), func(m *schema.Measurement) bool {
		return strings.HasPrefix(m.Name, "proxy") || strings.HasPrefix(m.Name, "fleet") || strings.HasPrefix(m.Name, "dht_")
	})
}

// asksByName runs the named questions on the demo's store.
func asksByName(t *testing.T, env []string) {
	g := func(want string, args ...string) {
		t.Helper()
		out, err := harness.Run(env, append([]string{"query"}, args...)...)
		require.NoError(t, err, out)
		require.Contains(t, out, want, args)
	}
	g("top-cids", "--list")
	g("time > now() - 2h", "--print", "--since", "2h", "SELECT cid FROM wants")
	g("cid,wants,peers\n", "top-cids", "--since", "1h")
	g("cid", "--language", "flux", "top-cids")
	g("█", "wants", "--plot")
	g("█", "top-peers", "--since", "1h", "--plot")
	g(",", "--since", "1h", "SELECT count(cid) FROM wants GROUP BY type")
	g("time >= '2026-01-01T23:00:00Z' AND time < '2026-01-03T00:00:00Z'", "--print", "--from", "2026-01-02", "--to", "2026-01-03T00:00:00Z", "--tz", "Europe/Berlin", "SELECT cid FROM wants")
	g("fill(0) tz('Europe/Berlin')", "--print", "--tz", "Europe/Berlin", "wants")
	g("the first 2 rows; there are more", "--from", "1h", "--limit", "2", "--format", "csv", "SELECT cid FROM wants")
	list, err := harness.Run(env, "query", "--limit", "3", "--format", "json", "top-cids")
	require.NoError(t, err, list)
	require.Equal(t, 3, strings.Count(list, `"cid"`), list)
	f := func(want string, args ...string) {
		t.Helper()
		out, err := harness.Run(env, append([]string{"query"}, args...)...)
		require.Error(t, err, out)
		require.Contains(t, out, want, args)
	}
	f("there are wants, top-cids", "top-dogs")
	f("such as 90s, 6h or 7d", "wants", "--since", "yesterday")
	f("its own time", "--since", "1h", "SELECT cid FROM wants WHERE time > 0")
	f("want one of them", "wants", "--since", "1h", "--from", "2026-01-01")
	f("want --from or --since beside it", "wants", "--to", "2026-01-01")
	f("is not before", "wants", "--from", "2026-01-02", "--to", "2026-01-01")
	f("want 2006-01-02", "wants", "--from", "yesterday")
	f("want local, UTC or a name", "wants", "--tz", "Mars")
	f("want 1 or more", "wants", "--limit", "0")
}

// savesAndRestores backs the store up, restores it and compares.
func savesAndRestores(t *testing.T, env []string, data string) {
	dir, again := t.TempDir(), filepath.Join(t.TempDir(), "again")
	out, err := harness.Run(env, "store", "backup", "--data", data, dir)
	require.NoError(t, err, out)
	files, err := filepath.Glob(filepath.Join(dir, "ipfsmon-*.zip"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	out, err = harness.Run(env, "store", "restore", "--data", again, files[0])
	require.NoError(t, err, out)
	for _, m := range ofNodes() {
		statement := "SELECT count(*) FROM " + m.Kind.String() + "." + m.Name
		was, err := harness.Run(env, "query", "--data", data, statement)
		require.NoError(t, err, was)
		is, err := harness.Run(env, "query", "--data", again, statement)
		require.NoError(t, err, is)
		require.Equal(t, was, is, m.Name)
		require.Equal(t, 2, strings.Count(is, "\n"), is)
	}
	out, err = harness.Run(env, "store", "restore", "--data", again, files[0])
	require.Error(t, err, out)
	require.Contains(t, out, "has a store already")
}

// TestDemoDialsLoopbackOnly reads from the node's own log which addresses it
// dialled, while the swarm around it is alive.
func TestDemoDialsLoopbackOnly(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir(), "GOLOG_LOG_LEVEL=error,swarm2=debug")
	p := harness.Start(t, env, "demo", "--duration", "12s", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	require.Zero(t, p.Wait(time.Minute))
	dials := 0
	for line := range strings.Lines(p.Out.String()) {
		if !strings.Contains(line, "swarm dialing peer") {
			continue
		}
		dials++
		require.Contains(t, line, "/ip4/127.", "a dial beyond loopback")
	}
	require.Positive(t, dials, "no dial was logged")
}

func TestDemoEndsOnInterruptAndRefusesNonsense(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir())
	p := harness.Start(t, env, "demo", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	p.Find(`Daemon is (ready)`)
	time.Sleep(3 * time.Second)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))

	out, err := harness.Run(env, "demo", "--peers", "2")
	require.Error(t, err)
	require.Contains(t, out, "2")
	out, err = harness.Run(env, "demo", "--rate", "-1")
	require.Error(t, err)
	require.Contains(t, out, "-1")
}
