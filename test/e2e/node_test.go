package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/plugin"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// isolatedFlags are the flags of startNode.
var isolatedFlags = []string{"run", "--isolated", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0"}

// madeRepo is the repository of an isolated node that has run once.
func madeRepo(t *testing.T) *harness.Node {
	t.Helper()
	n := harness.StartNode(t, t.TempDir())
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second), n.Out.String())
	return n
}

// refused runs a command that must fail soon, and returns its output.
func refused(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := harness.Start(t, env, args...)
	require.NotZero(t, p.Wait(60*time.Second), p.Out.String())
	require.NotContains(t, p.Out.String(), "InfluxDB listening", "something was started first")
	return p.Out.String()
}

// TestFirstStartKilledAtAnyMomentHeals kills the first starts of a node and their children at
// random moments. The next start must work, and the node must be isolated, which startNode's
// flag checks.
func TestFirstStartKilledAtAnyMomentHeals(t *testing.T) {
	t.Parallel()
	for range 4 {
		home := t.TempDir()
		for k := range 6 {
			p := harness.Start(t, harness.Environ(home), isolatedFlags...)
			after := time.Duration(rand.Int64N(int64(400 * time.Millisecond)))
			select {
			case <-time.After(after):
			case <-p.Done:
				require.Zero(t, p.Cmd.ProcessState.ExitCode(), "the start after %d kills: %s", k, p.Out)
			}
			if k%2 == 0 {
				p.Kill() // with the process that makes the repository
			} else {
				_ = p.Cmd.Process.Kill() // that one works on
				<-p.Done
			}
		}
		n := harness.StartNode(t, home)
		require.FileExists(t, filepath.Join(n.Repo, "datastore_spec"))
		left, err := filepath.Glob(filepath.Join(n.Repo, ".ipfsmon*"))
		require.NoError(t, err)
		for _, l := range left { // by a process that outlived its parent, until the next start
			require.Contains(t, l, ".ipfsmon-init-")
		}
		n.Kill()
	}
}

// TestOlderRepository starts nodes on a repository of the previous kubo.
func TestOlderRepository(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	version := filepath.Join(n.Repo, "version")
	now, err := os.ReadFile(version)
	require.NoError(t, err)
	var current int
	_, err = fmt.Sscan(string(now), &current)
	require.NoError(t, err)
	set := func(v int) { require.NoError(t, os.WriteFile(version, fmt.Appendln(nil, v), 0o600)) }

	set(current - 1)
	out := refused(t, n.Env, isolatedFlags...)
	require.Contains(t, out, fmt.Sprintf("has version %d and must be migrated to version %d", current-1, current))
	require.Contains(t, out, "`ipfsmon run --migrate`")
	require.Contains(t, out, "`ipfsmon ipfs repo migrate`")

	p := harness.Start(t, n.Env, append(isolatedFlags, "--migrate")...)
	p.Find(`Daemon is (ready)`)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))
	migrated, err := os.ReadFile(version)
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(now)), strings.TrimSpace(string(migrated)))

	set(current + 1)
	require.Contains(t, refused(t, n.Env, isolatedFlags...), "of a later kubo")
	set(10)
	require.Contains(t, refused(t, n.Env, append(isolatedFlags, "--migrate")...), "an isolated node fetches no migrations from the network")
	require.NoError(t, os.Remove(version))
	require.Contains(t, refused(t, n.Env, isolatedFlags...), "is not complete")
}

// TestEnableGC: a node with the flag drops an unpinned block.
func TestEnableGC(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	n.IPFS("config", "Datastore.GCPeriod", "1s")
	n.IPFS("config", "Datastore.StorageMax", "1KB")
	cid := n.IPFS("block", "put", harness.TextFile(t, "nobody wants this"))
	require.Contains(t, n.IPFS("refs", "local"), cid)
	p := harness.Start(t, n.Env, append(isolatedFlags, "--enable-gc")...)
	p.Find(`Daemon is (ready)`)
	require.Eventually(t, func() bool {
		out, err := harness.Run(n.Env, "ipfs", "refs", "local")
		return err == nil && !strings.Contains(out, cid)
	}, 60*time.Second, 200*time.Millisecond, "the block was not collected")
}

