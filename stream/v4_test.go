package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// goldenEventsV4 are one event of each form that version 4 can express.
func goldenEventsV4() []*event.Event {
	all := goldenEvents()
	sent := message(8, 2)
	sent.Dir = event.Sent
	sent.Blocks = []event.Block{{CID: testCID(0, 3), Size: 1000}, {CID: testCID(1, 4), Size: 1 << 20}}
	sent.PendingBytes, sent.WireSize, sent.Truncated, sent.OversizeCID = 5000, 1234, 7, 1_677_733
	closed := connection(9, true)
	*closed.Conn = event.Conn{
		ID: "conn-9", Closed: true, Inbound: true, Limited: true, Addr: "/ip4/192.0.2.1/tcp/4001", Transport: "tcp", Security: "noise",
		Muxer: "yamux", Opened: time.Unix(1_795_185_000, 5), Duration: 90 * time.Second, Streams: 3, WasOpen: true, Unmatched: true,
		PeerConns: 1, TotalConns: 50,
	}
	identify := &event.Event{Kind: event.KindIdentify, Time: 1_795_185_730_000_000_000, Peer: testPeer(9), Identify: &event.Identify{
		Agent: "kubo/0.43.0/<b>\"x\"", ProtocolVersion: "ipfs/0.1.0", Protocols: []event.Text{"/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0"},
		ListenAddrs: []event.Text{"/ip4/192.0.2.1/tcp/4001"}, ObservedAddr: "/ip4/192.0.2.7/tcp/9",
	}}
	none := &event.Event{Kind: event.KindIdentify, Peer: testPeer(9), Identify: &event.Identify{}}
	all[0].Country, all[0].Gateway = "NZ", true // an event that version 3 writes without them
	sent.Country, closed.Gateway, identify.Country, identify.Gateway = "DE", true, "FR", true
	all = append(all, sent, closed, identify, none)
	for i, e := range all {
		e.Seq = uint64(i + 10)
	}
	return all
}

// goldenEventsProxy are events of a proxy.
func goldenEventsProxy() []*event.Event {
	sent := message(13, 1)
	sent.Dir = event.Sent
	all := []*event.Event{message(10, 1), connection(11, false), message(12, 2), sent}
	for i, e := range all {
		e.Seq = uint64(i + 10)
		if e.Side = event.Upstream; i > 0 {
			e.Side, e.Downstream = event.Downstream, `10.0.0.1:5001 <"é">`
		}
	}
	return all
}

// goldenEventsHTTP are requests and answers over HTTP, and a message that took a while to
// send.
func goldenEventsHTTP() []*event.Event {
	asked, answered, slow := message(14, 2), message(15, 0), message(16, 1)
	asked.Dir, asked.Transport, asked.Took = event.Sent, event.HTTP, 1500*time.Microsecond
	answered.Transport = event.HTTP
	answered.Blocks = []event.Block{{CID: testCID(0, 3), Size: 1000}}
	slow.Dir, slow.Took = event.Sent, 3*time.Second
	return []*event.Event{asked, answered, slow}
}

// goldenEventsSums are events without a peer.
func goldenEventsSums() []*event.Event {
	at := int64(1_795_185_730_000_000_000)
	all := []*event.Event{
		event.NewNote(at, event.NoteStart, 0, "The monitor started; kubo 0.43.0"),
		event.NewNote(at+1, event.NoteClockStep, -3000, `The wall clock went back by 3s <"é">`),
		event.NewNote(at+2, event.NoteStorm, 5000, "Storm of wants: 5000 a second, usual are 40"),
		{Kind: event.KindOrigins, Time: at + 3, Origins: &event.Origins{Interval: 10 * time.Second, Missed: 1, Sums: []event.Origin{
			{Dir: event.Sent, Messages: 1, Wants: 2, Blocks: 3, BlockBytes: 4, Connections: 5}, {Country: "DE", Gateway: true, Messages: math.MaxUint64},
			{Country: "FR", Messages: 3}, {Country: "NZ", Messages: 2}, {Country: "US", Messages: 9}, {Country: "other", Connections: 1}}}},
		{Kind: event.KindOrigins, Time: at + 4, Origins: &event.Origins{}},
	}
	for i, e := range all {
		e.Seq = uint64(i + 20)
	}
	return all
}

