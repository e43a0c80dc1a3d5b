package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// nodeNames maps the nodes' last known peer IDs to their names. It is read without a lock, for
// every message, and set before a node is connected.
type nodeNames struct {
	now atomic.Pointer[map[peer.ID]event.Text]

	mu  sync.Mutex
	ids map[*downstream]peer.ID
}

// set records the ID under which a node is reached.
func (n *nodeNames) set(d *downstream, id peer.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ids == nil {
		n.ids = map[*downstream]peer.ID{}
	}
	if n.ids[d] == id {
		return
	}
	n.ids[d] = id
	now := make(map[peer.ID]event.Text, len(n.ids))
	for d, id := range n.ids {
		now[id] = event.Clean(d.addr.name, event.MaxNameText)
	}
	n.now.Store(&now)
}

// NodeName returns the configured name of the node with that peer ID, "" if there
// is none. It may be called from any goroutine and returns at once.
func (p *Proxy) NodeName(id peer.ID) event.Text {
	if now := p.names.now.Load(); now != nil {
		return (*now)[id]
	}
	return ""
}
