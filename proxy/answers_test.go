package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"
)

// heldEngine is an engine in front of two connected nodes, and with one peer; what it would send stays in the boxes.
func heldEngine(t *testing.T) (e *engine, peer *upstream) {
	e = engineOf(t, Config{Fallback: time.Second}, newKeeper(), "a", "b")
	e.cfg.Balance = roundRobin
	e.turn = 1 // the next want is a's
	require.True(t, e.peerConnected("peer"))
	peer = e.ups["peer"]
	peer.box.running = true
	for _, d := range e.downs {
		d.box.running = true
	}
	t.Cleanup(func() {
		peer.box.running = false
		for _, d := range e.downs {
			d.box.running = false
		}
		e.close()
	})
	return e, peer
}

// An answer is one only to what was asked: HAVE of an earlier want, and blocks of nodes that were not asked, are none.
func TestAnswersToOtherWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		a, b := e.downs[0], e.downs[1]
		blk := newBlocks(t, 1, 10)[0]
		c := blk.Cid()
		e.wantlist("peer", false, []entry{{cid: c}})
		require.Equal(t, []string{"wantHave0"}, a.box.taken())
		e.fromNode("b", nil, []cid.Cid{c}, nil)
		require.Empty(t, u.box.taken(), "b was not asked")
		e.fromNode("a", nil, []cid.Cid{c}, nil)
		require.Equal(t, []string{"have0"}, u.box.taken())
		e.wantlist("peer", false, []entry{{cid: c, block: true, dontHave: true}})
		require.Equal(t, []string{"wantBlock0"}, a.box.taken())
		e.fromNode("a", nil, []cid.Cid{c}, nil)
		require.Equal(t, asked, e.wants[c].asks[0].state, "HAVE was of the earlier want")
		require.Empty(t, a.box.taken())
		e.fromNode("b", nil, nil, []cid.Cid{c})
		e.fromNode("b", []blocks.Block{blk}, nil, nil)
		require.EqualValues(t, []uint64{1, 0}, []uint64{b.n.refused, b.n.verified})
		require.Empty(t, u.box.taken())
		e.wants[c].asks[0].state = queued
		e.fromNode("a", []blocks.Block{blk}, []cid.Cid{c}, []cid.Cid{c})
		require.EqualValues(t, []uint64{1, 0}, []uint64{a.n.late, a.n.verified}, "it has not been sent again yet")
		require.Empty(t, u.box.taken())
		e.wants[c].asks[0].state = asked
		e.fromNode("a", []blocks.Block{blk}, nil, nil)
		require.Equal(t, []string{"block0"}, u.box.taken())
		require.Equal(t, 0, a.open)
	})
}

// A node of Bitswap 1.0 sends bytes alone, which are the block of a CIDv1 with that hash if it was asked for one.
func TestBytesOfOldNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		old := blocks.NewBlock([]byte("bytes")) // as CIDv0
		for _, codec := range []uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR, cid.DagJSON, cid.Libp2pKey} {
			e.turn = 1
			c := cid.NewCidV1(codec, old.Cid().Hash())
			e.wantlist("peer", false, []entry{{cid: c, block: true}})
			e.fromNode("a", []blocks.Block{old}, nil, nil)
			require.Len(t, u.box.items, 1)
			require.Equal(t, c, u.box.items[0].cid)
			require.Equal(t, old.RawData(), u.box.items[0].block.RawData())
			u.box.taken()
			e.fromNode("a", []blocks.Block{old}, nil, nil)
		}
		require.EqualValues(t, []uint64{5, 5, 0}, []uint64{e.downs[0].n.verified, e.downs[0].n.late, e.downs[0].n.refused})
		// Of a want that was not sent yet, and of another node, it is unrequested.
		e.turn = 1
		c := cid.NewCidV1(cid.Raw, blocks.NewBlock([]byte("others")).Cid().Hash())
		e.wantlist("peer", false, []entry{{cid: c, block: true}})
		e.fromNode("b", []blocks.Block{blocks.NewBlock([]byte("others"))}, nil, nil)
		require.EqualValues(t, 1, e.downs[1].n.refused)
		e.wants[c].asks[0].state = queued
		e.fromNode("a", []blocks.Block{blocks.NewBlock([]byte("others"))}, nil, nil)
		require.EqualValues(t, 1, e.downs[0].n.refused)
		require.Nil(t, e.sameHash(e.downs[0], newBlocks(t, 1, 5)[0]), "a CIDv1 is what it is")
	})
}

