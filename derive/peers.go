package derive

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// peers remembers what is known of the peers that are connected. A peer without
// a connection stays until the third summary after its last event, and no longer
// than there is room.
type peers struct {
	of    map[peer.ID]*known
	limit int
	lost  int // connected peers that were evicted
}

// known is what is known of one peer.
type known struct {
	agent     event.Text
	family    uint8  // place in event.AgentFamilies
	connected bool   // a connection was seen, and not the end of the last
	number    uint32 // of the interval of its last event
	coverage
}

// evictTries is how many peers are looked at for one that is not connected.
const evictTries = 16

// at returns what is known of a peer, and makes room if nothing is yet.
func (ps *peers) at(p peer.ID, interval uint32) *known {
	k := ps.of[p]
	if k == nil {
		if len(ps.of) >= ps.limit {
			ps.evict()
		}
		k = &known{}
		ps.of[p] = k
	}
	k.number = interval
	return k
}

func (ps *peers) evict() {
	var victim peer.ID
	tries := 0
	for p, k := range ps.of { // in any order
		victim = p
		if tries++; !k.connected || tries >= evictTries {
			break
		}
	}
	if ps.of[victim].connected {
		ps.lost++
	}
	delete(ps.of, victim)
}

// identify remembers what a peer calls itself.
func (ps *peers) identify(p peer.ID, agent event.Text, interval uint32) {
	k := ps.at(p, interval)
	k.agent, k.family = agent, uint8(event.AgentFamily(agent))
}

// connection follows a peer's connections.
func (ps *peers) connection(p peer.ID, c *event.Conn, interval uint32) {
	switch {
	case !c.Closed:
		ps.at(p, interval).connected = true
	case c.PeerConns > 0:
	case ps.of[p] != nil:
		delete(ps.of, p)
	case ps.lost > 0:
		ps.lost--
	}
}

// agent returns what a peer calls itself, "" where not known.
func (ps *peers) agent(p peer.ID) event.Text {
	if k := ps.of[p]; k != nil {
		return k.agent
	}
	return ""
}

// sweep forgets the peers that are not connected and had no event in this
// interval and the one before.
func (ps *peers) sweep(interval uint32) {
	for p, k := range ps.of {
		if !k.connected && interval-k.number > 1 {
			delete(ps.of, p)
		}
	}
}
