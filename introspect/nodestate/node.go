// Package nodestate reads what a node knows of itself.
//
// In: the parts of a libp2p node that a program has, kubo's or any other; taps in
// its host and in its DHT. Out: the state of the node and its events for package
// introspect (State); the node's own figures for each sample (Sampler). Promised: reading holds no lock of
// the node for longer than libp2p's own getters do; a part that is missing
// leaves its figures out. Not promised: that one reading is of one instant in
// all its parts.
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

// Node is what a program has of a node; what is nil it does not have.
type Node struct {
	Host      host.Host // nil: offline
	Identity  peer.ID   // as the host's
	Peerstore peerstore.Peerstore
	Resources network.ResourceManager
	Reporter  *metrics.BandwidthCounter // counts the host's traffic
	DHT       *dual.DHT
	Bitswap   *bitswap.Bitswap
	PubSub    *pubsub.PubSub
	RepoBytes func(context.Context) (uint64, error) // the size on disk; may be slow

	// Taps and DHTTaps are in the host and in the DHT from their start.
	Taps    *Taps
	DHTTaps *DHTTaps
}

// OfHost returns the node with what its host has filled in where it is missing.
func (n Node) OfHost() Node {
	if h := n.Host; h != nil {
		if n.Peerstore == nil {
			n.Peerstore = h.Peerstore()
		}
		if n.Identity == "" {
			n.Identity = h.ID()
		}
	}
	return n
}

// Agent returns what a peer calls itself, "" where not known.
func (n Node) Agent(p peer.ID) string {
	if n.Peerstore == nil {
		return ""
	}
	agent, _, _ := peertext.Agent(n.Peerstore, p) // an error: not known
	return string(agent)
}
