package influx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/spool"
)

// diskQueue is a batchQueue that outlives the process. It has two lanes, so
// that what comes now does not wait for what an outage left behind.
type diskQueue struct{ *spool.Spool }

// openDiskQueue opens the spool of a sink's configuration.
func openDiskQueue(set *settings) (*diskQueue, error) {
	s, err := spool.Open(spool.Config{
		Dir: set.SpoolDir, MaxBytes: int64(set.SpoolMaxBytes), MaxAge: set.spoolAge, SyncEvery: set.spoolSync,
		MaxMemory: int(set.QueueBytes), MaxPoints: set.BatchSize, MaxJoin: maxBatchBytes,
		Release: func(b []byte) { batchPool.Put(&batch{buf: b[:0]}) }, Log: set.log,
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
		if d.Kind >= byte(Kinds) { // of a later version: it stays for that one until then
			continue
		}
		return &batch{kind: Kind(d.Kind), buf: d.Data, points: d.Points, since: d.Since, spooled: d}, nil
	}
}

func (q *diskQueue) aside(*batch) {} // what Next returned stays until Ack, and others come first

func (q *diskQueue) done(b *batch) { q.Ack(b.spooled) }

func (q *diskQueue) seal() { q.Seal() }

func (q *diskQueue) size() (points, bytes int, oldest time.Time) {
	st := q.Stats()
	return st.Points, st.Memory, st.Oldest
}

// drain puts everything on disk; what it gives could not be put there. The
// spool counts that itself.
func (q *diskQueue) drain() (points int) { return q.Close() }

// Drain delivers what is in cfg.SpoolDir, which no running monitor may have, to
// the server of cfg, until it is empty, ctx is done or the server has taken
// nothing for a while; then the rest stays on disk. It calls progress about each second.
func Drain(ctx context.Context, cfg Config, progress func(Stats)) (Stats, error) {
	if cfg.SpoolDir == "" || cfg.SpoolDir == InMemory {
		return Stats{}, errors.New("influx: drain: SpoolDir is missing; allowed is the folder of a spool")
	}
	if len(cfg.Also) > 0 {
		return Stats{}, errors.New("influx: drain: the configuration is of several destinations; give that of one, as Config.Destination does")
	}
	s, err := New(cfg, "drain")
	if err != nil {
		return Stats{}, err
	}
	if s.plain != nil {
		return Stats{}, errors.New("influx: drain: the URL is of no server; allowed is http or https")
	}
	o := s.to[0]
	o.queue.seal()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := o.start(ctx)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var stuck Stuck
	for more := true; more; {
		select {
		case <-done:
			more = false
		case <-t.C:
			progress(s.Stats())
			if stuck.Check(s) != nil {
				stop()
			}
		}
	}
	_ = o.finish() // what is left is told below
	st := s.Stats()
	if st.Queued > 0 {
		return st, fmt.Errorf("influx: drain: %d points are still in %s: %s", st.Queued, cfg.SpoolDir, st.LastErr)
	}
	return st, nil
}
