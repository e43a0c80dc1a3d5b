package proxy

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

// heard records what a raw node received.
type heard struct {
	mu        sync.Mutex
	blocks    map[cid.Cid]int
	haves     map[cid.Cid]int
	dontHaves map[cid.Cid]int
	wants     []bsmsg.Entry
}

func newHeard() *heard {
	return &heard{blocks: map[cid.Cid]int{}, haves: map[cid.Cid]int{}, dontHaves: map[cid.Cid]int{}}
}

func (h *heard) note(m bsmsg.BitSwapMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range m.Blocks() {
		h.blocks[b.Cid()]++
	}
	for _, c := range m.Haves() {
		h.haves[c]++
	}
	for _, c := range m.DontHaves() {
		h.dontHaves[c]++
	}
	all := m.Wantlist() // unordered
	slices.SortFunc(all, func(a, b bsmsg.Entry) int { return cmp.Compare(b.Priority, a.Priority) })
	h.wants = append(h.wants, all...)
}

// eventually waits until a condition on what was received holds.
func (h *heard) eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return f()
	}, patient, 2*time.Millisecond, what)
}

func (h *heard) count(f func(bsmsg.Entry) bool) int {
	n := 0
	for _, w := range h.wants {
		if f(w) {
			n++
		}
	}
	return n
}

// rawPeer is a peer or node whose messages the test writes.
func rawPeer(t testing.TB, answer func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage)) (*rawNode, *heard) {
	t.Helper()
	h := newHeard()
	return newRawNode(t, func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage) {
		h.note(m)
		if answer != nil {
			answer(n, from, m)
		}
	}), h
}

func wantMsg(full bool, kind pb.Message_Wantlist_WantType, all ...cid.Cid) bsmsg.BitSwapMessage {
	m := bsmsg.New(full)
	for i, c := range all {
		m.AddEntry(c, int32(len(all)-i), kind, true)
	}
	return m
}

const (
	wantBlock = pb.Message_Wantlist_Block
	wantHave  = pb.Message_Wantlist_Have
)

// A node that has no blocks.
func sayNo(t testing.TB) func(*rawNode, peer.ID, bsmsg.BitSwapMessage) {
	return func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage) {
		out := bsmsg.New(false)
		for _, w := range m.Wantlist() {
			if !w.Cancel && w.SendDontHave {
				out.AddDontHave(w.Cid)
			}
		}
		if !out.Empty() {
			n.send(t, from, out)
		}
	}
}

func TestDontHaveOnlyAfterAllSaidSo(t *testing.T) {
	open := make(chan struct{})
	var waiting sync.WaitGroup
	first, _ := rawPeer(t, sayNo(t))
	second, _ := rawPeer(t, sayNo(t))
	no := sayNo(t)
	third, asked := rawPeer(t, func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage) {
		waiting.Go(func() { <-open; no(n, from, m) })
	})
	openUp := sync.OnceFunc(func() { close(open) })
	t.Cleanup(func() { openUp(); waiting.Wait() })
	p := startProxy(t, Config{Downstreams: []string{apiAddr(first.api), apiAddr(second.api), apiAddr(third.api)}})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	missing := newBlocks(t, 20, 10)
	var block, haves []cid.Cid
	for i, b := range missing {
		if i < 10 {
			block = append(block, b.Cid())
		} else {
			haves = append(haves, b.Cid())
		}
	}
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, block...))
	up.send(t, p.up.ID(), wantMsg(false, wantHave, haves...))
	asked.eventually(t, "the third is asked for all", func() bool { return asked.count(func(w bsmsg.Entry) bool { return !w.Cancel }) == 20 })
	time.Sleep(50 * time.Millisecond) // time for an answer that must not come
	told.mu.Lock()
	require.Empty(t, told.dontHaves)
	told.mu.Unlock()
	openUp()
	told.eventually(t, "all get an answer", func() bool { return len(told.dontHaves) == 20 })
	require.Empty(t, told.haves)
	// WANT_HAVE and WANT_BLOCK are kept apart.
	for _, w := range asked.wants {
		if !w.Cancel {
			require.Equal(t, slices.Contains(block, w.Cid), w.WantType == wantBlock)
			require.True(t, w.SendDontHave)
		}
	}
}

func TestAllDownIsSaid(t *testing.T) {
	node := newTestNode(t)
	blk := newBlocks(t, 1, 100)[0]
	node.put(t, blk)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	node.api.CloseClientConnections()
	require.NoError(t, node.Network().ClosePeer(p.down.ID()))
	require.Eventually(t, func() bool { return len(p.engine.nodes()) == 0 }, patient, time.Millisecond)
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, blk.Cid()))
	told.eventually(t, "nobody has it", func() bool { return told.dontHaves[blk.Cid()]+told.blocks[blk.Cid()] > 0 })
	told.eventually(t, "and when the node is back the block comes", func() bool { return told.blocks[blk.Cid()] == 1 })
}

