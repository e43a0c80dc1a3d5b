package influx

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	influxwrite "github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/status"
)

const testTime = 1_760_000_000_000_000_000

// testEvents are one of each kind of event, with everything in them.
func testEvents() []*event.Event {
	return []*event.Event{
		{Time: testTime, Kind: event.KindMessage, Dir: event.Received, Full: true, Peer: testPeer(1), Country: "DE", Gateway: true,
			Wants: []event.Want{
				{CID: testCID(0), Priority: math.MaxInt32, Type: event.WantBlock, SendDontHave: true},
				{CID: testCID(1), Priority: math.MinInt32, Type: event.WantHave},
				{CID: testCID(2), Cancel: true},
				{CID: testCID(3), Priority: 1, Type: 77},
			},
			Presences: []event.Presence{{CID: testCID(4), Type: event.Have}, {CID: testCID(5), Type: event.DontHave}, {CID: testCID(6), Type: -1}},
			Blocks:    []event.Block{{CID: testCID(7), Size: 262144}, {CID: cid.NewCidV1(cid.DagCBOR, testCID(0).Hash()), Size: 0}},
		},
		{Time: testTime, Kind: event.KindMessage, Dir: event.Sent, Peer: testPeer(2),
			Wants: []event.Want{{CID: testCID(0), Priority: 5}}},
		{Time: testTime, Kind: event.KindConnection, Peer: testPeer(1),
			Conn: &event.Conn{Addr: "/ip4/203.0.113.7/tcp/4001", Transport: "tcp", Security: "noise", Muxer: "yamux", Inbound: true, PeerConns: 1, TotalConns: 9}},
		{Time: testTime, Kind: event.KindConnection, Peer: testPeer(2),
			Conn: &event.Conn{Closed: true, Limited: true, Addr: "/p2p-circuit", Transport: "carrier-pigeon", Security: "none", Muxer: "none",
				Duration: 1500 * time.Millisecond, Streams: 3, WasOpen: true, Unmatched: true}},
		{Time: testTime, Kind: event.KindIdentify, Peer: testPeer(3),
			Identify: &event.Identify{Agent: `kubo "x" \`, ProtocolVersion: "ipfs/0.1.0", Protocols: []event.Text{"/a", "/b"},
				ListenAddrs: []event.Text{"/ip4/198.51.100.1/tcp/1"}, ObservedAddr: "/ip4/192.0.2.1/udp/2/quic-v1"}},
		{Time: testTime, Kind: event.KindSample, Sample: &event.Sample{
			Interval: 10 * time.Second,
			Traffic: [event.Directions]event.Traffic{
				{Messages: 1, WantBlock: 2, WantHave: 3, Cancel: 4, Have: 5, DontHave: 6, Blocks: 7, BlockBytes: 8, Truncated: 9},
				{BlockBytes: math.MaxUint64}},
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
		{Time: testTime, Kind: event.KindLatency, Dir: event.Sent, Peer: testPeer(4), Country: "??",
			Latency: &event.Latency{CID: testCID(8), Want: event.WantHave, Answer: event.AnswerHave, Elapsed: 1234567 * time.Nanosecond}},
		{Time: testTime, Kind: event.KindSummary, Summary: &event.Summary{
			Interval: time.Minute, Missed: 1, UniqueCIDs: [event.Directions]uint64{2, 3}, UniquePeers: [event.Directions]uint64{4, math.MaxUint64},
			Duplicates: [event.Directions]uint64{5, 6}, Rebroadcasts: [event.Directions]uint64{7, 8},
			TopCIDs:        []event.TopCID{{CID: testCID(0), Wants: 9, Error: 1, Peers: 2}, {CID: testCID(1), Wants: 8}},
			TopCIDsByPeers: []event.TopCID{{CID: testCID(1), Wants: 8, Peers: 3}},
			TopPeers:       []event.TopPeer{{Peer: testPeer(1), Agent: `a"\`, Wants: 10, Error: 1}},
			Codecs:         []event.Share{{Name: "raw", N: 1}, {Name: "dag-pb", N: 2}, {Name: "what", N: 3}},
			Versions:       []event.Share{{Name: "1", N: 3}}, Hashes: []event.Share{{Name: "identity", N: 1}},
			Latency: [event.Directions][event.AnswerTypes]event.LatencyStats{{{Count: 1, Sum: time.Second, P50: time.Millisecond, P90: 2 * time.Millisecond, P99: 3 * time.Millisecond, Max: time.Second}}},
			Pending: 11, Lost: 12,
		}},
		{Time: testTime, Kind: event.KindProbe, Peer: testPeer(5), Probe: &event.Probe{Provide: true, Fleet: "a, b", Region: "", Target: "IPNI",
			CID: testCID(2), Duration: 1234567 * time.Nanosecond, Table: 20, Hops: 2, RPCs: 9, FailedRPCs: 1, Dials: 8, FailedDials: 3,
			HopTimes: [event.ProbeHops]time.Duration{time.Millisecond, 2 * time.Millisecond}}},
		{Time: testTime, Kind: event.KindProbe, Peer: testPeer(5), Probe: &event.Probe{Fleet: "default", Region: "eu=1", Target: "?",
			CID: testCID(2), Duration: time.Hour, Error: `not "found"`}},
		{Time: testTime, Kind: event.KindProxy, Proxy: &event.Proxy{Interval: 10 * time.Second, UpstreamPeers: 3, Merged: 4, Downstreams: []event.ProxyDownstream{
			{Name: "a, b", Peer: testPeer(7), Connected: true, Outstanding: 2}}}},
		{Time: testTime, Kind: event.KindClockStep, ClockStep: &event.ClockStep{By: -time.Hour}},
		{Time: testTime, Kind: event.KindProbe, Peer: testPeer(6), Probe: &event.Probe{Fleet: "default", Region: "eu", Target: "DHT", CID: testCID(2), Duration: time.Second}},
	}
}

