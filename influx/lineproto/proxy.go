package lineproto

import (
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// proxy appends the points of a proxy's totals.
func (e *Encoder) proxy(b []byte, ev *event.Event) ([]byte, int) {
	p := ev.Proxy
	t := e.tables[schema.ProxyTotals]
	at := t.stamp(ev.Time)
	up, verified := 0, uint64(0)
	for i := range p.Downstreams {
		up += sets.Bit(p.Downstreams[i].Connected)
		verified += p.Downstreams[i].Verified
	}
	w := e.begin(t, b, 0)
	w.int(p.Interval.Milliseconds())
	w.int(int64(p.UpstreamPeers))
	w.int(int64(up))
	w.int(int64(p.Outstanding))
	w.int(int64(p.Waiting))
	w.int(int64(p.QueuedBytes))
	for _, v := range []uint64{p.Received.Messages, p.Sent.Messages,
		p.Received.WantBlock, p.Received.WantHave, p.Received.Cancel,
		p.Sent.Blocks, p.Sent.BlockBytes, p.Sent.Have, p.Sent.DontHave,
		p.Merged, p.Cached, p.Deferred, p.Overflow, p.Ahead, p.Answer.Count} {
		w.uint(v)
	}
	w.int(mean(p.Answer))
	w.int(p.Answer.P50.Microseconds())
	w.int(p.Answer.P99.Microseconds())
	w.int(p.Answer.Max.Microseconds())
	w.uint(p.PassedStreams)
	w.uint(p.BlockedStreams)
	w.uint(p.PreloadRequests)
	w.uint(p.PreloadRefused)
	w.int(int64(p.PreloadRunning))
	w.uint(p.ReverseWants)
	w.uint(p.ReverseBlocks)
	b = w.end(at)

	t = e.tables[schema.ProxyDownstreams]
	at = t.stamp(ev.Time)
	points := 1
	var written []int
	for i := range p.Downstreams {
		d := &p.Downstreams[i]
		series := t.names.at(event.Text(d.Name))
		if slices.Contains(written, series) {
			continue // of those beyond the limit, one stands for all
		}
		written = append(written, series)
		e.setPeer(d.Peer)
		w := e.begin(t, b, series)
		w.int(p.Interval.Milliseconds())
		w.raw(e.peerText)
		w.bool(d.Connected)
		w.bool(d.Stalled)
		w.int(int64(d.Outstanding))
		share := int64(0)
		if verified > 0 {
			share = int64(float64(d.Verified) / float64(verified) * 1000)
		}
		w.int(share)
		for _, v := range []uint64{d.Received.Messages, d.Sent.Messages, d.Sent.WantBlock, d.Sent.WantHave, d.Sent.Cancel,
			d.Received.Have, d.Received.DontHave, d.Verified, d.VerifiedBytes, d.Refused, d.Late, d.Timeouts, d.Connects, d.RTT.Count} {
			w.uint(v)
		}
		w.int(mean(d.RTT))
		w.int(d.RTT.P50.Microseconds())
		w.int(d.RTT.P90.Microseconds())
		w.int(d.RTT.P99.Microseconds())
		w.int(d.RTT.Max.Microseconds())
		b = w.end(at)
		points++
	}
	return b, points
}

// mean is that of latencies in microseconds, 0 if there were none.
func mean(l event.LatencyStats) int64 {
	if l.Count == 0 {
		return 0
	}
	return l.Sum.Microseconds() / int64(l.Count)
}
