package influx

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/spool"
)

// maxBatchBytes bounds a batch beside BatchSize: servers take 25 MB at most.
const maxBatchBytes = 8 << 20

// batch is lines of one kind that are posted together.
type batch struct {
	kind   Kind
	buf    []byte
	points int
	since  time.Time // when its first point was accepted

	spooled *spool.Batch // of a diskQueue
}

// batchPool keeps batches' memory: a busy node would otherwise allocate a
// megabyte each second.
var batchPool = sync.Pool{New: func() any { return new(batch) }}

func newBatch(kind Kind) *batch {
	b := batchPool.Get().(*batch)
	*b = batch{kind: kind, buf: b.buf[:0]}
	return b
}

// free gives the memory back; nobody may use the batch afterwards.
func (b *batch) free() { batchPool.Put(b) }

// batchQueue is the seam between the batcher and the writer: what takes sealed
// batches and keeps them until they are delivered. memoryQueue keeps them in
// memory, diskQueue also on disk.
type batchQueue interface {
	// lanes is how many goroutines may call head, each with a number below it.
	lanes() int
	// put takes a batch and does not wait for delivery. It owns the batch from then on.
	put(b *batch)
	// head waits for the oldest batch of a lane and gives it to look at; it stays
	// in the queue until done. The error is ctx's, or errDrained when the queue
	// was sealed and the lane is empty.
	head(ctx context.Context, lane int) (*batch, error)
	// aside has head return others before the batch, which stays in the queue
	// until done; the caller keeps it.
	aside(b *batch)
	// done takes a batch that head returned out of the queue.
	done(b *batch)
	// seal says that no put will come.
	seal()
	// size reports what is in the queue.
	size() (points, bytes int, oldest time.Time)
	// drain ends the queue and returns the number of points that are lost.
	drain() (points int)
}

// memoryQueue is a bounded queue in memory: when full, the oldest batch that is
// not being posted is dropped. Small batches that wait are joined, so that many
// of them do not hold much more memory than their lines need.
type memoryQueue struct {
	maxBytes  int
	maxPoints int // of joined batches
	dropped   func(points int)

	mu     sync.Mutex
	list   []*batch
	points int
	bytes  int      // capacity of the batches' buffers
	busy   bool     // the first of list was returned by head
	away   []*batch // set aside; they are among points and bytes
	sealed bool
	ready  chan struct{} // cap 1
}

func newMemoryQueue(maxBytes, maxPoints int, dropped func(points int)) *memoryQueue {
	return &memoryQueue{maxBytes: maxBytes, maxPoints: maxPoints, dropped: dropped, ready: make(chan struct{}, 1)}
}

func (q *memoryQueue) put(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.join(b) {
		return
	}
	for q.bytes+cap(b.buf) > q.maxBytes {
		i := bit(q.busy)
		if i >= len(q.list) {
			break // the batch being posted and this one are always kept
		}
		old := q.list[i]
		q.remove(i)
		q.dropped(old.points)
		old.free()
	}
	q.list = append(q.list, b)
	q.points += b.points
	q.bytes += cap(b.buf)
	q.wake()
}

// join adds a batch to the last one of its kind that waits, if there is room.
// One of the last two is of its kind when both kinds are in use.
func (q *memoryQueue) join(b *batch) bool {
	for i := len(q.list) - 1; i >= max(bit(q.busy), len(q.list)-2); i-- {
		to := q.list[i]
		if to.kind != b.kind || to.points+b.points > q.maxPoints || len(to.buf)+len(b.buf) > maxBatchBytes {
			continue
		}
		q.bytes -= cap(to.buf)
		to.buf = append(to.buf, b.buf...)
		q.bytes += cap(to.buf)
		to.points += b.points
		q.points += b.points
		b.free()
		return true
	}
	return false
}

// remove takes a batch out of the list; the caller holds mu.
func (q *memoryQueue) remove(i int) {
	b := q.list[i]
	q.points -= b.points
	q.bytes -= cap(b.buf)
	copy(q.list[i:], q.list[i+1:])
	q.list[len(q.list)-1] = nil
	q.list = q.list[:len(q.list)-1]
}

func (q *memoryQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *memoryQueue) lanes() int { return 1 }

func (q *memoryQueue) head(ctx context.Context, _ int) (*batch, error) {
	for {
		q.mu.Lock()
		if len(q.list) > 0 {
			q.busy = true
			b := q.list[0]
			q.mu.Unlock()
			return b, nil
		}
		sealed := q.sealed
		q.mu.Unlock()
		if sealed {
			return nil, errDrained
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *memoryQueue) aside(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy && q.list[0] == b {
		q.busy = false
		q.remove(0)
		q.away = append(q.away, b)
		q.points += b.points
		q.bytes += cap(b.buf)
	}
}

func (q *memoryQueue) done(b *batch) {
	q.mu.Lock()
	if i := slices.Index(q.away, b); i >= 0 {
		q.away = slices.Delete(q.away, i, i+1)
		q.points -= b.points
		q.bytes -= cap(b.buf)
	} else {
		q.busy = false
		q.remove(0)
	}
	q.mu.Unlock()
	b.free()
}

func (q *memoryQueue) seal() {
	q.mu.Lock()
	q.sealed = true
	q.wake()
	q.mu.Unlock()
}

func (q *memoryQueue) size() (points, bytes int, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range slices.Concat(q.away, q.list[:min(len(q.list), 1)]) {
		if oldest.IsZero() || b.since.Before(oldest) {
			oldest = b.since
		}
	}
	return q.points, q.bytes, oldest
}

func (q *memoryQueue) drain() (points int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range slices.Concat(q.away, q.list) {
		points += b.points
		b.free()
	}
	q.list, q.away, q.points, q.bytes, q.busy = nil, nil, 0, 0, false
	return points
}

// batcher collects lines into one open batch for each kind and puts full ones
// into the queue. Its methods may be called from two goroutines: the one that
// encodes and the one that flushes.
type batcher struct {
	maxPoints int
	queue     interface{ put(*batch) }
	accepted  [Kinds]atomic.Uint64 // points

	mu   sync.Mutex
	open [Kinds]*batch
}

// add encodes an event into the open batches and returns the number of points.
// A panic of the encoder leaves the batches as they were.
func (b *batcher) add(now time.Time, enc *Encoder, ev *event.Event) (points int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var bufs [Kinds][]byte
	for k := range b.open {
		if b.open[k] == nil {
			b.open[k] = newBatch(Kind(k))
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
			b.open[k] = nil
			b.queue.put(o)
		}
	}
	return points
}

// flush puts the open batches into the queue.
func (b *batcher) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, o := range b.open {
		if o != nil && o.points > 0 {
			b.open[k] = nil
			b.queue.put(o)
		}
	}
}

// waiting is what is in an open batch.
type waiting struct {
	points, bytes int
	oldest        time.Time
}

// size reports what is in the open batches.
func (b *batcher) size() (all [Kinds]waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, o := range b.open {
		if o != nil && o.points > 0 {
			all[k] = waiting{o.points, len(o.buf), o.since}
		}
	}
	return all
}
