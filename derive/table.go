package derive

import "math/bits"

const (
	// ways is the number of places in a bucket. With 16, the first of 2^14 buckets
	// is full when a third of all places is in use.
	ways = 16
	// fewBuckets is how many buckets a table begins with.
	fewBuckets = 64
)

// table holds values by 64-bit hashes, in buckets of a fixed size: a hash belongs
// to one of them. It grows when a bucket is full, until it has its most buckets;
// then an entry has to go. It has no pointers, so that the garbage collector does
// not look at it. The keys of a bucket fill a cache line, so that a search that
// finds nothing costs one.
type table[V any] struct {
	buckets []bucket[V] // a power of two
	most    int
}

type bucket[V any] struct {
	keys   [ways]uint64 // 0: free
	values [ways]V
}

// newTable returns a table with room for at least that many places.
func newTable[V any](places int) table[V] {
	most := 1
	if n := (places + ways - 1) / ways; n > 1 {
		most = 1 << bits.Len(uint(n-1))
	}
	return table[V]{make([]bucket[V], min(most, fewBuckets)), most}
}

func (t *table[V]) bucket(key uint64) *bucket[V] { return &t.buckets[key&uint64(len(t.buckets)-1)] }

// find returns the value of a key, nil if it is not there. It is valid until the
// table grows.
func (t *table[V]) find(key uint64) *V {
	b := t.bucket(key)
	if i := b.index(key); i >= 0 {
		return &b.values[i]
	}
	return nil
}

// index returns the place of a key, 0 being that of a free one, or -1.
func (b *bucket[V]) index(key uint64) int {
	for i := range b.keys {
		if b.keys[i] == key {
			return i
		}
	}
	return -1
}

// drop frees the place of a key, and reports whether it had one.
func (t *table[V]) drop(key uint64) bool {
	b := t.bucket(key)
	i := b.index(key)
	if i >= 0 {
		b.keys[i] = 0
	}
	return i >= 0
}

// grow doubles the table, and reports whether it may. Each bucket becomes two.
func (t *table[V]) grow() bool {
	n := len(t.buckets)
	if n >= t.most {
		return false
	}
	old := t.buckets
	t.buckets = make([]bucket[V], 2*n)
	for i := range old {
		for j, key := range old[i].keys {
			if key != 0 {
				b := t.bucket(key)
				b.keys[j], b.values[j] = key, old[i].values[j]
			}
		}
	}
	return true
}
