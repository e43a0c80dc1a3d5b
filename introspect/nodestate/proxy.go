package nodestate

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// proxyState returns the current state of a proxy, with the latencies and the nodes' shares of
// its last sample. named: peer IDs may be named.
func proxyState(now, last *event.Proxy, named bool) *pb.Proxy {
	if last == nil {
		last = new(event.Proxy)
	}
	out := &pb.Proxy{
		IntervalMs: uint64(last.Interval.Milliseconds()), UpstreamPeers: uint32(now.UpstreamPeers),
		Outstanding: uint32(now.Outstanding), Waiting: uint32(now.Waiting), QueuedBytes: uint64(now.QueuedBytes),
		WantBlock: now.Received.WantBlock, WantHave: now.Received.WantHave, Have: now.Sent.Have, DontHave: now.Sent.DontHave,
		Blocks: now.Sent.Blocks, BlockBytes: now.Sent.BlockBytes,
		Merged: now.Merged, Cached: now.Cached, Deferred: now.Deferred, Overflow: now.Overflow, Answer: times(last.Answer),
		PassedStreams: now.PassedStreams, BlockedStreams: now.BlockedStreams,
		PreloadRequests: now.PreloadRequests, PreloadRefused: now.PreloadRefused, PreloadRunning: uint32(now.PreloadRunning),
	}
	brought := uint64(0)
	for i := range last.Downstreams {
		brought += last.Downstreams[i].Verified
	}
	for i := range now.Downstreams {
		d := &now.Downstreams[i]
		x := &pb.Proxy_Downstream{
			Name: d.Name, Connected: d.Connected, Stalled: d.Stalled, Outstanding: uint32(d.Outstanding),
			WantBlock: d.Sent.WantBlock, WantHave: d.Sent.WantHave, Have: d.Received.Have, DontHave: d.Received.DontHave,
			Verified: d.Verified, VerifiedBytes: d.VerifiedBytes, Refused: d.Refused, Late: d.Late, Timeouts: d.Timeouts, Connects: d.Connects,
		}
		if named && d.Peer != "" {
			x.PeerId = d.Peer.String()
		}
		if i < len(last.Downstreams) { // in the order of the configuration
			x.Rtt = times(last.Downstreams[i].RTT)
			if brought > 0 {
				x.SharePermille = uint32(last.Downstreams[i].Verified * 1000 / brought)
			}
		}
		out.Downstreams = append(out.Downstreams, x)
	}
	return out
}

// times converts latencies for a state; nil if there were none.
func times(l event.LatencyStats) *pb.Proxy_Times {
	if l.Count == 0 {
		return nil
	}
	us := func(d time.Duration) uint64 { return uint64(max(0, d.Microseconds())) }
	return &pb.Proxy_Times{Count: l.Count, P50Us: us(l.P50), P90Us: us(l.P90), P99Us: us(l.P99), MaxUs: us(l.Max)}
}
