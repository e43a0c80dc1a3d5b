package derive

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// BenchmarkWants counts wants on one core: 4 in a message, 1000 peers, 20 messages in a
// millisecond of event time. The CIDs are a Zipf distribution over a million, and then
// half a million in turn, the worst case for the counters.
func BenchmarkWants(b *testing.B) {
	for _, stream := range []struct {
		name string
		next func() uint64
	}{
		{"zipf", zipf(1, 1.1, 1_000_000)},
		{"in turn", rand.New(rand.NewPCG(1, 2)).Uint64},
	} {
		const perMessage = 4
		events := make([]*event.Event, 1<<17)
		for i := range events {
			events[i] = message(event.Received, i%1000, 0)
			for range perMessage {
				wants(events[i], event.WantHave, stream.next())
			}
		}
		b.Run(stream.name, func(b *testing.B) {
			d := quiet(Config{})
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				e := events[i%len(events)]
				e.Time = start + int64(i)*int64(50*time.Microsecond)
				d.see(e)
				d.hold(e)
				d.count(false)
				i++
			}
			b.ReportMetric(float64(i*perMessage)/b.Elapsed().Seconds(), "wants/s")
		})
	}
}

func TestWantsDoNotAllocate(t *testing.T) {
	d := quiet(Config{MaxCIDsTracked: 64, MaxPeersTracked: 16})
	rng := rand.New(rand.NewPCG(3, 4))
	events := make([]*event.Event, 4096)
	for i := range events {
		events[i] = wants(message(event.Received, i%100, time.Duration(i)*time.Millisecond), event.WantBlock, rng.Uint64(), rng.Uint64(), uint64(i%7))
	}
	i := 0
	// The maps of the counters reorganise themselves now and then, so the bound is not 0.
	n := testing.AllocsPerRun(3000, func() {
		d.see(events[i%len(events)])
		d.hold(events[i%len(events)])
		d.count(false)
		i++
	})
	if n > 0.1 {
		t.Errorf("a message of 3 wants allocates %v times", n)
	}
}
