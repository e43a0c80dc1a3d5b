package unify

import (
	"bytes"
	"hash/maphash"
)

// nameBytes is the longest name in a record of names. CIDs with a hash of 32
// bytes have 34 or 36, peer IDs 34 to 42.
const nameBytes = 43

// names numbers byte strings, peer IDs and CIDs, so that each is in memory once
// however many ledgers and windows refer to it. A number is valid while there
// are references. There are no pointers in the records, so that the garbage
// collector has nothing to follow.
type names struct {
	seed  maphash.Seed
	all   slab[name]
	index index
	long  map[uint32]string // names of more than nameBytes
}

type name struct {
	refs uint32
	n    uint8 // length; longName: in long
	text [nameBytes]byte
}

const longName = 255

func newNames() *names { return &names{seed: maphash.MakeSeed(), long: map[uint32]string{}} }

// add returns the number of s, with one more reference.
func (t *names) add(s string) uint32 {
	tag := uint32(maphash.String(t.seed, s))
	id := t.index.find(tag, func(id uint32) bool { return t.is(id, s) })
	if id == 0 {
		id = t.all.take()
		n := t.all.at(id)
		if len(s) <= nameBytes {
			n.n = uint8(copy(n.text[:], s))
		} else {
			n.n = longName
			t.long[id] = s
		}
		t.index.add(tag, id)
	}
	t.all.at(id).refs++
	return id
}

// is reports whether id is the number of s.
func (t *names) is(id uint32, s string) bool {
	n := t.all.at(id)
	if n.n == longName {
		return t.long[id] == s
	}
	return string(n.text[:n.n]) == s
}

// text returns the name with a number.
func (t *names) text(id uint32) string {
	n := t.all.at(id)
	if n.n == longName {
		return t.long[id]
	}
	return string(n.text[:n.n])
}

// keep adds a reference.
func (t *names) keep(id uint32) { t.all.at(id).refs++ }

// drop removes a reference. The number is free after the last one.
func (t *names) drop(id uint32) {
	n := t.all.at(id)
	if n.refs--; n.refs > 0 {
		return
	}
	var tag uint32
	if n.n == longName {
		tag = uint32(maphash.String(t.seed, t.long[id]))
		delete(t.long, id)
	} else {
		tag = uint32(maphash.Bytes(t.seed, n.text[:n.n]))
	}
	t.index.remove(tag, id)
	t.all.free(id)
}

// size returns about what the names take in memory.
func (t *names) size() int {
	n := t.all.bytes() + t.index.bytes()
	for _, s := range t.long {
		n += len(s) + 48
	}
	return n
}

// compare orders two names by their bytes.
func (t *names) compare(a, b uint32) int {
	return bytes.Compare(t.raw(a), t.raw(b))
}

// raw returns the bytes of a name, which the caller must not change.
func (t *names) raw(id uint32) []byte {
	n := t.all.at(id)
	if n.n == longName {
		return []byte(t.long[id])
	}
	return n.text[:n.n]
}
