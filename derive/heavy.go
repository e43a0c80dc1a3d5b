package derive

// counter counts one key. The true count is between count-err and count.
type counter[K any] struct {
	key        K
	hash       uint64
	count, err uint64
	other      uint64 // a second count of the key, since it has this counter
	pos        int    // in heap
}

// certain returns the lower bound of the key's count.
func (c *counter[K]) certain() uint64 { return c.count - c.err }

// heavy finds the most frequent keys with a fixed number of counters, by
// Space-Saving (Metwally, Agrawal, El Abbadi, 2005): a key without a counter
// replaces the key with the lowest count and continues from that count. With m
// counters and n the sum of all that was added, no count is too high by more than
// n/m, and every key with more than n/m has a counter. As long as no key was
// replaced, all counts are exact. Keys are told apart by a 64-bit hash.
type heavy[K any] struct {
	slots []counter[K]
	heap  []int32 // indexes of slots, the one with the lowest count first
	index map[uint64]int32
	total uint64
}

func newHeavy[K any](counters int) *heavy[K] {
	return &heavy[K]{
		slots: make([]counter[K], 0, counters),
		heap:  make([]int32, 0, counters),
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
		h.down(c.pos)
		return c
	}
	if len(h.slots) < cap(h.slots) {
		i := int32(len(h.slots))
		h.slots = append(h.slots, counter[K]{key: key, hash: hash, count: n, pos: len(h.heap)})
		h.heap = append(h.heap, i)
		h.index[hash] = i
		h.up(len(h.heap) - 1)
		return &h.slots[i]
	}
	i := h.heap[0]
	c := &h.slots[i]
	delete(h.index, c.hash)
	h.index[hash] = i
	*c = counter[K]{key: key, hash: hash, count: c.count + n, err: c.count}
	h.down(0)
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
	return h.slots[h.heap[0]].count
}

// reset forgets all keys and keeps the memory.
func (h *heavy[K]) reset() {
	clear(h.slots)
	clear(h.index)
	h.slots, h.heap, h.total = h.slots[:0], h.heap[:0], 0
}

func (h *heavy[K]) less(a, b int) bool {
	return h.slots[h.heap[a]].count < h.slots[h.heap[b]].count
}

func (h *heavy[K]) swap(a, b int) {
	h.heap[a], h.heap[b] = h.heap[b], h.heap[a]
	h.slots[h.heap[a]].pos, h.slots[h.heap[b]].pos = a, b
}

func (h *heavy[K]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heavy[K]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.heap) {
			return
		}
		if child+1 < len(h.heap) && h.less(child+1, child) {
			child++
		}
		if !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
