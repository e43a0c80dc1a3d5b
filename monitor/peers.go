package monitor

import (
	"cmp"
	"iter"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// maxPeerAddrs is the maximum of addresses of one peer, of each kind.
const maxPeerAddrs = 64

// agentNotKnown is the agent of a peer that has not sent one.
const agentNotKnown = event.Text("N/A")

// peerMetadata returns the number of open connections, and the host's metadata of all peers in
// its peerstore, or only of connected ones, without itself. Each peer is read during the
// iteration.
func peerMetadata(h host.Host, onlyConnected bool) (int, iter.Seq[httpapi.PeerMetadata]) {
	var ids []peer.ID
	if onlyConnected {
		ids = h.Network().Peers()
	} else {
		ids = h.Peerstore().Peers()
	}
	return len(h.Network().Conns()), func(yield func(httpapi.PeerMetadata) bool) {
		for _, p := range ids {
			if p != h.ID() && !yield(metadataOf(h, p)) {
				return
			}
		}
	}
}

func metadataOf(h host.Host, p peer.ID) httpapi.PeerMetadata {
	m := httpapi.PeerMetadata{
		PeerID:         p.String(),
		Connectedness:  int(h.Network().Connectedness(p)),
		Multiaddresses: peertext.Addrs(h.Peerstore().Addrs(p), maxPeerAddrs),
		AgentVersion:   agentOf(h, p),
	}
	protocols, _ := h.Peerstore().GetProtocols(p) // none if unknown
	m.Protocols = peertext.Protocols(protocols)
	if m.Connectedness == int(network.Limited) {
		m.Connectedness = int(network.Connected) // the old exporter has four values
	}
	if l := h.Peerstore().LatencyEWMA(p); l > 0 {
		ns := l.Nanoseconds()
		m.LatencyEWMANs = &ns
	}
	if conns := h.Network().ConnsToPeer(p); len(conns) > 0 {
		addrs := make([]ma.Multiaddr, 0, len(conns))
		for _, c := range conns {
			addrs = append(addrs, c.RemoteMultiaddr())
		}
		m.ConnectedMultiaddresses = peertext.Addrs(addrs, maxPeerAddrs)
	}
	return m
}

// agentOf returns nil if the agent cannot be read.
func agentOf(h host.Host, p peer.ID) *event.Text {
	agent, _, err := peertext.Agent(h.Peerstore(), p)
	if err != nil {
		return nil
	}
	agent = cmp.Or(agent, agentNotKnown)
	return &agent
}
