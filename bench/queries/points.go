package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// fill writes the points in the order of their time, two requests at once.
func (b *bench) fill() error {
	b.end = time.Now().Truncate(time.Minute)
	begin := b.end.Add(-b.span())
	password, err := os.ReadFile(b.cfg.PasswordFile)
	if err != nil {
		return err
	}
	type batch struct {
		kind  schema.Kind
		lines []byte
	}
	batches, failed := make(chan batch, 2), make(chan error, 2)
	var posting sync.WaitGroup
	for range 2 {
		posting.Go(func() {
			for x := range batches {
				req, err := http.NewRequest(http.MethodPost, b.cfg.URL+"/write?db=ipfsmon&precision=ns&rp="+x.kind.String(), bytes.NewReader(x.lines))
				if err == nil {
					req.SetBasicAuth("monitor", strings.TrimSpace(string(password)))
					var res *http.Response
					if res, err = http.DefaultClient.Do(req); err == nil {
						text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
						res.Body.Close()
						if res.StatusCode != http.StatusNoContent {
							err = fmt.Errorf("status %d: %s", res.StatusCode, text)
						}
					}
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	sums := rollup.New(begin)
	enc, whole := lineproto.NewEncoder("bench", false), lineproto.NewEncoder("bench", true)
	enc.SetRollups(sums)
	whole.SetRollups(sums)
	var bufs [schema.Kinds][]byte
	points, started := 0, time.Now()
	send := func(least int) {
		for k := range bufs {
			if len(bufs[k]) > least {
				batches <- batch{schema.Kind(k), bufs[k]}
				bufs[k] = nil
			}
		}
	}
	add := func(ev *event.Event) {
		out, n := enc.Append(bufs, ev)
		bufs = out
		for _, n := range n {
			points += n
		}
		send(1 << 20)
	}
	g := newGenerator(b.rate)
	for at := begin; at.Before(b.end) && len(failed) == 0; at = at.Add(time.Second) {
		if enc != whole && !at.Before(b.end.Add(-b.history)) {
			enc = whole
		}
		g.second(at, add)
		if at.Second() == 5 {
			if err := sums.Save(at); err != nil {
				return err
			}
			var n int
			bufs[schema.Totals], n = sums.Append(bufs[schema.Totals], at, time.Time{})
			points += n
		}
		if at.Minute() == 0 && at.Second() == 0 && at.Hour()%12 == 0 {
			fmt.Printf("%s: %d million points, %v\n", at.UTC().Format("2006-01-02 15:04"), points/1e6, time.Since(started).Round(time.Second))
		}
	}
	send(0)
	close(batches)
	posting.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("write points: %w", err)
	default:
	}
	fmt.Printf("%d million points in %v\n", points/1e6, time.Since(started).Round(time.Second))
	return nil
}

// generator makes the events of a node. CIDs and peers are chosen as in the wild: few often, many once.
type generator struct {
	rate  int
	r     *rand.Rand
	drawn []uint32 // places of CIDs, few often and many once
	next  int
	cids  []cid.Cid
	peers []peer.ID
	ev    event.Event // used again
	want  [1]event.Want
	have  [1]event.Presence
	block [1]event.Block
}

func newGenerator(rate int) *generator {
	g := &generator{rate: rate, r: rand.New(rand.NewPCG(1, 2))}
	for i := range 200_000 {
		sum := sha256.Sum256(fmt.Append(nil, "block ", i))
		mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
		if err != nil {
			panic(err) // not for this one
		}
		c := cid.NewCidV1(cid.Raw, mh)
		switch i % 5 {
		case 0:
			c = cid.NewCidV0(mh)
		case 1:
			c = cid.NewCidV1(cid.DagCBOR, mh)
		}
		g.cids = append(g.cids, c)
	}
	for i := range 5000 {
		sum := sha256.Sum256(fmt.Append(nil, "peer ", i))
		g.peers = append(g.peers, peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, sum[:]...)))
	}
	zipf := rand.NewZipf(g.r, 1.2, 8, uint64(len(g.cids)-1))
	for range 1 << 20 {
		g.drawn = append(g.drawn, uint32(zipf.Uint64()))
	}
	return g
}

// cid draws one.
func (g *generator) cid() cid.Cid {
	g.next++
	return g.cids[g.drawn[g.next%len(g.drawn)]]
}

var countries = []string{"DE", "US", "FR", "NL", "CN", "JP", ""}

// second makes the events of one second.
func (g *generator) second(at time.Time, add func(*event.Event)) {
	ev := &g.ev
	every := time.Second / time.Duration(g.rate)
	for i := range g.rate {
		x := g.r.Uint64()
		n := int(x>>32) % len(g.peers)
		*ev = event.Event{Time: at.Add(time.Duration(i) * every).UnixNano(), Kind: event.KindMessage, Peer: g.peers[n], Country: countries[n%len(countries)], Gateway: n%50 == 0}
		c, bit := g.cid(), int(x>>8&1)
		switch x := x % 10; {
		case x < 5:
			g.want[0] = event.Want{CID: c, Priority: 1, Type: event.WantType(bit), SendDontHave: n%4 > 0}
			ev.Wants = g.want[:]
		case x < 7:
			g.want[0] = event.Want{CID: c, Cancel: true}
			ev.Wants = g.want[:]
		case x < 9:
			g.have[0] = event.Presence{CID: c, Type: event.PresenceType(bit)}
			ev.Dir, ev.Presences = event.Sent, g.have[:]
		default:
			g.block[0] = event.Block{CID: c, Size: 1 << 10 << (n % 9)}
			ev.Dir, ev.Blocks = event.Direction(bit), g.block[:]
		}
		add(ev)
		if i%10 == 0 { // HistoryLatency
			*ev = event.Event{Time: ev.Time + 1, Kind: event.KindLatency, Dir: event.Direction(bit), Peer: g.peers[n],
				Latency: &event.Latency{CID: c, Answer: event.AnswerType(n % int(event.AnswerTypes)), Elapsed: time.Duration(x>>40) * time.Microsecond}}
			add(ev)
		}
		if i%25 == 0 {
			add(&event.Event{Time: ev.Time + 2, Kind: event.KindRetrieval, Peer: g.peers[n],
				Retrieval: &event.Retrieval{CID: c, Size: 1 << 18, Source: event.Source(n % int(event.Sources)), ToProvider: time.Second, ToBlock: time.Duration(x>>40) * time.Microsecond}})
		}
		if i%100 == 0 {
			add(&event.Event{Time: ev.Time + 3, Kind: event.KindRequest, Transport: event.HTTP, Peer: g.peers[n], Addrs: []event.Text{event.Text(fmt.Sprintf("/dns4/gateway%d.example/tcp/443/https", n%20))},
				Request: &event.Request{CID: c, Want: event.WantType(bit), Outcome: event.RequestOutcome(n % int(event.RequestOutcomes)), Elapsed: time.Second, Size: 1 << 18}})
		}
	}
	for i := range 1 + g.rate/500 { // connections
		p := g.r.IntN(len(g.peers))
		conn := &event.Conn{Closed: g.r.IntN(2) == 0, Inbound: g.r.IntN(2) == 0, Addr: "/ip4/203.0.113.7/tcp/4001", Transport: "tcp", Security: []string{"tls", "noise"}[p%2], Muxer: "yamux"}
		if g.r.IntN(2) == 0 {
			conn.Addr, conn.Transport, conn.Security, conn.Muxer = "/ip4/203.0.113.7/udp/4001/quic-v1", "quic-v1", "none", "none"
		}
		if conn.Closed {
			conn.Duration = time.Duration(g.r.ExpFloat64() * float64(10*time.Minute))
		}
		add(&event.Event{Time: at.UnixNano() + int64(i), Kind: event.KindConnection, Peer: g.peers[p], Country: countries[p%len(countries)], Conn: conn})
		if i == 0 {
			add(&event.Event{Time: at.UnixNano(), Kind: event.KindIdentify, Peer: g.peers[p], Identify: &event.Identify{Agent: event.Text(fmt.Sprintf("kubo/0.%d.0", 20+p%25)), Protocols: []event.Text{"/ipfs/bitswap/1.2.0"}}})
		}
	}
	if at.Second()%10 == 0 {
		g.sample(at, add)
	}
	if at.Second() == 0 {
		g.minute(at, add)
	}
}

// sample makes what comes each ten seconds.
func (g *generator) sample(at time.Time, add func(*event.Event)) {
	n := uint64(g.rate * 10)
	s := &event.Sample{Interval: 10 * time.Second, Known: 5000, Conns: 600,
		Traffic: [event.Directions]event.Traffic{{Messages: n, WantBlock: n / 4, WantHave: n / 4, Cancel: n / 5, Blocks: n / 20, BlockBytes: n << 10}, {Messages: n / 4, Have: n / 10, DontHave: n / 10, Blocks: n / 20, BlockBytes: n << 10}},
		Peers:   []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 100}, {Transport: "quic-v1", Peers: 400}, {Inbound: true, Transport: "quic-v1", Peers: 100}}}
	for i := range 60 {
		s.Agents = append(s.Agents, event.AgentCount{Agent: event.Text(fmt.Sprintf("kubo/0.%d.0", i)), Peers: 10 + i%5})
	}
	for i := range 40 {
		name := fmt.Sprintf("/protocol/%d", i)
		s.Protocols = append(s.Protocols, event.ProtocolCount{Protocol: event.Text(name), Peers: 100 + i})
		s.Streams = append(s.Streams, event.StreamCount{Protocol: event.Text(name), Direction: "inbound", Streams: i})
		s.Node.Bandwidth = append(s.Node.Bandwidth, event.Bandwidth{Protocol: event.Text(name), InBytes: at.Unix() * 10, OutBytes: at.Unix() * 5})
	}
	s.Node.Routing = []event.RoutingTable{{Name: "wan", Peers: 200}}
	s.Node.Process = event.Process{CPUSeconds: float64(at.Unix() % 1e6), ResidentMem: 300 << 20, HeapBytes: 200 << 20, Goroutines: 2000, OpenFiles: 900}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindSample, Sample: s})
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindPipeline, Pipeline: &event.Pipeline{Published: uint64(at.Unix()), Accepted: uint64(at.Unix()), Stored: uint64(at.Unix())}})
	o := &event.Origins{Interval: 10 * time.Second}
	for _, c := range countries {
		for dir := range event.Directions {
			o.Sums = append(o.Sums, event.Origin{Country: c, Dir: event.Direction(dir), Messages: n / 7, Wants: n / 10, Blocks: n / 100, BlockBytes: n << 8, Connections: 1})
		}
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindOrigins, Origins: o})
	p := &event.Proxy{Interval: 10 * time.Second, UpstreamPeers: 300, Received: s.Traffic[0], Sent: s.Traffic[1], Answer: times(n / 10)}
	for i := range 3 {
		p.Downstreams = append(p.Downstreams, event.ProxyDownstream{Name: fmt.Sprint("node-", i), Peer: g.peers[i], Connected: true, Received: s.Traffic[1], Sent: s.Traffic[0], Verified: n / 60, RTT: times(n / 60)})
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindProxy, Proxy: p})
	g.fleet(at, n, add)
}

