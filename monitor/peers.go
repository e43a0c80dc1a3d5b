package monitor

import (
	"errors"
	"iter"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
)

// maxPeerAddrs is the most addresses told of one peer, of each sort.
const maxPeerAddrs = 64

// agentNotKnown stands for the agent of a peer that has not told it.
const agentNotKnown = event.Text("N/A")

// peerMetadata returns the number of open connections, and what the host knows of
// the peers in its peerstore, or of those that are connected, but for itself.
// Each peer is read when it is its turn.
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
		Multiaddresses: addressTexts(h.Peerstore().Addrs(p)),
		AgentVersion:   agentOf(h, p),
	}
	protocols, _ := h.Peerstore().GetProtocols(p) // none known is none
	m.Protocols = protocolNames(protocols)
	if m.Connectedness == int(network.Limited) {
		m.Connectedness = int(network.Connected) // the old exporter knows four values
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
		m.ConnectedMultiaddresses = addressTexts(addrs)
	}
	return m
}

// agentOf is nil if the agent could not be read.
func agentOf(h host.Host, p peer.ID) *event.Text {
	agent := agentNotKnown
	v, err := h.Peerstore().Get(p, "AgentVersion")
	if errors.Is(err, peerstore.ErrNotFound) {
		return &agent
	}
	s, ok := v.(string)
	if err != nil || !ok {
		return nil
	}
	if s != "" {
		agent = event.Clean(s, event.MaxAgentText)
	}
	return &agent
}

// addressTexts leaves out what is too long: a part of an address is none.
func addressTexts(in []ma.Multiaddr) []event.Text {
	out := make([]event.Text, 0, min(len(in), maxPeerAddrs))
	for _, a := range in {
		if a == nil || len(out) == maxPeerAddrs {
			continue
		}
		if s := a.String(); len(s) <= event.MaxAddrText {
			out = append(out, event.Clean(s, event.MaxAddrText))
		}
	}
	return out
}

func protocolNames(in []protocol.ID) []event.Text {
	in = in[:min(len(in), event.MaxProtocols)]
	out := make([]event.Text, 0, len(in))
	for _, p := range in {
		out = append(out, event.Clean(string(p), event.MaxProtocolText))
	}
	return out
}
