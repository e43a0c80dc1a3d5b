package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// batch is a sequence of frames. All subscribers of a group share it, and it
// never changes.
type batch struct {
	data        []byte
	frames      int
	events      int
	first, last uint64 // Seq of the first and the last event, for version 4
}

// cost returns how many bytes a batch takes in a queue, with its overhead there.
func (b *batch) cost() int { return len(b.data) + 64 }

const (
	// writeBytes is about the most that one write sends: little enough that the
	// queue shrinks step by step on a slow connection.
	writeBytes = 256 << 10
	// maxClientBytes is how much a client may send after its hello before it is
	// disconnected. The protocol has nothing that it should send.
	maxClientBytes = 64 << 10
)

// subscriber is a client that gets frames. The server's encoder fills its queue,
// and a writer per subscriber empties it.
type subscriber struct {
	id    string
	conn  net.Conn
	since time.Time
	group *group // of its filter and encoding; nil for version 3

	mu      sync.Mutex
	queue   []batch
	queued  int // bytes in queue or being written
	limit   int
	ending  bool // nothing more will be queued: the writer drains the queue and ends
	frames  uint64
	bytes   uint64
	events  uint64
	dropped uint64 // events
	lost    uint64 // frames
	gap     gap    // of version 4: what was missed after the last batch in queue

	wake chan struct{} // cap 1: queue or ending has changed
	gone chan struct{} // closed with the connection
	once sync.Once
	why  error // set before gone is closed; nil: everything was sent
}

func newSubscriber(id string, conn net.Conn, g *group, limit int) *subscriber {
	return &subscriber{
		id: id, conn: conn, since: time.Now(), group: g, limit: limit,
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

// push queues a batch, or counts its events as dropped if it does not fit. It
// never waits. It returns the number of events dropped.
func (s *subscriber) push(b batch) (dropped int) {
	s.mu.Lock()
	if s.gap.any() && s.queued+b.cost()+2*gapCost <= s.limit {
		s.enqueueGap()
	}
	if s.queued+b.cost() > s.limit || s.gap.any() {
		s.dropped += uint64(b.events)
		s.lost += uint64(b.frames)
		if s.group != nil {
			s.gap.add(uint64(b.events), 0, b.first, b.last)
		}
		s.mu.Unlock()
		return b.events
	}
	s.enqueue(b)
	s.mu.Unlock()
	s.signal()
	return 0
}

// gapCost is more than the frame of a gap costs.
const gapCost = 256

// enqueue adds to the queue. The caller holds mu.
func (s *subscriber) enqueue(b batch) {
	s.queue = append(s.queue, b)
	s.queued += b.cost()
}

// enqueueGap adds the record of the gap to the queue. The caller holds mu.
func (s *subscriber) enqueueGap() {
	s.enqueue(batch{data: s.gap.frame(), frames: 1})
	s.gap = gap{}
}

// missed records for a subscriber of version 4 that the monitor lost n events
// before it could send them to anyone.
func (s *subscriber) missed(n, first, last uint64) {
	s.mu.Lock()
	s.gap.add(0, n, first, last)
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finish makes the writer end when the queue is empty.
func (s *subscriber) finish() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.signal()
}

// close ends the connection and with it the reader and the writer. Any goroutine
// may call it, more than once; the first reason is kept.
func (s *subscriber) close(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.gone)
		s.conn.Close()
	})
}

// take moves up to about writeBytes from the queue to bufs. done is true when the
// queue is empty and nothing more will come.
func (s *subscriber) take(bufs net.Buffers) (_ net.Buffers, took taken, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 && s.gap.any() {
		s.enqueueGap()
	}
	n := 0
	for n < len(s.queue) && took.cost < writeBytes {
		bufs = append(bufs, s.queue[n].data)
		took.cost += s.queue[n].cost()
		took.frames += s.queue[n].frames
		took.events += s.queue[n].events
		n++
	}
	// The queue's array must not keep alive what was taken.
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	return bufs, took, n == 0 && s.ending
}

// taken counts what one call to take moved.
type taken struct{ frames, events, cost int }

// write sends what is queued until the subscriber is closed, or until it is
// ending and the queue is empty. It returns an error if the connection accepts
// nothing for timeout.
func (s *subscriber) write(timeout time.Duration) error {
	var scratch net.Buffers
	for {
		bufs, took, done := s.take(scratch[:0])
		if done {
			return nil
		}
		if len(bufs) == 0 {
			select {
			case <-s.wake:
			case <-s.gone:
				return nil
			}
			continue
		}
		scratch = bufs
		sent, err := writeAll(s.conn, bufs, timeout)
		clear(scratch)
		s.mu.Lock()
		s.queued -= took.cost
		s.bytes += uint64(sent)
		if err == nil {
			s.frames += uint64(took.frames)
			s.events += uint64(took.events)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// writeAll writes all of bufs, as long as the connection accepts something within
// each timeout.
func writeAll(conn net.Conn, bufs net.Buffers, timeout time.Duration) (sent int64, err error) {
	var to io.Writer = conn
	if c, ok := conn.(*listen.Conn); ok {
		to = c.Conn // so that one system call writes all of bufs
	}
	for len(bufs) > 0 {
		if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return sent, err
		}
		n, err := bufs.WriteTo(to)
		sent += n
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return sent, err
		}
	}
	return sent, nil
}

// Reasons for closing a subscriber.
var (
	errTalkative = errors.New("stream: the client sent data after its hello: want none")
	errKicked    = errors.New("stream: kicked")
	errEnding    = errors.New("stream: the server is shutting down")
)

// discard reads and ignores what the client sends until it disconnects. Without a
// read we would not notice that while there is nothing to write.
func discard(conn net.Conn) error {
	var buf [512]byte
	for left := maxClientBytes; left > 0; {
		n, err := conn.Read(buf[:])
		if err != nil {
			return err
		}
		left -= n
	}
	return errTalkative
}

func (s *subscriber) stats() SubscriberStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SubscriberStats{
		ID: s.id, Since: s.since, Version: version, QueuedBytes: s.queued, QueueLimit: s.limit,
		SentFrames: s.frames, SentBytes: s.bytes, SentEvents: s.events, DroppedFrames: s.lost, DroppedEvents: s.dropped,
	}
	if s.group != nil {
		st.Version, st.Encoding, st.Filter = version4, encodingName(s.group.encoding), s.group.match.key
	}
	return st
}
