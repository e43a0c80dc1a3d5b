package introspect

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

var update = flag.Bool("update", false, "write the golden files again")

const (
	goldenPeer  = "12D3KooWDG5a3EQfLuQofq5yFnKtfHzPXRwJrUTJyceYfaiWjXim"
	goldenOther = "12D3KooWMf1UG5oF9GLgSsH56BftdkcTRs4UdfgEstPsFZX1zbvy"
	goldenCID   = "bafkreibw6okph2aje7r67rcp2st25v4myt6md2elnos4rscwdttbbbtima"
	goldenTime  = 1_795_261_670_123
)

func goldenTraffic(n uint64) *pb.Traffic {
	return &pb.Traffic{
		TrafficIn:  &pb.DataGauge{CumBytes: n * 1000, CumPackets: n, InstBw: n * 10},
		TrafficOut: &pb.DataGauge{CumBytes: n * 2000, CumPackets: n * 2, InstBw: n * 20},
	}
}

// everything is a state with a value in every field.
func everything() *pb.State {
	stream := &pb.Stream{
		Id: []byte("12D3KooWMf-61-3502"), Protocol: "/ipfs/bitswap/1.2.0", Role: pb.Role_RESPONDER, Traffic: goldenTraffic(3),
		Conn:     &pb.Stream_ConnectionRef{Connection: &pb.Stream_ConnectionRef_ConnId{ConnId: []byte("12D3KooWMf-61")}},
		Timeline: &pb.Stream_Timeline{OpenTs: goldenTime - 5000, CloseTs: goldenTime - 1}, Status: pb.Status_CLOSING,
		LatencyNs: 1_500_000, UserProvidedTags: []string{"b"}, TrafficOf: 2,
	}
	conn := &pb.Connection{
		Id: []byte("12D3KooWMf-61"), PeerId: goldenOther, Status: pb.Status_ACTIVE, TransportId: []byte("ip4+udp+quic-v1"),
		Endpoints: &pb.EndpointPair{SrcMultiaddr: "/ip4/127.0.0.1/udp/1/quic-v1", DstMultiaddr: "/ip4/127.0.0.1/udp/2/quic-v1"},
		Timeline:  &pb.Connection_Timeline{OpenTs: goldenTime - 10_000, UpgradedTs: goldenTime - 9_990}, Role: pb.Role_INITIATOR,
		Traffic: goldenTraffic(7), Attribs: &pb.Connection_Attributes{Multiplexer: "quic", Encryption: "tls"}, LatencyNs: 1_500_000,
		Streams: &pb.StreamList{Streams: []*pb.Stream{stream}}, UserProvidedTags: []string{"a", "é"},
		AgentVersion: "kubo/0.43.0", Country: "DE", Gateway: true, Limited: true, TrafficOf: 1,
	}
	closed := &pb.Connection{
		Id: []byte("12D3KooWMf-60"), PeerId: goldenOther, Status: pb.Status_CLOSED, Role: pb.Role(99),
		Timeline:    &pb.Connection_Timeline{OpenTs: goldenTime - 90_000, UpgradedTs: goldenTime - 90_000, CloseTs: goldenTime - 4_000},
		Streams:     &pb.StreamList{StreamIds: [][]byte{[]byte("x"), {}}},
		RelayedOver: &pb.Connection_ConnId{ConnId: []byte("12D3KooWMf-61")},
	}
	counters := &pb.Bitswap_Counters{Messages: 9, WantBlock: 8, WantHave: 7, Cancel: 6, Have: 5, DontHave: 4, Blocks: 3, BlockBytes: 2, Truncated: 1}
	rates := &pb.Bitswap_Rates{Messages: 0.5, WantBlock: 1.25, WantHave: 2, Cancel: 3, Have: 4, DontHave: 5, Blocks: 6, BlockBytes: 1e9}
	usage := &pb.ResourceManager_Usage{Memory: 1 << 40, StreamsIn: 2, StreamsOut: 3, ConnsIn: 4, ConnsOut: 5, Fd: 6}
	cid := &pb.Content_Cid{Cid: goldenCID, Wants: 12, Error: 1, Peers: 4}
	share := func(name string) []*pb.Content_Share { return []*pb.Content_Share{{Name: name, Wants: 3}} }
	dht := &pb.DHT{
		Protocol: "/ipfs/lan/kad/1.0.0", Enabled: true, StartTs: goldenTime - 100_000, Params: &pb.DHT_Params{K: 20, Alpha: 10, DisjointPaths: 1, Beta: 3},
		Buckets: []*pb.DHT_Bucket{{Cpl: 0, Peers: []*pb.DHT_PeerInDHT{{PeerId: goldenOther, Status: pb.DHT_PeerInDHT_MISSING, AgeInBucket: 1<<32 - 1,
			LastUsefulTs: goldenTime - 7, LastQueryTs: goldenTime - 8, AgentVersion: "kubo/0.43.0"}}}, {Cpl: 8}},
		IncomingQueries: &pb.DHT_QueryGauge{Success: 1, Error: 2, Timeout: 3}, OutgoingQueries: &pb.DHT_QueryGauge{Success: 4, Error: 5, Timeout: 6},
		Name: "lan", Mode: "server", Size: 1,
	}
	return &pb.State{
		Subsystems: &pb.Subsystems{
			Connections: []*pb.Connection{conn, closed}, Dht: dht, Dhts: []*pb.DHT{dht},
			Bitswap: &pb.Bitswap{Received: counters, Sent: counters, ReceivedRate: rates, SentRate: rates,
				Ledgers:      []*pb.Bitswap_Ledger{{PeerId: goldenOther, BytesSent: 1, BytesReceived: 2, Exchanged: 3, Wants: 4, Wantlist: []string{goldenCID}}},
				LedgersTotal: 1, Wantlist: []*pb.Bitswap_Want{{Cid: goldenCID, Have: true}}, WantlistTotal: 1},
			Pubsub:    &pb.PubSub{Enabled: true, Topics: []*pb.PubSub_Topic{{Name: "topic", Peers: 1, PeerIds: []string{goldenOther}}}},
			Peerstore: &pb.Peerstore{Peers: 3, PeersWithAddrs: 2, PeersWithKeys: 1},
			Resources: &pb.ResourceManager{Scopes: []*pb.ResourceManager_Scope{{Name: "system", Usage: usage, Limit: usage}}, Peers: 1},
			Pipeline: &pb.Pipeline{
				Capture: &pb.Pipeline_Capture{Limited: 1, SendErrors: 2, Panics: 3},
				Bus:     &pb.Pipeline_Bus{Published: 1, Held: 2, HeldBytes: 3, Readers: []*pb.Pipeline_Reader{{Name: "influx", Read: 4, Missed: 5, Behind: 6}}},
				Stream: &pb.Pipeline_Stream{Accepted: 1, Refused: 2, Events: 3, SentEvents: 4, SentBytes: 5, DroppedEvents: 6, Kicked: 7,
					Subscribers: []*pb.Pipeline_Subscriber{{Id: "tcp-[::1]:5", SinceTs: goldenTime, Version: 4, Encoding: "zstd", Filter: "{}",
						QueuedBytes: 1, QueueLimit: 2, SentEvents: 3, SentBytes: 4, DroppedEvents: 5}}},
				Influx: &pb.Pipeline_Influx{Events: 1, Accepted: 2, Stored: 3, Dropped: 4, Rejected: 5, Queued: 6, QueueBytes: 7, LagSeconds: 0.125, Failing: true, LastError: "no answer"},
				Spool:  &pb.Pipeline_Spool{Bytes: 1, LimitBytes: 2, Full: 0.5}, Http: &pb.Pipeline_Http{Requests: 1, Connections: 2, Panics: 3},
				Exchanges: []*pb.Pipeline_Exchange{{Name: "v4", Exchange: "ipfsmon.events", Broker: "amqp://127.0.0.1:5672/", Accepted: 1, Delivered: 2, Dropped: 3, Rejected: 4, Queued: 5, QueueBytes: 6,
					SpoolBytes: 7, SpoolFull: 0.5, LagSeconds: 0.125, Connected: true, Blocked: true, Failing: true, LastError: "no answer"}},
				Introspection: &pb.Pipeline_Introspection{Sessions: 1, Accepted: 2, Refused: 3, SentMessages: 4, SentBytes: 5, DiscardedEvents: 6, DiscardedStates: 7, Panics: 8},
			},
			Process: &pb.Process{CpuSeconds: 1.5, ResidentBytes: 1, HeapBytes: 2, Goroutines: 3, OpenFiles: -1, Processors: 2, GcCycles: 4, GcPauseNs: 5, RepoBytes: -1},
			Content: &pb.Content{SinceTs: goldenTime - 60_000, UntilTs: goldenTime, TopCids: []*pb.Content_Cid{cid}, TopCidsByPeers: []*pb.Content_Cid{cid},
				TopPeers: []*pb.Content_Peer{{PeerId: goldenOther, AgentVersion: "kubo/0.43.0", Wants: 5, Error: 1}},
				Codecs:   share("raw"), Versions: share("1"), Hashes: share("sha2-256"),
				Unique:  &pb.Content_Unique{CidsReceived: 1, CidsSent: 2, PeersReceived: 3, PeersSent: 4},
				Latency: []*pb.Content_Latency{{Direction: "sent", Answer: "block", Count: 1, P50Us: 2, P90Us: 3, P99Us: 4, MaxUs: 5}}, Duplicates: 6, Rebroadcasts: 7,
				DhtRequests: []*pb.Content_DhtRequests{{Direction: "received", Type: "find_node", Requests: 1, Failed: 2, Timeouts: 3, Canceled: 4, Peers: 5, P50Us: 6, P99Us: 7}},
				DhtKeys:     []*pb.Content_DhtKey{{Direction: "sent", Cid: goldenCID, Requests: 1, Error: 2, Peers: 3}}, DhtAgents: share("kubo"),
				Lines: []*pb.Content_Line{{Direction: "sent", Bytes: 1, BlockBytes: 2, Cids: []*pb.Content_Bytes{{Name: goldenCID, Bytes: 3, Error: 4}},
					Peers: []*pb.Content_Bytes{{Name: goldenOther, AgentVersion: "kubo/0.43.0", Bytes: 5, Error: 6}}, Agents: []*pb.Content_Bytes{{Name: "kubo", Bytes: 7}}}},
				Retrievals:   []*pb.Content_Retrieval{{Source: "routing", Blocks: 1, Bytes: 2, ProviderP50Us: 3, ProviderP90Us: 4, BlockP50Us: 5, BlockP90Us: 6, BlockMaxUs: 7}},
				Wanted:       &pb.Content_Wanted{Blocks: 1, GivenUp: 2, Unanswered: 3, Waiting: 4, Surplus: 5, Searches: 6, Providers: 7, NotFound: 8, SearchP50Us: 9, SearchP90Us: 10},
				HttpRequests: []*pb.Content_HttpRequests{{Method: "GET", Outcome: "block", Requests: 1, Bytes: 2, P50Us: 3, MaxUs: 4}},
				Coverage:     []*pb.Content_Coverage{{Family: "kubo", Connected: 3, Asked: 2, Broadcast: 1}},
				Floods: []*pb.Content_Flood{{PeerId: goldenOther, AgentVersion: "kubo/0.43.0", Address: "/ip4/192.0.2.1/tcp/1", Country: "DE", SinceTs: goldenTime - 2, UntilTs: goldenTime - 1, Wants: 1, Messages: 2,
					WantsPerSecond: 3, MessagesPerSecond: 4, SharePermille: 5, RepeatsPermille: 6, Block: "ipfs swarm"}}},
			Agents: []*pb.AgentCount{{Agent: "kubo/0.43.0", Peers: 1}},
			Proxy: &pb.Proxy{IntervalMs: 10_000, UpstreamPeers: 1, Outstanding: 2, Waiting: 3, QueuedBytes: 4, WantBlock: 5, WantHave: 6, Have: 7, DontHave: 8,
				Blocks: 9, BlockBytes: 10, Merged: 11, Cached: 12, Deferred: 13, Overflow: 14, Answer: &pb.Proxy_Times{Count: 1, P50Us: 2, P90Us: 3, P99Us: 4, MaxUs: 5},
				PassedStreams: 15, BlockedStreams: 16, PreloadRequests: 17, PreloadRefused: 18, PreloadRunning: 19,
				Downstreams: []*pb.Proxy_Downstream{{Name: "10.0.0.1:5001", PeerId: goldenOther, Connected: true, Stalled: true, Outstanding: 1, SharePermille: 1000,
					WantBlock: 2, WantHave: 3, Have: 4, DontHave: 5, Verified: 6, VerifiedBytes: 7, Refused: 8, Late: 9, Timeouts: 10, Connects: 11,
					Rtt: &pb.Proxy_Times{Count: 1, P50Us: 2, P90Us: 3, P99Us: 4, MaxUs: 5}}}},
		},
		Traffic: goldenTraffic(11), InstantTs: goldenTime, StartTs: goldenTime - 100_000, SnapshotDurationMs: 1000,
		Sequence: 5, Peers: 1, Connections: 1, ConnectionsLeftOut: 2, SnapshotCostUs: 900, Failed: []string{"dht: no"},
	}
}

