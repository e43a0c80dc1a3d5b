package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// reverseEngine is an engine with two nodes and two peers, near at the caller's address and far at
// another one. Nothing is sent: what would be stays in the boxes.
func reverseEngine(t *testing.T) (e *engine, near netip.Addr) {
	e = engineOf(t, Config{Fallback: time.Hour, PreloadNodes: 3}, newKeeper(), "one", "two")
	near = netip.MustParseAddr("192.0.2.1")
	e.cfg.refsAt = "127.0.0.1:1"
	e.reverse.at = func(id peer.ID) []netip.Addr {
		if id == "far" {
			return []netip.Addr{netip.MustParseAddr("192.0.2.2")}
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.3"), near}
	}
	for _, d := range e.downs {
		d.box.running = true
	}
	for _, id := range []peer.ID{"near", "far"} {
		require.True(t, e.peerConnected(id))
		e.ups[id].box.running = true
	}
	t.Cleanup(func() {
		for _, d := range e.downs {
			d.box.running = false
		}
		e.close()
	})
	return e, near
}

// taken removes and returns what waits in a box, as text.
func (b *outbox) taken() (out []string) {
	names := []string{"block", "have", "dontHave", "wantBlock", "wantHave", "cancel"}
	for _, x := range b.items {
		out = append(out, fmt.Sprint(names[x.what], x.priority))
	}
	b.items, b.bytes = nil, 0
	return out
}

// The wants of a node are asked of the peers at a preload's callers, each answer is passed on once,
// and the end of a want is said to those who may still have it.
func TestReverseDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, at := reverseEngine(t)
		near, far, one, two := &e.ups["near"].box, &e.ups["far"].box, e.downs[0], e.downs[1]
		blks := newBlocks(t, 3, 10)
		c := blks[0].Cid()
		want := func(node peer.ID, x entry) { x.cid = c; e.nodeWants(node, []entry{x}) }

		want("one", entry{block: true, priority: 7})
		require.Empty(t, near.taken(), "no preload permits it yet")
		p := e.openPreload(c, one, []netip.Addr{at})
		require.Equal(t, []string{"wantBlock7"}, near.taken())
		require.Empty(t, far.taken())
		require.Empty(t, e.reverse.wishes[one])
		want("two", entry{block: true})
		require.Empty(t, near.taken(), "the preload is of another node")
		e.fromPeer("far", blks[:1], nil, nil)
		require.Empty(t, one.box.taken(), "it was not asked")
		e.fromPeer("near", blks[1:2], nil, nil)
		require.Empty(t, one.box.taken(), "it was not asked for that")
		e.fromPeer("near", blks[:1], nil, nil)
		require.Equal(t, []string{"block0"}, one.box.taken())
		require.Empty(t, near.taken(), "it has sent it")
		require.EqualValues(t, []uint64{1, 1}, []uint64{e.n.reverseWants, e.n.reverseBlocks})
		e.fromPeer("near", blks[:1], nil, nil)
		require.Empty(t, one.box.taken(), "the want has ended")

		// HAVE, then the block of who has it; both peers are at callers now.
		e.joinPreload(p, netip.MustParseAddr("192.0.2.2"), 1)
		want("one", entry{dontHave: true})
		require.Equal(t, []string{"wantHave0"}, near.taken())
		require.Equal(t, []string{"wantHave0"}, far.taken())
		e.fromPeer("far", nil, nil, []cid.Cid{c})
		require.Empty(t, one.box.taken(), "the other may have it")
		e.fromPeer("near", nil, []cid.Cid{c}, nil)
		e.fromPeer("near", nil, []cid.Cid{c}, nil)
		require.Equal(t, []string{"have0"}, one.box.taken(), "once")
		want("one", entry{block: true})
		require.Equal(t, []string{"wantBlock0"}, near.taken())
		require.Empty(t, far.taken(), "it has it not")
		e.fromPeer("near", nil, nil, []cid.Cid{c})
		require.Equal(t, []string{"dontHave0"}, one.box.taken())
		e.fromPeer("near", nil, nil, []cid.Cid{c})
		require.Empty(t, one.box.taken(), "once")

		// A cancel goes to those that were asked and have not said no.
		want("one", entry{block: true, dontHave: true})
		require.Equal(t, []string{"wantBlock0"}, near.taken())
		require.Equal(t, []string{"wantBlock0"}, far.taken())
		e.fromPeer("far", nil, nil, []cid.Cid{c})
		want("one", entry{cancel: true})
		require.Equal(t, []string{"cancel0"}, near.taken())
		require.Empty(t, far.taken())
		require.Empty(t, e.reverse.wants)

		// A peer that is gone has nothing.
		want("one", entry{block: true, dontHave: true})
		e.peerGone("far")
		require.Empty(t, one.box.taken())
		near.taken()
		e.ups["near"].box.running = false
		e.peerGone("near")
		require.Equal(t, []string{"dontHave0"}, one.box.taken())
		e.closePreload(p)
		require.Empty(t, e.reverse.allowed)
		require.Empty(t, e.reverse.wants)
		require.Len(t, e.reverse.wishes[two], 1)
		e.nodeGone(two)
		require.Empty(t, e.reverse.wishes[two])

		// The wants of a node that is gone are cancelled, those of the others are not.
		e.nodeConnected(two, "two")
		require.True(t, e.peerConnected("near"))
		near = &e.ups["near"].box
		near.running = true
		for i, d := range []*downstream{one, two} {
			e.openPreload(blks[i].Cid(), d, []netip.Addr{at})
			e.nodeWants(d.id, []entry{{cid: blks[i].Cid(), block: true, priority: int32(i)}})
		}
		require.Equal(t, []string{"wantBlock0", "wantBlock1"}, near.taken())
		e.nodeGone(two)
		require.Len(t, near.items, 1)
		require.Equal(t, blks[1].Cid(), near.items[0].cid)
		require.Equal(t, []string{"cancel0"}, near.taken())
		require.Len(t, e.reverse.wants, 1)
	})
}

