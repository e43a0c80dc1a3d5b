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
// call of Next: after that they may be reused for another event, so that the
// hottest path leaves nothing to the garbage collector. Clone an event to
// keep it longer. What its other fields point to (Conn, Identify, Sample, Summary,
// Addrs and so on) is never changed.
//
// Built with the tag poison, for tests, a bus hands copies to its readers and
// overwrites them at the next call of Next: a sink that keeps an event reads
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
)

// wakeEvery is how long the waker rests after it has woken the readers: the
// longest time that an event waits in the queue of an idle reader, and the
// price of a wake-up is paid at most once in it, whatever the rate of events.
const wakeEvery = time.Millisecond

// ErrClosed is returned by Next when the bus was closed and everything read.
var ErrClosed = errors.New("bus: closed")

// Config bounds the queue. The zero value means the defaults.
type Config struct {
	MaxEvents int // most events held for the slowest reader
	MaxBytes  int // most bytes of them, by Event.Weight
}

// Bus is a bounded queue with one writer's end and any number of readers.
// All methods may be called from any goroutine.
type Bus struct {
	cfg Config

	mu      sync.Mutex // held for short: never while waiting for anything
	ring    []slot     // as many as a power of two
	head    uint64     // Seq of the next event, less one: slot(head) is written next
	tail    uint64     // oldest kept; head-tail are held
	weight  int
	kept    uint64 // events before this index are not used again: a closed reader may have them
	spare   []*event.Event
	holding bool // before Live: keep events though no reader wants them
	closed  bool
	readers []*Reader
	idle    bool // the waker waits on wake

	wake chan struct{} // cap 1
	done chan struct{} // closed when the waker has ended; nil before it starts
}

// maxSpare is how many events are kept for Spare: as many as come within
// wakeEvery at a rate that no node has.
const maxSpare = 8192

// maxSpareWeight is the heaviest event that is used again, one of 64 entries:
// the lists of others would be kept alive by events that do not need them.
var maxSpareWeight = int32((&event.Event{Wants: make([]event.Want, 64)}).Weight())

// slot holds an event and its weight, so that letting go of an old event does
// not have to fetch it from memory.
type slot struct {
	event  *event.Event
	weight int32
	spare  bool // it came from Spare and may be used again
}

// slot returns the place of the event with the index i, which is its Seq less one.
func (b *Bus) slot(i uint64) *slot { return &b.ring[i&uint64(len(b.ring)-1)] }

