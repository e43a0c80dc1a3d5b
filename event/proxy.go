package event

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Proxy is the periodic totals of a proxy between peers (upstream) and its
// owner's nodes (downstream). Counters are since the sample before, the rest is
// as it is now.
type Proxy struct {
	Interval time.Duration // since the sample before

	UpstreamPeers int // connected peers
	Outstanding   int // CIDs that a downstream was asked for and has not answered
	Waiting       int // WANT_BLOCKs of peers that wait for room in the peer's budget
	QueuedBytes   int // bytes of blocks that are queued for peers

	Received Traffic // from upstream
	Sent     Traffic // to upstream

	Merged   uint64 // wants that joined one that a downstream was asked for already
	Cached   uint64 // wants answered from the cache of blocks fetched a moment before
	Deferred uint64 // blocks that found a peer's queue full: fetched again later
	Overflow uint64 // wants beyond a limit, ignored
	Ahead    uint64 // blocks that a node was asked for before a peer wanted them

	Answer LatencyStats // from a peer's want until its block is sent

	PassedStreams  uint64 // of other protocols, forwarded to a downstream
	BlockedStreams uint64 // of other protocols, refused: blocked, over a limit, or no node for them

	PreloadRequests uint64
	PreloadRefused  uint64 // of these, refused because of a limit
	PreloadRunning  int
	ReverseWants    uint64 // wants of downstreams, forwarded to peers
	ReverseBlocks   uint64 // blocks of peers, forwarded to downstreams

	Downstreams []ProxyDownstream // in the order of the configuration
}

// ProxyDownstream is the state and the totals of one node behind a proxy.
type ProxyDownstream struct {
	Name        string // as configured
	Peer        peer.ID
	Connected   bool
	Stalled     bool // connected, but does not answer: asked last
	Outstanding int  // CIDs that it was asked for and has not answered

	Received Traffic // from it
	Sent     Traffic // to it

	Verified      uint64 // blocks that match a CID that it was asked for
	VerifiedBytes uint64
	Refused       uint64 // blocks that it was not asked for; wrong bytes have another CID
	Late          uint64 // blocks that another downstream had sent before
	Timeouts      uint64 // wants that another downstream was asked for because it did not answer
	Connects      uint64

	RTT LatencyStats // from a want to its block
}
