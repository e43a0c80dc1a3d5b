// Package eventtest has an example of each kind of event, and checks that what
// reads events handles each kind or says why it does not.
//
// In: a function that reports whether it handles an event. Out: a failed test for
// each kind that is neither handled nor left out with a reason.
package eventtest

import (
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

// Kinds are all kinds of events, in order: those that have a name.
func Kinds() (all []event.Kind) {
	unknown := event.Kind(0).String()
	for k := event.Kind(1); k > 0; k++ {
		if k.String() != unknown {
			all = append(all, k)
		}
	}
	return all
}

// CID is that of the examples, Peer their peer.
var CID, Peer = func() (cid.Cid, peer.ID) {
	sum, err := mh.Sum([]byte("example"), mh.SHA2_256, -1)
	if err != nil {
		panic(err) // a known hash function
	}
	return cid.NewCidV1(cid.Raw, sum), peer.ID(sum)
}()

// Example returns an event of a kind with something in it, as capture or derive
// makes it. It fails the test where there is no example yet.
func Example(t testing.TB, k event.Kind) *event.Event {
	t.Helper()
	e := &event.Event{Seq: uint64(k), Time: 1_795_185_729_000_000_000 + int64(k)*1e9, Kind: k, Peer: Peer, Country: "DE", Gateway: true}
	addrs := []event.Text{"/ip4/192.0.2.1/tcp/4001"}
	alone := func() *event.Event { // of no peer
		e.Peer, e.Country, e.Gateway = "", "", false
		return e
	}
	times := event.LatencyStats{Count: 1, Sum: time.Second, P50: time.Second, P90: time.Second, P99: time.Second, Max: time.Second}
	switch k {
	case event.KindMessage:
		e.Addrs, e.Wants, e.Blocks = addrs, []event.Want{{CID: CID, Priority: 1}}, []event.Block{{CID: CID, Size: 100}}
	case event.KindConnection:
		e.Conn = &event.Conn{ID: "c-1", Addr: addrs[0], Transport: "tcp", Security: "noise", Muxer: "yamux", PeerConns: 1, TotalConns: 1}
	case event.KindIdentify:
		e.Identify = &event.Identify{Agent: "kubo/0.43.0", Protocols: []event.Text{"/ipfs/bitswap/1.2.0"}}
	case event.KindSample:
		e.Sample = &event.Sample{Interval: 10 * time.Second, Conns: 5, Known: 6}
		return alone()
	case event.KindLatency:
		e.Dir, e.Latency = event.Sent, &event.Latency{CID: CID, Answer: event.AnswerBlock, Elapsed: time.Second}
	case event.KindSummary:
		e.Summary = &event.Summary{Interval: time.Minute, UniqueCIDs: [event.Directions]uint64{1, 1},
			Latency: [event.Directions][event.AnswerTypes]event.LatencyStats{{times}}}
		return alone()
	case event.KindProxy:
		e.Proxy = &event.Proxy{Interval: 10 * time.Second, UpstreamPeers: 1}
		return alone()
	case event.KindClockStep:
		e.ClockStep = &event.ClockStep{By: -time.Hour}
		return alone()
	case event.KindSendError:
		e.Dir, e.SendError = event.Sent, &event.SendError{Class: "timeout", Wants: 1}
	case event.KindNote:
		e.Note = &event.Note{Kind: event.NoteStorm, Value: 5000, Text: "Storm of wants"}
		return alone()
	case event.KindOrigins:
		e.Origins = &event.Origins{Interval: 10 * time.Second, Sums: []event.Origin{{Country: "DE", Gateway: true, Wants: 3}}}
		return alone()
	case event.KindPipeline:
		e.Pipeline = &event.Pipeline{Missed: 1}
		return alone()
	case event.KindDHT:
		e.DHT = &event.DHTRequest{Type: event.DHTGetProviders, CID: CID, Closer: 20, Elapsed: time.Millisecond}
	case event.KindSearch:
		e.Addrs, e.Search = addrs, &event.Search{CID: CID, State: event.SearchFound, Connected: true, Elapsed: time.Second}
	case event.KindRetrieval:
		e.Retrieval = &event.Retrieval{CID: CID, Size: 100, Source: event.SourceRouting, ToProvider: time.Second, ToBlock: 2 * time.Second}
	case event.KindRequest:
		e.Dir, e.Transport, e.Addrs, e.Request = event.Sent, event.HTTP, addrs, &event.Request{CID: CID, Outcome: event.RequestBlock, Elapsed: time.Second, Size: 100}
	case event.KindFlood:
		e.Addrs, e.Flood = addrs, &event.Flood{Since: time.Unix(0, e.Time).UTC().Add(-time.Second), Agent: "loop/1", Wants: 9000, WantRate: 4500}
	case event.KindFleet:
		e.Fleet = &event.Fleet{Interval: 10 * time.Second, Entries: 3, Requests: 2, Closed: 2, Matched: 1, Peers: 2,
			Monitors:  []event.FleetMonitor{{Name: "de1", Up: true, Events: 1, Wants: 1, Seen: 1, Coverage: 500}, {Name: "de2", Up: true, Events: 1, Wants: 2, Seen: 2, Coverage: 1000}},
			TopCIDs:   []event.FleetCID{{CID: CID, Requests: 2, Peers: 1}},
			TopByPeer: []event.FleetCID{{CID: CID, Requests: 2, Peers: 1}},
			Overlaps:  []event.FleetOverlap{{A: "de1", B: "de2", Common: 1, Requests: 1}},
			Sizes:     []event.FleetSize{{Of: "all", Seen: 2}}}
		return alone()
	case event.KindProbe:
		e.Probe = &event.Probe{Fleet: "default", Region: "eu", Target: "DHT", CID: CID, Duration: time.Second}
	default:
		t.Fatalf("events of kind %s have no example here: add one", k)
	}
	return e
}

// EachKind fails the test for each kind of event that is not handled and has no
// reason in leftOut, and for each that is handled and has one.
func EachKind(t testing.TB, handled func(*event.Event) bool, leftOut map[event.Kind]string) {
	t.Helper()
	for _, k := range Kinds() {
		reason, out := leftOut[k]
		switch is := handled(Example(t, k)); {
		case is && out:
			t.Errorf("events of kind %s are handled: take them out of those that are left out", k)
		case !is && reason == "":
			t.Errorf("events of kind %s are not handled: handle them, or leave them out with a reason", k)
		}
	}
}
