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
	stalled   bool // does not answer
	broken    bool // does not read what is sent to it
	heard     time.Time
	distrust  time.Time // it is asked last until then

	ledger  int    // wants in its ledger for us
	backlog []*ask // waiting for a place in the ledger, oldest first
	pruned  int    // length of backlog after the last prune
	parked  []*ask // in the ledger, but answered no: replaced first, oldest first
	open    int    // asks without an answer
	past    lateCIDs
	box     outbox

	n    downCounts
	last downCounts    // as of the last sample
	rtt  latency       // from a want to its block
	gone chan struct{} // closed when the connection ends; nil if nobody waits
	lies throttle.Line
}

// downCounts are the totals of a node since the start.
type downCounts struct {
	received, sent                   event.Traffic
	verified, bytes                  uint64
	refused, late, timeouts, connect uint64
}

type askState uint8

const (
	queued   askState = iota // in the backlog
	asked                    // sent, no answer yet
	overdue                  // no answer in time, another node was asked; the answer may still come
	have                     // it has the block
	dontHave                 // it answered no
)

// ask is a want as it was sent to one node.
type ask struct {
	want     *want
	down     *downstream
	block    bool // else HAVE
	state    askState
	inLedger bool
	at       time.Time // when it was sent
	gen      uint32    // changes each time it is sent, which invalidates old deadlines
}

func newDownstream(a *downstreamAddr) *downstream {
	d := &downstream{addr: a}
	d.box.down = d
	return d
}

// order returns the connected nodes in the order in which to ask them.
func (e *engine) order(t *want) []*downstream {
	out := make([]*downstream, 0, len(e.downs))
	switch e.cfg.Balance {
	case roundRobin:
		e.turn++
		for i := range e.downs {
			out = append(out, e.downs[(e.turn+i)%len(e.downs)])
		}
	case leastBusy:
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

// rendezvous returns the weight of a node for a hash: FNV-1a of both, the same in
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

// homeOf returns a peer's own node, or the next of the ring if it has none or that is
// disconnected; nil if none is connected.
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

// askNext asks the first node that was not asked yet. If all were asked and answered no, the
// peers get that answer.
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

// ask returns the ask sent to a node, nil if there is none.
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

// upgrade asks a node for the block after it was asked for HAVE.
func (e *engine) upgrade(a *ask) {
	if a.block && (a.state == asked || a.state == queued) {
		return
	}
	a.block = true
	if a.state != queued {
		e.send(a)
	}
}

// makeRoom reports whether a node's ledger has a place, if necessary by removing a want that it
// answered no.
func (e *engine) makeRoom(d *downstream) bool {
	if len(d.box.items) > maxUnsent { // does not read what is sent to it
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

// leave removes an ask from the node's ledger; with cancel it also cancels the ask, because the
// node still has it.
func (e *engine) leave(a *ask, cancel bool) {
	if !a.inLedger {
		return
	}
	d := a.down
	a.inLedger = false
	d.ledger--
	d.past.add(a.want.cid)
	if cancel {
		d.n.sent.Cancel++
		e.post(&d.box, item{cid: a.want.cid, what: itemCancel})
	}
	e.advance(d)
}

// advance sends asks that wait for a place in a node's ledger.
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

// answered records that an ask is no longer pending.
func (e *engine) answered(a *ask, s askState) {
	if a.state == asked || a.state == overdue {
		a.down.open--
	}
	a.state = s
}

// forget drops all asks of a want, and cancels those in a ledger.
func (e *engine) forget(t *want) {
	asks := t.asks
	t.asks = nil
	for _, a := range asks {
		e.answered(a, dontHave)
		e.leave(a, true)
	}
}

// fromNode processes a message of a node.
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

// advanceParked replaces wants that were answered no by waiting ones.
func (e *engine) advanceParked(d *downstream) {
	if len(d.backlog) > 0 {
		e.makeRoom(d)
		e.advance(d)
	}
	if len(d.parked) > 2*window { // most have left the ledger already
		d.parked = slices.DeleteFunc(d.parked, func(a *ask) bool { return !a.inLedger || a.state != dontHave })
	}
}

// next continues with a want after a node has answered no.
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
		return // an answer to an earlier ask
	}
	e.answered(a, have)
	e.leave(a, false) // kubo forgets a WANT_HAVE that it has answered so
	e.family.has(t.cid, a.down)
	if t.parked { // it was sent after all
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

// gotBlock forwards a block if this node was asked for it. A block's CID is computed from its
// bytes when it is read, so that wrong bytes for a CID arrive as a block that nobody requested.
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

// refuse drops an unrequested block of a node, and asks the other nodes for everything that it
// owes.
func (e *engine) refuse(d *downstream, blk blocks.Block) {
	d.n.refused++
	d.distrust = time.Now().Add(distrustFor)
	if held, ok := d.lies.Allow(); ok {
		e.log.Warn("proxy: refused a block that was not requested from the node: its bytes match no requested CID; the node is asked last for a minute",
			"downstream", d.addr.name, "peer", d.id, "block", blk.Cid(), "bytes", len(blk.RawData()), "held_back", held)
	}
	for _, t := range e.wants {
		if a := t.ask(d); a != nil && (a.state == asked || a.state == queued) {
			e.late(t, a)
		}
	}
}

// late asks the next node because this one does not answer.
func (e *engine) late(t *want, a *ask) {
	if a.state == queued { // not sent yet, so no cancel is needed
		t.asks = slices.DeleteFunc(t.asks, func(x *ask) bool { return x == a })
	} else {
		a.state = overdue
		a.down.n.timeouts++
		for _, w := range t.waiters { // the budget is for blocks to come
			e.unreserve(w)
		}
	}
	e.next(t)
}

// nodeConnected adds a node to the ring and asks it for all CIDs that no node had.
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

// nodeGone removes a node, and asks the others for everything that it owed.
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
