package proxy

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"
)

// oldProtocols are the versions of Bitswap before HAVE and DONT_HAVE.
var oldProtocols = []protocol.ID{bsnet.ProtocolBitswapOneOne, bsnet.ProtocolBitswapOneZero, bsnet.ProtocolBitswapNoVers}

// eachOld runs a test for each of them.
func eachOld(t *testing.T, f func(t *testing.T, version protocol.ID)) {
	for _, version := range oldProtocols {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(string(version), "/ipfs/"), "/", " "), func(t *testing.T) { f(t, version) })
	}
}

// oldHost speaks one old version of Bitswap and nothing else: it treats every want as a
// want for a block, whatever else the want says, and does not answer wants for blocks
// that it lacks.
type oldHost struct {
	host.Host
	version protocol.ID
	has     map[string]blocks.Block // by multihash

	mu        sync.Mutex
	got       map[string][]byte // bytes by multihash
	wanted    map[string]int    // by multihash
	presences int               // HAVEs and DONT_HAVEs that it received
}

func newOldHost(t *testing.T, version protocol.ID, has ...blocks.Block) *oldHost {
	t.Helper()
	o := &oldHost{Host: newTestHost(t), version: version, has: map[string]blocks.Block{}, got: map[string][]byte{}, wanted: map[string]int{}}
	for _, b := range has {
		o.has[string(b.Cid().Hash())] = b
	}
	o.SetStreamHandler(version, func(s network.Stream) {
		defer s.Close()
		for {
			m, _, err := bsmsg.FromNet(s)
			if err != nil {
				return // the end of the stream
			}
			o.take(t, s.Conn().RemotePeer(), m)
		}
	})
	return o
}

func (o *oldHost) take(t *testing.T, from peer.ID, m bsmsg.BitSwapMessage) {
	answer := bsmsg.New(false)
	o.mu.Lock()
	o.presences += len(m.BlockPresences())
	for _, b := range m.Blocks() {
		o.got[string(b.Cid().Hash())] = b.RawData()
	}
	for _, w := range m.Wantlist() {
		if key := string(w.Cid.Hash()); !w.Cancel {
			o.wanted[key]++
			if b := o.has[key]; b != nil {
				answer.AddBlock(b)
			}
		}
	}
	o.mu.Unlock()
	if !answer.Empty() {
		o.send(t, from, answer)
	}
}

// send sends a message in the form of the version.
func (o *oldHost) send(t *testing.T, to peer.ID, m bsmsg.BitSwapMessage) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	s, err := o.NewStream(ctx, to, o.version)
	if err != nil {
		t.Log(err)
		return
	}
	defer s.Close()
	if o.version == bsnet.ProtocolBitswapOneOne {
		err = m.ToNetV1(s)
	} else {
		err = m.ToNetV0(s)
	}
	if err != nil {
		t.Log(err)
	}
}

func (o *oldHost) count(f func() int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return f()
}

// mixedBlocks are blocks with a CIDv0, and with a CIDv1 of codec raw.
func mixedBlocks(t *testing.T, n int) []blocks.Block {
	out := newBlocks(t, n, 10_000)
	for i := range out {
		if i%2 == 0 {
			out[i] = blocks.NewBlock(out[i].RawData())
		}
	}
	return out
}

// Nodes that speak only an old Bitswap: all blocks arrive, matched by hash. The first
// node does not answer wants for what it lacks, and after the deadline the other one is
// asked. A peer that asks who has a block gets HAVE, because the node sends the block.
func TestOldNodesBehind(t *testing.T) {
	eachOld(t, func(t *testing.T, version protocol.ID) {
		all := mixedBlocks(t, 20)
		one, two := newOldHost(t, version, all[:10]...), newOldHost(t, version, all[10:]...)
		p := startProxy(t, Config{Downstreams: []string{apiAddr(api(t, one, nil)), apiAddr(api(t, two, nil))}, Fallback: 200 * time.Millisecond})
		up := newTestNode(t)
		p.connect(t, up.Host)
		up.fetch(t, all)
		s := p.Sample(time.Second)
		var verified, timeouts uint64
		for _, d := range s.Downstreams {
			require.Zero(t, d.Refused, "%+v", d)
			require.Zero(t, d.Received.Have+d.Received.DontHave)
			require.NotZero(t, d.Verified)
			verified += d.Verified
			timeouts += d.Timeouts
		}
		require.GreaterOrEqual(t, verified, uint64(20))
		require.NotZero(t, timeouts, "no block was requested of the wrong node first")
		require.NotContains(t, p.log.String(), "refused")

		more := mixedBlocks(t, 2)
		one.mu.Lock()
		for _, b := range more {
			one.has[string(b.Cid().Hash())] = b
		}
		one.mu.Unlock()
		asker, told := rawPeer(t, nil)
		p.connect(t, asker.Host)
		asker.send(t, p.up.ID(), wantMsg(false, wantHave, more[0].Cid(), more[1].Cid()))
		told.eventually(t, "HAVE of both", func() bool { return told.haves[more[0].Cid()] > 0 && told.haves[more[1].Cid()] > 0 })
		told.mu.Lock()
		require.Empty(t, told.dontHaves)
		told.mu.Unlock()
		for _, o := range []*oldHost{one, two} {
			require.Zero(t, o.count(func() int { return o.presences }))
		}
	})
}

