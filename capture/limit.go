package capture

import (
	"sync/atomic"
	"time"
)

// Bounds on what one peer can put on the bus, so that it cannot push the events
// of others out of it. A message and each of its entries cost one token. A
// message above the bounds counts in the traffic, and as limited, but makes no
// event. A peer that sends us a gigabyte a second in 256 KiB blocks is well
// below them: 4,096 messages with a block each.
const (
	peerRate  = 20_000 // tokens per second
	peerBurst = 20_000 // tokens that a peer may take at once after a pause
)

// bucket is a token bucket without a lock, by the generic cell rate algorithm
// (ITU-T I.371): it keeps the time at which it will be full again.
// The zero value is a full bucket. It is one word in each peer's state and is
// asked about each message on Bitswap's goroutines; golang.org/x/time/rate, which
// the rooms off that path use, has 80 bytes and a mutex.
type bucket struct{ full atomic.Int64 } // unix nanoseconds

// take takes n tokens at time now (unix nanoseconds). It returns false, and
// takes none, if there are fewer. A full bucket covers any number, so that one
// large message passes.
func (b *bucket) take(now int64, n int) bool {
	const each = int64(time.Second / peerRate)
	for {
		full := b.full.Load()
		start := max(full, now)
		next := start + int64(n)*each
		if start != now && next-now > peerBurst*each {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}