// testEncoder has all points, those of the monitor's own counters too.
func testEncoder(history bool) *Encoder {
	e := NewEncoder("node, one", history)
	e.SetPipeline(func() status.Pipeline {
		return status.Pipeline{
			Capture: status.Capture{Limited: 1, Undecoded: 2, Panics: 3},
			Bus:     status.Bus{Published: 4, Held: 5, HeldBytes: 6, Readers: []status.Reader{{Missed: 7}, {Missed: 8}}},
			Stream:  &status.Stream{Subscribers: 9, DroppedEvents: 10, Panics: 11},
			Influx:  &status.Influx{Delivery: status.Delivery{Accepted: 12, Stored: 13, Dropped: 14, Rejected: 15, Queued: 16, QueueBytes: 17, LagSeconds: 1.5, SpoolBytes: 19, SpoolFull: 0.02}},
			HTTP:    &status.HTTP{Panics: 18},
		}
	})
	return e
}

// encode returns all lines of the events, history first.
func encode(e *Encoder, events ...*event.Event) string {
	var bufs [Kinds][]byte
	for _, ev := range events {
		e.Prepare(ev)
		bufs, _ = e.Append(bufs, ev)
	}
	return string(bufs[History]) + string(bufs[Totals])
}

func TestGolden(t *testing.T) {
	generated(t, "testdata/points.golden", encode(testEncoder(true), testEvents()...))
}

func TestAppendCountsPoints(t *testing.T) {
	for _, history := range []bool{true, false} {
		e := testEncoder(history)
		for i, ev := range testEvents() {
			e.Prepare(ev)
			bufs, points := e.Append([Kinds][]byte{}, ev)
			for k := range bufs {
				if got := strings.Count(string(bufs[k]), "\n"); got != points[k] {
					t.Errorf("event %d, %v: %d lines, %d points told", i, Kind(k), got, points[k])
				}
			}
			if !history && points[History] != 0 {
				t.Errorf("event %d: %d points of history, which is off", i, points[History])
			}
		}
	}
}

// decoded is a line as the reference decoder understands it.
type decoded struct {
	name   string
	tags   map[string]string
	fields map[string]any
	at     int64
	again  string // the line as the reference encoder writes it
}