func TestWantsAreMergedAndCancelledOnce(t *testing.T) {
	node, asked := rawPeer(t, nil)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, CacheBytes: -1, Fallback: time.Hour})
	blk := newBlocks(t, 1, 5000)[0]
	other := newBlocks(t, 1, 10)[0].Cid()
	var ups []*rawNode
	var told []*heard
	for range 20 {
		up, h := rawPeer(t, nil)
		p.connect(t, up.Host)
		ups, told = append(ups, up), append(told, h)
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, blk.Cid(), other))
	}
	require.Eventually(t, func() bool { return p.engine.waiting() == 40 }, patient, time.Millisecond)
	asked.eventually(t, "asked once", func() bool { return len(asked.wants) == 2 })

	// All peers except one cancel the second want: the proxy cancels nothing until the
	// last one does.
	for i, up := range ups {
		var m bsmsg.BitSwapMessage = bsmsg.New(false)
		m.Cancel(other)
		if i == 0 { // with a full wantlist that lacks it
			m = wantMsg(true, wantBlock, blk.Cid())
		}
		if i < 19 {
			up.send(t, p.up.ID(), m)
		}
	}
	require.Eventually(t, func() bool { return p.engine.waiting() == 21 }, patient, time.Millisecond)
	require.Len(t, asked.wants, 2)
	require.NoError(t, ups[19].Close()) // the last one disconnects
	asked.eventually(t, "cancelled", func() bool {
		return len(asked.wants) == 3 && asked.wants[2].Cancel && asked.wants[2].Cid == other
	})

	m := bsmsg.New(false)
	m.AddBlock(blk)
	node.send(t, p.down.ID(), m)
	for _, h := range told[:19] {
		h.eventually(t, "all get it", func() bool { return h.blocks[blk.Cid()] == 1 })
	}
	require.Zero(t, p.engine.waiting())
	s := p.Sample(time.Second)
	require.EqualValues(t, 1, s.Downstreams[0].Verified)
	require.EqualValues(t, 19, s.Sent.Blocks)
	require.EqualValues(t, 38, s.Merged)
	require.Equal(t, 0, s.Outstanding)
}

// waiting returns the number of wants of all peers.
func (e *engine) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}

func TestLiarIsRefusedAndNamed(t *testing.T) {
	liar, _ := rawPeer(t, func(n *rawNode, from peer.ID, m bsmsg.BitSwapMessage) {
		out := bsmsg.New(false)
		for _, w := range m.Wantlist() {
			if !w.Cancel {
				out.AddBlock(newBlock(t, append([]byte("not what you want: "), w.Cid.Bytes()...)))
			}
		}
		if !out.Empty() {
			n.send(t, from, out)
		}
	})
	honest := newTestNode(t)
	blks := newBlocks(t, 50, 3000)
	honest.put(t, blks...)
	p := startProxy(t, Config{Downstreams: []string{"liar=" + apiAddr(liar.api), "honest=" + apiAddr(honest.api)}, Fallback: time.Hour})
	up := newTestNode(t)
	p.connect(t, up.Host)
	up.fetch(t, blks)
	s := p.Sample(time.Second)
	require.Positive(t, s.Downstreams[0].Refused)
	require.Zero(t, s.Downstreams[0].Verified)
	require.GreaterOrEqual(t, s.Downstreams[1].Verified, uint64(50))
	require.Zero(t, s.Downstreams[1].Refused)
	require.Contains(t, p.log.String(), "downstream=liar")
}

func TestHungNodeIsPassedOver(t *testing.T) {
	hung, _ := rawPeer(t, nil) // accepts everything and answers nothing
	well := newTestNode(t)
	blks := newBlocks(t, 200, 3000)
	well.put(t, blks...)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(hung.api), apiAddr(well.api)}, Fallback: 100 * time.Millisecond})
	up := newTestNode(t)
	p.connect(t, up.Host)
	up.fetch(t, blks)
	s := p.Sample(time.Second)
	require.Positive(t, s.Downstreams[0].Timeouts)
	require.True(t, s.Downstreams[0].Stalled)
}

// No want is lost at nodes that keep 1,024 of them: with so long a Fallback a lost want
// would stay without an answer.
func TestTenThousandWants(t *testing.T) {
	a, b := newTestNode(t), newTestNode(t)
	blks := newBlocks(t, 10_000, 100)
	a.put(t, blks[:4000]...)
	b.put(t, blks[4000:6000]...)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(a.api), apiAddr(b.api)}, Fallback: time.Hour})
	told := wantAll(t, p, blks)
	told.eventually(t, "each is answered", func() bool { return len(told.blocks) == 6000 && len(told.dontHaves) == 4000 })
	for i, n := range []*testNode{a, b} {
		kept := n.bs.WantlistForPeer(p.down.ID())
		p.engine.mu.Lock()
		require.Equal(t, p.engine.downs[i].ledger, len(kept), "the engine's count is the number that the node keeps")
		for _, c := range kept {
			require.True(t, p.engine.wants[c].ask(p.engine.downs[i]).inLedger)
		}
		p.engine.mu.Unlock()
	}
}

