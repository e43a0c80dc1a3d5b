package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/spool"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// destination delivers the points to one destination: its queue, its writers and their
// counters. Destinations share only the encoded lines, so that none waits for another.
type destination struct {
	set     client.Settings
	queue   batchQueue
	disk    *diskQueue // the queue, if it is one on disk
	writers []*writer  // if the queue has lanes: the first for recent points, the second for either, the others for the backlog
	rate    *rateControl
	full    *tagCap
	rejects *rejects // nil without a spool
	lines   *lines

	dropped atomic.Uint64
	guard   guard.Guard
}

// lines are the log lines about one destination. Each has its own throttle, so that a repeating
// line suppresses no other.
type lines struct {
	failing, unkept, tagFull   throttle.Line
	unsummed                   throttle.Line
	full, rejected             throttle.Loss
	unwritten, tooLong, missed throttle.Loss
}

// each calls do for the lines about losses: Tick from time to time, so that the last loss is
// logged too, and Flush at the end.
func (l *lines) each(do func(*throttle.Loss)) {
	for _, loss := range []*throttle.Loss{&l.full, &l.rejected, &l.unwritten, &l.tooLong, &l.missed} {
		do(loss)
	}
}

// newDestination opens the queue; it does not connect. It calls enc.TagFull for values that the
// server refuses.
func newDestination(set client.Settings, enc encoder) (*destination, error) {
	o := &destination{set: set}
	if set.Name != client.MainDestination {
		o.set.Logger = set.Logger.With("destination", set.Name)
	}
	o.lines = new(lines)
	o.guard.Log = o.set.Logger
	o.queue = newMemoryQueue(int(set.QueueBytes), set.BatchSize, o.drop)
	if set.SpoolDir != "" {
		disk, err := openDiskQueue(&o.set)
		if err != nil {
			return nil, fmt.Errorf("influx: %w", err)
		}
		o.queue, o.disk = disk, disk
		o.rejects = &rejects{path: filepath.Join(set.SpoolDir, rejectedName), to: set.Name}
	}
	n := 1
	if o.queue.lanes() > 1 {
		n = set.Concurrency
	}
	o.rate = newRateControl(set.BatchSize, n-1, set.RequestTimeout)
	shared := &site{serves: o.serves}
	o.full = &tagCap{tell: func(v tagValue) { enc.TagFull(v.measurement, v.tag, v.value) }}
	for range n {
		own := o.set // each writer reads its secrets again
		w := newWriter(&own)
		w.lines, w.rejects, w.site, w.rate, w.full = o.lines, o.rejects, shared, o.rate, o.full
		o.writers = append(o.writers, w)
	}
	return o, nil
}

// serves adapts the size of posts to the API of the server that was found.
func (o *destination) serves(api int) {
	points := o.set.BatchPoints(api)
	o.queue.join(points)
	o.rate.serves(points, o.set.RequestTimeout, api == 3)
}

// takes reports whether points of a kind are sent there.
func (o *destination) takes(k schema.Kind) bool { return k != schema.History || o.set.KeepsHistory }

// takesBatch is the same for a batch, which may be of rollups.
func (o *destination) takesBatch(b *batch) bool {
	return o.takes(b.kind) && (!b.sums || o.set.KeepsRollups)
}

// destinations puts each batch into the queue of every destination.
type destinations []*destination

