package derive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// pending holds the wants that wait for an answer.
type pending struct {
	table[waiting]       // by peer, direction of the want and CID
	expiry         int64 // ns

	used          int
	expired, lost uint64
}

// waiting is a CID that a peer wants from the node, or the node from a peer.
type waiting struct {
	have, block int64 // event times of the first want-have and want-block; 0: none
	heard       bool  // HAVE has come: the want-have waits for its block
}

// since is when the first of its wants began to wait.
func (w *waiting) since() int64 {
	if w.have != 0 && (w.block == 0 || w.have < w.block) {
		return w.have
	}
	return w.block
}

func newPending(places int, expiry time.Duration) *pending {
	return &pending{table: newTable[waiting](places), expiry: int64(expiry)}
}

// want enters a want unless it is waiting already.
func (p *pending) want(key uint64, t event.WantType, now int64) {
	w := p.find(key)
	if w != nil && now-w.since() > p.expiry {
		p.expired++
		*w = waiting{}
	}
	if w == nil {
		w = p.place(key, now)
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

// place enters a key that is not there. If its bucket is full, the oldest want
// goes, unless it is young and the table may grow.
func (p *pending) place(key uint64, now int64) *waiting {
	b := p.bucket(key)
	i := b.index(0)
	if i < 0 {
		i = 0
		for j := range b.values {
			if b.values[j].since() < b.values[i].since() {
				i = j
			}
		}
		switch {
		case now-b.values[i].since() > p.expiry:
			p.expired++
		case p.grow():
			return p.place(key, now)
		default:
			p.lost++
		}
		p.used--
	}
	b.keys[i], b.values[i] = key, waiting{}
	return &b.values[i]
}

// cancel removes a want.
func (p *pending) cancel(key uint64) {
	if p.drop(key) {
		p.used--
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
		p.cancel(key)
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
		p.cancel(key)
	}
	if a == event.AnswerDontHave && heard && t == event.WantHave {
		return 0, 0, false // HAVE has answered it before
	}
	return t, time.Duration(max(0, now-at)), true
}

// sweep removes the expired wants and returns how many are waiting.
func (p *pending) sweep(now int64) int {
	for i := range p.buckets {
		b := &p.buckets[i]
		for j := range b.keys {
			if b.keys[j] != 0 && now-b.values[j].since() > p.expiry {
				p.expired++
				p.used--
				b.keys[j] = 0
			}
		}
	}
	return p.used
}
