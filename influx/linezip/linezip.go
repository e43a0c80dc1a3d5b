// Package linezip compresses line protocol to gzip, faster than a general compressor.
//
// In: a batch of lines. Out: one gzip member (RFC 1952, RFC 1951), which any gzip decoder
// accepts. Promised: decompression returns the input, for any bytes; it allocates only when the
// output exceeds the capacity of dst.
//
// # Why it exists
//
// With a general compressor, gzip is more than half of the cost of a point. The whole path,
// from events to a server's socket, had 3.9 to 5.0 times the rate of influxdb-client-go with
// klauspost/compress at level 1, and has 8 times with this package: decision 7 (docs/adr) has
// the reason, docs/performance.md the figures. Replace it with the library if that rate is no
// longer needed: other packages call only Writer.Append.
//
// # How it works
//
// The lines of a batch differ only in a CID, a peer, a few numbers and the time. A general
// compressor looks up a match at each byte; linezip looks one up only within a few bytes after
// a match, and then at intervals, since a long stretch without a match is an identifier.
//
//  1. Append (linezip.go) cuts the input into blocks of blockSize bytes. Each
//     has Huffman codes of its own; matches reach back across blocks, to window.
//  2. Writer.search turns a block into sequences: so many literal bytes, then a
//     match of a length at a distance, of eight bytes at least. A table by the
//     hash of the next eight bytes knows where they were last; there is no chain
//     to follow. After finely misses only each coarse-th byte is looked up,
//     unless the batch is small.
//  3. Writer.block counts the symbols of the sequences, of each sample-th one
//     where there are many. Then a symbol that was not counted gets a code all
//     the same (it weighs 1, a counted one seen), so that any sequence can be
//     written. coder.build (codes.go) makes a Huffman code of the counts, of at
//     most 14 bits for literals and lengths and 15 for distances.
//  4. The block is written as RFC 1951 has dynamic blocks: the lengths of the
//     codes (Writer.codes, section 3.2.7), the sequences, the end of the block.
//     CRC32 and length of the input end the member.
//
// # The tables
//
// lengthCode and lengthBase, and the functions distCode and distBase, are the
// tables of RFC 1951, section 3.2.5, computed and not copied; the
// order in which lengths of codes are sent, lengthOrder, is the one of section
// 3.2.7, and the only table that is copied. The codes
// themselves are made for each block and are nowhere constants.
//
// # How to change it
//
// The constants below trade speed for size; each was moved until the output grew
// beyond the bound in its comment. After a change run
//
//	go test ./influx/linezip                      the sizes stay within their bounds
//	go test -fuzz FuzzAppend ./influx/linezip     the standard library reads what is written
//	go test -bench . ./influx/linezip             time and size beside the library's
//	make bench-influx                             the gates of the whole path
//
// What must not break: an output that the standard library's gzip does not read
// back as the input is a lost batch, which the server rejects.
package linezip

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"github.com/ipfsmon/ipfsmon/internal/sets"
)

const (
	window    = 32 << 10  // how far back a match may be
	maxMatch  = 258       // bytes of a match
	blockSize = 512 << 10 // bytes that share codes
	tableBits = 12

	// These are as far as they could be moved without output that is more than
	// 3 % longer than the library's for full batches (BenchmarkAppend), 5 % for any (TestLines).
	finely = 4        // misses before only every
	coarse = 10       // th byte is looked up
	small  = 64 << 10 // size of a batch below which every byte is looked up
	sample = 8        // of so many sequences one is counted for the codes,
	many   = 4096     // if there are so many
	seen   = 16       // weight of a counted symbol relative to one that was not counted
)

// header is of a member without name and time, from an unspecified system.
const header = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"

// Writer compresses batches, one after the other. Its zero value is ready. It must not be used
// concurrently.
type Writer struct {
	table [1 << tableBits]int32 // the last position of each hash, plus 1
	seqs  []seq
	lit   coder // literals and lengths
	dist  coder
	order coder // of the lengths of the codes of both
	out   bitWriter
}

// seq is literals, and then a match unless length is 0.
type seq struct {
	literals     int32
	length, dist uint16 // the distance minus 1
}

// Append appends src, compressed, to dst. Src is at most 1 GiB.
func (w *Writer) Append(dst, src []byte) []byte {
	w.table = [1 << tableBits]int32{}
	w.out = bitWriter{b: append(dst, header...)}
	step := coarse
	if len(src) <= small {
		step = 1
	}
	for at := 0; at < len(src); at += blockSize {
		end := min(at+blockSize, len(src))
		w.search(src[:end], at, step)
		w.block(src, at, end == len(src))
	}
	if len(src) == 0 {
		w.out.add(3, 10) // the last block, of fixed codes: its end
	}
	dst = w.out.end()
	w.out.b = nil
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(src))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
}

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// search appends the sequences of src from a position on.
func (w *Writer) search(src []byte, at, step int) {
	w.seqs = w.seqs[:0]
	from, misses := at, 0 // from: where the literals begin
	for at+8 <= len(src) {
		v := load64(src, at)
		slot := &w.table[v*0x9E3779B185EBCA87>>(64-tableBits)]
		c := int(*slot) - 1
		*slot = int32(at + 1)
		if c < 0 || at-c > window || load64(src, c) != v {
			if misses++; misses > finely {
				at += step
			} else {
				at++
			}
			continue
		}
		dist, end := at-c, at+8
		for at > from && at > dist && src[at-1] == src[at-1-dist] {
			at--
		}
		for {
			if end+8 > len(src) {
				for end < len(src) && src[end] == src[end-dist] {
					end++
				}
				break
			}
			if x := load64(src, end) ^ load64(src, end-dist); x != 0 {
				end += bits.TrailingZeros64(x) / 8
				break
			}
			end += 8
		}
		literals := at - from
		for n := end - at; n > 0; literals = 0 {
			l := min(n, maxMatch)
			if n > maxMatch && n < maxMatch+3 { // the rest must be a valid match too
				l = maxMatch - 3
			}
			w.seqs = append(w.seqs, seq{int32(literals), uint16(l), uint16(dist - 1)})
			n -= l
		}
		at, from, misses = end, end, 0
	}
	w.seqs = append(w.seqs, seq{literals: int32(len(src) - from)})
}

