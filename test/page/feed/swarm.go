package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

var version = &pb.Version{Version: 1}

var (
	agents    = []string{"kubo/0.43.0/", "kubo/0.42.0/", "kubo/0.39.0/desktop", "helia/6.0.2", "rust-libp2p/0.56", "rainbow/v1.24.0", "someguy/v0.11", "go-ipfs/0.8.0/48f94e2", "storm/dev", ""}
	countries = []string{"DE", "US", "FR", "NL", "CN", "SG", "BR", "JP", ""}
	links     = []string{"ip4+udp+quic-v1", "ip4+tcp", "ip6+udp+quic-v1", "ip4+udp+webtransport", "ip4+tcp+p2p-circuit"}
	protocols = []string{"/ipfs/bitswap/1.2.0", "/ipfs/kad/1.0.0", "/ipfs/id/1.0.0", "/libp2p/autonat/2/dial-request", "/meshsub/1.1.0"}
)

// hostileTexts are agents that a page must show and never interpret.
var hostileTexts = []string{
	`<script>window.attacked=1</script>`, `<img src=x onerror="window.attacked=1">`, "abc\u202edcba", "a\u200bb\u0000c", `javascript:attacked=1`,
	`{{constructor.constructor('window.attacked=1')()}}`, strings.Repeat("A", 8192), "é" + strings.Repeat("\u0301", 500), `"><svg onload=window.attacked=1>`,
	"=cmd|' /C calc'!A0", "../../etc/passwd", "${jndi:ldap://x}",
}

// swarm is a made-up node. Its methods may be called from any goroutine.
type swarm struct {
	mu          sync.Mutex
	random      *rand.Rand
	connections []*pb.Connection
	events      int
	hostile     bool
	sequence    uint64
	start       time.Time
	types       []*pb.EventType // announced
	published   uint64
	received    *pb.Bitswap_Counters
	sent        *pb.Bitswap_Counters
}

func newSwarm(connections, streams, events int, hostile bool) *swarm {
	s := &swarm{random: rand.New(rand.NewPCG(1, 2)), events: events, hostile: hostile, start: time.Now().Add(-3 * time.Hour), received: &pb.Bitswap_Counters{}, sent: &pb.Bitswap_Counters{}}
	for i := range connections {
		s.connections = append(s.connections, s.connection(i, streams))
	}
	return s
}

const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func name(prefix string, n, length int) string {
	r := rand.New(rand.NewPCG(uint64(n), uint64(length)))
	b := []byte(prefix)
	for len(b) < length {
		b = append(b, letters[r.IntN(len(letters))])
	}
	return string(b)
}

func peerName(n int) string { return name("12D3KooW", n, 52) }
func cidName(n int) string  { return strings.ToLower(name("bafybei", n, 59)) }

// pick prefers what stands first.
func (s *swarm) pick(list []string) string {
	return list[int(float64(len(list))*math.Pow(s.random.Float64(), 2))]
}

func (s *swarm) connection(i, streams int) *pb.Connection {
	r := s.random
	opened := uint64(time.Now().Add(-time.Duration(r.ExpFloat64() * 40 * float64(time.Minute))).UnixMilli())
	c := &pb.Connection{
		Id: fmt.Appendf(nil, "c%07d", i), PeerId: peerName(i), TransportId: []byte(s.pick(links)), Role: pb.Role(r.IntN(2)),
		Endpoints:    &pb.EndpointPair{SrcMultiaddr: "/ip4/127.0.0.1/tcp/4001", DstMultiaddr: fmt.Sprintf("/ip4/10.%d.%d.%d/udp/4001/quic-v1", i>>16, i>>8&255, i&255)},
		Timeline:     &pb.Connection_Timeline{OpenTs: opened, UpgradedTs: opened + 40},
		Traffic:      &pb.Traffic{TrafficIn: &pb.DataGauge{CumBytes: uint64(r.ExpFloat64() * 4e6)}, TrafficOut: &pb.DataGauge{CumBytes: uint64(r.ExpFloat64() * 2e6)}},
		Attribs:      &pb.Connection_Attributes{Multiplexer: "yamux", Encryption: "noise"},
		LatencyNs:    uint64(20e6 + r.ExpFloat64()*60e6),
		Streams:      &pb.StreamList{},
		AgentVersion: s.pick(agents), Country: s.pick(countries), Gateway: i%97 == 0, TrafficOf: 1,
	}
	if s.hostile && i < 2*len(hostileTexts) {
		c.AgentVersion = hostileTexts[i%len(hostileTexts)]
	}
	for j := range streams {
		c.Streams.Streams = append(c.Streams.Streams, &pb.Stream{
			Id: fmt.Appendf(nil, "s%d", j), Protocol: protocols[(i+j)%len(protocols)], Role: pb.Role(r.IntN(2)), TrafficOf: 1,
			Timeline: &pb.Stream_Timeline{OpenTs: opened + uint64(j)*1000},
			Traffic:  &pb.Traffic{TrafficIn: &pb.DataGauge{CumBytes: uint64(r.IntN(1e6))}, TrafficOut: &pb.DataGauge{CumBytes: uint64(r.IntN(1e6))}},
		})
	}
	return c
}