func decode(t testing.TB, lines string) []decoded {
	t.Helper()
	var out []decoded
	d := lineprotocol.NewDecoderWithBytes([]byte(lines))
	for d.Next() {
		var p decoded
		var enc lineprotocol.Encoder
		name, err := d.Measurement()
		if err != nil {
			t.Fatalf("%v in %q", err, lines)
		}
		p.name, p.tags, p.fields = string(name), map[string]string{}, map[string]any{}
		enc.StartLineRaw(name)
		for {
			k, v, err := d.NextTag()
			if err != nil {
				t.Fatalf("%v in %q", err, lines)
			}
			if k == nil {
				break
			}
			p.tags[string(k)] = string(v)
			enc.AddTagRaw(k, v)
		}
		for {
			k, v, err := d.NextField()
			if err != nil {
				t.Fatalf("%v in %q", err, lines)
			}
			if k == nil {
				break
			}
			p.fields[string(k)] = v.Interface()
			enc.AddFieldRaw(k, v)
		}
		at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
		if err != nil {
			t.Fatalf("%v in %q", err, lines)
		}
		p.at = at.UnixNano()
		enc.EndLine(at)
		if enc.Err() != nil {
			t.Fatalf("reference encoder: %v in %q", enc.Err(), lines)
		}
		p.again = string(enc.Bytes())
		out = append(out, p)
	}
	return out
}

// checkSchema compares a decoded point with the schema: the same keys, the
// right types, closed tags inside their sets.
func checkSchema(t *testing.T, p decoded) {
	t.Helper()
	var m *Measurement
	for _, s := range Schema {
		if s.Name == p.name {
			m = s
		}
	}
	if m == nil {
		t.Fatalf("measurement %q is not in the schema", p.name)
	}
	tags := len(m.Tags)
	if side := p.tags["side"]; side != "" {
		if !m.sided() || (p.tags["downstream"] != "") != (side == "downstream") || tagSide.Values[tagSide.index(side)] != side {
			t.Errorf("%s: side=%q downstream=%q", p.name, side, p.tags["downstream"])
		}
		tags += 1 + bit(side == "downstream")
	}
	if len(p.tags) != tags || len(p.fields) != len(m.Fields) {
		t.Errorf("%s: %d tags and %d fields, the schema has %d and %d", p.name, len(p.tags), len(p.fields), tags, len(m.Fields))
	}
	for i := range m.Tags {
		tag := &m.Tags[i]
		v, ok := p.tags[tag.Key]
		if !ok || v == "" {
			t.Errorf("%s: tag %s is missing", p.name, tag.Key)
		}
		if tag.Values != nil && tag.Values[tag.index(v)] != v {
			t.Errorf("%s: tag %s=%q is not in its set", p.name, tag.Key, v)
		}
	}
	for _, f := range m.Fields {
		var ok bool
		switch f.Type {
		case Int:
			_, ok = p.fields[f.Key].(int64)
		case Bool:
			_, ok = p.fields[f.Key].(bool)
		case String:
			_, ok = p.fields[f.Key].(string)
		}
		if !ok {
			t.Errorf("%s: field %s is %T, want %s", p.name, f.Key, p.fields[f.Key], f.Type)
		}
	}
}

