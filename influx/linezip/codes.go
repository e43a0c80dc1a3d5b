package linezip

import (
	"math/bits"
	"slices"

	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// The alphabets of RFC 1951, 3.2.5: one of bytes, the end of a block and lengths; one of
// distances.
const (
	blockEnd    = 256
	firstLength = 257
	symbols     = 286
	distances   = 30
)

// The codes of lengths, RFC 1951 3.2.5: lengthCode is indexed by length-3, lengthBase holds the
// smallest length-3 by code-firstLength.
var (
	lengthCode [256]uint8
	lengthBase [29]uint16
)

func init() {
	base := 0
	for c := range lengthBase {
		n := 1 << lengthExtra(uint8(c))
		if c == len(lengthBase)-1 { // 258 has its own code
			base = 255
		}
		lengthBase[c] = uint16(base)
		for i := range n {
			lengthCode[min(base+i, 255)] = uint8(c)
		}
		base += n
	}
}

// lengthExtra returns how many bits follow a length code.
func lengthExtra(c uint8) uint8 {
	if c < 4 || c == 28 {
		return 0
	}
	return (c - 4) / 4
}

// distCode returns the code of a distance, given as distance-1.
func distCode(d uint16) int {
	if d < 2 {
		return int(d)
	}
	n := bits.Len16(d)
	return 2*(n-1) + int(d>>(n-2)&1)
}

// distBase returns the smallest distance-1 of a code, and how many bits follow.
func distBase(c int) (base uint16, extra uint) {
	if c < 2 {
		return uint16(c), 0
	}
	extra = uint(c/2 - 1)
	return uint16(2+c&1) << extra, extra
}

// code is the encoding of a symbol; the first bit is the lowest.
type code struct {
	bits uint16
	len  uint8
}

// coder builds codes from the frequency of each symbol. A symbol that does not occur has no
// code.
type coder struct {
	count [symbols]uint32
	codes [symbols]code
	n     int // of the alphabet's symbols

	nodes [2 * symbols]node
	leafs []uint64 // weight and symbol, to be sorted
}

type node struct {
	weight uint32
	parent int16
	symbol int16
}

// reset starts with so many symbols, each with the same frequency.
func (c *coder) reset(n int, count uint32) {
	c.n = n
	for i := range c.count {
		c.count[i] = count
	}
}

// build makes a nearly optimal prefix code of at most limit bits: it evens out the weights
// until the code is short enough. At least two symbols have a code, since some decoders refuse
// fewer.
func (c *coder) build(limit uint8) {
	for s := 0; c.used() < 2; s++ {
		c.count[s] = max(c.count[s], 1)
	}
	for c.lengths() > limit {
		for s := range c.count[:c.n] {
			c.count[s] = (c.count[s] + 1) / 2
		}
	}
	// Codes of the same length are consecutive in the order of the symbols (RFC 1951 3.2.2).
	var next [16]uint16
	for s := range c.n {
		next[c.codes[s].len]++
	}
	first := uint16(0)
	next[0] = 0
	for l := 1; l < len(next); l++ {
		n := next[l]
		next[l] = first
		first = (first + n) << 1
	}
	for s := range c.n {
		if e := &c.codes[s]; e.len > 0 {
			e.bits = bits.Reverse16(next[e.len]) >> (16 - e.len)
			next[e.len]++
		}
	}
}

func (c *coder) used() (n int) {
	for _, k := range c.count[:c.n] {
		n += sets.Bit(k > 0)
	}
	return n
}

// lengths computes the code lengths of the optimal (Huffman) code and returns the longest.
func (c *coder) lengths() (longest uint8) {
	c.leafs = c.leafs[:0]
	for s := range c.n {
		c.codes[s] = code{}
		if c.count[s] > 0 {
			c.leafs = append(c.leafs, uint64(c.count[s])<<16|uint64(s))
		}
	}
	slices.Sort(c.leafs)
	k := len(c.leafs)
	for i, l := range c.leafs {
		c.nodes[i] = node{weight: uint32(l >> 16), symbol: int16(l & 0xffff)}
	}
	// Leaves and inner nodes are both sorted by weight, so that the lightest two are at the
	// heads.
	leaf, inner := 0, k
	for at := k; at < 2*k-1; at++ {
		n := &c.nodes[at]
		n.weight = 0
		for range 2 {
			pick := inner
			if leaf < k && (inner >= at || c.nodes[leaf].weight <= c.nodes[inner].weight) {
				pick = leaf
				leaf++
			} else {
				inner++
			}
			n.weight += c.nodes[pick].weight
			c.nodes[pick].parent = int16(at)
		}
	}
	var depth [2 * symbols]uint8
	for i := 2*k - 3; i >= 0; i-- {
		depth[i] = depth[c.nodes[i].parent] + 1
		if i < k {
			c.codes[c.nodes[i].symbol].len = depth[i]
			longest = max(longest, depth[i])
		}
	}
	return longest
}

// lengthOrder is the order in which the lengths of the code length codes are written (RFC 1951
// 3.2.7).
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// codes writes the lengths of both codes. Of the format's ways to shorten them it uses only
// runs of zeros.
func (w *Writer) codes() {
	o := &w.out
	var all [symbols + distances]uint8
	for s := range all {
		if s < symbols {
			all[s] = w.lit.codes[s].len
		} else {
			all[s] = w.dist.codes[s-symbols].len
		}
	}
	w.order.reset(19, 0)
	runs(all[:], func(symbol, _ int) { w.order.count[symbol]++ })
	w.order.build(7)
	o.add((symbols-firstLength)|(distances-1)<<5|(19-4)<<10, 14)
	for _, s := range lengthOrder {
		o.add(uint64(w.order.codes[s].len), 3)
	}
	runs(all[:], func(symbol, zeros int) {
		e := w.order.codes[symbol]
		o.add(uint64(e.bits), uint(e.len))
		switch symbol {
		case 17:
			o.add(uint64(zeros-3), 3)
		case 18:
			o.add(uint64(zeros-11), 7)
		}
	})
}

// runs returns the symbols that encode lengths: 17 and 18 are runs of zeros.
func runs(lengths []uint8, f func(symbol, zeros int)) {
	for i := 0; i < len(lengths); {
		n := 0
		for i+n < len(lengths) && n < 138 && lengths[i+n] == 0 {
			n++
		}
		switch {
		case n > 10:
			f(18, n)
		case n > 2:
			f(17, n)
		default:
			n = 1
			f(int(lengths[i]), 0)
		}
		i += n
	}
}
