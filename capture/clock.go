package capture

import (
	"sync/atomic"
	"time"
)

// clock returns the wall clock's time at half the cost of time.Now, which reads
// two clocks: it reads the monotonic clock only and adds what passed since it
// last read both. set reads both again, once per sample, so that a step of the
// wall clock shows within one interval.
type clock struct{ base atomic.Pointer[time.Time] }

func (c *clock) set() {
	now := time.Now()
	c.base.Store(&now)
}

// now returns nanoseconds since 1970 UTC.
func (c *clock) now() int64 {
	base := c.base.Load()
	return base.UnixNano() + int64(time.Since(*base))
}