// Every line is in the schema, the same bytes as the reference encoder's, and
// says what the event says.
func TestAgainstReference(t *testing.T) {
	lines := encode(testEncoder(true), testEvents()...)
	var again strings.Builder
	seen := map[string]bool{}
	points := decode(t, lines)
	for _, p := range points {
		checkSchema(t, p)
		again.WriteString(p.again)
		seen[p.name] = true
		if p.tags["node"] != "node, one" {
			t.Errorf("%s: node=%q", p.name, p.tags["node"])
		}
	}
	if again.String() != lines {
		t.Errorf("ours:\n%s\nreference:\n%s", lines, again.String())
	}
	for _, m := range Schema {
		if !seen[m.Name] {
			t.Errorf("no point of %s", m.Name)
		}
	}
	f := func(i int, tags, fields string) {
		t.Helper()
		if got := fmt.Sprint(points[i].tags); got != tags {
			t.Errorf("point %d: tags %s, want %s", i, got, tags)
		}
		if got := fmt.Sprint(points[i].fields); got != fields {
			t.Errorf("point %d: fields %s, want %s", i, got, fields)
		}
	}
	f(0, "map[codec:dag-pb direction:received gateway:true node:node, one type:want_block]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:2147483647 send_dont_have:true]", testCID(0), testPeer(1)))
	f(2, "map[codec:dag-pb direction:received gateway:true node:node, one type:cancel]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:0 send_dont_have:false]", testCID(2), testPeer(1)))
	f(3, "map[codec:dag-pb direction:received gateway:true node:node, one type:other]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:1 send_dont_have:false]", testCID(3), testPeer(1)))
	f(5, "map[codec:dag-pb direction:received gateway:true node:node, one type:dont_have]", fmt.Sprintf("map[cid:%s country:DE peer:%s]", testCID(5), testPeer(1)))
	f(7, "map[codec:raw direction:received gateway:true node:node, one]", fmt.Sprintf("map[cid:%s country:DE peer:%s size:262144]", testCID(7), testPeer(1)))
	f(9, "map[codec:dag-pb direction:sent gateway:false node:node, one type:want_block]",
		fmt.Sprintf("map[cid:%s country:none full:false peer:%s priority:5 send_dont_have:false]", testCID(0), testPeer(2)))
	f(11, "map[direction:outbound limited:true muxer:none node:node, one security:none state:closed transport:other]",
		fmt.Sprintf("map[addr:/p2p-circuit country:none duration_ms:1500 gateway:false peer:%s peer_conns:0 streams:3 total_conns:0 unmatched:true was_open:true]", testPeer(2)))
	f(12, "map[gateway:false node:node, one]",
		fmt.Sprintf(`map[agent:kubo "x" \ country:none listen_addrs:1 observed_addr:/ip4/192.0.2.1/udp/2/quic-v1 peer:%s protocol_version:ipfs/0.1.0 protocols:2]`, testPeer(3)))
	f(13, "map[answer:have direction:sent gateway:false node:node, one type:want_have]",
		fmt.Sprintf("map[cid:%s country:other elapsed_us:1234 peer:%s]", testCID(8), testPeer(4)))
	some := map[string]string{} // the first point of each measurement
	for _, p := range points {
		if some[p.name] == "" {
			delete(p.tags, "node")
			some[p.name] = fmt.Sprintf("%v%v", p.tags, p.fields)
		}
	}
	for name, want := range map[string]string{
		"origins":        "map[country:none direction:received gateway:false]map[block_bytes:0 blocks:0 connections:1 messages:0 wants:0]",
		"protocols":      "map[protocol:/ipfs/bitswap/1.2.0]map[peers:3]",
		"streams":        "map[direction:inbound protocol:/ipfs/id/1.0.0]map[streams:2]",
		"bandwidth":      "map[protocol:/ipfs/kad/1.0.0]map[in_bytes:1 in_rate:3 out_bytes:2 out_rate:0]",
		"routing":        "map[table:wan]map[peers:200]",
		"node":           "map[]map[connections:8 in_bytes:10 in_rate:2 ledgers:4 out_bytes:20 out_rate:0 repo_bytes:-1 wantlist:3]",
		"process":        "map[]map[cpu_ms:1234 goroutines:7 heap_bytes:6 open_files:-1 resident_bytes:5]",
		"unique":         "map[direction:received]map[cids:2 interval_ms:60000 peers:4]",
		"duplicates":     "map[direction:received]map[duplicates:5 interval_ms:60000 rebroadcasts:7]",
		"top_cids":       fmt.Sprintf("map[list:wants rank:01]map[cid:%s error:1 peers:2 wants:9]", testCID(0)),
		"top_peers":      fmt.Sprintf(`map[rank:01]map[agent:a"\ error:1 peer:%s wants:10]`, testPeer(1)),
		"codecs":         "map[codec:dag-pb]map[wants:2]",
		"latency_totals": "map[answer:block direction:received]map[answers:1 interval_ms:60000 max_us:1000000 p50_us:1000 p90_us:2000 p99_us:3000 sum_us:1000000]",
		"derived":        "map[]map[interval_ms:60000 lost:12 missed:1 pending:11]",
		"pipeline": "map[]map[accepted:12 dropped:14 held:5 held_bytes:6 lag_ms:1500 limited:1 missed:15 panics:32 published:4 queue_bytes:17 queued:16 " +
			"rejected:15 spool_bytes:19 spool_permille:20 stored:13 stream_dropped:10 subscribers:9 undecoded:2]",
	} {
		if some[name] != want {
			t.Errorf("%s: %s, want %s", name, some[name], want)
		}
	}
}

