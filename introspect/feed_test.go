package introspect

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func cidOf(n int) cid.Cid {
	sum, err := mh.Sum([]byte{byte(n), byte(n >> 8)}, mh.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, sum)
}

// benchMessage is a message with 16 wants.
func benchMessage() *event.Event {
	id, err := peer.Decode(goldenPeer)
	if err != nil {
		panic(err)
	}
	e := &event.Event{Time: time.Now().UnixNano(), Kind: event.KindMessage, Peer: id, WireSize: 700}
	for i := range 16 {
		e.Wants = append(e.Wants, event.Want{CID: cidOf(i), Priority: int32(i), Type: event.WantHave})
	}
	return e
}

func TestFeed(t *testing.T) {
	s := serve(t, Config{})
	b := bus.New(bus.Config{})
	f := NewFeed(s.Server, func(peer.ID) string { return "kubo/0.43.0" })
	require.Nil(t, f.Content())
	require.Nil(t, f.Sample())
	r := b.Subscribe("introspect")
	b.Live()
	done := make(chan error, 1)
	go func() { done <- f.Run(context.Background(), r) }()
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)

	e := benchMessage()
	for i := range 30 {
		e.Wants = append(e.Wants, event.Want{CID: cidOf(i), Cancel: i%2 == 0})
		e.Presences = append(e.Presences, event.Presence{CID: cidOf(i), Type: event.PresenceType(i % 2)})
		e.Blocks = append(e.Blocks, event.Block{CID: cidOf(i), Size: 1 << 20})
	}
	e.Country, e.Full, e.PendingBytes, e.Truncated = "DE", true, 5, 6
	e.Side, e.Downstream, e.Transport = event.Downstream, "a", event.HTTP
	b.Publish(e)
	got := p.next().GetEvent()
	require.Equal(t, "BitswapMessage", got.GetType().GetName())
	require.Len(t, got.GetType().GetPropertyTypes(), 21)
	var m messageContent
	require.NoError(t, json.Unmarshal([]byte(got.GetContent()), &m))
	require.Equal(t, goldenPeer, m.Peer)
	require.Equal(t, "received", m.Direction)
	require.Equal(t, "http", m.Transport)
	require.Equal(t, "downstream a", m.Side+" "+string(m.Downstream))
	require.Equal(t, []int{15, 16, 15, 15, 15, 30}, []int{m.WantBlocks, m.WantHaves, m.Cancels, m.Haves, m.DontHaves, m.Blocks})
	require.EqualValues(t, 30<<20, m.BlockBytes)
	require.Len(t, m.Wants, maxShown)
	require.Len(t, m.Presences, maxShown)
	require.Len(t, m.BlockList, maxShown)
	require.Equal(t, "kubo/0.43.0", m.Agent)
	columns := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(got.GetContent()), &columns))
	for name := range columns {
		require.NotNil(t, columnOf(got.GetType(), name), "%s has no column", name)
	}

	b.Publish(&event.Event{Time: 5e9, Kind: event.KindConnection, Peer: e.Peer, Conn: &event.Conn{ID: "c-1", Closed: true, Inbound: true, Addr: "/ip4/192.0.2.1/tcp/1",
		Transport: "tcp", Security: "noise", Muxer: "yamux", Duration: 1500 * time.Millisecond}})
	got = p.next().GetEvent()
	require.Equal(t, "ConnectionClosed", got.GetType().GetName())
	require.EqualValues(t, 5000, got.GetTs())
	require.JSONEq(t, `{"connection":"c-1","peer":"`+goldenPeer+`","direction":"inbound","transport":"tcp","security":"noise","muxer":"yamux",
		"address":"/ip4/192.0.2.1/tcp/1","agent":"kubo/0.43.0","duration_ms":1500}`, got.GetContent())

	b.Publish(event.NewNote(6e9, event.NoteClockStep, -3000, "The wall clock went back by 3s"))
	got = p.next().GetEvent()
	require.Equal(t, "MonitorNote", got.GetType().GetName())
	require.JSONEq(t, `{"kind":"clock_step","text":"The wall clock went back by 3s","value":-3000}`, got.GetContent())

	origins := &event.Origins{Interval: 10 * time.Second, Missed: 1}
	for i := range event.MaxOrigins {
		o := event.OriginAt(i)
		o.Messages, o.Wants, o.Blocks, o.BlockBytes, o.Connections = uint64(i), 2, 3, 4, 5
		origins.Sums = append(origins.Sums, o)
	}
	b.Publish(&event.Event{Time: 7e9, Kind: event.KindOrigins, Origins: origins})
	got = p.next().GetEvent()
	require.Equal(t, "Origins", got.GetType().GetName())
	var sums originsContent
	require.NoError(t, json.Unmarshal([]byte(got.GetContent()), &sums))
	n := uint64(event.MaxOrigins)
	require.Equal(t, originShown{"other", "sent", true, n - 1, 2, 3, 4, 5}, sums.Sums[0])
	require.Len(t, sums.Sums, maxShown)
	sums.Sums = nil
	require.Equal(t, originsContent{10_000, 1, len(event.Countries), n * (n - 1) / 2, 2 * n, 3 * n, 4 * n, 5 * n, nil}, sums)
	columns = map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(got.GetContent()), &columns))
	for name := range columns {
		require.NotNil(t, columnOf(got.GetType(), name), "%s has no column", name)
	}

	for _, made := range []struct {
		e    *event.Event
		name string
		want string
	}{
		{&event.Event{Time: 8e9, Kind: event.KindSearch, Search: &event.Search{CID: cidOf(1)}}, "ProviderSearch", `{"cid":"` + cidOf(1).String() + `","state":"began"}`},
		{&event.Event{Time: 8e9, Kind: event.KindSearch, Peer: e.Peer, Addrs: []event.Text{"/dns4/a.example/tcp/443/tls/http", "/x"}, Search: &event.Search{CID: cidOf(1), State: event.SearchFound, HTTP: true, Connected: true, Elapsed: 1500 * time.Microsecond}},
			"ProviderSearch", `{"cid":"` + cidOf(1).String() + `","state":"found","peer":"` + goldenPeer + `","agent":"kubo/0.43.0","address":"/dns4/a.example/tcp/443/tls/http","http":true,"connected":true,"duration_ms":1.5}`},
		{&event.Event{Time: 8e9, Kind: event.KindRequest, Transport: event.HTTP, Peer: e.Peer, Country: "DE", Request: &event.Request{CID: cidOf(2), Want: event.WantHave, Outcome: event.RequestDontHave, Elapsed: time.Millisecond}},
			"HTTPRequest", `{"cid":"` + cidOf(2).String() + `","peer":"` + goldenPeer + `","method":"HEAD","outcome":"dont_have","country":"DE","duration_ms":1}`},
		{&event.Event{Time: 8e9, Kind: event.KindRetrieval, Peer: e.Peer, Retrieval: &event.Retrieval{CID: cidOf(2), Size: 7, Source: event.SourceRouting, ToProvider: time.Millisecond, ToBlock: 2 * time.Millisecond}},
			"BlockRetrieved", `{"cid":"` + cidOf(2).String() + `","peer":"` + goldenPeer + `","agent":"kubo/0.43.0","source":"routing","transport":"libp2p","size":7,"to_provider_ms":1,"to_block_ms":2}`},
	} {
		b.Publish(made.e)
		got = p.next().GetEvent()
		require.Equal(t, made.name, got.GetType().GetName())
		require.JSONEq(t, made.want, got.GetContent())
		columns = map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(got.GetContent()), &columns))
		for name := range columns {
			require.Contains(t, typeColumns[made.name], name, "%s has no column", name)
		}
	}

	summary := &event.Summary{Interval: time.Minute, TopCIDs: []event.TopCID{{CID: cidOf(1), Wants: 3}}, TopPeers: []event.TopPeer{{Peer: e.Peer, Agent: "a"}},
		Codecs: []event.Share{{Name: "raw", N: 5}}, UniqueCIDs: [2]uint64{7, 8}}
	summary.Latency[event.Sent][event.AnswerBlock] = event.LatencyStats{Count: 2, P50: time.Millisecond, Max: time.Second}
	summary.Retrieval.Sources[event.SourceRouting] = event.SourceStats{Blocks: 3, Bytes: 30, ToProvider: event.LatencyStats{Count: 3, P50: time.Millisecond}, ToBlock: event.LatencyStats{Count: 3, Max: time.Second}}
	summary.Retrieval.Wanted = 5
	summary.Requests[event.WantHave][event.RequestHave] = event.RequestStats{Took: event.LatencyStats{Count: 4, P50: time.Millisecond}}
	b.Publish(&event.Event{Time: 100e9, Kind: event.KindSummary, Summary: summary})
	b.Publish(&event.Event{Time: 100e9, Kind: event.KindSample, Sample: &event.Sample{Conns: 4}})
	require.Eventually(t, func() bool { return f.Sample() != nil }, patience, time.Millisecond)
	c := f.Content()
	require.EqualValues(t, 40_000, c.GetSinceTs())
	require.EqualValues(t, 100_000, c.GetUntilTs())
	require.EqualValues(t, 7, c.GetUnique().GetCidsReceived())
	require.EqualValues(t, 3, c.GetTopCids()[0].GetWants())
	require.Len(t, c.GetLatency(), 1)
	require.EqualValues(t, 1_000_000, c.GetLatency()[0].GetMaxUs())
	require.Equal(t, "raw", c.GetCodecs()[0].GetName())
	require.Len(t, c.GetRetrievals(), 1)
	require.Equal(t, "routing 3 30 1000 1000000", fmt.Sprint(c.GetRetrievals()[0].GetSource(), " ", c.GetRetrievals()[0].GetBlocks(), " ", c.GetRetrievals()[0].GetBytes(), " ", c.GetRetrievals()[0].GetProviderP50Us(), " ", c.GetRetrievals()[0].GetBlockMaxUs()))
	require.EqualValues(t, 5, c.GetWanted().GetBlocks())
	require.Len(t, c.GetHttpRequests(), 1)
	require.Equal(t, "HEAD have 4", fmt.Sprint(c.GetHttpRequests()[0].GetMethod(), " ", c.GetHttpRequests()[0].GetOutcome(), " ", c.GetHttpRequests()[0].GetRequests()))
	b.Close()
	require.NoError(t, <-done)
}

