package lineproto

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

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// testEncoder has all points, those of the DHT's requests too.
func testEncoder(history bool) *Encoder {
	e := NewEncoder("node, one", history)
	e.SetDHTHistory()
	return e
}

func TestGolden(t *testing.T) {
	influxtest.Generated(t, "testdata/points.golden", influxtest.Encode(testEncoder(true), influxtest.Events()...))
}

func TestAppendCountsPoints(t *testing.T) {
	for _, history := range []bool{true, false} {
		e := testEncoder(history)
		for i, ev := range influxtest.Events() {
			bufs, points := e.Append([schema.Kinds][]byte{}, ev)
			for k := range bufs {
				if got := strings.Count(string(bufs[k]), "\n"); got != points[k] {
					t.Errorf("event %d, %v: %d lines, %d points reported", i, schema.Kind(k), got, points[k])
				}
			}
			if !history && points[schema.History] != 0 {
				t.Errorf("event %d: %d points of history, which is off", i, points[schema.History])
			}
		}
	}
}

// checkSchema compares a decoded point with the schema: the same keys, the
// right types, closed tags inside their sets.
func checkSchema(t *testing.T, p influxtest.Line) {
	t.Helper()
	var m *schema.Measurement
	for _, s := range schema.All {
		if s.Name == p.Name {
			m = s
		}
	}
	if m == nil {
		t.Fatalf("measurement %q is not in the schema", p.Name)
	}
	tags := len(m.Tags)
	if side := p.Tags["side"]; side != "" {
		if !m.Sided() || (p.Tags["downstream"] != "") != (side == "downstream") || schema.TagSide.Values[schema.TagSide.Index(side)] != side {
			t.Errorf("%s: side=%q downstream=%q", p.Name, side, p.Tags["downstream"])
		}
		tags += 1 + sets.Bit(side == "downstream")
	}
	for i := range m.Tags {
		if tag := &m.Tags[i]; p.Tags[tag.Key] == "" && slices.Contains(tag.Values, "") {
			tags--
		}
	}
	if len(p.Tags) != tags || len(p.Fields) != len(m.Fields) {
		t.Errorf("%s: %d tags and %d fields, the schema has %d and %d", p.Name, len(p.Tags), len(p.Fields), tags, len(m.Fields))
	}
	for i := range m.Tags {
		tag := &m.Tags[i]
		v, ok := p.Tags[tag.Key]
		if (!ok || v == "") && !slices.Contains(tag.Values, "") {
			t.Errorf("%s: tag %s is missing", p.Name, tag.Key)
		}
		if tag.Values != nil && tag.Values[tag.Index(v)] != v {
			t.Errorf("%s: tag %s=%q is not in its set", p.Name, tag.Key, v)
		}
	}
	for _, f := range m.Fields {
		var ok bool
		switch f.Type {
		case schema.Int:
			_, ok = p.Fields[f.Key].(int64)
		case schema.Bool:
			_, ok = p.Fields[f.Key].(bool)
		case schema.String:
			_, ok = p.Fields[f.Key].(string)
		}
		if !ok {
			t.Errorf("%s: field %s is %T, want %s", p.Name, f.Key, p.Fields[f.Key], f.Type)
		}
	}
}

