package nodestate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// Counters count since the start; times and shares are those of the last sample. Before a
// sample there are none, and without names there are no peer IDs.
func TestProxyState(t *testing.T) {
	now := &event.Proxy{UpstreamPeers: 3, Merged: 9, Received: event.Traffic{WantBlock: 20}, Sent: event.Traffic{Blocks: 18, BlockBytes: 99},
		Downstreams: []event.ProxyDownstream{{Name: "a", Peer: "one", Connected: true, Outstanding: 4, Verified: 30, Refused: 2}, {Name: "b", Verified: 10}}}
	first := proxyState(now, nil, true)
	require.EqualValues(t, 3, first.GetUpstreamPeers())
	require.EqualValues(t, 20, first.GetWantBlock())
	require.EqualValues(t, 18, first.GetBlocks())
	require.Nil(t, first.GetAnswer())
	require.Len(t, first.GetDownstreams(), 2)
	require.Zero(t, first.GetDownstreams()[0].GetSharePermille())
	require.NotEmpty(t, first.GetDownstreams()[0].GetPeerId())
	require.Empty(t, first.GetDownstreams()[1].GetPeerId(), "it was never connected")

	last := &event.Proxy{Interval: time.Second, Answer: event.LatencyStats{Count: 1, P50: time.Millisecond},
		Downstreams: []event.ProxyDownstream{{Name: "a", Verified: 3, RTT: event.LatencyStats{Count: 3, P99: time.Second}}, {Name: "b", Verified: 1}}}
	then := proxyState(now, last, false)
	require.EqualValues(t, 1000, then.GetAnswer().GetP50Us())
	a, b := then.GetDownstreams()[0], then.GetDownstreams()[1]
	require.EqualValues(t, []uint32{750, 250}, []uint32{a.GetSharePermille(), b.GetSharePermille()})
	require.EqualValues(t, 1_000_000, a.GetRtt().GetP99Us())
	require.Nil(t, b.GetRtt())
	require.EqualValues(t, []uint64{30, 2, 10}, []uint64{a.GetVerified(), a.GetRefused(), b.GetVerified()})
	require.Empty(t, a.GetPeerId())

	// In an interval without a block nobody has a share of none.
	last.Downstreams[0].Verified, last.Downstreams[1].Verified = 0, 0
	then = proxyState(now, last, false)
	require.Zero(t, then.GetDownstreams()[0].GetSharePermille())
	require.EqualValues(t, 1_000_000, then.GetDownstreams()[0].GetRtt().GetP99Us())
}
