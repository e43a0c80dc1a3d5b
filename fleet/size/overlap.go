package size

import (
	"math/bits"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Set is a set of monitors: bit i is the monitor with index i.
type Set uint64

// SetOf returns the set of some monitors.
func SetOf(monitors ...int) (s Set) {
	for _, i := range monitors {
		s |= 1 << i
	}
	return s
}

// Overlap counts peers by which monitors have them: of each set how many peers
// exactly these monitors have. It is exact.
type Overlap map[Set]int

// OverlapOf returns the overlap of samples. A peer that one sample has twice
// counts once.
func OverlapOf(samples []Sample) Overlap {
	seen := map[peer.ID]Set{}
	for i := range samples {
		for j := range samples[i].Peers {
			seen[samples[i].Peers[j].ID] |= 1 << i
		}
	}
	out := Overlap{}
	for _, s := range seen {
		out[s]++
	}
	return out
}

// All returns how many peers all monitors of a set have.
func (o Overlap) All(set Set) (n int) {
	for s, peers := range o {
		if s&set == set {
			n += peers
		}
	}
	return n
}

// Any returns how many peers at least one monitor of a set has.
func (o Overlap) Any(set Set) (n int) {
	for s, peers := range o {
		if s&set != 0 {
			n += peers
		}
	}
	return n
}

// Only returns how many peers the monitors of a set have and no others.
func (o Overlap) Only(set Set) int { return o[set] }

// each calls f with the monitors of a set.
func (s Set) each(f func(i int)) {
	for ; s != 0; s &= s - 1 {
		f(bits.TrailingZeros64(uint64(s)))
	}
}