// block writes the sequences with their own codes.
func (w *Writer) block(src []byte, at int, last bool) {
	each, least := 1, uint32(0)
	if len(w.seqs) > many {
		each, least = sample, 1 // symbols that were not counted may occur too
	}
	w.lit.reset(symbols, least)
	w.dist.reset(distances, least)
	p := at
	count := &w.lit.count
	for i, s := range w.seqs {
		if i%each == 0 {
			for _, c := range src[p : p+int(s.literals)] {
				count[c] += seen
			}
			if s.length > 0 {
				count[firstLength+int(lengthCode[s.length-3])] += seen
				w.dist.count[distCode(s.dist)] += seen
			}
		}
		p += int(s.literals) + int(s.length)
	}
	count[blockEnd]++
	w.lit.build(14)
	w.dist.build(15)

	o := &w.out
	o.add(uint64(sets.Bit(last))|2<<1, 3)
	w.codes()
	p = at
	for _, s := range w.seqs {
		o.literals(&w.lit.codes, src[p:p+int(s.literals)])
		p += int(s.literals) + int(s.length)
		if s.length == 0 {
			continue
		}
		l, d := lengthCode[s.length-3], distCode(s.dist)
		e, f := w.lit.codes[firstLength+int(l)], w.dist.codes[d]
		base, extra := distBase(d)
		v, n := uint64(e.bits)|uint64(s.length-3-lengthBase[l])<<e.len, uint(e.len)+uint(lengthExtra(l)) // at most 19 bits
		o.add(v|(uint64(f.bits)|uint64(s.dist-base)<<f.len)<<n, n+uint(f.len)+extra)
	}
	e := w.lit.codes[blockEnd]
	o.add(uint64(e.bits), uint(e.len))
}

// bitWriter collects bits, the lowest first.
type bitWriter struct {
	b   []byte
	acc uint64
	n   uint // bits in acc, less than 64
}

// grow makes room for n more bytes.
func (o *bitWriter) grow(n int) {
	if cap(o.b)-len(o.b) < n {
		o.b = append(make([]byte, 0, 2*cap(o.b)+n), o.b...)
	}
}

// add adds the lowest n bits of v, at most 56; the others are zero.
func (o *bitWriter) add(v uint64, n uint) {
	o.grow(8)
	o.flush()
	o.acc |= v << o.n
	o.n += n
}

// literals adds the codes of bytes, which have at most 14 bits: four of them
// and the 7 bits that may wait fit into a word.
func (o *bitWriter) literals(codes *[symbols]code, src []byte) {
	o.grow(2*len(src) + 16)
	acc, n, k := o.acc, o.n, len(o.b)
	b := o.b[:cap(o.b)]
	for len(src) >= 4 {
		binary.LittleEndian.PutUint64(b[k:], acc)
		k, acc, n = k+int(n>>3), acc>>(n&^7&63), n&7
		c0, c1, c2, c3 := codes[src[0]], codes[src[1]], codes[src[2]], codes[src[3]]
		n0 := n + uint(c0.len)
		n1 := n0 + uint(c1.len)
		n2 := n1 + uint(c2.len)
		acc |= uint64(c0.bits)<<(n&63) | uint64(c1.bits)<<(n0&63) | uint64(c2.bits)<<(n1&63) | uint64(c3.bits)<<(n2&63)
		n = n2 + uint(c3.len)
		src = src[4:]
	}
	o.acc, o.n, o.b = acc, n, b[:k]
	for _, c := range src {
		o.flush()
		o.acc |= uint64(codes[c].bits) << (o.n & 63)
		o.n += uint(codes[c].len)
	}
}

// flush leaves less than 8 bits in acc. There is room for 8 bytes.
func (o *bitWriter) flush() {
	k := len(o.b)
	binary.LittleEndian.PutUint64(o.b[k:k+8], o.acc)
	o.b = o.b[:k+int(o.n>>3)]
	o.acc, o.n = o.acc>>(o.n&^7&63), o.n&7
}

// end returns all bytes, the last one filled up with zeros.
func (o *bitWriter) end() []byte {
	for ; o.n > 0; o.n -= min(o.n, 8) {
		o.b = append(o.b, byte(o.acc))
		o.acc >>= 8
	}
	return o.b
}
