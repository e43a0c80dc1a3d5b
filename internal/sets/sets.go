// Package sets finds names in closed sets: lists of the values that something may
// have, whose last one stands for all others. Tags and metrics have values from
// closed sets, so that nobody can make more series.
//
// In: a set that is not empty, and a name from anywhere. Out: a place or a name in
// the set.
package sets

import "slices"

// Index returns the place of name in set, that of the last name if it is not there.
func Index(set []string, name string) int {
	if i := slices.Index(set, name); i >= 0 {
		return i
	}
	return len(set) - 1
}

// Name returns name if it is in set, else the last name of set.
func Name(set []string, name string) string { return set[Index(set, name)] }

// Bit returns the place of b in the set of false and true: 0 or 1.
func Bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
