package derive

import (
	"cmp"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// TopBytes is the length of the lists of a summary's Line.
const TopBytes = 20

// line counts what uses the line in one direction.
type line struct {
	messages, bytes, blockBytes uint64

	cids     *heavy[cid.Cid] // data of blocks
	peers    *heavy[peer.ID] // bytes of messages
	families [maxFamilies]familyBytes
}

type familyBytes struct{ messages, bytes, blockBytes, dontHaves uint64 }

// maxFamilies is at least the number of event.AgentFamilies.
const maxFamilies = 16

func newLine(cfg Config) line {
	return line{cids: newHeavy[cid.Cid](cfg.MaxCIDsTracked), peers: newHeavy[peer.ID](cfg.MaxPeersTracked)}
}

// next begins the next interval in the same memory.
func (l *line) next() line {
	l.cids.reset()
	l.peers.reset()
	return line{cids: l.cids, peers: l.peers}
}

// message counts a message of the peer with that hash and family of agents; its
// blocks are counted by block.
func (l *line) message(e *event.Event, from uint64, family int) {
	n, data := uint64(e.WireBytes()), uint64(0)
	for i := range e.Blocks {
		data += size(&e.Blocks[i])
	}
	l.messages++
	l.bytes += n
	l.blockBytes += data
	l.peers.addN(from, e.Peer, n)
	f := &l.families[family]
	f.messages++
	f.bytes += n
	f.blockBytes += data
	if e.Transport == event.Libp2p {
		for i := range e.Presences {
			if e.Presences[i].Type == event.DontHave {
				f.dontHaves++
			}
		}
	}
}

// block counts a block by its CID, whose hash is c.
func (l *line) block(b *event.Block, c uint64) {
	l.cids.addN(c, b.CID, size(b))
}

func size(b *event.Block) uint64 { return uint64(max(b.Size, 0)) }

// sum returns the figures of the interval.
func (l *line) sum(n int, peers *peers) event.Line {
	out := event.Line{Messages: l.messages, Bytes: l.bytes, BlockBytes: l.blockBytes}
	n = min(n, TopBytes)
	for _, c := range top(l.cids, n) {
		out.CIDs = append(out.CIDs, event.CIDBytes{CID: c.key, Bytes: c.count, Error: c.err})
	}
	for _, c := range top(l.peers, n) {
		out.Peers = append(out.Peers, event.PeerBytes{Peer: c.key, Agent: peers.agent(c.key), Bytes: c.count, Error: c.err})
	}
	for i, f := range l.families[:len(event.AgentFamilies)] {
		if f.messages > 0 {
			out.Agents = append(out.Agents, event.FamilyBytes{Family: event.AgentFamilies[i], Messages: f.messages, Bytes: f.bytes, BlockBytes: f.blockBytes, DontHaves: f.dontHaves})
		}
	}
	slices.SortStableFunc(out.Agents, func(a, b event.FamilyBytes) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out
}