// Peers that speak only an old Bitswap: all blocks arrive, matched by hash, and they
// receive neither HAVE nor DONT_HAVE, even if they send fields that their version does
// not have.
func TestOldPeers(t *testing.T) {
	eachOld(t, func(t *testing.T, version protocol.ID) {
		all := mixedBlocks(t, 20)
		one, two := newTestNode(t), newTestNode(t)
		one.put(t, all[:10]...)
		two.put(t, all[10:]...)
		p := startProxy(t, Config{Downstreams: []string{apiAddr(one.api), apiAddr(two.api)}})
		old := newOldHost(t, version)
		p.connect(t, old.Host)
		var keys []cid.Cid
		for _, b := range all {
			keys = append(keys, b.Cid())
		}
		missing := newBlocks(t, 3, 10)
		plain := bsmsg.New(true) // in the form of the version: no type, no request for DONT_HAVE
		for _, c := range append(keys, missing[0].Cid()) {
			plain.AddEntry(c, 1, wantBlock, false)
		}
		old.send(t, p.up.ID(), plain)
		require.Eventually(t, func() bool { return old.count(func() int { return len(old.got) }) == len(all) }, patient, time.Millisecond)
		for _, b := range all {
			old.mu.Lock()
			got := sha256.Sum256(old.got[string(b.Cid().Hash())])
			old.mu.Unlock()
			require.Equal(t, sha256.Sum256(b.RawData()), got)
		}
		// And fields that only a newer version has.
		old.send(t, p.up.ID(), wantMsg(false, wantHave, all[0].Cid(), missing[1].Cid()))
		old.send(t, p.up.ID(), wantMsg(false, wantBlock, missing[2].Cid()))
		require.Eventually(t, func() bool {
			s := p.engine
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.n.sent.DontHave >= 2 && s.n.sent.Have >= 1 && s.ups[old.ID()] != nil && !s.ups[old.ID()].box.running && len(s.ups[old.ID()].box.items) == 0
		}, patient, time.Millisecond, "the engine had something to send")
		more := newBlock(t, []byte(t.Name()))
		one.put(t, more)
		old.send(t, p.up.ID(), wantMsg(false, wantBlock, more.Cid())) // after all of the above
		require.Eventually(t, func() bool { return old.count(func() int { return len(old.got) }) == len(all)+1 }, patient, time.Millisecond)
		require.Zero(t, old.count(func() int { return old.presences }))
	})
}

// boxo's own Bitswap, restricted to an old version on both sides.
func TestOldBoxo(t *testing.T) {
	eachOld(t, func(t *testing.T, version protocol.ID) {
		boxo := func() *testNode {
			n := &testNode{Host: newTestHost(t), store: blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))}
			n.net = bsnet.NewFromIpfsHost(n.Host, bsnet.SupportedProtocols([]protocol.ID{version}))
			ctx, cancel := context.WithCancel(context.Background())
			n.bs = bitswap.New(ctx, n.net, nil, n.store)
			n.api = api(t, n.Host, nil)
			t.Cleanup(func() { n.bs.Close(); cancel(); n.net.Stop() })
			return n
		}
		all := mixedBlocks(t, 20)
		if version != bsnet.ProtocolBitswapOneOne { // boxo drops a block of a CIDv1 that 1.0 sends it
			for i := range all {
				all[i] = blocks.NewBlock(all[i].RawData())
			}
		}
		one, two := boxo(), boxo()
		one.put(t, all[:10]...)
		two.put(t, all[10:]...)
		p := startProxy(t, Config{Downstreams: []string{apiAddr(one.api), apiAddr(two.api)}, Fallback: 200 * time.Millisecond})
		up := boxo()
		p.connect(t, up.Host)
		up.fetch(t, all)
		for _, d := range p.Sample(time.Second).Downstreams {
			require.Zero(t, d.Refused)
		}
	})
}
