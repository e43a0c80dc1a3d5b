package unify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
)

// MaxMonitors is the most monitors of one unifier.
const MaxMonitors = 64

// The defaults of Config. The windows are the field's.
const (
	DefaultLateness     = time.Second
	DefaultMatch        = 5 * time.Second
	DefaultDuplicate    = 31 * time.Second
	DefaultReconnect    = 5 * time.Second
	DefaultMaxPending   = 1 << 20
	DefaultMaxWindows   = 2 << 20
	DefaultMaxWants     = 2 << 20
	DefaultMaxPeerWants = 64 << 10
	DefaultMaxLedgers   = 256 << 10
)

// DefaultSliding are the field's sliding windows, in seconds.
var DefaultSliding = []uint32{1, 9, 11, 29, 31, 601, 3601, 604801}

// Config says what to unify and within which bounds. A value of 0 means the
// default, except of Lateness, where it means that events come in order.
type Config struct {
	Monitors []string // their names: 1 to MaxMonitors, each once

	// Lateness is how much older than the time of Advance an event may be when it
	// comes. Each entry comes out that much later.
	Lateness time.Duration

	Match     time.Duration // how far apart the entries of a match may be
	Duplicate time.Duration // how far apart an entry and its repeat may be
	Reconnect time.Duration // how long after a reconnect a request may be a repeat from before it
	Sliding   []uint32      // seconds; at least 1 each

	// The bounds of memory. A unifier holds at most
	//  - MaxPending events and entries that wait, an equal part for each
	//    monitor, of about 100 bytes each,
	//  - MaxWindows pairs of a peer and a CID, of at most 200 bytes each,
	//  - MaxWants wants in ledgers, of at most 160 bytes each, MaxPeerWants of
	//    one peer at one monitor,
	//  - MaxLedgers ledgers, of at most 200 bytes each,
	// with CIDs of up to 43 bytes; a longer one takes its length more.
	MaxPending, MaxWindows, MaxWants, MaxPeerWants, MaxLedgers int
}

// withDefaults returns the configuration with the defaults in place of 0.
func (c Config) withDefaults() Config {
	c.Match = cmp.Or(c.Match, DefaultMatch)
	c.Duplicate = cmp.Or(c.Duplicate, DefaultDuplicate)
	c.Reconnect = cmp.Or(c.Reconnect, DefaultReconnect)
	c.MaxPending = cmp.Or(c.MaxPending, DefaultMaxPending)
	c.MaxWindows = cmp.Or(c.MaxWindows, DefaultMaxWindows)
	c.MaxWants = cmp.Or(c.MaxWants, DefaultMaxWants)
	c.MaxPeerWants = cmp.Or(c.MaxPeerWants, DefaultMaxPeerWants)
	c.MaxLedgers = cmp.Or(c.MaxLedgers, DefaultMaxLedgers)
	if c.Sliding == nil {
		c.Sliding = DefaultSliding
	}
	c.Sliding = slices.Sorted(slices.Values(c.Sliding))
	return c
}

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("fleet: "+format, args...)) }
	if n := len(c.Monitors); n < 1 || n > MaxMonitors {
		fault("%d monitors: want 1 to %d", n, MaxMonitors)
	}
	for i, name := range c.Monitors {
		if err := event.CheckName(name); err != nil {
			fault("a monitor's name %w", err)
		}
		if slices.Index(c.Monitors, name) < i {
			fault("two monitors have the name %q: want different names", name)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"lateness", c.Lateness}, {"match window", c.Match}, {"duplicate window", c.Duplicate}, {"reconnect window", c.Reconnect}} {
		if d.v < 0 || d.v > 24*time.Hour {
			fault("a %s of %v: want 0 to 24h", d.name, d.v)
		}
	}
	if slices.Contains(c.Sliding, 0) {
		fault("a sliding window of 0 s: want 1 or more")
	}
	if min(c.MaxPending, c.MaxWindows, c.MaxWants, c.MaxPeerWants, c.MaxLedgers) < 0 || max(c.MaxPending, c.MaxWindows, c.MaxWants, c.MaxPeerWants, c.MaxLedgers) > 1<<30 {
		fault("a bound of memory: want 0 to %d", 1<<30)
	}
	return errors.Join(errs...)
}

// Unifier unifies the events of several monitors. Its methods are for one
// goroutine at a time. Everything that it keeps is of one peer, so that several
// unifiers can share the peers.
type Unifier struct {
	cfg  Config
	emit func(*Entry)

	hold, matching, duplicate int64 // ms: the longest window, and the two

	pending  pending
	released int64 // everything older than this was released
	messages int64 // message ID of the last one

	peers, cids *names
	ledgers     ledgers
	windows     windows
	laters      slab[later]
	coverage    Coverage

	stats []MonitorStats

	out          []Entry // of the message that is being handled
	ids, gone    []uint32
	found        []uint32
	canceledCIDs map[uint32]bool
}

