package proxy

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// Each limit of the configuration: at it, and beyond it.
func TestConfigLimits(t *testing.T) {
	ok := func(set func(*Config)) {
		t.Helper()
		c := Config{Downstreams: []string{"/ip4/127.0.0.1/tcp/5001"}}
		set(&c)
		require.NoError(t, c.Validate())
	}
	no := func(want string, set func(*Config)) {
		t.Helper()
		c := Config{Downstreams: []string{"/ip4/127.0.0.1/tcp/5001"}}
		set(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
	port := func(n int) func(*Config) {
		return func(c *Config) { c.PreloadPort, c.WebSocket = n, "/ip4/127.0.0.1/tcp/0" }
	}
	ok(port(65535))
	ok(port(0))
	no("Invalid preload port", port(65536))
	no("Invalid preload port", port(-1))
	ok(func(c *Config) { c.Fallback = 50 * time.Millisecond })
	no("--fallback", func(c *Config) { c.Fallback = 50*time.Millisecond - 1 })
	ok(func(c *Config) {
		c.MaxUpstreams, c.MaxWants, c.QueueBytes, c.PreloadRate, c.PreloadParallel, c.PreloadNodes = 1, 1, 1, 1, 1, 1
	})
	no("--max-wants -1", func(c *Config) { c.MaxWants = -1 })
	ok(func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "::1", "::ffff:1.2.3.4"} })
	c := Config{Downstreams: []string{"/ip4/127.0.0.1/tcp/5001"}, PreloadPort: 7, WebSocket: "/ip4/127.0.0.1/tcp/0"}
	s, err := c.settings()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7", s.refsAt)
	require.Equal(t, "/ip4/127.0.0.1/tcp/0/ws", s.ws.String())
	require.Equal(t, DefaultBlock, s.Block)
	require.NotNil(t, s.Logger)
	c.Block, c.PreloadPort, c.Logger = []string{}, 0, slog.New(slog.DiscardHandler)
	c.TrustedProxies = []string{"10.0.0.0/8", "::1", "::ffff:1.2.3.4"}
	s, err = c.settings()
	require.NoError(t, err)
	require.Empty(t, s.Block)
	require.Empty(t, s.refsAt)
	require.Same(t, c.Logger, s.Logger)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("1.2.3.4/32")}, s.trusted)
	no("want an address of tcp", func(c *Config) { c.WebSocket = "/ip4/127.0.0.1/udp/1/quic-v1" })
	ok(func(c *Config) { c.SwarmKeyFile = "key" })
}

// A node has the same weight for a CID in every run and every proxy: else two proxies would ask
// different nodes for the same block.
func TestRendezvousIsTheSameEverywhere(t *testing.T) {
	require.Equal(t, []uint64{0x150e879357919d93, 0xefd01f60ba992926}, []uint64{rendezvous("node", []byte{1, 2, 3}), rendezvous("", nil)})
	counts := map[string]int{}
	for i := range 3000 {
		hash := fmt.Append(nil, i)
		best := slices.MaxFunc([]string{"a", "b", "c"}, func(a, b string) int { return cmp.Compare(rendezvous(a, hash), rendezvous(b, hash)) })
		counts[best]++
	}
	for name, n := range counts {
		require.InDelta(t, 1000, n, 100, name)
	}
}

// The cache holds as many bytes as its bound, each block for cacheFor, and counts what nobody
// has read yet.
func TestCacheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(1000)
		all := newBlocks(t, 3, 500)
		c.add(all[0], time.Now(), true)
		c.add(all[1], time.Now(), false)
		require.Equal(t, []int{1000, 1}, []int{c.bytes, c.unread})
		require.NotNil(t, c.get(all[0].Cid()))
		require.Equal(t, []int{1000, 0}, []int{c.bytes, c.unread})
		c.add(all[2], time.Now(), true)
		require.Equal(t, []int{1000, 1}, []int{c.bytes, c.unread})
		require.False(t, c.has(all[0].Cid()))
		c.add(all[2], time.Now(), true) // again
		require.Equal(t, []int{1000, 1}, []int{c.bytes, c.unread})
		whole := newBlocks(t, 1, 1000)[0]
		c.add(whole, time.Now(), true)
		require.Equal(t, []int{1000, 1}, []int{c.bytes, c.unread})
		require.True(t, c.has(whole.Cid()))
		c.add(newBlocks(t, 1, 1001)[0], time.Now(), true)
		require.Equal(t, []int{1000, 1}, []int{c.bytes, c.unread})

		c = newCache(1000)
		c.add(all[0], time.Now(), true)
		time.Sleep(cacheFor)
		require.NotNil(t, c.get(all[0].Cid()))
		c.expire(time.Now())
		require.True(t, c.has(all[0].Cid()))
		time.Sleep(time.Nanosecond)
		c.expire(time.Now())
		require.False(t, c.has(all[0].Cid()))
		c.add(all[0], time.Now(), true)
		time.Sleep(cacheFor + 1)
		require.Nil(t, c.get(all[0].Cid()))
		require.Equal(t, []int{0, 0}, []int{c.bytes, c.unread})
	})
}