// The longest possible origins event is no longer than any other event may be.
func TestOriginsAreBounded(t *testing.T) {
	o := &event.Origins{Interval: math.MaxInt64, Missed: math.MaxUint64}
	for i := range event.MaxOrigins {
		s := event.OriginAt(i)
		s.Messages, s.Wants, s.Blocks, s.BlockBytes, s.Connections = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64
		o.Sums = append(o.Sums, s)
	}
	e := &event.Event{Kind: event.KindOrigins, Origins: o}
	require.LessOrEqual(t, len(appendV4(nil, e)), event.MaxEncodedBytes)
	_, err := asClient(&event.Event{Time: 1, Kind: event.KindOrigins, Origins: o}).ToEvent()
	require.NoError(t, err)
	o.Sums = append(o.Sums, event.OriginAt(0))
	_, err = asClient(e).ToEvent()
	require.ErrorContains(t, err, fmt.Sprint("want at most ", event.MaxOrigins))
}

// goldenEventsFlood are the course of a flood.
func goldenEventsFlood() (all []*event.Event) {
	for state := range event.FloodStates {
		all = append(all, &event.Event{Seq: uint64(state + 1), Kind: event.KindFlood, Time: 1_795_185_730_000_000_000, Peer: testPeer(9), Country: "DE", Addrs: []event.Text{"/ip4/192.0.2.1/tcp/4001"},
			Flood: &event.Flood{State: event.FloodState(state), Since: time.Unix(1_795_185_720, 5), Agent: `loop/1 "<é>"`, Wants: 4000, Messages: 400, WantRate: 401, MessageRate: 40, Share: 501, Repeats: 1000}})
	}
	return append(all, &event.Event{Kind: event.KindFlood, Peer: testPeer(9), Flood: &event.Flood{}})
}

// goldenEventsRetrieval are how the node got what it wanted.
func goldenEventsRetrieval() (all []*event.Event) {
	at := int64(1_795_185_730_000_000_000)
	p, addrs := testPeer(9), []event.Text{"/dns4/gateway.example/tcp/443/tls/http", `/ip4/192.0.2.1/<"é">`}
	for state := range event.SearchStates {
		e := &event.Event{Kind: event.KindSearch, Search: &event.Search{CID: testCID(0, 3), State: event.SearchState(state), Elapsed: time.Duration(state) * time.Second}}
		switch e.Search.State {
		case event.SearchFound:
			e.Peer, e.Addrs, e.Search.HTTP, e.Search.Connected, e.Country, e.Gateway = p, addrs, true, true, "DE", true
		case event.SearchEnded:
			e.Search.Providers = 20
		}
		all = append(all, e)
	}
	for outcome := range event.RequestOutcomes {
		all = append(all, &event.Event{Kind: event.KindRequest, Dir: event.Sent, Transport: event.HTTP, Peer: p, Addrs: addrs,
			Request: &event.Request{CID: testCID(1, 4), Want: event.WantType(outcome % 2), Outcome: outcome, Elapsed: time.Millisecond, Size: int32(outcome) * 1000}})
	}
	for source := range event.Sources {
		e := &event.Event{Kind: event.KindRetrieval, Peer: p,
			Retrieval: &event.Retrieval{CID: testCID(1, 4), Source: source, Size: int32(source), ToProvider: time.Duration(source), ToBlock: time.Duration(source) * time.Second}}
		if source == event.SourceHTTP {
			e.Transport = event.HTTP
		}
		all = append(all, e)
	}
	for i, e := range all {
		e.Seq, e.Time = uint64(i+30), at+int64(i)
	}
	return all
}

func TestGoldenJSONV4(t *testing.T) {
	goldenJSONV4(t, "v4-retrieval.jsonl", goldenEventsRetrieval())
	for i, e := range goldenEventsRetrieval() {
		require.False(t, hasV3(e), "event %d: version 3 does not have it", i)
	}
	goldenJSONV4(t, "v4-flood.jsonl", goldenEventsFlood())
	goldenJSONV4(t, "v4-http.jsonl", goldenEventsHTTP())
	for i, e := range goldenEventsHTTP() {
		require.False(t, hasV3(e), "event %d: version 3 does not have it", i)
	}
	goldenJSONV4(t, "v4.jsonl", goldenEventsV4())
	goldenJSONV4(t, "v4-proxy.jsonl", goldenEventsProxy())
	goldenJSONV4(t, "v4-sums.jsonl", goldenEventsSums())
	for i, e := range goldenEventsSums() {
		require.False(t, hasV3(e), "event %d: version 3 does not have it", i)
	}
	require.False(t, hasV4(&event.Event{Kind: event.KindSample, Sample: &event.Sample{}}))
}

