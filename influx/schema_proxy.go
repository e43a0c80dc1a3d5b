package influx

import (
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
)

// MaxDownstreams is how many nodes behind a proxy have a name of their own in
// one run; the rest is summed as others.
const MaxDownstreams = 64

func init() { Schema = append(Schema, proxyTotals, proxyDownstreams) }

var proxyTotals = &Measurement{
	Name: "proxy", Kind: Totals,
	Point:   "the peers' side of a proxy at the end of an interval (`ipfsmon proxy` alone)",
	Answers: "How many peers does the proxy serve, how well, and what did it save its nodes?",
	Query:   `SELECT max(upstream_peers), sum(blocks), sum(merged), sum(cached) FROM totals.proxy WHERE time > now() - 1h GROUP BY time(1m)`,
	Tags:    []Tag{tagNode},
	Fields: []Field{
		fieldInterval,
		{Key: "upstream_peers", Type: Int, Help: "connected peers that are served"},
		{Key: "downstream_peers", Type: Int, Help: "connected nodes behind the proxy"},
		{Key: "outstanding", Type: Int, Help: "CIDs that a node was asked for and has not answered"},
		{Key: "waiting", Type: Int, Help: "wants of peers that wait for their turn"},
		{Key: "queued_bytes", Type: Int, Unit: "bytes", Help: "blocks that wait to be sent to peers"},
		{Key: "messages_received", Type: Int, Help: "messages from peers"},
		{Key: "messages_sent", Type: Int, Help: "messages to peers"},
		{Key: "want_block", Type: Int, Help: "wants of peers for a block"},
		{Key: "want_have", Type: Int, Help: "wants of peers for a HAVE"},
		{Key: "cancel", Type: Int, Help: "wants cancelled by peers"},
		{Key: "blocks", Type: Int, Help: "blocks sent to peers"},
		{Key: "block_bytes", Type: Int, Unit: "bytes", Help: "data in them"},
		{Key: "have", Type: Int, Help: "HAVEs sent to peers"},
		{Key: "dont_have", Type: Int, Help: "DONT_HAVEs sent to peers"},
		{Key: "merged", Type: Int, Help: "wants that joined one that was asked for already"},
		{Key: "cached", Type: Int, Help: "wants answered with a block fetched a moment before"},
		{Key: "deferred", Type: Int, Help: "blocks that a peer's full queue did not take, fetched again later"},
		{Key: "overflow", Type: Int, Help: "wants beyond a limit, not looked at"},
		{Key: "ahead", Type: Int, Help: "blocks that a node was asked for before a peer wanted them"},
		{Key: "answer_count", Type: Int, Help: "blocks whose time to the peer was measured"},
		{Key: "answer_mean_us", Type: Int, Unit: "µs", Help: "from a peer's want to its block, mean"},
		{Key: "answer_p50_us", Type: Int, Unit: "µs", Help: "median"},
		{Key: "answer_p99_us", Type: Int, Unit: "µs", Help: "99th percentile"},
		{Key: "answer_max_us", Type: Int, Unit: "µs", Help: "longest"},
		{Key: "passed_streams", Type: Int, Help: "streams of other protocols passed on to a node"},
		{Key: "blocked_streams", Type: Int, Help: "streams of other protocols refused: blocked, over a limit or without a node"},
		{Key: "preload_requests", Type: Int, Help: "requests to /api/v0/refs"},
		{Key: "preload_refused", Type: Int, Help: "of these, refused because of a limit"},
		{Key: "preload_running", Type: Int, Help: "requests that are answered now"},
		{Key: "reverse_wants", Type: Int, Help: "wants of nodes passed to peers, because of a preload"},
		{Key: "reverse_blocks", Type: Int, Help: "blocks of peers passed to nodes"}},
}

var proxyDownstreams = &Measurement{
	Name: "proxy_downstreams", Kind: Totals,
	Point:   "one node behind a proxy at the end of an interval (`ipfsmon proxy` alone)",
	Answers: "How fast is each node behind the proxy, what is its share, and which one is down, stuck or lies?",
	Query:   `SELECT mean(rtt_p50_us), sum(verified_bytes), mean(share_permille), sum(refused) FROM totals.proxy_downstreams WHERE time > now() - 1h GROUP BY time(1m), downstream`,
	Tags:    []Tag{tagDownstream, tagNode},
	Fields: []Field{
		fieldInterval, fieldPeer,
		{Key: "connected", Type: Bool, Help: "there is a connection to it"},
		{Key: "stalled", Type: Bool, Help: "connected, but it does not answer; it is asked last"},
		{Key: "outstanding", Type: Int, Help: "CIDs that it was asked for and has not answered"},
		{Key: "share_permille", Type: Int, Unit: "‰", Help: "its part of the blocks that all nodes brought in the interval; 0 if none did"},
		{Key: "messages_received", Type: Int, Help: "messages from it"},
		{Key: "messages_sent", Type: Int, Help: "messages to it"},
		{Key: "want_block", Type: Int, Help: "wants for a block sent to it"},
		{Key: "want_have", Type: Int, Help: "wants for a HAVE sent to it"},
		{Key: "cancel", Type: Int, Help: "cancels sent to it"},
		{Key: "have", Type: Int, Help: "HAVEs from it"},
		{Key: "dont_have", Type: Int, Help: "DONT_HAVEs from it"},
		{Key: "verified", Type: Int, Help: "blocks from it that were asked for and fit their CID"},
		{Key: "verified_bytes", Type: Int, Unit: "bytes", Help: "data in them"},
		{Key: "refused", Type: Int, Help: "blocks from it that it was not asked for: wrong bytes have another CID"},
		{Key: "late", Type: Int, Help: "blocks from it that another node had brought before"},
		{Key: "timeouts", Type: Int, Help: "wants for which another node was asked because it did not answer"},
		{Key: "connects", Type: Int, Help: "connections made to it"},
		{Key: "rtt_count", Type: Int, Help: "blocks whose round trip was measured"},
		{Key: "rtt_mean_us", Type: Int, Unit: "µs", Help: "from a want sent to it to the block, mean"},
		{Key: "rtt_p50_us", Type: Int, Unit: "µs", Help: "median"},
		{Key: "rtt_p90_us", Type: Int, Unit: "µs", Help: "90th percentile"},
		{Key: "rtt_p99_us", Type: Int, Unit: "µs", Help: "99th percentile"},
		{Key: "rtt_max_us", Type: Int, Unit: "µs", Help: "longest"}},
}

// proxy appends the points of a proxy's totals.
func (e *Encoder) proxy(b []byte, ev *event.Event) ([]byte, int) {
	p := ev.Proxy
	t := e.tables[proxyTotals]
	at := t.stamp(ev.Time)
	up, verified := 0, uint64(0)
	for i := range p.Downstreams {
		up += bit(p.Downstreams[i].Connected)
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

	t = e.tables[proxyDownstreams]
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
