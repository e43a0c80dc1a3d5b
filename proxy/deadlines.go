package proxy

import (
	"slices"
	"time"
)

// deadline is when an ask without an answer is checked.
type deadline struct {
	ask *ask
	gen uint32
	at  time.Time
}

// minPrune is the length from which lists are pruned.
const minPrune = 4096

// live reports whether an ask waits in the backlog for a want that still exists.
func (a *ask) live() bool {
	return a.state == queued && a.want.ask(a.down) == a && (len(a.want.waiters) > 0 || a.want.ahead != nil)
}

// prune removes asks that nobody waits for any more from the backlog, whenever they may be most
// of it, so that short-lived wants do not fill it.
func (d *downstream) prune() {
	if len(d.backlog) > max(minPrune, 2*d.pruned) {
		d.backlog = slices.DeleteFunc(d.backlog, func(a *ask) bool { return !a.live() })
		d.pruned = len(d.backlog)
	}
}

// remind adds a deadline, and removes obsolete ones whenever they may be most of them.
func (e *engine) remind(x deadline) {
	e.due = append(e.due, x)
	if len(e.due) > max(minPrune, 2*e.kept) {
		e.due = slices.DeleteFunc(e.due, func(x deadline) bool { return !e.counts(x) })
		e.kept = len(e.due)
	}
}

// counts reports whether the ask of a deadline is still without an answer.
func (e *engine) counts(x deadline) bool {
	a := x.ask
	return a.gen == x.gen && (a.state == asked || a.state == overdue) && e.wants[a.want.cid] == a.want && a.want.ask(a.down) == a
}

// tick checks due asks and silent nodes; it returns the nodes to disconnect.
func (e *engine) tick(now time.Time) (silent []*downstream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	due := e.due
	e.due = nil // later additions come after them
	n := 0
	for ; n < len(due) && !due[n].at.After(now); n++ {
		x := due[n]
		a := x.ask
		if !e.counts(x) {
			continue
		}
		if a.state == overdue {
			if now.Sub(a.at) >= 2*patience*e.cfg.Fallback && !a.down.stalled {
				e.send(a) // the node may have lost it, and would never answer
			} else {
				e.due = append(e.due, deadline{a, a.gen, now.Add(e.cfg.Fallback)})
			}
			continue
		}
		quiet := now.Sub(a.down.heard) >= e.cfg.Fallback
		if !quiet && now.Sub(a.at) < patience*e.cfg.Fallback {
			e.due = append(e.due, deadline{a, a.gen, now.Add(e.cfg.Fallback)})
			continue
		}
		if quiet && !a.down.stalled {
			a.down.stalled = true
			e.log.Warn("proxy: a node does not answer; it is asked last until it does", "downstream", a.down.addr.name, "silent_for", now.Sub(a.down.heard))
			backlog := a.down.backlog
			a.down.backlog = nil
			for _, b := range backlog {
				if b.live() {
					e.late(b.want, b)
				}
			}
		}
		e.late(a.want, a)
		if e.counts(x) {
			e.due = append(e.due, deadline{a, a.gen, now.Add(e.cfg.Fallback)})
		}
	}
	if n == 0 {
		e.due = due
	} else {
		e.due = append(append(due[:0], due[n:]...), e.due...)
	}
	for _, d := range e.downs {
		e.advance(d) // asks that waited until the node had read earlier messages
		if d.connected && (d.broken || d.stalled && d.open > 0 && now.Sub(d.heard) > hangUpAfter) {
			silent = append(silent, d)
		}
	}
	e.flush()
	return silent
}

// maxRetry is how many CIDs retry asks for at once.
const maxRetry = 8192

// retry asks again for CIDs that no node had. A node that kept the want sends the block when it
// gets it, but keeps at most window wants.
func (e *engine) retry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, t := range e.wants { // in random order, so that each has its turn
		if !t.parked || len(t.waiters) == 0 {
			continue
		}
		if n++; n > maxRetry {
			break
		}
		t.parked = false
		e.forget(t) // cancelled where a node still keeps it, so that nodes keep no more than we count
		e.askNext(t)
	}
	e.flush()
}