func goldenJSONV4(t *testing.T, name string, events []*event.Event) {
	var all []byte
	for _, e := range events {
		require.True(t, hasV4(e))
		line := appendV4(nil, e)
		want, err := json.Marshal(asClient(e))
		require.NoError(t, err)
		require.Equal(t, string(want)+"\n", string(line))
		all = append(all, line...)

		// And decoded again.
		var got Event
		require.NoError(t, json.Unmarshal(line, &got))
		require.Equal(t, asClient(e), &got)
		again, err := got.AppendJSON(nil)
		require.NoError(t, err)
		require.Equal(t, string(line), string(again))
	}
	require.Equal(t, string(golden(t, name, all)), string(all))
}

func TestEventsComeBack(t *testing.T) {
	for _, in := range slices.Concat(goldenEventsV4()[5:], goldenEventsProxy(), goldenEventsHTTP(), goldenEventsSums(), goldenEventsRetrieval()) {
		out, err := asClient(in).ToEvent()
		require.NoError(t, err)
		want := *in
		want.Seq = 0
		if want.Conn != nil {
			c := *want.Conn
			c.Opened, out.Conn.Opened = time.Time{}, time.Time{}
			c.Transport, c.Security, c.Muxer = sets.Name(event.Transports, c.Transport), sets.Name(event.Securities, c.Security), sets.Name(event.Muxers, c.Muxer)
			want.Conn = &c
		}
		require.Equal(t, &want, out)
	}
	for _, e := range []*Event{{}, {Peer: "x"}, {Peer: testPeer(1).String(), Timestamp: time.Unix(0, 0)}, {Gap: &Gap{}},
		{Peer: testPeer(1).String(), Connection: &Connection{}},
		{Timestamp: time.Unix(5, 0), Note: &Note{Kind: "starts"}}} {
		_, err := e.ToEvent()
		require.Error(t, err)
	}
	for in, want := range map[string]string{"NZ": "NZ", "nz": "", "NZL": "", "N": "", "\x1b[": "", "": ""} {
		e := &Event{Peer: testPeer(1).String(), Timestamp: time.Unix(5, 0), Country: in, Gateway: true, Connection: &Connection{}}
		out, err := e.ToEvent()
		require.NoError(t, err)
		require.Equal(t, want, out.Country, "%q", in)
		require.True(t, out.Gateway)
		e.Clean()
		require.Equal(t, want, e.Country, "%q", in)
	}
	for in, want := range map[string]event.Side{"upstream": event.Upstream, "downstream": event.Downstream, "": event.NoSide, "Upstream": event.NoSide, "\x1b[": event.NoSide} {
		e := &Event{Peer: testPeer(1).String(), Timestamp: time.Unix(5, 0), Side: in, Downstream: "a\n" + strings.Repeat("b", 99), Connection: &Connection{}}
		out, err := e.ToEvent()
		require.NoError(t, err)
		require.Equal(t, want, out.Side, "%q", in)
		require.Equal(t, want == event.Downstream, out.Downstream != "", "%q", in)
		require.LessOrEqual(t, len(out.Downstream), event.MaxNameText)
		require.NotContains(t, string(out.Downstream), "\n")
		e.Clean()
		require.Equal(t, want.String(), e.Side, "%q", in)
		require.NotContains(t, e.Downstream, "\n")
	}
	for in, want := range map[string]string{"NZ": "NZ", "": "", "nz": "other", "XX": "other", "none": "other", "other": "other", "\x1b[": "other"} {
		e := &Event{Timestamp: time.Unix(5, 0), Origins: &Origins{Sums: []Origin{{Country: in, Direction: "\x1b["}}}}
		out, err := e.ToEvent()
		require.NoError(t, err)
		require.Equal(t, []event.Origin{{Country: want}}, out.Origins.Sums, "%q", in)
		e.Clean()
		require.Equal(t, want, e.Origins.Sums[0].Country, "%q", in)
		require.NotContains(t, e.Origins.Sums[0].Direction, "\x1b")
	}
	note := &Event{Timestamp: time.Unix(5, 0), Note: &Note{Kind: "\x1b[", Text: "a\n" + strings.Repeat("b", 999)}}
	note.Clean()
	require.NotContains(t, note.Note.Kind+note.Note.Text, "\x1b")
	require.NotContains(t, note.Note.Text, "\n")
	require.LessOrEqual(t, len(note.Note.Text), event.MaxNoteText)
	flood := &Event{Peer: testPeer(1).String(), Timestamp: time.Unix(5, 0), Message: &Message{Wants: make([]Want, event.MaxEntries+5)}}
	out, err := flood.ToEvent()
	require.NoError(t, err)
	require.Len(t, out.Wants, event.MaxEntries)
	require.EqualValues(t, 5, out.Truncated)
}

