package spool

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sort"
)

// span is the numbers from first to last, inclusive.
type span struct{ first, last uint64 }

// ranges is a set of frame numbers as sorted spans that do not touch.
type ranges []span

// at returns the index of the first span that ends at n or later.
func (r ranges) at(n uint64) int {
	return sort.Search(len(r), func(i int) bool { return r[i].last >= n })
}

func (r ranges) has(n uint64) bool {
	i := r.at(n)
	return i < len(r) && r[i].first <= n
}

// add adds first to last to the set.
func (r *ranges) add(first, last uint64) {
	if first > last {
		return
	}
	s := *r
	i := s.at(max(first, 1) - 1) // an adjacent span counts
	j := i
	for j < len(s) && s[j].first <= last+1 {
		first, last = min(first, s[j].first), max(last, s[j].last)
		j++
	}
	*r = slices.Replace(s, i, j, span{first, last})
}

// The cursor file, all numbers little-endian: 8 bytes of magic with the
// version, the next number, the number of spans, the spans (first, last), and
// a CRC32C of all that.
const (
	cursorMagic = "SPLCUR\x00\x01"
	maxSpans    = 4096
)

func encodeCursor(next uint64, done ranges) []byte {
	done = done[:min(len(done), maxSpans)] // the rest is delivered twice after a crash
	b := append([]byte(nil), cursorMagic...)
	b = binary.LittleEndian.AppendUint64(b, next)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(done)))
	for _, s := range done {
		b = binary.LittleEndian.AppendUint64(b, s.first)
		b = binary.LittleEndian.AppendUint64(b, s.last)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeCursor parses a cursor; ok is false if anything in it is invalid.
func decodeCursor(b []byte) (next uint64, done ranges, ok bool) {
	if len(b) < 28 || string(b[:8]) != cursorMagic {
		return 0, nil, false
	}
	at := len(b) - 4
	if binary.LittleEndian.Uint32(b[at:]) != crc32.Checksum(b[:at], castagnoli) {
		return 0, nil, false
	}
	next = binary.LittleEndian.Uint64(b[8:])
	n := binary.LittleEndian.Uint64(b[16:])
	if next > maxSeq || n > maxSpans || uint64(at-24) != n*16 {
		return 0, nil, false
	}
	for i := 24; i < at; i += 16 {
		first, last := binary.LittleEndian.Uint64(b[i:]), binary.LittleEndian.Uint64(b[i+8:])
		if first > last || last >= next {
			return 0, nil, false
		}
		done.add(first, last)
	}
	return next, done, true
}
