//go:build page || all

package page

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestPageProxy looks at the Proxy view of a running proxy with a real
// browser: a kubo daemon behind it, a node that is down, and three peers that
// have fetched a file.
func TestPageProxy(t *testing.T) {
	k := harness.StartKubo(t, nil)
	f := harness.NewFile(t, 2<<20)
	k.Add(f)
	p := harness.StartProxy(t, "-d", "here="+k.Multiaddr()+",gone=/ip4/127.0.0.1/tcp/"+harness.FreePort(t), "--name", "front")
	page := p.Find(`Live page at (http://\S+)`)
	p.Metric("kitsune_bitswap_downstream_peers", 1)
	for range 3 {
		l := harness.NewLight(t)
		l.Connect(t, p.Addr)
		require.NoError(t, l.Get(f, nil))
	}
	look(t, "proxy.test.mjs", 10*time.Minute, "PAGE_URL="+page)
}
