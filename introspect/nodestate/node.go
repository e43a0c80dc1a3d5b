// Package nodestate reads the state of a node.
//
// In: the parts of a libp2p node, kubo's or another program's; taps in its host.
// Out: the state of the node and its events for package introspect (State); the node's own
// figures for each sample (Sampler). Promised: reading holds no lock of the node for longer
// than libp2p's own getters do; figures of a missing part are left out. Not promised: that all
// parts of a reading are of the same instant.
package nodestate

import (
	"context"

	"github.com/ipfs/boxo/bitswap"
	"github.com/libp2p/go-libp2p-kad-dht/dual"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// Node has the parts of a node; a missing part is nil.
type Node struct {
	Host      host.Host // nil: offline
	Identity  peer.ID   // as the host's
	Peerstore peerstore.Peerstore
	Resources network.ResourceManager
	Reporter  *metrics.BandwidthCounter // counts the host's traffic
	DHT       *dual.DHT
	Bitswap   *bitswap.Bitswap // its Client or Server may be nil
	Ledgers   Ledgers          // of a Bitswap server that is not boxo's; nil: those of Bitswap
	PubSub    *pubsub.PubSub
	RepoBytes func(context.Context) (uint64, error) // returns the size on disk; may be slow

	// Taps were put into the host when it was created.
	Taps *Taps
}

// OfHost returns the node with missing parts filled in from its host and its Bitswap.
func (n Node) OfHost() Node {
	if h := n.Host; h != nil {
		if n.Peerstore == nil {
			n.Peerstore = h.Peerstore()
		}
		if n.Identity == "" {
			n.Identity = h.ID()
		}
	}
	if n.Ledgers == nil && n.Bitswap != nil && n.Bitswap.Server != nil {
		n.Ledgers = boxoLedgers{n.Bitswap.Server}
	}
	return n
}

// Agent returns a peer's agent version, "" if unknown.
func (n Node) Agent(p peer.ID) string {
	if n.Peerstore == nil {
		return ""
	}
	agent, _, _ := peertext.Agent(n.Peerstore, p) // an error: not known
	return string(agent)
}
