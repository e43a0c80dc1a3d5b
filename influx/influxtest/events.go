package influxtest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

const Time = 1_760_000_000_000_000_000

// Events returns one event of each kind, with all fields set.
func Events() []*event.Event {
	return []*event.Event{
		{Time: Time, Kind: event.KindMessage, Dir: event.Received, Full: true, Peer: Peer(1), Country: "DE", Gateway: true,
			Wants: []event.Want{
				{CID: CID(0), Priority: math.MaxInt32, Type: event.WantBlock, SendDontHave: true},
				{CID: CID(1), Priority: math.MinInt32, Type: event.WantHave},
				{CID: CID(2), Cancel: true},
				{CID: CID(3), Priority: 1, Type: 77},
			},
			Presences: []event.Presence{{CID: CID(4), Type: event.Have}, {CID: CID(5), Type: event.DontHave}, {CID: CID(6), Type: -1}},
			Blocks:    []event.Block{{CID: CID(7), Size: 262144}, {CID: cid.NewCidV1(cid.DagCBOR, CID(0).Hash()), Size: 0}},
		},
		{Time: Time, Kind: event.KindMessage, Dir: event.Sent, Peer: Peer(2),
			Wants: []event.Want{{CID: CID(0), Priority: 5}}},
		{Time: Time, Kind: event.KindConnection, Peer: Peer(1),
			Conn: &event.Conn{Addr: "/ip4/203.0.113.7/tcp/4001", Transport: "tcp", Security: "noise", Muxer: "yamux", Inbound: true, PeerConns: 1, TotalConns: 9}},
		{Time: Time, Kind: event.KindConnection, Peer: Peer(2),
			Conn: &event.Conn{Closed: true, Limited: true, Addr: "/p2p-circuit", Transport: "carrier-pigeon", Security: "none", Muxer: "none",
				Duration: 1500 * time.Millisecond, Streams: 3, WasOpen: true, Unmatched: true}},
		{Time: Time, Kind: event.KindIdentify, Peer: Peer(3),
			Identify: &event.Identify{Agent: `kubo "x" \`, ProtocolVersion: "ipfs/0.1.0", Protocols: []event.Text{"/a", "/b"},
				ListenAddrs: []event.Text{"/ip4/198.51.100.1/tcp/1"}, ObservedAddr: "/ip4/192.0.2.1/udp/2/quic-v1"}},
		{Time: Time, Kind: event.KindSample, Sample: &event.Sample{
			Interval: 10 * time.Second,
			Traffic: [event.Directions]event.Traffic{
				{Messages: 1, WantBlock: 2, WantHave: 3, Cancel: 4, Have: 5, DontHave: 6, Blocks: 7, BlockBytes: 8, Truncated: 9},
				{BlockBytes: math.MaxUint64}},
			HTTP:  [event.Directions]event.Traffic{{Messages: 10, Blocks: 11, BlockBytes: 12, Have: 13, DontHave: 14}, {Messages: 15, WantBlock: 16, WantHave: 17, Cancel: 18}},
			Peers: []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 4}, {Transport: "new-one", Peers: 1}, {Transport: "other", Peers: 2}},
			Known: 100,
			Agents: []event.AgentCount{{Agent: "kubo/0.43.0, with = and space", Peers: 5}, {Agent: `\`, Peers: 1}, {Agent: "", Peers: 2},
				{Agent: event.OthersAgent, Peers: 7}},
			Conns:     8,
			Protocols: []event.ProtocolCount{{Protocol: "/ipfs/bitswap/1.2.0", Peers: 3}, {Protocol: "/a b,c=d", Peers: 2}, {Protocol: event.Others, Peers: 1}},
			Streams:   []event.StreamCount{{Protocol: "/ipfs/id/1.0.0", Direction: "inbound", Streams: 2}, {Protocol: "", Direction: "sideways", Streams: 1}},
			Node: event.Node{
				BandwidthTotal: event.Bandwidth{InBytes: 10, OutBytes: 20, InRate: 1.5, OutRate: math.NaN()},
				Bandwidth:      []event.Bandwidth{{Protocol: "/ipfs/kad/1.0.0", InBytes: 1, OutBytes: 2, InRate: 3, OutRate: math.Inf(1)}, {Protocol: event.Others}},
				Routing:        []event.RoutingTable{{Name: "wan", Peers: 200}, {Name: "lan"}, {Name: "moon", Peers: 1}},
				Wantlist:       3, Ledgers: 4, RepoBytes: -1,
				Process: event.Process{CPUSeconds: 1.234, ResidentMem: 5, HeapBytes: 6, Goroutines: 7, OpenFiles: -1},
			},
		}},
		{Time: Time, Kind: event.KindLatency, Dir: event.Sent, Peer: Peer(4), Country: "??",
			Latency: &event.Latency{CID: CID(8), Want: event.WantHave, Answer: event.AnswerHave, Elapsed: 1234567 * time.Nanosecond}},
		{Time: Time, Kind: event.KindSummary, Summary: &event.Summary{
			Interval: time.Minute, Missed: 1, UniqueCIDs: [event.Directions]uint64{2, 3}, UniquePeers: [event.Directions]uint64{4, math.MaxUint64}, Askers: [event.Directions]uint64{1, math.MaxUint64},
			Duplicates: [event.Directions]uint64{5, 6}, Rebroadcasts: [event.Directions]uint64{7, 8},
			TopCIDs:        []event.TopCID{{CID: CID(0), Wants: 9, Error: 1, Peers: 2}, {CID: CID(1), Wants: 8}},
			TopCIDsByPeers: []event.TopCID{{CID: CID(1), Wants: 8, Peers: 3}},
			TopPeers:       []event.TopPeer{{Peer: Peer(1), Agent: `a"\`, Wants: 10, Error: 1}},
			TopMissing:     []event.TopCID{{CID: CID(3), Wants: 6, Error: 2}, {CID: CID(4), Wants: math.MaxUint64}},
			Codecs:         []event.Share{{Name: "raw", N: 1}, {Name: "dag-pb", N: 2}, {Name: "what", N: 3}},
			Versions:       []event.Share{{Name: "1", N: 3}}, Hashes: []event.Share{{Name: "identity", N: 1}},
			Latency: [event.Directions][event.AnswerTypes]event.LatencyStats{{{Count: 1, Sum: time.Second, P50: time.Millisecond, P90: 2 * time.Millisecond, P99: 3 * time.Millisecond, Max: time.Second}}},
			Pending: 11, Lost: 12,
			Line: [event.Directions]event.Line{
				{Messages: 2, Bytes: 13, BlockBytes: 12, CIDs: []event.CIDBytes{{CID: CID(2), Bytes: 12, Error: 1}},
					Peers: []event.PeerBytes{{Peer: Peer(3), Agent: "kubo, 1", Bytes: 13}}, Agents: []event.FamilyBytes{{Family: "kubo", Messages: 1, Bytes: 13, BlockBytes: 12, DontHaves: 3}, {Family: "none such"}}},
				{Peers: []event.PeerBytes{{Peer: Peer(1), Agent: `a"\`, Bytes: math.MaxUint64, Error: 2}}, Agents: []event.FamilyBytes{{Family: "other", Messages: 1, Bytes: math.MaxUint64}}}},
			Coverage: event.Coverage{Untracked: 4, Families: []event.FamilyCoverage{{Family: "unknown", Connected: 1}, {Family: "kubo", Connected: 9, Asked: 3, Broadcast: 2}}},
			DHT: &event.DHTSummary{
				Requests: [event.Directions][event.DHTTypes]event.DHTFigures{
					{event.DHTPing: {Status: [event.DHTStatuses]uint64{1, 2, 3, 4}, Peers: 5, Elapsed: event.LatencyStats{Count: 1, Sum: time.Second, P50: time.Millisecond, P90: 2 * time.Millisecond, P99: 3 * time.Millisecond, Max: time.Second}}},
					{event.DHTUnsent: {Status: [event.DHTStatuses]uint64{event.DHTFailed: math.MaxUint64}}}},
				Peers:   [event.Directions]uint64{6, 7},
				TopKeys: [event.Directions][]event.TopDHTKey{{{CID: CID(1), Requests: 8, Error: 1, Peers: 2}, {CID: CID(4)}}, {{CID: CID(7), Requests: 3}}},
				Agents:  [event.Directions][]event.Share{{{Name: "kubo", N: 9}, {Name: "what", N: 4}}},
			},
			Retrieval: event.SummaryRetrieval{Sources: [event.Sources]event.SourceStats{event.SourceRouting: {Blocks: 1, Bytes: 2,
				ToProvider: event.LatencyStats{Count: 1, Sum: 1000, P50: 2000, P90: 3000, P99: 4000, Max: 5000},
				ToBlock:    event.LatencyStats{Count: 1, Sum: 6000, P50: 7000, P90: 8000, P99: 9000, Max: 10_000}}},
				Wanted: 3, GivenUp: 4, Unanswered: 5, Waiting: 6, Lost: 7, Surplus: 8, SurplusBytes: 9, Searches: 10, Providers: 11, NotFound: 12,
				Search: event.LatencyStats{Count: 1, Sum: 13_000, P50: 14_000, P90: 15_000, P99: 16_000, Max: 17_000}},
			Requests: [2][event.RequestOutcomes]event.RequestStats{event.WantHave: {event.RequestDontHave: {Took: event.LatencyStats{Count: 18, Sum: 19_000}}},
				event.WantBlock: {event.RequestBlock: {Bytes: 20, Took: event.LatencyStats{Count: 21, Max: 22_000}}}},
			Sending: [event.MessageTransports]event.SendStats{event.HTTP: {Took: event.LatencyStats{Count: 23, P50: 24_000},
				Errors: [len(event.SendErrors)]event.SendErrorStats{1: {Messages: 25, Wants: 26, Presences: 27, Blocks: 28, Took: 29_000}}}},
		}},
		{Time: Time, Kind: event.KindDHT, Dir: event.Received, Peer: Peer(1), Country: "DE", Gateway: true,
			DHT: &event.DHTRequest{Type: event.DHTAddProvider, LAN: true, CID: CID(1), Providers: 1, Elapsed: 1234567 * time.Nanosecond}},
		{Time: Time, Kind: event.KindDHT, Dir: event.Sent, Peer: Peer(2),
			DHT: &event.DHTRequest{Type: event.DHTFindNode, Status: event.DHTCanceled, Target: Peer(3), Closer: 20, Elapsed: time.Second}},
		{Time: Time, Kind: event.KindDHT, Dir: event.Sent, Peer: Peer(2), DHT: &event.DHTRequest{Type: 99, Status: 99, Name: `/x/"\`}},
		{Time: Time, Kind: event.KindProbe, Peer: Peer(5), Probe: &event.Probe{Provide: true, Fleet: "a, b", Region: "", Target: "IPNI",
			CID: CID(2), Duration: 1234567 * time.Nanosecond, Table: 20, Hops: 2, RPCs: 9, FailedRPCs: 1, Dials: 8, FailedDials: 3,
			HopTimes: [event.ProbeHops]time.Duration{time.Millisecond, 2 * time.Millisecond}}},
		{Time: Time, Kind: event.KindProbe, Peer: Peer(5), Probe: &event.Probe{Fleet: "default", Region: "eu=1", Target: "?",
			CID: CID(2), Duration: time.Hour, Error: `not "found"`}},
		{Time: Time, Kind: event.KindProxy, Proxy: &event.Proxy{Interval: 10 * time.Second, UpstreamPeers: 3, Merged: 4, Downstreams: []event.ProxyDownstream{
			{Name: "a, b", Peer: Peer(7), Connected: true, Outstanding: 2}}}},
		{Time: Time, Kind: event.KindFleet, Fleet: &event.Fleet{Interval: 10 * time.Second, Entries: 1, Requests: 2, Closed: 3, Matched: 4, Late: 5, Dropped: 6, Uncounted: 7, Peers: 8,
			Monitors: []event.FleetMonitor{
				{Name: "a, b=c", Up: true, Events: 1, Wants: 2, Cancels: 3, Gaps: 4, Unbounded: 5, Missed: 6, Untimely: 7, Connects: 8, Lag: 9 * time.Millisecond, Peers: 10, Seen: 11, Coverage: 12,
					ClockKnown: true, Offset: -13 * time.Microsecond, OffsetError: 14 * time.Microsecond, DriftPPB: -15, RoundTrip: 16 * time.Microsecond, Apart: -17 * time.Microsecond, MatchedPairs: 18},
				{Name: "de1"}},
			TopCIDs: []event.FleetCID{{CID: CID(1), Requests: 19, Peers: 20}}, TopByPeer: []event.FleetCID{{CID: CID(2), Requests: 21, Peers: 22}},
			Overlaps: []event.FleetOverlap{{A: "a, b=c", B: "de1", Common: 23, Only: [2]int{24, 25}, Requests: 26, Size: event.FleetEstimate{Known: true, N: 27, Low: 28, High: 29, Dependent: true}}},
			Sizes: []event.FleetSize{{Of: "all", Seen: 30, Coupon: event.FleetEstimate{Known: true, N: 31, Low: 32, High: 33}, Pair: event.FleetEstimate{N: 34, Dependent: true}},
				{Of: "/ipfs/bitswap/1.2.0", Seen: 35}}}},
		{Time: Time, Kind: event.KindFlood, Peer: Peer(8), Country: "NZ", Gateway: true, Addrs: []event.Text{"/ip4/203.0.113.7/tcp/4001", "/ip6/2001:db8::1/tcp/1"},
			Flood: &event.Flood{State: event.FloodBegan, Since: time.Unix(0, Time-1_500_000_000), Agent: `a "b" \`, Wants: 1000, Messages: 100, WantRate: 500, MessageRate: 50, Share: 501, Repeats: 999,
				Block: "ipfs swarm filters add /ip4/203.0.113.7/ipcidr/32 && ipfs swarm disconnect /p2p/x"}},
		{Time: Time, Kind: event.KindFlood, Peer: Peer(9), Flood: &event.Flood{State: 77, Wants: math.MaxUint64}},
		{Time: Time, Kind: event.KindClockStep, ClockStep: &event.ClockStep{By: -time.Hour}},
		{Time: Time, Kind: event.KindNote, Note: &event.Note{Kind: event.NoteStorm, Value: 5000, Text: `Storm of "wants"`}},
		{Time: Time, Kind: event.KindOrigins, Origins: &event.Origins{Interval: 10 * time.Second, Missed: 1, Sums: []event.Origin{
			{Dir: event.Sent, Messages: 1, Wants: 2, Blocks: 3, BlockBytes: 4, Connections: 5},
			{Country: "DE", Gateway: true, Messages: math.MaxUint64},
			{Country: "??", Connections: 6}, {Country: "other", Messages: 7}}}},
		{Time: Time, Kind: event.KindPipeline, Pipeline: Pipeline()},
		{Time: Time, Kind: event.KindMessage, Dir: event.Received, Transport: event.HTTP, Peer: Peer(8), Presences: []event.Presence{{CID: CID(4)}},
			Blocks: []event.Block{{CID: CID(7), Size: 100}}},
		{Time: Time, Kind: event.KindRequest, Transport: event.HTTP, Peer: Peer(8), Country: "FR", Addrs: []event.Text{"/dns4/gateway.example/tcp/443/https"},
			Request: &event.Request{CID: CID(7), Outcome: event.RequestBlock, Elapsed: 1234567 * time.Nanosecond, Size: 100}},
		{Time: Time, Kind: event.KindRequest, Transport: event.HTTP, Peer: Peer(8), Request: &event.Request{CID: CID(8), Want: event.WantHave, Outcome: event.RequestNoAnswer}},
		{Time: Time, Kind: event.KindRetrieval, Transport: event.HTTP, Peer: Peer(8), Gateway: true,
			Retrieval: &event.Retrieval{CID: CID(7), Size: 100, Source: event.SourceHTTP, ToProvider: time.Millisecond, ToBlock: time.Second}},
		{Time: Time, Kind: event.KindSearch, Peer: Peer(8), Search: &event.Search{CID: CID(7), State: event.SearchFound}}, // no point
		{Time: Time, Kind: event.KindProbe, Peer: Peer(6), Probe: &event.Probe{Fleet: "default", Region: "eu", Target: "DHT", CID: CID(2), Duration: time.Second}},
	}
}

// Single returns, by the name of each measurement of history, an event that makes one point of
// it, with values as they are in the field.
func Single() map[string]*event.Event {
	of := make(map[string]*event.Event)
	single := func(measurement string, k event.Kind, fill func(*event.Event)) {
		e := &event.Event{Time: Time, Kind: k, Peer: Peer(1), Country: "DE"}
		fill(e)
		of[measurement] = e
	}
	single("wants", event.KindMessage, func(e *event.Event) {
		e.Wants = []event.Want{{CID: CID(1), Priority: math.MaxInt32, Type: event.WantHave, SendDontHave: true}}
	})
	single("blocks", event.KindMessage, func(e *event.Event) { e.Blocks = []event.Block{{CID: CID(1), Size: 262158}} })
	single("presences", event.KindMessage, func(e *event.Event) { e.Presences = []event.Presence{{CID: CID(1), Type: event.Have}} })
	single("connections", event.KindConnection, func(e *event.Event) {
		e.Conn = &event.Conn{ID: "1", Closed: true, Inbound: true, Addr: "/ip4/203.0.113.7/udp/4001/quic-v1",
			Transport: "quic-v1", Security: "tls", Muxer: "quic", Duration: time.Minute, Streams: 3}
	})
	single("identifies", event.KindIdentify, func(e *event.Event) {
		e.Identify = &event.Identify{Agent: "kubo/0.43.0/desktop", Protocols: []event.Text{"/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/kad/1.0.0"}}
	})
	single("latency", event.KindLatency, func(e *event.Event) { e.Latency = &event.Latency{CID: CID(1), Elapsed: 17 * time.Millisecond} })
	single("dht_log", event.KindDHT, func(e *event.Event) {
		e.DHT = &event.DHTRequest{Type: event.DHTGetProviders, CID: CID(1), Providers: 2, Closer: 20, Elapsed: 3 * time.Millisecond}
	})
	single("http_requests", event.KindRequest, func(e *event.Event) {
		e.Transport, e.Addrs = event.HTTP, []event.Text{"/dns4/gateway.example/tcp/443/https"}
		e.Request = &event.Request{CID: CID(1), Outcome: event.RequestBlock, Elapsed: 40 * time.Millisecond, Size: 262144}
	})
	single("retrievals", event.KindRetrieval, func(e *event.Event) {
		e.Retrieval = &event.Retrieval{CID: CID(1), Size: 262144, Source: event.SourceRouting, ToProvider: 800 * time.Millisecond, ToBlock: time.Second}
	})
	return of
}

// Pipeline returns the monitor's own counters, all different.
func Pipeline() *event.Pipeline {
	p := pipeline.Pipeline{
		Capture: pipeline.Capture{Limited: 1, SendErrors: 2, Panics: 3},
		Bus:     pipeline.Bus{Published: 4, Held: 5, HeldBytes: 6, Readers: []pipeline.Reader{{Missed: 7}, {Missed: 8}}},
		Stream:  &pipeline.Stream{Subscribers: 9, DroppedEvents: 10, Panics: 11},
		Influx:  &pipeline.Influx{Delivery: pipeline.Delivery{Accepted: 12, Stored: 13, Dropped: 14, Rejected: 15, Queued: 16, QueueBytes: 17, LagSeconds: 1.5, SpoolBytes: 19, SpoolFull: 0.02}},
		HTTP:    &pipeline.HTTP{Panics: 18},
	}
	out := p.Totals()
	return &out
}

// HostileEvents returns nine events of peer i whose texts no other peer uses.
func HostileEvents(i int, at int64) []*event.Event {
	name := event.Text(fmt.Sprint("hostile, =/", i))
	p, c := Peer(i), CID(i)
	country := string([]byte{'A' + byte(i%26), 'A' + byte(i/26%26)})
	return []*event.Event{
		{Time: at, Kind: event.KindDHT, Dir: event.Direction(i), Peer: p, Country: country, DHT: &event.DHTRequest{Type: event.DHTType(i), Status: event.DHTStatus(i), Name: name}},
		{Time: at, Kind: event.KindMessage, Dir: event.Direction(i), Peer: p, Country: country, Gateway: i%3 == 0,
			Wants: []event.Want{{CID: c, Type: event.WantType(i)}}, Blocks: []event.Block{{CID: c}}, Presences: []event.Presence{{CID: c, Type: event.PresenceType(i)}}},
		{Time: at, Kind: event.KindConnection, Peer: p, Country: string(name), Conn: &event.Conn{Addr: name, Transport: string(name), Security: string(name), Muxer: string(name)}},
		{Time: at, Kind: event.KindIdentify, Peer: p, Identify: &event.Identify{Agent: name, Protocols: []event.Text{name}}},
		{Time: at, Kind: event.KindMessage, Transport: event.HTTP, Dir: event.Direction(i), Peer: p, Country: country, Blocks: []event.Block{{CID: c}}},
		{Time: at, Kind: event.KindRequest, Transport: event.HTTP, Peer: p, Country: country, Addrs: []event.Text{"/dns4/" + name + "/tcp/" + name},
			Request: &event.Request{CID: c, Want: event.WantType(i), Outcome: event.RequestOutcome(i), Elapsed: time.Duration(i) * time.Millisecond, Size: int32(i)}},
		{Time: at, Kind: event.KindRetrieval, Peer: p, Gateway: i%2 == 0, Retrieval: &event.Retrieval{CID: c, Source: event.Source(i), Size: int32(i)}},
		{Time: at, Kind: event.KindLatency, Dir: event.Direction(i), Peer: p, Latency: &event.Latency{CID: c, Want: event.WantType(i), Answer: event.AnswerType(i)}},
		{Time: at, Kind: event.KindSample, Sample: &event.Sample{
			Agents:    []event.AgentCount{{Agent: name, Peers: 1}, {Agent: name + "x", Peers: 1}},
			Protocols: []event.ProtocolCount{{Protocol: name, Peers: 1}},
			Streams:   []event.StreamCount{{Protocol: name, Direction: event.StreamDirections[i%3]}, {Protocol: name + "y", Direction: string(name)}},
			Node:      event.Node{Bandwidth: []event.Bandwidth{{Protocol: name}}, Routing: []event.RoutingTable{{Name: string(name)}}}}},
		{Time: at, Kind: event.KindFlood, Peer: p, Country: string(name), Addrs: []event.Text{name}, Flood: &event.Flood{State: event.FloodState(i), Agent: name, Block: name}},
		{Time: at, Kind: event.KindSummary, Summary: &event.Summary{
			TopCIDs: []event.TopCID{{CID: c}}, TopPeers: []event.TopPeer{{Peer: p, Agent: name}},
			Line:     [event.Directions]event.Line{{CIDs: []event.CIDBytes{{CID: c}}, Peers: []event.PeerBytes{{Peer: p, Agent: name}}, Agents: []event.FamilyBytes{{Family: string(name)}}}},
			Coverage: event.Coverage{Families: []event.FamilyCoverage{{Family: string(name)}}},
			DHT: &event.DHTSummary{Requests: [event.Directions][event.DHTTypes]event.DHTFigures{{{Status: [event.DHTStatuses]uint64{1}}}},
				TopKeys: [event.Directions][]event.TopDHTKey{{{CID: c}}}, Agents: [event.Directions][]event.Share{{{Name: string(name)}}}},
			Codecs: []event.Share{{Name: string(name)}}, Versions: []event.Share{{Name: string(name)}}, Hashes: []event.Share{{Name: string(name)}}}},
		{Time: at, Kind: event.KindNote, Note: &event.Note{Kind: event.NoteKind(i), Text: name}},
		{Time: at, Kind: event.KindOrigins, Origins: &event.Origins{Sums: []event.Origin{{Country: country, Dir: event.Direction(i), Gateway: i%3 == 0, Messages: 1}, {Country: string(name), Connections: 1}}}},
	}
}

// Numbered returns events with CIDs from to to-1, one point each.
func Numbered(from, to int) []*event.Event {
	events, now := make([]*event.Event, 0, to-from), time.Now().UnixNano()
	for i := from; i < to; i++ {
		events = append(events, &event.Event{Time: now, Kind: event.KindMessage, Wants: []event.Want{{CID: CID(i)}}})
	}
	return events
}

// CID returns a different CID for each n: every third one is a CIDv0.
func CID(n int) cid.Cid {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	sum := sha256.Sum256(b[:])
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err)
	}
	switch n % 3 {
	case 0:
		return cid.NewCidV0(mh)
	case 1:
		return cid.NewCidV1(cid.Raw, mh)
	}
	return cid.NewCidV1(cid.DagProtobuf, mh)
}

// Peer returns a different peer for each n, in the form of an Ed25519 key.
func Peer(n int) peer.ID {
	sum := sha256.Sum256([]byte(fmt.Sprint("peer", n)))
	return peer.ID(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
}

// Messages returns n events of one want each, with CIDs 0 to n-1 and the same time.
func Messages(n int) []*event.Event {
	events, now := make([]*event.Event, n), time.Now().UnixNano()
	for i := range events {
		events[i] = &event.Event{Time: now, Kind: event.KindMessage, Wants: []event.Want{{CID: CID(i)}}}
	}
	return events
}
