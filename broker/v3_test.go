package broker

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// v3Sink is a sink whose messages of v3 stay in memory.
func v3Sink(t *testing.T) *Sink {
	t.Helper()
	s, err := New(Config{Address: "amqp://127.0.0.1:1"}, "de1")
	require.NoError(t, err)
	return s
}

func unzip(t *testing.T, body []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	z.Multistream(false) // one stream, and nothing after it
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

// TestV3AsIpfsToolsReadsIt: each message is what ipfs-tools decodes, and a golden file.
func TestV3AsIpfsToolsReadsIt(t *testing.T) {
	full := want(2)
	full.Full = true
	full.Wants = append(full.Wants, event.Want{CID: testCID(3), Cancel: true, Priority: 9, Type: 1}, event.Want{CID: testCID(4), Type: event.WantBlock, Priority: 1 << 30})
	answer := want(5)
	answer.Wants = nil
	answer.Blocks = []event.Block{{CID: testCID(6), Size: 10}}
	answer.Presences = []event.Presence{{CID: testCID(7), Type: event.Have}, {CID: testCID(8), Type: event.DontHave}}
	empty := &event.Event{Time: want(9).Time, Kind: event.KindMessage, Peer: testPeer(9)}
	// What a hostile peer sends to end the clients: types that they do not know, no CID, and
	// addresses that they cannot parse.
	odd := want(10)
	odd.Wants = []event.Want{{CID: testCID(11), Type: 77}, {Type: event.WantHave}, {CID: testCID(12), Type: event.WantHave}, {CID: testCID(12), Cancel: true, Type: 77}}
	odd.Blocks = []event.Block{{Size: 1}, {CID: testCID(13)}}
	odd.Presences = []event.Presence{{CID: testCID(14), Type: 7}, {}, {CID: testCID(15)}}
	odd.Addrs = []event.Text{"/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/x", "/dns4/cut…", "/ip4/192.0.2.1/tcp/1"}
	gone := connected(16, true)
	gone.Conn.Addr = "\uFFFD"
	s := v3Sink(t)
	now := time.Now()
	for _, e := range []*event.Event{want(1), full, connected(3, false), answer, empty, odd, gone} {
		s.take(e, now)
	}
	s.flush()
	require.Len(t, s.memory.list, 2)
	require.EqualValues(t, 7, s.accepted[0].Load())
	slices.SortFunc(s.memory.list, func(a, b *message) int { return strings.Compare(a.key, b.key) })
	for i, kind := range []string{v3Messages, v3Connections} {
		m := s.memory.list[i]
		require.Equal(t, "monitor.de1."+kind, m.key)
		require.EqualValues(t, amqp.Transient, m.pub.DeliveryMode)
		got := unzip(t, m.pub.Body)
		n, err := ipfsTools(got)
		require.NoError(t, err)
		require.Equal(t, m.events, n)
		file := filepath.Join("testdata", kind+".json")
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		golden, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(golden), string(got))
	}
}

// TestV3IsReceivedOnly: what the exporter's clients must not see is not in v3.
func TestV3IsReceivedOnly(t *testing.T) {
	s := v3Sink(t)
	sent, http := want(1), want(2)
	sent.Dir, http.Transport = event.Sent, event.HTTP
	s.take(sent, time.Now())
	s.take(http, time.Now())
	s.flush()
	require.Empty(t, s.memory.list)
	eventtest.EachKind(t, func(e *event.Event) bool {
		s := v3Sink(t)
		s.take(e, time.Now())
		s.flush()
		return len(s.memory.list) > 0
	}, func() map[event.Kind]string {
		out := map[event.Kind]string{}
		for _, k := range eventtest.Kinds() {
			if k != event.KindMessage && k != event.KindConnection {
				out[k] = "the exporter sent messages and connections"
			}
		}
		return out
	}())
}

// TestTheStrictDecoder: the decoder of these tests refuses what serde refuses.
func TestTheStrictDecoder(t *testing.T) {
	const head = `{"timestamp":"2026-11-20T12:00:00.5Z","peer":"p",`
	const message = `"bitswap_message":{"wantlist_entries":[{"Cid":{"/":"c"},"Priority":1,"WantType":0,"Cancel":false,"SendDontHave":true}],"full_wantlist":false,"blocks":[],"block_presences":[],"connected_addresses":[]}`
	good := "[" + head + message + "}," + head + `"connection_event":{"remote":"/ip4/1.2.3.4","connection_event_type":1}}]`
	n, err := ipfsTools([]byte(good))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	f := func(old, now string) {
		t.Helper()
		require.Contains(t, good, old)
		_, err := ipfsTools([]byte(strings.Replace(good, old, now, 1)))
		require.Error(t, err, now)
	}
	f(`"blocks":[]`, `"blocks":null`)
	f(`"blocks":[],`, ``)
	f(`"2026-11-20T12:00:00.5Z"`, `"2026-11-20 12:00:00"`)
	f(`"peer":"p"`, `"peer":null`)
	f(`"WantType":0`, `"WantType":2`)
	f(`"WantType":0`, `"WantType":"0"`)
	f(`"Priority":1`, `"Priority":3000000000`)
	f(`{"/":"c"}`, `null`)
	f(`"connection_event_type":1`, `"connection_event_type":2`)
	f(`"/ip4/1.2.3.4"`, `"ip4"`)
	f(`"bitswap_message"`, `"sent_message"`)
	f(`[`+head, head)
}

