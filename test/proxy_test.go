package test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
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

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfile "github.com/ipfs/boxo/ipld/unixfs/file"
	"github.com/ipfs/boxo/ipld/unixfs/importer"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	serialize "github.com/ipfs/kubo/config/serialize"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/loopback"
)

// kubo is a plain kubo daemon on loopback.
type kubo struct {
	*process
	env []string
	api string // host:port
}

// startKubo makes a repository and runs a daemon on it. change may be nil.
func startKubo(t *testing.T, change func(*config.Config)) *kubo {
	t.Helper()
	k := &kubo{}
	home := t.TempDir()
	k.env = environ(home, "IPFS_PATH="+filepath.Join(home, "repo"))
	out, err := run(k.env, "ipfs", "init", "--empty-repo")
	require.NoError(t, err, out)
	file := filepath.Join(home, "repo", "config")
	cfg, err := serialize.Load(file)
	require.NoError(t, err)
	loopback.Apply(cfg)
	cfg.Routing.Type = config.NewOptionalString("none")
	if change != nil {
		change(cfg)
	}
	require.NoError(t, serialize.WriteConfigFile(file, cfg))
	k.process = start(t, k.env, "ipfs", "daemon")
	k.find(`Daemon is (ready)`)
	k.api = "127.0.0.1:" + k.find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	return k
}

// multiaddr is the API's address for -d.
func (k *kubo) multiaddr() string {
	return "/ip4/127.0.0.1/tcp/" + k.api[strings.LastIndexByte(k.api, ':')+1:]
}

func (k *kubo) ipfs(args ...string) string {
	k.t.Helper()
	out, err := run(k.env, append([]string{"ipfs"}, args...)...)
	require.NoError(k.t, err, "ipfs %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(out)
}

// file is content with its hash.
type file struct {
	root cid.Cid
	sum  [32]byte
	path string
}

func newFile(t *testing.T, size int) *file {
	t.Helper()
	data := make([]byte, size)
	_, err := rand.Read(data)
	require.NoError(t, err)
	f := &file{sum: sha256.Sum256(data), path: filepath.Join(t.TempDir(), "file")}
	require.NoError(t, os.WriteFile(f.path, data, 0o600))
	return f
}

func (k *kubo) add(f *file) {
	k.t.Helper()
	var err error
	f.root, err = cid.Decode(k.ipfs("add", "-q", "--pin=false", f.path))
	require.NoError(k.t, err)
}

// light is a peer with boxo's Bitswap and nothing else.
type light struct {
	host.Host
	store blockstore.Blockstore
	bs    *bitswap.Bitswap
}

func newLight(t *testing.T, opts ...libp2p.Option) *light {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics()}, opts...)...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	net := bsnet.NewFromIpfsHost(h)
	l := &light{Host: h, store: blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))}
	l.bs = bitswap.New(ctx, net, nil, l.store)
	t.Cleanup(func() { l.bs.Close(); cancel(); net.Stop(); h.Close() })
	return l
}

func (l *light) connect(t *testing.T, addr string) {
	t.Helper()
	info, err := peer.AddrInfoFromP2pAddr(ma.StringCast(addr))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, l.Connect(ctx, *info))
}

