package proxy

import (
	"cmp"
	"context"
	"slices"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// upSide receives the messages of peers. It implements boxo's Receiver; libp2p's goroutines
// call its methods, which return quickly.
type upSide Proxy

// ReceiveMessage processes a peer's message.
func (s *upSide) ReceiveMessage(_ context.Context, from peer.ID, m bsmsg.BitSwapMessage) {
	defer s.engine.guard.Recover("proxy: process a peer's message")
	s.received[event.Upstream].Add(1)
	if t := s.cfg.Tracer; t != nil {
		t.MessageReceived(from, m)
	}
	entries := entriesOf(m)
	if len(entries) > 0 || m.Full() {
		s.engine.wantlist(from, m.Full(), entries)
	}
	s.engine.count(func(n *counts) { n.received.Messages++ })
	blks, presences := m.Blocks(), m.BlockPresences()
	if len(blks)+len(presences) > 0 {
		s.engine.fromPeer(from, blks, m.Haves(), m.DontHaves())
	}
}

// ReceiveError is called for messages that could not be read; libp2p has closed
// their stream.
func (s *upSide) ReceiveError(err error) { s.cfg.Logger.Debug("proxy: from a peer", "err", err) }

// PeerConnected admits a peer, unless there are too many.
func (s *upSide) PeerConnected(id peer.ID) {
	defer s.engine.guard.Recover("proxy: admit a peer")
	if !s.engine.peerConnected(id) {
		_ = s.up.Network().ClosePeer(id) // the peer is gone either way
	}
}

// PeerDisconnected drops a peer.
func (s *upSide) PeerDisconnected(id peer.ID) {
	defer s.engine.guard.Recover("proxy: drop a disconnected peer")
	s.engine.peerGone(id)
}

// downSide receives the messages of nodes.
type downSide Proxy

// ReceiveMessage processes a node's message.
func (s *downSide) ReceiveMessage(_ context.Context, from peer.ID, m bsmsg.BitSwapMessage) {
	defer s.engine.guard.Recover("proxy: process a node's message")
	s.received[event.Downstream].Add(1)
	if t := s.cfg.DownTracer; t != nil {
		t.MessageReceived(from, m)
	}
	s.engine.fromNode(from, m.Blocks(), m.Haves(), m.DontHaves())
	if entries := entriesOf(m); len(entries) > 0 {
		s.engine.nodeWants(from, entries)
	}
}

// ReceiveError is called for messages that could not be read.
func (s *downSide) ReceiveError(err error) {
	s.cfg.Logger.Warn("proxy: cannot read a node's message", "err", err)
}

// PeerConnected and PeerDisconnected are boxo's view of a node; watch has its own.
func (s *downSide) PeerConnected(peer.ID) {}

// PeerDisconnected see PeerConnected.
func (s *downSide) PeerDisconnected(peer.ID) {}

// entriesOf returns a message's wantlist, the most important first.
func entriesOf(m bsmsg.BitSwapMessage) []entry {
	all := m.Wantlist()
	if len(all) == 0 {
		return nil
	}
	out := make([]entry, len(all))
	for i := range all {
		x := &all[i]
		out[i] = entry{cid: x.Cid, priority: x.Priority, block: x.WantType == pb.Message_Wantlist_Block, cancel: x.Cancel, dontHave: x.SendDontHave}
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(b.priority, a.priority) })
	return out
}