// New makes a bus. It costs next to nothing until the first event: it is made
// for every command of the node, also those without a network.
func New(cfg Config) *Bus {
	if cfg.MaxEvents <= 0 {
		cfg.MaxEvents = DefaultMaxEvents
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	return &Bus{cfg: cfg, holding: true, idle: true, wake: make(chan struct{}, 1)}
}

// Publish takes an event, which must not be changed afterwards, and gives it
// its Seq. It is false if the bus is closed; then the event is gone.
func (b *Bus) Publish(e *event.Event) bool { return b.publish(e, false) }

// PublishSpare is Publish for an event that Spare gave: when all readers are
// done with it, it is used again.
func (b *Bus) PublishSpare(e *event.Event) bool { return b.publish(e, true) }

// Spare fills buf with events to be filled and given to PublishSpare. They are
// as they were when they were published before, or new: set every field.
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
	wake := b.idle
	b.idle = false
	b.mu.Unlock()
	if wake {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// untaken says whether no reader was given the event of that index. The caller
// holds mu.
func (b *Bus) untaken(i uint64) bool {
	for _, r := range b.readers {
		if r.next > i {
			return false
		}
	}
	return true
}

// drop removes the oldest event; free says that no reader has it. The
// caller holds mu.
func (b *Bus) drop(free bool) {
	s := b.slot(b.tail)
	b.weight -= int(s.weight)
	if free && s.spare && s.weight <= maxSpareWeight && b.tail >= b.kept && len(b.spare) < maxSpare {
		b.spare = append(b.spare, s.event)
	}
	s.event = nil
	b.tail++
}

// Live ends the time in which the bus keeps everything for readers yet to
// come: from now on, what all readers have read is released. Until then an
// event from before the first Subscribe is read by every reader.
func (b *Bus) Live() {
	b.mu.Lock()
	b.holding = false
	b.release()
	b.mu.Unlock()
}

// release drops what every reader is done with. The caller holds mu.
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

// Subscribe adds a reader. It starts with the oldest event still held: before
// Live that is the first event of all, later about the newest. The name is for
// Stats. Close the reader when it is no longer needed.
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

// waker wakes the readers after an event, and then at most every wakeEvery.
// It ends when the bus is closed; Close waits for it.
func (b *Bus) waker(done chan struct{}) {
	defer close(done)
	var seen uint64
	for {
		<-b.wake
		for {
			b.mu.Lock()
			fresh, closed := b.head != seen, b.closed
			seen = b.head
			if fresh || closed {
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
			time.Sleep(wakeEvery)
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

// Close ends the bus: later events are refused, readers get what is still
// held and then ErrClosed. It may be called again.
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

// Stats is what the bus has done so far.
type Stats struct {
	Published uint64 // events taken
	Held      int    // events that a reader has still to read
	Bytes     int    // weight of these and of those that readers are at
	Readers   []ReaderStats
}

// ReaderStats is how one reader stands.
type ReaderStats struct {
	Name   string
	Read   uint64 // events given to it
	Missed uint64 // events that went before it read them
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
// but Close and Drained may be called from any.
type Reader struct {
	bus    *Bus
	name   string
	ready  chan struct{}                   // cap 1
	change func(*event.Event) *event.Event // nil: events pass as they are; immutable once Next was called
	lent   lent                            // with the tag poison: what Next handed out last; Next's own
	owed   uint64                          // missed and not told yet, as all since was left out; Next's own

	// guarded by bus.mu
	next   uint64 // index of the next event to read
	done   uint64 // events before this index are not looked at any more
	read   uint64
	missed uint64
	closed bool
	drains []drainWait
}

// Map has every event pass through change before Next returns it: another
// event in its place, with the same Seq, or nil to leave it out. An event left
// out is read, not missed. Events are shared: change must not write to the one
// it is given. It is called in Next, without a lock; its panics are Next's.
// Call Map right after Subscribe, before the first Next.
func (r *Reader) Map(change func(*event.Event) *event.Event) { r.change = change }

// Next waits for events and fills buf with at least one and at most len(buf)
// of them. missed is how many were lost to this reader since it was given the
// event before buf[0]. The error is ctx's, and Next may be called again then,
// or ErrClosed when nothing will come any more.
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
			// All were left out. There may be more, without another wake-up.
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

// mapped changes the events in buf and moves those that stay to its front. No
// event is left there as it was, also when change panics: what a reader must
// not see, it cannot find in its buffer.
func (r *Reader) mapped(buf []*event.Event) (n int) {
	defer func() { clear(buf[n:]) }()
	for i, e := range buf {
		seq := e.Seq
		buf[i] = nil
		if e = r.change(e); e != nil {
			if e.Seq != seq { // never write to an event that came back as it was
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

// Drained waits until the reader is done with all that was published before the
// call: it was given the events, or they were lost to it, and it has called Next
// again. Whoever reads must go on reading meanwhile, or ctx must end: its error
// is returned, or ErrClosed when the reader was closed with events left.
// Drained may be called from any goroutine, while another one reads.
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

// drainWait is a Drained that waits.
type drainWait struct {
	to   uint64     // until events before this index are done with
	done chan error // cap 1
}

// drained answers those who wait for what the reader is done with; the caller
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

// Close takes the reader out; a Next that waits returns ErrClosed. It may be
// called again.
func (r *Reader) Close() {
	b := r.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.drained()
	b.kept = max(b.kept, r.next)
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