// The end of a preload ends the wants of its node, unless another preload of the node permits them.
func TestPreloadsOfOneCID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, at := reverseEngine(t)
		near := &e.ups["near"].box
		c := newBlocks(t, 1, 10)[0].Cid()
		one := e.openPreload(c, e.downs[0], []netip.Addr{at})
		again := e.openPreload(c, e.downs[0], []netip.Addr{at})
		two := e.openPreload(c, e.downs[1], []netip.Addr{at})
		e.nodeWants("one", []entry{{cid: c, block: true}})
		e.nodeWants("two", []entry{{cid: c, block: true}})
		near.taken()
		e.closePreload(one)
		require.Empty(t, near.taken())
		require.Len(t, e.reverse.wants, 2)
		e.closePreload(again)
		require.Equal(t, []string{"cancel0"}, near.taken())
		require.Contains(t, e.reverse.wants, reverseKey{e.downs[1], c})
		require.Len(t, e.reverse.wants, 1)
		e.closePreload(two)
		require.Equal(t, []string{"cancel0"}, near.taken())
		require.Empty(t, e.reverse.wants)
		require.Empty(t, e.reverse.allowed)
		e.allowPreload(two, c)
		require.Empty(t, e.reverse.allowed, "it has ended")
	})
}

// The bounds of the reverse direction.
func TestReverseLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, at := reverseEngine(t)
		near, one := &e.ups["near"].box, e.downs[0]
		ids := func(n, from int) (out []entry) {
			for i := range n {
				i += from
				out = append(out, entry{cid: cid.NewCidV1(cid.Raw, []byte{0, 3, byte(i), byte(i >> 8), byte(i >> 16)}), block: true})
			}
			return out
		}
		e.nodeWants("one", ids(maxWishes, 0))
		require.Len(t, e.reverse.wishes[one], maxWishes)
		e.nodeWants("one", ids(1, maxWishes))
		require.Len(t, e.reverse.wishes[one], maxWishes)
		require.Contains(t, e.reverse.wishes[one], ids(1, maxWishes)[0].cid)
		for n, want := range map[int]bool{maxCID: true, maxCID + 1: false} {
			long := entry{cid: longCID(t, n), block: true}
			e.nodeWants("one", []entry{long})
			require.Equal(t, want, e.reverse.wishes[one][long.cid].block, n)
		}
		delete(e.reverse.wishes, one)
		e.nodeWants("nobody", ids(1, 0))
		require.Empty(t, e.reverse.wishes)

		// A preload permits its root and as many children as it may list.
		p := e.openPreload(ids(1, 0)[0].cid, one, []netip.Addr{at})
		for _, x := range ids(9, 1) {
			e.allowPreload(p, x.cid)
			e.allowPreload(p, x.cid)
		}
		require.Len(t, p.cids, 4)
		require.Len(t, e.reverse.allowed, 4)
		require.Len(t, e.reverse.allowed[ids(1, 3)[0].cid], 1)

		// So many wants of nodes are sent to peers.
		for i := range maxReverse - 1 {
			e.reverse.wants[reverseKey{e.downs[1], ids(1, i)[0].cid}] = &reverseWant{}
		}
		e.nodeWants("one", ids(2, 0))
		require.Len(t, e.reverse.wants, maxReverse)
		require.Len(t, near.taken(), 1)
		e.nodeWants("one", ids(1, 0)) // it is there already
		require.Len(t, near.taken(), 1)
		clear(e.reverse.wants)
		e.closePreload(p)

		// So many bytes of blocks wait for a node.
		blk := newBlocks(t, 1, 10)[0]
		p = e.openPreload(blk.Cid(), one, []netip.Addr{at})
		e.nodeWants("one", []entry{{cid: blk.Cid(), block: true}})
		one.box.bytes = maxReverseSend + 1
		e.fromPeer("near", []blocks.Block{blk}, nil, nil)
		require.Len(t, e.reverse.wants, 1)
		one.box.bytes = maxReverseSend
		e.fromPeer("near", []blocks.Block{blk}, nil, nil)
		require.Empty(t, e.reverse.wants)
		one.box.taken()
		e.closePreload(p)

		// So many peers are asked, and those at the callers' addresses are looked for once a second.
		for i := range 2 * maxAskedPeers {
			require.True(t, e.peerConnected(peer.ID(fmt.Sprint(i))))
		}
		p = e.openPreload(blk.Cid(), one, []netip.Addr{at})
		require.Len(t, e.peersOf(p), maxAskedPeers)
		clear(p.callers)
		time.Sleep(lookAgain - 1)
		require.Len(t, e.peersOf(p), maxAskedPeers)
		time.Sleep(time.Nanosecond)
		require.Empty(t, e.peersOf(p))
		p.anyPeer = true
		require.Empty(t, e.peersOf(p))
		time.Sleep(lookAgain)
		require.Len(t, e.peersOf(p), maxAskedPeers)
		e.joinPreload(p, netip.MustParseAddr("192.0.2.2"), 1)
		require.Equal(t, []peer.ID{"far"}, e.peersOf(p), "a caller that joins is looked for at once")
		e.joinPreload(p, netip.MustParseAddr("192.0.2.2"), 1)
		e.joinPreload(p, netip.MustParseAddr("192.0.2.2"), -1)
		require.Equal(t, []peer.ID{"far"}, slices.Clone(e.peersOf(p)), "another request of the same caller is left")
		e.joinPreload(p, netip.MustParseAddr("192.0.2.2"), -1)
		require.Empty(t, p.callers)
		e.closePreload(p)
	})
}