// No two points of one measurement share a time, however the clock goes,
// unless their series differ.
func TestPointIdentity(t *testing.T) {
	e := NewEncoder("n", true)
	var events []*event.Event
	for _, at := range []int64{testTime, testTime, testTime - int64(time.Hour), testTime + 1, math.MinInt64, math.MaxInt64, math.MaxInt64, 0} {
		for _, ev := range testEvents() {
			ev.Time = at
			events = append(events, ev)
		}
	}
	seen := map[string]bool{}
	for _, p := range decode(t, encode(e, events...)) {
		id := fmt.Sprint(p.name, p.tags, p.at)
		if seen[id] {
			t.Errorf("two points are %s", id)
		}
		seen[id] = true
	}
}

// hostileEvents returns six events of peer i, none of whose words any other
// peer uses.
func hostileEvents(i int, at int64) []*event.Event {
	name := event.Text(fmt.Sprint("hostile, =/", i))
	p, c := testPeer(i), testCID(i)
	country := string([]byte{'A' + byte(i%26), 'A' + byte(i/26%26)})
	return []*event.Event{
		{Time: at, Kind: event.KindMessage, Dir: event.Direction(i), Peer: p, Country: country, Gateway: i%3 == 0,
			Wants: []event.Want{{CID: c, Type: event.WantType(i)}}, Blocks: []event.Block{{CID: c}}, Presences: []event.Presence{{CID: c, Type: event.PresenceType(i)}}},
		{Time: at, Kind: event.KindConnection, Peer: p, Country: string(name), Conn: &event.Conn{Addr: name, Transport: string(name), Security: string(name), Muxer: string(name)}},
		{Time: at, Kind: event.KindIdentify, Peer: p, Identify: &event.Identify{Agent: name, Protocols: []event.Text{name}}},
		{Time: at, Kind: event.KindLatency, Dir: event.Direction(i), Peer: p, Latency: &event.Latency{CID: c, Want: event.WantType(i), Answer: event.AnswerType(i)}},
		{Time: at, Kind: event.KindSample, Sample: &event.Sample{
			Agents:    []event.AgentCount{{Agent: name, Peers: 1}, {Agent: name + "x", Peers: 1}},
			Protocols: []event.ProtocolCount{{Protocol: name, Peers: 1}},
			Streams:   []event.StreamCount{{Protocol: name, Direction: event.StreamDirections[i%3]}, {Protocol: name + "y", Direction: string(name)}},
			Node:      event.Node{Bandwidth: []event.Bandwidth{{Protocol: name}}, Routing: []event.RoutingTable{{Name: string(name)}}}}},
		{Time: at, Kind: event.KindSummary, Summary: &event.Summary{
			TopCIDs: []event.TopCID{{CID: c}}, TopPeers: []event.TopPeer{{Peer: p, Agent: name}},
			Codecs: []event.Share{{Name: string(name)}}, Versions: []event.Share{{Name: string(name)}}, Hashes: []event.Share{{Name: string(name)}}}},
	}
}

// Whatever peers call themselves, and however many, the series stay few.
func TestSeriesAreBounded(t *testing.T) {
	most := 1_000_000
	if raceEnabled {
		most = 100_000
	}
	e := testEncoder(true)
	series := map[string]bool{}
	var bufs [Kinds][]byte
	for i, n := 0, 0; n < most; i++ {
		for _, ev := range hostileEvents(i, int64(n)) {
			n++
			for k := range bufs {
				bufs[k] = bufs[k][:0]
			}
			e.Prepare(ev)
			bufs, _ = e.Append(bufs, ev)
			for _, b := range bufs {
				for line := range bytes.Lines(b) {
					key := seriesOf(line)
					if !series[string(key)] {
						series[string(key)] = true
					}
				}
			}
		}
	}
	if len(series) >= 5000 {
		t.Errorf("%d series of %d hostile events, want fewer than 5000", len(series), most)
	}
	t.Logf("%d series of %d hostile events", len(series), most)
}

// seriesOf cuts a line at its first space without a backslash.
func seriesOf(line []byte) []byte {
	for i := range line {
		if line[i] == ' ' && line[i-1] != '\\' {
			return line[:i]
		}
	}
	return line
}

