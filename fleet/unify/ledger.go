package unify

import (
	"slices"
	"time"
)

// ledgers simulates what each monitor's Bitswap knows of each peer: what it
// wants. Each ledger has two lists of wants. One is what the peer wants now, the
// other what it wanted when it last disconnected; at a disconnect they change
// places.
type ledgers struct {
	all   slab[ledger]
	byKey index // by monitor and peer
	wants slab[want]
	byCID index   // of wants, by list and CID
	idle  chain   // ledgers without a connection, the one that was idle longest first
	of    []chain // by monitor: all of its ledgers

	mark uint32 // of the message that is being handled

	refusedLedgers, refusedWants, forgotten uint64
}

// ledger is that of a peer at a monitor.
type ledger struct {
	peer      uint32 // in names
	monitor   uint8
	side      uint8 // which of lists is what the peer wants now
	conns     int32 // open connections
	links     [2]link
	connected int64 // when the first of them was opened, ns
	lists     [2]wantList
}

type wantList struct{ first, last, n uint32 }

// want is an entry of a list.
type want struct {
	list       uint32 // twice the ledger's number, plus the side
	cid        uint32 // in names
	prev, next uint32
	time       int64  // of the newest request, ns
	mark       uint32 // of the message that last had it, while that is handled
	have       bool   // for a HAVE, not for the block
	old        uint8  // what it was before the message with mark: 0 none, 1 block, 2 have
}

// chain is a list of ledgers through one of their links.
type chain struct{ first, last uint32 }

type link struct{ prev, next uint32 }

// The links of a ledger.
const (
	linkIdle = iota
	linkMonitor
)

func ledgerKey(peer uint32, monitor int) uint64 { return uint64(peer)<<8 | uint64(monitor) }

// find returns the number of the ledger of a peer at a monitor, 0 if there is none.
func (l *ledgers) find(peer uint32, monitor int) uint32 {
	return l.byKey.find(tagOf(ledgerKey(peer, monitor)), func(id uint32) bool {
		g := l.all.at(id)
		return g.peer == peer && int(g.monitor) == monitor
	})
}

// ledger returns the number of the ledger of a peer at a monitor, and makes it if
// there is none: with a connection since at, if connected. 0: there are too many.
func (u *Unifier) ledger(peer uint32, monitor int, at int64, connected bool) uint32 {
	l := &u.ledgers
	id := l.find(peer, monitor)
	if id == 0 {
		if l.all.used() >= u.cfg.MaxLedgers && !u.forgetIdle() {
			l.refusedLedgers++
			return 0
		}
		id = l.all.take()
		*l.all.at(id) = ledger{peer: peer, monitor: uint8(monitor)}
		u.peers.keep(peer)
		l.byKey.add(tagOf(ledgerKey(peer, monitor)), id)
		l.link(&l.idle, linkIdle, id)
		l.link(&l.of[monitor], linkMonitor, id)
	}
	if g := l.all.at(id); g.conns == 0 && connected {
		l.unlink(&l.idle, linkIdle, id)
		g.conns, g.connected = 1, at
	}
	return id
}

// connect counts a connection.
func (u *Unifier) connect(peer uint32, monitor int, at int64) {
	id := u.ledger(peer, monitor, at, false)
	if id == 0 {
		return
	}
	g := u.ledgers.all.at(id)
	if g.conns == 0 {
		u.ledgers.unlink(&u.ledgers.idle, linkIdle, id)
		g.connected = at
	}
	g.conns++
}

// disconnect counts a closed connection. After the last one it moves what the
// peer wanted to the other list, and appends the CIDs, in the order of their
// bytes and each with a reference, to ids.
func (u *Unifier) disconnect(peer uint32, monitor int, ids []uint32) []uint32 {
	l := &u.ledgers
	id := l.find(peer, monitor)
	if id == 0 {
		return ids
	}
	g := l.all.at(id)
	if g.conns == 0 {
		return ids
	}
	if g.conns--; g.conns > 0 {
		return ids
	}
	if now := &g.lists[g.side]; now.n > 0 {
		for w := now.first; w != 0; w = l.wants.at(w).next {
			ids = append(ids, l.wants.at(w).cid)
			u.cids.keep(l.wants.at(w).cid)
		}
		u.sortCIDs(ids)
		u.clearList(id, 1-g.side)
		g.side = 1 - g.side
	}
	if g.lists[0].n+g.lists[1].n == 0 {
		u.removeLedger(id, false)
	} else {
		l.link(&l.idle, linkIdle, id)
	}
	return ids
}

// forgetIdle removes the ledger of the peer that has been disconnected for the
// longest time. It returns false if all are connected.
func (u *Unifier) forgetIdle() bool {
	id := u.ledgers.idle.first
	if id == 0 {
		return false
	}
	u.ledgers.forgotten++
	u.removeLedger(id, true)
	return true
}

