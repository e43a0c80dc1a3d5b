package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/unixfs/importer"
	"github.com/ipfs/boxo/keystore"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/coreapi"
	kubop2p "github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/internal/loopback"
	"github.com/ipfsmon/ipfsmon/proxy"
)

// actor answers the requests of a role.
type actor interface {
	hello() answer
	do(context.Context, request) (answer, error)
	close()
}

// play is a child's life: it answers until its input ends.
func play(role string, args []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var a actor
	var err error
	switch role {
	case "node", "peer":
		a, err = newKubo(ctx, role == "node")
	case "raw":
		a, err = newRaw()
	case "crowd":
		a = &crowd{}
	case "proxy":
		a, err = newProxy(args[0], args[1])
	default:
		err = fmt.Errorf("want node, peer, raw, crowd or proxy")
	}
	if err != nil {
		return err
	}
	defer a.close()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(a.hello()); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return err
		}
		got, err := a.do(ctx, r)
		if err != nil {
			got.Err = err.Error()
		}
		if err := out.Encode(got); err != nil {
			return err
		}
	}
	return in.Err()
}

// kuboNode is a kubo node with its repository in memory.
type kuboNode struct {
	node *core.IpfsNode
	api  net.Listener
}

func newKubo(ctx context.Context, served bool) (*kuboNode, error) {
	key, _, err := crypto.GenerateKeyPair(crypto.Ed25519, 0)
	if err != nil {
		return nil, err
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	cfg := config.Config{Identity: config.Identity{PeerID: id.String(), PrivKey: base64.StdEncoding.EncodeToString(raw)}}
	loopback.Apply(&cfg)
	cfg.Addresses.Swarm = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.Provide.Enabled = config.False
	cfg.Swarm.ResourceMgr.Enabled = config.False
	n, err := core.NewNode(ctx, &core.BuildCfg{Online: true, Routing: kubop2p.NilRouterOption,
		Repo: &repo.Mock{C: cfg, D: dssync.MutexWrap(ds.NewMapDatastore()), K: keystore.NewMemKeystore()}})
	if err != nil {
		return nil, err
	}
	k := &kuboNode{node: n}
	if served {
		if k.api, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		go func() { // ends with the process
			_ = http.Serve(k.api, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(map[string]any{"ID": id.String(), "Addresses": full(n.PeerHost)})
			}))
		}()
	}
	return k, nil
}

func full(h host.Host) []string {
	var out []string
	all, _ := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h)) // an ID that is one
	for _, a := range all {
		out = append(out, a.String())
	}
	return out
}

func (k *kuboNode) hello() answer {
	a := answer{ID: k.node.Identity.String(), Addrs: full(k.node.PeerHost)}
	if k.api != nil {
		a.API = "/ip4/127.0.0.1/tcp/" + k.api.Addr().String()[strings.LastIndexByte(k.api.Addr().String(), ':')+1:]
	}
	return a
}

func (k *kuboNode) close() { _ = k.node.Close() }

func (k *kuboNode) do(ctx context.Context, r request) (answer, error) {
	switch r.Do {
	case "connect":
		return answer{}, connect(ctx, k.node.PeerHost, r.Addrs)
	case "put":
		rng := rand.New(rand.NewSource(r.Seed))
		if r.N == 0 { // a file
			n, err := importer.BuildDagFromReader(k.node.DAG, chunk.NewSizeSplitter(io.LimitReader(rng, int64(r.Size)), 256<<10))
			if err != nil {
				return answer{}, err
			}
			return answer{CIDs: []string{n.Cid().String()}}, nil
		}
		var a answer
		for range r.N { // single blocks
			b := make([]byte, r.Size)
			rng.Read(b)
			blk := blocks.NewBlock(b)
			if err := k.node.Blockstore.Put(ctx, blk); err != nil {
				return a, err
			}
			a.CIDs = append(a.CIDs, blk.Cid().String())
		}
		return a, nil
	case "fetch":
		api, err := coreapi.NewCoreAPI(k.node)
		if err != nil {
			return answer{}, err
		}
		var a answer
		for _, text := range r.CIDs {
			c, err := cid.Decode(text)
			if err != nil {
				return a, err
			}
			f, err := api.Unixfs().Get(ctx, path.FromCid(c))
			if err != nil {
				return a, err
			}
			n, err := io.Copy(io.Discard, f.(io.Reader))
			f.Close()
			a.Bytes += n
			if err != nil {
				return a, err
			}
		}
		return a, nil
	}
	return answer{}, fmt.Errorf("a kubo node does not %s", r.Do)
}

