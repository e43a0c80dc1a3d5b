package proxy

import (
	"log/slog"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/tracer"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Limits without a setting.
const (
	// maxCID is boxo's own limit for the length of a CID, in bytes.
	maxCID = event.MaxCIDBytes
	// kuboKeeps is how many wants, and how many unsent answers, kubo keeps for
	// one peer (boxo's MaxQueuedWantlistEntriesPerPeer). Beyond that it drops some silently.
	kuboKeeps = 1024
	// window is how many wants we send to a node at once. The others wait here.
	window = 960
	// slack is how far a message may exceed the window while kubo processes it: kubo adds all
	// wants of a message before it applies the cancels.
	slack = kuboKeeps - window
	// smallBlock is the size up to which kubo answers a WANT_HAVE with the
	// block itself, in bytes.
	smallBlock = 1024
	// firstSize is the assumed size of a block before a peer has received any.
	firstSize = 256 << 10
	// maxUnsent is how many wants and cancels may wait until a node reads them.
	maxUnsent = 8 * window
	// maxTotalWants bounds the wants of all peers together.
	maxTotalWants = 1 << 20
	// patience is how many times Fallback an answer may take if the node sends other blocks
	// meanwhile. After as long again without an answer the node is asked once more.
	patience = 10
	// retryEvery is how long a CID that no node had waits before it is requested again, if a
	// peer still wants it.
	retryEvery = 30 * time.Second
	// distrustFor is how long a node is asked last after it sent an unrequested block.
	distrustFor = time.Minute
	// hangUpAfter is how long a node may be silent, with wants outstanding, before it is
	// reconnected.
	hangUpAfter = 30 * time.Second
)

// engine holds the wants of all peers and the asks sent to nodes. One lock guards everything;
// it is never held while sending.
type engine struct {
	cfg   *settings
	log   *slog.Logger
	trace [event.Sides]tracer.Tracer
	up    sender // to peers
	down  sender // to nodes
	boxes sync.WaitGroup
	guard guard.Guard // at every border: streams, callbacks, goroutines

	mu          sync.Mutex
	closed      bool
	wants       map[cid.Cid]*want
	ups         map[peer.ID]*upstream
	downs       []*downstream
	byPeer      map[peer.ID]*downstream
	turn        int // of the ring
	total       int // wants of all peers
	due         []deadline
	kept        int // length of due when those that say nothing were last taken out
	cache       *cache
	family      family
	ahead       int // wants that no node has yet
	reverse     reverse
	roomy       []*upstream // peers whose budget has room again; pumped by flush
	ready       []*outbox   // with something to send; started by flush
	n           counts
	blocked     []uint64 // streams refused, by the place of their protocol in the list; nil before the first
	last        counts   // as of the last sample
	answer      latency  // from a peer's want to its block
	refsRunning int
	draining    bool // new wants are not accepted any more
}

// want is a CID that at least one peer waits for.
type want struct {
	cid      cid.Cid
	waiters  []*waiter
	asks     []*ask // at most one for each node
	parked   bool   // every node said no
	parkedAt time.Time

	ahead         *upstream // the peer that will want it; nil: it is wanted already
	aheadPriority int32
}

// waiter is one peer's want.
type waiter struct {
	up       *upstream
	cid      cid.Cid
	priority int32
	block    bool // else HAVE
	dontHave bool // wants a DONT_HAVE
	answered bool // was sent HAVE or DONT_HAVE
	since    time.Time
	seq      uint64
	active   bool // part of a want; else it waits in up.waiting
	reserved int  // bytes of the peer's budget
	at       int  // in up.waiting
}

// upstream is a connected peer. It uses no goroutine while nothing is sent.
type upstream struct {
	id       peer.ID
	wants    map[cid.Cid]*waiter // nil before the first
	waiting  waiterHeap          // WANT_BLOCKs without room in the budget
	reserved int                 // bytes that are expected
	size     int                 // of its blocks, on average; 0 before the first
	seq      uint64
	home     *downstream // of --sticky and of other protocols
	misses   map[*downstream]int
	box      outbox
}

// counts are the totals since the start.
type counts struct {
	received, sent                     event.Traffic // of the upstream side
	merged, cached, deferred, overflow uint64
	ahead                              uint64
	passed, blocked                    uint64
	refs, refsRefused                  uint64
	reverseWants, reverseBlocks        uint64
}

func newEngine(s *settings, up, down sender) *engine {
	e := &engine{cfg: s, log: s.Logger, trace: [event.Sides]tracer.Tracer{event.Upstream: s.Tracer, event.Downstream: s.DownTracer}, up: up, down: down,
		wants: map[cid.Cid]*want{}, ups: map[peer.ID]*upstream{}, byPeer: map[peer.ID]*downstream{}, cache: newCache(s.CacheBytes)}
	e.guard.Log = s.Logger
	e.reverse.init()
	for _, d := range s.downs {
		e.downs = append(e.downs, newDownstream(d))
	}
	return e
}

// peerConnected admits a peer; false: there are too many.
func (e *engine) peerConnected(p peer.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.upstream(p) != nil
}

// upstream returns a peer's state, created if missing; nil if there are too many.
func (e *engine) upstream(p peer.ID) *upstream {
	u := e.ups[p]
	if u == nil && !e.closed && len(e.ups) < e.cfg.MaxUpstreams {
		u = &upstream{id: p}
		u.box.to = p
		e.ups[p] = u
	}
	return u
}

// peerGone drops all state of a peer. Wants that only it had are cancelled.
func (e *engine) peerGone(p peer.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.ups[p]
	if u == nil {
		return
	}
	delete(e.ups, p)
	u.box.drop()
	for _, w := range u.wants {
		e.remove(w)
	}
	e.reverse.peerGone(e, u)
	e.flush()
}

// entry is one entry of a wantlist.
type entry struct {
	cid      cid.Cid
	priority int32
	block    bool
	cancel   bool
	dontHave bool
}

// wantlist processes a peer's wants and cancels, the most important first.
func (e *engine) wantlist(p peer.ID, full bool, entries []entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.upstream(p)
	if u == nil || e.draining {
		return
	}
	if full {
		keep := make(map[cid.Cid]bool, len(entries))
		for i := range entries {
			keep[entries[i].cid] = !entries[i].cancel
		}
		for c, w := range u.wants {
			if !keep[c] {
				e.remove(w)
			}
		}
	}
	now := time.Now()
	var read *parent
	var priority int32
	for i := range entries {
		x := &entries[i]
		switch {
		case x.cid.ByteLen() > maxCID || x.cid.Prefix().MhType == mh.IDENTITY:
			// As in kubo: an identity CID contains its block.
		case x.cancel:
			e.n.received.Cancel++
			if w := u.wants[x.cid]; w != nil {
				e.remove(w)
			}
		default:
			e.want(u, x, now)
			if !x.block {
				break
			}
			if p := e.family.wanted(x.cid); p != nil {
				read, priority = p, x.priority
			}
		}
	}
	e.pump(u)
	if read != nil {
		e.readAhead(u, read, priority)
	}
	e.flush()
}

// want adds one want of a peer.
func (e *engine) want(u *upstream, x *entry, now time.Time) {
	if x.block {
		e.n.received.WantBlock++
	} else {
		e.n.received.WantHave++
	}
	if len(u.box.items) > 2*e.cfg.MaxWants { // it repeats wants and does not read the answers
		e.n.overflow++
		return
	}
	if blk := e.cache.get(x.cid); blk != nil {
		e.n.cached++
		if w := u.wants[x.cid]; w != nil {
			e.remove(w)
		}
		w := waiter{up: u, cid: x.cid, block: x.block, since: now}
		e.serve(&w, blk, now)
		return
	}
	w := u.wants[x.cid]
	switch {
	case w == nil:
		if len(u.wants) >= e.cfg.MaxWants || e.total >= maxTotalWants {
			e.n.overflow++
			return
		}
		u.seq++
		w = &waiter{up: u, cid: x.cid, priority: x.priority, block: x.block, dontHave: x.dontHave, since: now, seq: u.seq, at: -1}
		if u.wants == nil {
			u.wants = map[cid.Cid]*waiter{}
		}
		u.wants[x.cid] = w
		e.total++
	case w.at >= 0: // it waits already: update its priority
		w.priority, w.dontHave = x.priority, w.dontHave || x.dontHave
		w.block = w.block || x.block
		u.waiting.fix(w)
		return
	case x.block && !w.block: // it was answered before, and now wants the block
		e.detach(w)
		w.block, w.answered, w.since = true, false, now
		w.priority, w.dontHave = x.priority, x.dontHave
	default: // a repeated want expects another answer
		w.answered, w.dontHave = false, w.dontHave || x.dontHave
		if target := e.wants[x.cid]; target != nil {
			e.again(target)
		}
		return
	}
	if w.block {
		u.waiting.push(w)
		return
	}
	e.activate(w)
}

// pump starts as many of a peer's wants as its budget has room for.
func (e *engine) pump(u *upstream) {
	for len(u.waiting) > 0 {
		size := u.size
		if size == 0 {
			size = firstSize
		}
		if busy := u.reserved + u.box.bytes; busy > 0 && busy+size > e.cfg.QueueBytes {
			return
		}
		w := u.waiting.pop()
		if blk := e.cache.get(w.cid); blk != nil && e.serve(w, blk, time.Now()) {
			e.n.cached++
			e.remove(w)
			continue
		}
		w.reserved = size
		u.reserved += size
		e.activate(w)
	}
}

// flush ends every call into the engine: it starts the wants that there is room for now, and
// starts sending.
func (e *engine) flush() {
	for len(e.roomy) > 0 {
		u := e.roomy[len(e.roomy)-1]
		e.roomy = e.roomy[:len(e.roomy)-1]
		if e.ups[u.id] == u {
			e.pump(u)
		}
	}
	for _, b := range e.ready {
		e.start(b)
	}
	e.ready = e.ready[:0]
}

// activate adds a waiter to its want, and asks for the want unless it was asked for already.
func (e *engine) activate(w *waiter) {
	w.active = true
	t := e.wants[w.cid]
	if t == nil {
		t = &want{cid: w.cid}
		e.wants[w.cid] = t
	} else if len(t.waiters) > 0 {
		e.n.merged++
	}
	e.notAhead(t)
	t.waiters = append(t.waiters, w)
	e.again(t)
}

// again makes sure that a want is being asked for.
func (e *engine) again(t *want) {
	if t.parked {
		if time.Since(t.parkedAt) < e.cfg.Fallback { // they have just answered
			e.nobody(t)
			return
		}
		t.parked = false
		e.forget(t)
	}
	for _, a := range t.asks {
		switch a.state {
		case asked, queued:
			if !a.block && t.needBlock() {
				e.upgrade(a)
			}
			return
		case have:
			if t.needBlock() {
				e.upgrade(a)
				return
			}
			e.sendHave(t)
			return
		}
	}
	e.askNext(t)
}

func (t *want) needBlock() bool {
	for _, w := range t.waiters {
		if w.block {
			return true
		}
	}
	return false
}

// priority returns the highest priority of the waiters.
func (t *want) priority() int32 {
	if len(t.waiters) == 0 {
		return t.aheadPriority
	}
	p := t.waiters[0].priority
	for _, w := range t.waiters[1:] {
		p = max(p, w.priority)
	}
	return p
}

// remove removes a waiter permanently.
func (e *engine) remove(w *waiter) {
	u := w.up
	delete(u.wants, w.cid)
	e.total--
	if w.at >= 0 {
		u.waiting.remove(w)
	} else {
		e.detach(w)
	}
	if t := e.wants[w.cid]; t != nil && len(t.waiters) == 0 {
		e.finish(t)
	}
}

// detach removes a waiter from its want, which stays for now with the answers of the nodes.
func (e *engine) detach(w *waiter) {
	e.unreserve(w)
	t := e.wants[w.cid]
	if t == nil || !w.active {
		return
	}
	w.active = false
	for i, x := range t.waiters {
		if x == w {
			t.waiters = append(t.waiters[:i], t.waiters[i+1:]...)
			return
		}
	}
}

// unreserve returns the bytes reserved for a want to the peer's budget.
func (e *engine) unreserve(w *waiter) {
	if w.reserved == 0 {
		return
	}
	w.up.reserved -= w.reserved
	w.reserved = 0
	if len(w.up.waiting) > 0 {
		e.roomy = append(e.roomy, w.up)
	}
}

// finish drops a want that nobody waits for, here and at the nodes.
func (e *engine) finish(t *want) {
	e.notAhead(t)
	e.forget(t)
	delete(e.wants, t.cid)
}

// serve sends a waiter its block; false: its queue is full.
func (e *engine) serve(w *waiter, blk blocks.Block, now time.Time) bool {
	u, size := w.up, len(blk.RawData())
	if !w.block && size > smallBlock {
		e.n.sent.Have++
		e.post(&u.box, item{cid: w.cid, what: itemHave})
		w.answered = true
		return true
	}
	if u.box.bytes > 2*e.cfg.QueueBytes {
		return false
	}
	if u.size == 0 {
		u.size = size
	}
	u.size += (size - u.size) / 8
	u.size = max(u.size, 512)
	e.n.sent.Blocks++
	e.n.sent.BlockBytes += uint64(size)
	e.answer.add(now.Sub(w.since))
	e.post(&u.box, item{cid: w.cid, what: itemBlock, block: blk})
	return true
}

// deliver sends a block to all its waiters.
func (e *engine) deliver(t *want, blk blocks.Block, now time.Time) {
	var rest []*waiter
	for _, w := range t.waiters {
		e.unreserve(w)
		switch {
		case !w.block && len(blk.RawData()) > smallBlock:
			if !w.answered {
				e.serve(w, blk, now)
			}
			rest = append(rest, w)
		case e.serve(w, blk, now):
			delete(w.up.wants, w.cid)
			e.total--
			w.active = false
		default: // fetched again when its queue is shorter
			e.n.deferred++
			w.active = false
			w.up.waiting.push(w)
		}
	}
	t.waiters = rest
	if len(rest) == 0 {
		e.finish(t)
	}
}

// sendHave sends HAVE to the waiters that asked for it.
func (e *engine) sendHave(t *want) {
	for _, w := range t.waiters {
		if !w.block && !w.answered {
			w.answered = true
			e.n.sent.Have++
			e.post(&w.up.box, item{cid: t.cid, what: itemHave})
		}
	}
}

// nobody sends DONT_HAVE to the waiters that asked for it. The want stays: a node that gets the
// block later sends it.
func (e *engine) nobody(t *want) {
	if !t.parked {
		t.parked, t.parkedAt = true, time.Now()
	}
	for _, w := range t.waiters {
		e.unreserve(w)
		if w.dontHave && !w.answered {
			w.answered = true
			e.n.sent.DontHave++
			e.post(&w.up.box, item{cid: t.cid, what: itemDontHave})
		}
	}
}
