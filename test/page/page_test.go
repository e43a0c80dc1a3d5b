//go:build page || all

package page

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestPage looks at the live page with a real browser while the demo runs.
// Screenshots are left in bin/page.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	feed := filepath.Join(dir, "feed")
	build := exec.Command("go", "build", "-o", feed, "./feed")
	build.Stderr = os.Stderr
	require.NoError(t, build.Run())
	made := func(name string, args ...string) string {
		file := filepath.Join(dir, name)
		b, err := exec.Command(feed, append(args, "--out", file)...).CombinedOutput()
		require.NoError(t, err, string(b))
		return file
	}
	big := made("big.ipfsmon-capture", "--connections", "10000", "--states", "3")
	hostile := made("hostile.ipfsmon-capture", "--connections", "60", "--states", "30", "--hostile")

	demo := harness.Start(t, harness.Environ(dir), "demo", "--name", "de1", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	page := demo.Find(`Live page at (http://\S+)`)
	demo.Find(`Daemon is (ready)`)
	require.Eventually(t, func() bool { // the first points are in the store
		resp, err := http.Get(page + "metric_plugin/v1/history?since=1h&step=30s")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, time.Minute, 200*time.Millisecond)
	look(t, "page.test.mjs", 20*time.Minute, "PAGE_URL="+page, "PAGE_FEED="+feed, "PAGE_BIG="+big, "PAGE_HOSTILE="+hostile)
}

// look runs a file of the browser's tests, within a time.
func look(t *testing.T, file string, within time.Duration, env ...string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	out := filepath.Join(root, "bin", "page")
	require.FileExists(t, filepath.Join(out, "node_modules", "playwright-core", "package.json"), "use make check-page: it installs what this needs")
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", filepath.Join(root, "test", "page", file))
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), "PAGE_OUT="+out, "PAGE_ROOT="+root), env...)
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, string(b))
	t.Log(string(b))
}