// typeColumns are the columns of the types whose events only the first has.
var typeColumns = func() map[string][]string {
	out := map[string][]string{}
	for _, t := range []*EventType{typeSearch, typeRequest, typeRetrieval} {
		for _, c := range t.columns {
			out[t.name] = append(out[t.name], c.GetName())
		}
	}
	return out
}()

func columnOf(t *pb.EventType, name string) *pb.EventType_EventProperty {
	for _, c := range t.GetPropertyTypes() {
		if c.GetName() == name {
			return c
		}
	}
	return nil
}

// TestQuietFeedNamesNoPeers: its only events are those without a peer; its sums are
// complete.
func TestQuietFeedNamesNoPeers(t *testing.T) {
	s := serve(t, Config{})
	f := NewQuietFeed(s.Server)
	p := s.greet(t, 60_000, 120_000)
	p.agrees(cmdEnable, srcEvents)
	f.take(benchMessage())
	f.take(&event.Event{Kind: event.KindConnection, Conn: &event.Conn{}})
	f.take(&event.Event{Kind: event.KindSample, Sample: &event.Sample{}})
	require.NotNil(t, f.Sample())
	f.take(event.NewNote(0, event.NoteStart, 0, "The monitor started"))
	require.Equal(t, "MonitorNote", p.next().GetEvent().GetType().GetName())
	s.Emit(NewEventType("End"), time.Now(), func() any { return struct{}{} })
	require.Equal(t, "End", p.next().GetEvent().GetType().GetName())
}

// BenchmarkEvent measures what a Bitswap message costs without a session, with one and
// with sixteen.
func BenchmarkEvent(b *testing.B) {
	for _, n := range []int{0, 1, 16} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			s := NewServer(Config{Introspector: NewRegistry()})
			defer s.Close()
			for range n {
				ses := newSession(s, address("127.0.0.1:1"))
				ses.events = true
				s.sessions[ses] = struct{}{}
				s.listening(true)
			}
			f := NewFeed(s, nil)
			e := benchMessage()
			s.budget.SetLimit(rate.Inf)
			b.ReportAllocs()
			for b.Loop() {
				f.take(e)
				for ses := range s.sessions {
					ses.q.next()
				}
			}
		})
	}
}
