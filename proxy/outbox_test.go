package proxy

import (
	"slices"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// Large blocks in a queue are sent on several streams in turn, as many as there are
// lanes.
func TestLanes(t *testing.T) {
	node := newTestNode(t)
	blks := newBlocks(t, 40, 256<<10)
	node.put(t, blks...)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}})
	gate := make(chan struct{})
	up, told := rawPeer(t, func(*rawNode, peer.ID, bsmsg.BitSwapMessage) { <-gate })
	p.connect(t, up.Host)
	up.send(t, p.up.ID(), wantMsg(false, wantBlock, cids(blks)...))
	require.Eventually(t, func() bool { return p.Sample(time.Second).QueuedBytes > 4<<20 }, patient, time.Millisecond)
	close(gate)
	told.eventually(t, "all", func() bool { return len(told.blocks) == len(blks) })
	out := 0
	for _, c := range p.up.Network().ConnsToPeer(up.ID()) {
		for _, s := range c.GetStreams() {
			if s.Stat().Direction == network.DirOutbound && slices.Contains(wire.Protocols, s.Protocol()) {
				out++
			}
		}
	}
	require.Equal(t, lanes, out)
}
