package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/probe/store"
)

// maxQueued bounds the results that wait in memory for the database: a day of
// rounds of seven nodes once a minute. Beyond it the oldest are lost and counted.
const maxQueued = 10_000

// How long the queue waits after the database refused, and how many results go
// in one transaction.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	oneGo      = 100
)

// queue takes results at once and writes them when the database takes them, in
// their order.
type queue struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	results []*store.Result
	lost    uint64
	changed chan struct{} // cap 1
}

func newQueue(s Store, log *slog.Logger) *queue {
	return &queue{store: s, log: log, changed: make(chan struct{}, 1)}
}

func (q *queue) put(r *store.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.results) >= maxQueued {
		q.results = q.results[1:]
		q.lost++
	}
	q.results = append(q.results, r)
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// state is how many results wait, and how many are lost.
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

// done takes results out of the queue that put may have shortened meanwhile.
func (q *queue) done(taken []*store.Result, lost int) {
	gone := make(map[*store.Result]bool, len(taken))
	for _, r := range taken {
		gone[r] = true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := 0
	for i < len(q.results) && gone[q.results[i]] {
		i++
	}
	q.results = q.results[i:]
	q.lost += uint64(lost)
}

// run writes until ctx is done and drain has passed: then it tries for that
// long to write what is left.
func (q *queue) run(ctx context.Context, drain time.Duration) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drain, cancel) })
	defer stop()
	retry := firstRetry
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
			retry = firstRetry
			continue
		}
		select {
		case <-time.After(retry):
		case <-late.Done():
		}
		retry = min(2*retry, lastRetry)
	}
	if n, _ := q.state(); n > 0 {
		q.log.Error("probe: results are lost, the database did not take them before the end", "results", n)
	}
}

// write is false if the database is to be asked again. What it refuses for what
// is in it is lost alone.
func (q *queue) write(ctx context.Context, batch []*store.Result) bool {
	err := q.store.Add(ctx, batch...)
	switch {
	case err == nil:
		q.done(batch, 0)
		return true
	case !store.Permanent(err):
		n, _ := q.state()
		q.log.Warn("probe: the database takes no results, trying again", "waiting", n, "error", err)
		return false
	case len(batch) == 1:
		q.log.Error("probe: a result is lost, the database refuses it", "cid", batch[0].CID, "node", batch[0].Node, "error", err)
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
