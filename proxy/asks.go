package proxy

import (
	"cmp"
	"slices"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// downstream is one node behind the proxy. The engine's lock guards it.
type downstream struct {
	addr *downstreamAddr
	id   peer.ID // as it was when it was last connected

	connected bool
	stalled   bool // silent though asked
	broken    bool // it does not take what is sent to it
	heard     time.Time
	distrust  time.Time // until then it is asked last

	ledger  int    // wants that it keeps for us
	backlog []*ask // waiting for room in the ledger, oldest first
	pruned  int    // length of backlog when what nobody waits for was last taken out
	parked  []*ask // in the ledger, but it has said no: given up first, oldest first
	open    int    // asks without an answer
	past    lateCIDs
	box     outbox

	n    downCounts
	last downCounts    // as of the last sample
	rtt  latency       // from a want to its block
	gone chan struct{} // closed when the connection goes; nil if nobody waits
	lies throttle.Line
}

// downCounts are a node's totals since the start.
type downCounts struct {
	received, sent                   event.Traffic
	verified, bytes                  uint64
	refused, late, timeouts, connect uint64
}

type askState uint8

const (
	queued   askState = iota // in the backlog
	asked                    // sent, no answer yet
	overdue                  // no answer in time, another was asked; it may still come
	have                     // it has the block
	dontHave                 // it said no
)

// ask is a want as it was sent to one node.
type ask struct {
	want     *want
	down     *downstream
	block    bool // else HAVE
	state    askState
	inLedger bool
	at       time.Time // when it was sent
	gen      uint32    // changes with each sending, so that old deadlines say nothing
}

func newDownstream(a *downstreamAddr) *downstream {
	d := &downstream{addr: a}
	d.box.down = d
	return d
}

// order lists the connected nodes, the one to be asked first at the front.
func (e *engine) order(t *want) []*downstream {
	out := make([]*downstream, 0, len(e.downs))
	switch e.cfg.Balance {
	case RoundRobin:
		e.turn++
		for i := range e.downs {
			out = append(out, e.downs[(e.turn+i)%len(e.downs)])
		}
	case LeastBusy:
		out = append(out, e.downs...)
		slices.SortStableFunc(out, func(a, b *downstream) int { return cmp.Compare(a.open, b.open) })
	default:
		out = append(out, e.downs...)
		hash := t.cid.Hash()
		slices.SortFunc(out, func(a, b *downstream) int {
			return cmp.Or(cmp.Compare(rendezvous(b.addr.name, hash), rendezvous(a.addr.name, hash)), cmp.Compare(a.addr.name, b.addr.name))
		})
	}
	out = slices.DeleteFunc(out, func(d *downstream) bool { return !d.connected })
	who := t.ahead
	if len(t.waiters) > 0 {
		who = t.waiters[0].up
	}
	if e.cfg.Sticky && who != nil {
		if home := e.homeOf(who); home != nil {
			slices.SortStableFunc(out, func(a, b *downstream) int { return cmp.Compare(sets.Bit(a != home), sets.Bit(b != home)) })
		}
	}
	now := time.Now()
	last := func(d *downstream) int {
		return 2*sets.Bit(d.stalled || now.Before(d.distrust)) + sets.Bit(e.unlikely(t.cid, d, who, now))
	}
	slices.SortStableFunc(out, func(a, b *downstream) int { return cmp.Compare(last(a), last(b)) })
	return out
}

// rendezvous is the weight of a node for a hash: FNV-1a of both, the same in
// every run and in every proxy with these names, mixed as MurmurHash3 does.
func rendezvous(name string, hash []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	for _, b := range hash {
		h = (h ^ uint64(b)) * prime
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// homeOf returns a peer's own node, the next of the ring if it has none or that
// is gone; nil if none is connected.
func (e *engine) homeOf(u *upstream) *downstream {
	if u.home != nil && u.home.connected {
		return u.home
	}
	u.home = nil
	for i := range e.downs {
		d := e.downs[(e.turn+1+i)%len(e.downs)]
		if d.connected && !d.stalled {
			e.turn += 1 + i
			u.home = d
			break
		}
	}
	return u.home
}

// askNext asks the first node that was not asked. If there is none and all of
// them have said no, the peers get that answer.
func (e *engine) askNext(t *want) {
	if len(t.waiters) == 0 {
		if t.ahead != nil { // who wants it will have it asked for
			e.finish(t)
		}
		return
	}
	for _, d := range e.order(t) {
		if t.ask(d) == nil {
			a := &ask{want: t, down: d, block: t.needBlock()}
			t.asks = append(t.asks, a)
			e.send(a)
			return
		}
	}
	for _, a := range t.asks {
		if a.state != dontHave {
			return // it may still answer
		}
	}
	e.nobody(t)
}

// ask returns what a node was asked, nil if it was not.
func (t *want) ask(d *downstream) *ask {
	for _, a := range t.asks {
		if a.down == d {
			return a
		}
	}
	return nil
}

// send sends a want to a node, or queues it.
func (e *engine) send(a *ask) {
	d := a.down
	if !a.inLedger && !e.makeRoom(d) {
		a.state = queued
		d.backlog = append(d.backlog, a)
		d.prune()
		return
	}
	again := a.inLedger
	if !again {
		a.inLedger = true
		d.ledger++
	}
	if a.state != asked && a.state != overdue {
		d.open++
	}
	a.state, a.at = asked, time.Now()
	a.gen++
	e.remind(deadline{a, a.gen, a.at.Add(e.cfg.Fallback)})
	what := itemWantHave
	if a.block {
		what = itemWantBlock
		d.n.sent.WantBlock++
	} else {
		d.n.sent.WantHave++
	}
	e.post(&d.box, item{cid: a.want.cid, what: what, priority: a.want.priority(), again: again})
}

// upgrade asks a node that was asked for HAVE for the block.
func (e *engine) upgrade(a *ask) {
	if a.block && (a.state == asked || a.state == queued) {
		return
	}
	a.block = true
	if a.state != queued {
		e.send(a)
	}
}

// makeRoom says whether a node's ledger has a place, if need be that of a want
// to which it has said no.
func (e *engine) makeRoom(d *downstream) bool {
	if len(d.box.items) > maxUnsent { // it does not take what is sent to it
		return false
	}
	for d.ledger >= window {
		if len(d.parked) == 0 {
			return false
		}
		a := d.parked[0]
		d.parked = d.parked[1:]
		if a.inLedger && a.state == dontHave {
			e.leave(a, true)
		}
	}
	return true
}

// leave takes an ask out of the node's ledger; tell: with a cancel, because the
// node still has it there.
func (e *engine) leave(a *ask, tell bool) {
	if !a.inLedger {
		return
	}
	d := a.down
	a.inLedger = false
	d.ledger--
	d.past.add(a.want.cid)
	if tell {
		d.n.sent.Cancel++
		e.post(&d.box, item{cid: a.want.cid, what: itemCancel})
	}
	e.advance(d)
}

// advance sends what waits for room in a node's ledger.
func (e *engine) advance(d *downstream) {
	for len(d.backlog) > 0 && d.ledger < window && len(d.box.items) <= maxUnsent {
		a := d.backlog[0]
		d.backlog[0] = nil
		d.backlog = d.backlog[1:]
		if a.live() {
			e.send(a)
		}
	}
}

// answered notes that an ask is no longer open.
func (e *engine) answered(a *ask, s askState) {
	if a.state == asked || a.state == overdue {
		a.down.open--
	}
	a.state = s
}

// forget drops all asks of a want, and takes them back where they are in a
// ledger.
func (e *engine) forget(t *want) {
	asks := t.asks
	t.asks = nil
	for _, a := range asks {
		e.answered(a, dontHave)
		e.leave(a, true)
	}
}

// fromNode takes in a message of a node.
func (e *engine) fromNode(p peer.ID, blks []blocks.Block, haves, dontHaves []cid.Cid) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.byPeer[p]
	if d == nil {
		return
	}
	now := time.Now()
	d.heard, d.stalled = now, false
	d.n.received.Messages++
	for _, blk := range blks {
		d.n.received.Blocks++
		d.n.received.BlockBytes += uint64(len(blk.RawData()))
		e.gotBlock(d, blk, now)
	}
	for _, c := range haves {
		d.n.received.Have++
		if t := e.wants[c]; t != nil {
			if a := t.ask(d); a != nil {
				e.gotHave(t, a)
			}
		}
	}
	for _, c := range dontHaves {
		d.n.received.DontHave++
		if t := e.wants[c]; t != nil {
			if a := t.ask(d); a != nil && a.state != dontHave && a.state != queued {
				e.answered(a, dontHave)
				e.family.lacks(c, d, now)
				if a.inLedger {
					d.parked = append(d.parked, a)
					e.advanceParked(d)
				}
				e.next(t)
			}
		}
	}
	e.flush()
}

// advanceParked replaces wants that were answered no by those in line.
func (e *engine) advanceParked(d *downstream) {
	if len(d.backlog) > 0 {
		e.makeRoom(d)
		e.advance(d)
	}
	if len(d.parked) > 2*window { // most have left the ledger in another way
		d.parked = slices.DeleteFunc(d.parked, func(a *ask) bool { return !a.inLedger || a.state != dontHave })
	}
}

// next continues with a want after a node has said no.
func (e *engine) next(t *want) {
	for _, a := range t.asks {
		switch {
		case a.state == asked || a.state == queued:
			return
		case a.state == have && t.needBlock():
			e.upgrade(a)
			return
		}
	}
	e.askNext(t)
}

func (e *engine) gotHave(t *want, a *ask) {
	if a.state == queued || a.block && a.state == asked {
		return // an answer to the question before the last
	}
	e.answered(a, have)
	e.leave(a, false) // kubo forgets a WANT_HAVE that it has answered so
	e.family.has(t.cid, a.down)
	if t.parked { // it came there after all
		t.parked = false
		for _, w := range t.waiters {
			w.answered = false
		}
	}
	if t.needBlock() {
		e.upgrade(a)
	}
	e.sendHave(t)
}

// gotBlock passes a block on if this node was asked for it. A block's CID is
// computed from its bytes when it is read, so that wrong bytes for a CID arrive
// as a block that nobody asked for.
func (e *engine) gotBlock(d *downstream, blk blocks.Block, now time.Time) {
	t := e.wants[blk.Cid()]
	var a *ask
	if t != nil {
		a = t.ask(d)
	}
	if a == nil || a.state == queued {
		if d.past.has(blk.Cid()) {
			d.n.late++
			return
		}
		if same := e.sameHash(d, blk); same != nil {
			e.gotBlock(d, same, now)
			return
		}
		e.refuse(d, blk)
		return
	}
	d.n.verified++
	d.n.bytes += uint64(len(blk.RawData()))
	if a.state == asked || a.state == overdue {
		d.rtt.add(now.Sub(a.at))
	}
	e.answered(a, have)
	e.leave(a, false)
	e.cache.add(blk, now, t.ahead != nil)
	e.family.has(blk.Cid(), d)
	e.family.learn(blk, t.asks, now)
	for _, w := range t.waiters {
		w.up.found(d, t.asks)
	}
	e.deliver(t, blk, now)
}

// refuse drops what a node sent that nobody asked it for, and has the others
// asked for all that it owes.
func (e *engine) refuse(d *downstream, blk blocks.Block) {
	d.n.refused++
	d.distrust = time.Now().Add(distrustFor)
	if held, ok := d.lies.Allow(); ok {
		e.log.Warn("proxy: refused a block that the node was not asked for: its bytes do not fit what was asked; it is asked last for a minute",
			"downstream", d.addr.name, "peer", d.id, "block", blk.Cid(), "bytes", len(blk.RawData()), "held_back", held)
	}
	for _, t := range e.wants {
		if a := t.ask(d); a != nil && (a.state == asked || a.state == queued) {
			e.late(t, a)
		}
	}
}

// late has the next node asked because this one does not answer.
func (e *engine) late(t *want, a *ask) {
	if a.state == queued { // it was not sent yet: it need not be cancelled
		t.asks = slices.DeleteFunc(t.asks, func(x *ask) bool { return x == a })
	} else {
		a.state = overdue
		a.down.n.timeouts++
		for _, w := range t.waiters { // the budget is for what comes
			e.unreserve(w)
		}
	}
	e.next(t)
}

// nodeConnected puts a node into the ring and asks it for what nobody has yet.
func (e *engine) nodeConnected(d *downstream, id peer.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	d.id, d.connected, d.stalled, d.broken, d.heard = id, true, false, false, time.Now()
	d.box.to = id
	e.byPeer[id] = d
	d.n.connect++
	for _, t := range e.wants {
		open := false
		for _, a := range t.asks {
			open = open || a.state == asked || a.state == queued || a.state == have
		}
		if !open && len(t.waiters) > 0 {
			t.parked = false
			e.askNext(t)
		}
	}
	e.flush()
}

// nodeGone takes a node out, and asks the others for what it owed.
func (e *engine) nodeGone(d *downstream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !d.connected {
		return
	}
	d.connected, d.stalled = false, false
	delete(e.byPeer, d.id)
	d.box.drop()
	d.backlog, d.parked = nil, nil
	for _, t := range e.wants {
		a := t.ask(d)
		if a == nil {
			continue
		}
		t.asks = slices.DeleteFunc(t.asks, func(x *ask) bool { return x == a })
		a.inLedger = false
		if a.state != dontHave && !t.parked {
			e.next(t)
		}
	}
	d.ledger, d.open = 0, 0
	e.forgetReverse(d)
	e.flush()
}