// A node that is late for a block and then has it is asked for it again.
func TestLateNodeThatHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		a, blk := e.downs[0], newBlocks(t, 1, 10)[0]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		time.Sleep(time.Second)
		e.tick(time.Now())
		require.Equal(t, []string{"wantBlock0"}, a.box.taken())
		require.Equal(t, overdue, e.wants[blk.Cid()].ask(a).state)
		e.fromNode("a", nil, []cid.Cid{blk.Cid()}, nil)
		require.Equal(t, []string{"wantBlock0"}, a.box.taken())
		require.Equal(t, asked, e.wants[blk.Cid()].ask(a).state)
		e.fromNode("a", []blocks.Block{blk}, nil, nil)
		require.Equal(t, []string{"block0"}, u.box.taken())
		require.Zero(t, a.open)
	})
}

// A node that lies is asked last for a minute, and what it owes is asked of the others; what it has said no to is not.
func TestWhatALiarOwes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := heldEngine(t)
		a, b := e.downs[0], e.downs[1]
		blks := newBlocks(t, 3, 10)
		for _, x := range blks {
			e.turn = 1
			e.wantlist("peer", false, []entry{{cid: x.Cid(), block: true}})
		}
		e.wants[blks[1].Cid()].ask(a).state = have
		waits := e.wants[blks[2].Cid()].ask(a)
		waits.state = queued
		a.box.taken()
		e.fromNode("a", newBlocks(t, 1, 10), nil, nil)
		require.Equal(t, time.Now().Add(distrustFor), a.distrust)
		require.Equal(t, []string{"wantBlock0", "wantBlock0"}, b.box.taken())
		require.Equal(t, overdue, e.wants[blks[0].Cid()].ask(a).state)
		require.Equal(t, have, e.wants[blks[1].Cid()].ask(a).state)
		require.Nil(t, e.wants[blks[2].Cid()].ask(a), "it was not sent to it")
		require.EqualValues(t, 1, a.n.timeouts)
		for _, d := range e.downs {
			d.open = 0
		}
	})
}

// A node that connects is asked for what no other one is about to answer.
func TestNodeThatComesIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := heldEngine(t)
		b := e.downs[1]
		c := newBlocks(t, 1, 10)[0].Cid()
		for state, asks := range map[askState]int{queued: 0, asked: 0, have: 0, overdue: 1, dontHave: 1} {
			e.turn = 1
			e.wantlist("peer", false, []entry{{cid: c, block: true}})
			e.nodeGone(b)
			a := e.wants[c].asks[0]
			e.answered(a, state)
			if state == overdue {
				e.downs[0].open++
			}
			e.wants[c].parked = true
			e.nodeConnected(b, "b")
			require.Len(t, b.box.taken(), asks, "state %d", state)
			require.Equal(t, asks == 0, e.wants[c].parked)
			e.wantlist("peer", true, nil)
			require.Empty(t, e.wants)
			b.box.taken()
		}
		// Without peers that want it, nothing is asked.
		e.wants[c] = &want{cid: c, parked: true}
		e.nodeConnected(b, "b")
		require.Empty(t, b.box.taken())
		require.True(t, e.wants[c].parked)
		e.askNext(e.wants[c])
		require.NotNil(t, e.wants[c])
		e.wants[c].ahead = e.ups["peer"]
		e.ahead = 1
		e.askNext(e.wants[c])
		require.Nil(t, e.wants[c], "who wants it will have it asked for")
		require.Zero(t, e.ahead)
	})
}

// What waits in a backlog is sent only if it still waits, and somebody for it.
func TestWhatIsLive(t *testing.T) {
	d, u := &downstream{}, new(upstream)
	f := func(want bool, change func(*ask)) {
		t.Helper()
		a := &ask{want: &wanted{waiters: []*waiter{{up: u}}}, down: d}
		a.want.asks = []*ask{a}
		change(a)
		require.Equal(t, want, a.live())
	}
	f(true, func(*ask) {})
	f(false, func(a *ask) { a.state = asked })
	f(false, func(a *ask) { a.want.asks = []*ask{{down: d}} })
	f(false, func(a *ask) { a.want.asks = nil })
	f(false, func(a *ask) { a.want.waiters = nil })
	f(true, func(a *ask) { a.want.waiters, a.want.ahead = nil, u })
}

type wanted = want // where want is a variable

