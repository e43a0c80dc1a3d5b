package proxy

import "github.com/ipfsmon/ipfsmon/event"

// Status returns the current state, with counters since the start and without latencies, and
// the last sample, which has latencies; nil before the first.
func (p *Proxy) Status() (now, last *event.Proxy) {
	return p.engine.status(), p.last.Load()
}

func (e *engine) status() *event.Proxy {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := new(event.Proxy)
	e.n.fill(out)
	e.levels(out)
	for _, d := range e.downs {
		out.Downstreams = append(out.Downstreams, d.snapshot(&d.n))
	}
	return out
}

// fill sets the counters.
func (c *counts) fill(out *event.Proxy) {
	out.Received, out.Sent = c.received, c.sent
	out.Merged, out.Cached, out.Deferred, out.Overflow = c.merged, c.cached, c.deferred, c.overflow
	out.Ahead = c.ahead
	out.PassedStreams, out.BlockedStreams = c.passed, c.blocked
	out.PreloadRequests, out.PreloadRefused = c.refs, c.refsRefused
	out.ReverseWants, out.ReverseBlocks = c.reverseWants, c.reverseBlocks
}

// levels sets the current values. The caller holds the lock.
func (e *engine) levels(out *event.Proxy) {
	out.UpstreamPeers, out.PreloadRunning = len(e.ups), e.refsRunning
	for _, u := range e.ups {
		out.Waiting += len(u.waiting)
		out.QueuedBytes += u.box.bytes
	}
	for _, d := range e.downs {
		out.Outstanding += d.open
	}
}

// snapshot returns the current state of a node, with those counters.
func (d *downstream) snapshot(n *downCounts) event.ProxyDownstream {
	return event.ProxyDownstream{
		Name: d.addr.name, Peer: d.id, Connected: d.connected, Stalled: d.stalled, Outstanding: d.open,
		Received: n.received, Sent: n.sent,
		Verified: n.verified, VerifiedBytes: n.bytes, Refused: n.refused, Late: n.late, Timeouts: n.timeouts, Connects: n.connect,
	}
}
