// Package bus carries events from capture to the sinks.
//
// In: Publish, called from libp2p's and Bitswap's own goroutines. Out: a
// Reader for each sink, which reads at its own pace and learns how many
// events it missed. Promised: Publish never blocks on a sink and never waits
// for more than a short critical section; memory is bounded by a number of
// events and by their weight; events come out of every reader in the order of
// their Seq; what a reader missed is exactly the gap in Seq. Not promised:
// that a slow reader gets everything. When the queue is full the oldest event
// is dropped, and the readers that had not read it count it as missed.
//
// An event and its Wants, Presences and Blocks are valid until the reader's next
// call to Next: after that the bus may reuse them for another event, so that the
// hottest path leaves nothing to the garbage collector. Clone an event to
// keep it longer. What its other fields point to (Conn, Identify, Sample, Summary,
// Addrs and so on) never changes.
//
// With the build tag poison, for tests, a bus returns copies to its readers and
// overwrites them at the next call to Next: a sink that keeps an event reads
// garbage, or the race detector finds it.
package bus

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Defaults of Config.
const (
	DefaultMaxEvents = 1 << 15
	DefaultMaxBytes  = 16 << 20
	DefaultWakeEvery = 50 * time.Millisecond
)

// wakePart bounds how much waits for a waker that sleeps: a part of what the queue holds.
const wakePart = 8

// ErrClosed is returned by Next when the reader was closed, or the bus was
// closed and everything is read.
var ErrClosed = errors.New("bus: closed")

// Config bounds the queue. The zero value means the defaults.
type Config struct {
	MaxEvents int // most events held for the slowest reader
	MaxBytes  int // most bytes of these events, by Event.Weight

	// WakeEvery is how long readers are left to sleep after they were woken, unless an
	// eighth of what the queue holds came since. So it bounds how long an event waits for
	// an idle reader, and how often readers are woken. With 1 ms the wake-ups of five
	// sinks cost a node with 1,000 peers and 2,000 messages a second a fifth of its CPU time
	// (make bench-peers); and a sink that finds many events at once works with a warm cache.
	WakeEvery time.Duration
}

// Bus is a bounded queue with any number of publishers and readers.
// All methods may be called from any goroutine.
type Bus struct {
	cfg Config

	mu      sync.Mutex // held briefly: never while waiting for anything
	ring    []slot     // its length is a power of two
	head    uint64     // index of the next event, which is its Seq less one: slot(head) is written next
	tail    uint64     // index of the oldest event in the ring; head-tail are in it
	weight  int
	noReuse uint64 // events before this index are not reused: a closed reader may still look at them
	spare   []*event.Event
	holding bool // before Live: keep events although no reader waits for them
	closed  bool
	readers []*Reader
	idle    bool   // the waker waits on wake
	woken   uint64 // head when the readers were last woken
	fresh   int    // weight of the events since then

	wake chan struct{} // cap 1
	done chan struct{} // closed when the waker has ended; nil before it starts
}

// maxSpare is how many events are kept for Spare: more than any node publishes
// within DefaultWakeEvery.
const maxSpare = 8192

// maxSpareWeight is the heaviest event that is reused, one of 64 entries:
// longer lists would be kept alive by events that do not need them.
var maxSpareWeight = int32((&event.Event{Wants: make([]event.Want, 64)}).Weight())

// slot holds an event and its weight, so that dropping an old event does not
// have to fetch it from memory.
type slot struct {
	event  *event.Event
	weight int32
	spare  bool // it came from Spare and may be reused
}

// slot returns the place of the event with the index i, which is its Seq less one.
func (b *Bus) slot(i uint64) *slot { return &b.ring[i&uint64(len(b.ring)-1)] }