// New returns a unifier that calls emit with each unified entry.
func New(cfg Config, emit func(*Entry)) (*Unifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	u := &Unifier{
		cfg: cfg, emit: emit, matching: cfg.Match.Milliseconds(), duplicate: cfg.Duplicate.Milliseconds(),
		peers: newNames(), cids: newNames(), coverage: NewCoverage(len(cfg.Monitors)), stats: make([]MonitorStats, len(cfg.Monitors)),
		ledgers: ledgers{of: make([]chain, len(cfg.Monitors))}, canceledCIDs: map[uint32]bool{},
	}
	u.hold = max(u.matching, u.duplicate)
	for i, name := range cfg.Monitors {
		u.stats[i].Name = name
	}
	return u, nil
}

// Push adds events, of any monitors and in any order. They wait until Advance
// releases them; those that are older than what it has released are late: they
// are counted and left out. The events and their wants must not change
// afterwards.
func (u *Unifier) Push(events []Event) {
	for i := range events {
		e := &events[i]
		s := &u.stats[e.Monitor]
		s.Events++
		s.Newest = max(s.Newest, e.Time)
		weight := 1 + len(e.Wants)
		switch {
		case e.Time < u.released:
			s.Late++
			s.LateEntries += uint64(len(e.Wants))
			s.LateBy = max(s.LateBy, time.Duration(u.released-e.Time))
		case s.Waiting+weight > max(u.cfg.MaxPending/len(u.stats), event.MaxEntries+1):
			s.Overflow++
			s.OverflowEntries += uint64(len(e.Wants))
		default:
			s.Waiting += weight
			u.pending.push(e)
		}
	}
}

// Advance sets the time, in nanoseconds since 1970, and emits what is older than
// that by more than the lateness. The time is the caller's: that of the clock
// for live events, for recordings the oldest of the newest times of all that are
// not at their end. A time before that of an earlier call changes nothing.
func (u *Unifier) Advance(now int64) { u.release(now - int64(u.cfg.Lateness)) }

// Flush emits all that waits and ends all windows, as at the end of a trace.
// What comes later and is older is late; newer events begin with empty windows
// and the same ledgers.
func (u *Unifier) Flush() {
	last := u.released
	for i := range u.pending.heap {
		last = max(last, u.pending.heap[i].time+1)
	}
	u.release(last)
	for u.windows.oldest != 0 {
		u.closeWindow(u.windows.oldest)
	}
}

// release handles the events before a time.
func (u *Unifier) release(before int64) {
	if before <= u.released {
		return
	}
	u.released = before
	for {
		at, ok := u.pending.oldest()
		if !ok || at >= before {
			break
		}
		e := u.pending.pop()
		u.stats[e.Monitor].Waiting -= 1 + len(e.Wants)
		u.handle(&e)
	}
	u.closeWindows(milliseconds(before) - u.hold)
}

// handle handles an event in its turn.
func (u *Unifier) handle(e *Event) {
	if e.Kind == Restarted {
		u.forget(e.Monitor)
		return
	}
	u.messages++
	peer := u.peers.add(string(e.Peer))
	switch e.Kind {
	case Connected:
		u.connect(peer, e.Monitor, e.Time)
	case Disconnected:
		u.gone = u.disconnect(peer, e.Monitor, u.gone[:0])
		u.finish(e, peer, u.out[:0], u.ids[:0], SyntheticDisconnect)
	case Message:
		u.message(e, peer)
	}
	u.peers.drop(peer)
}

// message handles a Bitswap message.
func (u *Unifier) message(e *Event, peer uint32) {
	s := &u.stats[e.Monitor]
	s.Messages++
	out, ids := u.out[:0], u.ids[:0]
	kind := Incremental
	if e.Full {
		kind = FullList
	}
	for i := range e.Wants {
		w := &e.Wants[i]
		if w.Type == 0 {
			s.Unknown++
			continue
		}
		out = append(out, Entry{Monitor: e.Monitor, MessageID: u.messages, Message: kind, Time: e.Time, Peer: e.Peer, Address: e.Address,
			Priority: w.Priority, Type: w.Type, CID: w.CID})
		ids = append(ids, u.cids.add(w.CID.KeyString()))
	}
	u.gone = u.gone[:0]
	if ledger := u.ledger(peer, e.Monitor, e.Time, true); ledger != 0 {
		u.gone = u.simulate(ledger, e, out, ids, u.gone)
	}
	u.finish(e, peer, out, ids, SyntheticFull)
}

// finish adds synthetic cancels of the CIDs in u.gone to the entries of an event,
// matches and emits all, and drops a reference of each CID.
func (u *Unifier) finish(e *Event, peer uint32, out []Entry, ids []uint32, kind EntryType) {
	for _, id := range u.gone {
		c, err := cid.Cast(u.cids.raw(id))
		if err != nil {
			c = cid.Undef // a caller pushed what is not a CID
		}
		out = append(out, Entry{Monitor: e.Monitor, MessageID: u.messages, Message: Synthetic, Time: e.Time, Peer: e.Peer, Address: e.Address, Type: kind, CID: c})
		ids = append(ids, id)
	}
	u.match(peer, out, ids)
	for i := range out {
		u.stats[e.Monitor].count(&out[i])
		u.emit(&out[i])
	}
	for _, id := range ids {
		u.cids.drop(id)
	}
	u.out, u.ids = out[:0], ids[:0]
}
