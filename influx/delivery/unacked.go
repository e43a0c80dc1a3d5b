package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// maxDatagram keeps a datagram within one packet of Ethernet.
const maxDatagram = 1400

// reopenEvery is how soon a failed destination is reopened.
const reopenEvery = time.Second

// outlet is a destination that does not acknowledge: whether points arrived is unknown. It is
// for one goroutine.
type outlet interface {
	// write writes whole lines of a kind; some may be buffered until flush. It may block.
	write(ctx context.Context, kind schema.Kind, lines []byte)
	flush()
	close()
}

// unacked sends points to an outlet without batches, a queue or retries. Points that the outlet
// cannot take are dropped and counted; while it blocks, the bus drops its oldest events, which
// are counted as missed.
type unacked struct {
	set   *client.Settings
	lines *lines
	out   outlet

	stored, dropped, rejected atomic.Uint64
	last                      atomic.Pointer[failure]
	failing                   atomic.Bool
	over                      atomic.Bool // what waits is lost
}

type failure struct {
	text string
	at   time.Time
}

// newUnacked returns nil if the destination is a server.
func newUnacked(set *client.Settings, lines *lines) *unacked {
	p := &unacked{set: set, lines: lines}
	switch set.Base.Scheme {
	case "udp":
		p.out = &datagrams{p: p, rate: float64(set.UDPRate)}
	case "file", "stdout":
		p.out = &lineFile{p: p, path: set.Base.Path}
	default:
		return nil
	}
	return p
}

func (p *unacked) ok(points int) {
	p.stored.Add(uint64(points))
	p.failing.Store(false)
}

func (p *unacked) lost(points int, err error) {
	p.dropped.Add(uint64(points))
	p.last.Store(&failure{err.Error(), time.Now()})
	p.failing.Store(true)
	p.lines.unwritten.Warn(p.set.Logger, "influx: points dropped, the destination does not accept them", "points", points, "url", p.set.Base.Redacted(), "err", err)
}

// runUnacked is Run for an outlet.
func (s *Sink) runUnacked(ctx context.Context, r *bus.Reader) error {
	done := make(chan struct{})
	go func() { // ends with the bus or ctx; a write that hangs in a pipe ends with the process
		defer close(done)
		s.feed(ctx, r)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	case <-time.After(closeTimeout):
		s.unacked.over.Store(true)
		return fmt.Errorf("influx: %s accepted nothing for %v at the end", s.set.Base.Redacted(), closeTimeout)
	}
}

func (s *Sink) feed(ctx context.Context, r *bus.Reader) {
	defer s.unacked.out.close()
	var bufs [schema.Kinds][]byte
	buf := make([]*event.Event, 256)
	last := time.Now()
	for {
		waiting, cancel := context.WithTimeout(ctx, max(time.Until(last.Add(s.set.FlushEvery)), 0))
		n, missed, err := r.Next(waiting, buf)
		cancel()
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			s.unacked.out.flush()
			return
		}
		if missed > 0 {
			s.missed.Add(missed)
			s.lines.missed.Warn(s.set.Logger, "influx: events were lost before they could be read", "missed", int(missed))
		}
		for i := range n {
			bufs = s.takeUnacked(bufs, buf[i])
			buf[i] = nil
		}
		s.events.Add(uint64(n))
		for k := range bufs {
			if len(bufs[k]) > 0 {
				s.unacked.out.write(ctx, schema.Kind(k), bufs[k])
				bufs[k] = bufs[k][:0]
			}
		}
		if time.Since(last) >= s.set.FlushEvery {
			bufs[schema.Totals] = s.sumsUnacked(bufs[schema.Totals])
			if len(bufs[schema.Totals]) > 0 {
				s.unacked.out.write(ctx, schema.Totals, bufs[schema.Totals])
				bufs[schema.Totals] = bufs[schema.Totals][:0]
			}
			s.unacked.out.flush()
			s.lines.each((*throttle.Loss).Tick)
			last = time.Now()
		}
	}
}

// takeUnacked encodes one event. A panic loses that event.
func (s *Sink) takeUnacked(bufs [schema.Kinds][]byte, ev *event.Event) (out [schema.Kinds][]byte) {
	out = bufs
	defer func() {
		if p := recover(); p != nil {
			out = bufs
			s.guard.Caught(p, "influx: encode an event")
		}
	}()
	grown, points := s.enc.Append(bufs, ev)
	for _, n := range points {
		s.taken.Add(uint64(n))
	}
	return grown
}

// sumsUnacked saves the rollups and appends those that are over.
func (s *Sink) sumsUnacked(b []byte) []byte {
	if s.batcher.sums == nil {
		return b
	}
	defer s.guard.Recover("influx: write the sums")
	now := time.Now()
	s.batcher.save(now)
	b, points := s.batcher.sums.Append(b, now, time.Time{})
	s.taken.Add(uint64(points))
	return b
}

func (p *unacked) delivery(accepted uint64) Delivery {
	d := Delivery{Accepted: accepted, Stored: p.stored.Load(), Dropped: p.dropped.Load(), Rejected: p.rejected.Load(), Failing: p.failing.Load()}
	d.Queued = uint64(max(int64(d.Accepted)-int64(d.Stored+d.Dropped+d.Rejected), 0))
	if p.over.Load() {
		d.Dropped, d.Queued = d.Dropped+d.Queued, 0
	}
	if f := p.last.Load(); f != nil {
		d.LastError, d.LastTime = f.text, f.at
	}
	return d
}
