package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/influx/spool"
)

// maxBatchBytes bounds a batch beside BatchSize: servers take 25 MB at most.
const maxBatchBytes = 8 << 20

// batch is lines of one kind that are posted together.
type batch struct {
	kind   schema.Kind
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

// free returns the memory to the pool; nobody may use the batch afterwards.
func (b *batch) free() { batchPool.Put(b) }

// batchQueue is the seam between the batcher and the writer: what takes sealed
// batches and keeps them until they are delivered. memoryQueue keeps them in
// memory, diskQueue also on disk.
type batchQueue interface {
	// lanes is how many goroutines may call head, each with a number below it.
	lanes() int
	// put takes a batch and does not wait for delivery. It owns the batch from then on.
	put(b *batch)
	// head waits for the oldest batch of a lane and returns it; it stays
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
