package unify

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"
)

// pageRecords is how many records a page of a slab has.
const pageRecords = 1 << 10

// slab has records by number, 1 for the first, and uses the numbers of freed ones
// again. A record stays where it is. The memory of the most records that there
// were at once stays in use.
type slab[T any] struct {
	pages [][]T
	spare []uint32 // freed numbers
	next  uint32   // the lowest number that was never used, less one
}

func (s *slab[T]) at(id uint32) *T {
	id--
	return &s.pages[id/pageRecords][id%pageRecords]
}

// take returns the number of a record with the zero value.
func (s *slab[T]) take() uint32 {
	if n := len(s.spare); n > 0 {
		id := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return id
	}
	if int(s.next) == len(s.pages)*pageRecords {
		s.pages = append(s.pages, make([]T, pageRecords))
	}
	s.next++
	return s.next
}

func (s *slab[T]) free(id uint32) {
	var zero T
	*s.at(id) = zero
	s.spare = append(s.spare, id)
}

// used returns how many records there are.
func (s *slab[T]) used() int { return int(s.next) - len(s.spare) }

func (s *slab[T]) bytes() int {
	var zero T
	return len(s.pages)*pageRecords*int(unsafe.Sizeof(zero)) + 4*cap(s.spare)
}

// index finds the numbers of records by a hash of 32 bits: a table with linear
// probing, at most three quarters full. Go's maps would need the key in the table
// too, and the keys are in the records.
type index struct {
	slots []uint64 // the hash and the number; 0: empty
	n     int
}

// find returns the number with this hash for which same is true, 0 if there is
// none.
func (x *index) find(tag uint32, same func(id uint32) bool) uint32 {
	if x.n == 0 {
		return 0
	}
	mask := uint32(len(x.slots) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		switch s := x.slots[i]; {
		case s == 0:
			return 0
		case uint32(s>>32) == tag && same(uint32(s)):
			return uint32(s)
		}
	}
}

// add adds a number that the table does not have.
func (x *index) add(tag, id uint32) {
	if 4*(x.n+1) > 3*len(x.slots) {
		old := x.slots
		x.slots = make([]uint64, max(16, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				x.put(s)
			}
		}
	}
	x.put(uint64(tag)<<32 | uint64(id))
	x.n++
}

func (x *index) put(s uint64) {
	mask := uint32(len(x.slots) - 1)
	i := uint32(s>>32) & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// remove removes a number that the table has. The entries behind it move up, so
// that no marks of removed ones fill the table.
func (x *index) remove(tag, id uint32) {
	mask := uint32(len(x.slots) - 1)
	gap := tag & mask
	for x.slots[gap] != uint64(tag)<<32|uint64(id) {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		home := uint32(x.slots[i]>>32) & mask
		if (i-home)&mask >= (i-gap)&mask { // home is not behind the gap
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.n--
}

func (x *index) bytes() int { return 8 * len(x.slots) }

// mix is a random number for this run: which numbers share a place in a table
// cannot be known.
var mix = rand.Uint64() | 1

// tagOf returns the hash of a key made of numbers.
func tagOf(key uint64) uint32 {
	hi, lo := bits.Mul64(key^mix, 0x9e3779b97f4a7c15)
	return uint32((hi ^ lo) >> 16)
}