// ipfsTools decodes an array as the types of ipfs-tools do, by serde: each field is there, of its
// type and within its range, and an event is of exactly one kind. It returns how many there are.
func ipfsTools(data []byte) (n int, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var events []map[string]any
	if err := d.Decode(&events); err != nil {
		return 0, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return 0, errors.New("more after the array")
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	text := func(o map[string]any, key string) string {
		s, ok := o[key].(string)
		if !ok {
			bad("%s is %v: want a string", key, o[key])
		}
		return s
	}
	number := func(o map[string]any, key string, least, most int64) {
		v, _ := o[key].(json.Number)
		if i, err := v.Int64(); err != nil || i < least || i > most {
			bad("%s is %v: want %d to %d", key, o[key], least, most)
		}
	}
	boolean := func(o map[string]any, key string) {
		if _, ok := o[key].(bool); !ok {
			bad("%s is %v: want a bool", key, o[key])
		}
	}
	object := func(v any, key string) map[string]any {
		o, ok := v.(map[string]any)
		if !ok {
			bad("%s is %v: want an object", key, v)
		}
		return o
	}
	list := func(o map[string]any, key string) []any {
		l, ok := o[key].([]any)
		if !ok {
			bad("%s is %v: want a list", key, o[key])
		}
		return l
	}
	address := func(s string) {
		known := []string{"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "tcp", "udp", "quic", "p2p", "ws", "wss", "p2p-circuit"}
		if words := strings.Split(s, "/"); len(words) < 2 || words[0] != "" || !slices.Contains(known, words[1]) || slices.ContainsFunc(words, func(w string) bool { return w == "quic-v1" || w == "webtransport" }) {
			bad("address %q", s)
		}
	}
	for _, e := range events {
		if _, err := time.Parse(time.RFC3339, text(e, "timestamp")); err != nil {
			bad("timestamp: %v", err)
		}
		text(e, "peer")
		m, isMessage := e["bitswap_message"]
		c, isConnection := e["connection_event"]
		switch {
		case isMessage == isConnection:
			bad("want one of bitswap_message and connection_event")
		case isConnection:
			o := object(c, "connection_event")
			address(text(o, "remote"))
			number(o, "connection_event_type", 0, 1)
		default:
			o := object(m, "bitswap_message")
			for _, w := range list(o, "wantlist_entries") {
				w := object(w, "wantlist_entries")
				text(object(w["Cid"], "Cid"), "/")
				number(w, "Priority", -1<<31, 1<<31-1)
				number(w, "WantType", 0, 1)
				boolean(w, "Cancel")
				boolean(w, "SendDontHave")
			}
			boolean(o, "full_wantlist")
			for _, b := range list(o, "blocks") {
				text(object(b, "blocks"), "/")
			}
			for _, p := range list(o, "block_presences") {
				p := object(p, "block_presences")
				text(object(p["cid"], "cid"), "/")
				number(p, "block_presence_type", 0, 1)
			}
			for _, a := range list(o, "connected_addresses") {
				s, _ := a.(string)
				address(s)
			}
		}
	}
	return len(events), errors.Join(errs...)
}

// TestV3QueueIsBounded: without a broker memory is bounded, and what is dropped is counted.
func TestV3QueueIsBounded(t *testing.T) {
	s := v3Sink(t)
	s.memory.maxBytes = 64 << 10
	now := time.Now()
	const n = 20_000
	for i := range n {
		s.take(want(i), now)
	}
	s.flush()
	all, _ := s.Stats()
	require.Len(t, all, 1)
	st := all[0]
	require.EqualValues(t, n, st.Accepted)
	require.LessOrEqual(t, st.QueueBytes, uint64(64<<10))
	require.NotZero(t, st.Dropped)
	require.EqualValues(t, n, st.Dropped+st.Queued)
	require.Positive(t, st.LagSeconds)
	require.EqualValues(t, st.Queued, s.memory.close())
	all, _ = s.Stats()
	require.EqualValues(t, n, all[0].Dropped)
}
