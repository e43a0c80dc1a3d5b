package harness

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
)

// CidOf returns a different CID for each n, of three codecs and both versions.
func CidOf(t *testing.T, n int) cid.Cid {
	t.Helper()
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	require.NoError(t, err)
	switch n % 3 {
	case 0:
		return cid.NewCidV0(mh)
	case 1:
		return cid.NewCidV1(cid.Raw, mh)
	}
	return cid.NewCidV1(cid.DagCBOR, mh)
}

func PeerOf(n int) peer.ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	return peer.ID(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
}

// Events makes n events of all kinds, a hundred for each nanosecond, and returns
// how many points of each measurement they are to one sink.
func Events(t *testing.T, n int) ([]*event.Event, map[string]int) {
	t.Helper()
	points := map[string]int{}
	out := make([]*event.Event, n)
	at := time.Now().UnixNano()
	for i := range out {
		e := &event.Event{Time: at + int64(i/100), Kind: event.KindMessage, Dir: event.Direction(i % 2), Peer: PeerOf(i % 50)}
		switch i % 10 {
		case 0:
			e.Kind, e.Conn = event.KindConnection, &event.Conn{
				ID: fmt.Sprint(i), Closed: i%20 == 0, Inbound: i%3 == 0, Addr: "/ip4/127.0.0.1/tcp/4001",
				Transport: event.Transports[i%len(event.Transports)], Security: "noise", Muxer: "yamux", Duration: time.Second,
			}
			points["connections"]++
		case 1:
			e.Kind, e.Identify = event.KindIdentify, &event.Identify{
				Agent: event.Clean(`kubo "0.43"\, a b=c`+"\n", event.MaxAgentText), Protocols: []event.Text{"/ipfs/bitswap/1.2.0"},
			}
			points["identifies"]++
		case 2:
			e.Kind, e.Peer, e.Sample = event.KindSample, "", &event.Sample{
				Interval: time.Second, Traffic: [2]event.Traffic{{Messages: 3}, {Messages: 4}}, HTTP: [2]event.Traffic{{Messages: 1}}, Known: 7,
				Peers:     []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 2}},
				Agents:    []event.AgentCount{{Agent: `kubo, a b=c\d`, Peers: 1}, {Agent: "kubo/0.43.0/", Peers: 1}},
				Protocols: []event.ProtocolCount{{Protocol: "/ipfs/bitswap/1.2.0", Peers: 1}, {Protocol: `/a b,c=d\e`, Peers: 2}},
				Streams:   []event.StreamCount{{Protocol: "/ipfs/id/1.0.0", Direction: "inbound", Streams: 1}},
				Node: event.Node{Bandwidth: []event.Bandwidth{{Protocol: event.Others, InBytes: 1}},
					Routing: []event.RoutingTable{{Name: "wan", Peers: 9}, {Name: "lan", Peers: 1}}},
			}
			points["traffic"] += 2 // one for each direction
			points["http_traffic"] += 2
			points["peers"] += 4 // tcp and quic-v1 in both directions
			points["agent_versions"] += 2
			points["protocols"] += 2
			points["streams"]++
			points["bandwidth"]++
			points["routing"] += 2
			points["node"]++
			points["process"]++
		case 3:
			e.Kind, e.Latency = event.KindLatency, &event.Latency{CID: CidOf(t, i), Elapsed: time.Duration(i) * time.Microsecond}
			points["latency"]++
		case 4:
			if i%100 == 4 {
				e.Kind, e.Peer, e.Summary = event.KindSummary, "", &event.Summary{
					Interval: time.Minute, TopCIDs: []event.TopCID{{CID: CidOf(t, i), Wants: 1}}, TopPeers: []event.TopPeer{{Peer: PeerOf(i), Agent: "a"}}, TopMissing: []event.TopCID{{CID: CidOf(t, i), Wants: 1}},
					Codecs: []event.Share{{Name: "raw", N: 1}}, Versions: []event.Share{{Name: "1", N: 1}}, Hashes: []event.Share{{Name: "identity", N: 1}},
					Line: [event.Directions]event.Line{{CIDs: []event.CIDBytes{{CID: CidOf(t, i), Bytes: 1}}, Peers: []event.PeerBytes{{Peer: PeerOf(i), Agent: "a"}},
						Agents: []event.FamilyBytes{{Family: "kubo", Bytes: 1}}}},
					Coverage: event.Coverage{Families: []event.FamilyCoverage{{Family: "kubo", Connected: 1}}},
					Requests: [2][event.RequestOutcomes]event.RequestStats{{{Bytes: 1, Took: event.LatencyStats{Count: 1}}}},
					DHT: &event.DHTSummary{Requests: [event.Directions][event.DHTTypes]event.DHTFigures{{{Status: [event.DHTStatuses]uint64{1}}}},
						TopKeys: [event.Directions][]event.TopDHTKey{{{CID: CidOf(t, 1), Requests: 1}}}},
				}
				e.Summary.Sending[event.Libp2p].Errors[0].Messages = 1
				for name, n := range map[string]int{"unique": 2, "duplicates": 2, "top_cids": 1, "top_peers": 1, "top_missing": 1, "top_bytes_cids": 1, "top_bytes_peers": 1, "agent_bytes": 1, "coverage": 1, "codecs": 1, "cid_versions": 1, "hashes": 1, "latency_totals": 6, "derived": 1, "retrieval": 5, "retrieval_wants": 1, "sending": 2, "http_totals": 1, "send_errors": 1, "dht_requests": 1, "dht_top": 1} {
					points[name] += n
				}
				break
			}
			switch i % 200 {
			case 14, 114:
				e.Kind, e.Peer, e.Proxy = event.KindProxy, "", &event.Proxy{Interval: time.Second, UpstreamPeers: 1,
					Downstreams: []event.ProxyDownstream{{Name: "one", Peer: PeerOf(1)}, {Name: "two, a b=c", Peer: PeerOf(2)}}}
				points["proxy"]++
				points["proxy_downstreams"] += 2
			case 24, 34, 124, 134:
				e.Kind, e.Probe = event.KindProbe, &event.Probe{Provide: i%100 == 24, Fleet: "default", Region: "a b,c=d", Target: "DHT", CID: CidOf(t, i)}
				points[map[bool]string{true: "dht_provide", false: "dht_retrieve"}[e.Probe.Provide]]++
			case 44, 144:
				e.Kind, e.Peer = event.KindNote, ""
				e.Note = event.NewNote(e.Time, event.NoteKind(i/100)%event.NoteKinds, -3000, `a "note"\`).Note
				points["notes"]++
			case 54, 154:
				e.Kind, e.Peer, e.Origins = event.KindOrigins, "", &event.Origins{Sums: []event.Origin{{Messages: 1}, {Country: "DE", Gateway: true, Connections: 2}}}
				points["origins"] += 2
			case 74:
				e.Kind, e.Transport, e.Addrs = event.KindRequest, event.HTTP, []event.Text{"/dns4/a.example/tcp/443/tls/http"}
				e.Request = &event.Request{CID: CidOf(t, i), Outcome: event.RequestOutcome(i/100) % event.RequestOutcomes, Elapsed: time.Second}
				points["http_requests"]++
			case 84:
				e.Kind, e.Retrieval = event.KindRetrieval, &event.Retrieval{CID: CidOf(t, i), Size: 1, ToBlock: time.Second}
				points["retrievals"]++
			case 94:
				e.Kind, e.Flood = event.KindFlood, &event.Flood{Since: time.Unix(0, at), Agent: `a "b"`, Wants: 1}
				points["floods"]++
			case 194:
				e.Kind, e.DHT = event.KindDHT, &event.DHTRequest{Type: event.DHTGetProviders, CID: CidOf(t, 1), Elapsed: time.Second}
				points["dht_log"]++
			case 174:
				e.Kind, e.Peer, e.Fleet = event.KindFleet, "", &event.Fleet{Monitors: []event.FleetMonitor{{Name: "de1"}, {Name: `us 1="\`}},
					TopCIDs: []event.FleetCID{{CID: CidOf(t, i), Requests: 1}}, Overlaps: []event.FleetOverlap{{A: "de1", B: "us 1"}}, Sizes: []event.FleetSize{{Of: "all"}}}
				for name, n := range map[string]int{"fleet": 1, "fleet_monitors": 2, "fleet_overlaps": 1, "fleet_sizes": 1, "fleet_top": 1} {
					points[name] += n
				}
			case 64, 164:
				e.Kind, e.Peer, e.Pipeline = event.KindPipeline, "", &event.Pipeline{Published: uint64(i)}
				points["pipeline"]++
			}
			if e.Kind != event.KindMessage {
				break
			}
			e.Blocks = []event.Block{{CID: CidOf(t, i), Size: int32(i)}, {CID: CidOf(t, i+1), Size: 1 << 20}}
			points["blocks"] += 2
		case 5:
			e.Presences = []event.Presence{{CID: CidOf(t, i), Type: event.Have}, {CID: CidOf(t, i), Type: event.DontHave}}
			points["presences"] += 2
		default:
			e.Wants = []event.Want{
				{CID: CidOf(t, i), Priority: int32(-i), Type: event.WantHave, SendDontHave: true},
				{CID: CidOf(t, i), Priority: 1, Type: event.WantBlock}, {CID: CidOf(t, i+1), Cancel: true},
			}
			points["wants"] += 3
		}
		out[i] = e
	}
	return out, points
}