// fleet makes what a collector of five monitors adds.
func (g *generator) fleet(at time.Time, n uint64, add func(*event.Event)) {
	known := event.FleetEstimate{Known: true, N: 20_000, Low: 18_000, High: 23_000}
	f := &event.Fleet{Interval: 10 * time.Second, Entries: n, Requests: n / 2, Closed: n / 3, Matched: n / 4, Peers: 2000}
	for i := range 5 {
		f.Monitors = append(f.Monitors, event.FleetMonitor{Name: event.Text(fmt.Sprint("monitor-", i)), Up: true, Events: n, Wants: n / 2, Peers: 600, Seen: n / 6, Coverage: 500, ClockKnown: true, Offset: time.Millisecond, MatchedPairs: n / 9})
		for j := range i {
			f.Overlaps = append(f.Overlaps, event.FleetOverlap{A: f.Monitors[j].Name, B: f.Monitors[i].Name, Common: 200, Only: [2]int{300, 400}, Requests: n / 9, Size: known})
		}
	}
	for _, of := range []event.Text{"all", "kubo", "helia", "rainbow", "/ipfs/bitswap/1.2.0", "/ipfs/kad/1.0.0"} {
		f.Sizes = append(f.Sizes, event.FleetSize{Of: of, Seen: 2000, Coupon: known, Pair: known})
	}
	for i := range uint64(20) {
		c := event.FleetCID{CID: g.cid(), Requests: n / (30 + i), Peers: 9, Seen: 7}
		f.TopCIDs, f.TopByPeer = append(f.TopCIDs, c), append(f.TopByPeer, c)
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindFleet, Fleet: f})
}