// goldenMessages are one message of each kind, and several of those that have more than
// one form.
func goldenMessages() map[string]proto.Message {
	event := NewEventType("BitswapMessage", typeMessage.columns...)
	server := func(payload any) *pb.ServerMessage {
		m := &pb.ServerMessage{Version: &pb.Version{Version: 1}}
		switch p := payload.(type) {
		case *pb.State:
			m.Payload = &pb.ServerMessage_State{State: p}
		case *pb.Runtime:
			m.Payload = &pb.ServerMessage_Runtime{Runtime: p}
		case *pb.Event:
			m.Payload = &pb.ServerMessage_Event{Event: p}
		case *pb.CommandResponse:
			m.Payload = &pb.ServerMessage_Response{Response: p}
		case *pb.ServerNotice:
			m.Payload = &pb.ServerMessage_Notice{Notice: p}
		}
		return m
	}
	command := func(c pb.ClientCommand_Command, source pb.ClientCommand_Source, cfg *pb.Configuration) *pb.ClientCommand {
		return &pb.ClientCommand{Version: &pb.Version{Version: 1}, Id: 300, Command: c, Source: source, Config: cfg}
	}
	cfg := &pb.Configuration{RetentionPeriodMs: 120_000, StateSnapshotIntervalMs: 2000}
	return map[string]proto.Message{
		"state": server(everything()), "state_empty": server(&pb.State{}),
		"runtime": server(&pb.Runtime{Implementation: "go-libp2p", Version: "0.49.0", Platform: "linux", PeerId: goldenPeer,
			EventTypes: []*pb.EventType{event.proto(true), typeOutbound.proto(true)}, Monitor: "here", Kubo: "0.43.0", MonitorVersion: "0.1.0", Go: "go1.26.5", StartTs: goldenTime, Named: true}),
		"event_first":          server(&pb.Event{Type: typeOutbound.proto(true), Ts: goldenTime, Content: `{"peerIds":["` + goldenOther + `"],"result":"success"}`}),
		"event_later":          server(&pb.Event{Type: typeOutbound.proto(false), Ts: goldenTime + 1, Content: "{\"text\":\"<script>\u202e\\\\u0000\"}"}),
		"response_ok":          server(&pb.CommandResponse{Id: 300, EffectiveConfig: cfg}),
		"response_err":         server(&pb.CommandResponse{Id: 1<<64 - 1, Result: pb.CommandResponse_ERR, Error: errNotGreeted}),
		"notice":               server(&pb.ServerNotice{DiscardedEvents: 1, DiscardedStates: 2, TotalEvents: 3, TotalStates: 4}),
		"command_hello":        command(pb.ClientCommand_HELLO, 0, cfg),
		"command_request":      command(pb.ClientCommand_REQUEST, pb.ClientCommand_RUNTIME, nil),
		"command_push_enable":  command(pb.ClientCommand_PUSH_ENABLE, pb.ClientCommand_EVENTS, nil),
		"command_push_disable": command(pb.ClientCommand_PUSH_DISABLE, pb.ClientCommand_STATE, nil),
		"command_push_pause":   command(pb.ClientCommand_PUSH_PAUSE, 0, nil),
		"command_push_resume":  command(pb.ClientCommand_PUSH_RESUME, 0, nil),
		"command_update":       command(pb.ClientCommand_UPDATE_CONFIG, 0, &pb.Configuration{StateSnapshotIntervalMs: 500}),
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%s has changed; run with -update if that is wanted", name)
}

// TestGoldenMessages compares each message with its bytes. Fields below 100 are the
// original's. The page's reader is tested with the same files.
func TestGoldenMessages(t *testing.T) {
	for name, m := range goldenMessages() {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		require.NoError(t, err)
		golden(t, "messages/"+name+".bin", b)
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		require.NoError(t, err)
		var even bytes.Buffer // protojson's spaces change from build to build
		require.NoError(t, json.Indent(&even, text, "", " "))
		even.WriteByte('\n')
		golden(t, "messages/"+name+".json", even.Bytes())
		if s, ok := m.(*pb.ServerMessage); ok {
			frame, err := encodeFrame(s, 0)
			require.NoError(t, err)
			golden(t, "frames/"+name+".bin", frame)
			again, err := DecodeFrame(frame)
			require.NoError(t, err)
			require.True(t, proto.Equal(s, again), name)
		} else {
			again, err := decodeCommand(b)
			require.NoError(t, err)
			require.True(t, proto.Equal(m, again), name)
		}
	}
}

// TestGoldenCapture writes and reads a whole session.
func TestGoldenCapture(t *testing.T) {
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	order := []string{"runtime", "state", "event_first", "event_later", "notice", "state_empty"}
	all := goldenMessages()
	for _, name := range order {
		require.NoError(t, w.Write(all[name].(*pb.ServerMessage)))
	}
	require.NoError(t, w.Flush())
	golden(t, "session.capture", file.Bytes())
	r := NewCaptureReader(&file)
	for _, name := range order {
		m, _, err := r.Next()
		require.NoError(t, err)
		require.True(t, proto.Equal(all[name], m), name)
	}
}

// TestFrameByHand builds a frame from the description of the format, without our own
// code.
func TestFrameByHand(t *testing.T) {
	// ServerMessage{version{1}, response{id 5, ERR, "x"}}
	payload := []byte{0x0a, 2, 0x08, 1, 0x2a, 7, 0x08, 5, 0x10, 1, 0x1a, 1, 'x'}
	frame := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, byte(len(payload)), 0, 0, 0}, payload...)
	sum := uint32(0x811c9dc5)
	for _, c := range payload {
		sum ^= uint32(c)
		sum *= 0x01000193
	}
	frame[4], frame[5], frame[6], frame[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	m, err := DecodeFrame(frame)
	require.NoError(t, err)
	require.EqualValues(t, 5, m.GetResponse().GetId())
	got, err := encodeFrame(m, 0)
	require.NoError(t, err)
	require.Equal(t, frame, got)
}

