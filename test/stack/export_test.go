//go:build stack || all

package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	store "github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestStackExport moves what an embedded store has to an InfluxDB 2, by the
// words of docs/operations.md, and looks whether every point is the same there.
func TestStackExport(t *testing.T) {
	address, org, admin := harness.StartInfluxDB2(t)
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte(admin+"\n"), 0o600))
	server := influx.Config{URL: address, Org: org, TokenFile: token}
	require.NoError(t, client.Setup(t.Context(), server))

	// A monitor that ran with the embedded store, with hostile text in it.
	n := harness.StartNode(t, dir)
	all, points := harness.Events(t, 3000)
	embedded := influx.Config{URL: n.Find(`InfluxDB listening on (http://\S+),`)}
	embedded.Username, embedded.PasswordFile = store.Login(filepath.Join(n.Repo, "ipfsmon"))
	r := harness.RunSink(t, embedded)
	r.Publish(all)
	r.Delivered(points)
	r.Bus.Close()
	require.NoError(t, <-r.End)
	n.Kill()

	doc, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	script := regexp.MustCompile("(?s)```sh\n(# Move.*?)```").FindSubmatch(doc)
	require.Len(t, script, 2, "docs/operations.md does not describe how to move")
	export := func(args ...string) []string {
		t.Helper()
		var lines []string
		for _, kind := range []string{"history", "totals"} {
			cmd := exec.Command(harness.Bin, append([]string{"export", "--kind", kind}, args...)...)
			cmd.Env = n.Env
			out, err := cmd.Output()
			require.NoError(t, err)
			lines = append(lines, strings.Split(strings.TrimSpace(string(out)), "\n")...)
		}
		sort.Strings(lines)
		return lines
	}
	programs := filepath.Join(dir, "bin") // the program under its own name
	require.NoError(t, os.Mkdir(programs, 0o755))
	self, err := filepath.Abs(harness.Bin)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(programs, "ipfsmon")))
	before := export("--repo", n.Repo)
	require.GreaterOrEqual(t, len(before), harness.Sum(points))

	move := func() {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", string(script[1]))
		cmd.Env = append(n.Env, "IPFS_PATH="+n.Repo, "URL="+address, "ORG="+org, "TOKEN_FILE="+token, "PATH="+programs+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	move()
	after := export("--url", address, "--org", org, "--token-file", token)
	require.Len(t, after, len(before))
	for i := range before {
		require.Equal(t, before[i], after[i])
	}
	move() // once more: nothing is there twice
	require.Len(t, export("--url", address, "--org", org, "--token-file", token), len(before))
}
