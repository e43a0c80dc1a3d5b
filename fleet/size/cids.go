package size

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/axiomhq/hyperloglog"
	"github.com/ipfs/go-cid"
)

// SketchError is the standard error of the estimated number of distinct CIDs, as
// a share of it: that of 2^14 registers.
const SketchError = 0.0081

// maxSketchSet is the most monitors of a set whose overlap CIDs estimates: it
// needs a union for each part of the set.
const maxSketchSet = 8

// CIDs estimates how many distinct CIDs each monitor saw, and how many several of
// them saw, in 16 KiB for each monitor. It is for one goroutine.
type CIDs struct {
	sketches []*hyperloglog.Sketch
	key      []byte // of the CID that is being added
}

// NewCIDs returns empty sketches for monitors.
func NewCIDs(monitors int) *CIDs {
	c := &CIDs{}
	for range monitors {
		c.sketches = append(c.sketches, hyperloglog.NewNoSparse())
	}
	return c
}

// Add adds a CID that a monitor saw.
func (c *CIDs) Add(monitor int, id cid.Cid) {
	c.key = append(c.key[:0], id.KeyString()...)
	c.sketches[monitor].Insert(c.key)
}

// Join adds what other sketches of the same monitors have, such as those of
// another collector: the result is that of one that saw all.
func (c *CIDs) Join(other *CIDs) error {
	if len(c.sketches) != len(other.sketches) {
		return fmt.Errorf("fleet: sketches of %d monitors: want %d", len(other.sketches), len(c.sketches))
	}
	for i, s := range other.sketches {
		if err := c.sketches[i].Merge(s); err != nil {
			return fmt.Errorf("fleet: join sketches: %w", err)
		}
	}
	return nil
}

// Estimated is an estimated number with its standard error.
type Estimated struct{ N, Error float64 }

// Any returns how many CIDs at least one monitor of a set saw.
func (c *CIDs) Any(set Set) Estimated {
	if set == 0 {
		return Estimated{}
	}
	union := hyperloglog.NewNoSparse()
	set.each(func(i int) {
		if err := union.Merge(c.sketches[i]); err != nil {
			panic(err) // only for sketches of different precision
		}
	})
	n := float64(union.Estimate())
	return Estimated{n, SketchError * n}
}

// All returns how many CIDs all monitors of a set of at most eight saw. It adds and
// subtracts unions, so that its error is a share of the unions, not of the result:
// an overlap of less than about 3 % of the union may be none. The
// error that it states is that of unions whose errors are independent.
func (c *CIDs) All(set Set) (Estimated, error) {
	if n := bits.OnesCount64(uint64(set)); n > maxSketchSet {
		return Estimated{}, fmt.Errorf("fleet: the CIDs of %d monitors in common: want at most %d", n, maxSketchSet)
	}
	var sum, squares float64
	for part := set; part != 0; part = (part - 1) & set {
		any := c.Any(part)
		if bits.OnesCount64(uint64(part))%2 == 1 {
			sum += any.N
		} else {
			sum -= any.N
		}
		squares += any.Error * any.Error
	}
	return Estimated{max(0, sum), math.Sqrt(squares)}, nil
}