func (s *swarm) runtime() *pb.ServerMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.ServerMessage{Version: version, Payload: &pb.ServerMessage_Runtime{Runtime: &pb.Runtime{
		Implementation: "ipfsmon", Version: "test", Platform: "linux", PeerId: peerName(-1), Monitor: "feed", Kubo: "0.43.0", Go: "go1.26",
		StartTs: uint64(s.start.UnixMilli()), Named: true, EventTypes: slices.Clone(s.types),
	}}}
}

// event makes an event with content; the first of a type brings its columns.
func (s *swarm) event(now time.Time, kind string, columns []*pb.EventType_EventProperty, content map[string]any) *pb.ServerMessage {
	b, err := json.Marshal(content)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	t := &pb.EventType{Name: kind}
	s.published++
	if !slices.ContainsFunc(s.types, func(t *pb.EventType) bool { return t.GetName() == kind }) {
		t.PropertyTypes = columns
		s.types = append(s.types, t)
	}
	return &pb.ServerMessage{Version: version, Payload: &pb.ServerMessage_Event{Event: &pb.Event{Type: t, Ts: uint64(now.UnixMilli()), Content: string(b)}}}
}

func column(name string, t pb.EventType_EventProperty_PropertyType) *pb.EventType_EventProperty {
	return &pb.EventType_EventProperty{Name: name, Type: t, HasMultiple: name == "peerIds"}
}

// step lets a second pass and returns the events in it.
func (s *swarm) step(now time.Time) []*pb.ServerMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.random
	for _, c := range s.connections {
		for _, g := range []*pb.DataGauge{c.Traffic.TrafficIn, c.Traffic.TrafficOut} {
			g.InstBw = 0
			if r.IntN(4) == 0 {
				g.InstBw = uint64(r.ExpFloat64() * 6000)
			}
			g.CumBytes += g.InstBw
		}
	}
	var out []*pb.ServerMessage
	const str, num, id, js = pb.EventType_EventProperty_STRING, pb.EventType_EventProperty_NUMBER, pb.EventType_EventProperty_PEERID, pb.EventType_EventProperty_JSON
	for i := range s.events {
		at := now.Add(-time.Second + time.Duration(i)*time.Second/time.Duration(s.events))
		n := r.IntN(max(len(s.connections), 1))
		switch k := r.IntN(10); {
		case k < 7:
			out = append(out, s.event(at, "BitswapMessage", []*pb.EventType_EventProperty{column("peer", id), column("direction", str), column("want_blocks", num), column("wants", js)}, s.message(n)))
		case k < 9:
			kind, result := "InboundDHTQuery", "SUCCESS"
			if r.IntN(2) == 0 {
				kind = "OutboundDHTQuery"
			}
			query := map[string]any{"peerIds": []string{peerName(r.IntN(40))}, "type": "FIND_NODE", "result": result, "totalTimeMs": r.IntN(400), "table": "wan"}
			if s.hostile && r.IntN(2) == 0 {
				query = map[string]any{"peerIds": []any{map[string]any{"toString": 1}, 3}, "type": map[string]any{"toString": 1}, "duration_ms": map[string]any{"valueOf": 1, "toString": 1}}
			}
			out = append(out, s.event(at, kind, []*pb.EventType_EventProperty{column("peerIds", id), column("type", str), column("result", str), column("totalTimeMs", num), column("table", str)},
				query))
		case r.IntN(2) == 0:
			out = append(out, s.answered(at))
		default:
			out = append(out, s.event(at, "ConnectionOpened", []*pb.EventType_EventProperty{column("connection", str), column("peer", id), column("direction", str), column("transport", str), column("agent", str)},
				map[string]any{"connection": "c1", "peer": peerName(n), "direction": "inbound", "transport": "quic-v1", "agent": s.pick(agents)}))
		}
	}
	return out
}

