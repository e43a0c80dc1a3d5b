package pb

import "time"

// Millis converts a time for the protocol: milliseconds since 1970 UTC; 0: none.
func Millis(t time.Time) uint64 {
	if t.IsZero() || t.UnixMilli() < 0 {
		return 0
	}
	return uint64(t.UnixMilli())
}
