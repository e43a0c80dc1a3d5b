package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir())
	out, err := harness.Run(env, "--version")
	require.NoError(t, err)
	require.Regexp(t, `ipfsmon version \d+\.\d+\.\d+\S*, commit \S+, kubo `+regexp.QuoteMeta(kuboversion.CurrentVersionNumber)+`, go1\.\d+`, out)
	for _, args := range [][]string{{}, {"run"}, {"demo"}, {"tail"}, {"query"}, {"config"}, {"store"}} {
		out, err := harness.Run(env, append(args, "--help")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "Example", "ipfsmon %s --help", strings.Join(args, " "))
	}
	out, err = harness.Run(env, "ipfs", "--help")
	require.NoError(t, err)
	require.Contains(t, out, "Start a long-running daemon process")
}

func TestTheNameIPFSIsKubo(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "ipfs")
	require.NoError(t, os.Symlink(harness.Bin, name))
	cmd := exec.Command(name, "version")
	cmd.Env = harness.Environ(t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "ipfs version "+kuboversion.CurrentVersionNumber+"\n", string(out))
}

func TestInterruptStoresEverythingAndTheFolderAnswersLater(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	m := harness.StartNode(t, t.TempDir())
	var id struct{ Addresses []string }
	n.RPC("/api/v0/id", &id)
	m.IPFS("swarm", "connect", id.Addresses[0])
	for range 8 { // wants of m for what nobody has, ended by the time limit
		_, _ = harness.Run(m.Env, "ipfs", "block", "get", "--timeout", "100ms", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
	}
	sub := harness.Subscribe(t, n.Stream)
	n.Find(`\d+ peers, [\d.]+ messages/s, \d+ points stored, (0) dropped`)
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second), n.Out.String())
	require.Contains(t, n.Out.String(), "Everything is stored.")
	require.Eventually(t, func() bool { return sub.Get()["closed"] > 0 }, 30*time.Second, 10*time.Millisecond,
		"the end of the connection is reported before the stream ends")

	// The store ended with the node, and the folder can still be asked.
	_, err := http.Get(n.Influx + "/ping")
	require.Error(t, err, "the embedded InfluxDB outlived the monitor")
	for _, format := range []string{"csv", "json", "table"} {
		out, err := harness.Run(n.Env, "query", "--format", format, "SELECT count(cid) FROM wants WHERE type='want_have' OR type='want_block'")
		require.NoError(t, err, out)
		require.Contains(t, out, "count")
	}
	out, err := harness.Run(n.Env, "query", "--format", "json", "--flux",
		`from(bucket: "ipfsmon/history") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "connections" and r._field == "peer") |> count()`)
	require.NoError(t, err, out)
	require.Contains(t, out, "connections")
	out, err = harness.Run(n.Env, "query", "SELECT nonsense FROM")
	require.Error(t, err)
	require.Contains(t, out, "error parsing query", "the server's own words")
}

// TestSecondInterruptEndsAtOnce: after one interrupt a node ends with 0 when it
// has tried to deliver what it holds; after a second one kubo ends the process
// with 255, and nothing is said to be stored.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir(), "--influxdb", "http://127.0.0.1:9", "--http", "127.0.0.1:0")
	n.Signal(syscall.SIGINT)
	n.Find(`Hit ctrl-c (again) to force-shutdown`)
	n.Signal(syscall.SIGINT)
	require.Equal(t, 255, n.Wait(30*time.Second))
	require.Contains(t, n.Out.String(), "Received another interrupt")
	require.NotContains(t, n.Out.String(), "Everything is stored.")
}

func TestTheNodeOutlivesItsStore(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	require.NoError(t, syscall.Kill(harness.StoreOf(n), syscall.SIGKILL))
	require.Equal(t, "ok", n.IPFS("cat", n.IPFS("add", "-q", harness.TextFile(t, "ok"))), "the node works without its store")
	require.Eventually(t, func() bool {
		_, err := harness.InfluxQL(n.Influx, "SHOW MEASUREMENTS ON ipfsmon")
		return err == nil
	}, 30*time.Second, 50*time.Millisecond, "the store did not come back at %s", n.Influx)
	require.Eventually(t, func() bool {
		got, err := harness.InfluxQL(n.Influx, "SELECT count(messages) FROM totals.traffic WHERE time > now() - 2s")
		return err == nil && got[""] > 0
	}, 30*time.Second, 100*time.Millisecond, "no points after the store came back")
	n.Signal(syscall.SIGTERM)
	require.Zero(t, n.Wait(30*time.Second))
}

