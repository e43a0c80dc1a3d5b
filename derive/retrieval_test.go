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
