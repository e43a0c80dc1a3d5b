package size

import (
	"cmp"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// DefaultMaxPairs is how many pairs of a CID and a peer a Popularity counts, if
// nothing else is said. A pair takes at most about 250 bytes, with a CID and a peer
// of its own.
const DefaultMaxPairs = 1 << 20

// Popular is how popular a CID is.
type Popular struct {
	CID      cid.Cid
	Requests uint64 // raw popularity (RRP): requests without global duplicates
	Peers    uint64 // unique popularity (URP): distinct peers that asked
	Seen     uint64 // bit i: monitor i had a request for it
}

// Popularity counts requests and distinct peers by CID. It is exact as long as
// there is room: what is beyond is in Left. It is for one goroutine.
type Popularity struct {
	max   int
	all   []Popular
	cids  map[cid.Cid]uint32 // index in all
	peers map[peer.ID]uint32 // a number for each
	pairs map[uint64]struct{}

	Requests uint64 // counted
	Left     uint64 // requests by a peer for a CID that were left out because there were too many pairs
}

// NewPopularity returns a count of at most so many pairs of a CID and a peer; 0
// means DefaultMaxPairs.
func NewPopularity(maxPairs int) *Popularity {
	return &Popularity{max: cmp.Or(maxPairs, DefaultMaxPairs), cids: map[cid.Cid]uint32{}, peers: map[peer.ID]uint32{}, pairs: map[uint64]struct{}{}}
}

// Seen notes that the monitor with that number, 0 to 63, had a request for a CID,
// which may be a duplicate. A CID without a counted request is ignored.
func (p *Popularity) Seen(c cid.Cid, monitor int) {
	if n, known := p.cids[c]; known {
		p.all[n].Seen |= 1 << uint(monitor)
	}
}

// Add counts a request that is not a global duplicate.
func (p *Popularity) Add(c cid.Cid, by peer.ID) {
	n, knownCID := p.cids[c]
	m, knownPeer := p.peers[by]
	pair := uint64(n)<<32 | uint64(m)
	known := false
	if knownCID && knownPeer {
		_, known = p.pairs[pair]
	}
	if !known {
		if len(p.pairs) >= p.max {
			p.Left++
			return
		}
		if !knownCID {
			n = uint32(len(p.all))
			p.cids[c] = n
			p.all = append(p.all, Popular{CID: c})
		}
		if !knownPeer {
			m = uint32(len(p.peers))
			p.peers[by] = m
		}
		p.pairs[uint64(n)<<32|uint64(m)] = struct{}{}
		p.all[n].Peers++
	}
	p.all[n].Requests++
	p.Requests++
}

// CIDs returns how many distinct CIDs were counted.
func (p *Popularity) CIDs() int { return len(p.all) }

// Of returns the popularity of a CID.
func (p *Popularity) Of(c cid.Cid) Popular {
	if n, ok := p.cids[c]; ok {
		return p.all[n]
	}
	return Popular{CID: c}
}

// ByRequests returns the CIDs with most requests, at most n, most first.
func (p *Popularity) ByRequests(n int) []Popular {
	return p.top(n, func(c Popular) (uint64, string) { return c.Requests, c.CID.KeyString() })
}

// ByPeers returns the CIDs that most distinct peers asked for, at most n, most
// first.
func (p *Popularity) ByPeers(n int) []Popular {
	return p.top(n, func(c Popular) (uint64, string) { return c.Peers, c.CID.KeyString() })
}

func (p *Popularity) top(n int, key func(Popular) (uint64, string)) []Popular {
	top, _ := topn.Split(slices.Clone(p.all), n, key)
	return top
}