// forget removes the ledgers of a monitor.
func (u *Unifier) forget(monitor int) {
	l := &u.ledgers
	for id := l.of[monitor].first; id != 0; id = l.of[monitor].first {
		u.removeLedger(id, l.all.at(id).conns == 0)
	}
}

// removeLedger removes a ledger, which is in the chain of idle ones or not.
func (u *Unifier) removeLedger(id uint32, idle bool) {
	l := &u.ledgers
	if idle {
		l.unlink(&l.idle, linkIdle, id)
	}
	u.clearList(id, 0)
	u.clearList(id, 1)
	g := l.all.at(id)
	l.unlink(&l.of[g.monitor], linkMonitor, id)
	l.byKey.remove(tagOf(ledgerKey(g.peer, int(g.monitor))), id)
	u.peers.drop(g.peer)
	l.all.free(id)
}

func listOf(ledger uint32, side uint8) uint32 { return ledger<<1 | uint32(side) }

func wantTag(list, cid uint32) uint32 { return tagOf(uint64(list)<<32 | uint64(cid)) }

// findWant returns the number of the want of a CID in a list, 0 if there is none.
func (l *ledgers) findWant(list, cid uint32) uint32 {
	if p := &l.all.at(list >> 1).lists[list&1]; p.n == 0 {
		return 0
	}
	return l.byCID.find(wantTag(list, cid), func(id uint32) bool {
		w := l.wants.at(id)
		return w.list == list && w.cid == cid
	})
}

// addWant adds a want at the end of a list. It returns 0 if there are too many.
func (u *Unifier) addWant(list, cid uint32) uint32 {
	l := &u.ledgers
	p := &l.all.at(list >> 1).lists[list&1]
	if int(p.n) >= u.cfg.MaxPeerWants || l.wants.used() >= u.cfg.MaxWants && !u.forgetIdle() {
		l.refusedWants++
		return 0
	}
	id := l.wants.take()
	*l.wants.at(id) = want{list: list, cid: cid, prev: p.last}
	if p.last != 0 {
		l.wants.at(p.last).next = id
	} else {
		p.first = id
	}
	p.last = id
	p.n++
	u.cids.keep(cid)
	l.byCID.add(wantTag(list, cid), id)
	return id
}

func (u *Unifier) removeWant(id uint32) {
	l := &u.ledgers
	w := l.wants.at(id)
	p := &l.all.at(w.list >> 1).lists[w.list&1]
	if w.prev != 0 {
		l.wants.at(w.prev).next = w.next
	} else {
		p.first = w.next
	}
	if w.next != 0 {
		l.wants.at(w.next).prev = w.prev
	} else {
		p.last = w.prev
	}
	p.n--
	l.byCID.remove(wantTag(w.list, w.cid), id)
	u.cids.drop(w.cid)
	l.wants.free(id)
}

func (u *Unifier) clearList(ledger uint32, side uint8) {
	l := &u.ledgers
	for l.all.at(ledger).lists[side].n > 0 {
		u.removeWant(l.all.at(ledger).lists[side].first)
	}
}

// link adds a ledger at the end of a chain; which is the link that it uses.
func (l *ledgers) link(c *chain, which int, id uint32) {
	l.all.at(id).links[which] = link{prev: c.last}
	if c.last != 0 {
		l.all.at(c.last).links[which].next = id
	} else {
		c.first = id
	}
	c.last = id
}

// unlink removes a ledger from a chain.
func (l *ledgers) unlink(c *chain, which int, id uint32) {
	n := l.all.at(id).links[which]
	if n.prev != 0 {
		l.all.at(n.prev).links[which].next = n.next
	} else {
		c.first = n.next
	}
	if n.next != 0 {
		l.all.at(n.next).links[which].prev = n.prev
	} else {
		c.last = n.prev
	}
	l.all.at(id).links[which] = link{}
}

