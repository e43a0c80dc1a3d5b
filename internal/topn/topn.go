// Package topn keeps lists by name short: the names that count most, and all
// others as one.
//
// In: counts by name, where peers choose the names and how many there are. Out:
// the most frequent ones, ties in the order of their names, so that the same
// counts make the same list, and the sum of the others.
package topn

import (
	"cmp"
	"slices"
)

// Number is what is counted in.
type Number interface {
	~int | ~int64 | ~uint32 | ~uint64
}

// Count is how often a name was counted.
type Count[K ~string, N Number] struct {
	Name K
	N    N
}

// Of returns the most frequent names, at most that many. rest is the sum of
// the others, and beyond reports whether there are any. Whoever calls itself by
// the name of the others counts among them.
func Of[K ~string, N Number](counts map[K]N, most int, others K) (top []Count[K, N], rest N, beyond bool) {
	all := make([]Count[K, N], 0, len(counts))
	for name, n := range counts {
		if name == others {
			rest, beyond = n, true
			continue
		}
		all = append(all, Count[K, N]{name, n})
	}
	top, left := Split(all, most, func(c Count[K, N]) (N, K) { return c.N, c.Name })
	for _, c := range left {
		rest, beyond = rest+c.N, true
	}
	return top, rest, beyond
}

// Split sorts all and cuts it: top has the entries of the highest weight, at
// most that many, rest the others. key returns an entry's weight and name.
func Split[T any, K ~string, N Number](all []T, most int, key func(T) (N, K)) (top, rest []T) {
	slices.SortFunc(all, func(a, b T) int {
		m, mName := key(a)
		n, nName := key(b)
		return cmp.Or(cmp.Compare(n, m), cmp.Compare(mName, nName))
	})
	most = min(most, len(all))
	return all[:most:most], all[most:]
}
