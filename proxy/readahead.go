package proxy

import (
	"maps"
	"slices"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// A peer that reads a file requests a few blocks, processes them, and requests the next.
// Without read-ahead, each of these rounds includes a round trip to a node. So when a peer
// wants several children of a dag-pb node in a row, the next ones are requested ahead and kept
// in the cache, of which they may fill half.

const (
	// aheadBlocks is how many are requested beyond the last wanted one.
	aheadBlocks = 16
	// aheadRun is how many have to be wanted in a row first. kubo sends wants in random order,
	// so children at most near apart count as in a row.
	aheadRun = 3
	near     = 8
	// lackFor is how long a node that answered no to one child of a parent is asked last for
	// its other children.
	lackFor = time.Minute
	// manyMisses is how many blocks in a row a node must lack to be asked last for the next
	// wants of the same peer.
	manyMisses = 3
	// maxChildren bounds the known children of all parents together.
	maxChildren = 16384
	// maxParent is the size up to which a block's links are parsed.
	maxParent = 1 << 20
)

// family holds the children of the most recently fetched dag-pb nodes.
type family struct {
	children map[cid.Cid]child
	parents  []*parent // the oldest first
	known    int
}

type child struct {
	of *parent
	i  int
}

// parent is a dag-pb node with links, and how far it has been read.
type parent struct {
	children []cid.Cid
	last     int // the last wanted child; -1: none
	run      int // how many were wanted in a row
	ahead    int // children before it need no read-ahead any more
	// lacking are the nodes that had not the parent or a child, and when they
	// said so: they are asked last for the other children.
	lacking map[*downstream]time.Time
}

// lacks records that a node has answered no to a CID.
func (f *family) lacks(c cid.Cid, d *downstream, now time.Time) {
	if x, there := f.children[c]; there {
		if x.of.lacking == nil {
			x.of.lacking = map[*downstream]time.Time{}
		}
		x.of.lacking[d] = now
	}
}

// has records that a node has a CID.
func (f *family) has(c cid.Cid, d *downstream) {
	if x, there := f.children[c]; there {
		delete(x.of.lacking, d)
	}
}

// unlikely reports whether a node recently answered no to a sibling of a CID or, if no parent
// is known, to the last CIDs that the peer got from another node.
func (e *engine) unlikely(c cid.Cid, d *downstream, who *upstream, now time.Time) bool {
	if x, there := e.family.children[c]; there {
		said, there := x.of.lacking[d]
		return there && now.Sub(said) < lackFor
	}
	return who != nil && who.misses[d] >= manyMisses
}

// found records which nodes lacked a block that a peer got from another one.
func (u *upstream) found(d *downstream, asks []*ask) {
	delete(u.misses, d)
	for _, a := range asks {
		if a.state != dontHave {
			continue
		}
		if u.misses == nil {
			u.misses = map[*downstream]int{}
		}
		u.misses[a.down]++
	}
}

// learn records the children of a block, and which nodes answered no to it.
func (f *family) learn(blk blocks.Block, asks []*ask, now time.Time) {
	if blk.Cid().Type() != cid.DagProtobuf || len(blk.RawData()) > maxParent {
		return
	}
	all := children(blk.RawData())
	if len(all) == 0 || len(all) > maxChildren {
		return
	}
	if c, there := f.children[all[0]]; there && slices.Equal(c.of.children, all) {
		return
	}
	if f.children == nil {
		f.children = map[cid.Cid]child{}
	}
	p := &parent{children: all, last: -1}
	if x, there := f.children[blk.Cid()]; there {
		p.lacking = maps.Clone(x.of.lacking)
	}
	for i, c := range all {
		f.children[c] = child{p, i}
	}
	for _, a := range asks {
		if a.state == dontHave {
			f.lacks(all[0], a.down, now)
		}
	}
	f.parents = append(f.parents, p)
	for f.known += len(all); f.known > maxChildren; {
		old := f.parents[0]
		f.parents[0] = nil
		f.parents = f.parents[1:]
		f.known -= len(old.children)
		for _, c := range old.children {
			if f.children[c].of == old {
				delete(f.children, c)
			}
		}
	}
}

// wanted records that a peer wants a block, and returns its parent, nil if none is known.
func (f *family) wanted(c cid.Cid) *parent {
	x, there := f.children[c]
	if !there {
		return nil
	}
	p := x.of
	switch step := x.i - p.last; {
	case step > near: // elsewhere
		p.run = 1
	case step >= -near:
		p.run++
	}
	p.last = max(p.last, x.i)
	return p
}

// readAhead requests the children of a node that a peer will want next.
func (e *engine) readAhead(u *upstream, p *parent, priority int32) {
	if p.run < aheadRun || len(u.waiting) > 0 {
		return
	}
	from, to := max(p.ahead, p.last+1), min(len(p.children), p.last+1+aheadBlocks)
	if to-from < aheadBlocks/2 && to < len(p.children) {
		return // several at a time
	}
	for p.ahead = from; p.ahead < to; p.ahead++ {
		priority = max(priority-1, 1)
		if !e.askAhead(u, p.children[p.ahead], priority) {
			return
		}
	}
}

// askAhead asks one node for a block that nobody wants yet; false: there is no room for more.
func (e *engine) askAhead(u *upstream, c cid.Cid, priority int32) bool {
	if e.wants[c] != nil || e.cache.has(c) || c.ByteLen() > maxCID {
		return true
	}
	most := e.cache.max / firstSize / 2
	if e.ahead+e.cache.unread >= most {
		e.cache.expire(time.Now())
	}
	t := &want{cid: c, ahead: u, aheadPriority: priority}
	nodes := e.order(t)
	if e.ahead+e.cache.unread >= most || len(nodes) == 0 || nodes[0].stalled || nodes[0].ledger > window/2 {
		return false
	}
	e.ahead++
	e.n.ahead++
	e.wants[c] = t
	t.asks = []*ask{{want: t, down: nodes[0], block: true}}
	e.send(t.asks[0])
	return true
}

// notAhead records that a want is an ordinary one, or has ended.
func (e *engine) notAhead(t *want) {
	if t.ahead != nil {
		t.ahead = nil
		e.ahead--
	}
}

// Fields of dag-pb: the links of a node and the CID of a link.
const (
	fieldLinks    protowire.Number = 2
	fieldLinkHash protowire.Number = 1
)

// children returns the CIDs of a dag-pb node's links, nil if the block is not one.
func children(b []byte) []cid.Cid {
	var out []cid.Cid
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(num, kind, b[n:])
		if size < 0 {
			return nil
		}
		if num == fieldLinks && kind == protowire.BytesType {
			link, _ := protowire.ConsumeBytes(b[n:])
			num, kind, n := protowire.ConsumeTag(link) // the CID comes first
			if n < 0 || num != fieldLinkHash || kind != protowire.BytesType {
				return nil
			}
			hash, m := protowire.ConsumeBytes(link[n:])
			if m < 0 {
				return nil
			}
			c, err := cid.Cast(hash)
			if err != nil {
				return nil
			}
			out = append(out, c)
		}
		b = b[n+size:]
	}
	return out
}