// sessionV4 is what a server writes to a client of version 4.
func sessionV4(encoding byte) []byte {
	out := append([]byte{}, helloFrame...)
	out = append(out, jsonFrame(welcome{Version: version4, Monitor: "here", Encoding: encodingName(encoding)})...)
	var lines []byte
	var comp batchCompressor
	for _, e := range goldenEventsV4()[:4] {
		lines = appendV4(lines, e)
	}
	out = append(out, comp.frame(lines, encoding)...)
	g := gap{slow: 2, bus: 1, first: 14, last: 16}
	out = append(out, g.frame()...)
	lines = lines[:0]
	for _, e := range goldenEventsV4()[4:] {
		lines = appendV4(lines, e)
	}
	return append(out, comp.frame(lines, encoding)...)
}

// TestGoldenSessionV4 reads the bytes of a server of this version of the format.
func TestGoldenSessionV4(t *testing.T) {
	for name, encoding := range map[string]byte{"zstd": encodingZstd, "gzip": encodingGzip} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			in := golden(t, "v4-"+name+".session", sessionV4(encoding))
			done := make(chan []byte, 1)
			go func() {
				hello, _ := readFrame(there, nil, maxHandshakeBytes)
				_, _ = there.Write(in)
				there.Close()
				done <- hello
			}()
			c := &Client{conn: here, version: version4}
			defer c.Close()
			o := Options{Token: "secret", Encoding: name, Filter: Filter{Kinds: []string{"message"}}}
			require.NoError(t, o.greetV4(c))
			require.Equal(t, "here", c.Monitor())
			want := goldenEventsV4()
			for i, e := range want {
				if i == 4 {
					g, err := c.Next()
					require.NoError(t, err)
					require.Equal(t, &Gap{Slow: 2, Bus: 1, First: 14, Last: 16}, g.Gap)
					require.EqualValues(t, 3, g.Gap.Missed())
				}
				got, err := c.Next()
				require.NoError(t, err)
				w := asClient(e)
				w.Monitor = "here"
				require.Equal(t, w, got)
			}
			_, err := c.Next()
			require.Equal(t, io.EOF, err)
			require.JSONEq(t, fmt.Sprintf(`{"version":4,"token":"secret","encoding":%q,"filter":{"kinds":["message"]}}`, name), string(<-done))
		})
	}
}

