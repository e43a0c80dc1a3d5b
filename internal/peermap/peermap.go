// Package peermap finds what is known of a connected peer, on paths that every
// message of the node takes.
package peermap

import (
	"iter"
	"maps"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Map maps peers to values. Its readers take no lock and are faster than those of
// sync.Map, in whose tree each step is a fetch from memory. It has 256 parts. Each
// is a map that never changes but is replaced, so that a new peer costs a copy of
// one part. The zero value is an empty map.
type Map[V any] struct {
	parts [256]atomic.Pointer[map[peer.ID]*V]
}

// part chooses by the last byte of the ID, which is random: it belongs to a key
// or a hash.
func (m *Map[V]) part(p peer.ID) *atomic.Pointer[map[peer.ID]*V] {
	if len(p) == 0 {
		return &m.parts[0]
	}
	return &m.parts[p[len(p)-1]]
}

// Get returns the value of a peer, nil if there is none.
func (m *Map[V]) Get(p peer.ID) *V {
	if part := m.part(p).Load(); part != nil {
		return (*part)[p]
	}
	return nil
}

// Set sets the value of a peer, or removes the peer if v is nil. Only one
// goroutine at a time may call it.
func (m *Map[V]) Set(p peer.ID, v *V) {
	part := m.part(p)
	next := make(map[peer.ID]*V)
	if old := part.Load(); old != nil {
		maps.Copy(next, *old)
	}
	if v == nil {
		delete(next, p)
	} else {
		next[p] = v
	}
	part.Store(&next)
}

// All iterates over all peers; each part is as it was when the loop reached it.
func (m *Map[V]) All() iter.Seq2[peer.ID, *V] {
	return func(yield func(peer.ID, *V) bool) {
		for i := range m.parts {
			part := m.parts[i].Load()
			if part == nil {
				continue
			}
			for p, v := range *part {
				if !yield(p, v) {
					return
				}
			}
		}
	}
}
