package introspect

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// maxQueued is how many bytes may wait to be written before events are dropped and commands
	// wait; maxHeld is the same for messages held during a pause. One state may always wait,
	// whatever its size.
	maxQueued = 8 << 20
	maxHeld   = 16 << 20
	// maxItems is how many messages may wait, and how many may be held.
	maxItems = 65536
)

type itemKind uint8

const (
	answerItem itemKind = iota // never dropped
	stateItem
	eventItem
)

// item is a waiting message. Its frame is shared with other sessions.
type item struct {
	frame []byte
	at    time.Time
	kind  itemKind
	tells string // the type of events whose columns are in it
}

// queue holds the messages waiting for one client. Adding a message never blocks.
type queue struct {
	filled chan struct{} // cap 1: there may be something to write

	mu        sync.Mutex
	out       []item // to be written, oldest first
	outBytes  int
	held      []item // held by a pause, oldest first
	heldBytes int
	paused    bool
	closed    bool
	room      chan struct{} // closed when there is room again; nil: nobody waits

	// Messages that the client missed: not yet reported, and in total.
	lostEvents, lostStates   uint64
	totalEvents, totalStates uint64
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// answer queues a message that is never dropped: read waits when too much is queued.
func (q *queue) answer(frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.appendOut(item{frame: frame})
}

func (q *queue) appendOut(it item) {
	if q.closed {
		return
	}
	q.out = append(q.out, it)
	q.outBytes += len(it.frame)
	q.signal()
}

// push queues a state or an event, or holds it during a pause. It returns the types whose
// columns were in messages dropped for it.
func (q *queue) push(it item) (untold []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	if q.paused {
		q.held = append(q.held, it)
		q.heldBytes += len(it.frame)
		n := 0
		for bytes := q.heldBytes; (bytes > maxHeld || len(q.held)-n > maxItems) && n < len(q.held)-1; n++ {
			bytes -= len(q.held[n].frame)
		}
		return q.unhold(n, true)
	}
	if it.kind == stateItem {
		// One that still waits is older: replace it.
		for i := range q.out {
			if q.out[i].kind == stateItem {
				q.outBytes -= len(q.out[i].frame)
				q.out = append(q.out[:i], q.out[i+1:]...)
				q.lost(stateItem)
				break
			}
		}
	} else if q.outBytes+len(it.frame) > maxQueued || len(q.out) >= maxItems {
		q.lost(it.kind)
		if it.tells != "" {
			return []string{it.tells}
		}
		return nil
	}
	q.appendOut(it)
	return nil
}

// unhold drops the first n held messages. counted: the client missed them.
func (q *queue) unhold(n int, counted bool) (untold []string) {
	for i := range q.held[:n] {
		it := &q.held[i]
		q.heldBytes -= len(it.frame)
		if it.tells != "" {
			untold = append(untold, it.tells)
		}
		if counted {
			q.lost(it.kind)
		}
		*it = item{}
	}
	q.held = q.held[n:]
	if len(q.held) == 0 {
		q.held = nil
	}
	return untold
}

// lost counts a message that the client misses.
func (q *queue) lost(kind itemKind) {
	if kind == stateItem {
		q.lostStates++
		q.totalStates++
	} else {
		q.lostEvents++
		q.totalEvents++
	}
}

// lose counts events that were never encoded.
func (q *queue) lose(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lostEvents += n
	q.totalEvents += n
}

// pause starts to hold pushes.
func (q *queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = true
}

// resume queues first, then the held messages that are not older than oldest.
func (q *queue) resume(first item, oldest time.Time) (untold []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	untold = q.tooOld(oldest)
	q.appendOut(first)
	if !q.closed {
		q.out = append(q.out, q.held...)
		q.outBytes += q.heldBytes
	}
	q.held, q.heldBytes, q.paused = nil, 0, false
	return untold
}

// prune drops held messages older than oldest. Retention demands that, so they are not counted
// as missed.
func (q *queue) prune(oldest time.Time) (untold []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tooOld(oldest)
}

func (q *queue) tooOld(oldest time.Time) []string {
	n := 0
	for n < len(q.held) && q.held[n].at.Before(oldest) {
		n++
	}
	return q.unhold(n, false)
}

// drop drops all held messages, because the client wants no more pushes.
func (q *queue) drop() (untold []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unhold(len(q.held), false)
}

// next removes and returns the first message; ok is false if there is none.
func (q *queue) next() (frame []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.out) == 0 {
		return nil, false
	}
	it := q.out[0]
	q.out[0] = item{}
	if q.out = q.out[1:]; len(q.out) == 0 {
		q.out = nil
	}
	q.outBytes -= len(it.frame)
	if q.room != nil && q.outBytes < maxQueued && len(q.out) < maxItems {
		close(q.room)
		q.room = nil
	}
	return it.frame, true
}

// wait returns when there is room for another answer.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return net.ErrClosed
	}
	if q.outBytes < maxQueued && len(q.out) < maxItems {
		q.mu.Unlock()
		return nil
	}
	if q.room == nil {
		q.room = make(chan struct{})
	}
	room := q.room
	q.mu.Unlock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notice returns what the client missed since the previous notice; nil: nothing.
func (q *queue) notice() *pb.ServerNotice {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lostEvents == 0 && q.lostStates == 0 {
		return nil
	}
	n := &pb.ServerNotice{
		Kind:            pb.ServerNotice_DISCARDING_EVENTS,
		DiscardedEvents: q.lostEvents, DiscardedStates: q.lostStates,
		TotalEvents: q.totalEvents, TotalStates: q.totalStates,
	}
	q.lostEvents, q.lostStates = 0, 0
	return n
}

// remind wakes the writer if there are misses to report.
func (q *queue) remind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lostEvents > 0 || q.lostStates > 0 {
		q.signal()
	}
}

// close drops everything. It returns the misses that were not reported.
func (q *queue) close() (events, states uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.out, q.held, q.outBytes, q.heldBytes = nil, nil, 0, 0
	return q.lostEvents, q.lostStates
}
