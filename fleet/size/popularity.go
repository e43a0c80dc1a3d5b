package size

import (
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// DefaultMaxPairs is how many pairs of a CID and a peer a Popularity counts, if
// nothing else is said. A pair takes about 100 bytes.
const DefaultMaxPairs = 1 << 20

// Popular is how popular a CID is.
type Popular struct {
	CID      cid.Cid
	Requests uint64 // raw popularity (RRP): requests without global duplicates
	Peers    uint64 // unique popularity (URP): distinct peers that asked
}

// Popularity counts requests and distinct peers by CID. It is exact as long as
// there is room: what is beyond is in Left. It is for one goroutine.
type Popularity struct {
	max   int
	pairs map[wanted]struct{}
	by    map[cid.Cid]*Popular

	Requests uint64 // counted
	Left     uint64 // requests by a peer for a CID that were left out because there were too many pairs
}

type wanted struct {
	cid  cid.Cid
	peer peer.ID
}

// NewPopularity returns a count of at most so many pairs of a CID and a peer; 0
// means DefaultMaxPairs.
func NewPopularity(maxPairs int) *Popularity {
	if maxPairs == 0 {
		maxPairs = DefaultMaxPairs
	}
	return &Popularity{max: maxPairs, pairs: map[wanted]struct{}{}, by: map[cid.Cid]*Popular{}}
}

// Add counts a request that is not a global duplicate.
func (p *Popularity) Add(c cid.Cid, by peer.ID) {
	pair := wanted{c, by}
	_, known := p.pairs[pair]
	if !known && len(p.pairs) >= p.max {
		p.Left++
		return
	}
	n := p.by[c]
	if n == nil {
		n = &Popular{CID: c}
		p.by[c] = n
	}
	if !known {
		p.pairs[pair] = struct{}{}
		n.Peers++
	}
	n.Requests++
	p.Requests++
}

// CIDs returns how many distinct CIDs were counted.
func (p *Popularity) CIDs() int { return len(p.by) }

// Of returns the popularity of a CID.
func (p *Popularity) Of(c cid.Cid) Popular {
	if n := p.by[c]; n != nil {
		return *n
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
	all := make([]Popular, 0, len(p.by))
	for _, c := range p.by {
		all = append(all, *c)
	}
	top, _ := topn.Split(all, n, key)
	return top
}
