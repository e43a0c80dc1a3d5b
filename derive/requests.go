package derive

import (
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

const (
	// maxRequests is how many HTTP requests are followed at once.
	maxRequests = 1 << 13
	// requestExpiry is how long a request may be without an answer: httpnet ends
	// each of them much earlier.
	requestExpiry = int64(30 * time.Second)
)

// requests follows the wants that are asked over HTTP to their ends.
type requests struct {
	open map[requestKey]*event.Event // made when it began: its Time is when
	lost uint64
	next int64 // event time of the next sweep

	bytes [2][event.RequestOutcomes]uint64
	took  [2][event.RequestOutcomes]histogram.Durations
}

type requestKey struct {
	key  uint64 // of peer and CID
	want event.WantType
}

// httpMessage takes a message over HTTP: wants begin requests, cancels and answers
// end them.
func (d *Deriver) httpMessage(e *event.Event, from uint64) {
	if e.Dir == event.Sent {
		for i := range e.Wants {
			w := &e.Wants[i]
			k := key(from, d.cidHash(w.CID), event.Sent)
			if w.Cancel {
				d.endRequest(k, event.WantBlock, event.RequestCanceled, e.Time, 0)
				d.endRequest(k, event.WantHave, event.RequestCanceled, e.Time, 0)
				continue
			}
			d.beginRequest(e, k, w)
		}
		return
	}
	for i := range e.Blocks {
		b := &e.Blocks[i]
		d.endRequest(key(from, d.cidHash(b.CID), event.Sent), event.WantBlock, event.RequestBlock, e.Time, b.Size)
	}
	for i := range e.Presences {
		p := &e.Presences[i]
		k := key(from, d.cidHash(p.CID), event.Sent)
		switch p.Type {
		case event.Have:
			d.endRequest(k, event.WantHave, event.RequestHave, e.Time, 0)
		case event.DontHave: // the older one, if both wait
			first, other := event.WantHave, event.WantBlock
			if x, y := d.requests.open[requestKey{k, first}], d.requests.open[requestKey{k, other}]; x == nil || y != nil && y.Time < x.Time {
				first = other
			}
			d.endRequest(k, first, event.RequestDontHave, e.Time, 0)
		}
	}
}

// beginRequest notes a request. One that repeats an open one takes its place,
// which then has had no answer.
func (d *Deriver) beginRequest(e *event.Event, k uint64, w *event.Want) {
	r := &d.requests
	want := asks(w)
	d.endRequest(k, want, event.RequestNoAnswer, e.Time, 0)
	if e.Time >= r.next {
		d.sweepRequests(e.Time)
		r.next = e.Time + requestExpiry/4
	}
	if len(r.open) >= maxRequests {
		r.lost++
		return
	}
	r.open[requestKey{k, want}] = requestOf(e, w.CID, want)
}

// requestOf returns the event of a request that a message asked for.
func requestOf(e *event.Event, c cid.Cid, want event.WantType) *event.Event {
	return &event.Event{
		Time: e.Time, Kind: event.KindRequest, Dir: event.Sent, Transport: event.HTTP, Peer: e.Peer, Country: e.Country, Gateway: e.Gateway,
		Side: e.Side, Downstream: e.Downstream, Addrs: e.Addrs, Request: &event.Request{CID: c, Want: want},
	}
}

// endRequest counts the end of a request, if it is open, and makes its event,
// which has the time of the end.
func (d *Deriver) endRequest(k uint64, want event.WantType, outcome event.RequestOutcome, now int64, size int32) {
	e := d.requests.open[requestKey{k, want}]
	if e == nil {
		return
	}
	delete(d.requests.open, requestKey{k, want})
	e.Request.Outcome, e.Request.Elapsed, e.Request.Size = outcome, time.Duration(max(0, now-e.Time)), size
	e.Time = now
	d.ended(e)
}

// ended counts a request that ended.
func (d *Deriver) ended(e *event.Event) {
	q := e.Request
	d.requests.bytes[q.Want][q.Outcome] += uint64(max(q.Size, 0))
	d.requests.took[q.Want][q.Outcome].Add(q.Elapsed)
	if d.single() {
		d.out = append(d.out, e)
	}
}

// sweepRequests ends the requests that have had no answer for too long.
func (d *Deriver) sweepRequests(now int64) {
	for k, e := range d.requests.open {
		if now-e.Time > requestExpiry {
			d.endRequest(k.key, k.want, event.RequestNoAnswer, now, 0)
		}
	}
}

// asks returns what an HTTP request asks for: httpnet knows two kinds of wants.
func asks(w *event.Want) event.WantType {
	if w.Type == event.WantHave {
		return event.WantHave
	}
	return event.WantBlock
}

// sendError counts a message that could not be sent. Each of its wants over HTTP
// is a request that ended with it.
func (d *Deriver) sendError(e *event.Event) {
	if e.Transport >= event.MessageTransports {
		return
	}
	s := e.SendError
	of := &d.sending.errors[e.Transport][len(event.SendErrors)-1]
	for i, class := range event.SendErrors {
		if class == s.Class {
			of = &d.sending.errors[e.Transport][i]
		}
	}
	of.Messages++
	of.Wants += uint64(s.Wants)
	of.Presences += uint64(s.Presences)
	of.Blocks += uint64(s.Blocks)
	of.Took += e.Took
	if e.Transport != event.HTTP {
		return
	}
	outcome := event.RequestError
	switch s.Class {
	case "canceled":
		outcome = event.RequestCanceled
	case "timeout":
		outcome = event.RequestTimeout
	}
	for i := range e.Wants {
		if w := &e.Wants[i]; !w.Cancel {
			q := requestOf(e, w.CID, asks(w))
			q.Request.Outcome, q.Request.Elapsed = outcome, e.Took
			q.Time += int64(e.Took)
			d.ended(q)
		}
	}
}

// sending sums how messages were sent in the interval.
type sending struct {
	took   [event.MessageTransports]histogram.Durations
	errors [event.MessageTransports][len(event.SendErrors)]event.SendErrorStats
}

// end returns the interval's figures and begins the next.
func (s *sending) end() (out [event.MessageTransports]event.SendStats) {
	for via := range out {
		out[via] = event.SendStats{Took: s.took[via].Stats(), Errors: s.errors[via]}
	}
	*s = sending{}
	return out
}

// end returns the interval's figures and begins the next.
func (r *requests) end() (out [2][event.RequestOutcomes]event.RequestStats) {
	for want := range out {
		for o := range out[want] {
			out[want][o] = event.RequestStats{Bytes: r.bytes[want][o], Took: r.took[want][o].Stats()}
		}
	}
	r.bytes, r.took = [2][event.RequestOutcomes]uint64{}, [2][event.RequestOutcomes]histogram.Durations{}
	return out
}
