package delivery

import (
	"context"
	"slices"
	"sync"
	"time"
)

// memoryQueue is a bounded queue in memory: when full, the oldest batch that is
// not being posted is dropped. Small waiting batches are joined, so that many of them do not
// use much more memory than their lines.
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
	if !q.joined(b) {
		q.list = append(q.list, b)
		q.points += b.points
		q.bytes += cap(b.buf)
		q.wake()
	}
	for i := q.first(); q.bytes > q.maxBytes && i < len(q.list)-1; { // always keeps the batch being posted and the last one
		old := q.list[i]
		q.remove(i)
		q.dropped(old.points)
		old.free()
	}
}

func (q *memoryQueue) join(points int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxPoints = points
}

// joined adds a batch to the last waiting batch of its kind, if there is room. When both kinds
// are in use, one of the last two batches is of its kind. What is joined is small relative to the
// queue, so that a drop is small.
func (q *memoryQueue) joined(b *batch) bool {
	for i := len(q.list) - 1; i >= max(q.first(), len(q.list)-2); i-- {
		to := q.list[i]
		if to.kind != b.kind || to.points+b.points > q.maxPoints || len(to.buf)+len(b.buf) > min(maxBatchBytes, q.maxBytes/8) {
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

// first returns the index of the first batch that is not being posted.
func (q *memoryQueue) first() int {
	if q.busy {
		return 1
	}
	return 0
}

// remove removes a batch from the list; the caller holds mu.
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
