package derive

import (
	"math/bits"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// ways is how many places a hash may go to. The tables are arrays of buckets
// of so many places: they never grow, hold no pointers, and what is oldest in
// a full bucket gives way.
const ways = 8

// buckets returns the number of buckets for at least so many places: a power of two.
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

// waiting is a CID that one side wants from the other.
type waiting struct {
	key         uint64 // of peer, direction of the want and CID; 0: free
	have, block int64  // event time of the first want of the type; 0: none
	heard       bool   // HAVE was said: the want-have waits for its block
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

// want begins to wait, or waits on.
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

// place makes room: a free place, an expired one, or the oldest.
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

// cancel waits no longer.
func (p *pending) cancel(key uint64) {
	if w := p.find(key); w != nil {
		p.free(w)
	}
}

// answer finds the want that was answered, and how long that took. It is false
// for an answer that nothing waits for.
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
		return 0, 0, false // said before
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
		return 0, 0, false // it was answered before, by HAVE
	}
	return t, time.Duration(max(0, now-at)), true
}

// sweep frees what expired and returns how many wants wait.
func (p *pending) sweep(now int64) int {
	for i := range p.slots {
		if w := &p.slots[i]; w.key != 0 && now-w.since() > p.expiry {
			p.expired++
			p.free(w)
		}
	}
	return p.used
}
