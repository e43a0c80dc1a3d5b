package proxy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of the reverse direction.
const (
	maxWishes      = 4096     // wants of one node that no preload permits yet
	maxReverse     = 16384    // wants of nodes sent to peers
	maxReverseSend = 64 << 20 // bytes of blocks waiting for one node
	maxAskedPeers  = 32       // peers asked for one CID
	lookAgain      = time.Second
)

// reverse is the direction from peers to nodes. It is open for the CIDs of running preloads and
// their children, from the peers at the caller's address to the node that answers the caller.
// The engine's lock guards it.
type reverse struct {
	allowed map[cid.Cid][]*preload
	wants   map[reverseKey]*reverseWant
	wishes  map[*downstream]map[cid.Cid]entry
	// at returns the addresses of a connected peer; set before anything runs.
	at func(peer.ID) []netip.Addr
}

type reverseKey struct {
	down *downstream
	cid  cid.Cid
}

// reverseWant is a node's want sent to peers.
type reverseWant struct {
	block, dontHave bool
	asked           map[peer.ID]askState // asked, have or dontHave
	answered        bool
}

// preload is a running request to /api/v0/refs.
type preload struct {
	callers map[netip.Addr]int // with how many requests
	down    *downstream
	anyPeer bool
	limit   int
	cids    map[cid.Cid]struct{}

	peers  []peer.ID // at the callers' addresses
	looked time.Time
}

func (r *reverse) init() {
	r.allowed = map[cid.Cid][]*preload{}
	r.wants = map[reverseKey]*reverseWant{}
	r.wishes = map[*downstream]map[cid.Cid]entry{}
}

// openPreload opens the reverse direction for a CID.
func (e *engine) openPreload(root cid.Cid, d *downstream, callers []netip.Addr) *preload {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &preload{callers: map[netip.Addr]int{}, down: d, anyPeer: e.cfg.PreloadAnyPeer, limit: e.cfg.PreloadNodes, cids: map[cid.Cid]struct{}{}}
	for _, a := range callers {
		p.callers[a]++
	}
	e.allow(p, root)
	e.flush()
	return p
}

// joinPreload adds a caller, whose peers may have the blocks too, or removes one.
func (e *engine) joinPreload(p *preload, caller netip.Addr, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.callers[caller] += by; p.callers[caller] <= 0 {
		delete(p.callers, caller)
	}
	p.looked = time.Time{}
}

// allowPreload opens the reverse direction for a child that the node has listed.
func (e *engine) allowPreload(p *preload, child cid.Cid) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.allow(p, child)
	e.flush()
}

// closePreload closes the reverse direction, and cancels the wants sent to peers for it.
func (e *engine) closePreload(p *preload) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &e.reverse
	for c := range p.cids {
		left := r.allowed[c][:0]
		for _, x := range r.allowed[c] {
			if x != p {
				left = append(left, x)
			}
		}
		if r.allowed[c] = left; len(left) == 0 {
			delete(r.allowed, c)
		}
		if !slices.ContainsFunc(left, func(x *preload) bool { return x.down == p.down }) {
			e.endReverse(reverseKey{p.down, c}, "")
		}
	}
	p.cids = nil
	e.flush()
}

func (e *engine) allow(p *preload, c cid.Cid) {
	if p.cids == nil || len(p.cids) > p.limit {
		return
	}
	if _, there := p.cids[c]; there {
		return
	}
	r := &e.reverse
	p.cids[c] = struct{}{}
	r.allowed[c] = append(r.allowed[c], p)
	if x, wished := r.wishes[p.down][c]; wished {
		delete(r.wishes[p.down], c)
		e.reverseWant(p, x)
	}
}

// nodeWants processes a node's wantlist. A full one is treated as an update: wants that ended
// have been cancelled or answered.
func (e *engine) nodeWants(id peer.ID, entries []entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.byPeer[id]
	if d == nil || e.cfg.refsAt == "" {
		return
	}
	r := &e.reverse
	for _, x := range entries {
		if x.cid.ByteLen() > maxCID {
			continue
		}
		if x.cancel {
			delete(r.wishes[d], x.cid)
			e.endReverse(reverseKey{d, x.cid}, "")
			continue
		}
		var open *preload
		for _, p := range r.allowed[x.cid] {
			if p.down == d {
				open = p
			}
		}
		if open != nil {
			e.reverseWant(open, x)
			continue
		}
		if r.wishes[d] == nil {
			r.wishes[d] = map[cid.Cid]entry{}
		}
		if len(r.wishes[d]) >= maxWishes {
			for c := range r.wishes[d] { // any
				delete(r.wishes[d], c)
				break
			}
		}
		r.wishes[d][x.cid] = x
	}
	e.flush()
}