// The last maxLateCIDs are remembered, those that were added twice as long as the second.
func TestLateCIDsAreTheLast(t *testing.T) {
	var p lateCIDs
	var added []cid.Cid
	count := map[cid.Cid]int{}
	r := rand.New(rand.NewPCG(1, 3))
	ids := make([]cid.Cid, maxLateCIDs+500)
	for i := range ids {
		ids[i] = cid.NewCidV1(cid.Raw, append([]byte{0, 4}, byte(i), byte(i>>8), byte(i>>16), 1))
	}
	for i := range 3 * maxLateCIDs {
		c := ids[r.IntN(len(ids))]
		p.add(c)
		added = append(added, c)
		count[c]++
		if i >= maxLateCIDs {
			old := added[i-maxLateCIDs]
			if count[old]--; count[old] == 0 {
				delete(count, old)
			}
		}
		if i%1000 == 0 || i == maxLateCIDs-1 || i == maxLateCIDs {
			require.Len(t, p.n, len(count))
			for _, c := range ids {
				require.Equal(t, count[c] > 0, p.has(c))
			}
		}
	}
	require.Len(t, p.ring, maxLateCIDs)
}

// A time is counted in the bucket of the first bound that it does not exceed.
func TestLatencyBuckets(t *testing.T) {
	var l latency
	const ms = time.Millisecond
	for _, d := range []time.Duration{-1, 0, 250 * ms, 250*ms + 1, 500 * ms, 60000 * ms, 60000*ms + 1, time.Hour} {
		l.add(d)
	}
	require.Equal(t, [...]uint64{3, 2, 0, 0, 0, 0, 0, 0, 1, 2}, l.buckets)
	var m dto.Metric
	require.NoError(t, l.metric(prometheus.NewDesc("x", "", nil, nil)).Write(&m))
	h := m.GetHistogram()
	require.EqualValues(t, 8, h.GetSampleCount())
	require.InDelta(t, 250+250+500+60000+60000+3600000, h.GetSampleSum(), 0.001)
	var got []uint64
	for _, b := range h.GetBucket() {
		got = append(got, b.GetCumulativeCount())
	}
	require.Equal(t, []uint64{3, 5, 5, 5, 5, 5, 5, 5, 6}, got)
	require.EqualValues(t, 8, l.take().Count)
	require.Zero(t, l.take().Count)
	require.EqualValues(t, 8, l.total)
}

// The most important want is first, of equals the oldest, whatever was changed and removed.
func TestWaitersAreInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var h waiterHeap
	var all []*waiter
	for i := range 500 {
		w := &waiter{priority: r.Int32N(20), seq: uint64(i)}
		h.push(w)
		all = append(all, w)
		if x := all[r.IntN(len(all))]; r.IntN(3) == 0 {
			x.priority = r.Int32N(20)
			h.fix(x)
		} else if r.IntN(5) == 0 {
			h.remove(x)
			require.Equal(t, -1, x.at)
			all = slices.DeleteFunc(all, func(y *waiter) bool { return y == x })
		}
		for at, w := range h {
			require.Equal(t, at, w.at)
		}
	}
	slices.SortFunc(all, func(a, b *waiter) int { return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq)) })
	for _, w := range all {
		require.Same(t, w, h.pop())
	}
	require.Empty(t, h)
}

