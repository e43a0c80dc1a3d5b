package main

import (
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// queued is an entry of a peer's queue.
type queued struct {
	ms      int64
	monitor int
	request bool
	matched bool
	cid     cid.Cid
}

// scanner is the design of the field's matcher: one queue for each peer with the
// entries of all monitors, which is shortened for each message and scanned twice
// for each entry. Without ledgers, which the field's program has too.
type scanner struct {
	peers   map[string][]queued
	matched int
	repeats int
}

func newQueues() *scanner { return &scanner{peers: map[string][]queued{}} }

func (q *scanner) handle(e *unify.Event) {
	ms := e.Time / int64(time.Millisecond)
	queue := q.peers[string(e.Peer)]
	kept := queue[:0]
	for _, p := range queue {
		if ms-p.ms <= unify.DefaultDuplicate.Milliseconds() {
			kept = append(kept, p)
		}
	}
	queue = kept
	past := len(queue)
	for i := range e.Wants {
		w := &e.Wants[i]
		n := queued{ms: ms, monitor: e.Monitor, request: w.Type.Request(), cid: w.CID}
		for j := range queue[:past] {
			p := &queue[j]
			if !p.matched && p.monitor != n.monitor && p.request == n.request && p.cid == n.cid && ms-p.ms <= unify.DefaultMatch.Milliseconds() {
				p.matched, n.matched = true, true
				q.matched++
				break
			}
		}
		for j := past - 1; j >= 0; j-- {
			if p := &queue[j]; p.request == n.request && p.cid == n.cid {
				q.repeats++
				break
			}
		}
		queue = append(queue, n)
	}
	q.peers[string(e.Peer)] = queue
}
