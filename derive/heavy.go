package derive

// counter counts one key. The true count is between count-err and count.
type counter[K any] struct {
	key        K
	hash       uint64
	count, err uint64
	other      uint64 // a second count of the key, since it has this counter
}

// certain returns the lower bound of the key's count.
func (c *counter[K]) certain() uint64 { return c.count - c.err }

// heavy finds the most frequent keys with a fixed number of counters, by
// Space-Saving (Metwally, Agrawal, El Abbadi, 2005): a key without a counter
// replaces the key with the lowest count and continues from that count. With m
// counters and n the sum of all that was added, no count is too high by more than
// n/m, and every key with more than n/m has a counter. As long as no key was
// replaced, all counts are exact. Keys are distinguished by a 64-bit hash.
type heavy[K any] struct {
	slots []counter[K]
	heap  []ranked // the one with the lowest count first
	pos   []int32  // by slot: its place in heap
	index map[uint64]int32
	total uint64
}

// ranked is a slot in the heap. It has a copy of the count, so that keeping the
// order touches the heap alone, which stays in the processor's cache, and not the
// counters, which do not.
type ranked struct {
	count uint64
	slot  int32
}

func newHeavy[K any](counters int) *heavy[K] {
	return &heavy[K]{
		slots: make([]counter[K], 0, counters),
		heap:  make([]ranked, 0, counters),
		pos:   make([]int32, counters),
		index: make(map[uint64]int32, counters),
	}
}

// add counts a key once and returns its counter, valid until the next call.
func (h *heavy[K]) add(hash uint64, key K) *counter[K] { return h.addN(hash, key, 1) }

// addN adds n to the count of a key and returns its counter, valid until the next
// call.
func (h *heavy[K]) addN(hash uint64, key K, n uint64) *counter[K] {
	h.total += n
	if i, ok := h.index[hash]; ok {
		c := &h.slots[i]
		c.count += n
		h.down(int(h.pos[i]), ranked{c.count, i})
		return c
	}
	if len(h.slots) < cap(h.slots) {
		i := int32(len(h.slots))
		h.slots = append(h.slots, counter[K]{key: key, hash: hash, count: n})
		h.heap = append(h.heap, ranked{})
		h.index[hash] = i
		h.up(len(h.heap)-1, ranked{n, i})
		return &h.slots[i]
	}
	i := h.heap[0].slot
	c := &h.slots[i]
	delete(h.index, c.hash)
	h.index[hash] = i
	*c = counter[K]{key: key, hash: hash, count: c.count + n, err: c.count}
	h.down(0, ranked{c.count, i})
	return c
}

// get returns the key's counter, nil if it has none.
func (h *heavy[K]) get(hash uint64) *counter[K] {
	if i, ok := h.index[hash]; ok {
		return &h.slots[i]
	}
	return nil
}

// least returns the upper bound of the count of a key without a counter.
func (h *heavy[K]) least() uint64 {
	if len(h.slots) < cap(h.slots) {
		return 0
	}
	return h.heap[0].count
}

// reset forgets all keys and keeps the memory.
func (h *heavy[K]) reset() {
	clear(h.slots)
	clear(h.index)
	h.slots, h.heap, h.total = h.slots[:0], h.heap[:0], 0
}

// put sets a place of the heap.
func (h *heavy[K]) put(at int, r ranked) {
	h.heap[at] = r
	h.pos[r.slot] = int32(at)
}

// up puts r at a free place of the heap or, in its stead, above it.
func (h *heavy[K]) up(at int, r ranked) {
	for at > 0 {
		parent := (at - 1) / 2
		if h.heap[parent].count <= r.count {
			break
		}
		h.put(at, h.heap[parent])
		at = parent
	}
	h.put(at, r)
}

// down puts r at a free place of the heap or, in its stead, below it.
func (h *heavy[K]) down(at int, r ranked) {
	for {
		child := 2*at + 1
		if child >= len(h.heap) {
			break
		}
		if child+1 < len(h.heap) && h.heap[child+1].count < h.heap[child].count {
			child++
		}
		if r.count <= h.heap[child].count {
			break
		}
		h.put(at, h.heap[child])
		at = child
	}
	h.put(at, r)
}
