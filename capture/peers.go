package capture

import (
	"iter"
	"maps"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// peerMap finds the state of a connected peer without a lock, and cheaper than
// sync.Map does: the hot path asks it for every message. It is cut into parts,
// each a map that is never changed but replaced, so that a connection costs a
// copy of one part in 256.
type peerMap struct {
	parts [256]atomic.Pointer[map[peer.ID]*peerState]
}

// part is by the last byte, which is random in an ID: a key's or a hash's.
func (m *peerMap) part(p peer.ID) *atomic.Pointer[map[peer.ID]*peerState] {
	if len(p) == 0 {
		return &m.parts[0]
	}
	return &m.parts[p[len(p)-1]]
}

// get returns nil for a peer that is not there.
func (m *peerMap) get(p peer.ID) *peerState {
	if part := m.part(p).Load(); part != nil {
		return (*part)[p]
	}
	return nil
}

// set enters a peer, or takes it out if s is nil. Only one goroutine at a time
// may call it.
func (m *peerMap) set(p peer.ID, s *peerState) {
	part := m.part(p)
	next := make(map[peer.ID]*peerState)
	if old := part.Load(); old != nil {
		maps.Copy(next, *old)
	}
	if s == nil {
		delete(next, p)
	} else {
		next[p] = s
	}
	part.Store(&next)
}

// all returns every peer, each part as it was when it was come to.
func (m *peerMap) all() iter.Seq2[peer.ID, *peerState] {
	return func(yield func(peer.ID, *peerState) bool) {
		for i := range m.parts {
			part := m.parts[i].Load()
			if part == nil {
				continue
			}
			for p, s := range *part {
				if !yield(p, s) {
					return
				}
			}
		}
	}
}
