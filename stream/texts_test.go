package stream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestShownTexts: what each kind of event says to people, with and without each of its parts.
func TestShownTexts(t *testing.T) {
	c := testCID(1, 1)
	f := func(want string, e Event) {
		t.Helper()
		e.Timestamp = time.Unix(5, 0)
		line := string(e.AppendText(nil))
		require.Equal(t, strings.ReplaceAll(want, "CID", c.String())+"\n", line[len("2006-01-02 15:04:05.000 "):])
	}
	f("p is asked the DHT: ping, ok after 0s", Event{Peer: "p", DHT: &DHTRequest{Type: "ping", Direction: "sent", Status: "ok"}})
	f("p asks the DHT: get_providers k, error, 1 providers, 2 closer peers after 3µs",
		Event{Peer: "p", DHT: &DHTRequest{Type: "get_providers", Direction: "received", Status: "error", Key: "k", Providers: 1, Closer: 2, Duration: 3400}})
	f("p asks the DHT: find_node, timeout, 1 closer peers after 1s", Event{Peer: "p", DHT: &DHTRequest{Type: "find_node", Status: "timeout", Closer: 1, Providers: -1, Duration: 1e9}})

	f("-- search for providers of CID began", Event{Search: &Search{Cid: c, State: "began"}})
	f("-- search for providers of - ended: 0 providers", Event{Search: &Search{State: "ended"}})
	f("-- search for providers of CID ended: 3 providers after 2µs", Event{Search: &Search{Cid: c, State: "ended", Providers: 3, Duration: 1600}})
	f("p is found as a provider of CID", Event{Peer: "p", Search: &Search{Cid: c, State: "found"}})
	f("p is found as a provider of CID, over HTTP, connected already after 1ms", Event{Peer: "p", Search: &Search{Cid: c, State: "found", HTTP: true, Connected: true, Duration: 1e6}})

	f("p is asked over HTTP: HEAD CID, have after 0s", Event{Peer: "p", Request: &Request{Cid: c, Method: "HEAD", Outcome: "have"}})
	f("p is asked over HTTP: GET CID, block of 1 bytes after 1ms at /a", Event{Peer: "p", Request: &Request{Cid: c, Method: "GET", Outcome: "block", Size: 1, Duration: 1e6, Addrs: []string{"/a", "/b"}}})
	f("p sent the wanted block CID of 7 bytes, source http after 2ms, a provider after 1ms", Event{Peer: "p", Retrieval: &Retrieval{Cid: c, Source: "http", Size: 7, ToBlock: 2e6, ToProvider: 1e6}})

	f("p began to flood the node: 1 wants and 2 messages a second, 3 % of all, 4 % repeats, x from /a",
		Event{Peer: "p", Flood: &Flood{State: "began", WantRate: 1, MessageRate: 2, Share: 30, Repeats: 40, Agent: "x", Addrs: []string{"/a", "/b"}}})
	f("p no longer floods the node: 0 wants and 0 messages a second, 0 % of all, 0 % repeats", Event{Peer: "p", Flood: &Flood{State: "ended"}})

	f("p (NZ, gateway) opened /a", Event{Peer: "p", Country: "NZ", Gateway: true, Connection: &Connection{Remote: "/a"}})
	f("p (NZ) [upstream] closed /a", Event{Peer: "p", Country: "NZ", Side: "upstream", Connection: &Connection{Type: 1, Remote: "/a"}})
	f("p (gateway) [downstream n] is x, 2 protocols", Event{Peer: "p", Gateway: true, Side: "downstream", Downstream: "n", Identify: &Identify{Agent: "x", Protocols: []string{"a", "b"}}})
	f("p full want_block CID block - have CID from /a", Event{Peer: "p", Message: &Message{Full: true, Wants: []Want{{Cid: c}}, Blocks: []cid.Cid{cid.Undef}, Presences: []Presence{{Cid: c}}, Addrs: []string{"/a", "/b"}}})
	f("p is sent cancel CID dont_have CID to /a", Event{Peer: "p", Sent: &Message{Wants: []Want{{Cid: c, Cancel: true}}, Presences: []Presence{{Cid: c, Type: 1}}, Addrs: []string{"/a"}}})
	f("-- note of loss: 5 lost", Event{Note: &Note{Kind: "loss", Text: "5 lost"}})

	sums := []Origin{{Messages: 1, Wants: 2, Blocks: 3, BlockBytes: 4, Connections: 5}, {Country: "NZ", Messages: 10, Wants: 20, Blocks: 30, BlockBytes: 40, Connections: 50},
		{Country: "DE", Messages: 5}, {Country: "FR", Messages: 4}}
	f("-- origins of 1.5s: 20 messages, 22 wants, 33 blocks of 44 bytes, 55 connections; messages: NZ 10, DE 5, FR 4, none 1", Event{Origins: &Origins{IntervalNS: 1_500_400_000, Sums: sums}})
	f("-- origins of 0s: 23 messages, 22 wants, 33 blocks of 44 bytes, 55 connections; messages: NZ 10, DE 5, FR 4, IT 3, others 1", Event{Origins: &Origins{Sums: append(sums, Origin{Country: "IT", Messages: 3})}})
	f("-- origins of 0s: 0 messages, 0 wants, 0 blocks of 0 bytes, 0 connections", Event{Origins: &Origins{}})
}

