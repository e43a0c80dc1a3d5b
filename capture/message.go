package capture

import (
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// Sizes of the slabs from which long lists of entries are cut. A cut costs no
// allocation; a new slab is needed once in many messages. The garbage collector
// frees a slab together with the last event that has a part of it, so short lists,
// which stay with their event for as long as it is reused, have no part.
const (
	wantSlab     = 4096
	presenceSlab = 1024
	blockSlab    = 512
	// maxScratch is the longest scratch list that an arena keeps between messages.
	maxScratch = 4 * event.MaxEntries
	// eventBatch is how many events an arena gets from the bus at once.
	eventBatch = 32
)

// arena is the memory that one callback needs while it copies a message.
type arena struct {
	scratch   []bsmsg.Entry
	batch     [eventBatch]*event.Event
	events    []*event.Event // the rest of batch
	wants     []event.Want
	presences []event.Presence
	blocks    []event.Block
	budget    int // bytes that are left for the entries of the current event
}

// event returns an event for PublishSpare. Only the method message fills such
// events: it sets every field that a message has, and the other fields stay zero.
func (a *arena) event(b *bus.Bus) *event.Event {
	if len(a.events) == 0 {
		a.events = a.batch[:]
		b.Spare(a.events)
	}
	e := a.events[len(a.events)-1]
	a.events = a.events[:len(a.events)-1]
	return e
}

// maxReusedList is the longest list that stays with an event when it is reused.
const maxReusedList = 64

// list returns a list of n entries: the one that the event has from an earlier
// use if it has room, else a new one, or if it is too long to be reused a part of
// the slab, which is replaced when too short.
func list[T any](have []T, slab *[]T, n, size int) []T {
	if n <= cap(have) && cap(have) <= maxReusedList {
		return have[:n]
	}
	if n == 0 {
		return nil
	}
	room := (n + 3) &^ 3 // so that lists of similar length can reuse it
	if room <= maxReusedList {
		return make([]T, n, room)
	}
	if len(*slab) < room {
		*slab = make([]T, max(room, size))
	}
	out := (*slab)[:n:room]
	*slab = (*slab)[room:]
	return out
}

// passed says how a message passed the node's border.
type passed struct {
	dir   event.Direction
	via   event.Transport
	at    int64         // when, nanoseconds since 1970 UTC
	took  time.Duration // sending it
	sized bool          // the node itself wrote it, so that its size on the wire is known
	addrs []event.Text  // where the peer is; nil: the addresses of its connections
}

// message copies a Bitswap message into an event and publishes it, unless the
// peer is over its limit.
func (c *Capture) message(how passed, p peer.ID, m bsmsg.BitSwapMessage) {
	a := c.arenas.Get().(*arena)
	e := a.event(c.bus)
	e.Time = how.at
	e.Kind = event.KindMessage
	e.Dir = how.dir
	e.Transport, e.Took = how.via, how.took
	e.Peer = p
	e.Full = m.Full()
	e.PendingBytes = m.PendingBytes()
	e.WireSize = 0
	e.Truncated, e.OversizeCID = 0, 0
	info, bucket := c.conns.peer(p)
	info.fill(e)
	if how.addrs != nil {
		e.Addrs = how.addrs
	}
	c.place(e)

	t := event.Traffic{Messages: 1}
	e.Wants, e.Presences, e.Blocks = e.Wants[:0], e.Presences[:0], e.Blocks[:0]
	a.budget = entryBudget
	wants, presences, blocks := boxoShape.lengths(m)
	switch {
	case wants > maxRead:
		e.Truncated = uint32(wants)
	case wants > 0:
		a.copyWants(e, &t, m)
		if how.sized && presences == 0 && blocks == 0 {
			e.WireSize = int32(wireSize(a.scratch, m.Full(), m.PendingBytes()))
		}
		a.forget(e)
	case how.sized && presences == 0 && blocks == 0:
		e.WireSize = int32(wireSize(nil, m.Full(), m.PendingBytes())) // a full wantlist with nothing in it
	}
	if presences > 0 {
		a.copyPresences(e, &t, m.BlockPresences())
	}
	if blocks > 0 {
		a.copyBlocks(e, &t, m.Blocks())
	}
	t.Truncated = uint64(e.Truncated)
	c.traffic[how.via][how.dir].add(&t)
	if how.dir == event.Sent || bucket.take(e.Time, 1+len(e.Wants)+len(e.Presences)+len(e.Blocks)) {
		c.arenas.Put(a)
		c.bus.PublishSpare(e)
		return
	}
	c.arenas.Put(a) // the event is not reused: this path need not be cheap
	c.limited.Add(1)
}

// entryBudget is how many bytes the entries of one event may take in any format:
// the rest of MaxEncodedBytes is for addresses and all else.
const entryBudget = event.MaxEncodedBytes - event.MaxAddrs*(event.MaxAddrText+4) - 4096

// limited returns how many of n entries the event takes, and counts the rest as
// truncated.
func limited(e *event.Event, n int) int {
	if n > event.MaxEntries {
		e.Truncated += uint32(n - event.MaxEntries)
		return event.MaxEntries
	}
	return n
}

// fits takes an entry with that CID off the arena's budget and reports whether
// there was room.
func (a *arena) fits(c cid.Cid) bool {
	a.budget -= event.EntryOverhead + 2*c.ByteLen()
	return a.budget >= 0
}

func (a *arena) copyWants(e *event.Event, t *event.Traffic, m bsmsg.BitSwapMessage) {
	a.scratch = m.FillWantlist(a.scratch)
	all := a.scratch
	e.Wants = list(e.Wants, &a.wants, limited(e, len(all)), wantSlab)
	var kinds [4]uint64 // by kindOf
	for i := range e.Wants {
		in, out := &all[i], &e.Wants[i]
		out.CID = in.Cid
		if in.Cid.ByteLen() > event.MaxCIDBytes {
			out.CID = digestOf(e, in.Cid)
		}
		if !a.fits(out.CID) {
			e.Truncated += uint32(len(e.Wants) - i)
			e.Wants = e.Wants[:i]
			break
		}
		out.Priority = in.Priority
		out.Type = event.WantType(in.WantType)
		out.Cancel = in.Cancel
		out.SendDontHave = in.SendDontHave
		kinds[kindOf(in)]++
	}
	for i := len(e.Wants); i < len(all); i++ {
		kinds[kindOf(&all[i])]++
	}
	t.WantBlock, t.WantHave, t.Cancel = kinds[0], kinds[1], kinds[2]
}

// forget ends the use of scratch: it keeps no long list, and no megabytes of a
// CID; other CIDs stay until they are overwritten.
func (a *arena) forget(e *event.Event) {
	switch {
	case cap(a.scratch) > maxScratch:
		a.scratch = nil
	case e.OversizeCID > 0:
		clear(a.scratch)
	}
}

// kindOf returns 0 for a WANT_BLOCK, 1 for a WANT_HAVE, 2 for a cancel, 3 for
// an unknown type.
func kindOf(w *bsmsg.Entry) int {
	switch {
	case w.Cancel:
		return 2
	case event.WantType(w.WantType) == event.WantBlock:
		return 0
	case event.WantType(w.WantType) == event.WantHave:
		return 1
	}
	return 3
}

func (a *arena) copyPresences(e *event.Event, t *event.Traffic, all []bsmsg.BlockPresence) {
	e.Presences = list(e.Presences, &a.presences, limited(e, len(all)), presenceSlab)
	for i := range e.Presences {
		c := limitCID(e, all[i].Cid)
		if !a.fits(c) {
			e.Truncated += uint32(len(e.Presences) - i)
			e.Presences = e.Presences[:i]
			break
		}
		e.Presences[i] = event.Presence{CID: c, Type: event.PresenceType(all[i].Type)}
	}
	for i := range all {
		switch event.PresenceType(all[i].Type) {
		case event.Have:
			t.Have++
		case event.DontHave:
			t.DontHave++
		}
	}
}

func (a *arena) copyBlocks(e *event.Event, t *event.Traffic, all []blocks.Block) {
	e.Blocks = list(e.Blocks, &a.blocks, limited(e, len(all)), blockSlab)
	for i := range e.Blocks {
		c := limitCID(e, all[i].Cid())
		if !a.fits(c) {
			e.Truncated += uint32(len(e.Blocks) - i)
			e.Blocks = e.Blocks[:i]
			break
		}
		e.Blocks[i] = event.Block{CID: c, Size: int32(len(all[i].RawData()))}
	}
	for i := range all {
		t.Blocks++
		t.BlockBytes += uint64(len(all[i].RawData()))
	}
}

// limitCID returns c, or digestOf if c is too long to be kept. Bitswap enforces
// its own limit only after capture has seen the message, so a CID of a megabyte
// can arrive here.
func limitCID(e *event.Event, c cid.Cid) cid.Cid {
	if c.ByteLen() <= event.MaxCIDBytes {
		return c
	}
	return digestOf(e, c)
}

// digestOf returns the CID that replaces one that is too long.
func digestOf(e *event.Event, c cid.Cid) cid.Cid {
	e.OversizeCID = max(e.OversizeCID, uint32(c.ByteLen()))
	digest, err := mh.Sum(c.Bytes(), mh.SHA2_256, -1)
	if err != nil {
		return cid.Undef
	}
	return cid.NewCidV1(cid.Raw, digest)
}