// Sum adds up the points of all measurements.
func Sum(points map[string]int) int {
	all := 0
	for _, n := range points {
		all += n
	}
	return all
}

// running is a sink at work.
type running struct {
	*influx.Sink
	t   *testing.T
	Bus *bus.Bus
	End chan error
}

func RunSink(t *testing.T, cfg influx.Config) *running {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, nil))
	cfg.HistoryDHT = true                // Events has them
	if no := false; cfg.Rollups == nil { // they would come in between points that are counted
		cfg.Rollups = &no
	}
	sink, err := influx.New(cfg, "monitor under test")
	require.NoError(t, err)
	r := &running{Sink: sink, t: t, Bus: bus.New(bus.Config{MaxEvents: 1 << 16, MaxBytes: 256 << 20}), End: make(chan error, 1)}
	reader := r.Bus.Subscribe("influx")
	r.Bus.Live()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		r.End <- sink.Run(ctx, reader)
	}()
	t.Cleanup(func() { cancel(); r.Bus.Close(); <-done })
	return r
}

// testLog puts a log into the test's own.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (r *running) Publish(events []*event.Event) {
	r.t.Helper()
	for _, e := range events {
		require.True(r.t, r.Bus.Publish(e))
	}
}

// Until waits until the sink has reached a state.
func (r *running) Until(what string, ok func(influx.Stats) bool) {
	r.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for s := r.Stats(); !ok(s); s = r.Stats() {
		require.True(r.t, time.Now().Before(deadline), "not within a minute: %s; the sink: %+v", what, s)
		time.Sleep(20 * time.Millisecond)
	}
}

// Delivered waits until all is stored.
func (r *running) Delivered(points map[string]int) {
	r.t.Helper()
	r.Until("all is stored", func(s influx.Stats) bool { return s.Stored == uint64(Sum(points)) })
}

// Finish ends the sink, which must have stored and rejected exactly so many.
func (r *running) Finish(stored, rejected int) {
	r.t.Helper()
	r.Bus.Close()
	require.NoError(r.t, <-r.End)
	s := r.Stats()
	require.Equal(r.t, []uint64{uint64(stored), uint64(rejected), uint64(stored + rejected), 0, 0, 0, 0},
		[]uint64{s.Stored, s.Rejected, s.Accepted, s.Dropped, s.Missed, s.Panics, uint64(s.Queued)},
		"stored, rejected, accepted, dropped, missed, panics, queued: %+v", s)
}