// Nodes that do not answer are asked one after the other, and what is due is forgotten when it is settled.
func TestSilentNodesAreAskedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		blk := newBlocks(t, 1, 10)[0]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true, dontHave: true}})
		a, b := &e.downs[0].box, &e.downs[1].box
		require.Len(t, a.taken(), 1)
		tick := func(d time.Duration) { time.Sleep(d); e.tick(time.Now()) }
		tick(time.Second - 1)
		require.Empty(t, b.taken())
		tick(time.Nanosecond)
		require.Equal(t, []string{"wantBlock0"}, b.taken())
		require.Len(t, e.due, 2)
		tick(time.Second)
		require.EqualValues(t, []uint64{1, 1}, []uint64{e.downs[0].n.timeouts, e.downs[1].n.timeouts})
		require.Empty(t, append(a.taken(), b.taken()...))
		require.Len(t, e.due, 2)
		require.Empty(t, u.box.taken(), "one may still answer")
		e.fromNode("a", []blocks.Block{blk}, nil, nil)
		require.Equal(t, []string{"block0"}, u.box.taken())
		tick(time.Second)
		require.Empty(t, e.due)
	})
}

// So many CIDs that no node had are asked for at once.
func TestRetryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		parked := func(n int) {
			for i := range n {
				c := cid.NewCidV1(cid.Raw, []byte{0, 3, byte(i), byte(i >> 8), byte(i >> 16)})
				e.wants[c] = &want{cid: c, parked: true, waiters: []*waiter{{up: u, cid: c, active: true}}}
			}
		}
		left := func() (n int) {
			for _, w := range e.wants {
				if w.parked {
					n++
				}
			}
			clear(e.wants)
			return n
		}
		parked(maxRetry)
		e.retry()
		require.Zero(t, left())
		parked(maxRetry + 2)
		e.retry()
		require.Equal(t, 2, left())
		for _, d := range e.downs {
			d.open, d.ledger, d.backlog, d.box.items = 0, 0, nil, nil
		}
	})
}

