package event

import (
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Line is what used the line in one direction and one interval.
type Line struct {
	Messages   uint64
	Bytes      uint64        // of the messages, as Event.WireBytes counts them
	BlockBytes uint64        // data in their blocks
	CIDs       []CIDBytes    // most bytes first
	Peers      []PeerBytes   // most bytes first
	Agents     []FamilyBytes // all families with bytes, most bytes first
}

// CIDBytes is the data of one CID's blocks. The true number is between
// Bytes-Error and Bytes.
type CIDBytes struct {
	CID   cid.Cid
	Bytes uint64
	Error uint64 // Bytes may be too high by this; 0: exact
}

// PeerBytes is the bytes of one peer's messages. The true number is between
// Bytes-Error and Bytes.
type PeerBytes struct {
	Peer  peer.ID
	Agent Text
	Bytes uint64
	Error uint64
}

// FamilyBytes is what the peers of one family of agents exchanged.
type FamilyBytes struct {
	Family     string // one of AgentFamilies
	Messages   uint64
	Bytes      uint64
	BlockBytes uint64
	DontHaves  uint64 // over Bitswap
}
