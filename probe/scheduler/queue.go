package scheduler

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// maxQueued bounds the results that wait for the database: a day of rounds of
// seven nodes once a minute. Beyond it the oldest are lost and counted.
const maxQueued = 10_000

// How long the queue waits after a failed write, and how many results are in one
// transaction.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	oneGo      = 100
)

// queue accepts results at once and writes them to the database, in their order,
// when it is available. With a journal they are on disk before put returns, and
// those that an earlier process left are written first. Each has a number, by which
// the database knows which it has.
type queue struct {
	store Store
	log   *slog.Logger
	disk  *journal // nil: in memory only
	name  string

	mu      sync.Mutex
	results []*store.Result // by number
	next    int64
	lost    uint64
	fails   throttle.Line // of the file
	changed chan struct{} // cap 1
}

func newQueue(s Store, log *slog.Logger) *queue {
	return &queue{store: s, log: log, name: rand.Text(), next: 1, changed: make(chan struct{}, 1)}
}

// open opens the file of the queue.
func (q *queue) open(path string) (err error) {
	var aside string
	if q.disk, aside, err = openJournal(path); err != nil {
		return err
	}
	if aside != "" {
		q.log.Error("probe: the queue's file cannot be read, its results are lost", "set_aside_as", aside)
	}
	q.name = q.disk.name
	return nil
}

// attach registers the queue in the database and loads the results that an earlier
// process left. Results for another database are set aside: their numbers of
// servers have another meaning here.
func (q *queue) attach(ctx context.Context) error {
	written, known, err := q.store.Queue(ctx, q.name)
	if err != nil {
		return err
	}
	q.mu.Lock()
	if q.disk != nil {
		err = q.restore(written, known)
	}
	q.next = max(q.next, written+1)
	q.mu.Unlock()
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return q.store.AddQueue(ctx, q.name)
}

// restore is called with mu held.
func (q *queue) restore(written int64, known bool) error {
	waiting, bad, err := q.disk.load()
	if damaged(err) {
		aside, err := q.replace("damaged")
		q.log.Error("probe: the queue's file cannot be read, its results are lost", "set_aside_as", aside)
		return err
	}
	if err != nil {
		return err
	}
	if len(waiting)+bad > 0 && !known {
		aside, err := q.replace("other-database")
		q.log.Error("probe: results of an earlier run are for another database, this one does not have the queue", "results", len(waiting)+bad, "set_aside_as", aside)
		q.lost += uint64(len(waiting) + bad)
		return err
	}
	q.lost += uint64(bad)
	for len(waiting) > 0 && waiting[0].Number <= written {
		waiting = waiting[1:]
	}
	if len(waiting) > 0 || bad > 0 {
		q.log.Warn("probe: results of an earlier run wait for the database", "results", len(waiting), "unreadable", bad)
	}
	if q.results = waiting; len(waiting) > 0 {
		q.next = waiting[len(waiting)-1].Number + 1
		q.changed <- struct{}{}
	}
	return nil
}

// replace sets the file aside and creates a new one.
func (q *queue) replace(why string) (aside string, err error) {
	path := q.disk.path
	if err := q.disk.close(); err != nil {
		return "", err
	}
	if aside, err = setAside(path, why); err != nil {
		return "", err
	}
	return aside, q.open(path)
}

// close closes the file.
func (q *queue) close() error {
	if q.disk == nil {
		return nil
	}
	return q.disk.close()
}

func (q *queue) put(r *store.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	over := int64(0)
	if len(q.results) >= maxQueued {
		over = q.results[0].Number
		q.results = q.results[1:]
		q.lost++
	}
	r.Number = q.next
	q.next++
	q.results = append(q.results, r)
	if q.disk != nil {
		if err := q.disk.put(r, over); err != nil {
			q.warn(err)
		}
	}
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

func (q *queue) warn(err error) {
	q.fails.Warn(q.log, "probe: the queue's file cannot be written, results wait in memory only", "err", err)
}

// state returns how many results wait, and how many are lost.
func (q *queue) state() (waiting int, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.results), q.lost
}

func (q *queue) head() []*store.Result {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*store.Result(nil), q.results[:min(len(q.results), oneGo)]...)
}

// done removes results from the queue, which put may have shortened meanwhile.
func (q *queue) done(taken []*store.Result, lost int) {
	last := taken[len(taken)-1].Number
	q.mu.Lock()
	defer q.mu.Unlock()
	i := 0
	for i < len(q.results) && q.results[i].Number <= last {
		i++
	}
	q.results = q.results[i:]
	q.lost += uint64(lost)
	if q.disk != nil {
		if err := q.disk.done(last); err != nil {
			q.warn(err) // harmless: the database skips results that it has
		}
	}
}

// run writes results until ctx is done, and then for at most the time drain what is
// left.
func (q *queue) run(ctx context.Context, drain time.Duration) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drain, cancel) })
	defer stop()
	retry := backoff.New(firstRetry, lastRetry)
	for late.Err() == nil {
		batch := q.head()
		if len(batch) == 0 {
			select {
			case <-q.changed:
				continue
			case <-ctx.Done():
				if n, _ := q.state(); n == 0 {
					return
				}
				continue
			}
		}
		if q.write(late, batch) {
			retry.Reset()
			continue
		}
		_ = retry.Wait(late)
	}
	switch n, _ := q.state(); {
	case n > 0 && q.disk != nil:
		q.log.Warn("probe: results wait on disk for the next start, the database did not accept them before the end", "results", n, "file", q.disk.path)
	case n > 0:
		q.log.Error("probe: results are lost, the database did not accept them before the end", "results", n)
	}
}

// write returns false if it must be retried. A result whose content the database
// rejects is lost; the others are not.
func (q *queue) write(ctx context.Context, batch []*store.Result) bool {
	err := q.store.AddQueued(ctx, q.name, batch...)
	switch {
	case err == nil:
		q.done(batch, 0)
		return true
	case !store.Permanent(err):
		n, _ := q.state()
		q.log.Warn("probe: the database accepts no results, retrying", "waiting", n, "err", err)
		return false
	case len(batch) == 1:
		q.log.Error("probe: a result is lost, the database rejects it", "cid", batch[0].CID, "node", batch[0].Node, "err", err)
		q.done(batch, 1)
		return true
	}
	for _, r := range batch {
		if !q.write(ctx, []*store.Result{r}) {
			return false
		}
	}
	return true
}
