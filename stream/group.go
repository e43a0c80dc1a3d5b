package stream

import (
	"context"
	"slices"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

const (
	// lineBytes is about the most JSON in one batch of version 4, and holdTime
	// the longest that an event waits for its batch to fill.
	lineBytes = 128 << 10
	holdTime  = 100 * time.Millisecond
)

// group is the subscribers of version 4 with the same filter and encoding: each
// batch is encoded and compressed once for all of them.
type group struct {
	match    *matcher
	encoding byte
	key      string

	subs []*subscriber // guarded by Server.mu

	// The lines of the current batch; used by the pump's goroutine alone.
	lines       []byte
	events      int
	first, last uint64
	since       time.Time
}

func (g *group) add(line []byte, seq uint64, now time.Time) {
	if g.events == 0 {
		g.first, g.since = seq, now
	}
	g.lines = append(g.lines, line...)
	g.events++
	g.last = seq
}

// join puts a subscriber into its group. The caller holds mu.
func (s *Server) join(sub *subscriber) {
	s.subs = append(s.subs, sub)
	g := sub.group
	if g == nil {
		s.active.Add(1)
		return
	}
	for _, have := range s.groups {
		if have.key == g.key {
			g = have
		}
	}
	if len(g.subs) == 0 {
		s.groups = append(s.groups, g)
	}
	sub.group = g
	g.subs = append(g.subs, sub)
}

// part removes a subscriber from its group. The caller holds mu.
func (s *Server) part(sub *subscriber) {
	without := func(subs []*subscriber) []*subscriber {
		if i := slices.Index(subs, sub); i >= 0 {
			return slices.Delete(subs, i, i+1)
		}
		return subs
	}
	s.subs = without(s.subs)
	g := sub.group
	if g == nil {
		s.active.Add(-1)
		return
	}
	if g.subs = without(g.subs); len(g.subs) == 0 {
		if i := slices.Index(s.groups, g); i >= 0 {
			s.groups = slices.Delete(s.groups, i, i+1)
		}
	}
}

// pump turns events into frames, in Run's goroutine.
type pump struct {
	s      *Server
	v3     encoder
	groups []*group // the current ones, as of the last regroup
	line   []byte
	comp   batchCompressor
}

// run encodes events from the bus and queues them for the subscribers.
func (p *pump) run(ctx context.Context, r *bus.Reader) error {
	var events [batchEvents]*event.Event
	for {
		n, missed, err := p.next(ctx, r, events[:])
		if err != nil {
			for _, g := range p.groups {
				p.flush(g)
			}
			return err
		}
		p.regroup()
		if missed > 0 {
			p.missed(missed, events[0].Seq)
		}
		now := time.Now()
		for _, e := range events[:n] {
			p.take(e, now)
		}
		clear(events[:n])
		if p.v3.frames > 0 {
			p.s.publish(&p.v3)
		}
		for _, g := range p.groups {
			if g.events > 0 && now.Sub(g.since) >= holdTime {
				p.flush(g)
			}
		}
	}
}

// next is the bus reader's Next, but returns no events when a batch is due.
func (p *pump) next(ctx context.Context, r *bus.Reader, events []*event.Event) (n int, missed uint64, err error) {
	var due time.Time
	for _, g := range p.groups {
		if t := g.since.Add(holdTime); g.events > 0 && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	if due.IsZero() {
		return r.Next(ctx, events)
	}
	until, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	n, missed, err = r.Next(until, events)
	if err != nil && until.Err() != nil && ctx.Err() == nil {
		return 0, 0, nil
	}
	return n, missed, err
}

// regroup updates the list of groups.
func (p *pump) regroup() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	clear(p.groups)
	p.groups = append(p.groups[:0], p.s.groups...)
}

// missed records for the subscribers of version 4 that n events before next were
// lost on the bus.
func (p *pump) missed(n, next uint64) {
	for _, g := range p.groups {
		p.flush(g) // what came before the gap
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.stats.MissedEvents += n
	for _, g := range p.s.groups {
		for _, sub := range g.subs {
			sub.missed(n, next-n, next-1)
		}
	}
}

// take adds an event to the frames of all subscribers that want it.
func (p *pump) take(e *event.Event, now time.Time) {
	if p.s.active.Load() > 0 && hasV3(e) {
		if p.v3.frames > 0 && len(p.v3.frameData) >= batchBytes {
			p.s.publish(&p.v3)
		}
		p.s.encode(&p.v3, e)
	}
	if len(p.groups) > 0 && hasV4(e) {
		p.takeV4(e, now)
	}
}

// takeV4 encodes an event once and adds it to the groups that want it. A panic
// loses that event only.
func (p *pump) takeV4(e *event.Event, now time.Time) {
	defer p.s.guard.Recover("stream: encode an event for version 4")
	encoded := false
	for _, g := range p.groups {
		if !g.match.match(e) {
			continue
		}
		if !encoded {
			p.line = appendV4(p.line[:0], e)
			encoded = true
		}
		if g.events > 0 && len(g.lines)+len(p.line) > lineBytes {
			p.flush(g)
		}
		g.add(p.line, e.Seq, now)
	}
	if cap(p.line) > maxScratch {
		p.line = nil
	}
}

// flush queues the group's batch for its subscribers.
func (p *pump) flush(g *group) {
	if g.events == 0 {
		return
	}
	defer p.s.guard.Recover("stream: compress a batch")
	b := batch{frames: 1, events: g.events, first: g.first, last: g.last}
	lines := g.lines
	g.lines, g.events = g.lines[:0], 0
	if cap(g.lines) > 2*lineBytes {
		g.lines = nil
	}
	b.data = p.comp.frame(lines, g.encoding)
	p.s.deliver(b, len(lines), g)
}
