package capture

import (
	"iter"
	"maps"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// peerMap finds the state of a connected peer without a lock and faster than
// sync.Map: the hot path uses it for every message. It has 256 parts. Each is a
// map that never changes but is replaced, so that a new connection costs a copy
// of one part.
type peerMap struct {
	parts [256]atomic.Pointer[map[peer.ID]*peerState]
}

// part chooses by the last byte of the ID, which is random: it belongs to a key
// or a hash.
func (m *peerMap) part(p peer.ID) *atomic.Pointer[map[peer.ID]*peerState] {
	if len(p) == 0 {
		return &m.parts[0]
	}
	return &m.parts[p[len(p)-1]]
}

// get returns the state of a peer, nil if there is none.
func (m *peerMap) get(p peer.ID) *peerState {
	if part := m.part(p).Load(); part != nil {
		return (*part)[p]
	}
	return nil
}

// set adds a peer, or removes it if s is nil. Only one goroutine at a time may
// call it.
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

// all iterates over all peers; each part is as it was when the loop reached it.
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
