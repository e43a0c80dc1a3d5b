package size

import "math"

// Coverage says how much of the requests of a network monitors saw, by
// capture and recapture of requests: a request is a peer and a CID, and each
// monitor catches it or not. It assumes that which requests one monitor sees does
// not depend on which the others see. A peer asks the monitors that it is connected
// to, so that it holds for the peers that could be connected to any of them. Requests
// that peers send to no monitor ever, such as those to a session's known
// providers, are not in it.
type Coverage struct {
	Requests uint64 // seen by any monitor
	All      Draws  // the estimated number of all requests, seen or not
	Fleet    Share  // the share that any monitor saw
	Monitors []Share
	// Pairs[i][j] is the share of the requests that monitor j saw that monitor i
	// saw too: the coverage of i, if j's are a sample of all. Of i and i it is 1.
	Pairs [][]Share
}

// Share is a share of a whole, with its interval of confidence of 95 %.
type Share struct {
	Share float64
	Interval
}

// CoverageOf returns the coverage from how many requests each monitor saw, how
// many both of two saw, and how many any saw, as unify.Coverage has them.
func CoverageOf(seen []uint64, both [][]uint64, requests uint64) Coverage {
	c := Coverage{Requests: requests}
	samples := make([]int, len(seen))
	for i, n := range seen {
		samples[i] = int(n)
	}
	c.All = DrawsOf(samples, int(requests))
	of := func(n uint64) Share {
		if c.All.Size == 0 {
			return Share{}
		}
		s := Share{float64(n) / c.All.Size, Interval{float64(n) / c.All.High, float64(n) / c.All.Low}}
		s.High = min(1, s.High)
		return s
	}
	c.Fleet = of(requests)
	for i, n := range seen {
		c.Monitors = append(c.Monitors, of(n))
		var row []Share
		for j := range seen {
			row = append(row, wilson(both[i][j], seen[j]))
		}
		c.Pairs = append(c.Pairs, row)
	}
	return c
}

// wilson returns the share k of n with Wilson's interval; of none, it may be any.
func wilson(k, n uint64) Share {
	if n == 0 {
		return Share{0, Interval{0, 1}}
	}
	p, m := float64(k)/float64(n), float64(n)
	middle := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return Share{p, Interval{max(0, min(p, middle-half)), min(1, max(p, middle+half))}} // rounded, an end may be beyond p
}