// TestRowsOfEvents: the cells of CSV that depend on an event's parts; those that a spreadsheet
// would compute begin with an apostrophe, numbers do not.
func TestRowsOfEvents(t *testing.T) {
	at := func(e Event) []map[string]string {
		var all []map[string]string
		e.Timestamp = time.Unix(5, 0)
		for _, row := range e.CSV() {
			cells := map[string]string{}
			for i, c := range row {
				if c != "" {
					cells[CSVHeader[i]] = c
				}
			}
			require.Equal(t, "1970-01-01T00:00:05Z", cells["timestamp"])
			delete(cells, "timestamp")
			delete(cells, "seq")
			all = append(all, cells)
		}
		return all
	}
	type rows = []map[string]string
	c := testCID(1, 1).String()
	m := &Message{Wants: []Want{{Cid: testCID(1, 1), Priority: -5, WantType: 1, SendDontHave: true}}, Blocks: []cid.Cid{testCID(1, 1), testCID(1, 1)},
		BlockSizes: []int32{-7}, Presences: []Presence{{Type: 1}}, Addrs: []string{"/a", "/b"}}
	for _, dir := range []string{"received", "sent"} {
		e := Event{Peer: "=p", Gateway: true, Message: m}
		if dir == "sent" {
			e.Message, e.Sent = nil, m
		}
		cells := func(more ...string) map[string]string {
			all := map[string]string{"kind": "message", "direction": dir, "peer": "'=p", "gateway": "true", "address": "/a"}
			for i := 0; i < len(more); i += 2 {
				all[more[i]] = more[i+1]
			}
			return all
		}
		require.Equal(t, rows{cells("type", "want_have", "cid", c, "priority", "-5", "send_dont_have", "true"), cells("type", "block", "cid", c, "size", "-7"),
			cells("type", "block", "cid", c), cells("type", "dont_have")}, at(e))
	}
	for name, one := range map[string]*Message{"wants": {Wants: make([]Want, 1)}, "blocks": {Blocks: make([]cid.Cid, 1)}, "presences": {Presences: make([]Presence, 1)}} {
		require.NotEqual(t, "empty", at(Event{Message: one})[0]["type"], name)
		require.Len(t, at(Event{Message: one}), 1)
	}
	require.Equal(t, rows{{"kind": "message", "direction": "sent", "type": "empty"}}, at(Event{Sent: &Message{}}))
	require.Equal(t, rows{{"kind": "connection", "direction": "inbound", "type": "opened", "address": "'@a"}}, at(Event{Connection: &Connection{Direction: "inbound", Remote: "@a"}}))
	require.Equal(t, rows{{"kind": "connection", "type": "closed"}}, at(Event{Connection: &Connection{Type: 1}}))
	require.Equal(t, rows{{"kind": "note", "type": "clock_step", "size": "-5"}}, at(Event{Note: &Note{Kind: "clock_step", Value: -5}}))
	require.Equal(t, rows{{"kind": "gap", "size": "5"}}, at(Event{Gap: &Gap{Slow: 2, Bus: 3}}))
	require.Equal(t, rows{{"kind": "origins", "direction": "sent", "type": "messages", "size": "1"}, {"kind": "origins", "direction": "sent", "type": "connections", "size": "2"},
		{"kind": "origins", "type": "wants", "size": "3", "country": "NZ", "gateway": "true"}},
		at(Event{Country: "DE", Origins: &Origins{Sums: []Origin{{Direction: "sent", Messages: 1, Connections: 2}, {}, {Country: "NZ", Gateway: true, Wants: 3}}}}))
	require.Equal(t, rows{{"kind": "request", "direction": "sent", "type": "get_block", "cid": c, "size": "9", "address": "/a"}},
		at(Event{Request: &Request{Cid: testCID(1, 1), Method: "GET", Outcome: "block", Size: 9, Addrs: []string{"/a"}}}))
}