// A message has at most maxEntries, and blocks until enoughBytes; a block that would exceed
// that is not added to another.
func TestMessagesAreFull(t *testing.T) {
	f := func(entries, bytes int, items ...item) {
		t.Helper()
		n, size := fill(bsmsg.New(false), items)
		require.Equal(t, []int{entries, bytes}, []int{n, size})
	}
	blks := func(sizes ...int) (out []item) {
		for _, n := range sizes {
			b := newBlocks(t, 1, n)[0]
			out = append(out, item{cid: b.Cid(), what: itemBlock, block: b})
		}
		return out
	}
	var haves []item
	for _, b := range newBlocks(t, maxEntries+1, 10) {
		haves = append(haves, item{cid: b.Cid(), what: itemHave})
	}
	f(maxEntries, 0, haves...)
	f(maxEntries, 0, haves[1:]...)
	f(1, enoughBytes, blks(enoughBytes, 1)...)
	f(2, enoughBytes, blks(enoughBytes-1, 1, 1)...)
	f(1, enoughBytes-1, blks(enoughBytes-1, 2)...)
	f(1, 2*enoughBytes, blks(2*enoughBytes, 1)...)
	f(3, 30, blks(10, 10, 10)...)
	f(1, enoughBytes, append(blks(enoughBytes), haves[0])...)
	f(2, enoughBytes-1, append(blks(enoughBytes-1), haves[0])...)
	c := newBlocks(t, 1, 10)[0].Cid()
	f(1, 0, item{cid: c, what: itemWantHave}, item{cid: c, what: itemCancel})
	f(1, 0, item{cid: c, what: itemCancel}, item{cid: c, what: itemWantBlock})
	f(2, 0, item{cid: c, what: itemWantHave}, item{cid: c, what: itemWantBlock})
}

// The budget of a peer, the size of its blocks, and its queue.
func TestPeerBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		e.cfg.QueueBytes, e.cfg.MaxWants = 3*firstSize, 5
		all := newBlocks(t, 6, 10)
		want := func(from, to int) {
			t.Helper()
			var entries []entry
			for _, b := range all[from:to] {
				entries = append(entries, entry{cid: b.Cid(), block: true})
			}
			e.wantlist("peer", false, entries)
		}
		want(0, 6)
		u := e.ups["peer"]
		require.Equal(t, []int{5, 2, 3 * firstSize, 5}, []int{len(u.wants), len(u.waiting), u.reserved, e.total}, "three fit into the budget, and a sixth is too many")
		require.EqualValues(t, 1, e.n.overflow)
		e.fromNode("node", all[:1], nil, nil)
		require.Equal(t, 512, u.size, "the size of small blocks counts as 512")
		require.Equal(t, []int{4, 0}, []int{len(u.wants), len(u.waiting)})

		// The size is an average in which the newest counts an eighth.
		u.size = 0
		w := &waiter{up: u, block: true}
		require.True(t, e.serve(w, newBlocks(t, 1, 8000)[0], time.Now()))
		require.Equal(t, 8000, u.size)
		require.True(t, e.serve(w, newBlocks(t, 1, 16000)[0], time.Now()))
		require.Equal(t, 9000, u.size)
		u.box.bytes = 2 * e.cfg.QueueBytes
		require.True(t, e.serve(w, all[0], time.Now()))
		require.False(t, e.serve(w, all[0], time.Now()))
		u.box.bytes = 0

		// A block of up to smallBlock is sent in place of HAVE.
		w = &waiter{up: u}
		sent := e.n.sent
		require.True(t, e.serve(w, newBlocks(t, 1, smallBlock)[0], time.Now()))
		require.Equal(t, []uint64{1, 0}, []uint64{e.n.sent.Blocks - sent.Blocks, e.n.sent.Have - sent.Have})
		require.True(t, e.serve(w, newBlocks(t, 1, smallBlock+1)[0], time.Now()))
		require.Equal(t, []uint64{1, 1}, []uint64{e.n.sent.Blocks - sent.Blocks, e.n.sent.Have - sent.Have})
		require.EqualValues(t, smallBlock, e.n.sent.BlockBytes-sent.BlockBytes)

		// The wants of all peers together have a bound.
		e.total = maxTotalWants - 1
		e.wantlist("other", false, []entry{{cid: all[0].Cid()}, {cid: all[1].Cid()}})
		require.Len(t, e.ups["other"].wants, 1)
		require.EqualValues(t, 2, e.n.overflow)
		// A peer that repeats wants and reads no answers.
		v := e.ups["other"]
		v.box.items = make([]item, 2*e.cfg.MaxWants)
		e.want(v, &entry{cid: all[0].Cid()}, time.Now())
		require.EqualValues(t, 2, e.n.overflow)
		v.box.items = make([]item, 2*e.cfg.MaxWants+1)
		e.want(v, &entry{cid: all[0].Cid()}, time.Now())
		require.EqualValues(t, 3, e.n.overflow)
		v.box.items = nil
		e.cfg.MaxUpstreams = 3
		require.True(t, e.peerConnected("third"))
		require.False(t, e.peerConnected("fourth"))
		e.total = 0
	})
}

