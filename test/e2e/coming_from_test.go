package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAPlainRepositoryStaysAsItIs: a monitored run adds one folder to the repository of a plain
// kubo, and changes neither its configuration, nor its identity, nor its blocks; kubo's own
// commands use it afterwards.
func TestAPlainRepositoryStaysAsItIs(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	confined(t, home, nil)
	repo := filepath.Join(home, ".ipfs")
	require.NoError(t, os.RemoveAll(filepath.Join(repo, "ipfsmon"))) // now it is as kubo made it, but stays on loopback
	env := harness.Environ(home)
	out, err := harness.Run(env, "ipfs", "id", "-f", "<id>")
	require.NoError(t, err, out)
	id := strings.TrimSpace(out)
	config, err := os.ReadFile(filepath.Join(repo, "config"))
	require.NoError(t, err)
	require.NotContains(t, string(config), "metric-export-plugin")
	names := func() (all []string) {
		entries, err := os.ReadDir(repo)
		require.NoError(t, err)
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	before := names()

	n := harness.StartRepo(t, home)
	require.Equal(t, id, n.IPFS("id", "-f", "<id>"))
	n.Signal(syscall.SIGINT)
	require.Zero(t, n.Wait(time.Minute), n.Out.String())

	after, err := os.ReadFile(filepath.Join(repo, "config"))
	require.NoError(t, err)
	require.Equal(t, string(config), string(after))
	added := slices.DeleteFunc(names(), func(name string) bool { return slices.Contains(before, name) })
	require.Equal(t, []string{"ipfsmon"}, added)
	require.NoError(t, os.RemoveAll(filepath.Join(repo, "ipfsmon")))
	out, err = harness.Run(env, "ipfs", "repo", "verify")
	require.NoError(t, err, out)
}

// TestAgentVersionThatPeersSee: what a peer learns of a node's software, by the settings that
// change it.
func TestAgentVersionThatPeersSee(t *testing.T) {
	t.Parallel()
	peer := harness.StartNode(t, t.TempDir())
	f := func(want, suffix string, plain bool) {
		t.Helper()
		home := t.TempDir()
		settings := map[string]string{}
		if suffix != "" {
			settings["Version.AgentSuffix"] = `"` + suffix + `"`
		}
		confined(t, home, settings)
		file := filepath.Join(home, "settings.json")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"run": {"monitor": {"PlainAgent": %v}}}`, plain), 0o600))
		n := harness.StartRepo(t, home, "--config", file)
		peer.IPFS("swarm", "connect", addresses(n)[0])
		id := n.IPFS("id", "-f", "<id>")
		require.Regexp(t, "^"+want+"$", peer.IPFS("id", id, "-f", "<aver>"))
		require.Regexp(t, "^"+want+"$", n.IPFS("id", "-f", "<aver>"), "and what the node itself says")
		n.Signal(syscall.SIGINT)
		require.Zero(t, n.Wait(time.Minute), n.Out.String())
	}
	const kubo = `kubo/\d+\.\d+\.\d+`
	f(kubo+"/ipfsmon/ipfsmon", "", false)
	f(kubo, "", true)
	f(kubo+"/mine", "mine", false)
	f(kubo+"/mine", "mine", true)
}
