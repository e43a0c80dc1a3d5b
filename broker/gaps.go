package broker

import (
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// rememberedRuns bounds the buckets of monitors' runs whose numbers are followed.
	rememberedRuns = 1 << 14
	// maxHoles bounds the holes of a bucket that may still be filled.
	maxHoles = 64
)

// gaps finds what is missing from the numbers of batches. A monitor has at most window messages
// on their way, so a number that is missing is a gap when so many later ones have come.
type gaps struct {
	runs    *lru.LRU[string, uint64]   // what the monitor missed itself, by run
	buckets *lru.LRU[string, *numbers] // by run and bucket
}

// numbers is what was seen of one bucket in one run.
type numbers struct {
	next   uint64 // number
	before uint64 // events of the batches before it
	last   uint64 // Seq
	holes  []hole
	again  bool // all of them were delivered to another reader before
}

// hole is numbers that are missing so far.
type hole struct {
	from, to    uint64 // to is not one of them
	events      uint64
	first, last uint64 // Seq
}

func (g *gaps) init() {
	g.runs, _ = lru.NewLRU[string, uint64](rememberedRuns, nil) // fails only for a size below 1
	g.buckets, _ = lru.NewLRU[string, *numbers](rememberedRuns, nil)
}

// look records a batch and returns the gaps that are certain now. With again it was delivered before
// to a reader that acknowledges in any order: what is missing between such batches of a bucket that
// is new here, and before the first that is not one, that reader may have acknowledged.
func (g *gaps) look(b *Batch, again bool) (out []stream.Gap) {
	missed, known := g.runs.Get(b.Run)
	if b.Missed > missed && (known || b.Number == 1) {
		out = append(out, stream.Gap{Bus: b.Missed - missed, First: max(b.First, 1), Last: b.Last})
	}
	g.runs.Add(b.Run, max(missed, b.Missed))

	key := b.Run + "-" + strconv.Itoa(b.Bucket)
	n, known := g.buckets.Get(key)
	if !known {
		n = &numbers{next: b.Number, before: b.Before, again: again} // it may be in the middle of the run
		g.buckets.Add(key, n)
	}
	if n.again && b.Number > n.next {
		n.next, n.before = b.Number, b.Before
	}
	n.again = n.again && again
	if b.Number >= n.next {
		if b.Number > n.next && b.Before >= n.before {
			n.holes = append(n.holes, hole{n.next, b.Number, b.Before - n.before, n.last + 1, max(b.First, 1) - 1})
		}
		n.next, n.before, n.last = b.Number+1, b.Before+uint64(b.Events), b.Last
	} else {
		n.fill(b)
	}
	for len(n.holes) > 0 && (n.next > n.holes[0].to+window || len(n.holes) > maxHoles) {
		if h := n.holes[0]; h.events > 0 {
			out = append(out, stream.Gap{Slow: h.events, First: h.first, Last: h.last})
		}
		n.holes = n.holes[1:]
	}
	return out
}

// fill records a batch that came after later ones.
func (n *numbers) fill(b *Batch) {
	for i := range n.holes {
		h := &n.holes[i]
		if b.Number < h.from || b.Number >= h.to {
			continue
		}
		h.events -= min(h.events, uint64(b.Events))
		if h.events == 0 {
			n.holes = append(n.holes[:i], n.holes[i+1:]...)
		}
		return
	}
}

// gapEvents returns the gaps as events at the time of the batch's first event.
func gapEvents(found []stream.Gap, b *Batch, events []stream.Event) (out []stream.Event) {
	at := time.Time{}
	if len(events) > 0 {
		at = events[0].Timestamp
	}
	for i := range found {
		out = append(out, stream.Event{Timestamp: at, Gap: &found[i], Monitor: b.Monitor})
	}
	return out
}