// TestDHTRequestsComeBack: of every type, status, direction and table; keys are those of their
// type, at most as long as they may be.
func TestDHTRequestsComeBack(t *testing.T) {
	back := func(in *event.Event) *event.Event {
		t.Helper()
		var e Event
		require.NoError(t, json.Unmarshal(appendV4(nil, in), &e))
		out, err := e.ToEvent()
		require.NoError(t, err)
		return out
	}
	keyOf := func(n int) cid.Cid { // of so many bytes
		for digest := max(0, n-8); ; digest++ {
			h, err := multihash.Encode(make([]byte, digest), multihash.IDENTITY)
			require.NoError(t, err)
			if c := cid.NewCidV1(cid.Raw, h); c.ByteLen() >= n {
				require.Equal(t, n, c.ByteLen())
				return c
			}
		}
	}
	for typ := range event.DHTTypes {
		for status := range event.DHTStatuses {
			for dir := range event.Directions {
				in := &event.Event{Time: 1, Kind: event.KindDHT, Dir: dir, Peer: testPeer(1), DHT: &event.DHTRequest{Type: typ, Status: status, LAN: dir == event.Sent,
					Name: "n", Providers: 1, Closer: 2, Elapsed: 3}}
				require.Equal(t, in, back(in))
				switch typ {
				case event.DHTAddProvider, event.DHTGetProviders:
					in.DHT.Name, in.DHT.CID = "", keyOf(event.MaxCIDBytes+4)
				case event.DHTFindNode:
					in.DHT.Name, in.DHT.Target = "", testPeer(2)
				default:
					continue
				}
				require.Equal(t, in, back(in))
			}
		}
	}
	in := &event.Event{Time: 1, Kind: event.KindDHT, Peer: testPeer(1), DHT: &event.DHTRequest{Type: event.DHTGetProviders, CID: keyOf(event.MaxCIDBytes + 5)}}
	out := back(in)
	require.False(t, out.DHT.CID.Defined())
	require.NotEmpty(t, out.DHT.Name)
	for n, ok := range map[int]bool{event.MaxDHTKeyBytes: true, event.MaxDHTKeyBytes + 1: false} {
		h, err := multihash.Encode(make([]byte, n-3), multihash.IDENTITY) // its code and a length of two bytes
		require.NoError(t, err)
		require.Len(t, h, n)
		in.DHT = &event.DHTRequest{Type: event.DHTFindNode, Target: peer.ID(h)}
		require.Equal(t, ok, back(in).DHT.Target != "", n)
	}
}
