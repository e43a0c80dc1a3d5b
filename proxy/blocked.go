package proxy

import (
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"

	"github.com/ipfsmon/ipfsmon/event"
)

// countBlocked counts the streams that peers try to open for blocked protocols. libp2p refuses
// these without a report, but calls the match function of a handler for every protocol that a
// peer proposes. countBlocked uses that of ping's handler, so that peers see no further
// protocol.
func countBlocked(h host.Host, e *engine) {
	own := &ping.PingService{Host: h}
	h.SetStreamHandlerMatch(ping.ID, func(id protocol.ID) bool {
		if id == ping.ID {
			return true
		}
		e.noteBlocked(string(id))
		return false
	}, own.PingHandler)
}

// noteBlocked counts a proposed protocol if it is blocked, under the prefix in the list that it
// matches.
func (e *engine) noteBlocked(name string) {
	defer e.guard.Recover("proxy: count a blocked protocol")
	i := slices.IndexFunc(e.cfg.Block, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	if i < 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.blocked == nil {
		e.blocked = make([]uint64, len(e.cfg.Block))
	}
	e.blocked[i]++
	e.n.blocked++
}

// refusedStreams returns how many streams were refused by prefix in the list, and as other
// those of forwarded protocols without a place or a node. The caller holds the lock.
func (e *engine) refusedStreams() map[string]uint64 {
	out := map[string]uint64{string(event.Others): e.n.blocked}
	for i, name := range e.cfg.Block {
		name, n := string(event.Clean(name, event.MaxProtocolText)), uint64(0)
		if e.blocked != nil {
			n = e.blocked[i]
		}
		out[name] += n
		out[string(event.Others)] -= n
	}
	return out
}