// simulate updates the ledger of a message's peer, and fills what the ledger says
// of the entries. out has an entry for each of the message's wants, cids their
// numbers. It returns the CIDs that a full wantlist omits, in the order of their
// bytes and each with a reference, appended to gone.
func (u *Unifier) simulate(id uint32, e *Event, out []Entry, cids, gone []uint32) []uint32 {
	l := &u.ledgers
	g := l.all.at(id)
	now := listOf(id, g.side)
	l.nextMark()

	// What the ledger had before the message. A request that the same message
	// cancels repeats nothing.
	canceled := u.canceled(out, cids)
	found := u.found[:0]
	for i := range out {
		o := &out[i]
		w := l.findWant(now, cids[i])
		found = append(found, w)
		if w == 0 || o.Type.Request() && canceled[cids[i]] {
			continue
		}
		old := l.wants.at(w)
		switch since := wholeSeconds(e.Time - old.time); {
		case !o.Type.Request():
			o.Since = since
		case old.have == o.Type.have():
			o.Since = since
			if at := slices.IndexFunc(u.cfg.Sliding, func(window uint32) bool { return window > since }); at >= 0 {
				o.Window = u.cfg.Sliding[at]
				o.Repeats |= RepeatsSliding
			}
		default:
			o.Upgrades = old.have
		}
	}

	u.found = found

	// The ledger after it.
	if !e.Full {
		for i := range out {
			if !out[i].Type.Request() {
				if w := l.findWant(now, cids[i]); w != 0 {
					u.removeWant(w)
				}
			}
		}
	}
	for i := range out {
		if !out[i].Type.Request() {
			continue
		}
		w := found[i]
		if w == 0 || len(canceled) > 0 {
			w = l.findWant(now, cids[i]) // another entry of the message may have added or removed it
		}
		if w == 0 {
			if w = u.addWant(now, cids[i]); w == 0 {
				continue
			}
			l.wants.at(w).mark = l.mark
		}
		n := l.wants.at(w)
		if n.mark != l.mark {
			n.mark, n.old = l.mark, 1
			if n.have {
				n.old = 2
			}
		}
		n.time, n.have = e.Time, out[i].Type.have()
	}
	if e.Full {
		gone = u.applyFull(now, out, cids, gone)
	}
	u.markReconnect(id, e.Time, out, cids)
	return gone
}

// nextMark chooses the mark of another message.
func (l *ledgers) nextMark() {
	if l.mark++; l.mark > 0 {
		return
	}
	// All marks were used once: no want may have an old one.
	l.mark = 1
	for _, page := range l.wants.pages {
		for i := range page {
			page[i].mark = 0
		}
	}
}

// canceled returns the CIDs that a message cancels, if it also has requests.
func (u *Unifier) canceled(out []Entry, cids []uint32) map[uint32]bool {
	if len(u.canceledCIDs) > 0 {
		clear(u.canceledCIDs)
	}
	requests := false
	for i := range out {
		requests = requests || out[i].Type.Request()
	}
	for i := range out {
		if requests && !out[i].Type.Request() {
			u.canceledCIDs[cids[i]] = true
		}
	}
	return u.canceledCIDs
}

// applyFull removes from a list what a full wantlist does not have, and marks
// what it repeats. What it has with another type is omitted, and there again.
func (u *Unifier) applyFull(now uint32, out []Entry, cids, gone []uint32) []uint32 {
	l := &u.ledgers
	was := func(w *want) bool { return w.old == 1 && !w.have || w.old == 2 && w.have }
	for i := range out {
		if !out[i].Type.Request() {
			continue
		}
		if id := l.findWant(now, cids[i]); id != 0 {
			if w := l.wants.at(id); was(w) && w.have == out[i].Type.have() {
				out[i].Repeats |= RepeatsFull
			}
		}
	}
	for id := l.all.at(now >> 1).lists[now&1].first; id != 0; {
		w := l.wants.at(id)
		next := w.next
		switch {
		case w.mark != l.mark:
			gone = append(gone, w.cid)
			u.cids.keep(w.cid)
			u.removeWant(id)
		case w.old != 0 && !was(w):
			gone = append(gone, w.cid)
			u.cids.keep(w.cid)
		}
		id = next
	}
	u.sortCIDs(gone)
	return gone
}

// markReconnect marks what the peer wanted when it disconnected and wants again
// soon after it reconnected, each once.
func (u *Unifier) markReconnect(id uint32, at int64, out []Entry, cids []uint32) {
	l := &u.ledgers
	g := l.all.at(id)
	if g.lists[1-g.side].n == 0 {
		return
	}
	if at-g.connected >= int64(u.cfg.Reconnect) {
		u.clearList(id, 1-g.side)
		return
	}
	now, before := listOf(id, g.side), listOf(id, 1-g.side)
	for i := range out {
		if !out[i].Type.Request() {
			continue
		}
		have := out[i].Type.have()
		if w := l.findWant(before, cids[i]); w != 0 && l.wants.at(w).have == have {
			if n := l.findWant(now, cids[i]); n != 0 && l.wants.at(n).have == have {
				out[i].Repeats |= RepeatsReconnect
				l.wants.at(w).mark = l.mark
			}
		}
	}
	for i := range out {
		if w := l.findWant(before, cids[i]); w != 0 && l.wants.at(w).mark == l.mark {
			u.removeWant(w)
		}
	}
}

// sortCIDs sorts numbers of CIDs by the CIDs' bytes.
func (u *Unifier) sortCIDs(ids []uint32) {
	if len(ids) < 2 {
		return
	}
	slices.SortFunc(ids, func(a, b uint32) int { return u.cids.compare(a, b) })
}

// wholeSeconds returns a time in whole seconds, at least 1.
func wholeSeconds(ns int64) uint32 {
	return uint32(max(1, ns/int64(time.Second)))
}

func (l *ledgers) size() int {
	return l.all.bytes() + l.byKey.bytes() + l.wants.bytes() + l.byCID.bytes()
}
