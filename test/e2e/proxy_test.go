package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestProxyWithRealNodes: three kubo daemons with different content, twenty peers that know
// only the proxy; then one daemon is killed and one hangs.
func TestProxyWithRealNodes(t *testing.T) {
	t.Parallel()
	var nodes []*harness.Kubo
	var files []*harness.File
	downs := ""
	all := harness.NewFile(t, 4<<20)
	for i := range 3 {
		k := harness.StartKubo(t, nil)
		f := harness.NewFile(t, 1<<20)
		k.Add(f)
		k.Add(all)
		nodes, files = append(nodes, k), append(files, f)
		downs += fmt.Sprintf(",n%d=%s", i, k.Multiaddr())
	}
	points := filepath.Join(t.TempDir(), "points")
	p := harness.StartProxy(t, "-d", downs[1:], "--influxdb", "file://"+points, "--name", "front")
	p.Metric("kitsune_bitswap_downstream_peers", 3)

	var ups []*harness.Light
	for range 20 {
		l := harness.NewLight(t)
		l.Connect(t, p.Addr)
		ups = append(ups, l)
	}
	var wg sync.WaitGroup
	for _, l := range ups {
		wg.Go(func() {
			for _, f := range files {
				if err := l.Get(f, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p.Metric("kitsune_bitswap_upstream_peers", 20)
	p.Metric(`kitsune_bitswap_messages_recv{side="upstream"}`, 20)

	// One is killed and one hangs while everybody fetches what all have.
	var bytes atomic.Int64
	var once sync.Once
	for _, l := range ups {
		wg.Go(func() {
			err := l.Get(all, func(n int) {
				if bytes.Add(int64(n)) > 8<<20 {
					once.Do(func() {
						_ = syscall.Kill(-nodes[0].Cmd.Process.Pid, syscall.SIGKILL)
						_ = syscall.Kill(-nodes[1].Cmd.Process.Pid, syscall.SIGSTOP)
					})
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Greater(t, bytes.Load(), int64(8<<20))
	// And files that only the third has, while the others stay down.
	last := harness.NewFile(t, 1<<20)
	nodes[2].Add(last)
	require.NoError(t, ups[0].Get(last, nil))
	require.NoError(t, syscall.Kill(-nodes[1].Cmd.Process.Pid, syscall.SIGCONT))

	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))
	p.Find(`Everything is (written)`)
	b, err := os.ReadFile(points)
	require.NoError(t, err)
	for _, pattern := range []string{
		`(?m)^proxy,node=front .*upstream_peers=20i`,
		`(?m)^proxy_downstreams,downstream=n2,node=front .*connected=true.*verified=[1-9]`,
		`(?m)^wants,codec=[a-z-]+,direction=received,gateway=false,node=front,side=upstream,type=want_`,
		`(?m)^wants,codec=[a-z-]+,direction=sent,downstream=n2,gateway=false,node=front,side=downstream,type=want_`,
		`(?m)^blocks,codec=[a-z-]+,direction=sent,gateway=false,node=front,side=upstream `,
		`(?m)^blocks,codec=[a-z-]+,direction=received,downstream=n2,gateway=false,node=front,side=downstream `,
		`(?m)^presences,.*direction=received,downstream=n[012],.*side=downstream,`,
		`(?m)^latency,.*direction=received,gateway=false,node=front,side=upstream,`,
		`(?m)^latency,.*direction=sent,downstream=n2,gateway=false,node=front,side=downstream,`,
		`(?m)^connections,direction=inbound,.*side=upstream,state=opened`,
		`(?m)^connections,direction=outbound,downstream=n1,.*side=downstream,state=opened`,
		`(?m)^connections,direction=outbound,downstream=n0,.*side=downstream,state=closed`,
		`(?m)^identifies,downstream=n0,gateway=false,node=front,side=downstream `,
	} {
		require.Regexp(t, regexp.MustCompile(pattern), string(b))
	}
	for _, point := range regexp.MustCompile(`(?m)^(wants|blocks|presences|latency|connections|identifies),\S*`).FindAllString(string(b), -1) {
		if !strings.Contains(point, ",side=") {
			t.Fatalf("a point of history without a side: %s", point)
		}
	}
}

// TestProxyPreload: a peer that cannot be called has its file fetched by a node
// behind the proxy, goes away, comes back empty and gets it from there.
func TestProxyPreload(t *testing.T) {
	t.Parallel()
	k := harness.StartKubo(t, nil)
	free := harness.FreePort(t)
	p := harness.StartProxy(t, "-d", k.Multiaddr(), "-w", "/ip4/127.0.0.1/tcp/0", "-p", free)
	ws := p.Find(`(?m)^ +(/ip4/127\.0\.0\.1/tcp/\d+/ws/p2p/\S+)$`)
	p.Metric("kitsune_bitswap_downstream_peers", 1)
	out, err := harness.Run(p.Env, "health")
	require.NoError(t, err, out)

	// A browser's node: only WebSockets, its file nowhere else.
	f := harness.NewFile(t, 2<<20)
	browser := harness.NewLight(t)
	browser.Add(t, f)
	browser.Connect(t, ws)
	resp, err := http.Get("http://127.0.0.1:" + free + "/api/v0/refs?recursive=true&arg=" + f.Root.String())
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, string(b))
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	refs := 0
	for line := range strings.Lines(string(b)) {
		var r struct{ Ref, Err string }
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Empty(t, r.Err)
		refs++
	}
	require.Equal(t, 8, refs, "2 MiB are eight chunks")

	// The page is loaded again: another peer, with nothing.
	require.NoError(t, browser.Close())
	again := harness.NewLight(t)
	again.Connect(t, ws)
	require.NoError(t, again.Get(f, nil))
}
