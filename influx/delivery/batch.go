package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/spool"
)

// maxBatchBytes bounds a batch in addition to BatchSize: servers accept at most 25 MB.
const maxBatchBytes = 8 << 20

// batch is lines of one kind that are posted together.
type batch struct {
	kind   schema.Kind
	sums   bool // rollups, which a destination may do without
	buf    []byte
	points int
	since  time.Time // when its first point was accepted

	spooled *spool.Batch // of a diskQueue
}

// batchPool keeps batches' memory: a busy node would otherwise allocate a
// megabyte each second.
var batchPool = sync.Pool{New: func() any { return new(batch) }}

func newBatch(kind schema.Kind) *batch {
	b := batchPool.Get().(*batch)
	*b = batch{kind: kind, buf: b.buf[:0]}
	return b
}

// free returns the memory to the pool; the batch must not be used afterwards.
func (b *batch) free() { batchPool.Put(b) }

// batchQueue connects the batcher and the writers: it holds sealed batches until they are
// delivered. memoryQueue keeps them in memory, diskQueue also on disk.
type batchQueue interface {
	// lanes returns how many goroutines may call head, each with its own lane below that number.
	lanes() int
	// put adds a batch, which the queue owns from then on, without waiting for delivery.
	put(b *batch)
	// head waits for the oldest batch of a lane and returns it; it stays
	// in the queue until done. The error is ctx's, or errDrained when the queue is sealed and
	// the lane is empty.
	head(ctx context.Context, lane int) (*batch, error)
	// join sets how many points head joins from small batches at most.
	join(points int)
	// aside makes head return other batches before this one, which stays in the queue until
	// done; the caller keeps it.
	aside(b *batch)
	// done removes a batch that head returned.
	done(b *batch)
	// seal declares that put will not be called again.
	seal()
	// size reports the batches in the queue.
	size() (points, bytes int, oldest time.Time)
	// drain ends the queue and returns the number of points that are lost.
	drain() (points int)
}