// A message of a peer with presences or blocks alone answers the wants of nodes, and counts.
func TestMessagesWithAnswersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, at := reverseEngine(t)
		p, one := &Proxy{cfg: e.cfg, engine: e}, e.downs[0]
		blk := newBlocks(t, 1, 10)[0]
		way := e.openPreload(blk.Cid(), one, []netip.Addr{at})
		e.nodeWants("one", []entry{{cid: blk.Cid(), block: true, dontHave: true}})
		no, yes := bsmsg.New(false), bsmsg.New(false)
		no.AddDontHave(blk.Cid())
		yes.AddBlock(blk)
		(*upSide)(p).ReceiveMessage(t.Context(), "near", no)
		require.Equal(t, []string{"dontHave0"}, one.box.taken())
		(*upSide)(p).ReceiveMessage(t.Context(), "near", yes)
		require.Equal(t, []string{"block0"}, one.box.taken())
		require.EqualValues(t, 2, e.n.received.Messages)
		require.EqualValues(t, 2, p.received[event.Upstream].Load())
		(*upSide)(p).ReceiveMessage(t.Context(), "stranger", no)
		require.NotContains(t, e.ups, peer.ID("stranger"), "who wants nothing has no state")
		e.closePreload(way)

		// The wants of a node are in its messages.
		wants := bsmsg.New(false)
		wants.AddEntry(blk.Cid(), 5, wantBlock, false)
		(*downSide)(p).ReceiveMessage(t.Context(), "one", wants)
		require.Equal(t, entry{cid: blk.Cid(), block: true, priority: 5}, e.reverse.wishes[one][blk.Cid()])
		require.EqualValues(t, 1, p.received[event.Downstream].Load())
	})
}

// Blocks that were read ahead and are too old make room for others.
func TestOldBlocksMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := reverseEngine(t)
		e.cache = newCache(4 * firstSize)
		blks := newBlocks(t, 3, 10)
		e.cache.add(blks[0], time.Now(), true)
		e.cache.add(blks[1], time.Now(), true)
		time.Sleep(cacheFor)
		require.False(t, e.askAhead(e.ups["near"], blks[2].Cid(), 1))
		time.Sleep(time.Nanosecond)
		require.True(t, e.askAhead(e.ups["near"], blks[2].Cid(), 1))
		require.Equal(t, []int{0, 1}, []int{e.cache.unread, e.ahead})
		for _, d := range e.downs {
			d.open = 0
		}
	})
}
