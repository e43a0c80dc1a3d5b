package event

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Proxy is the periodic totals of a proxy that stands between peers (upstream)
// and nodes of its owner (downstream). Counters are since the sample before,
// the rest is as it is now.
type Proxy struct {
	Interval time.Duration // since the sample before

	UpstreamPeers int // connected peers that are served
	Outstanding   int // CIDs that a downstream was asked for and has not answered
	Waiting       int // wants of peers that wait for their turn
	QueuedBytes   int // blocks that wait to be sent to peers

	Received Traffic // from upstream
	Sent     Traffic // to upstream

	Merged   uint64 // wants that joined one that was asked for already
	Cached   uint64 // wants answered with a block fetched a moment before
	Deferred uint64 // blocks that a peer's full queue did not take: fetched again later
	Overflow uint64 // wants beyond a limit, not looked at
	Ahead    uint64 // blocks that a node was asked for before a peer wanted them

	Answer LatencyStats // from a peer's want to the block's way out

	PassedStreams  uint64 // of other protocols, passed on to a downstream
	BlockedStreams uint64 // of other protocols, refused: blocked, over a limit or without a node

	PreloadRequests uint64
	PreloadRefused  uint64 // of these, because of a limit
	PreloadRunning  int
	ReverseWants    uint64 // wants of downstreams, passed to peers
	ReverseBlocks   uint64 // blocks of peers, passed to downstreams

	Downstreams []ProxyDownstream // in the order of the configuration
}

// ProxyDownstream is how one node behind a proxy stands.
type ProxyDownstream struct {
	Name        string // as configured
	Peer        peer.ID
	Connected   bool
	Stalled     bool // connected, but does not answer; asked last
	Outstanding int  // CIDs that it was asked for and has not answered

	Received Traffic // from it
	Sent     Traffic // to it

	Verified      uint64 // blocks that were asked for and fit their CID
	VerifiedBytes uint64
	Refused       uint64 // blocks that it was not asked for: wrong bytes have another CID
	Late          uint64 // blocks that somebody else had brought before
	Timeouts      uint64 // wants for which another one was asked because it did not answer
	Connects      uint64

	RTT LatencyStats // from a want to its block
}
