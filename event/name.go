package event

import (
	"fmt"
	"strings"
)

// MaxName is the longest name of a monitor, in bytes.
const MaxName = 128

// CheckName reports why a text cannot be the name of a monitor, or nil. The name
// is a tag of every point and is shown to every subscriber. So it must be what
// Clean returns for it, and have no backslash, which line protocol reads in two
// ways.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || string(Clean(name, MaxName)) != name || strings.ContainsAny(name, "\\\uFFFD") {
		return fmt.Errorf("%q: want 1 to %d bytes of UTF-8 without control characters, invisible characters and backslashes", name, MaxName)
	}
	return nil
}
