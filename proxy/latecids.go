package proxy

import "github.com/ipfs/go-cid"

// maxLateCIDs is how many past CIDs are remembered for a node: a block of one of them is late,
// not unrequested.
const maxLateCIDs = 16384

// lateCIDs remembers the most recently added CIDs.
type lateCIDs struct {
	ring []cid.Cid
	next int
	n    map[cid.Cid]int
}

func (p *lateCIDs) add(c cid.Cid) {
	if p.n == nil {
		p.n = map[cid.Cid]int{}
	}
	p.n[c]++
	if len(p.ring) < maxLateCIDs {
		p.ring = append(p.ring, c)
		return
	}
	old := p.ring[p.next]
	if p.n[old]--; p.n[old] == 0 {
		delete(p.n, old)
	}
	p.ring[p.next] = c
	p.next = (p.next + 1) % maxLateCIDs
}

func (p *lateCIDs) has(c cid.Cid) bool { return p.n[c] > 0 }
