package sets

import "testing"

func TestNames(t *testing.T) {
	set := []string{"tcp", "quic", "other"}
	for name, want := range map[string]int{"tcp": 0, "quic": 1, "other": 2, "": 2, "TCP": 2, "tcp\x00": 2} {
		if i, s := Index(set, name), Name(set, name); i != want || s != set[want] {
			t.Errorf("%q: %d, %q, want %d, %q", name, i, s, want, set[want])
		}
	}
	if Bit(false) != 0 || Bit(true) != 1 {
		t.Error("a bit is 0 or 1")
	}
}
