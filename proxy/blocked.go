package proxy

import (
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"

	"github.com/ipfsmon/ipfsmon/event"
)

// countBlocked has the streams counted that peers want to open for blocked
// protocols. libp2p refuses these without a report, but asks what
// matches a handler's name for every name that a peer proposes. It is ping's
// handler that is asked, so that peers see no further protocol.
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

// noteBlocked counts a proposed protocol if it is blocked, under that of the
// list with which its name begins.
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

// refusedStreams returns how many streams were refused by the names of the list,
// and as other those of protocols that are passed on but found no place or no
// node. The caller holds the lock.
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