// TestTildeIsTheHomeFolder passes paths that no shell has expanded.
func TestTildeIsTheHomeFolder(t *testing.T) {
	t.Parallel()
	home, here := t.TempDir(), t.TempDir()
	in := func(env []string, args ...string) string {
		t.Helper()
		cmd := exec.Command(harness.Bin, args...)
		cmd.Dir, cmd.Env = here, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return string(out)
	}
	env := harness.Environ(home, "IPFS_PATH=~/x y")
	in(env, "ipfs", "init")
	require.FileExists(t, filepath.Join(home, "x y", "config"))
	in(env, "ipfs", "config", monitor.Section+".MonitorName", "tilde")
	for _, args := range [][]string{{"config"}, {"config", "--repo", "~/x y"}, {"config", "--repo=~/x y"}} {
		out := in(env, args...)
		require.Regexp(t, `DataFolder +"`+filepath.Join(home, "x y", "ipfsmon")+`"`, out)
		require.Regexp(t, `MonitorName +"tilde"`, out)
	}
	require.Regexp(t, `DataFolder +"`+filepath.Join(home, "data")+`"`, in(env, "config", "--data", "~/data"))
	out, err := harness.Run(env, "spool", "ls") // it has none yet
	require.Error(t, err)
	require.Contains(t, out, filepath.Join(home, "x y"))
	entries, err := os.ReadDir(here)
	require.NoError(t, err)
	require.Empty(t, entries, "a folder was made where the command ran")

	p := harness.Start(t, harness.Environ(home, "IPFS_PATH=~/z"), isolatedFlags...)
	p.Find(`Made a repository in (` + filepath.Join(home, "z") + `)`)
	p.Find(`Daemon is (ready)`)
	p.Kill()
	out, err = harness.Run(harness.Environ(home, "IPFS_PATH=~other/x"), "config")
	require.Error(t, err)
	require.Contains(t, out, `"~other/x"`)
	require.Contains(t, out, "want")
}

// TestPortsAreLookedAtFirst starts a node where every port is taken.
func TestPortsAreLookedAtFirst(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	taken := busy.Addr().String()
	n.IPFS("config", "Addresses.API", "/ip4/127.0.0.1/tcp/"+taken[strings.LastIndexByte(taken, ':')+1:])
	out := refused(t, n.Env, "run", "--isolated", "--stream", taken, "--http", taken, "--store", taken)
	for _, want := range []string{"--stream HOST:PORT", "--http HOST:PORT", "--store HOST:PORT", "--influxdb http://" + taken, "ipfsmon ipfs config --json Addresses.API"} {
		require.Contains(t, out, want)
	}
}

// TestARunningNodeIsNotStartedAgain names the repository, not a port.
func TestARunningNodeIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	n := harness.StartNode(t, t.TempDir())
	require.Contains(t, refused(t, n.Env, isolatedFlags...), "is in use by another process")
}

// TestIsolatedRepositories shows which of their settings may be changed.
func TestIsolatedRepositories(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	free := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
	l.Close()
	n.IPFS("config", "Addresses.API", free)
	p := harness.Start(t, n.Env, isolatedFlags...)
	p.Find(`RPC API server listening on (` + free + `)`)
	p.Find(`Daemon is (ready)`)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))

	// Without the flag it is still one, and says so.
	p = harness.Start(t, n.Env, append([]string{"run"}, isolatedFlags[2:]...)...)
	p.Find(`(it stays on the loopback interface)`)
	p.Find(`Daemon is (ready)`)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))

	n.IPFS("config", "--json", "Bootstrap", `["/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"]`)
	out := refused(t, n.Env, isolatedFlags...)
	require.Contains(t, out, "is not of an isolated node:\n  Bootstrap is [")
	require.NotContains(t, out, "Addresses.API")
}

// TestDisabledPlugin checks every place that reports it.
func TestDisabledPlugin(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	n.IPFS("config", "--json", plugin.DisabledKey, "true")
	require.Contains(t, refused(t, n.Env, isolatedFlags...), plugin.DisabledKey+" is true in the node's configuration, so nothing would be monitored")
	out, err := harness.Run(n.Env, "config")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Disabled +true +\(kubo config\)$`, out)
	require.Contains(t, out, "Warning: "+plugin.DisabledKey)
	p := harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`Daemon is (ready)`)
	require.Contains(t, p.Out.String(), plugin.DisabledKey+" is true: this node is not monitored")
	require.NotContains(t, p.Out.String(), "Metric Export Plugin started")
}

// TestDaemonWithoutASection: the daemon reports that no data leaves the monitor, and with a
// section it does not.
func TestDaemonWithoutASection(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	p := harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`(No event stream, HTTP API or InfluxDB is configured): what the node sees is only counted`)
	require.Contains(t, p.Out.String(), "ipfsmon run")
	p.Find(`Daemon is (ready)`)
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))
	n.IPFS("config", "--json", monitor.Section, `{"TCPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`)
	p = harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`Daemon is (ready)`)
	require.NotContains(t, p.Out.String(), "No event stream")
}

