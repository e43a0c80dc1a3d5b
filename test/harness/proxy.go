package harness

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// Kubo is a plain kubo daemon on loopback.
type Kubo struct {
	*Process
	Env []string
	API string // host:port
}

// StartKubo makes a repository and runs a daemon on it. change may be nil.
func StartKubo(t *testing.T, change func(*config.Config)) *Kubo {
	t.Helper()
	k := &Kubo{}
	home := t.TempDir()
	k.Env = Environ(home, "IPFS_PATH="+filepath.Join(home, "repo"))
	out, err := Run(k.Env, "ipfs", "init", "--empty-repo")
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
	k.Process = Start(t, k.Env, "ipfs", "daemon")
	k.Find(`Daemon is (ready)`)
	k.API = "127.0.0.1:" + k.Find(`RPC API server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`)
	return k
}

// Multiaddr is the API's address for -d.
func (k *Kubo) Multiaddr() string {
	return "/ip4/127.0.0.1/tcp/" + k.API[strings.LastIndexByte(k.API, ':')+1:]
}

func (k *Kubo) IPFS(args ...string) string {
	k.T.Helper()
	out, err := Run(k.Env, append([]string{"ipfs"}, args...)...)
	require.NoError(k.T, err, "ipfs %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(out)
}

// File is content with its hash.
type File struct {
	Root cid.Cid
	Sum  [32]byte
	Data []byte
	path string
}

func NewFile(t *testing.T, size int) *File {
	t.Helper()
	data := make([]byte, size)
	_, err := rand.Read(data)
	require.NoError(t, err)
	f := &File{Sum: sha256.Sum256(data), Data: data, path: filepath.Join(t.TempDir(), "file")}
	require.NoError(t, os.WriteFile(f.path, data, 0o600))
	return f
}

func (k *Kubo) Add(f *File) {
	k.T.Helper()
	var err error
	f.Root, err = cid.Decode(k.IPFS("add", "-q", "--pin=false", f.path))
	require.NoError(k.T, err)
}

// Light is a peer with boxo's Bitswap and nothing else.
type Light struct {
	host.Host
	store blockstore.Blockstore
	bs    *bitswap.Bitswap
}

func NewLight(t *testing.T, opts ...libp2p.Option) *Light {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics()}, opts...)...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	net := bsnet.NewFromIpfsHost(h)
	l := &Light{Host: h, store: blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))}
	l.bs = bitswap.New(ctx, net, nil, l.store)
	t.Cleanup(func() { l.bs.Close(); cancel(); net.Stop(); h.Close() })
	return l
}

func (l *Light) Connect(t *testing.T, addr string) {
	t.Helper()
	info, err := peer.AddrInfoFromP2pAddr(ma.StringCast(addr))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, l.Host.Connect(ctx, *info))
}

// Get reads a file through Bitswap and checks its hash; got is called with the number of bytes.
func (l *Light) Get(f *File, got func(int)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dag := merkledag.NewDAGService(blockservice.New(l.store, l.bs))
	session := merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, dag))
	n, err := session.Get(ctx, f.Root)
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
		return fmt.Errorf("%s is no file", f.Root)
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
	if [32]byte(sum.Sum(nil)) != f.Sum {
		return fmt.Errorf("%s came with other bytes", f.Root)
	}
	return nil
}

// Add stores a file as kubo would.
func (l *Light) Add(t *testing.T, f *File) {
	t.Helper()
	in, err := os.Open(f.path)
	require.NoError(t, err)
	defer in.Close()
	dag := merkledag.NewDAGService(blockservice.New(l.store, l.bs))
	n, err := importer.BuildDagFromReader(dag, chunk.DefaultSplitter(in))
	require.NoError(t, err)
	f.Root = n.Cid()
}

// proxied is a running proxy.
type proxied struct {
	*Process
	Env        []string
	Addr, HTTP string
}

func StartProxy(t *testing.T, args ...string) *proxied {
	t.Helper()
	p := &proxied{}
	home := t.TempDir()
	p.Env = Environ(home, "GOLOG_LOG_LEVEL=info")
	p.Process = Start(t, p.Env, append([]string{"proxy", "-k", filepath.Join(home, "key"),
		"-l", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0", "--interval", "1"}, args...)...)
	p.Find(`Proxy is (ready)`)
	p.Addr = p.Find(`(?m)^ +(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\S+)$`)
	p.HTTP = p.Find(`Metric Export HTTP server listening on (\S+)`)
	return p
}

// Metric waits until a metric has at least that value.
func (p *proxied) Metric(name string, least float64) {
	p.T.Helper()
	require.Eventually(p.T, func() bool {
		resp, err := http.Get("http://" + p.HTTP + "/metrics")
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