// times are those of n answers.
func times(n uint64) event.LatencyStats {
	return event.LatencyStats{Count: n, Sum: time.Hour, P50: 50 * time.Millisecond, P90: 100 * time.Millisecond, P99: time.Second, Max: 5 * time.Second}
}

// minute makes what comes each minute.
func (g *generator) minute(at time.Time, add func(*event.Event)) {
	n := uint64(g.rate * 60)
	s := &event.Summary{Interval: time.Minute, UniqueCIDs: [event.Directions]uint64{n / 3, n / 9}, UniquePeers: [event.Directions]uint64{500, 300}, Askers: [event.Directions]uint64{400, 200}, Duplicates: [event.Directions]uint64{n / 20, n / 30},
		Codecs: []event.Share{{Name: "raw", N: n / 2}, {Name: "dag-pb", N: n / 3}}, Versions: []event.Share{{Name: "1", N: n}}, Hashes: []event.Share{{Name: "sha2-256", N: n}},
		Coverage: event.Coverage{Families: []event.FamilyCoverage{{Family: "kubo", Connected: 400, Asked: 200, Broadcast: 100}}}}
	for dir := range s.Latency {
		for answer := range s.Latency[dir] {
			s.Latency[dir][answer] = times(n / 10)
		}
		s.Line[dir] = event.Line{Messages: n, Bytes: n << 10, Agents: []event.FamilyBytes{{Family: "kubo", Messages: n, Bytes: n << 10, DontHaves: n / 10}, {Family: "helia", Messages: n / 9, Bytes: n << 7}, {Family: "unknown", Messages: n / 7, Bytes: n << 8}}}
	}
	s.DHT = &event.DHTSummary{}
	for dir := range s.DHT.Requests {
		for kind := range s.DHT.Requests[dir] {
			s.DHT.Requests[dir][kind] = event.DHTFigures{Status: [event.DHTStatuses]uint64{n / 10, 5, 6, 7}, Peers: 300, Elapsed: times(n / 10)}
		}
		s.DHT.Agents[dir] = []event.Share{{Name: "kubo", N: n / 10}, {Name: "unknown", N: n / 20}}
	}
	for i := range s.Retrieval.Sources {
		s.Retrieval.Sources[i] = event.SourceStats{Blocks: n / 60, Bytes: n << 10, ToProvider: times(n / 60), ToBlock: times(n / 60)}
	}
	s.Retrieval.Wanted, s.Retrieval.Search = n/20, times(n/60)
	for want := range s.Requests {
		for o := range s.Requests[want] {
			s.Requests[want][o] = event.RequestStats{Bytes: n, Took: times(n / 100)}
		}
	}
	for via := range s.Sending {
		s.Sending[via].Took = times(n)
		s.Sending[via].Errors[0].Messages = n / 1000
	}
	for i := range schema.MaxRank {
		c := g.cid()
		p := g.peers[g.r.IntN(len(g.peers))]
		s.TopCIDs = append(s.TopCIDs, event.TopCID{CID: c, Wants: n / uint64(10+i), Peers: 20})
		s.TopCIDsByPeers = append(s.TopCIDsByPeers, event.TopCID{CID: c, Wants: n / uint64(10+i), Peers: 20})
		s.TopMissing = append(s.TopMissing, event.TopCID{CID: c, Wants: n / uint64(20+i)})
		for dir := range s.DHT.TopKeys {
			s.DHT.TopKeys[dir] = append(s.DHT.TopKeys[dir], event.TopDHTKey{CID: c, Requests: n / uint64(10+i), Peers: 20})
		}
		s.TopPeers = append(s.TopPeers, event.TopPeer{Peer: p, Agent: "kubo/0.43.0", Wants: n / uint64(10+i)})
		for dir := range s.Line {
			if i < 20 {
				s.Line[dir].CIDs = append(s.Line[dir].CIDs, event.CIDBytes{CID: c, Bytes: n << 6})
				s.Line[dir].Peers = append(s.Line[dir].Peers, event.PeerBytes{Peer: p, Agent: "kubo/0.43.0", Bytes: n << 6})
			}
		}
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindSummary, Summary: s})
}