// TestSectionOfTheLastExporter starts a daemon with it.
func TestSectionOfTheLastExporter(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	n.IPFS("config", "--json", monitor.Section, `{"PopulatePrometheusInterval": 10, "AgentVersionCutOff": 20,
		"EnableBitswapDiscoveryProbe": true, "AMQPServerAddress": "amqp://rabbitmq.invalid:5672/%2f", "MonitorName": "de1", "HTTPServerConfig": {"ListenAddresses": ["0.0.0.0:0"]}}`)
	p := harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`Metric Export HTTP server listening on (127\.0\.0\.1:\d+)`)
	p.Find(`Daemon is (ready)`)
	require.Contains(t, p.Out.String(), "EnableBitswapDiscoveryProbe: the probe is off, because only requests with a token may use it")
	p.Find(`broker: (cannot deliver), will try again`)
	out, err := harness.Run(n.Env, "config")
	require.NoError(t, err)
	require.Contains(t, out, "Warning: "+monitor.Section+".EnableBitswapDiscoveryProbe")
}

// TestPluginsThatAreBuiltIn puts one into the folder where kubo looks.
func TestPluginsThatAreBuiltIn(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	at := filepath.Join(n.Repo, "plugins", "mexport.so")
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o700))
	require.NoError(t, os.WriteFile(at, []byte("\x7fELF of metric-export-plugin"), 0o755))
	for _, args := range [][]string{isolatedFlags, {"ipfs", "id"}, {"ipfs", "--repo-dir", n.Repo, "id"}} {
		out := refused(t, n.Env, args...)
		require.Contains(t, out, at+": this is the old metrics exporter, which is built into this program; move it out", "%v", args)
		require.NotContains(t, out, "goroutine")
	}
	// Go's own load error comes with an explanation.
	require.NoError(t, os.WriteFile(at, []byte("\x7fELF"), 0o755))
	require.Contains(t, refused(t, n.Env, "ipfs", "id"), "Want plugins that are built with the Go, the flags and the modules of this program")
}

// TestSecretInKubosConfiguration: a warning for secrets that `ipfs config show` prints.
func TestSecretInKubosConfiguration(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	n.IPFS("config", "--json", monitor.Section, `{"InfluxDB": {"URL": "http://127.0.0.1:9", "Username": "u", "Password": "geheim"}}`)
	require.Contains(t, n.IPFS("config", "show"), "geheim", "kubo conceals it now: the warning is not true any more")
	out, err := harness.Run(n.Env, "config")
	require.NoError(t, err)
	require.Contains(t, out, "Warning: "+monitor.Section+".InfluxDB.Password: a secret in kubo's configuration")
	require.NotContains(t, out, "geheim")
	p := harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`Daemon is (ready)`)
	require.Contains(t, p.Out.String(), "InfluxDB.Password: a secret in kubo's configuration")
}

// TestTelemetry checks the documents on kubo's telemetry: this kubo reports to nobody, unless
// its configuration names a receiver.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	n := madeRepo(t)
	id := filepath.Join(n.Repo, "telemetry_uuid")
	daemon := func() {
		t.Helper()
		p := harness.Start(t, n.Env, "ipfs", "daemon")
		p.Find(`Daemon is (ready)`)
		p.Signal(syscall.SIGINT)
		require.Zero(t, p.Wait(30*time.Second))
	}
	n.IPFS("config", "--json", "Plugins.Plugins.telemetry", `{"Disabled": false}`) // an isolated node has it off
	daemon()
	require.NoFileExists(t, id, "kubo's telemetry has somebody to report to")

	reports := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case reports <- r.URL.Path:
		default:
		}
	}))
	defer collector.Close()
	cfg, err := json.Marshal(map[string]any{"Config": map[string]string{"Endpoint": collector.URL + "/here", "Delay": "100ms"}})
	require.NoError(t, err)
	n.IPFS("config", "--json", "Plugins.Plugins.telemetry", string(cfg))
	p := harness.Start(t, n.Env, "ipfs", "daemon")
	p.Find(`Daemon is (ready)`)
	select {
	case path := <-reports:
		require.Equal(t, "/here", path)
	case <-time.After(60 * time.Second):
		require.Fail(t, "what the user configured was not honoured")
	}
}
