package proxy

import (
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// sameHash returns a block under the CID with which the node was asked for it, one that still waits
// for it before one that does not, nil if it was not asked. Bitswap 1.0 sends only bytes, whose CID is then assumed to be a CIDv0.
func (e *engine) sameHash(d *downstream, blk blocks.Block) blocks.Block {
	if blk.Cid().Version() != 0 {
		return nil
	}
	var late blocks.Block
	for _, codec := range []uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR, cid.DagJSON, cid.Libp2pKey} {
		c := cid.NewCidV1(codec, blk.Cid().Hash())
		wanted := false
		if t := e.wants[c]; t != nil {
			a := t.ask(d)
			wanted = a != nil && a.state != queued
		}
		if !wanted && (late != nil || !d.past.has(c)) {
			continue
		}
		same, err := blocks.NewBlockWithCid(blk.RawData(), c)
		if err != nil {
			return nil // never: it checks only in debug builds
		}
		if wanted {
			return same
		}
		late = same
	}
	return late
}
