package derive

import "slices"

// counter counts one key. The true count is between count-err and count.
type counter[K any] struct {
	key        K
	hash       uint64
	count, err uint64
	other      uint64 // a second count of the key, since it has this counter
}

// certain returns the lower bound of the key's count.
func (c *counter[K]) certain() uint64 { return c.count - c.err }

// heavy finds the most frequent keys in bounded memory, with a guarantee as that
// of Space-Saving (Metwally, Agrawal, El Abbadi, 2005): with n the sum of all
// that was added, no count is too high by more than n/most, and every key with
// more than n/most has a counter. Where Space-Saving replaces the lowest counter
// with each new key, this keeps up to twice as many and then drops the lower half at
// once, so that no heap has to be kept in order. No dropped key had more than floor, the highest
// count that was dropped, so a key without a counter starts there.
//
// Why floor is at most n/most: when it rises from a to b, each of the most
// counters that stay has a count of at least b, and was made at a floor of at
// most a. So all rises while a counter stays are together no more than what was
// added to it, and all rises times most are no more than n.
//
// As long as nothing was dropped, all counts are exact. Keys are distinguished by
// a 64-bit hash.
type heavy[K any] struct {
	most  int
	slots []counter[K]
	index []place // of slots, by hash: open addressing, at most half full; its length is a power of two
	floor uint64
	sort  []uint64 // used by halve alone
}

// place is where a counter is. It has a part of the hash, so that a search does
// not fetch the counters of other keys.
type place struct {
	tag  uint32
	slot int32 // plus one; 0: free
}

func newHeavy[K any](most int) *heavy[K] {
	return &heavy[K]{most: most, index: make([]place, 16)}
}

// add counts a key once and returns its counter, valid until the next call.
func (h *heavy[K]) add(hash uint64, key K) *counter[K] { return h.addN(hash, key, 1) }

// addN adds n to the count of a key and returns its counter, valid until the next
// call.
func (h *heavy[K]) addN(hash uint64, key K, n uint64) *counter[K] {
	if c := h.get(hash); c != nil {
		c.count += n
		return c
	}
	if len(h.slots) >= 2*h.most {
		h.halve()
	}
	h.slots = append(h.slots, counter[K]{key: key, hash: hash, count: h.floor + n, err: h.floor})
	if 2*len(h.slots) > len(h.index) {
		h.index = make([]place, 2*len(h.index))
		h.reindex()
	} else {
		h.enter(len(h.slots) - 1)
	}
	return &h.slots[len(h.slots)-1]
}

// get returns the key's counter, nil if it has none.
func (h *heavy[K]) get(hash uint64) *counter[K] {
	mask := uint64(len(h.index) - 1)
	for i := hash & mask; h.index[i].slot != 0; i = (i + 1) & mask {
		if p := h.index[i]; p.tag == uint32(hash>>32) && h.slots[p.slot-1].hash == hash {
			return &h.slots[p.slot-1]
		}
	}
	return nil
}

// least returns the upper bound of the count of a key without a counter.
func (h *heavy[K]) least() uint64 { return h.floor }

// reset forgets all keys and keeps the memory.
func (h *heavy[K]) reset() {
	clear(h.slots)
	clear(h.index)
	h.slots, h.floor = h.slots[:0], 0
}

// halve keeps most counters, those with the highest counts.
func (h *heavy[K]) halve() {
	h.sort = h.sort[:0]
	for i := range h.slots {
		h.sort = append(h.sort, h.slots[i].count)
	}
	slices.Sort(h.sort)
	low, high := h.sort[:len(h.sort)-h.most], h.sort[len(h.sort)-h.most:]
	h.floor = low[len(low)-1]
	level := 0 // how many stay that have no more than floor
	for level < len(high) && high[level] == h.floor {
		level++
	}
	kept := h.slots[:0]
	for _, c := range h.slots {
		if c.count == h.floor && level > 0 {
			level--
		} else if c.count <= h.floor {
			continue
		}
		kept = append(kept, c)
	}
	clear(h.slots[len(kept):])
	h.slots = kept
	clear(h.index)
	h.reindex()
}

func (h *heavy[K]) reindex() {
	for slot := range h.slots {
		h.enter(slot)
	}
}

// enter puts a slot into the index, which has room.
func (h *heavy[K]) enter(slot int) {
	hash, mask := h.slots[slot].hash, uint64(len(h.index)-1)
	i := hash & mask
	for h.index[i].slot != 0 {
		i = (i + 1) & mask
	}
	h.index[i] = place{uint32(hash >> 32), int32(slot + 1)}
}