// New returns a bus. It costs next to nothing until the first event, because
// every command of the node makes one, also those without a network.
func New(cfg Config) *Bus {
	if cfg.MaxEvents <= 0 {
		cfg.MaxEvents = DefaultMaxEvents
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.WakeEvery <= 0 {
		cfg.WakeEvery = DefaultWakeEvery
	}
	return &Bus{cfg: cfg, holding: true, idle: true, wake: make(chan struct{}, 1)}
}

// Publish sets the event's Seq and adds it to the queue. The caller must not
// change it afterwards. Publish returns false, and drops the event, if the bus
// is closed.
func (b *Bus) Publish(e *event.Event) bool { return b.publish(e, false) }

// PublishSpare is Publish for an event from Spare: the bus reuses it when all
// readers are done with it.
func (b *Bus) PublishSpare(e *event.Event) bool { return b.publish(e, true) }

// Spare fills buf with events for PublishSpare. They are new or hold what was
// published in them before: set every field.
func (b *Bus) Spare(buf []*event.Event) {
	b.mu.Lock()
	n := copy(buf, b.spare[max(0, len(b.spare)-len(buf)):])
	b.spare = b.spare[:len(b.spare)-n]
	b.mu.Unlock()
	if n < len(buf) {
		fresh := make([]event.Event, len(buf)-n)
		for i := range fresh {
			buf[n+i] = &fresh[i]
		}
	}
}

func (b *Bus) publish(e *event.Event, spare bool) bool {
	w := e.Weight()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	if b.ring == nil {
		b.ring = make([]slot, 1<<bits.Len(uint(b.cfg.MaxEvents-1)))
	}
	e.Seq = b.head + 1
	n := uint64(b.cfg.MaxEvents)
	for b.head-b.tail >= n || b.weight+w > b.cfg.MaxBytes && b.head > b.tail {
		b.drop(b.untaken(b.tail))
	}
	*b.slot(b.head) = slot{e, int32(w), spare}
	b.head++
	b.weight += w
	if len(b.readers) == 0 && !b.holding {
		b.drop(true)
	}
	b.fresh += w
	wake := b.idle || b.head-b.woken >= n/wakePart || b.fresh >= b.cfg.MaxBytes/wakePart
	b.idle = false
	if wake {
		b.woken, b.fresh = b.head, 0
	}
	b.mu.Unlock()
	if wake {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// untaken reports whether no reader has got the event with that index yet. The
// caller holds mu.
func (b *Bus) untaken(i uint64) bool {
	for _, r := range b.readers {
		if r.next > i {
			return false
		}
	}
	return true
}

// drop removes the oldest event; free means that no reader looks at it. The
// caller holds mu.
func (b *Bus) drop(free bool) {
	s := b.slot(b.tail)
	b.weight -= int(s.weight)
	if free && s.spare && s.weight <= maxSpareWeight && b.tail >= b.noReuse && len(b.spare) < maxSpare {
		b.spare = append(b.spare, s.event)
	}
	s.event = nil
	b.tail++
}

// Live ends the start phase, in which the bus keeps every event for readers that
// subscribe later. From now on it releases what all readers have read.
func (b *Bus) Live() {
	b.mu.Lock()
	b.holding = false
	b.release()
	b.mu.Unlock()
}

// release drops the events that every reader is done with. The caller holds mu.
func (b *Bus) release() {
	if b.holding {
		return
	}
	done := b.head
	for _, r := range b.readers {
		done = min(done, max(r.done, b.tail))
	}
	for b.tail < done {
		b.drop(true)
	}
}

// Subscribe adds a reader. It starts with the oldest event that is still held:
// before Live that is the very first one, later about the newest. Stats shows
// the name. Close the reader when it is no longer needed.
func (b *Bus) Subscribe(name string) *Reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &Reader{bus: b, name: name, next: b.tail, done: b.tail, ready: make(chan struct{}, 1)}
	r.ready <- struct{}{} // look once before waiting
	b.readers = append(b.readers, r)
	if b.done == nil && !b.closed {
		b.done = make(chan struct{})
		go b.waker(b.done)
	}
	return r
}

// waker wakes the readers after an event, and then every WakeEvery while more come.
// It ends when the bus is closed; Close waits for it.
func (b *Bus) waker(done chan struct{}) {
	defer close(done)
	sleep := time.NewTimer(b.cfg.WakeEvery)
	var seen uint64
	for {
		<-b.wake
		for {
			b.mu.Lock()
			fresh, closed := b.head != seen, b.closed
			seen = b.head
			if fresh || closed {
				b.woken, b.fresh = b.head, 0
				b.wakeReaders()
			} else {
				b.idle = true
			}
			b.mu.Unlock()
			if closed {
				return
			}
			if !fresh {
				break
			}
			sleep.Reset(b.cfg.WakeEvery)
			select {
			case <-sleep.C:
			case <-b.wake: // much came, or the bus was closed
			}
		}
	}
}

// wakeReaders wakes all readers; the caller holds mu.
func (b *Bus) wakeReaders() {
	for _, r := range b.readers {
		select {
		case r.ready <- struct{}{}:
		default:
		}
	}
}

// Close closes the bus: later events are refused; readers get what is still held
// and then ErrClosed. It may be called more than once.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	b.wakeReaders()
	done := b.done
	b.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	<-done
}

// Stats holds the counters of a bus.
type Stats struct {
	Published uint64 // events accepted
	Held      int    // events that a reader has still to read
	Bytes     int    // weight of these and of those that readers are looking at
	Readers   []ReaderStats
}

// ReaderStats holds the counters of one reader.
type ReaderStats struct {
	Name   string
	Read   uint64 // events that Next returned to it, or left out for it
	Missed uint64 // events that were dropped before it read them
	Behind uint64 // events waiting for it
}

// Stats returns the counters of the bus, for status lines and metrics.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Published: b.head, Bytes: b.weight}
	read := b.head
	for _, r := range b.readers {
		missed := r.missed
		next := r.next
		if next < b.tail {
			missed += b.tail - next
			next = b.tail
		}
		read = min(read, next)
		s.Readers = append(s.Readers, ReaderStats{Name: r.name, Read: r.read, Missed: missed, Behind: b.head - next})
	}
	if b.holding {
		read = b.tail
	}
	s.Held = int(b.head - read)
	return s
}

