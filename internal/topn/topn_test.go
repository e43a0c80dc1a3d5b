package topn

import (
	"reflect"
	"testing"
)

func TestOf(t *testing.T) {
	f := func(counts map[string]int, most int, rest int, beyond bool, want ...Count[string, int]) {
		t.Helper()
		for range 10 { // maps are in any order
			top, r, b := Of(counts, most, "others")
			if !reflect.DeepEqual(append([]Count[string, int](nil), top...), want) || r != rest || b != beyond {
				t.Fatalf("%v: got %v, %v, %v, want %v, %v, %v", counts, top, r, b, want, rest, beyond)
			}
		}
	}
	type c = Count[string, int]
	f(nil, 2, 0, false)
	f(map[string]int{"b": 1, "a": 1, "c": 9}, 5, 0, false, c{"c", 9}, c{"a", 1}, c{"b", 1})
	f(map[string]int{"b": 1, "a": 1, "c": 9}, 2, 1, true, c{"c", 9}, c{"a", 1})
	f(map[string]int{"others": 7, "a": 1}, 1, 7, true, c{"a", 1})
	f(map[string]int{"others": 7, "a": 1, "b": 2}, 1, 8, true, c{"b", 2})
	f(map[string]int{"others": 0}, 1, 0, true)
	f(map[string]int{"a": 1}, 0, 1, true)
}

// TestSplit: appending to the top must not overwrite the rest.
func TestSplit(t *testing.T) {
	all := []string{"a", "ccc", "bb"}
	top, rest := Split(all, 2, func(s string) (int, string) { return len(s), s })
	_ = append(top, "others")
	if !reflect.DeepEqual(top, []string{"ccc", "bb"}) || !reflect.DeepEqual(rest, []string{"a"}) {
		t.Errorf("%v and %v", top, rest)
	}
}
