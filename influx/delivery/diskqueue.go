package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/spool"
)

// diskQueue is a batchQueue that outlives the process. It has two lanes, so that new points do
// not wait behind the backlog of an outage.
type diskQueue struct{ *spool.Spool }

// openDiskQueue opens the spool of a sink's configuration.
func openDiskQueue(set *client.Settings) (*diskQueue, error) {
	s, err := spool.Open(spool.Config{
		Dir: set.SpoolDir, MaxBytes: int64(set.SpoolMaxBytes), MaxAge: set.SpoolAge, SyncEvery: set.SpoolSync,
		MaxMemory: int(set.QueueBytes), MaxPoints: set.BatchSize, MaxJoin: maxBatchBytes,
		Release: func(b []byte) { batchPool.Put(&batch{buf: b[:0]}) }, Log: set.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &diskQueue{s}, nil
}

func (q *diskQueue) lanes() int { return spool.Lanes }

func (q *diskQueue) put(b *batch) { q.Put(byte(b.kind), b.points, b.since, b.buf) }

func (q *diskQueue) head(ctx context.Context, lane int) (*batch, error) {
	for {
		d, err := q.Next(ctx, lane)
		if errors.Is(err, spool.ErrDrained) {
			return nil, errDrained
		}
		if err != nil {
			return nil, err
		}
		if d.Kind >= byte(schema.Kinds) { // written by a later version: left for that version
			continue
		}
		return &batch{kind: schema.Kind(d.Kind), buf: d.Data, points: d.Points, since: d.Since, spooled: d}, nil
	}
}

func (q *diskQueue) join(points int) { q.Join(points) }

func (q *diskQueue) aside(*batch) {} // a batch that Next returned stays until Ack, and others come first

func (q *diskQueue) done(b *batch) { q.Ack(b.spooled) }

func (q *diskQueue) seal() { q.Seal() }

func (q *diskQueue) size() (points, bytes int, oldest time.Time) {
	st := q.Stats()
	return st.Points, st.Memory, st.Oldest
}

// drain writes everything to disk and returns how many points could not be written. The spool
// counts them itself.
func (q *diskQueue) drain() (points int) { return q.Close() }
