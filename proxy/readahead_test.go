package proxy

import (
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

// newFile makes a dag-pb node with n children.
func newFile(t testing.TB, n int) (root blocks.Block, leaves []blocks.Block) {
	t.Helper()
	leaves = newBlocks(t, n, 3000)
	dir := &merkledag.ProtoNode{}
	for _, b := range leaves {
		require.NoError(t, dir.AddRawLink("", &format.Link{Cid: b.Cid(), Size: 3000}))
	}
	dir.SetData([]byte("data"))
	require.NoError(t, dir.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}))
	return dir, leaves
}

func cids(all []blocks.Block) (out []cid.Cid) {
	for _, b := range all {
		out = append(out, b.Cid())
	}
	return out
}

func TestChildren(t *testing.T) {
	root, leaves := newFile(t, 200)
	require.Equal(t, cids(leaves), children(root.RawData()))
	require.Equal(t, links(root), children(root.RawData()), "the links that the library reads")
	for i := range 200 {
		children(root.RawData()[:i]) // must not panic
	}
	require.Empty(t, children([]byte{0x12, 3, 0x0a, 1, 7}))
}

// hasAll answers the wants for these blocks with HAVE, and all others with DONT_HAVE.
func hasAll(t testing.TB, all ...blocks.Block) func(*rawNode, peer.ID, bsmsg.BitSwapMessage) {
	has := map[cid.Cid]blocks.Block{}
	for _, b := range all {
		has[b.Cid()] = b
	}
	return func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage) {
		out := bsmsg.New(false)
		for _, w := range m.Wantlist() {
			switch {
			case w.Cancel:
			case has[w.Cid] == nil:
				out.AddDontHave(w.Cid)
			case w.WantType == wantHave:
				out.AddHave(w.Cid)
			default:
				out.AddBlock(has[w.Cid])
			}
		}
		if !out.Empty() {
			n.send(t, from, out)
		}
	}
}

func TestReadAhead(t *testing.T) {
	root, leaves := newFile(t, 100)
	node, asked := rawPeer(t, hasAll(t, append(leaves, root)...))
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, Fallback: time.Hour})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	wants := func() int { asked.mu.Lock(); defer asked.mu.Unlock(); return len(asked.wants) }
	get := func(all ...blocks.Block) {
		t.Helper()
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids(all)...))
		told.eventually(t, "they come", func() bool {
			for _, b := range all {
				if told.blocks[b.Cid()] == 0 {
					return false
				}
			}
			return true
		})
	}
	settled := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			p.engine.mu.Lock()
			defer p.engine.mu.Unlock()
			return p.engine.ahead == 0 && len(p.engine.wants) == 0
		}, patient, time.Millisecond)
	}
	get(root)
	get(leaves[50], leaves[60], leaves[70]) // in places
	settled()
	require.Equal(t, 4, wants(), "nothing is read ahead")
	get(leaves[71], leaves[72])
	settled()
	require.Equal(t, 6+aheadBlocks, wants())
	now, _ := p.Status()
	require.EqualValues(t, aheadBlocks, now.Ahead)
	get(leaves[73:81]...) // of the cache; together with them more would fit
	settled()
	require.Equal(t, 6+aheadBlocks+8, wants())
	get(leaves[81:]...)
	get(leaves[:73]...) // it had some of them
	settled()
	asked.mu.Lock()
	defer asked.mu.Unlock()
	seen := map[cid.Cid]int{}
	for _, w := range asked.wants {
		require.False(t, w.Cancel)
		seen[w.Cid]++
	}
	require.Len(t, seen, 101)
	for c, n := range seen {
		require.Equal(t, 1, n, "%s was requested once", c)
	}
}

// Requests that were made ahead leave nothing in memory when no node has the block, or
// when the node that was asked disconnects.
func TestReadAheadOfWhatIsNotThere(t *testing.T) {
	root, leaves := newFile(t, 40)
	node, _ := rawPeer(t, hasAll(t, append(leaves[:10:10], root)...))
	hung, asked := rawPeer(t, func(*rawNode, peer.ID, bsmsg.BitSwapMessage) {})
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api), apiAddr(hung.api)}, Fallback: minFallback})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	all := append([]blocks.Block{root}, leaves[:10]...)
	for _, b := range all {
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, b.Cid()))
		told.eventually(t, "it comes", func() bool { return told.blocks[b.Cid()] == 1 })
	}
	asked.eventually(t, "the hung one was asked", func() bool { return len(asked.wants) > 0 })
	require.NoError(t, hung.Close())
	require.Eventually(t, func() bool {
		e := p.engine
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.wants) == 0 && e.ahead == 0 && e.downs[0].open == 0 && e.downs[1].open == 0 && e.downs[0].ledger == 0 && e.downs[1].ledger == 0
	}, patient, time.Millisecond)
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, leaves[12].Cid()))
	told.eventually(t, "the peer that wants it gets DONT_HAVE", func() bool { return told.dontHaves[leaves[12].Cid()] > 0 })
}

// A node that did not have the parent is asked for the children after the others answered
// DONT_HAVE, and a node that has only one of them is still found.
func TestNodesThatLackAParentAreAskedLast(t *testing.T) {
	root, leaves := newFile(t, 60)
	full, _ := rawPeer(t, hasAll(t, append(leaves[:59:59], root)...))
	part, asked := rawPeer(t, hasAll(t, leaves[59]))
	empty, none := rawPeer(t, sayNo(t))
	p := startProxy(t, Config{Downstreams: []string{apiAddr(full.api), apiAddr(part.api), apiAddr(empty.api)}, Fallback: time.Hour, CacheBytes: -1})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	for i, b := range append([]blocks.Block{root}, leaves...) {
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, b.Cid()))
		told.eventually(t, "it comes", func() bool { return told.blocks[b.Cid()] == 1 })
		if i == 59 {
			for _, h := range []*heard{asked, none} {
				h.mu.Lock()
				require.LessOrEqual(t, len(h.wants), 2, "the root, and a child at most")
				h.mu.Unlock()
			}
		}
	}
}

// A peer whose blocks are all at one node does not wait for the other nodes each time.
func TestNodesThatHadNotWhatAPeerFound(t *testing.T) {
	all := newBlocks(t, 50, 10)
	full, _ := rawPeer(t, hasAll(t, all[:49]...))
	part, asked := rawPeer(t, hasAll(t, all[49]))
	p := startProxy(t, Config{Downstreams: []string{apiAddr(full.api), apiAddr(part.api)}, Fallback: time.Hour})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	for i, b := range all {
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, b.Cid()))
		told.eventually(t, "it comes", func() bool { return told.blocks[b.Cid()] == 1 })
		if i == 48 {
			asked.mu.Lock()
			require.LessOrEqual(t, asked.count(func(w bsmsg.Entry) bool { return !w.Cancel }), manyMisses)
			asked.mu.Unlock()
		}
	}
}
