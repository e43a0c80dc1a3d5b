package proxy

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// count changes the totals.
func (e *engine) count(f func(*counts)) {
	e.mu.Lock()
	f(&e.n)
	e.mu.Unlock()
}

// peers lists the connected peers.
func (e *engine) peers() []peer.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]peer.ID, 0, len(e.ups))
	for id := range e.ups {
		out = append(out, id)
	}
	return out
}

// nodes lists the connected nodes in the order of the configuration.
func (e *engine) nodes() []peer.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []peer.ID
	for _, d := range e.downs {
		if d.connected {
			out = append(out, d.id)
		}
	}
	return out
}

// nodeOf returns the connected node with that ID, nil if there is none.
func (e *engine) nodeOf(id peer.ID) *downstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byPeer[id]
}

func (e *engine) idOf(d *downstream) peer.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return d.id
}

// home returns the node for a peer's other streams: the first from its own on that supports
// them.
func (e *engine) home(from peer.ID, can func(peer.ID) bool) (peer.ID, bool) {
	e.mu.Lock()
	u := e.upstream(from)
	var all []peer.ID
	if u != nil {
		if h := e.homeOf(u); h != nil {
			all = append(all, h.id)
		}
	}
	for _, d := range e.downs {
		if d.connected && (len(all) == 0 || d.id != all[0]) {
			all = append(all, d.id)
		}
	}
	e.mu.Unlock()
	for _, id := range all {
		if can(id) {
			return id, true
		}
	}
	return "", false
}

// goneSignal returns a channel that is closed when the node's connection ends.
func (e *engine) goneSignal(d *downstream) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.gone == nil {
		d.gone = make(chan struct{})
	}
	return d.gone
}

func (e *engine) signalGone(d *downstream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.gone != nil {
		close(d.gone)
		d.gone = nil
	}
}

// drain refuses new wants and waits until everything queued has been sent, at most for that
// long.
func (e *engine) drain(most time.Duration) {
	until := time.Now().Add(most)
	for time.Now().Before(until) {
		e.mu.Lock()
		e.draining = true
		left := 0
		for _, u := range e.ups {
			if u.box.running {
				left++
			}
			for _, w := range u.wants {
				if w.active && !w.answered && w.block { // asked for, and perhaps in transit
					left++
				}
			}
		}
		e.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// close ends all sending.
func (e *engine) close() {
	e.mu.Lock()
	e.closed = true
	for _, u := range e.ups {
		u.box.drop()
	}
	for _, d := range e.downs {
		d.box.drop()
	}
	e.mu.Unlock()
	e.boxes.Wait()
}

// Sample returns the proxy's totals; the counters are since the last call.
func (p *Proxy) Sample(interval time.Duration) *event.Proxy {
	s := p.engine.sample(interval)
	p.last.Store(s)
	return s
}

func (e *engine) sample(interval time.Duration) *event.Proxy {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cache.expire(time.Now())
	n := e.n.sub(&e.last)
	e.last = e.n
	out := &event.Proxy{Interval: interval, Answer: e.answer.take()}
	n.fill(out)
	e.levels(out)
	for _, d := range e.downs {
		x := d.n.sub(&d.last)
		d.last = d.n
		node := d.snapshot(&x)
		node.RTT = d.rtt.take()
		out.Downstreams = append(out.Downstreams, node)
	}
	return out
}

// Publish publishes the totals every interval, and once more at the end. It needs its own
// goroutine, which end stops.
func (p *Proxy) Publish(every time.Duration, publish func(*event.Event) bool) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		last, going := time.Now(), true
		for going {
			select {
			case <-tick.C:
			case <-stop:
				going = false
			}
			now := time.Now()
			p.publish(publish, now, now.Sub(last))
			last = now
		}
	}()
	return func() { close(stop); <-done }
}

func (p *Proxy) publish(publish func(*event.Event) bool, now time.Time, interval time.Duration) {
	defer p.engine.guard.Recover("proxy: publish the totals")
	publish(&event.Event{Time: now.UnixNano(), Kind: event.KindProxy, Proxy: p.Sample(interval)})
}

func (c counts) sub(old *counts) counts {
	return counts{
		received: c.received.Sub(old.received), sent: c.sent.Sub(old.sent),
		merged: c.merged - old.merged, cached: c.cached - old.cached, deferred: c.deferred - old.deferred, overflow: c.overflow - old.overflow,
		ahead: c.ahead - old.ahead, passed: c.passed - old.passed, blocked: c.blocked - old.blocked,
		refs: c.refs - old.refs, refsRefused: c.refsRefused - old.refsRefused,
		reverseWants: c.reverseWants - old.reverseWants, reverseBlocks: c.reverseBlocks - old.reverseBlocks,
	}
}

func (c downCounts) sub(old *downCounts) downCounts {
	return downCounts{
		received: c.received.Sub(old.received), sent: c.sent.Sub(old.sent),
		verified: c.verified - old.verified, bytes: c.bytes - old.bytes,
		refused: c.refused - old.refused, late: c.late - old.late, timeouts: c.timeouts - old.timeouts, connect: c.connect - old.connect,
	}
}
