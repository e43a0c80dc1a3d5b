//go:build programs || all

package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	kuboversion "github.com/ipfs/kubo"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestPluginInStockIPFS builds the .so and a stock ipfs of the same modules, which loads it.
func TestPluginInStockIPFS(t *testing.T) {
	home := t.TempDir()
	ipfs, so := filepath.Join(home, "stock-ipfs"), filepath.Join(home, "ipfsmon.so")
	harness.Tool(t, "go", "build", "-buildmode=plugin", "-o", so, "./cmd/plugin")
	harness.Tool(t, "go", "build", "-o", ipfs, "github.com/ipfs/kubo/cmd/ipfs")
	env := harness.Environ(home)
	stock := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(ipfs, args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "ipfs %s: %s", strings.Join(args, " "), out)
		return string(out)
	}

	// An isolated repository, made by our own program.
	n := harness.StartNode(t, home)
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(30*time.Second))
	plugins := filepath.Join(n.Repo, "plugins")
	require.NoError(t, os.MkdirAll(plugins, 0o700))
	require.NoError(t, os.Rename(so, filepath.Join(plugins, "ipfsmon.so")))
	require.NoError(t, os.Chmod(filepath.Join(plugins, "ipfsmon.so"), 0o755))

	stock("config", "--json", monitor.Section, `{"TCPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`)
	require.Contains(t, stock("version"), "ipfs version "+kuboversion.CurrentVersionNumber)

	p := harness.Launch(t, env, ipfs, "daemon")
	addr := p.Find(`Metric Export TCP server listening on (\S+)`)
	p.Find(`Daemon is (ready)`)
	sub := harness.Subscribe(t, addr)

	// A monitored node of ours connects to it and wants what it has not got.
	other := harness.StartNode(t, t.TempDir())
	var id string
	for _, a := range strings.Fields(stock("id", "-f", "<addrs>")) {
		if strings.Contains(a, "/tcp/") {
			id = a
		}
	}
	other.IPFS("swarm", "connect", id)
	cid := strings.TrimSpace(stock("add", "-q", harness.TextFile(t, "from a stock ipfs")))
	require.Equal(t, "from a stock ipfs", other.IPFS("cat", cid))
	require.Eventually(t, func() bool {
		s := sub.Get()
		return s["opened"] > 0 && s["want_have"]+s["want_block"] > 0 && s["cancel"] > 0
	}, 30*time.Second, 20*time.Millisecond, "%v", sub.Get())
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))
}