func connect(ctx context.Context, h host.Host, addrs []string) error {
	var all []ma.Multiaddr
	for _, text := range addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(all...)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := h.Connect(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// rawPeer asks for one block after the other, without a session's ways.
type rawPeer struct {
	host.Host
	got chan cid.Cid
	to  peer.ID
}

func newRaw() (*rawPeer, error) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics())
	return &rawPeer{Host: h, got: make(chan cid.Cid, 16)}, err
}

func (p *rawPeer) hello() answer { return answer{} }
func (p *rawPeer) close()        { _ = p.Host.Close() }

// ReceiveMessage and the next three are boxo's Receiver.
func (p *rawPeer) ReceiveMessage(_ context.Context, _ peer.ID, m bsmsg.BitSwapMessage) {
	for _, b := range m.Blocks() {
		p.got <- b.Cid()
	}
}

// ReceiveError see ReceiveMessage.
func (p *rawPeer) ReceiveError(error) {}

// PeerConnected see ReceiveMessage.
func (p *rawPeer) PeerConnected(peer.ID) {}

// PeerDisconnected see ReceiveMessage.
func (p *rawPeer) PeerDisconnected(peer.ID) {}

func (p *rawPeer) do(ctx context.Context, r request) (answer, error) {
	switch r.Do {
	case "connect":
		info, err := peer.AddrInfoFromString(r.Addrs[0])
		if err != nil {
			return answer{}, err
		}
		p.to = info.ID
		return answer{}, connect(ctx, p.Host, r.Addrs)
	case "ping":
		n := bsnet.NewFromIpfsHost(p.Host)
		n.Start(p)
		defer n.Stop()
		out, err := n.NewMessageSender(ctx, p.to, &bsnetwork.MessageSenderOpts{})
		if err != nil {
			return answer{}, err
		}
		var a answer
		for _, text := range r.CIDs {
			c, err := cid.Decode(text)
			if err != nil {
				return a, err
			}
			m := bsmsg.New(false)
			m.AddEntry(c, 1, pb.Message_Wantlist_Block, true)
			began := time.Now()
			if err := out.SendMsg(ctx, m); err != nil {
				return a, err
			}
			select {
			case <-p.got:
			case <-time.After(30 * time.Second):
				return a, fmt.Errorf("no block in 30 s")
			}
			a.Took = append(a.Took, time.Since(began))
		}
		return a, nil
	}
	return answer{}, fmt.Errorf("a raw peer does not %s", r.Do)
}

// crowd are many peers in one process.
type crowd struct{ all []host.Host }

func (c *crowd) hello() answer { return answer{} }
func (c *crowd) close() {
	for _, h := range c.all {
		_ = h.Close()
	}
}

func (c *crowd) do(ctx context.Context, r request) (answer, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	turn := make(chan struct{}, 16)
	for range r.N {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.DisableRelay())
			if err == nil {
				err = connect(ctx, h, r.Addrs)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			c.all = append(c.all, h)
		})
	}
	wg.Wait()
	return answer{Bytes: int64(len(c.all))}, failed
}

// proxyActor is the proxy.
type proxyActor struct{ *proxy.Proxy }

func newProxy(downs, key string) (*proxyActor, error) {
	p, err := proxy.New(proxy.Config{
		Downstreams: strings.Split(downs, ","), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, KeyFile: key,
		Logger: slog.New(slog.NewTextHandler(&bytes.Buffer{}, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, err
	}
	p.Start()
	for range 1000 { // until the nodes are connected
		up := 0
		for _, d := range p.Sample(time.Second).Downstreams {
			if d.Connected {
				up++
			}
		}
		if up == len(strings.Split(downs, ",")) {
			return &proxyActor{p}, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("the nodes are not connected after 10 s")
}

func (p *proxyActor) hello() answer { return answer{Addrs: full(p.Host())} }
func (p *proxyActor) close()        { _ = p.Proxy.Close() }

// do reports how many peers there are, when what is not needed has been given back.
func (p *proxyActor) do(context.Context, request) (answer, error) {
	debug.FreeOSMemory()
	return answer{Bytes: int64(p.Sample(time.Second).UpstreamPeers)}, nil
}