// wantAll makes a peer request blocks by WANT_BLOCK, 1,000 in a message.
func wantAll(t *testing.T, p *testProxy, all []blocks.Block) *heard {
	t.Helper()
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	for chunk := range slices.Chunk(all, 1000) {
		var cids []cid.Cid
		for _, x := range chunk {
			cids = append(cids, x.Cid())
		}
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids...))
	}
	return told
}

// Blocks that no node had arrive when a node has them: from the node's own copy of the
// want if it still has one, otherwise when the proxy asks again.
func TestBlocksThatComeLater(t *testing.T) {
	a, b := newTestNode(t), newTestNode(t)
	blks := newBlocks(t, 4000, 100)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(a.api), apiAddr(b.api)}})
	told := wantAll(t, p, blks)
	told.eventually(t, "nobody has them", func() bool { return len(told.dontHaves) == len(blks) })
	a.put(t, blks...)
	require.NoError(t, a.bs.NotifyNewBlocks(context.Background(), blks[:100]...))
	p.engine.retry()
	told.eventually(t, "all", func() bool { return len(told.blocks) == len(blks) })
	require.Zero(t, p.engine.waiting())
}

func TestWindowOfANode(t *testing.T) {
	node, asked := rawPeer(t, nil)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, Fallback: time.Hour, QueueBytes: 1 << 30})
	up, told := rawPeer(t, nil)
	p.connect(t, up.Host)
	blks := newBlocks(t, 3000, 60)
	byCID := map[cid.Cid]blocks.Block{}
	var cids []cid.Cid
	for _, b := range blks {
		byCID[b.Cid()] = b
		cids = append(cids, b.Cid())
	}
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids...))
	asked.eventually(t, "as many as kubo keeps", func() bool { return len(asked.wants) == window })
	p.engine.mu.Lock()
	require.Equal(t, window, p.engine.downs[0].ledger)
	p.engine.mu.Unlock()
	for sent := 0; sent < len(blks); {
		asked.mu.Lock()
		now := slices.Clone(asked.wants[sent:])
		asked.mu.Unlock()
		if len(now) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		var m bsmsg.BitSwapMessage = bsmsg.New(false)
		for i, w := range now {
			require.Equal(t, cids[sent+i], w.Cid, "the most important first")
			require.EqualValues(t, len(cids)-sent-i, w.Priority)
			m.AddBlock(byCID[w.Cid])
		}
		node.send(t, p.down.ID(), m)
		sent += len(now)
	}
	told.eventually(t, "all", func() bool { return len(told.blocks) == 3000 })
}

func TestVanishingPeersLeaveNothing(t *testing.T) {
	node := newTestNode(t)
	blks := newBlocks(t, 100, 50_000)
	node.put(t, blks...)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}})
	for range 10 {
		up, _ := rawPeer(t, nil)
		p.connect(t, up.Host)
		var cids []cid.Cid
		for _, b := range slices.Concat(blks, newBlocks(t, 50, 10)) {
			cids = append(cids, b.Cid())
		}
		up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids...))
		require.NoError(t, up.Close())
	}
	require.Eventually(t, func() bool {
		p.engine.mu.Lock()
		defer p.engine.mu.Unlock()
		e := p.engine
		return len(e.ups) == 0 && len(e.wants) == 0 && e.total == 0 && e.downs[0].open == 0 && e.downs[0].ledger == 0
	}, patient, 5*time.Millisecond)
}

func TestBudgetOfAPeer(t *testing.T) {
	node := newTestNode(t)
	blks := newBlocks(t, 64, 256<<10)
	node.put(t, blks...)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, QueueBytes: 1 << 20, CacheBytes: -1})
	gate := make(chan struct{})
	up, told := rawPeer(t, func(*rawNode, peer.ID, bsmsg.BitSwapMessage) { <-gate })
	p.connect(t, up.Host)
	var cids []cid.Cid
	for _, b := range blks {
		cids = append(cids, b.Cid())
	}
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids...))
	most := 0
	for range 100 {
		p.engine.mu.Lock()
		for _, u := range p.engine.ups {
			most = max(most, u.box.bytes)
		}
		p.engine.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
	require.LessOrEqual(t, most, 2<<20+256<<10)
	close(gate)
	told.eventually(t, "all", func() bool { return len(told.blocks) == 64 })
}
