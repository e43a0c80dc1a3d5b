package delivery

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// batcher collects lines into one open batch for each kind and puts full batches into the
// queue. Its methods may be called from two goroutines, one that encodes and one that flushes.
type batcher struct {
	maxPoints int
	queue     interface{ put(*batch) }
	accepted  [schema.Kinds]atomic.Uint64 // points
	sums      *rollup.Sums                // nil: none
	summed    atomic.Uint64               // points of sums, which accepted does not have
	unsaved   func(error)                 // logs that sums could not be saved
	oldest    func() time.Time            // when the oldest batch was accepted that is not delivered; zero: none

	mu   sync.Mutex
	open [schema.Kinds]*batch
}

// add encodes an event into the open batches and returns the number of points.
// A panic of the encoder leaves the batches as they were.
func (b *batcher) add(now time.Time, enc encoder, ev *event.Event) (points int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var bufs [schema.Kinds][]byte
	for k := range b.open {
		if b.open[k] == nil {
			b.open[k] = newBatch(schema.Kind(k))
		}
		bufs[k] = b.open[k].buf
	}
	bufs, added := enc.Append(bufs, ev)
	for k, o := range b.open {
		if added[k] == 0 {
			continue
		}
		if o.points == 0 {
			o.since = now
		}
		o.buf = bufs[k]
		o.points += added[k]
		b.accepted[k].Add(uint64(added[k]))
		points += added[k]
		if o.points >= b.maxPoints || len(o.buf) >= maxBatchBytes {
			b.save(now) // no point is stored that is in no sum
			b.open[k] = nil
			b.queue.put(o)
		}
	}
	return points
}

// save saves the sums.
func (b *batcher) save(now time.Time) {
	if b.sums == nil {
		return
	}
	if err := b.sums.Save(now); err != nil {
		b.unsaved(err)
	}
}

// flush puts the open batches into the queue, and the sums of what is over.
func (b *batcher) flush(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.save(now)
	if b.sums != nil {
		o := newBatch(schema.Totals)
		o.sums, o.since = true, now
		o.buf, o.points = b.sums.Append(o.buf, now, b.oldest())
		b.summed.Add(uint64(o.points))
		if o.points > 0 {
			b.queue.put(o)
		} else {
			o.free()
		}
	}
	for k, o := range b.open {
		if o != nil && o.points > 0 {
			b.open[k] = nil
			b.queue.put(o)
		}
	}
}

// waiting reports the contents of an open batch.
type waiting struct {
	points, bytes int
	oldest        time.Time
}

// size reports the contents of the open batches.
func (b *batcher) size() (all [schema.Kinds]waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, o := range b.open {
		if o != nil && o.points > 0 {
			all[k] = waiting{o.points, len(o.buf), o.since}
		}
	}
	return all
}
