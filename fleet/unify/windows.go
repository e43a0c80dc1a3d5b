package unify

import "time"

// windows has what the monitors saw recently, by peer, CID and whether it was a
// request: what is a match and a duplicate is found in one step, however much a
// peer asked for.
type windows struct {
	all    slab[window]
	byKey  index
	oldest uint32 // the windows by their newest entry: the first of the list
	newest uint32 // and the last

	evicted uint64
}

// window is of one peer, CID and of requests or cancels.
type window struct {
	key        uint64 // of windowKey
	newest     int64  // ms: of the newest entry at any monitor
	seen       uint64 // the monitors that saw one of its entries, as bits
	prev, next uint32

	// The entries that nothing has matched yet, the oldest first. They are all of
	// one monitor: an entry of another one matches the oldest of them.
	unmatched   int64  // ms: of the oldest
	first, last uint32 // of the others, in laters
	monitor     uint8  // theirs, plus 1; 0: there are none
}

// later is an unmatched entry behind the oldest one.
type later struct {
	at   int64 // ms
	next uint32
}

func windowKey(peer, cid uint32, request bool) uint64 {
	key := uint64(peer)<<32 | uint64(cid)<<1
	if request {
		key |= 1
	}
	return key
}

func requestKey(key uint64) bool { return key&1 == 1 }

func (w *windows) find(key uint64) uint32 {
	return w.byKey.find(tagOf(key), func(id uint32) bool { return w.all.at(id).key == key })
}

// match fills what the windows say of the entries of one event, and adds them to
// the windows. Entries of one event do not count as repeats of each other.
// Synthetic cancels match nothing, and later entries do not repeat them.
func (u *Unifier) match(peer uint32, out []Entry, cids []uint32) {
	if len(out) == 0 {
		return
	}
	s := &u.windows
	ms := milliseconds(out[0].Time)
	monitor := out[0].Monitor
	u.closeWindows(ms - u.hold)

	ids := u.found[:0]
	for i := range out {
		o := &out[i]
		id := s.find(windowKey(peer, cids[i], o.Type.Request()))
		ids = append(ids, id)
		if id == 0 {
			continue
		}
		w := s.all.at(id)
		if after := ms - w.newest; after <= u.duplicate {
			o.Duplicate, o.DuplicateAfter = true, time.Duration(after)*time.Millisecond
		}
		if o.Type.Synthetic() {
			continue
		}
		for w.monitor != 0 && ms-w.unmatched > u.matching {
			u.nextUnmatched(w)
		}
		if at := int(w.monitor) - 1; at >= 0 && at != monitor {
			o.Matched, o.MatchedTo, o.MatchAfter = true, at, time.Duration(ms-w.unmatched)*time.Millisecond
			u.nextUnmatched(w)
		}
	}
	u.found = ids

	for i := range out {
		o := &out[i]
		if o.Type.Synthetic() {
			continue
		}
		w := u.window(ids[i], windowKey(peer, cids[i], o.Type.Request()), peer, cids[i])
		w.newest, w.seen = ms, w.seen|1<<monitor
		if o.Matched {
			continue
		}
		if w.monitor == 0 {
			w.unmatched, w.monitor = ms, uint8(monitor+1)
			continue
		}
		id := u.laters.take()
		u.laters.at(id).at = ms
		if w.last != 0 {
			u.laters.at(w.last).next = id
		} else {
			w.first = id
		}
		w.last = id
	}
}

// window returns the window with a key, as the newest one, and makes it if there
// is none. id is what find returned before, 0 if it found none.
func (u *Unifier) window(id uint32, key uint64, peer, cid uint32) *window {
	s := &u.windows
	if id == 0 || s.all.at(id).key != key {
		id = s.find(key) // another entry of the message may have made it
	}
	if id == 0 {
		if s.all.used() >= u.cfg.MaxWindows {
			s.evicted++
			u.closeWindow(s.oldest)
		}
		id = s.all.take()
		s.all.at(id).key = key
		u.peers.keep(peer)
		u.cids.keep(cid)
		s.byKey.add(tagOf(key), id)
	} else {
		s.unlink(id)
	}
	w := s.all.at(id)
	w.prev, w.next = s.newest, 0
	if s.newest != 0 {
		s.all.at(s.newest).next = id
	} else {
		s.oldest = id
	}
	s.newest = id
	return w
}

func (s *windows) unlink(id uint32) {
	w := s.all.at(id)
	if w.prev != 0 {
		s.all.at(w.prev).next = w.next
	} else {
		s.oldest = w.next
	}
	if w.next != 0 {
		s.all.at(w.next).prev = w.prev
	} else {
		s.newest = w.prev
	}
}

// nextUnmatched removes the oldest unmatched entry.
func (u *Unifier) nextUnmatched(w *window) {
	id := w.first
	if id == 0 {
		w.monitor = 0
		return
	}
	n := *u.laters.at(id)
	u.laters.free(id)
	w.unmatched, w.first = n.at, n.next
	if n.next == 0 {
		w.last = 0
	}
}

// closeWindows closes the windows whose newest entry is older than a time in
// milliseconds.
func (u *Unifier) closeWindows(before int64) {
	s := &u.windows
	for s.oldest != 0 && s.all.at(s.oldest).newest < before {
		u.closeWindow(s.oldest)
	}
}

func (u *Unifier) closeWindow(id uint32) {
	s := &u.windows
	w := s.all.at(id)
	for w.first != 0 {
		u.nextUnmatched(w)
	}
	if requestKey(w.key) {
		u.coverage.add(w.seen)
	}
	s.unlink(id)
	s.byKey.remove(tagOf(w.key), id)
	u.peers.drop(uint32(w.key >> 32))
	u.cids.drop(uint32(w.key) >> 1)
	s.all.free(id)
}

// milliseconds returns a time in whole milliseconds, as the field counts.
func milliseconds(ns int64) int64 { return ns / int64(time.Millisecond) }