func TestFramesThatAreWrong(t *testing.T) {
	good, err := encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: everything()}}, 0)
	require.NoError(t, err)
	f := func(want string, change func([]byte) []byte) {
		t.Helper()
		_, err := DecodeFrame(change(bytes.Clone(good)))
		require.ErrorContains(t, err, want)
	}
	f("want 12 of header", func(b []byte) []byte { return b[:11] })
	f("version 2", func(b []byte) []byte { b[0] = 2; return b })
	f("checksum", func(b []byte) []byte { b[4] ^= 1; return b })
	f("checksum", func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	f("claims", func(b []byte) []byte { b[8]++; return b })
	f("claims", func(b []byte) []byte { return b[:len(b)-1] })
	f("claims", func(b []byte) []byte { copy(b[8:], "\xff\xff\xff\xff"); return b })
}

// originals are the messages of the original protocol with their field numbers, from its
// description. They must never change.
const originals = `Version version=1
ResultCounter total=1 ok=2 err=3
SlidingCounter over_1m=1 over_5m=2 over_15m=3 over_30m=4 over_1hr=5 over_2hr=6 over_4hr=7 over_8hr=8 over_12hr=9 over_24hr=10
DataGauge cum_bytes=1 cum_packets=2 inst_bw=3
EventType name=1 property_types=2
EventType.EventProperty name=1 type=2 has_multiple=3
Runtime implementation=1 version=2 platform=3 peer_id=4 event_types=7
EndpointPair src_multiaddr=1 dst_multiaddr=2
Traffic traffic_in=1 traffic_out=2
StreamList stream_ids=1 streams=2
Connection id=1 peer_id=2 status=3 transport_id=4 endpoints=5 timeline=6 role=7 traffic=8 attribs=9 latency_ns=10 streams=11 conn_id=16 conn=17 user_provided_tags=99
Connection.Timeline open_ts=1 upgraded_ts=2 close_ts=3
Connection.Attributes multiplexer=1 encryption=2
Stream id=1 protocol=2 role=3 traffic=4 conn=5 timeline=6 status=7 latency_ns=16 user_provided_tags=99
Stream.ConnectionRef conn=1 conn_id=2
Stream.Timeline open_ts=1 close_ts=2
DHT protocol=1 enabled=2 start_ts=3 params=4 buckets=5 incoming_queries=6 outgoing_queries=7
DHT.Params k=1 alpha=2 disjoint_paths=3 beta=4
DHT.PeerInDHT peer_id=1 status=2 age_in_bucket=3
DHT.Bucket cpl=1 peers=2
DHT.QueryGauge success=1 error=2 timeout=3
Subsystems connections=1 dht=2
State subsystems=1 traffic=2 instant_ts=3 start_ts=4 snapshot_duration_ms=5
Event type=1 ts=2 content=3
ServerMessage version=1 state=2 runtime=3 event=4 response=5 notice=6
Configuration retention_period_ms=1 state_snapshot_interval_ms=2
ClientCommand version=1 id=2 command=3 source=4 config=5
CommandResponse id=1 result=2 error=3 effective_config=4
ServerNotice kind=1`

// TestNumbersOfTheOriginal: fields below 100 are the original's and complete; our own
// fields have numbers from 100.
func TestNumbersOfTheOriginal(t *testing.T) {
	file := pb.File_introspect_pb_introspect_proto
	for line := range strings.Lines(originals) {
		words := strings.Fields(line)
		messages, name := file.Messages(), ""
		m := messages.ByName("none")
		for name = range strings.SplitSeq(words[0], ".") {
			if m != nil {
				messages = m.Messages()
			}
			for i := range messages.Len() {
				if string(messages.Get(i).Name()) == name {
					m = messages.Get(i)
				}
			}
		}
		require.NotNil(t, m, words[0])
		require.Equal(t, name, string(m.Name()))
		var have []string
		for i := range m.Fields().Len() {
			if f := m.Fields().Get(i); f.Number() < 100 {
				have = append(have, string(f.Name())+"="+itoa(int(f.Number())))
			}
		}
		require.ElementsMatch(t, words[1:], have, words[0])
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n) // an int can always be encoded
	return string(b)
}