// subscribeV4 subscribes and waits until the server has the subscriber.
func (r *running) subscribeV4(t testing.TB, o Options) *Client {
	t.Helper()
	o.Version = 4
	before := len(r.Stats().Subscribers)
	c, err := o.Dial(context.Background(), r.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	r.await(t, func(s Stats) bool { return len(s.Subscribers) == before+1 })
	return c
}

func TestSessionV4(t *testing.T) {
	s := start(t, func(c *Config) { c.Monitor = "mon" })
	all := s.subscribeV4(t, Options{})
	zip := s.subscribeV4(t, Options{Encoding: "gzip"})
	same := s.subscribeV4(t, Options{})
	old := s.subscribe(t, 1)[0]
	require.Equal(t, 4, all.Version())
	require.Equal(t, "mon", all.Monitor())
	require.Equal(t, 3, old.Version())
	for _, e := range goldenEventsV4() {
		s.bus.Publish(e)
	}
	s.bus.Publish(&event.Event{Kind: event.KindSample, Sample: &event.Sample{}})
	s.bus.Close() // an incomplete batch is sent
	for _, c := range []*Client{all, zip, same} {
		for i, e := range goldenEventsV4() {
			got, err := c.Next()
			require.NoError(t, err)
			want := asClient(e)
			want.Monitor, want.Seq = "mon", uint64(i+1)
			require.Equal(t, want, got)
		}
		_, err := c.Next()
		require.Equal(t, io.EOF, err)
	}
	for _, e := range goldenEvents() {
		got, err := old.Next()
		require.NoError(t, err)
		require.Equal(t, ofV3(e), got)
	}
	require.NoError(t, <-s.done)
	n := uint64(len(goldenEventsV4()))
	st := s.Stats()
	require.EqualValues(t, 2*n, st.BatchedEvents, "encoded once for two subscribers with the same filter")
	require.EqualValues(t, 3*n+uint64(len(goldenEvents()))+1, st.SentEvents, "version 3 has the second closed connection too")
	require.Zero(t, st.DroppedEvents)
	require.Equal(t, []string{"zstd", "gzip"}, []string{encodingName(encodingZstd), encodingName(encodingGzip)})
}

func TestBatchesAreNotHeldForLong(t *testing.T) {
	s := start(t, nil)
	c := s.subscribeV4(t, Options{})
	for n := range 3 {
		s.bus.Publish(message(n, 1))
		begin := time.Now()
		e, err := c.Next()
		require.NoError(t, err)
		require.EqualValues(t, n+1, e.Seq)
		require.Less(t, time.Since(begin), 10*holdTime)
	}
}

func TestFilter(t *testing.T) {
	events := goldenEventsV4()
	pass := func(f Filter) (out []int) {
		m, err := f.compile()
		require.NoError(t, err)
		for i, e := range events {
			if m.match(e) {
				out = append(out, i)
			}
		}
		return out
	}
	every := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	require.Equal(t, every, pass(Filter{}))
	require.Equal(t, []int{0, 1, 2, 3, 4, 7}, pass(Filter{Kinds: []string{"message"}}))
	require.Equal(t, []int{5, 6, 8, 9, 10}, pass(Filter{Kinds: []string{"connection", "identify"}}))
	require.Equal(t, []int{7}, pass(Filter{Kinds: []string{"message"}, Directions: []string{"sent"}}))
	require.Equal(t, []int{5, 6, 7, 8, 9, 10}, pass(Filter{Directions: []string{"sent"}}))
	require.Equal(t, []int{8, 9, 10}, pass(Filter{Peers: []string{testPeer(9).String()}}))
	require.Equal(t, []int{1}, pass(Filter{Types: []string{"cancel"}}))
	require.Equal(t, []int{1, 2}, pass(Filter{Types: []string{"cancel", "have"}}))
	require.Equal(t, []int{0, 1, 7}, pass(Filter{Types: []string{"want_have"}}))
	require.Equal(t, []int{1}, pass(Filter{Types: []string{"want_block"}}))
	require.Equal(t, []int{2}, pass(Filter{Types: []string{"dont_have"}}))
	require.Equal(t, []int{2, 7}, pass(Filter{Types: []string{"block"}}))
	require.Equal(t, []int{1}, pass(Filter{CIDs: []string{testCID(0, 1).String()}}))
	require.Equal(t, []int{1}, pass(Filter{CIDs: []string{cid.NewCidV1(cid.Raw, testCID(0, 1).Hash()).String()}}), "the hash counts")
	require.Equal(t, []int{1, 2, 7}, pass(Filter{Codecs: []string{"dag-pb"}}))
	require.Equal(t, []int{0, 1, 2, 7}, pass(Filter{Codecs: []string{"0x55"}}))
	require.Nil(t, pass(Filter{Codecs: []string{"dag-cbor"}}))
	require.Nil(t, pass(Filter{Codecs: []string{"raw"}, CIDs: []string{testCID(0, 1).String()}}), "one entry must pass all")

	require.Nil(t, pass(Filter{Sides: []string{"upstream", "downstream"}}))
	proxy := goldenEventsProxy()
	name := string(proxy[1].Downstream)
	for _, c := range []struct {
		f    Filter
		want []int
	}{
		{Filter{Sides: []string{"upstream"}}, []int{0}},
		{Filter{Sides: []string{"downstream"}}, []int{1, 2, 3}},
		{Filter{Sides: []string{"upstream", "downstream"}}, []int{0, 1, 2, 3}},
		{Filter{Downstreams: []string{"x", name}, Kinds: []string{"message"}}, []int{2, 3}},
		{Filter{Downstreams: []string{name}, Sides: []string{"upstream"}}, nil},
		{Filter{Downstreams: []string{""}}, nil},
	} {
		events = proxy
		require.Equal(t, c.want, pass(c.f), "%+v", c.f)
	}
	events = goldenEventsV4()

	err := Filter{Sides: []string{"left"}, Kinds: []string{"sample"}, Directions: []string{"up"}, Types: []string{"other"}, Peers: []string{"x"}, CIDs: []string{"y"}, Codecs: []string{"z"}}.Validate()
	for _, part := range []string{`sides: "left": want one of upstream, downstream`, `kinds: "sample"`, `directions: "up"`, `types: "other"`, `peers: "x"`, `cids: "y"`, `codecs: "z"`} {
		require.ErrorContains(t, err, part)
	}
	m, err := Filter{Types: []string{"dont_have"}, CIDs: []string{testCID(0, 6).String()}, Peers: []string{events[2].Peer.String()}}.compile()
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, e := range events {
			m.match(e)
		}
	}))
}