// The times after which a node is asked no more, is asked again, and is disconnected.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "one", "two")
		defer e.close()
		c := newBlocks(t, 1, 10)[0].Cid()
		first := e.orderOf(c)[0]
		e.wantlist("peer", false, []entry{{cid: c, block: true}})
		began := time.Now()
		at := func(d time.Duration) {
			t.Helper()
			e.tick(began.Add(d))
			synctest.Wait()
		}
		at(time.Second - 1)
		require.False(t, first.stalled)
		first.heard = began.Add(1) // it sends other blocks
		at(time.Second)
		require.False(t, first.stalled)
		require.Zero(t, first.n.timeouts)
		for i := range patience - 2 {
			first.heard = began.Add(time.Duration(i+2) * time.Second)
			at(time.Duration(i+2) * time.Second)
		}
		require.Zero(t, first.n.timeouts)
		first.heard = began.Add(patience * time.Second)
		at(patience * time.Second)
		require.EqualValues(t, 1, first.n.timeouts)
		require.False(t, first.stalled)

		// After as long again it is asked once more.
		for i := range time.Duration(patience) {
			require.EqualValues(t, 1, first.n.sent.WantBlock)
			first.heard = began.Add((patience + i) * time.Second)
			at((patience + i) * time.Second)
		}
		at(2*patience*time.Second - 1)
		require.EqualValues(t, 1, first.n.sent.WantBlock)
		first.heard = began.Add(2 * patience * time.Second)
		at(2 * patience * time.Second)
		require.EqualValues(t, 2, first.n.sent.WantBlock)
	})
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "one")
		defer e.close()
		e.wantlist("peer", false, []entry{{cid: newBlocks(t, 1, 10)[0].Cid(), block: true}})
		began := time.Now()
		require.Empty(t, e.tick(began.Add(time.Second)))
		require.True(t, e.downs[0].stalled, "silent for Fallback")
		require.Empty(t, e.tick(began.Add(hangUpAfter)))
		require.Len(t, e.tick(began.Add(hangUpAfter+1)), 1)
		e.downs[0].open = 0
		require.Empty(t, e.tick(began.Add(hangUpAfter+1)), "it owes nothing")
		e.downs[0].open = 1
	})
}

// The order in which nodes are asked.
func TestOrderOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "a", "b", "c")
		defer e.close()
		names := func(t *want) (out string) {
			for _, d := range e.order(t) {
				out += d.addr.name
			}
			return out
		}
		c := &want{cid: newBlocks(t, 1, 10)[0].Cid()}
		e.cfg.Balance = roundRobin
		e.turn = 0
		require.Equal(t, []string{"bca", "cab", "abc"}, []string{names(c), names(c), names(c)})
		e.cfg.Balance = leastBusy
		e.downs[0].open, e.downs[1].open, e.downs[2].open = 5, 4, 5
		require.Equal(t, "bac", names(c))
		now := time.Now()
		e.downs[1].distrust = now.Add(1)
		require.Equal(t, "acb", names(c))
		e.downs[1].distrust = now
		require.Equal(t, "bac", names(c))
		e.downs[1].stalled = true
		require.Equal(t, "acb", names(c))
		e.downs[0].connected = false
		require.Equal(t, "cb", names(c))
		e.downs[0].connected, e.downs[1].stalled = true, false

		// Nodes that lacked several blocks in a row of a peer come last, before those that are
		// not trusted.
		u := &upstream{misses: map[*downstream]int{e.downs[1]: manyMisses - 1}}
		c.waiters = []*waiter{{up: u}}
		require.Equal(t, "bac", names(c))
		u.misses[e.downs[1]]++
		require.Equal(t, "acb", names(c))
		e.downs[0].distrust = now.Add(1)
		require.Equal(t, "cba", names(c))
		e.downs[0].distrust = now
		u.found(e.downs[1], []*ask{{down: e.downs[0], state: dontHave}, {down: e.downs[2], state: have}})
		require.Equal(t, map[*downstream]int{e.downs[0]: 1}, u.misses)

		// A sticky peer's node is the next of the ring, until it is gone.
		e.cfg.Sticky, e.turn = true, 0
		require.Equal(t, "bac", names(c))
		e.downs[1].connected = false
		require.Equal(t, "ca", names(c))
		require.Same(t, e.downs[2], u.home)
		e.downs[1].connected = true
		require.Equal(t, "cba", names(c), "it keeps the new one")
		e.downs[2].connected, e.downs[0].stalled = false, true
		require.Equal(t, "ba", names(c))
		e.downs[2].connected, e.downs[0].stalled = true, false
		for _, d := range e.downs {
			d.open = 0
		}
	})
}