// Equal agents, and those beyond the bound, are one point with the sum.
func TestAgentsAreSummed(t *testing.T) {
	e := NewEncoder("n", true)
	s := &event.Sample{}
	for i := range MaxAgents + 10 {
		s.Agents = append(s.Agents, event.AgentCount{Agent: event.Text(fmt.Sprint("a", i)), Peers: 1})
	}
	s.Agents = append(s.Agents, event.AgentCount{Agent: "a0\\", Peers: 3}, event.AgentCount{Agent: event.OthersAgent, Peers: 5})
	got := map[string]int64{}
	points := 0
	for _, p := range decode(t, encode(e, &event.Event{Kind: event.KindSample, Sample: s})) {
		if p.name == "agent_versions" {
			got[p.tags["agent"]] += p.fields["peers"].(int64)
			points++
		}
	}
	if points != MaxAgents || len(got) != MaxAgents || got["a0"] != 4 || got["others"] != 11+5 {
		t.Errorf("%d points, %d agents, a0 %d, others %d; want %d, %d, 4, 16", points, len(got), got["a0"], got["others"], MaxAgents, MaxAgents)
	}
}

func TestEncoderDoesNotAllocate(t *testing.T) {
	e := NewEncoder("n", true)
	// Without the monitor's own counters: reading those allocates. So do notes,
	// of which a clock step is one, and a proxy's totals: they are rare.
	events := slices.DeleteFunc(testEvents(), func(ev *event.Event) bool {
		return ev.Kind == event.KindClockStep || ev.Kind == event.KindProxy
	})
	var bufs [Kinds][]byte
	run := func() {
		for k := range bufs {
			bufs[k] = bufs[k][:0]
		}
		for _, ev := range events {
			bufs, _ = e.Append(bufs, ev)
		}
	}
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("encoding one event of each kind allocates %v times", n)
	}
}

