package event

import (
	"time"

	"github.com/ipfs/go-cid"
)

// SearchState says what happened in a search for providers.
type SearchState uint8

// The states of a search.
const (
	SearchBegan SearchState = iota // the exchange asked the routing
	SearchFound                    // the routing returned a provider: the event's Peer
	SearchEnded
)

// SearchStates are the names of the states.
var SearchStates = []string{"began", "found", "ended"}

// String returns the state's name: began, found or ended.
func (s SearchState) String() string { return SearchStates[min(int(s), len(SearchStates)-1)] }

// Search is a step of a search for the providers of a CID, which the exchange
// made in the content routing. The event's Addrs are those of the record.
type Search struct {
	CID       cid.Cid
	State     SearchState
	HTTP      bool          // found: the record has an HTTP address
	Connected bool          // found: the node had a libp2p connection to the provider already
	Elapsed   time.Duration // found, ended: since the search began
	Providers int           // ended: records that the routing returned, also those without an event
}

// Source says where the provider came from that a wanted block was fetched from.
type Source uint8

// The sources; Sources is their number.
const (
	SourceConnected Source = iota // a peer that was connected for another reason, and was asked
	SourceRouting                 // the routing had named it for this CID before it was asked
	SourceSession                 // it is connected because the routing named it for another CID
	SourceHTTP                    // an HTTP gateway
	SourceUnknown                 // when the peer was asked is not known
	Sources
)

// SourceNames are the tag values of the sources.
var SourceNames = [Sources]string{"connected", "routing", "session", "http", "unknown"}

// String returns the tag value of the source.
func (s Source) String() string { return SourceNames[min(s, SourceUnknown)] }

// Retrieval is a block that the node wanted and got: the first time that it
// came. The event's Peer sent it, over the event's Transport.
type Retrieval struct {
	CID        cid.Cid
	Size       int32
	Source     Source
	ToProvider time.Duration // from the first want or search to the first record, HAVE or block
	ToBlock    time.Duration // from the first want or search to the block
}

// RequestOutcome says how an HTTP request ended.
type RequestOutcome uint8

// The outcomes; RequestOutcomes is their number.
const (
	RequestBlock    RequestOutcome = iota
	RequestHave                    // the server has the block
	RequestDontHave                // it does not
	RequestCanceled                // the node no longer wanted the block
	RequestTimeout                 // it could not be sent in time
	RequestError                   // it could not be sent
	RequestNoAnswer                // boxo reported nothing: a failure, or a 404 where the want did not ask for DONT_HAVE
	RequestOutcomes
)

// RequestOutcomeNames are the tag values of the outcomes.
var RequestOutcomeNames = [RequestOutcomes]string{"block", "have", "dont_have", "canceled", "timeout", "error", "no_answer"}

// String returns the tag value of the outcome.
func (o RequestOutcome) String() string { return RequestOutcomeNames[min(o, RequestNoAnswer)] }

// RequestMethods are the tag values of the two methods, by WantType: a want of a
// block is a GET, a want of a HAVE a HEAD.
var RequestMethods = [2]string{"GET", "HEAD"}

// Request is a want that was asked over HTTP, and how that ended. The event's
// Peer is the provider, its Addrs are where it was asked.
type Request struct {
	CID     cid.Cid
	Want    WantType // WantBlock or WantHave
	Outcome RequestOutcome
	Elapsed time.Duration // from the want to its end
	Size    int32         // of the block; 0 if none came
}

// SummaryRetrieval is how the node got what it wanted, in one interval.
type SummaryRetrieval struct {
	Sources [Sources]SourceStats // blocks by where their provider came from

	Wanted     uint64 // CIDs that the node began to want
	GivenUp    uint64 // CIDs whose want was cancelled before a block came
	Unanswered uint64 // CIDs that were not asked for again and never came
	Waiting    int    // CIDs that wait now
	Lost       uint64 // waiting CIDs, and records, forgotten because of the bound on memory

	Surplus      uint64 // blocks received that were not waited for: mostly second copies
	SurplusBytes uint64

	Searches  uint64 // searches for providers that began
	Providers uint64 // records that the routing returned
	NotFound  uint64 // searches that ended without a record
	Search    LatencyStats
}

// SourceStats are the blocks of one source.
type SourceStats struct {
	Blocks, Bytes       uint64
	ToProvider, ToBlock LatencyStats
}

// RequestStats are the HTTP requests of one method that ended in one way.
type RequestStats struct {
	Bytes uint64 // of blocks
	Took  LatencyStats
}

// SendStats is the sending of one transport's messages in one interval.
type SendStats struct {
	Took   LatencyStats                    // messages that were sent
	Errors [len(SendErrors)]SendErrorStats // by class
}

// SendErrorStats are the messages that could not be sent for one reason.
type SendErrorStats struct {
	Messages, Wants, Presences, Blocks uint64
	Took                               time.Duration // together
}