func TestFilteredByTheServerAndByTheClient(t *testing.T) {
	s := start(t, nil)
	f := Filter{Types: []string{"cancel"}}
	c := s.subscribeV4(t, Options{Filter: f})
	old, err := Options{Version: 3, Filter: f}.Dial(t.Context(), s.addr)
	require.NoError(t, err)
	defer old.Close()
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 2 })
	require.Equal(t, `{"types":["cancel"]}`, s.Stats().Subscribers[0].Filter)
	for _, e := range goldenEventsV4() {
		s.bus.Publish(e)
	}
	s.bus.Close()
	for _, c := range []*Client{c, old} {
		e, err := c.Next()
		require.NoError(t, err)
		require.True(t, e.Message.Wants[2].Cancel)
		_, err = c.Next()
		require.Equal(t, io.EOF, err)
	}
}

func TestGapOfASlowSubscriber(t *testing.T) {
	s := start(t, func(c *Config) { c.QueueBytes = MinQueueBytes })
	here, there := net.Pipe() // blocks until it is read
	defer here.Close()
	s.admit(there, false)
	c := &Client{conn: here, version: version4}
	_, err := readHello(here, version)
	require.NoError(t, err)
	v := uint16(version4)
	_, err = here.Write(jsonFrame(hello{Version: &v}))
	require.NoError(t, err)
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })

	const events = 3000
	for n := range events {
		s.bus.Publish(message(n, 16))
		if n%200 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	s.await(t, func(st Stats) bool { return st.BatchedEvents == events })
	dropped := s.Stats().Subscribers[0].DroppedEvents
	require.Positive(t, dropped)
	require.LessOrEqual(t, s.Stats().Subscribers[0].QueuedBytes, MinQueueBytes+gapCost)

	_, err = readFrame(here, nil, maxHandshakeBytes) // the welcome
	require.NoError(t, err)
	var seen, missed, next uint64 = 0, 0, 1
	for seen+missed < events {
		e, err := c.Next()
		require.NoError(t, err)
		if e.Gap != nil {
			require.Equal(t, next, e.Gap.First)
			require.Zero(t, e.Gap.Bus)
			missed += e.Gap.Slow
			next = e.Gap.Last + 1
			continue
		}
		require.Equal(t, next, e.Seq)
		next++
		seen++
	}
	require.Equal(t, dropped, missed)
	require.Positive(t, seen)
}

