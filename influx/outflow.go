package influx

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/spool"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// outflow is the way of the points to one destination: its queue, what is
// posted from it, and how that went. Nothing in it is shared with another
// destination but the encoded lines, so that none waits for another.
type outflow struct {
	set     settings
	queue   batchQueue
	disk    *diskQueue // the queue, if it is one on disk
	writers []*writer  // if the queue has lanes: the first for what is fresh, the second for either, the others for its backlog
	pace    *pace
	full    *fullTags
	rejects *rejects // nil without a spool
	logs    *logLimit

	dropped atomic.Uint64
	guard   guard.Guard
}

// newOutflow opens the queue; it does not connect. The encoder is told of tags
// that are full.
func newOutflow(set settings, enc *Encoder) (*outflow, error) {
	o := &outflow{set: set}
	if set.name != MainDestination {
		o.set.log = set.log.With("destination", set.name)
	}
	o.logs = &logLimit{log: o.set.log}
	o.guard.Log = o.set.log
	o.queue = newMemoryQueue(set.QueueBytes, set.BatchSize, o.drop)
	if set.SpoolDir != "" {
		disk, err := openDiskQueue(&o.set)
		if err != nil {
			return nil, fmt.Errorf("influx: %w", err)
		}
		o.queue, o.disk = disk, disk
		o.rejects = &rejects{path: filepath.Join(set.SpoolDir, rejectedName), to: set.name}
	}
	n := 1
	if o.queue.lanes() > 1 {
		n = set.Concurrency
	}
	o.pace = newPace(set.BatchSize, n-1, set.timeout)
	shared := new(site)
	o.full = &fullTags{tell: func(v tagValue) { enc.TagFull(v.measurement, v.tag, v.value) }}
	for range n {
		own := o.set // its secrets are read again by each writer
		w := newWriter(&own, o.logs)
		w.rejects, w.site, w.pace, w.full = o.rejects, shared, o.pace, o.full
		o.writers = append(o.writers, w)
	}
	return o, nil
}

// takes says whether points of a kind go there.
func (o *outflow) takes(k Kind) bool { return k != History || o.set.history }

// fan gives each batch to all outflows.
type fan []*outflow

// put takes a batch. Each outflow but the last gets a copy: what is done with
// its memory depends on a server.
func (f fan) put(b *batch) {
	var last *outflow
	for _, o := range f {
		if !o.takes(b.kind) {
			continue
		}
		if last != nil {
			c := newBatch(b.kind)
			c.buf, c.points, c.since = append(c.buf, b.buf...), b.points, b.since
			last.queue.put(c)
		}
		last = o
	}
	if last == nil {
		b.free()
		return
	}
	last.queue.put(b)
}

// start begins to post; wait gives a channel that is closed when that has
// ended, because ctx did or everything is delivered.
func (o *outflow) start(ctx context.Context) (ended <-chan struct{}) {
	done := make(chan struct{})
	var writing sync.WaitGroup
	for i, w := range o.writers {
		writing.Go(func() { o.write(ctx, i, w) })
	}
	go func() { // ends with the writers
		defer close(done)
		writing.Wait()
	}()
	return done
}

// seal says that no batch will come.
func (o *outflow) seal() {
	o.queue.seal()
	for _, w := range o.writers {
		w.hurry()
	}
}

// patience is how long to wait at the end for what is left. Where a disk has it
// nothing is lost by ending soon.
func (o *outflow) patience() time.Duration {
	switch {
	case o.disk == nil:
		return closeTimeout
	case o.disk.Stats().Err != nil:
		return closeTimeout * 4 / 5
	}
	return closeTimeout / 5
}

// finish ends what start began, after its end. The error tells how many points
// are neither stored nor on disk; they are counted as dropped.
func (o *outflow) finish() error {
	for _, w := range o.writers {
		w.client.CloseIdleConnections()
	}
	o.rejects.close()
	left := o.queue.drain()
	if left <= 0 {
		return nil
	}
	_, last, _ := o.state()
	if o.disk == nil {
		left -= o.settled() // of a batch that was stored in part
		o.dropped.Add(uint64(left))
	} else {
		last = fmt.Sprintf("%v; %s", o.disk.Stats().Err, last)
	}
	where := ""
	if o.set.name != MainDestination {
		where = " in " + o.set.name
	}
	return fmt.Errorf("influx: %d points were not stored%s within %v of the end: %s", left, where, closeTimeout, last)
}

// close ends an outflow that was never started.
func (o *outflow) close() {
	if o.disk != nil {
		o.disk.Close()
	}
}

// write posts batches as the ith writer until the queue is drained or ctx is
// done. A panic costs the batch that it came from.
func (o *outflow) write(ctx context.Context, i int, w *writer) {
	lane := min(i, o.queue.lanes()-1)
	for {
		if i > 0 && o.pace.enter(ctx, i-1) != nil {
			return
		}
		b, err := o.queue.head(ctx, lane)
		if err != nil {
			if i > 0 {
				o.pace.close()
			}
			return
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					o.dropped.Add(uint64(b.points - w.settled()))
					o.guard.Caught(p, "influx: post a batch", "points", b.points)
					err = nil
				}
			}()
			err = w.deliver(ctx, b)
		}()
		if err != nil {
			return
		}
		o.queue.done(b)
		w.partly.Store(0)
	}
}

// drop counts points that are lost.
func (o *outflow) drop(points int) {
	o.dropped.Add(uint64(points))
	o.logs.warn("influx: points dropped, the queue is full", "points", points, "QueueBytes", o.set.QueueBytes)
}

// settled is how many points of the batches in work are stored or rejected.
func (o *outflow) settled() (points int) {
	for _, w := range o.writers {
		points += w.settled()
	}
	return points
}

// state tells whether a writer fails, and the last failure of all.
func (o *outflow) state() (failing bool, last string, at time.Time) {
	for _, w := range o.writers {
		f, l, a := w.state()
		failing = failing || f
		if a.After(at) {
			last, at = l, a
		}
	}
	return failing, last, at
}

// delivery tells how it stands, given what the batcher has taken and holds.
func (o *outflow) delivery(accepted [Kinds]uint64, open [Kinds]waiting) Delivery {
	d := Delivery{Dropped: o.dropped.Load()}
	for _, w := range o.writers {
		d.Stored += w.stored.Load()
		d.Rejected += w.rejected.Load()
		d.Expired += w.expired.Load()
		d.Others += w.others.Load()
	}
	d.BatchSize, d.Requests = o.pace.now()
	if len(o.writers) > 1 {
		d.Requests++ // the one for what is fresh
	}
	d.Failing, d.LastErr, d.LastTime = o.state()
	if o.disk != nil {
		s := o.disk.Stats()
		d.Spooled, d.Restored, d.Damaged, d.SpoolErr = s.Disk, s.Restored, s.Damaged, s.Err
		d.Full = float64(s.Disk) / float64(cmp.Or(o.set.SpoolMaxBytes, spool.DefaultMaxBytes))
		d.Dropped += s.Dropped + s.Damaged
	}
	points, bytes, oldest := o.queue.size()
	d.Bytes = bytes
	for k, w := range open {
		if !o.takes(Kind(k)) {
			continue
		}
		d.Accepted += accepted[k]
		points += w.points
		if w.points > 0 && (oldest.IsZero() || w.oldest.Before(oldest)) {
			oldest = w.oldest
		}
	}
	d.Queued = max(points-o.settled(), 0)
	if !oldest.IsZero() {
		d.Lag = time.Since(oldest)
	}
	d.Accepted += d.Restored
	return d
}