// answered is how the node got something that it wanted.
func (s *swarm) answered(at time.Time) *pb.ServerMessage {
	r := s.random
	const str, num, id, js = pb.EventType_EventProperty_STRING, pb.EventType_EventProperty_NUMBER, pb.EventType_EventProperty_PEERID, pb.EventType_EventProperty_JSON
	kind := []string{"BlockRetrieved", "HTTPRequest", "ProviderSearch"}[r.IntN(3)]
	content := map[string]any{"cid": cidName(r.IntN(400)), "peer": peerName(r.IntN(40)), "source": s.pick([]string{"connected", "routing", "session", "http"}), "state": s.pick([]string{"began", "found", "ended"}),
		"method": s.pick([]string{"GET", "HEAD"}), "outcome": s.pick([]string{"block", "have", "dont_have"}), "providers": r.IntN(20), "duration_ms": r.IntN(900), "size": r.IntN(200000)}
	if s.hostile && r.IntN(2) == 0 {
		object := map[string]any{"toString": 1, "valueOf": 1, "__proto__": 1}
		content = map[string]any{"cid": object, "peer": object, "source": "constructor", "state": object, "method": object, "outcome": object, "providers": object, "duration_ms": object, "to_block_ms": object}
	}
	return s.event(at, kind, []*pb.EventType_EventProperty{column("cid", str), column("peer", id), column("duration_ms", num), column("connected", js)}, content)
}

func (s *swarm) message(n int) map[string]any {
	r := s.random
	m := map[string]any{"peer": peerName(n), "agent": s.pick(agents), "wire_size": 200 + r.IntN(4000), "direction": "received"}
	if s.hostile {
		m["agent"] = hostileTexts[r.IntN(len(hostileTexts))]
		if r.IntN(4) == 0 { // of other types than agreed on
			object := map[string]any{"toString": 1, "valueOf": 1, "__proto__": 1}
			return map[string]any{"peer": object, "agent": object, "direction": object, "want_blocks": object, "blocks": "7", "block_bytes": object, "wire_size": []any{object},
				"wants": []any{nil, 3, map[string]any{"cid": object, "type": object, "priority": object}, map[string]any{"cid": "bafy", "type": "constructor"}}, "presences": object, "full": object}
		}
	}
	c := s.received
	if r.IntN(2) == 0 {
		m["direction"] = "sent"
		c = s.sent
	}
	c.Messages++
	var wants, presences []any
	switch r.IntN(4) {
	case 0:
		size := 1000 + r.IntN(200000)
		m["blocks"], m["block_bytes"], m["block_list"] = 1, size, []any{map[string]any{"cid": cidName(r.IntN(400)), "size": size}}
		c.Blocks++
		c.BlockBytes += uint64(size)
	case 1:
		presences = append(presences, map[string]any{"cid": cidName(r.IntN(400)), "type": "have"})
		m["haves"] = 1
		c.Have++
	default:
		count := 1 + r.IntN(6)
		for range count {
			wants = append(wants, map[string]any{"cid": cidName(r.IntN(400)), "type": "want_have", "priority": r.IntN(1000)})
		}
		m["want_haves"] = count
		c.WantHave += uint64(count)
		wants = append(wants, map[string]any{"cid": cidName(r.IntN(400)), "type": "want_block", "priority": 1})
		m["want_blocks"] = 1
		c.WantBlock++
	}
	if wants != nil {
		m["wants"] = wants
	}
	if presences != nil {
		m["presences"] = presences
	}
	return m
}
