package derive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// After how long Bitswap sends a want again: after at least 30 s, and it checks
// every 15 s. Both bounds have a second of tolerance for the network and the
// clock.
const (
	rebroadcastFrom = 29 * time.Second
	rebroadcastTo   = 46 * time.Second
)

// sweepEvery is how often old times are removed. Together with the longest time
// that is kept it must be less than 24 days (see age).
const sweepEvery = 10 * 24 * time.Hour

// repeats remembers the wants of the last window.
type repeats struct {
	table[wanted]       // by peer, direction and CID
	window        int32 // ms
	keep          int32 // ms
	lost          uint64
	swept         int64 // unix nanoseconds of the last sweep
}

// wanted is a CID that was wanted lately. Times are milliseconds in 32 bits, which
// wrap around after 49 days: only their differences are compared.
type wanted struct {
	last        uint32 // when it was last wanted or cancelled
	have, block uint32 // times of the last want-have and want-block not cancelled since; 0: none
	counted     uint32 // number of the last interval in which its peer was counted
}

func newRepeats(places int, window time.Duration) *repeats {
	return &repeats{
		table:  newTable[wanted](places),
		window: int32(window.Milliseconds()), keep: int32(max(window, rebroadcastTo).Milliseconds()),
	}
}

// want enters a want and reports whether it is a duplicate, a re-broadcast, and
// the first of this peer for this CID in the interval.
func (r *repeats) want(key uint64, t event.WantType, now int64, interval uint32) (duplicate, rebroadcast, first bool) {
	if since := now - r.swept; since < 0 || since >= int64(sweepEvery) {
		r.sweep(now, time.Duration(since))
	}
	ms := uint32(now/int64(time.Millisecond)) | 1 // not 0
	w := r.find(key)
	if w == nil {
		w = r.place(key, ms, interval)
	}
	at := &w.block
	if t == event.WantHave {
		at = &w.have
	}
	if *at != 0 {
		old := age(ms, *at)
		duplicate = old <= r.window
		rebroadcast = old >= int32(rebroadcastFrom.Milliseconds()) && old <= int32(rebroadcastTo.Milliseconds())
	}
	first = w.counted != interval
	*at, w.last, w.counted = ms, ms, interval
	return duplicate, rebroadcast, first
}

// place enters a key that is not there. If its bucket is full, the entry that was
// wanted or cancelled first goes, unless it is still needed and the table may grow.
func (r *repeats) place(key uint64, ms, interval uint32) *wanted {
	b := r.bucket(key)
	i := b.index(0)
	if i < 0 {
		i = 0
		for j := range b.values {
			if int32(b.values[j].last-b.values[i].last) < 0 {
				i = j
			}
		}
		if w := &b.values[i]; age(ms, w.last) <= r.keep || w.counted == interval {
			if r.grow() {
				return r.place(key, ms, interval)
			}
			r.lost++
		}
	}
	b.keys[i], b.values[i] = key, wanted{}
	return &b.values[i]
}

// sweep removes the times that are older than what is kept, before age can take
// them for later ones.
func (r *repeats) sweep(now int64, since time.Duration) {
	r.swept = now
	if since >= 2*sweepEvery { // nothing was wanted for so long that all is old
		clear(r.buckets)
		return
	}
	ms := uint32(now/int64(time.Millisecond)) | 1
	for i := range r.buckets {
		b := &r.buckets[i]
		for j := range b.values {
			w := &b.values[j]
			if age(ms, w.last) > r.keep {
				b.keys[j], *w = 0, wanted{}
				continue
			}
			if age(ms, w.have) > r.keep {
				w.have = 0
			}
			if age(ms, w.block) > r.keep {
				w.block = 0
			}
		}
	}
}

// cancel makes the next want for the CID count as new.
func (r *repeats) cancel(key uint64, now int64) {
	if w := r.find(key); w != nil {
		w.have, w.block = 0, 0
		w.last = uint32(now/int64(time.Millisecond)) | 1
	}
}

// age returns how many ms ago then was; 0 if it is in the future, or more than
// 24 days ago.
func age(now, then uint32) int32 {
	return max(0, int32(now-then))
}