// Reader is one sink's place in the queue. Its methods are for one goroutine,
// except Close and Drained, which any goroutine may call.
type Reader struct {
	bus    *Bus
	name   string
	ready  chan struct{}                   // cap 1
	change func(*event.Event) *event.Event // nil: events pass unchanged; immutable once Next was called
	lent   lent                            // with the tag poison: what Next returned last; used by Next alone
	owed   uint64                          // missed and not reported yet, because every event since was left out; used by Next alone

	// guarded by bus.mu
	next   uint64 // index of the next event to read
	done   uint64 // the reader no longer looks at events before this index
	read   uint64
	missed uint64
	closed bool
	drains []drainWait
}

// Map makes Next return change(e) in place of each event e, with the same Seq;
// nil leaves the event out. An event left out counts as read, not as missed.
// Events are shared: change must not write to its argument. Next calls it
// without a lock; its panics are Next's. Call Map right after Subscribe, before
// the first Next.
func (r *Reader) Map(change func(*event.Event) *event.Event) { r.change = change }

// Next waits for events and fills buf with at least one and at most len(buf)
// of them. missed is how many events this reader lost between the event that
// Next returned last and buf[0]. The error is that of ctx, after which Next may
// be called again, or ErrClosed when no more events will come.
func (r *Reader) Next(ctx context.Context, buf []*event.Event) (n int, missed uint64, err error) {
	for {
		n, missed, closed := r.take(buf)
		r.owed += missed
		if n > 0 {
			if r.change != nil {
				n = r.mapped(buf[:n])
			}
			if n > 0 {
				missed, r.owed = r.owed, 0
				return n, missed, nil
			}
			// All were left out. More may be there without another wake-up.
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			continue
		}
		if closed {
			return 0, 0, ErrClosed
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// mapped changes the events in buf and moves those that are not left out to its
// front. No unchanged event remains in buf, also when change panics, so that the
// reader cannot see there what change hides from it.
func (r *Reader) mapped(buf []*event.Event) (n int) {
	defer func() { clear(buf[n:]) }()
	for i, e := range buf {
		seq := e.Seq
		buf[i] = nil
		if e = r.change(e); e != nil {
			if e.Seq != seq { // never write to an event that change returned unchanged
				e.Seq = seq
			}
			buf[n] = e
			n++
		}
	}
	return n
}

func (r *Reader) take(buf []*event.Event) (n int, missed uint64, closed bool) {
	b := r.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.closed {
		return 0, 0, true
	}
	r.lent.takeBack()
	r.done = r.next
	r.drained()
	if b.head == r.next {
		b.release()
		return 0, 0, b.closed
	}
	if r.next < b.tail {
		missed = b.tail - r.next
		r.missed += missed
		r.next = b.tail
	}
	for n < len(buf) && r.next < b.head {
		buf[n] = b.slot(r.next).event
		n++
		r.next++
	}
	r.read += uint64(n)
	r.lent.lend(buf[:n])
	b.release()
	return n, missed, false
}

// Drained waits until the reader is done with every event that was published
// before the call: Next has returned it or counted it as missed, and was called
// again since. It returns the error of ctx when that ends first, and ErrClosed
// when the reader was closed with events left. Any goroutine may call it while
// another one reads; if nobody reads, it blocks until ctx ends.
func (r *Reader) Drained(ctx context.Context) error {
	b := r.bus
	b.mu.Lock()
	to := b.head
	if r.done >= to {
		b.mu.Unlock()
		return nil
	}
	if r.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	w := drainWait{to: to, done: make(chan error, 1)}
	r.drains = append(r.drains, w)
	b.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drainWait is one waiting call of Drained.
type drainWait struct {
	to   uint64     // until the reader is done with the events before this index
	done chan error // cap 1
}

// drained ends the calls of Drained that have what they wait for. The caller
// holds bus.mu.
func (r *Reader) drained() {
	r.drains = slices.DeleteFunc(r.drains, func(w drainWait) bool {
		switch {
		case r.done >= w.to:
			w.done <- nil
		case r.closed:
			w.done <- ErrClosed
		default:
			return false
		}
		return true
	})
}

// Close unsubscribes the reader; a waiting Next returns ErrClosed. It may be
// called more than once.
func (r *Reader) Close() {
	b := r.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.drained()
	b.noReuse = max(b.noReuse, r.next)
	for i, other := range b.readers {
		if other == r {
			b.readers = append(b.readers[:i], b.readers[i+1:]...)
			break
		}
	}
	b.release()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}
