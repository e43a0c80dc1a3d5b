package unify

import (
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// EntryType is what an entry of a wantlist asks for. The values are those of
// the field's CSV.
type EntryType uint8

// The types of entries. A synthetic cancel was not sent: a full wantlist
// omitted the entry, or the peer disconnected. The field reserves 8 for those
// at the end of a trace, which neither its tool nor this package makes.
const (
	Cancel              EntryType = 1
	WantBlock           EntryType = 2
	WantBlockDontHave   EntryType = 3 // with send_dont_have
	WantHave            EntryType = 4
	WantHaveDontHave    EntryType = 5 // with send_dont_have
	SyntheticFull       EntryType = 6
	SyntheticDisconnect EntryType = 7
)

// Request reports whether the entry asks for something: it is no cancel.
func (t EntryType) Request() bool { return t >= WantBlock && t <= WantHaveDontHave }

// Synthetic reports whether the entry is a cancel that was not sent.
func (t EntryType) Synthetic() bool { return t >= SyntheticFull }

// have reports whether a request is for a HAVE, and not for the block.
func (t EntryType) have() bool { return t >= WantHave }

// MessageType is the kind of message that an entry came in. The values are those
// of the field's CSV.
type MessageType uint8

// The types of messages.
const (
	Incremental MessageType = 1
	FullList    MessageType = 2
	Synthetic   MessageType = 3 // there was no message: of synthetic cancels
)

// The bits of Entry.Repeats: why a request repeats an earlier one at the same
// monitor.
const (
	RepeatsFull      = 1 // it was in the ledger before a full wantlist had it again
	RepeatsReconnect = 2 // it was in the ledger before the peer disconnected, and comes soon after the reconnect
	RepeatsSliding   = 4 // the ledger has it, since less than the longest sliding window
)

// Entry is one entry of a unified trace. It is valid until the function that
// gets it returns; copies of the struct may be kept.
type Entry struct {
	Monitor   int   // index in Config.Monitors
	MessageID int64 // counts the messages and connection events of all monitors in the order of their times; 1 for the first
	Message   MessageType
	Time      int64 // nanoseconds since 1970 UTC, at the monitor
	Peer      peer.ID
	Address   string // of the peer's first connection; "" where unknown
	Priority  int32
	Type      EntryType
	CID       cid.Cid

	// Matched: the same entry was seen at another monitor before, within
	// Config.Match: at MatchedTo, MatchAfter before.
	Matched    bool
	MatchedTo  int
	MatchAfter time.Duration // whole milliseconds

	// Duplicate: the peer sent a request (of a cancel: a cancel) for this CID to
	// any monitor before, within Config.Duplicate; the newest was DuplicateAfter
	// before.
	Duplicate      bool
	DuplicateAfter time.Duration // whole milliseconds

	Repeats  uint8  // bits of why it repeats an earlier request at this monitor; 0 of cancels
	Window   uint32 // seconds: the smallest of Config.Sliding that is longer than Since; 0 if none, and of cancels
	Since    uint32 // seconds since the request that it repeats, of a cancel since the request that it ends; 1 or more, 0 if there is none
	Upgrades bool   // a request for the block of which the ledger has one for a HAVE
}