// What is known of a file: which children were wanted in a row, and which nodes lack them.
func TestFamilyLimits(t *testing.T) {
	var f family
	root, leaves := newFile(t, 60)
	now := time.Now()
	a, b := &downstream{}, &downstream{}
	f.learn(root, []*ask{{down: a, state: dontHave}, {down: b, state: have}}, now)
	p := f.parents[0]
	require.Equal(t, map[*downstream]time.Time{a: now}, p.lacking)
	run := func(i, run, last int) {
		t.Helper()
		require.Same(t, p, f.wanted(leaves[i].Cid()))
		require.Equal(t, []int{run, last}, []int{p.run, p.last})
	}
	run(near-1, 1, near-1) // just near to the begin, which is before the first
	run(2*near-1, 2, 2*near-1)
	run(3*near, 1, 3*near) // one too far
	run(2*near, 2, 3*near)
	run(2*near-1, 2, 3*near) // too far back
	require.Nil(t, f.wanted(root.Cid()))
	e := &engine{family: f}
	for ago, want := range map[time.Duration]bool{lackFor - 1: true, lackFor: false} {
		require.Equal(t, want, e.unlikely(leaves[0].Cid(), a, nil, now.Add(ago)))
	}
	require.False(t, e.unlikely(leaves[0].Cid(), b, nil, now))
	f.has(leaves[3].Cid(), a)
	require.False(t, e.unlikely(leaves[0].Cid(), a, nil, now))
	f.learn(root, nil, now)
	require.Len(t, f.parents, 1, "it is known already")
	require.Equal(t, 60, f.known)
	// The oldest go when there are more than maxChildren.
	for f.known <= maxChildren-60 {
		more, _ := newFile(t, 60)
		f.learn(more, nil, now)
	}
	require.NotNil(t, f.wanted(leaves[0].Cid()))
	var all family // as many children as are known at all, and one more
	most, its := newFile(t, maxChildren)
	all.learn(most, nil, now)
	require.Equal(t, maxChildren, all.known)
	require.Same(t, all.parents[0], all.wanted(its[0].Cid()))
	require.Zero(t, all.parents[0].last)
	most, _ = newFile(t, maxChildren+1)
	all.learn(most, nil, now)
	require.Len(t, all.parents, 1)
	last, _ := newFile(t, maxChildren-f.known)
	f.learn(last, nil, now)
	require.Equal(t, maxChildren, f.known)
	require.NotNil(t, f.wanted(leaves[0].Cid()))
	one, _ := newFile(t, 1)
	f.learn(one, nil, now)
	require.Equal(t, maxChildren+1-60, f.known)
	require.Nil(t, f.wanted(leaves[0].Cid()))
	require.Len(t, f.children, f.known)

	// A node of maxParent bytes has children, of a larger one they are not read.
	for size, want := range map[int]int{maxParent: 1, maxParent + 1: 0} {
		var large family
		large.learn(fileOf(t, size), nil, now)
		require.Len(t, large.parents, want, size)
	}
}

// fileOf makes a dag-pb node of so many bytes with one child.
func fileOf(t *testing.T, size int) blocks.Block {
	t.Helper()
	dir := &merkledag.ProtoNode{}
	require.NoError(t, dir.AddRawLink("", &format.Link{Cid: newBlocks(t, 1, 10)[0].Cid(), Size: 10}))
	require.NoError(t, dir.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}))
	dir.SetData(make([]byte, size))
	dir.SetData(make([]byte, 2*size-len(dir.RawData())))
	require.Len(t, dir.RawData(), size)
	return dir
}