// reverseWant asks the callers' peers for a node's want.
func (e *engine) reverseWant(p *preload, x entry) {
	r := &e.reverse
	key := reverseKey{p.down, x.cid}
	w := r.wants[key]
	if w == nil {
		if len(r.wants) >= maxReverse {
			return
		}
		w = &reverseWant{asked: map[peer.ID]askState{}}
		r.wants[key] = w
	}
	w.block, w.dontHave, w.answered = w.block || x.block, w.dontHave || x.dontHave, false
	e.n.reverseWants++
	what := itemWantHave
	var holders []peer.ID
	if w.block {
		what = itemWantBlock
		for id, s := range w.asked {
			if s == have {
				holders = append(holders, id)
			}
		}
	}
	if len(holders) == 0 {
		holders = e.peersOf(p)
	}
	for _, id := range holders {
		u := e.ups[id]
		if u == nil {
			continue
		}
		w.asked[id] = asked
		e.post(&u.box, item{cid: x.cid, what: what, priority: x.priority})
	}
	e.reverseNobody(key, w)
}

// peersOf returns the peers at the callers' addresses.
func (e *engine) peersOf(p *preload) []peer.ID {
	if time.Since(p.looked) < lookAgain {
		return p.peers
	}
	p.peers, p.looked = p.peers[:0], time.Now()
	for id := range e.ups {
		if len(p.peers) == maxAskedPeers {
			break
		}
		for _, a := range e.reverse.at(id) {
			if p.callers[a] > 0 {
				p.peers = append(p.peers, id)
				break
			}
		}
	}
	if len(p.peers) == 0 && p.anyPeer {
		for id := range e.ups {
			if p.peers = append(p.peers, id); len(p.peers) == maxAskedPeers {
				break
			}
		}
	}
	return p.peers
}

// reverseNobody sends DONT_HAVE to a node because no peer has its want.
func (e *engine) reverseNobody(key reverseKey, w *reverseWant) {
	if !w.dontHave || w.answered {
		return
	}
	for _, s := range w.asked {
		if s != dontHave {
			return
		}
	}
	w.answered = true
	e.post(&key.down.box, item{cid: key.cid, what: itemDontHave})
}

// endReverse cancels a want at all peers except one.
func (e *engine) endReverse(key reverseKey, but peer.ID) {
	w := e.reverse.wants[key]
	if w == nil {
		return
	}
	delete(e.reverse.wants, key)
	for id, s := range w.asked {
		if u := e.ups[id]; u != nil && id != but && s != dontHave {
			e.post(&u.box, item{cid: key.cid, what: itemCancel})
		}
	}
}

// fromPeer processes the blocks and presences of a peer. Unrequested ones are dropped.
func (e *engine) fromPeer(id peer.ID, blks []blocks.Block, haves, dontHaves []cid.Cid) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.reverse.wants) == 0 {
		return
	}
	for _, blk := range blks {
		for _, d := range e.downs {
			key := reverseKey{d, blk.Cid()}
			w := e.reverse.wants[key]
			if w == nil {
				continue
			}
			if _, there := w.asked[id]; !there || d.box.bytes > maxReverseSend {
				continue
			}
			for _, p := range e.reverse.allowed[blk.Cid()] {
				for _, child := range links(blk) {
					e.allow(p, child)
				}
			}
			e.n.reverseBlocks++
			e.post(&d.box, item{cid: blk.Cid(), what: itemBlock, block: blk})
			e.endReverse(key, id)
		}
	}
	for _, d := range e.downs {
		for _, c := range haves {
			if w := e.reverse.wants[reverseKey{d, c}]; w != nil && w.asked[id] == asked {
				w.asked[id] = have
				if !w.block && !w.answered {
					w.answered = true
					e.post(&d.box, item{cid: c, what: itemHave})
				}
			}
		}
		for _, c := range dontHaves {
			key := reverseKey{d, c}
			if w := e.reverse.wants[key]; w != nil {
				if _, there := w.asked[id]; there {
					w.asked[id] = dontHave
					e.reverseNobody(key, w)
				}
			}
		}
	}
	e.flush()
}

// links returns the children of a dag-pb node; those of other codecs are known only when the
// node behind the proxy lists them.
func links(blk blocks.Block) []cid.Cid {
	if blk.Cid().Type() != cid.DagProtobuf {
		return nil
	}
	n, err := merkledag.DecodeProtobuf(blk.RawData())
	if err != nil {
		return nil
	}
	out := make([]cid.Cid, 0, len(n.Links()))
	for _, l := range n.Links() {
		out = append(out, l.Cid)
	}
	return out
}

// peerGone records that a peer will not answer any more.
func (r *reverse) peerGone(e *engine, u *upstream) {
	for key, w := range r.wants {
		if _, there := w.asked[u.id]; there {
			w.asked[u.id] = dontHave
			e.reverseNobody(key, w)
		}
	}
}

// forgetReverse drops the wants of a node.
func (e *engine) forgetReverse(d *downstream) {
	delete(e.reverse.wishes, d)
	for key := range e.reverse.wants {
		if key.down == d {
			e.endReverse(key, "")
		}
	}
}