func TestGapOnTheBus(t *testing.T) {
	b := bus.New(bus.Config{MaxEvents: 10})
	r := b.Subscribe("stream")
	b.Live()
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}})
	require.NoError(t, err)
	defer s.Close()
	here, there := net.Pipe()
	defer here.Close()
	sub := newSubscriber("x", there, nil, 1<<20)
	m, err := Filter{}.compile()
	require.NoError(t, err)
	sub.group = &group{match: m, encoding: encodingZstd}
	s.join(sub)
	for n := range 15 {
		b.Publish(message(n, 1))
	}
	b.Close()
	p := pump{s: s}
	require.ErrorIs(t, p.run(t.Context(), r), bus.ErrClosed)
	var d batchDecoder
	defer d.close()
	var in bytes.Buffer
	for _, q := range sub.queue {
		in.Write(q.data)
	}
	e, err := d.next(&in)
	require.NoError(t, err)
	require.Equal(t, &Gap{Bus: 5, First: 1, Last: 5}, e.Gap)
	e, err = d.next(&in)
	require.NoError(t, err)
	require.EqualValues(t, 6, e.Seq)
}

func TestRefusedV4(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxClients = 1 })
	f := func(o Options, want string) {
		t.Helper()
		_, err := o.Dial(t.Context(), s.addr)
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorContains(t, err, want)
	}
	f(Options{Encoding: "br\x1b"}, `want zstd or gzip`)
	_, err := Options{Filter: Filter{Kinds: []string{"x"}}}.Dial(t.Context(), s.addr)
	require.ErrorContains(t, err, `kinds: "x"`)
	_, err = Options{Token: strings.Repeat("x", 5000)}.Dial(t.Context(), s.addr)
	require.ErrorContains(t, err, "want at most 4096")
	_, err = Options{Version: 5}.Dial(t.Context(), s.addr)
	require.ErrorContains(t, err, "want 3 or 4")
	wrong := errors.New("no such file")
	_, err = Options{TokenFunc: func() (string, error) { return "", wrong }}.Dial(t.Context(), s.addr)
	require.ErrorIs(t, err, wrong)

	for _, in := range []string{`{"version":4,"filter":{"kinds":["x"]}}`, `{"version":4,"filter":[]}`, `{"version":4,"token":5}`} {
		c := s.raw(t)
		_, err := io.WriteString(c, frameOf(in))
		require.NoError(t, err)
		_, err = readHello(c, version)
		require.NoError(t, err)
		answer, err := readFrame(c, nil, maxHandshakeBytes)
		require.NoError(t, err)
		require.Contains(t, string(answer), `{"error":"stream: `)
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err)
	}
	s.subscribe(t, 1)
	f(Options{}, "as many subscribers as MaxClients permits")
}

func TestFallsBackToV3(t *testing.T) {
	old := session()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan []string, 1)
	go func() { // the old exporter: sends its version, closes when it reads another
		var heard []string
		defer func() { done <- heard }()
		for range 2 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(helloFrame)
			h, _ := readFrame(c, nil, maxHandshakeBytes)
			heard = append(heard, string(h))
			if string(h) == `{"version":3}` {
				_, _ = c.Write(old[len(helloFrame):])
			}
			c.Close()
		}
	}()
	c, err := Options{Filter: Filter{Kinds: []string{"connection"}}}.Dial(t.Context(), l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	defer l.Close()
	require.Equal(t, 3, c.Version())
	require.Len(t, slices.Compact(<-done), 2)
	e, err := c.Next()
	require.NoError(t, err)
	require.NotNil(t, e.Connection)
}

func TestBatchesThatAreRefused(t *testing.T) {
	var comp batchCompressor
	good := comp.frame([]byte("{}\n"), encodingZstd)[headerBytes:]
	change := func(at int, to byte) string {
		b := slices.Clone(good)
		b[at] = to
		return frameOf(string(b))
	}
	big := comp.frame(bytes.Repeat([]byte(" "), 4<<20), encodingZstd)
	zip := comp.frame([]byte("{}\n"), encodingGzip)[headerBytes:]
	f := func(in, want string) {
		t.Helper()
		var d batchDecoder
		defer d.close()
		_, err := d.next(strings.NewReader(in))
		require.ErrorContains(t, err, want)
	}
	f(frameOf("1234567"), "want 8 or more")
	f(change(0, 3), "want 04")
	f(change(2, 1), "want 04")
	f(change(1, 9), "encoding 9")
	f(change(1, 0), "does not match the header's 3")
	f(change(1, 1), "gzip")
	f(change(7, 4), "header's 4")
	f(change(7, 2), "size")
	f(change(8, 0), "magic")
	f(string(big), "decompressed, it has 4194304 bytes: want at most 1048576")
	f(frameOf(string(zip)+"x"), "after the end")
	f(string(comp.frame([]byte("nonsense\n"), encodingPlain)), "decode an event")
	f(string(comp.frame([]byte(`{"seq":-1}`), encodingPlain)), "decode an event")
}