func FuzzEncoder(f *testing.F) {
	f.Add("kubo/0.43.0", "/ip4/1.2.3.4/tcp/5", "tcp", int64(testTime), int32(1), true)
	f.Add("kubo/0.43.0", "/ip4/1.2.3.4/tcp/5", "tcp", int64(testTime), int32(2), true)
	f.Add("a v=1i 1\nforged,who=me v=666i", `\`, "", int64(-1), int32(-1), false)
	f.Add(`"`, `\"`, "a,b=c d", int64(math.MaxInt64), int32(math.MinInt32), true)
	f.Fuzz(func(t *testing.T, agent, addr, word string, at int64, n int32, flag bool) {
		a, ad := event.Clean(agent, event.MaxAgentText), event.Clean(addr, event.MaxAddrText)
		c, p := testCID(int(n)&0xffff), testPeer(int(n))
		events := []*event.Event{
			{Time: at, Kind: event.KindMessage, Peer: p, Full: flag, Wants: []event.Want{{CID: c, Priority: n, Type: event.WantType(n), SendDontHave: flag}}},
			{Time: at, Kind: event.KindConnection, Peer: p, Conn: &event.Conn{Addr: ad, Transport: word, Security: word, Muxer: word, Streams: int(n), Closed: flag}},
			{Time: at, Kind: event.KindIdentify, Peer: p, Identify: &event.Identify{Agent: a, ProtocolVersion: ad, ObservedAddr: ad}},
			{Time: at, Kind: event.KindSample, Sample: &event.Sample{Agents: []event.AgentCount{{Agent: a, Peers: int(n)}},
				Protocols: []event.ProtocolCount{{Protocol: a, Peers: int(n)}}, Streams: []event.StreamCount{{Protocol: ad, Direction: word}},
				Node: event.Node{Bandwidth: []event.Bandwidth{{Protocol: a, InBytes: at, InRate: float64(at) * float64(n)}}, Routing: []event.RoutingTable{{Name: word}}}}},
			{Time: at, Kind: event.KindLatency, Peer: p, Country: word, Gateway: flag, Latency: &event.Latency{CID: c, Want: event.WantType(n), Answer: event.AnswerType(n), Elapsed: time.Duration(at)}},
			{Time: at, Kind: event.KindSummary, Summary: &event.Summary{TopCIDs: []event.TopCID{{CID: c, Wants: uint64(at)}}, TopPeers: []event.TopPeer{{Peer: p, Agent: a}},
				Codecs: []event.Share{{Name: word, N: uint64(at)}}}},
		}
		node := string(event.Clean(word, 100))
		side, name := event.Side(uint32(n)%4), event.Clean(addr, event.MaxNameText) // 3 is none
		for _, ev := range events {
			if ev.Kind != event.KindSample && ev.Kind != event.KindSummary {
				ev.Side, ev.Downstream = side, name
			}
		}
		lines := encode(NewEncoder(node, true), events...)
		points := decode(t, lines)
		again := ""
		for _, p := range points {
			checkSchema(t, p)
			again += p.again
		}
		if again != lines {
			t.Fatalf("ours:\n%s\nreference:\n%s", lines, again)
		}
		if got := points[0].fields; got["cid"] != c.String() || got["peer"] != p.String() || got["priority"] != int64(n) || got["full"] != flag || got["send_dont_have"] != flag {
			t.Errorf("want: %v", got)
		}
		for _, p := range points {
			of, want := "", ""
			if p.name == "wants" || p.name == "connections" || p.name == "identifies" || p.name == "latency" {
				of = side.String()
			}
			if of == "downstream" {
				if want = strings.TrimRight(string(name), `\`); want == "" {
					want = "unknown"
				}
			}
			if p.tags["side"] != of || p.tags["downstream"] != want {
				t.Errorf("%s: %v, want side %q and downstream %q", p.name, p.tags, of, want)
			}
		}
		if got := points[1].fields; got["addr"] != string(ad) || got["streams"] != int64(n) {
			t.Errorf("connection: %v", got)
		}
		if got := points[2].fields; got["agent"] != string(a) || got["protocol_version"] != string(ad) {
			t.Errorf("identify: %v", got)
		}
		wantAgent := strings.TrimRight(string(a), `\`)
		if wantAgent == "" {
			wantAgent = "unknown"
		}
		for _, p := range points {
			if p.name == "agent_versions" && (p.tags["agent"] != wantAgent || p.fields["peers"] != int64(n)) {
				t.Errorf("agent: %v %v, want %q", p.tags, p.fields, wantAgent)
			}
			if p.name == "top_peers" && p.fields["agent"] != string(a) {
				t.Errorf("top peer: %v, want %q", p.fields, a)
			}
		}
	})
}

// The same point, one want, in the three ways.
func BenchmarkEncodeWant(b *testing.B) {
	ev := &event.Event{Time: testTime, Kind: event.KindMessage, Dir: event.Received, Peer: testPeer(1),
		Wants: []event.Want{{CID: testCID(1), Priority: 7, Type: event.WantHave, SendDontHave: true}}}
	w := &ev.Wants[0]
	b.Run("ours", func(b *testing.B) {
		e := NewEncoder("node", true)
		var bufs [Kinds][]byte
		b.ReportAllocs()
		for b.Loop() {
			bufs[History] = bufs[History][:0]
			bufs, _ = e.Append(bufs, ev)
		}
		b.SetBytes(int64(len(bufs[History])))
	})
	b.Run("line-protocol", func(b *testing.B) {
		var e lineprotocol.Encoder
		str := func(s string) lineprotocol.Value { v, _ := lineprotocol.StringValue(s); return v }
		b.ReportAllocs()
		for b.Loop() {
			e.Reset()
			e.StartLine("wants")
			e.AddTag("codec", "raw")
			e.AddTag("direction", ev.Dir.String())
			e.AddTag("node", "node")
			e.AddTag("type", w.TypeName())
			e.AddField("cid", str(w.CID.String()))
			e.AddField("peer", str(ev.Peer.String()))
			e.AddField("priority", lineprotocol.IntValue(int64(w.Priority)))
			e.AddField("send_dont_have", lineprotocol.BoolValue(w.SendDontHave))
			e.AddField("full", lineprotocol.BoolValue(ev.Full))
			e.EndLine(ev.At())
		}
	})
	b.Run("influxdb-client-go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := influxwrite.NewPoint("wants",
				map[string]string{"codec": "raw", "direction": ev.Dir.String(), "node": "node", "type": w.TypeName()},
				map[string]any{"cid": w.CID.String(), "peer": ev.Peer.String(), "priority": int64(w.Priority), "send_dont_have": w.SendDontHave, "full": ev.Full},
				ev.At())
			influxwrite.PointToLineProtocol(p, time.Nanosecond)
		}
	})
}