// put adds a batch. Each destination but the last gets a copy, because how long a batch's
// memory is in use depends on the server.
func (f destinations) put(b *batch) {
	var last *destination
	for _, o := range f {
		if !o.takesBatch(b) {
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

// oldest returns when the oldest batch was accepted that a destination with rollups does not have yet; zero: none.
func (f destinations) oldest() (oldest time.Time) {
	for _, o := range f {
		if !o.set.KeepsRollups {
			continue
		}
		if _, _, at := o.queue.size(); !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return oldest
}

// start starts the writers. The returned channel is closed when they have ended, because ctx is
// done or everything is delivered.
func (o *destination) start(ctx context.Context) (ended <-chan struct{}) {
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

// seal declares that no further batch will come.
func (o *destination) seal() {
	o.queue.seal()
	for _, w := range o.writers {
		w.hurry()
	}
}

// patience returns how long to wait at the end for the remaining points. With a spool on disk
// nothing is lost by ending soon.
func (o *destination) patience() time.Duration {
	switch {
	case o.disk == nil:
		return closeTimeout
	case o.disk.Stats().Err != nil:
		return closeTimeout * 4 / 5
	}
	return closeTimeout / 5
}

// finish closes the queue after the writers have ended. The error reports how many points are
// neither stored nor on disk; they are counted as dropped.
func (o *destination) finish() error {
	for _, w := range o.writers {
		w.server.Close()
	}
	o.rejects.close()
	left := o.queue.drain()
	o.lines.each((*throttle.Loss).Flush)
	if left <= 0 {
		return nil
	}
	_, last, _ := o.state()
	if o.disk == nil {
		left -= o.settled() // from a batch that was partly stored
		o.dropped.Add(uint64(left))
	} else {
		last = fmt.Sprintf("%v; %s", o.disk.Stats().Err, last)
	}
	where := ""
	if o.set.Name != client.MainDestination {
		where = " in " + o.set.Name
	}
	return fmt.Errorf("influx: %d points were not stored%s within %v of the end: %s", left, where, closeTimeout, last)
}

// close ends a destination that was never started.
func (o *destination) close() {
	if o.disk != nil {
		o.disk.Close()
	}
}

// maxAside is how many batches a writer may have aside.
const maxAside = 4

// write posts batches as the ith writer until the queue is drained or ctx is done. A batch that
// an answering server does not accept does not block the next ones: it is set aside and retried
// after each of them.
func (o *destination) write(ctx context.Context, i int, w *writer) {
	lane := min(i, o.queue.lanes()-1)
	var aside []*job
	other := true // a new batch is next, not one that was set aside
	for {
		if i > 0 && o.rate.enter(ctx, i-1) != nil {
			return
		}
		var j *job
		if len(aside) == 0 || other && len(aside) < maxAside {
			b, err := o.head(ctx, lane, aside)
			switch {
			case err == nil:
				j = &job{batch: b}
			case ctx.Err() != nil || len(aside) == 0:
				if i > 0 {
					o.rate.close()
				}
				return
			}
		}
		if j == nil {
			j, aside = aside[0], aside[1:]
		}
		other = j.aside
		err := o.deliver(ctx, w, j)
		switch {
		case errors.Is(err, errAside):
			if !j.aside {
				j.aside = true
				o.queue.aside(j.batch)
			}
			j.due = time.Now().Add(asideFor)
			aside = append(aside, j)
		case err != nil:
			return
		default:
			o.queue.done(j.batch)
			w.partly.Add(-int64(j.partly))
		}
	}
}

// asideFor is how soon a batch that was set aside is retried if no other batch comes.
const asideFor = time.Second

// head waits for the next batch of a lane, but no longer than until the first batch set aside
// is due.
func (o *destination) head(ctx context.Context, lane int, aside []*job) (*batch, error) {
	if len(aside) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, aside[0].due)
		defer cancel()
	}
	return o.queue.head(ctx, lane)
}

// deliver works on a batch. A panic loses that batch.
func (o *destination) deliver(ctx context.Context, w *writer, j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			lost := j.points - j.partly
			o.dropped.Add(uint64(lost))
			o.guard.Caught(p, "influx: post a batch", "points", lost)
			err = nil
		}
	}()
	return w.deliver(ctx, j)
}

// drop counts lost points.
func (o *destination) drop(points int) {
	o.dropped.Add(uint64(points))
	o.lines.full.Warn(o.set.Logger, "influx: points dropped, the queue is full", "points", points, "queue_bytes", o.set.QueueBytes)
}

// settled returns how many points of the batches in work are stored or rejected.
func (o *destination) settled() (points int) {
	for _, w := range o.writers {
		points += w.settled()
	}
	return points
}

// state reports whether a writer is failing, and the most recent failure.
func (o *destination) state() (failing bool, last string, at time.Time) {
	for _, w := range o.writers {
		f, l, a := w.state()
		failing = failing || f
		if a.After(at) {
			last, at = l, a
		}
	}
	return failing, last, at
}

// delivery returns its counters; accepted and open are the points that the batcher has accepted
// and holds, without the rollups that it has summed.
func (o *destination) delivery(accepted [schema.Kinds]uint64, summed uint64, open [schema.Kinds]waiting) Delivery {
	d := Delivery{Dropped: o.dropped.Load()}
	for _, w := range o.writers {
		d.Stored += w.stored.Load()
		d.Rejected += w.rejected.Load()
		d.Expired += w.expired.Load()
		d.Others += w.others.Load()
	}
	size, requests := o.rate.now()
	d.BatchSize, d.Requests = uint64(size), uint64(requests)
	if len(o.writers) > 1 {
		d.Requests++ // the one for recent points
	}
	d.Failing, d.LastError, d.LastTime = o.state()
	if o.disk != nil {
		s := o.disk.Stats()
		d.SpoolBytes, d.Restored, d.Damaged = uint64(s.Disk), s.Restored, s.Damaged
		if s.Err != nil {
			d.SpoolError = s.Err.Error()
		}
		d.SpoolFull = float64(s.Disk) / float64(cmp.Or(int64(o.set.SpoolMaxBytes), spool.DefaultMaxBytes))
		d.Dropped += s.Dropped + s.Damaged
	}
	points, bytes, oldest := o.queue.size()
	d.QueueBytes = uint64(bytes)
	if o.set.KeepsRollups {
		d.Accepted += summed
	}
	for k, w := range open {
		if !o.takes(schema.Kind(k)) {
			continue
		}
		d.Accepted += accepted[k]
		points += w.points
		if w.points > 0 && (oldest.IsZero() || w.oldest.Before(oldest)) {
			oldest = w.oldest
		}
	}
	d.Queued = uint64(max(points-o.settled(), 0))
	if !oldest.IsZero() {
		d.LagSeconds = time.Since(oldest).Seconds()
	}
	d.Accepted += d.Restored
	return d
}
