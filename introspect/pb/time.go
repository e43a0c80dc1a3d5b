package pb

import "time"

// Millis is a time as the protocol has it, in milliseconds since 1970 UTC; 0 for
// none.
func Millis(t time.Time) uint64 {
	if t.IsZero() || t.UnixMilli() < 0 {
		return 0
	}
	return uint64(t.UnixMilli())
}
