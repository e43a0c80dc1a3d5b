package derive

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// BenchmarkColdMessages counts messages as a node's do: each of a new want and the
// cancel of the one before, of 1,000 peers, 2,000 a second of event time, read a
// hundred at a time; between these the node's own work empties the caches, which
// is not timed.
func BenchmarkColdMessages(b *testing.B) {
	const peers, atOnce = 1000, 100
	d := quiet(Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	last := make([]uint64, peers)
	events := make([]*event.Event, atOnce)
	work := make([]uint64, 16<<20/8) // more than the caches that a core has for itself
	n, now := 0, time.Duration(0)
	var took time.Duration
	for b.Loop() {
		for i := range events {
			p := rng.IntN(peers)
			now += 500 * time.Microsecond
			e := message(event.Received, p, now)
			if last[p] != 0 {
				cancels(e, last[p])
			}
			last[p] = rng.Uint64()
			events[i] = wants(e, event.WantHave, last[p])
		}
		for i := range work {
			work[i]++
		}
		began := time.Now()
		for _, e := range events {
			d.see(e)
			d.hold(e)
		}
		d.count(false)
		took += time.Since(began)
		n += atOnce
		if now%time.Minute < atOnce*500*time.Microsecond {
			d.cut()
			d.out = nil
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took.Nanoseconds())/float64(n), "ns/message")
}
