//go:build all

package test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAllPageProxy looks at the Proxy view of a running proxy with a real
// browser: a kubo daemon behind it, a node that is down, and three peers that
// have fetched a file.
func TestAllPageProxy(t *testing.T) {
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
	look(t, "proxy.test.mjs", 10*time.Minute, "PAGE_URL="+page)
}
