package nodestate

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

// TestTapsDoNotAllocate: they are in the path of the node's data.
func TestTapsDoNotAllocate(t *testing.T) {
	taps := NewTaps()
	r := &reporter{noReporter{}, taps}
	id, err := peer.Decode(goldenPeer)
	require.NoError(t, err)
	r.LogSentMessageStream(1, "/ipfs/bitswap/1.2.0", id)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		r.LogSentMessageStream(100, "/ipfs/bitswap/1.2.0", id)
		r.LogRecvMessageStream(100, "/ipfs/bitswap/1.2.0", id)
	}))
}

// BenchmarkTaps measures what each read or write of a stream costs in addition.
func BenchmarkTaps(b *testing.B) {
	r := &reporter{noReporter{}, NewTaps()}
	id, err := peer.Decode(goldenPeer)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r.LogSentMessageStream(100, "/ipfs/bitswap/1.2.0", id)
	}
}
