package broker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/spool"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// errDrained is next's error when the queue is sealed and nothing waits.
var errDrained = errors.New("broker: everything is delivered")

// queue has the messages that wait for the broker.
type queue interface {
	// next waits for the oldest message that next has not returned yet. It stays in the queue
	// until done or reject; back makes next return it again. The error is that of ctx, or
	// errDrained.
	next(ctx context.Context) (*message, error)
	done(*message)
	back(*message)
	// reject removes a message that the broker will never accept.
	reject(*message)
	// seal declares that nothing will be added.
	seal()
	// close ends the queue and returns how many events are lost.
	close() (lost int)
	fill(*Stats)
}

// memory is a bounded queue in memory: when it is full, the oldest message is dropped.
type memory struct {
	maxBytes int
	log      *slog.Logger
	loss     throttle.Loss

	mu      sync.Mutex
	list    []*message
	bytes   int
	events  int
	dropped uint64 // events
	refused uint64 // events of rejected messages
	sealed  bool
	wake    chan struct{} // cap 1
}

func newMemory(maxBytes int, log *slog.Logger) *memory {
	return &memory{maxBytes: maxBytes, log: log, wake: make(chan struct{}, 1)}
}

func (q *memory) put(m *message) {
	lost := 0
	q.mu.Lock()
	for q.bytes+len(m.pub.Body) > q.maxBytes {
		i := slices.IndexFunc(q.list, func(m *message) bool { return !m.out })
		if i < 0 {
			break // at most those of one window, and this one
		}
		lost += q.list[i].events
		q.remove(q.list[i])
	}
	q.dropped += uint64(lost)
	q.list = append(q.list, m)
	q.bytes += len(m.pub.Body)
	q.events += m.events
	q.mu.Unlock()
	if lost > 0 {
		q.loss.Warn(q.log, "broker: the oldest events are dropped, the broker accepts none or not enough", "events", lost, "format", V3)
	}
	q.signal()
}

func (q *memory) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// remove removes a message; the caller holds mu.
func (q *memory) remove(m *message) {
	if i := slices.Index(q.list, m); i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
		q.bytes -= len(m.pub.Body)
		q.events -= m.events
	}
}

func (q *memory) next(ctx context.Context) (*message, error) {
	for {
		q.mu.Lock()
		for _, m := range q.list {
			if !m.out {
				m.out = true
				q.mu.Unlock()
				return m, nil
			}
		}
		sealed := q.sealed
		q.mu.Unlock()
		if sealed {
			return nil, errDrained
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *memory) done(m *message) {
	q.mu.Lock()
	q.remove(m)
	q.mu.Unlock()
}

func (q *memory) back(m *message) {
	q.mu.Lock()
	m.out = false
	q.mu.Unlock()
	q.signal()
}

func (q *memory) reject(m *message) {
	q.mu.Lock()
	q.remove(m)
	q.refused += uint64(m.events)
	q.mu.Unlock()
}

func (q *memory) seal() {
	q.mu.Lock()
	q.sealed = true
	q.mu.Unlock()
	q.signal()
}

func (q *memory) close() (lost int) {
	q.mu.Lock()
	lost = q.events
	q.dropped += uint64(lost)
	q.list, q.bytes, q.events = nil, 0, 0
	q.mu.Unlock()
	if lost > 0 {
		q.loss.Warn(q.log, "broker: events dropped at the end, the broker did not accept them", "events", lost, "format", V3)
	}
	q.loss.Flush()
	return lost
}

func (q *memory) fill(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Dropped, s.Rejected, s.Queued, s.QueueBytes = q.dropped, q.refused, uint64(q.events), uint64(q.bytes)
	if len(q.list) > 0 {
		s.LagSeconds = time.Since(q.list[0].since).Seconds()
	}
}

// disk is a queue that outlives the process.
type disk struct {
	*spool.Spool
	maxBytes int64
	log      *slog.Logger
	line     throttle.Line

	mu      sync.Mutex
	refused uint64 // events of rejected messages
}

// syncEvery is the longest that an accepted batch is in memory only.
const syncEvery = time.Second

func openDisk(dir string, maxBytes int64, log *slog.Logger) (*disk, error) {
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: maxBytes, SyncEvery: syncEvery, MaxPoints: 1, Unit: "events", Log: log})
	if err != nil {
		return nil, err
	}
	return &disk{Spool: s, maxBytes: maxBytes, log: log}, nil
}

func (q *disk) put(b *Batch, since time.Time, body []byte) {
	q.Put(byte(b.Bucket), b.Events, since, pack(b, body))
}

func (q *disk) next(ctx context.Context) (*message, error) {
	for {
		b, err := q.Next(ctx, spool.Either)
		if errors.Is(err, spool.ErrDrained) {
			return nil, errDrained
		}
		if err != nil {
			return nil, err
		}
		m, err := unpack(b.Data)
		if err != nil { // of another version of ipfsmon: its bytes are what was written
			q.line.Warn(q.log, "broker: a batch on disk cannot be read, its events are lost", "events", b.Points, "err", err)
			q.refuse(b.Points)
			q.Ack(b)
			continue
		}
		m.spooled, m.since = b, b.Since
		return m, nil
	}
}

func (q *disk) refuse(events int) {
	q.mu.Lock()
	q.refused += uint64(events)
	q.mu.Unlock()
}

func (q *disk) done(m *message) { q.Ack(m.spooled) }

func (q *disk) back(m *message) { q.Back(m.spooled) }

func (q *disk) reject(m *message) {
	q.refuse(m.events)
	q.Ack(m.spooled)
}

func (q *disk) seal() { q.Seal() }

func (q *disk) close() (lost int) { return q.Close() }

func (q *disk) fill(s *Stats) {
	st := q.Stats()
	q.mu.Lock()
	s.Rejected = q.refused
	q.mu.Unlock()
	s.Dropped, s.Damaged, s.Restored = st.Dropped+st.Damaged, st.Damaged, st.Restored
	s.Queued, s.QueueBytes = uint64(max(st.Points, 0)), uint64(st.Memory)
	if !st.Oldest.IsZero() {
		s.LagSeconds = max(time.Since(st.Oldest).Seconds(), 0)
	}
	s.SpoolBytes, s.SpoolFull = uint64(st.Disk), float64(st.Disk)/float64(q.maxBytes)
	if st.Err != nil {
		s.SpoolError = st.Err.Error()
	}
}
