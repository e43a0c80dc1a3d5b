package derive

import (
	"math/bits"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// ways is the number of places in a bucket. The tables are arrays of buckets, and
// a hash belongs to one of them. The tables never grow and have no pointers; a
// full bucket evicts its oldest entry.
const ways = 8

// buckets returns the number of buckets, a power of two, for at least that many places.
func buckets(places int) int {
	n := (places + ways - 1) / ways
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// pending holds the wants that wait for an answer.
type pending struct {
	slots  []waiting
	mask   uint64
	expiry int64 // ns

	used          int
	expired, lost uint64
}

// waiting is a CID that a peer wants from the node, or the node from a peer.
type waiting struct {
	key         uint64 // of peer, direction of the want and CID; 0: free
	have, block int64  // event times of the first want-have and want-block; 0: none
	heard       bool   // HAVE has come: the want-have waits for its block
}

// since is when the first of its wants began to wait.
func (w *waiting) since() int64 {
	if w.have != 0 && (w.block == 0 || w.have < w.block) {
		return w.have
	}
	return w.block
}

func newPending(places int, expiry time.Duration) *pending {
	n := buckets(places)
	return &pending{slots: make([]waiting, n*ways), mask: uint64(n - 1), expiry: int64(expiry)}
}

func (p *pending) bucket(key uint64) []waiting {
	i := (key & p.mask) * ways
	return p.slots[i : i+ways : i+ways]
}

func (p *pending) find(key uint64) *waiting {
	b := p.bucket(key)
	for i := range b {
		if b[i].key == key {
			return &b[i]
		}
	}
	return nil
}

func (p *pending) free(w *waiting) {
	*w = waiting{}
	p.used--
}

// want enters a want unless it is waiting already.
func (p *pending) want(key uint64, t event.WantType, now int64) {
	w := p.find(key)
	if w != nil && now-w.since() > p.expiry {
		p.expired++
		p.free(w)
		w = nil
	}
	if w == nil {
		w = p.place(key, now)
		*w = waiting{key: key}
		p.used++
	}
	at := &w.block
	if t == event.WantHave {
		at = &w.have
	}
	if *at == 0 {
		*at = now
	}
}

// place returns a free place in the key's bucket, after it has freed the oldest
// one if there was none.
func (p *pending) place(key uint64, now int64) *waiting {
	b := p.bucket(key)
	oldest := &b[0]
	for i := range b {
		if b[i].key == 0 {
			return &b[i]
		}
		if b[i].since() < oldest.since() {
			oldest = &b[i]
		}
	}
	if now-oldest.since() > p.expiry {
		p.expired++
	} else {
		p.lost++
	}
	p.free(oldest)
	return oldest
}

// cancel removes a want.
func (p *pending) cancel(key uint64) {
	if w := p.find(key); w != nil {
		p.free(w)
	}
}

// answer returns the want that was answered and how long that took; ok is false
// for an answer that no want waits for.
func (p *pending) answer(key uint64, a event.AnswerType, now int64) (t event.WantType, elapsed time.Duration, ok bool) {
	w := p.find(key)
	if w == nil {
		return 0, 0, false
	}
	if now-w.since() > p.expiry {
		p.expired++
		p.free(w)
		return 0, 0, false
	}
	var at int64
	switch {
	case a == event.AnswerHave && w.heard:
		return 0, 0, false // a second HAVE
	case a == event.AnswerHave && w.have != 0, w.block == 0:
		t, at = event.WantHave, w.have
	default:
		t, at = event.WantBlock, w.block
	}
	heard := w.heard
	if a == event.AnswerHave {
		w.heard = true
	} else {
		p.free(w)
	}
	if a == event.AnswerDontHave && heard && t == event.WantHave {
		return 0, 0, false // HAVE has answered it before
	}
	return t, time.Duration(max(0, now-at)), true
}

// sweep removes the expired wants and returns how many are waiting.
func (p *pending) sweep(now int64) int {
	for i := range p.slots {
		if w := &p.slots[i]; w.key != 0 && now-w.since() > p.expiry {
			p.expired++
			p.free(w)
		}
	}
	return p.used
}