// longCID makes a CID of so many bytes.
func longCID(t *testing.T, n int) cid.Cid {
	t.Helper()
	hash := []byte{0x12, byte(n - 4)}
	if n-4 > 127 {
		hash = []byte{0x12, byte(n-5) | 0x80, byte((n - 5) >> 7)}
	}
	c := cid.NewCidV1(cid.Raw, append(hash, make([]byte, n-2-len(hash))...))
	require.Equal(t, n, c.ByteLen())
	return c
}

// How far ahead of a peer is read.
func TestReadAheadLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		e.cache = newCache(100 * firstSize)
		root, leaves := newFile(t, 60)
		u := e.upstream("peer")
		e.family.learn(root, nil, time.Now())
		p := e.family.parents[0]
		read := func(last, run, ahead int) {
			t.Helper()
			p.last, p.run = last, run
			e.readAhead(u, p, 10)
			require.Equal(t, ahead, p.ahead)
		}
		read(2, aheadRun-1, 0)
		read(2, aheadRun, 3+aheadBlocks)
		require.Equal(t, aheadBlocks, e.ahead)
		require.EqualValues(t, aheadBlocks, e.n.ahead)
		require.EqualValues(t, 9, e.wants[leaves[3].Cid()].aheadPriority)
		require.EqualValues(t, 1, e.wants[leaves[3+aheadBlocks-1].Cid()].aheadPriority)
		read(2+aheadBlocks/2-1, aheadRun, 3+aheadBlocks) // several at a time
		read(2+aheadBlocks/2, aheadRun, 3+aheadBlocks*3/2)
		read(50, aheadRun, 60)
		require.Nil(t, e.wants[leaves[50].Cid()])
		require.NotNil(t, e.wants[leaves[51].Cid()])
		require.NotNil(t, e.wants[leaves[59].Cid()])
		synctest.Wait()

		// The last ones are requested though they are few.
		end, last := newFile(t, 20)
		e.family.learn(end, nil, time.Now())
		p = e.family.parents[1]
		read(20-1-aheadBlocks/4, aheadRun, 20)
		require.NotNil(t, e.wants[last[19].Cid()])
		synctest.Wait()

		// A CID as long as kubo's longest is one, a longer one is not.
		for n, want := range map[int]bool{maxCID: true, maxCID + 1: false} {
			c := longCID(t, n)
			require.True(t, e.askAhead(u, c, 1))
			require.Equal(t, want, e.wants[c] != nil, n)
		}
		synctest.Wait()

		// What is read ahead fills at most half of the cache.
		e.cache = newCache(10 * firstSize)
		more := newBlocks(t, 10, 10)
		e.ahead = 3
		e.cache.unread = 1
		require.True(t, e.askAhead(u, more[0].Cid(), 1))
		require.False(t, e.askAhead(u, more[1].Cid(), 1))
		require.Equal(t, 4, e.ahead)
		e.cache.unread = 0
		e.downs[0].ledger = window/2 + 1
		require.False(t, e.askAhead(u, more[2].Cid(), 1))
		e.downs[0].ledger = window / 2
		require.True(t, e.askAhead(u, more[2].Cid(), 1))
		require.True(t, e.askAhead(u, more[2].Cid(), 1), "it is wanted already")
		e.downs[0].stalled = true
		e.ahead = 0
		require.False(t, e.askAhead(u, more[3].Cid(), 1))
		synctest.Wait()
	})
}

