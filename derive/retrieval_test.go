package derive

import (
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// search makes a step of a search for a CID; p is the provider that was found.
func search(state event.SearchState, at time.Duration, p int, c uint64, connected bool) *event.Event {
	e := &event.Event{Kind: event.KindSearch, Time: start + int64(at), Search: &event.Search{CID: testCID(c), State: state, Connected: connected}}
	if state == event.SearchFound {
		e.Peer = testPeer(p)
	}
	return e
}

// web returns the message as one over HTTP.
func web(e *event.Event) *event.Event {
	e.Transport = event.HTTP
	return e
}

// TestWhereBlocksComeFrom follows wants to their blocks: the source, both times, and how
// wants without a block ended.
func TestWhereBlocksComeFrom(t *testing.T) {
	const c = 1
	sent := func(at time.Duration) *event.Event { return wants(message(event.Sent, 1, at), event.WantHave, c) }
	got := func(at time.Duration) *event.Event { return blocks(message(event.Received, 1, at), c) }
	opened := func(at time.Duration, inbound bool) *event.Event {
		return &event.Event{Kind: event.KindConnection, Time: start + int64(at), Peer: testPeer(1), Conn: &event.Conn{Inbound: inbound, PeerConns: 1}}
	}
	f := func(name string, source event.Source, provider, block time.Duration, events ...*event.Event) {
		t.Helper()
		d := quiet(Config{HistoryLatency: true})
		for _, e := range events {
			d.feed(e)
		}
		var out []*event.Event
		for _, e := range d.out {
			if e.Kind == event.KindRetrieval {
				out = append(out, e)
			}
		}
		want := event.Retrieval{CID: testCID(c), Size: out[0].Retrieval.Size, Source: source, ToProvider: provider, ToBlock: block}
		if len(out) != 1 || *out[0].Retrieval != want || out[0].Peer != testPeer(1) {
			t.Errorf("%s: %d, %+v, want %+v", name, len(out), *out[0].Retrieval, want)
		}
		s := d.cut().Retrieval
		if x := s.Sources[source]; x.Blocks != 1 || x.Bytes != uint64(want.Size) || x.ToProvider.Sum != provider || x.ToBlock.Sum != block || s.Wanted != 1 || s.GivenUp+s.Unanswered+s.Lost != 0 || s.Waiting != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	f("a connected peer", event.SourceConnected, 30*ms, 30*ms, sent(0), got(30*ms))
	f("its HAVE is the first provider", event.SourceConnected, 10*ms, 30*ms, sent(0), presences(message(event.Received, 1, 10*ms), event.Have, c), got(30*ms))
	f("named by the routing", event.SourceRouting, 5*ms, 30*ms, search(event.SearchBegan, 0, 0, c, false), search(event.SearchFound, 5*ms, 1, c, false), sent(10*ms), got(30*ms))
	f("named and connected already", event.SourceRouting, 5*ms, 30*ms, search(event.SearchBegan, 0, 0, c, false), search(event.SearchFound, 5*ms, 1, c, true), sent(10*ms), got(30*ms))
	f("asked as soon as it was named", event.SourceRouting, 5*ms, 30*ms, search(event.SearchBegan, 0, 0, c, false), search(event.SearchFound, 5*ms, 1, c, false), sent(5*ms), got(30*ms))
	f("asked before it was named", event.SourceConnected, 5*ms, 30*ms, sent(0), search(event.SearchFound, 5*ms, 1, c, true), got(30*ms))
	f("named for another CID", event.SourceSession, 30*ms, 30*ms, search(event.SearchFound, -10*ms, 1, 2, false), sent(0), got(30*ms))
	f("named for another CID, but connected before", event.SourceConnected, 30*ms, 30*ms, search(event.SearchFound, -10*ms, 1, 2, true), sent(0), got(30*ms))
	f("named for another CID, but this peer connected on its own", event.SourceConnected, 30*ms, 30*ms, search(event.SearchFound, -10*ms, 1, 2, false), opened(-5*ms, true), sent(0), got(30*ms))
	f("named for another CID and dialled", event.SourceSession, 30*ms, 30*ms, search(event.SearchFound, -10*ms, 1, 2, false), opened(-5*ms, false), sent(0), got(30*ms))
	f("over HTTP", event.SourceHTTP, 5*ms, 30*ms, search(event.SearchBegan, 0, 0, c, false), search(event.SearchFound, 5*ms, 1, c, false), web(sent(10*ms)), web(got(30*ms)))
	f("a peer that was not asked", event.SourceUnknown, 30*ms, 30*ms, wants(message(event.Sent, 2, 0), event.WantHave, c), got(30*ms))
	f("wants and cancels after the block are of it", event.SourceConnected, 30*ms, 30*ms, sent(0), got(30*ms), wants(message(event.Sent, 2, 31*ms), event.WantHave, c), cancels(message(event.Sent, 2, 32*ms), c))

	d := quiet(Config{Expiry: time.Minute})
	d.feed(wants(message(event.Sent, 1, 0), event.WantBlock, 1, 2, 3, 4))
	d.feed(cancels(message(event.Sent, 1, ms), 1))
	d.feed(blocks(message(event.Received, 1, 2*ms), 2, 2, 9)) // the second, and one that nobody wants
	d.feed(wants(message(event.Sent, 1, 50*time.Second), event.WantBlock, 4))
	d.feed(message(event.Sent, 2, 70*time.Second))
	if s := d.cut().Retrieval; s.Wanted != 4 || s.GivenUp != 1 || s.Unanswered != 1 || s.Waiting != 1 || s.Surplus != 2 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWantedIsBoundedAndCountsLosses: the node's wants never take more places than there
// are; each evicted one is counted.
func TestWantedIsBoundedAndCountsLosses(t *testing.T) {
	d := quiet(Config{MaxWanted: 64})
	const n = 1000
	for i := range uint64(n) {
		d.feed(wants(message(event.Sent, 1, time.Duration(i)), event.WantBlock, i))
		d.feed(search(event.SearchFound, time.Duration(i), int(i), i, true))
	}
	s := d.cut().Retrieval
	if records := uint64(n - 64); s.Wanted != n || s.Waiting > 64 || s.Waiting < 32 || s.Lost != uint64(n-s.Waiting)+records {
		t.Errorf("%+v", s)
	}
}

// TestRequestsEnd: each want over HTTP is one request, which ends once.
func TestRequestsEnd(t *testing.T) {
	d := quiet(Config{HistoryLatency: true})
	sent := func(at time.Duration) *event.Event { return web(message(event.Sent, 1, at)) }
	d.feed(wants(sent(0), event.WantHave, 1, 2, 3, 4))
	d.feed(presences(web(message(event.Received, 1, 5*ms)), event.Have, 1))
	d.feed(presences(web(message(event.Received, 1, 6*ms)), event.DontHave, 2))
	d.feed(wants(sent(10*ms), event.WantBlock, 1))
	d.feed(blocks(web(message(event.Received, 1, 30*ms)), 1, 1))
	d.feed(cancels(sent(40*ms), 3, 1))
	failed := wants(sent(50*ms), event.WantBlock, 5)
	failed.Kind, failed.Took, failed.SendError = event.KindSendError, 7*ms, &event.SendError{Class: "timeout", Wants: 1}
	d.feed(failed)
	d.feed(message(event.Sent, 2, time.Minute))
	s := d.cut()
	f := func(want event.WantType, o event.RequestOutcome, took time.Duration) {
		t.Helper()
		x := &s.Requests[want][o]
		if x.Took.Count != 1 || x.Took.Sum != took {
			t.Errorf("%v: %+v, want one of %v", o, x.Took, took)
		}
	}
	f(event.WantHave, event.RequestHave, 5*ms)
	f(event.WantHave, event.RequestDontHave, 6*ms)
	f(event.WantBlock, event.RequestBlock, 20*ms)
	f(event.WantHave, event.RequestCanceled, 40*ms)
	f(event.WantBlock, event.RequestTimeout, 7*ms)
	f(event.WantHave, event.RequestNoAnswer, time.Minute)
	n := 0
	for _, e := range d.out {
		n += map[bool]int{true: 1}[e.Kind == event.KindRequest]
	}
	if n != 6 || s.Latency != [event.Directions][event.AnswerTypes]event.LatencyStats{} || s.Pending != 0 {
		t.Errorf("%d requests, want 6; as Bitswap's: %+v, %d wait", n, s.Latency, s.Pending)
	}
	if x := s.Sending[event.HTTP]; x.Took.Count != 3 || x.Errors[1] != (event.SendErrorStats{Messages: 1, Wants: 1, Took: 7 * ms}) {
		t.Errorf("sending: %+v", x)
	}
}

// TestBytesOfBlocks that came: by their source, by the request that was answered, and
// those that nobody waited for. A size below zero counts as none; each interval begins
// with none.
func TestBytesOfBlocks(t *testing.T) {
	d := quiet(Config{})
	sized := func(e *event.Event, c uint64, size int32) *event.Event {
		e.Blocks = append(e.Blocks, event.Block{CID: testCID(c), Size: size})
		return e
	}
	d.feed(wants(message(event.Sent, 1, 0), event.WantBlock, 1, 2, 3))
	d.feed(sized(sized(sized(message(event.Received, 1, ms), 1, 100), 2, 20), 3, -7))
	d.feed(sized(sized(message(event.Received, 1, ms), 1, 3000), 8, -1))
	d.feed(sized(message(event.Received, 1, ms), 9, 400))
	d.feed(wants(web(message(event.Sent, 2, 0)), event.WantBlock, 4, 5, 6))
	d.feed(sized(sized(sized(web(message(event.Received, 2, 5*ms)), 4, 50_000), 5, 6000), 6, -9))
	s := d.cut()
	r := s.Retrieval
	if a, b := r.Sources[event.SourceConnected], r.Sources[event.SourceHTTP]; a.Blocks != 3 || a.Bytes != 120 || b.Blocks != 3 || b.Bytes != 56_000 {
		t.Errorf("%+v and %+v", a, b)
	}
	if r.Surplus != 3 || r.SurplusBytes != 3400 {
		t.Errorf("%d bytes of %d blocks that nobody waited for", r.SurplusBytes, r.Surplus)
	}
	if x := s.Requests[event.WantBlock][event.RequestBlock]; x.Bytes != 56_000 || x.Took.Count != 3 {
		t.Errorf("%+v", x)
	}
	s = d.cut()
	if s.Retrieval != (event.SummaryRetrieval{}) || s.Requests != [2][event.RequestOutcomes]event.RequestStats{} {
		t.Errorf("the next interval begins with %+v and %+v", s.Retrieval, s.Requests)
	}
}

// TestSendErrorsByClass: each is counted in its class and transport, and over HTTP each of
// its wants, but no cancel, is a request that ended with it.
func TestSendErrorsByClass(t *testing.T) {
	outcomes := map[string]event.RequestOutcome{"canceled": event.RequestCanceled, "timeout": event.RequestTimeout, "other": event.RequestError}
	for i, class := range event.SendErrors {
		for _, via := range []event.Transport{event.Libp2p, event.HTTP} {
			d := quiet(Config{HistoryLatency: true})
			for range 2 {
				e := cancels(wants(wants(message(event.Sent, 1, 0), event.WantHave, 1, 2), event.WantBlock, 3), 4)
				e.Kind, e.Transport, e.Took, e.SendError = event.KindSendError, via, 3*ms, &event.SendError{Class: class, Wants: 4, Presences: 5, Blocks: 6}
				d.feed(e)
			}
			s := d.cut()
			for v := range s.Sending {
				for j, got := range s.Sending[v].Errors {
					var want event.SendErrorStats
					if j == i && event.Transport(v) == via {
						want = event.SendErrorStats{Messages: 2, Wants: 8, Presences: 10, Blocks: 12, Took: 6 * ms}
					}
					if got != want {
						t.Errorf("%s over %v: errors %d of %v are %+v, want %+v", class, via, j, event.Transport(v), got, want)
					}
				}
			}
			for w := range s.Requests {
				for o, got := range s.Requests[w] {
					var want uint64
					if via == event.HTTP && event.RequestOutcome(o) == outcomes[class] {
						want = map[event.WantType]uint64{event.WantHave: 4, event.WantBlock: 2}[event.WantType(w)]
					}
					if got.Took.Count != want || got.Took.Sum != time.Duration(want)*3*ms {
						t.Errorf("%s over %v: %+v of %v, %v; want %d of 3 ms", class, via, got.Took, event.WantType(w), event.RequestOutcome(o), want)
					}
				}
			}
			if n := len(d.out) - 1; via == event.HTTP && (n != 6 || d.out[0].Time != start+int64(3*ms)) || via != event.HTTP && n != 0 {
				t.Errorf("%s over %v: %d events, the first %+v", class, via, n, d.out[0])
			}
			if s = d.cut(); s.Sending != [event.MessageTransports]event.SendStats{} {
				t.Errorf("the next interval begins with %+v", s.Sending)
			}
		}
	}
}

// TestTimesOfSending are those of the messages that the node sent, by their transport.
func TestTimesOfSending(t *testing.T) {
	d := quiet(Config{})
	for i, via := range []event.Transport{event.Libp2p, event.HTTP, event.HTTP} {
		e := message(event.Sent, 1, 0)
		e.Transport, e.Took = via, time.Duration(i+1)*ms
		d.feed(e)
		e = message(event.Received, 1, 0)
		e.Transport, e.Took = via, time.Second
		d.feed(e)
		d.feed(e)
	}
	s := d.cut().Sending
	if a, b := s[event.Libp2p].Took, s[event.HTTP].Took; a.Count != 1 || a.Sum != ms || b.Count != 2 || b.Sum != 5*ms || b.Max != 3*ms {
		t.Errorf("%+v and %+v", a, b)
	}
}