// Every line is in the schema, the same bytes as the reference encoder's, and
// says what the event says.
func TestAgainstReference(t *testing.T) {
	lines := influxtest.Encode(testEncoder(true), influxtest.Events()...)
	var again strings.Builder
	seen := map[string]bool{}
	points := influxtest.Decode(t, lines)
	for _, p := range points {
		checkSchema(t, p)
		again.WriteString(p.Again)
		seen[p.Name] = true
		if p.Tags["node"] != "node, one" {
			t.Errorf("%s: node=%q", p.Name, p.Tags["node"])
		}
	}
	if again.String() != lines {
		t.Errorf("ours:\n%s\nreference:\n%s", lines, again.String())
	}
	for _, m := range schema.All {
		summed := m.OfRollups()
		if seen[m.Name] == summed {
			t.Errorf("points of %s: %v; want them, but of hours and minutes with rollups alone", m.Name, !summed)
		}
	}
	whole := testEncoder(true)
	whole.SetRollups(rollup.New(time.Unix(0, influxtest.Time)))
	later := influxtest.Events()
	for _, e := range later {
		e.Time += int64(time.Minute)
	}
	for _, p := range influxtest.Decode(t, influxtest.Encode(whole, append(influxtest.Events(), later...)...)) {
		checkSchema(t, p)
		seen[p.Name] = true
	}
	for _, of := range []map[*schema.Measurement]*schema.Measurement{schema.Hours, schema.Minutes} {
		for _, m := range of {
			if !seen[m.Name] {
				t.Errorf("no point of %s with rollups", m.Name)
			}
		}
	}
	f := func(i int, tags, fields string) {
		t.Helper()
		if got := fmt.Sprint(points[i].Tags); got != tags {
			t.Errorf("point %d: tags %s, want %s", i, got, tags)
		}
		if got := fmt.Sprint(points[i].Fields); got != fields {
			t.Errorf("point %d: fields %s, want %s", i, got, fields)
		}
	}
	f(0, "map[codec:dag-pb direction:received gateway:true node:node, one type:want_block]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:2147483647 send_dont_have:true]", influxtest.CID(0), influxtest.Peer(1)))
	f(2, "map[codec:dag-pb direction:received gateway:true node:node, one type:cancel]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:0 send_dont_have:false]", influxtest.CID(2), influxtest.Peer(1)))
	f(3, "map[codec:dag-pb direction:received gateway:true node:node, one type:other]",
		fmt.Sprintf("map[cid:%s country:DE full:true peer:%s priority:1 send_dont_have:false]", influxtest.CID(3), influxtest.Peer(1)))
	f(5, "map[codec:dag-pb direction:received gateway:true node:node, one type:dont_have]", fmt.Sprintf("map[cid:%s country:DE peer:%s]", influxtest.CID(5), influxtest.Peer(1)))
	f(7, "map[codec:raw direction:received gateway:true node:node, one]", fmt.Sprintf("map[cid:%s country:DE peer:%s size:262144]", influxtest.CID(7), influxtest.Peer(1)))
	f(9, "map[codec:dag-pb direction:sent gateway:false node:node, one type:want_block]",
		fmt.Sprintf("map[cid:%s country:none full:false peer:%s priority:5 send_dont_have:false]", influxtest.CID(0), influxtest.Peer(2)))
	f(11, "map[direction:outbound limited:true muxer:none node:node, one security:none state:closed transport:other]",
		fmt.Sprintf("map[addr:/p2p-circuit country:none duration_ms:1500 gateway:false peer:%s peer_conns:0 streams:3 total_conns:0 unmatched:true was_open:true]", influxtest.Peer(2)))
	f(12, "map[gateway:false node:node, one]",
		fmt.Sprintf(`map[agent:kubo "x" \ country:none listen_addrs:1 observed_addr:/ip4/192.0.2.1/udp/2/quic-v1 peer:%s protocol_version:ipfs/0.1.0 protocols:2]`, influxtest.Peer(3)))
	f(13, "map[answer:have direction:sent gateway:false node:node, one type:want_have]",
		fmt.Sprintf("map[cid:%s country:other elapsed_us:1234 peer:%s]", influxtest.CID(8), influxtest.Peer(4)))
	some := map[string]string{} // the first point of each measurement
	for _, p := range points {
		if some[p.Name] == "" {
			delete(p.Tags, "node")
			some[p.Name] = fmt.Sprintf("%v%v", p.Tags, p.Fields)
		}
	}
	for name, want := range map[string]string{
		"origins":         "map[country:none direction:sent gateway:false]map[block_bytes:4 blocks:3 connections:5 messages:1 wants:2]",
		"protocols":       "map[protocol:/ipfs/bitswap/1.2.0]map[peers:3]",
		"streams":         "map[direction:inbound protocol:/ipfs/id/1.0.0]map[streams:2]",
		"bandwidth":       "map[protocol:/ipfs/kad/1.0.0]map[in_bytes:1 in_rate:3 out_bytes:2 out_rate:0]",
		"routing":         "map[table:wan]map[peers:200]",
		"node":            "map[]map[connections:8 in_bytes:10 in_rate:2 ledgers:4 out_bytes:20 out_rate:0 repo_bytes:-1 wantlist:3]",
		"process":         "map[]map[cpu_ms:1234 goroutines:7 heap_bytes:6 open_files:-1 resident_bytes:5]",
		"unique":          "map[direction:received]map[askers:1 cids:2 interval_ms:60000 peers:4]",
		"duplicates":      "map[direction:received]map[duplicates:5 interval_ms:60000 rebroadcasts:7]",
		"top_cids":        fmt.Sprintf("map[list:wants rank:01]map[cid:%s error:1 peers:2 wants:9]", influxtest.CID(0)),
		"top_peers":       fmt.Sprintf(`map[rank:01]map[agent:a"\ error:1 peer:%s wants:10]`, influxtest.Peer(1)),
		"top_bytes_cids":  fmt.Sprintf("map[direction:received rank:01]map[bytes:12 cid:%s error:1]", influxtest.CID(2)),
		"top_bytes_peers": fmt.Sprintf("map[direction:received rank:01]map[agent:kubo, 1 bytes:13 error:0 peer:%s]", influxtest.Peer(3)),
		"agent_bytes":     "map[direction:received family:kubo]map[block_bytes:12 bytes:13 dont_have:3 messages:1]",
		"coverage":        "map[family:unknown]map[asked:0 broadcast:0 connected:1 untracked:4]",
		"floods":          fmt.Sprintf(`map[state:began]map[addr:/ip4/203.0.113.7/tcp/4001 agent:a "b" \ command:ipfs swarm filters add /ip4/203.0.113.7/ipcidr/32 && ipfs swarm disconnect /p2p/x country:NZ gateway:true lasted_ms:1500 message_rate:50 messages:100 peer:%s repeats_permille:999 share_permille:501 want_rate:500 wants:1000]`, influxtest.Peer(8)),
		"codecs":          "map[codec:dag-pb]map[wants:2]",
		"latency_totals":  "map[answer:block direction:received]map[answers:1 interval_ms:60000 max_us:1000000 p50_us:1000 p90_us:2000 p99_us:3000 sum_us:1000000]",
		"derived":         "map[]map[interval_ms:60000 lost:12 missed:1 pending:11]",
		"notes":           `map[kind:storm]map[text:Storm of "wants" value:5000]`,
		"pipeline": "map[]map[accepted:12 dropped:14 held:5 held_bytes:6 lag_ms:1500 limited:1 missed:15 panics:32 published:4 queue_bytes:17 queued:16 " +
			"rejected:15 send_errors:2 spool_bytes:19 spool_permille:20 stored:13 stream_dropped:10 subscribers:9]",
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
	for _, at := range []int64{influxtest.Time, influxtest.Time, influxtest.Time - int64(time.Hour), influxtest.Time + 1, math.MinInt64, math.MaxInt64, math.MaxInt64, 0} {
		for _, ev := range influxtest.Events() {
			ev.Time = at
			events = append(events, ev)
		}
	}
	seen := map[string]bool{}
	for _, p := range influxtest.Decode(t, influxtest.Encode(e, events...)) {
		id := fmt.Sprint(p.Name, p.Tags, p.At)
		if seen[id] {
			t.Errorf("two points are %s", id)
		}
		seen[id] = true
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
	var bufs [schema.Kinds][]byte
	for i, n := 0, 0; n < most; i++ {
		for _, ev := range influxtest.HostileEvents(i, int64(n)) {
			n++
			for k := range bufs {
				bufs[k] = bufs[k][:0]
			}
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
	for i := range schema.MaxAgents + 10 {
		s.Agents = append(s.Agents, event.AgentCount{Agent: event.Text(fmt.Sprint("a", i)), Peers: 1})
	}
	s.Agents = append(s.Agents, event.AgentCount{Agent: "a0\\", Peers: 3}, event.AgentCount{Agent: event.OthersAgent, Peers: 5})
	got := map[string]int64{}
	points := 0
	for _, p := range influxtest.Decode(t, influxtest.Encode(e, &event.Event{Kind: event.KindSample, Sample: s})) {
		if p.Name == "agent_versions" {
			got[p.Tags["agent"]] += p.Fields["peers"].(int64)
			points++
		}
	}
	if points != schema.MaxAgents || len(got) != schema.MaxAgents || got["a0"] != 4 || got["others"] != 11+5 {
		t.Errorf("%d points, %d agents, a0 %d, others %d; want %d, %d, 4, 16", points, len(got), got["a0"], got["others"], schema.MaxAgents, schema.MaxAgents)
	}
}

func TestEncoderDoesNotAllocate(t *testing.T) {
	e := NewEncoder("n", true)
	// Without the totals of a proxy and of a collector, which are rare.
	events := slices.DeleteFunc(influxtest.Events(), func(ev *event.Event) bool { return ev.Kind == event.KindProxy || ev.Kind == event.KindFleet })
	var bufs [schema.Kinds][]byte
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
	f.Add("kubo/0.43.0", "/ip4/1.2.3.4/tcp/5", "tcp", int64(influxtest.Time), int32(1), true)
	f.Add("kubo/0.43.0", "/ip4/1.2.3.4/tcp/5", "tcp", int64(influxtest.Time), int32(2), true)
	f.Add("a v=1i 1\nforged,who=me v=666i", `\`, "", int64(-1), int32(-1), false)
	f.Add(`"`, `\"`, "a,b=c d", int64(math.MaxInt64), int32(math.MinInt32), true)
	f.Fuzz(func(t *testing.T, agent, addr, word string, at int64, n int32, flag bool) {
		a, ad := event.Clean(agent, event.MaxAgentText), event.Clean(addr, event.MaxAddrText)
		c, p := influxtest.CID(int(n)&0xffff), influxtest.Peer(int(n))
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
			{Time: at, Kind: event.KindNote, Note: &event.Note{Kind: event.NoteKind(n), Value: at, Text: a}},
			{Time: at, Kind: event.KindOrigins, Origins: &event.Origins{Sums: []event.Origin{{Country: word, Dir: event.Direction(n), Gateway: flag, Wants: uint64(at)}, {Country: "DE", Messages: 1}}}},
			{Time: at, Kind: event.KindPipeline, Pipeline: &event.Pipeline{Missed: uint64(at), Lag: time.Duration(at), SpoolFull: float64(at) * float64(n)}},
		}
		node := string(event.Clean(word, 100))
		side, name := event.Side(uint32(n)%4), event.Clean(addr, event.MaxNameText) // 3 is none
		for _, ev := range events {
			switch ev.Kind {
			case event.KindMessage, event.KindConnection, event.KindIdentify, event.KindLatency:
				ev.Side, ev.Downstream = side, name
			}
		}
		lines := influxtest.Encode(NewEncoder(node, true), events...)
		points := influxtest.Decode(t, lines)
		again := ""
		for _, p := range points {
			checkSchema(t, p)
			again += p.Again
		}
		if again != lines {
			t.Fatalf("ours:\n%s\nreference:\n%s", lines, again)
		}
		if got := points[0].Fields; got["cid"] != c.String() || got["peer"] != p.String() || got["priority"] != int64(n) || got["full"] != flag || got["send_dont_have"] != flag {
			t.Errorf("want: %v", got)
		}
		for _, p := range points {
			of, want := "", ""
			if p.Name == "wants" || p.Name == "connections" || p.Name == "identifies" || p.Name == "latency" {
				of = side.String()
			}
			if of == "downstream" {
				if want = strings.TrimRight(string(name), `\`); want == "" {
					want = "unknown"
				}
			}
			if p.Tags["side"] != of || p.Tags["downstream"] != want {
				t.Errorf("%s: %v, want side %q and downstream %q", p.Name, p.Tags, of, want)
			}
		}
		if got := points[1].Fields; got["addr"] != string(ad) || got["streams"] != int64(n) {
			t.Errorf("connection: %v", got)
		}
		if got := points[2].Fields; got["agent"] != string(a) || got["protocol_version"] != string(ad) {
			t.Errorf("identify: %v", got)
		}
		wantAgent := strings.TrimRight(string(a), `\`)
		if wantAgent == "" {
			wantAgent = "unknown"
		}
		for _, p := range points {
			if p.Name == "agent_versions" && (p.Tags["agent"] != wantAgent || p.Fields["peers"] != int64(n)) {
				t.Errorf("agent: %v %v, want %q", p.Tags, p.Fields, wantAgent)
			}
			if p.Name == "top_peers" && p.Fields["agent"] != string(a) {
				t.Errorf("top peer: %v, want %q", p.Fields, a)
			}
		}
	})
}

// The same point, one want, in the three ways.
func BenchmarkEncodeWant(b *testing.B) {
	ev := &event.Event{Time: influxtest.Time, Kind: event.KindMessage, Dir: event.Received, Peer: influxtest.Peer(1),
		Wants: []event.Want{{CID: influxtest.CID(1), Priority: 7, Type: event.WantHave, SendDontHave: true}}}
	w := &ev.Wants[0]
	b.Run("ours", func(b *testing.B) {
		e := NewEncoder("node", true)
		var bufs [schema.Kinds][]byte
		b.ReportAllocs()
		for b.Loop() {
			bufs[schema.History] = bufs[schema.History][:0]
			bufs, _ = e.Append(bufs, ev)
		}
		b.SetBytes(int64(len(bufs[schema.History])))
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

// The events that the benchmarks encode are one point each, of every measurement of history.
func TestSingleEvents(t *testing.T) {
	single := influxtest.Single()
	for _, m := range schema.All {
		if m.Kind != schema.History {
			continue
		}
		if single[m.Name] == nil {
			t.Errorf("no event for %s", m.Name)
			continue
		}
		if pts := influxtest.Decode(t, influxtest.Encode(testEncoder(true), single[m.Name])); len(pts) != 1 || pts[0].Name != m.Name {
			t.Errorf("%s: %+v", m.Name, pts)
		}
		delete(single, m.Name)
	}
	if len(single) > 0 {
		t.Errorf("no measurements: %v", single)
	}
}