// The budget of a caller: so many requests in a minute, and at a time; one of IPv6 is a /64.
func TestCallersBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &refsServer{p: &Proxy{cfg: &settings{Config: Config{PreloadRate: 60, PreloadParallel: 2}}}, callers: map[netip.Prefix]*caller{}}
		a := netip.MustParseAddr("192.0.2.1")
		one, _ := s.enter(a)
		two, _ := s.enter(a)
		require.NotNil(t, two)
		no, wait := s.enter(a)
		require.Nil(t, no)
		require.Equal(t, time.Second, wait)
		one()
		one, _ = s.enter(a)
		require.NotNil(t, one)
		one()
		two()
		for range 57 {
			leave, _ := s.enter(a)
			require.NotNil(t, leave)
			leave()
		}
		time.Sleep(250 * time.Millisecond)
		no, wait = s.enter(a)
		require.Nil(t, no)
		require.InDelta(t, 750*time.Millisecond, wait, float64(time.Millisecond))
		s.p.cfg.PreloadRate = 120
		for range 120 {
			leave, _ := s.enter(netip.MustParseAddr("192.0.2.9"))
			leave()
		}
		_, wait = s.enter(netip.MustParseAddr("192.0.2.9"))
		require.InDelta(t, 500*time.Millisecond, wait, float64(time.Millisecond))
		s.p.cfg.PreloadRate = 60
		other, _ := s.enter(netip.MustParseAddr("192.0.2.2"))
		require.NotNil(t, other)
		time.Sleep(750 * time.Millisecond)
		leave, _ := s.enter(a)
		require.NotNil(t, leave)
		require.Equal(t, 1, s.callers[netip.MustParsePrefix("192.0.2.1/32")].running)

		// The callers that are remembered have a bound; those with their full budget go first.
		for i := 0; len(s.callers) < maxCallers; i++ {
			s.callers[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)] = &caller{running: 1}
		}
		new := netip.MustParseAddr("192.0.2.3")
		no, wait = s.enter(new)
		require.Nil(t, no)
		require.Equal(t, time.Minute, wait)
		other()
		time.Sleep(time.Second) // one of its 60 is back
		leave, _ = s.enter(new)
		require.NotNil(t, leave)
		require.Len(t, s.callers, maxCallers)
	})
	for text, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		require.Equal(t, netip.MustParsePrefix(want), budgetOf(netip.MustParseAddr(text)))
	}
}