// TestBadConfigurationIsRefused starts a node with one wrong setting at a
// time: it must say which and why, and the node's own commands must continue.
func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	n := harness.StartNode(t, home)
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second))

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	taken := busy.Addr().String()
	file := filepath.Join(n.Repo, "config")
	var whole map[string]any
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &whole))
	plugins := whole["Plugins"].(map[string]any)["Plugins"].(map[string]any)
	locked := filepath.Join(home, "locked")
	require.NoError(t, os.WriteFile(locked, nil, 0o000))

	f := func(section string, flags []string, want ...string) {
		t.Helper()
		var v any
		require.NoError(t, json.Unmarshal([]byte(section), &v))
		plugins["metric-export-plugin"] = map[string]any{"Config": v}
		b, err := json.Marshal(whole)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, b, 0o600))
		for _, command := range [][]string{
			append([]string{"run", "--isolated", "--store", "127.0.0.1:0"}, flags...),
			{"ipfs", "daemon"},
		} {
			if command[0] == "ipfs" && len(flags) > 0 {
				continue // flags are of run alone
			}
			if command[0] == "run" && strings.Contains(want[0], "missing ListenAddresses") {
				continue // run has its own address
			}
			p := harness.Start(t, n.Env, command...)
			require.NotZero(t, p.Wait(30*time.Second), "ipfsmon %v started with %s", command, section)
			for _, w := range want {
				require.Contains(t, p.Out.String(), w, "ipfsmon %v with %s", command, section)
			}
		}
		out, err := harness.Run(n.Env, "ipfs", "config", "show")
		require.NoError(t, err, out)
		require.Contains(t, out, "Bootstrap")
		out, err = harness.Run(n.Env, "ipfs", "id", "--offline")
		require.NoError(t, err, out)
	}
	ports := []string{"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0"}
	f(`"nonsense"`, nil, "metric-export-plugin.Config: want an object")
	f(`{"TCPServerConfigs": {}}`, nil, "Config.TCPServerConfigs: unknown key", "TCPServerConfig")
	f(`{"AgentVersionCutOff": "many"}`, nil, "Config.AgentVersionCutOff: want a whole number")
	f(`{"TCPServerConfig": {"ListenAddresses": ["no address"]}}`, nil, "Config.TCPServerConfig", "no address")
	f(`{"TCPServerConfig": {}}`, nil, "Config.TCPServerConfig: missing ListenAddresses")
	f(`{"InfluxDB": {"URL": "http://127.0.0.1:1", "FlushInterval": "soon"}}`, nil, "Config.InfluxDB: FlushInterval", "soon")
	f(`{"TCPServerConfig": {"ListenAddresses": ["`+taken+`"]}, "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`, nil,
		taken, "address already in use")
	f(`{}`, append([]string{"--http", taken}, ports[:2]...), "the HTTP API: "+taken+": address already in use; want another with --http")
	f(`{}`, append([]string{"--store", taken}, ports...), "the embedded InfluxDB: "+taken+": address already in use; want another with --store")
	f(`{}`, append([]string{"--data", locked}, ports...), locked)
	f(`{}`, append([]string{"--data", "/proc/nowhere"}, ports...), "/proc/nowhere")
}

func TestAPublicRepositoryIsNotIsolated(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := harness.Environ(home)
	out, err := harness.Run(env, "ipfs", "init")
	require.NoError(t, err, out)
	p := harness.Start(t, env, "run", "--isolated")
	require.NotZero(t, p.Wait(30*time.Second))
	require.Contains(t, p.Out.String(), "is not of an isolated node")
}

func TestConfigShowsSources(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir(), "IPFSMON_MONITOR_NAME=lab", "IPFSMON_INFLUXDB_URL=http://127.0.0.1:8086", "IPFSMON_INFLUXDB_USERNAME=monitor", "IPFSMON_INFLUXDB_PASSWORD=geheim")
	out, err := harness.Run(env, "config")
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^MonitorName +"lab" +\(environment\)$`, out)
	require.Regexp(t, `(?m)^TCPServerConfig.ListenAddresses +\["127.0.0.1:8181"\] +\(default\)$`, out)
	require.NotContains(t, out, "geheim")
	out, err = harness.Run(env, "config", "--name", "other", "--format", "json")
	require.NoError(t, err, out)
	var entries []map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &entries))
	require.Contains(t, entries, map[string]string{"key": "MonitorName", "value": `"other"`, "source": "flag"})
}