// get reads a file through Bitswap and checks its hash; got is told of bytes.
func (l *light) get(f *file, got func(int)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dag := merkledag.NewDAGService(blockservice.New(l.store, l.bs))
	session := merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, dag))
	n, err := session.Get(ctx, f.root)
	if err != nil {
		return err
	}
	node, err := unixfile.NewUnixfsFile(ctx, session, n)
	if err != nil {
		return err
	}
	defer node.Close()
	r, ok := node.(io.Reader)
	if !ok {
		return fmt.Errorf("%s is no file", f.root)
	}
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		sum.Write(buf[:n])
		if got != nil {
			got(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if [32]byte(sum.Sum(nil)) != f.sum {
		return fmt.Errorf("%s came with other bytes", f.root)
	}
	return nil
}

// add stores a file as kubo would.
func (l *light) add(t *testing.T, f *file) {
	t.Helper()
	in, err := os.Open(f.path)
	require.NoError(t, err)
	defer in.Close()
	dag := merkledag.NewDAGService(blockservice.New(l.store, l.bs))
	n, err := importer.BuildDagFromReader(dag, chunk.DefaultSplitter(in))
	require.NoError(t, err)
	f.root = n.Cid()
}

// proxied is a running proxy.
type proxied struct {
	*process
	addr, http string
}

func startProxy(t *testing.T, args ...string) *proxied {
	t.Helper()
	p := &proxied{}
	home := t.TempDir()
	p.process = start(t, environ(home, "GOLOG_LOG_LEVEL=info"), append([]string{"proxy", "-k", filepath.Join(home, "key"),
		"-l", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0", "--interval", "1"}, args...)...)
	p.find(`Proxy is (ready)`)
	p.addr = p.find(`(?m)^ +(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\S+)$`)
	p.http = p.find(`Metric Export HTTP server listening on (\S+)`)
	return p
}

// metric waits until a metric has at least that value.
func (p *proxied) metric(name string, least float64) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		resp, err := http.Get("http://" + p.http + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				var v float64
				_, err := fmt.Sscan(rest, &v)
				return err == nil && v >= least
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond, "%s did not become %v", name, least)
}

// TestProxyWithRealNodes: three kubo daemons with different content, twenty
// peers that know the proxy alone; then one daemon is killed and one hangs.
func TestProxyWithRealNodes(t *testing.T) {
	var nodes []*kubo
	var files []*file
	downs := ""
	all := newFile(t, 4<<20)
	for i := range 3 {
		k := startKubo(t, nil)
		f := newFile(t, 1<<20)
		k.add(f)
		k.add(all)
		nodes, files = append(nodes, k), append(files, f)
		downs += fmt.Sprintf(",n%d=%s", i, k.multiaddr())
	}
	points := filepath.Join(t.TempDir(), "points")
	p := startProxy(t, "-d", downs[1:], "--influxdb", "file://"+points, "--name", "front")
	p.metric("kitsune_bitswap_downstream_peers", 3)

	var ups []*light
	for range 20 {
		l := newLight(t)
		l.connect(t, p.addr)
		ups = append(ups, l)
	}
	var wg sync.WaitGroup
	for _, l := range ups {
		wg.Go(func() {
			for _, f := range files {
				if err := l.get(f, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p.metric("kitsune_bitswap_upstream_peers", 20)
	p.metric(`kitsune_bitswap_messages_recv{side="upstream"}`, 20)

	// One is killed and one hangs while everybody fetches what all have.
	var bytes atomic.Int64
	var once sync.Once
	for _, l := range ups {
		wg.Go(func() {
			err := l.get(all, func(n int) {
				if bytes.Add(int64(n)) > 8<<20 {
					once.Do(func() {
						_ = syscall.Kill(-nodes[0].cmd.Process.Pid, syscall.SIGKILL)
						_ = syscall.Kill(-nodes[1].cmd.Process.Pid, syscall.SIGSTOP)
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
	// And what only the third has, while the others are as they are.
	last := newFile(t, 1<<20)
	nodes[2].add(last)
	require.NoError(t, ups[0].get(last, nil))
	require.NoError(t, syscall.Kill(-nodes[1].cmd.Process.Pid, syscall.SIGCONT))

	p.signal(syscall.SIGINT)
	require.Zero(t, p.wait(30*time.Second))
	p.find(`Everything is (written)`)
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
	k := startKubo(t, nil)
	free := freePort(t)
	p := startProxy(t, "-d", k.multiaddr(), "-w", "/ip4/127.0.0.1/tcp/0", "-p", free)
	ws := p.find(`(?m)^ +(/ip4/127\.0\.0\.1/tcp/\d+/ws/p2p/\S+)$`)
	p.metric("kitsune_bitswap_downstream_peers", 1)

	// A browser's node: WebSockets alone, its file nowhere else.
	f := newFile(t, 2<<20)
	browser := newLight(t)
	browser.add(t, f)
	browser.connect(t, ws)
	resp, err := http.Get("http://127.0.0.1:" + free + "/api/v0/refs?recursive=true&arg=" + f.root.String())
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
	again := newLight(t)
	again.connect(t, ws)
	require.NoError(t, again.get(f, nil))
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	require.NoError(t, l.Close())
	return port
}
