//go:build all

package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAllPageProxy looks at the Proxy view of a running proxy with a real
// browser: a kubo daemon behind it, a node that is down, and three peers that
// have fetched a file.
func TestAllPageProxy(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	out := filepath.Join(root, "bin", "page")
	require.FileExists(t, filepath.Join(out, "node_modules", "playwright-core", "package.json"), "use make check-page: it installs what this needs")
	k := startKubo(t, nil)
	f := newFile(t, 2<<20)
	k.add(f)
	p := startProxy(t, "-d", "here="+k.multiaddr()+",gone=/ip4/127.0.0.1/tcp/"+freePort(t), "--name", "front")
	page := p.find(`Introspection page at (http://\S+)`)
	p.metric("kitsune_bitswap_downstream_peers", 1)
	for range 3 {
		l := newLight(t)
		l.connect(t, p.addr)
		require.NoError(t, l.get(f, nil))
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", filepath.Join(root, "test", "page", "proxy.test.mjs"))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "PAGE_URL="+page, "PAGE_OUT="+out, "PAGE_ROOT="+root)
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, string(b))
	t.Log(string(b))
}