func FuzzBatches(f *testing.F) {
	skip := len(helloFrame) + len(jsonFrame(welcome{Version: version4, Monitor: "here", Encoding: "zstd"}))
	f.Add(sessionV4(encodingZstd)[skip:])
	f.Add(sessionV4(encodingGzip)[skip:])
	f.Add((&gap{slow: 1}).frame())
	f.Add([]byte(frameOf("\x04\x00\x00\x00\x00\x00\x00\x03{}\n")))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d batchDecoder
		defer d.close()
		r := bytes.NewReader(in)
		for {
			e, err := d.next(r)
			if err != nil {
				return
			}
			e.Clean()
			if e.AppendText(nil)[0] == 0 || len(e.CSV()) > 5_000_000 {
				t.Fatal("a decoded event cannot be printed")
			}
			if _, err := e.AppendJSON(nil); err != nil {
				t.Fatal(err)
			}
			if full, err := e.ToEvent(); err == nil && hasV4(full) {
				appendV4(nil, full)
			}
		}
	})
}

// FuzzHelloV4 reads any hello of a client of version 4, as the server does.
func FuzzHelloV4(f *testing.F) {
	f.Add(`{"version":4}`)
	f.Add(`{"version":4,"token":"x","encoding":"gzip","filter":{"kinds":["message"],"types":["want_block"],"cids":["` + testCID(1, 1).String() + `"]}}`)
	f.Add(`{"version":4,"filter":{"codecs":["0x55","-1"],"peers":[""]}}`)
	f.Add(`{"version":4,"filter":{"sides":["downstream"],"downstreams":["a",""]}}`)
	f.Fuzz(func(t *testing.T, in string) {
		h, err := readHello(strings.NewReader(frameOf(in)), version, version4)
		if err != nil {
			return
		}
		if m, err := h.Filter.compile(); err == nil {
			for _, e := range append(goldenEventsV4(), goldenEventsProxy()...) {
				m.match(e)
			}
		}
	})
}

func TestEncodingV4DoesNotAllocate(t *testing.T) {
	events := goldenEventsV4()[5:]
	for i, e := range goldenEventsProxy() {
		if e.Side == event.Downstream {
			e.Downstream = event.Text(fmt.Sprint("node ", i)) // the golden one needs escapes
		}
		events = append(events, e)
	}
	var line []byte
	run := func() {
		for _, e := range events {
			if e.Kind != event.KindIdentify { // its texts may need escapes
				line = appendV4(line[:0], e)
			}
		}
	}
	run()
	require.Zero(t, testing.AllocsPerRun(100, run))
}

func ExampleOptions_Dial() {
	// A monitor that sees three messages.
	b := bus.New(bus.Config{})
	server, done := serveExample(b, "de1")
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := Options{Filter: Filter{Types: []string{"have", "dont_have"}}}.Dial(ctx, server.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	b.Publish(message(1, 1))
	b.Publish(connection(2, false))
	b.Publish(&event.Event{Kind: event.KindMessage, Peer: testPeer(3), Presences: []event.Presence{{CID: testCID(1, 1), Type: event.DontHave}}})
	b.Close()

	for {
		e, err := client.Next()
		if err != nil {
			fmt.Println(err)
			break
		}
		if e.Gap != nil {
			fmt.Println("missed", e.Gap.Missed())
			continue
		}
		fmt.Println(e.Monitor, e.Seq, e.Message.Presences[0].Cid)
	}
	fmt.Println(<-done)
	// Output:
	// de1 3 bafkreigkxw67uawgckuwkls6jfs5xemawjpgr76nwtpljmtytevdsz6gp4
	// EOF
	// <nil>
}
