package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	stdgzip "compress/gzip"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the times in golden files are in it
	goleak.VerifyTestMain(m)
}

func testCID(version, n int) cid.Cid {
	mh, err := multihash.Sum(fmt.Appendf(nil, "block %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	if version == 0 {
		return cid.NewCidV0(mh)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func testPeer(n int) peer.ID {
	mh, err := multihash.Sum(fmt.Appendf(nil, "peer %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, mh[2:]...)) // as of an ed25519 key
}

// message makes a received message with that many wants.
func message(n, wants int) *event.Event {
	e := &event.Event{
		Time: 1_795_185_729_477_017_222 + int64(n)*1_234_567,
		Kind: event.KindMessage, Peer: testPeer(n % 50),
		Addrs: []event.Text{"/ip4/129.133.90.216/udp/4001/quic-v1"},
	}
	for i := range wants {
		e.Wants = append(e.Wants, event.Want{
			CID: testCID(1, n<<16+i), Priority: 1<<31 - 1 - int32(i), Type: event.WantHave, SendDontHave: true,
		})
	}
	return e
}

func connection(n int, closed bool) *event.Event {
	return &event.Event{
		Time: 1_795_185_729_000_000_000 + int64(n)*1e8, Kind: event.KindConnection, Peer: testPeer(n),
		Conn: &event.Conn{Addr: "/ip6/2001:db8::1/tcp/4001", Closed: closed},
	}
}

// goldenEvents are one event of each form that version 3 can express.
func goldenEvents() []*event.Event {
	full := message(2, 3)
	full.Full = true
	full.Wants[1] = event.Want{CID: testCID(0, 1), Priority: 7, Type: event.WantBlock}
	full.Wants[2] = event.Want{CID: testCID(0, 2), Cancel: true, Priority: 9, Type: event.WantHave, SendDontHave: true}
	full.Addrs = append(full.Addrs, "/dns4/a&b<c>.example/tcp/443/wss", "/dns4/gr\u00fc\u00dfe/tcp/1", "/dns4/cut…", "/dns4/\uFFFD/tcp/1")

	answer := message(3, 0)
	answer.Blocks = []event.Block{{CID: testCID(0, 3), Size: 1000}, {CID: testCID(1, 4), Size: 1 << 20}}
	answer.Presences = []event.Presence{{CID: testCID(1, 5), Type: event.Have}, {CID: testCID(0, 6), Type: event.DontHave}}
	answer.Peer = peer.ID(testCID(0, 7).Hash()) // as of an RSA key

	empty := message(4, 0)
	empty.Addrs = nil

	odd := message(5, 1)
	odd.Wants[0] = event.Want{Priority: -1 << 31, Type: 77}
	odd.Time = 1_795_185_729_000_000_000
	return []*event.Event{message(1, 1), full, answer, empty, odd, connection(6, false), connection(7, true)}
}

// The types of the old exporter, for comparison.
type (
	payload3 struct {
		Event *event3 `json:"event,omitempty"`
	}
	event3 struct {
		Timestamp  time.Time    `json:"timestamp"`
		Peer       string       `json:"peer"`
		Message    *message3    `json:"bitswap_message,omitempty"`
		Connection *connection3 `json:"connection_event,omitempty"`
	}
	message3 struct {
		Wants     []want3     `json:"wantlist_entries"`
		Full      bool        `json:"full_wantlist"`
		Blocks    []cid.Cid   `json:"blocks"`
		Presences []presence3 `json:"block_presences"`
		Addrs     []string    `json:"connected_addresses"`
	}
	want3 struct {
		Cid          cid.Cid
		Priority     int32
		WantType     int32
		Cancel       bool
		SendDontHave bool
	}
	presence3 struct {
		Cid  cid.Cid `json:"cid"`
		Type int32   `json:"block_presence_type"`
	}
	connection3 struct {
		Remote string `json:"remote"`
		Type   int32  `json:"connection_event_type"`
	}
)

// asV3 returns what the old exporter made of the event.
func asV3(e *event.Event) payload3 {
	full := asClient(e)
	out := &event3{Timestamp: time.Unix(0, e.Time), Peer: full.Peer}
	if c := full.Connection; c != nil {
		out.Connection = &connection3{c.Remote, c.Type}
		return payload3{out}
	}
	m := full.Message
	out.Message = &message3{Wants: []want3{}, Full: m.Full, Blocks: m.Blocks, Presences: []presence3{}, Addrs: m.Addrs}
	for _, w := range m.Wants {
		out.Message.Wants = append(out.Message.Wants, want3(w))
	}
	for _, p := range m.Presences {
		out.Message.Presences = append(out.Message.Presences, presence3(p))
	}
	return payload3{out}
}

// asClient returns what a client should make of the event.
func asClient(e *event.Event) *Event {
	out := &Event{Timestamp: time.Unix(0, e.Time).UTC(), Peer: e.Peer.String(), Seq: e.Seq, Country: e.Country, Gateway: e.Gateway}
	if out.Side = e.Side.String(); out.Side != "" {
		out.Downstream = string(e.Downstream)
	}
	switch e.Kind {
	case event.KindConnection:
		c := e.Conn
		out.Connection = &Connection{
			Remote: string(c.Addr), ID: c.ID, Direction: c.DirectionName(), Transport: c.Transport, Security: c.Security, Muxer: c.Muxer,
			Limited: c.Limited, DurationNS: int64(c.Duration), Streams: c.Streams, WasOpen: c.WasOpen, Unmatched: c.Unmatched,
			PeerConns: c.PeerConns, TotalConns: c.TotalConns,
		}
		if c.Closed {
			out.Connection.Type = 1
		}
		if !c.Opened.IsZero() {
			opened := c.Opened.UTC()
			out.Connection.Opened = &opened
		}
		return out
	case event.KindIdentify:
		i := e.Identify
		out.Identify = &Identify{Agent: string(i.Agent), ProtocolVersion: string(i.ProtocolVersion), ObservedAddr: string(i.ObservedAddr),
			Protocols: []string{}, ListenAddrs: []string{}}
		for _, p := range i.Protocols {
			out.Identify.Protocols = append(out.Identify.Protocols, string(p))
		}
		for _, a := range i.ListenAddrs {
			out.Identify.ListenAddrs = append(out.Identify.ListenAddrs, string(a))
		}
		return out
	case event.KindNote:
		out.Note = &Note{Kind: e.Note.Kind.String(), Value: e.Note.Value, Text: string(e.Note.Text)}
		return out
	case event.KindOrigins:
		o := e.Origins
		out.Origins = &Origins{IntervalNS: int64(o.Interval), Missed: o.Missed, Sums: []Origin{}}
		for _, s := range o.Sums {
			out.Origins.Sums = append(out.Origins.Sums, Origin{Country: s.Country, Direction: s.Dir.String(), Gateway: s.Gateway,
				Messages: s.Messages, Wants: s.Wants, Blocks: s.Blocks, BlockBytes: s.BlockBytes, Connections: s.Connections})
		}
		return out
	case event.KindFlood:
		f := e.Flood
		out.Flood = &Flood{State: f.State.String(), Since: f.Since.UTC(), Agent: string(f.Agent), Addrs: []string{}, Wants: f.Wants, Messages: f.Messages,
			WantRate: f.WantRate, MessageRate: f.MessageRate, Share: f.Share, Repeats: f.Repeats}
		for _, a := range e.Addrs {
			out.Flood.Addrs = append(out.Flood.Addrs, string(a))
		}
		return out
	case event.KindSearch:
		s := e.Search
		out.Search = &Search{Cid: s.CID, State: s.State.String(), Addrs: texts(e.Addrs), HTTP: s.HTTP, Connected: s.Connected, Providers: s.Providers, Duration: int64(s.Elapsed)}
		return out
	case event.KindRequest:
		r := e.Request
		out.Request = &Request{Cid: r.CID, Method: event.RequestMethods[r.Want], Outcome: r.Outcome.String(), Addrs: texts(e.Addrs), Size: r.Size, Duration: int64(r.Elapsed)}
		return out
	case event.KindRetrieval:
		r := e.Retrieval
		out.Retrieval = &Retrieval{Cid: r.CID, Source: r.Source.String(), Size: r.Size, ToProvider: int64(r.ToProvider), ToBlock: int64(r.ToBlock)}
		if e.Transport == event.HTTP {
			out.Retrieval.Transport = "http"
		}
		return out
	}
	m := &Message{Full: e.Full, Wants: []Want{}, Blocks: []cid.Cid{}, Presences: []Presence{}, Addrs: []string{},
		PendingBytes: e.PendingBytes, WireSize: e.WireSize, Truncated: e.Truncated, OversizeCID: e.OversizeCID, Duration: int64(e.Took)}
	if e.Transport == event.HTTP {
		m.Transport = "http"
	}
	for _, w := range e.Wants {
		one := Want{Cid: w.CID, Cancel: true}
		if !w.Cancel {
			one = Want{Cid: w.CID, Priority: w.Priority, WantType: int32(w.Type), SendDontHave: w.SendDontHave}
		}
		m.Wants = append(m.Wants, one)
	}
	for _, b := range e.Blocks {
		m.Blocks = append(m.Blocks, b.CID)
		m.BlockSizes = append(m.BlockSizes, b.Size)
	}
	for _, p := range e.Presences {
		m.Presences = append(m.Presences, Presence{Cid: p.CID, Type: int32(p.Type)})
	}
	for _, a := range e.Addrs {
		if wholeAddr(string(a)) {
			m.Addrs = append(m.Addrs, string(a))
		}
	}
	if e.Dir == event.Sent {
		out.Sent = m
	} else {
		out.Message = m
	}
	return out
}

func texts(all []event.Text) []string {
	out := []string{}
	for _, t := range all {
		out = append(out, string(t))
	}
	return out
}

// viaJSON returns what the old exporter would have sent: encoding/json.
func viaJSON(t testing.TB, e *event.Event) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.NewEncoder(&b).Encode(asV3(e)))
	return b.String()
}

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	return want
}

func TestGoldenJSON(t *testing.T) {
	var all []byte
	for _, e := range goldenEvents() {
		require.True(t, hasV3(e))
		line := string(appendV3(nil, e, true))
		require.Equal(t, viaJSON(t, e), line)
		require.NotContains(t, line, `":null,"block`)
		all = appendV3(all, e, false)
	}
	require.Equal(t, string(golden(t, "v3.jsonl", all)), string(all))
}

// addrs2022 are addresses, and what version 3 writes for them.
var addrs2022 = []struct {
	seen, written string
	whole         bool
}{
	{"/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/tcp/4001", true},
	{"/ip6/2001:db8::1/udp/4001/quic", "/ip6/2001:db8::1/udp/4001/quic", true},
	{"/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/udp/4001/quic", true},
	{"/dns4/relay.example/udp/4001/quic-v1/p2p/12D3KooWQ/p2p-circuit", "/dns4/relay.example/udp/4001/quic/p2p/12D3KooWQ/p2p-circuit", true},
	{"/dnsaddr/a.example/tcp/443/wss", "/dnsaddr/a.example/tcp/443/wss", true},
	{"/ip4/192.0.2.1/tcp/443/tls/ws", "/ip4/192.0.2.1/tcp/443/tls/ws", true},
	{"/ip6zone/eth0/ip6/fe80::1/tcp/4001", "/ip6/fe80::1/tcp/4001", true},
	{"/ip4/192.0.2.1/tcp/443/tls/sni/a.example/ws", "/ip4/192.0.2.1/tcp/443/tls", false},
	{"/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiA", "/ip4/192.0.2.1/udp/4001/quic", false},
	{"/ip4/192.0.2.1/udp/4001/webrtc-direct/certhash/uEiA", "/ip4/192.0.2.1/udp/4001", false},
	{"/ip4/192.0.2.1/tcp/443/tls/http/http-path/a%2Fb", "/ip4/192.0.2.1/tcp/443/tls/http", false},
	{"/ip4/192.0.2.1/tcp/4001/of-a-year-to-come", "/ip4/192.0.2.1/tcp/4001", false},
	{"/of-a-year-to-come/1", "/ip4/0.0.0.0", false},
	{"/unix/a/b", "/ip4/0.0.0.0", false}, // which the libraries parse in different ways
	{"/ip4", "/ip4/0.0.0.0", false},
	{"/ip4/", "/ip4/0.0.0.0", false},
	{"/ip6zone/eth0", "/ip4/0.0.0.0", false},
	{`/dns4/a"b/tcp/1`, "/ip4/0.0.0.0", false},
	{"no address", "/ip4/0.0.0.0", false},
	{"", "/ip4/0.0.0.0", false},
}

func TestAddressesOf2022(t *testing.T) {
	for _, a := range addrs2022 {
		got, whole := appendAddr2022(nil, a.seen)
		require.Equal(t, `"`+a.written+`"`, string(got), a.seen)
		require.Equal(t, a.whole, whole, a.seen)
	}
	e := message(1, 0)
	e.Addrs = []event.Text{"/ip4/192.0.2.1/udp/1/webrtc-direct", "/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/2/webrtc-direct"}
	require.Contains(t, string(appendV3(nil, e, false)), `"connected_addresses":["/ip4/192.0.2.1/udp/1/quic"]`)
	require.Contains(t, string(appendV3(nil, e, true)), `"connected_addresses":["/ip4/192.0.2.1/udp/1/webrtc-direct","/ip4/192.0.2.1/udp/1/quic-v1",`)
	require.Contains(t, string(appendV4(nil, e)), `"/ip4/192.0.2.1/udp/1/webrtc-direct"`)
}

func FuzzAddressesOf2022(f *testing.F) {
	for _, a := range addrs2022 {
		f.Add(a.seen)
	}
	f.Fuzz(func(t *testing.T, seen string) {
		got, _ := appendAddr2022(nil, seen)
		var addr string
		require.NoError(t, json.Unmarshal(got, &addr), "%q", seen)
		again, whole := appendAddr2022(nil, addr)
		require.True(t, whole, "%q became %q", seen, addr)
		require.Equal(t, string(got), string(again), "%q", seen)
	})
}

func TestTimestampHasTheLocalOffset(t *testing.T) {
	defer func(l *time.Location) { time.Local = l }(time.Local)
	time.Local = time.FixedZone("", -(3*3600 + 30*60))
	e := message(1, 0)
	line := string(appendV3(nil, e, true))
	require.Contains(t, line, `"timestamp":"2026-11-20T11:12:09.478251789-03:30"`)
	require.Equal(t, viaJSON(t, e), line)
}

func TestOnlyWhatV3HasAPlaceFor(t *testing.T) {
	sent := message(1, 1)
	sent.Dir = event.Sent
	for _, e := range []*event.Event{
		sent,
		{Kind: event.KindIdentify, Identify: &event.Identify{}},
		{Kind: event.KindFlood, Flood: &event.Flood{}},
		{Kind: event.KindSample, Sample: &event.Sample{}},
		{Kind: event.KindConnection},
		{},
	} {
		require.False(t, hasV3(e), "%+v", e)
	}
}

// TestFramesAreGzipStreams reads our frames as the old exporter's clients do.
func TestFramesAreGzipStreams(t *testing.T) {
	var enc encoder
	for _, e := range goldenEvents() {
		enc.add(e)
	}
	require.Equal(t, len(goldenEvents()), enc.frames)
	rest := enc.frameData
	for _, e := range goldenEvents() {
		n := int(binary.BigEndian.Uint32(rest))
		frame := rest[4 : 4+n]
		rest = rest[4+n:]
		require.Equal(t, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", string(frame[:10]))
		require.Equal(t, string(appendV3(nil, e, false)), gunzip(t, frame))
	}
	require.Empty(t, rest)
}

func gunzip(t testing.TB, frame []byte) string {
	t.Helper()
	in := bytes.NewReader(frame)
	r, err := stdgzip.NewReader(in)
	require.NoError(t, err)
	r.Multistream(false)
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	require.NoError(t, err)
	require.Zero(t, in.Len(), "bytes after the gzip stream")
	return out.String()
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	events := []*event.Event{message(1, 16), connection(2, true), goldenEvents()[2]}
	var enc encoder
	run := func() {
		enc.reset()
		for _, e := range events {
			enc.add(e)
		}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("encoding allocates %v times", n)
	}
}

func TestScratchOfAFloodIsLetGo(t *testing.T) {
	var enc encoder
	for i := range 20 {
		enc.add(message(i, event.MaxEntries))
	}
	enc.reset()
	require.LessOrEqual(t, cap(enc.frameData), maxScratch)
	require.LessOrEqual(t, cap(enc.raw), maxScratch)
}

func TestLargestEventFitsAQueue(t *testing.T) {
	e := message(1, 0)
	for i := range event.MaxEntries {
		digest := bytes.Repeat(testCID(1, i).Hash(), 5)[:event.MaxCIDBytes-5]
		mh, err := multihash.Encode(digest, multihash.IDENTITY)
		require.NoError(t, err)
		c := cid.NewCidV1(cid.Raw, mh)
		e.Wants = append(e.Wants, event.Want{CID: c, Priority: int32(i)})
		e.Blocks = append(e.Blocks, event.Block{CID: c})
		e.Presences = append(e.Presences, event.Presence{CID: c})
	}
	var enc encoder
	enc.add(e)
	b := batch{data: enc.frameData}
	require.Less(t, b.cost(), DefaultQueueBytes)
	require.Equal(t, string(appendV3(nil, e, false)), gunzip(t, enc.frameData[4:]))
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("peer"), []byte("hash"), "/ip4/1.2.3.4/tcp/4001", "NZ", int64(0), int32(5), int32(1), true)
	f.Add([]byte{0, 0, 1}, []byte{}, "/dns4/<&>\u2028\x7f\"\\", "", int64(-1), int32(-1), int32(0), false)
	f.Add([]byte{}, bytes.Repeat([]byte{0}, 160), "\xff/é", "<\"\xff", int64(1e18), int32(0), int32(9), true)
	f.Fuzz(func(t *testing.T, id, digest []byte, addr, country string, at int64, priority, kind int32, flag bool) {
		if len(digest) > event.MaxCIDBytes || len(id) > 200 {
			return
		}
		mh, err := multihash.Encode(digest, multihash.IDENTITY)
		require.NoError(t, err)
		sum, err := multihash.Sum(digest, multihash.SHA2_256, -1)
		require.NoError(t, err)
		e := &event.Event{
			Kind: event.KindMessage, Time: at, Peer: peer.ID(id), Full: flag,
			Wants: []event.Want{
				{CID: cid.NewCidV1(uint64(uint32(kind)), mh), Priority: priority, Type: event.WantType(kind), Cancel: flag},
				{CID: cid.NewCidV0(sum), SendDontHave: flag},
			},
			Addrs: []event.Text{event.Text(addr), event.Text(addr)},
		}
		c := &event.Event{Kind: event.KindConnection, Time: at, Peer: peer.ID(id), Conn: &event.Conn{Addr: event.Text(addr), Closed: flag}}
		for _, e := range []*event.Event{e, c} {
			e.Country, e.Gateway = country, flag // version 3 must not contain them
			e.Side, e.Downstream = event.Side(uint32(kind)%4), event.Text(addr)
			want := viaJSON(t, e)
			enc := encoder{exactAddrs: true}
			enc.add(e)
			if got := string(enc.raw); got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			if got := gunzip(t, enc.frameData[4:]); got != want {
				t.Fatalf("inflated %s\nwant %s", got, want)
			}
			want4, err := json.Marshal(asClient(e))
			require.NoError(t, err)
			if got := string(appendV4(nil, e)); got != string(want4)+"\n" {
				t.Fatalf("version 4: got  %s\nwant %s", got, want4)
			}
		}
	})
}