// The caller behind trusted proxies is the last address that is not one of theirs.
func TestCallerBehindProxies(t *testing.T) {
	s := &refsServer{p: &Proxy{cfg: &settings{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}
	f := func(remote, want string, forwarded ...string) {
		t.Helper()
		got, err := s.caller(&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": forwarded}})
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
	f("192.0.2.1:5", "192.0.2.1", "198.51.100.7")
	f("10.0.0.1:5", "198.51.100.7", "203.0.113.1, 198.51.100.7")
	f("10.0.0.1:5", "198.51.100.7", "203.0.113.1", "198.51.100.7, 10.0.0.2")
	f("10.0.0.1:5", "10.0.0.1")
	f("10.0.0.1:5", "198.51.100.7", "198.51.100.7:1234")
	f("10.0.0.1:5", "2001:db8::1", "[2001:db8::1]")
	f("10.0.0.1:5", "", "somebody")
	f("unix", "")
}

// The limits of libp2p's resources grow with the number of peers, and stay numbers.
func TestResourcesOfPeers(t *testing.T) {
	f := func(peers int, scope string, want rcmgr.BaseLimit) {
		t.Helper()
		rm, err := peersManager(peers)
		require.NoError(t, err)
		defer rm.Close()
		var got rcmgr.BaseLimit
		read := func(scope network.ResourceScope) error {
			l := scope.(rcmgr.ResourceScopeLimiter).Limit()
			got = rcmgr.BaseLimit{Streams: l.GetStreamTotalLimit(), StreamsInbound: l.GetStreamLimit(network.DirInbound), StreamsOutbound: l.GetStreamLimit(network.DirOutbound),
				Conns: l.GetConnTotalLimit(), ConnsInbound: l.GetConnLimit(network.DirInbound), FD: l.GetFDLimit()}
			return nil
		}
		switch scope {
		case "system":
			require.NoError(t, rm.ViewSystem(read))
		case "transient":
			require.NoError(t, rm.ViewTransient(read))
		case "service":
			require.NoError(t, rm.ViewService("some", func(s network.ServiceScope) error { return read(s) }))
		case "protocol":
			require.NoError(t, rm.ViewProtocol("/some/1", func(s network.ProtocolScope) error { return read(s) }))
		}
		require.Equal(t, want, got, scope)
	}
	f(1000, "system", rcmgr.BaseLimit{Conns: 2128, ConnsInbound: 2128, FD: 2512, Streams: 34048, StreamsInbound: 18048, StreamsOutbound: 18048})
	f(1000, "transient", rcmgr.BaseLimit{Conns: 1128, ConnsInbound: 1128, FD: 1128, Streams: 3024, StreamsInbound: 3024, StreamsOutbound: 3024})
	for _, scope := range []string{"service", "protocol"} {
		f(1000, scope, rcmgr.BaseLimit{Streams: 17024, StreamsInbound: 17024, StreamsOutbound: 17024})
	}
	f(math.MaxInt32, "service", rcmgr.BaseLimit{Streams: math.MaxInt32, StreamsInbound: math.MaxInt32, StreamsOutbound: math.MaxInt32})
}

// passedStream is a stream of a peer.
type passedStream struct {
	network.Stream
	from peer.ID
}

func (s passedStream) Conn() network.Conn { return passedConn{from: s.from} }

type passedConn struct {
	network.Conn
	from peer.ID
}

func (c passedConn) RemotePeer() peer.ID { return c.from }

// Forwarded streams have a bound for each peer, and one for all.
func TestPassedLimits(t *testing.T) {
	x := &passer{each: map[peer.ID]int{}, open: map[network.Stream]struct{}{}}
	var all []*passedStream
	take := func(from peer.ID, want bool) {
		t.Helper()
		s := &passedStream{from: from}
		require.Equal(t, want, x.take(s))
		if want {
			all = append(all, s)
		}
	}
	for range maxPassedEach {
		take("a", true)
	}
	take("a", false)
	x.leave(all[0])
	take("a", true)
	take("a", false)
	for i := maxPassedEach; i < maxPassed; i++ {
		take(peer.ID(fmt.Sprint(i)), true)
	}
	take("b", false)
	for _, s := range all[1:] {
		x.leave(s)
	}
	require.Empty(t, x.each)
	require.Empty(t, x.open)
	require.Zero(t, x.all)
	take("b", true)
}

// Each counter of a sample is what was counted since the one before.
func TestSamplesAreDifferences(t *testing.T) {
	traffic := func(n uint64) event.Traffic {
		return event.Traffic{Messages: n, WantBlock: n + 1, WantHave: n + 2, Cancel: n + 3, Have: n + 4, DontHave: n + 5, Blocks: n + 6, BlockBytes: n + 7}
	}
	all := func(n uint64) counts {
		return counts{traffic(n), traffic(2 * n), n + 10, n + 11, n + 12, n + 13, n + 14, n + 15, n + 16, n + 17, n + 18, n + 19, n + 20}
	}
	old := all(100)
	want := counts{traffic(0), traffic(0), 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}
	want.received, want.sent = traffic(1100).Sub(traffic(100)), traffic(2200).Sub(traffic(200))
	require.Equal(t, want, all(1100).sub(&old))
	node := downCounts{traffic(7), traffic(8), 100, 200, 300, 400, 500, 600}
	before := downCounts{traffic(1), traffic(2), 1, 2, 3, 4, 5, 6}
	require.Equal(t, downCounts{traffic(7).Sub(traffic(1)), traffic(8).Sub(traffic(2)), 99, 198, 297, 396, 495, 594}, node.sub(&before))
}

// The backlog and the deadlines are pruned when they may be mostly of wants that are over.
func TestPruning(t *testing.T) {
	e := newEngine(&settings{Config: Config{Fallback: time.Hour, Logger: slog.New(slog.DiscardHandler)}}, nil, nil)
	over := &ask{want: &want{}}
	for range minPrune {
		e.remind(deadline{ask: over})
	}
	require.Len(t, e.due, minPrune)
	e.remind(deadline{ask: over})
	require.Empty(t, e.due)
	e.kept = minPrune
	for range 2 * minPrune {
		e.remind(deadline{ask: over})
	}
	require.Len(t, e.due, 2*minPrune)
	e.remind(deadline{ask: over})
	require.Empty(t, e.due)
	d := newDownstream(&downstreamAddr{})
	d.backlog = make([]*ask, minPrune)
	for i := range d.backlog {
		d.backlog[i] = &ask{want: &want{}, down: d}
	}
	d.prune()
	require.Len(t, d.backlog, minPrune)
	d.backlog = append(d.backlog, d.backlog[0])
	d.prune()
	require.Empty(t, d.backlog)
	require.Zero(t, d.pruned)
}

// A node's ledger and its unread messages have bounds.
func TestLedgerLimits(t *testing.T) {
	e := newEngine(&settings{Config: Config{Fallback: time.Hour, Logger: slog.New(slog.DiscardHandler)}}, nil, nil)
	d := newDownstream(&downstreamAddr{})
	d.ledger = window - 1
	require.True(t, e.makeRoom(d))
	d.ledger = window
	require.False(t, e.makeRoom(d))
	d.ledger = 0
	d.box.items = make([]item, maxUnsent)
	require.True(t, e.makeRoom(d))
	d.box.items = make([]item, maxUnsent+1)
	require.False(t, e.makeRoom(d))
}