// The wants of a peer: which CIDs are accepted, what the cache answers, what a repeat changes, and what is merged.
func TestWantsOfAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, u := heldEngine(t)
		require.True(t, e.peerConnected("other"))
		other := e.ups["other"]
		other.box.running = true
		defer func() { other.box.running = false }()
		e.cache = newCache(64 * firstSize)

		e.wantlist("peer", false, []entry{{cid: longCID(t, maxCID)}, {cid: longCID(t, maxCID+1)}, {cid: cid.NewCidV1(cid.Raw, []byte{0, 1, 7})}})
		require.Len(t, u.wants, 1, "one that is too long and one that is its own block are none")
		require.Contains(t, u.wants, longCID(t, maxCID))
		e.wantlist("peer", true, nil)

		// A cached block is the answer, also to a want that waits.
		blks := newBlocks(t, 3, 10)
		c := cids(blks)
		e.cache.add(blks[0], time.Now(), false)
		e.wantlist("peer", false, []entry{{cid: c[0], block: true}, {cid: c[1], block: true}})
		require.Equal(t, []string{"block0"}, u.box.taken())
		require.Len(t, u.wants, 1)
		e.cache.add(blks[1], time.Now(), false)
		e.wantlist("peer", false, []entry{{cid: c[1], block: true}})
		require.Equal(t, []string{"block0"}, u.box.taken())
		require.Empty(t, u.wants)
		require.Empty(t, e.wants)
		require.EqualValues(t, 2, e.n.cached)

		// Wants of one CID are merged, each after the first.
		e.wantlist("peer", false, []entry{{cid: c[2], dontHave: true}})
		require.Zero(t, e.n.merged)
		e.wantlist("other", false, []entry{{cid: c[2], dontHave: true}})
		require.EqualValues(t, 1, e.n.merged)

		// Two nodes said no: who asks again soon after gets that answer, later the nodes are asked again.
		e.fromNode("a", nil, nil, c[2:])
		e.fromNode("b", nil, nil, c[2:])
		require.Equal(t, []string{"dontHave0"}, u.box.taken())
		e.downs[0].box.taken()
		e.downs[1].box.taken()
		time.Sleep(time.Second - 1)
		e.wantlist("peer", false, []entry{{cid: c[2], dontHave: true}})
		require.Equal(t, []string{"dontHave0"}, u.box.taken())
		time.Sleep(time.Nanosecond)
		e.wantlist("peer", false, []entry{{cid: c[2], dontHave: true}})
		require.Empty(t, u.box.taken())
		require.Contains(t, append(e.downs[0].box.taken(), e.downs[1].box.taken()...), "wantHave0")
		e.wantlist("peer", true, nil)
		e.wantlist("other", true, nil)

		// A block of smallBlock is the answer to HAVE; of a larger one HAVE is.
		for size, want := range map[int]string{smallBlock: "block0", smallBlock + 1: "have0"} {
			e.turn = 1
			blk := newBlocks(t, 1, size)[0]
			e.cache = newCache(0)
			e.wantlist("peer", false, []entry{{cid: blk.Cid()}})
			e.fromNode("a", []blocks.Block{blk}, nil, nil)
			require.Equal(t, []string{want}, u.box.taken())
			require.Len(t, u.wants, map[string]int{"block0": 0, "have0": 1}[want])
			e.wantlist("peer", true, nil)
		}

		// The time to a block is from its want, and not from a HAVE that was answered.
		e.turn = 1
		blk := newBlocks(t, 1, smallBlock)[0]
		before := e.downs[0].rtt.total
		e.wantlist("peer", false, []entry{{cid: blk.Cid()}})
		e.fromNode("a", nil, []cid.Cid{blk.Cid()}, nil)
		e.fromNode("a", []blocks.Block{blk}, nil, nil)
		require.Equal(t, before, e.downs[0].rtt.total)
		require.Equal(t, []string{"have0", "block0"}, u.box.taken())

		// A repeat of a want that has no room yet changes its priority, also that of the first.
		e.cfg.QueueBytes = 1
		first, second, third := newBlocks(t, 1, 10)[0].Cid(), newBlocks(t, 1, 10)[0].Cid(), newBlocks(t, 1, 10)[0].Cid()
		u.size = 0
		e.wantlist("peer", false, []entry{{cid: first, block: true, priority: 9}, {cid: second, block: true, priority: 8}, {cid: third, block: true, priority: 7}})
		require.Equal(t, []int{firstSize, 2}, []int{u.reserved, len(u.waiting)}, "one is asked for however small the budget is")
		require.Equal(t, second, u.waiting[0].cid)
		e.wantlist("peer", false, []entry{{cid: second, block: true, priority: 1, dontHave: true}})
		require.Equal(t, third, u.waiting[0].cid)
		require.True(t, u.wants[second].dontHave)
		e.wantlist("peer", true, nil)
		require.Zero(t, u.reserved)

		// One that waits for room is answered from the cache if its block came for another peer.
		e.wantlist("peer", false, []entry{{cid: first, block: true, priority: 9}, {cid: blks[2].Cid(), block: true, priority: 8}})
		require.Len(t, u.waiting, 1)
		e.cache = newCache(64 * firstSize)
		e.cache.add(blks[2], time.Now(), false)
		cachedBefore := e.n.cached
		e.wantlist("peer", false, []entry{{cid: first, cancel: true}})
		require.Equal(t, []string{"block0"}, u.box.taken())
		require.Equal(t, cachedBefore+1, e.n.cached)
		require.Empty(t, u.wants)

		// A block for which the queue has no room is fetched again when it has.
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		u.box.bytes = 2*e.cfg.QueueBytes + 1
		e.fromNode(e.wants[blk.Cid()].asks[0].down.id, []blocks.Block{blk}, nil, nil)
		require.EqualValues(t, 1, e.n.deferred)
		require.Empty(t, u.box.taken())
		require.Empty(t, e.wants)
		require.Equal(t, blk.Cid(), u.waiting[0].cid)
		e.cache = newCache(0)
		u.box.bytes = 0
		e.pump(u)
		require.Len(t, e.wants[blk.Cid()].asks, 1)
		e.wantlist("peer", true, nil)
		u.size = 0

		// What waits to be sent counts too.
		e.cfg.QueueBytes, u.box.bytes = 3*firstSize, 2*firstSize
		e.wantlist("peer", false, []entry{{cid: first, block: true}, {cid: second, block: true}})
		require.Equal(t, []int{firstSize, 1}, []int{u.reserved, len(u.waiting)})
		u.box.bytes = 0
		e.wantlist("peer", true, nil)

		// Blocks of a file that are wanted in a row are read ahead, HAVEs are not.
		root, leaves := newFile(t, 40)
		e.cache = newCache(64 * firstSize)
		e.family.learn(root, nil, time.Now())
		row := func(block bool) {
			for _, x := range leaves[:aheadRun] {
				e.wantlist("peer", false, []entry{{cid: x.Cid(), block: block}})
			}
		}
		row(false)
		require.Zero(t, e.ahead)
		row(true)
		require.Equal(t, aheadBlocks, e.ahead)
		merged, next, turns := e.n.merged, leaves[aheadRun], e.downs[0].rtt.total+e.downs[1].rtt.total
		asked := e.wants[next.Cid()].asks[0].down
		e.fromNode(asked.id, []blocks.Block{next}, nil, nil)
		require.Equal(t, 1, e.cache.unread, "that nobody wants yet")
		require.Equal(t, turns+1, e.downs[0].rtt.total+e.downs[1].rtt.total)
		e.wantlist("other", false, []entry{{cid: leaves[aheadRun+1].Cid(), block: true}})
		require.Equal(t, merged, e.n.merged, "nobody has wanted it before")
		e.peerGone("peer")
		e.peerGone("other")
		for _, d := range e.downs {
			d.open = 0
		}
	})
}
