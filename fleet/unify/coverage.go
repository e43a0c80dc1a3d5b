package unify

import "math/bits"

// Coverage counts requests by which monitors saw them. A request is here what a
// peer asked for, whichever monitors it asked and however often, until it asked
// none of them for the duplicate window.
type Coverage struct {
	Requests uint64     // seen by any monitor
	Seen     []uint64   // by each monitor
	Both     [][]uint64 // by both of two monitors; Both[i][i] is Seen[i]
}

// NewCoverage returns one of that many monitors, with nothing counted.
func NewCoverage(monitors int) Coverage {
	c := Coverage{Seen: make([]uint64, monitors), Both: make([][]uint64, monitors)}
	for i := range c.Both {
		c.Both[i] = make([]uint64, monitors)
	}
	return c
}

// add counts a request that the monitors saw that are bits of seen.
func (c *Coverage) add(seen uint64) {
	c.Requests++
	for a := seen; a != 0; a &= a - 1 {
		i := bits.TrailingZeros64(a)
		c.Seen[i]++
		for b := seen; b != 0; b &= b - 1 {
			c.Both[i][bits.TrailingZeros64(b)]++
		}
	}
}

func (c *Coverage) clone() Coverage {
	out := NewCoverage(len(c.Seen))
	out.Requests = c.Requests
	copy(out.Seen, c.Seen)
	for i := range c.Both {
		copy(out.Both[i], c.Both[i])
	}
	return out
}

// Add adds what o counts of the same monitors.
func (c *Coverage) Add(o Coverage) { c.each(o, func(a, b uint64) uint64 { return a + b }) }

// Sub removes what o, an earlier state of c, counts.
func (c *Coverage) Sub(o Coverage) { c.each(o, func(a, b uint64) uint64 { return a - b }) }

func (c *Coverage) each(o Coverage, f func(a, b uint64) uint64) {
	c.Requests = f(c.Requests, o.Requests)
	for i := range o.Seen {
		c.Seen[i] = f(c.Seen[i], o.Seen[i])
		for k := range o.Both[i] {
			c.Both[i][k] = f(c.Both[i][k], o.Both[i][k])
		}
	}
}
