package main

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// state returns the node as it is at that time, as a copy.
func (s *swarm) state(now time.Time) *pb.ServerMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	wave := 1 + 0.5*math.Sin(float64(now.UnixMilli())/15000)
	total := &pb.Traffic{TrafficIn: &pb.DataGauge{}, TrafficOut: &pb.DataGauge{}}
	counts := map[string]uint32{}
	for _, c := range s.connections {
		total.TrafficIn.InstBw += c.Traffic.TrafficIn.InstBw
		total.TrafficOut.InstBw += c.Traffic.TrafficOut.InstBw
		total.TrafficIn.CumBytes += c.Traffic.TrafficIn.CumBytes
		total.TrafficOut.CumBytes += c.Traffic.TrafficOut.CumBytes
		counts[c.AgentVersion]++
	}
	n := uint32(len(s.connections))
	sub := &pb.Subsystems{
		Connections: s.connections, Bitswap: s.bitswap(wave), Content: s.content(now), Pipeline: s.pipeline(now),
		Process:   &pb.Process{CpuSeconds: 41.5, ResidentBytes: 412 << 20, HeapBytes: 201 << 20, Goroutines: 1841, OpenFiles: 210, Processors: 2, GcCycles: 319, GcPauseNs: 51e6, RepoBytes: 3 << 30},
		Peerstore: &pb.Peerstore{Peers: n * 4, PeersWithAddrs: n * 3, PeersWithKeys: n * 3},
		Pubsub:    &pb.PubSub{},
		Resources: &pb.ResourceManager{Peers: n, Scopes: []*pb.ResourceManager_Scope{
			{Name: "system", Usage: &pb.ResourceManager_Usage{Memory: 91 << 20, StreamsIn: 310, StreamsOut: 220, ConnsIn: 40, ConnsOut: 71, Fd: 33}, Limit: &pb.ResourceManager_Usage{Memory: 4 << 30, StreamsIn: 4096, StreamsOut: math.MaxInt64, ConnsIn: 512, ConnsOut: math.MaxInt64, Fd: 8192}},
			{Name: "transient", Usage: &pb.ResourceManager_Usage{Memory: 1 << 20}},
			{Name: "service:libp2p.identify", Usage: &pb.ResourceManager_Usage{StreamsIn: 2}},
		}},
	}
	for _, a := range agents {
		if counts[a] > 0 {
			sub.Agents = append(sub.Agents, &pb.AgentCount{Agent: a, Peers: counts[a]})
		}
	}
	sub.Dht = s.dht(now, "wan", 160)
	if s.hostile {
		sub.Dht.Params.K = 1 << 60
	}
	sub.Dhts = []*pb.DHT{sub.Dht, s.dht(now, "lan", 6)}
	state := &pb.State{Subsystems: sub, Traffic: total, InstantTs: uint64(now.UnixMilli()), StartTs: uint64(s.start.UnixMilli()), SnapshotDurationMs: 3,
		Sequence: s.sequence, Peers: n, Connections: n, SnapshotCostUs: 2900}
	m := &pb.ServerMessage{Version: version, Payload: &pb.ServerMessage_State{State: state}}
	return proto.Clone(m).(*pb.ServerMessage)
}

func (s *swarm) bitswap(wave float64) *pb.Bitswap {
	rates := func(f float64) *pb.Bitswap_Rates {
		return &pb.Bitswap_Rates{Messages: 41 * wave * f, WantBlock: 12.5 * wave * f, WantHave: 30 / wave * f, Cancel: 9 * f, Have: 14 * wave * f, DontHave: 21 / wave * f, Blocks: 7 * wave * f, BlockBytes: 410000 * wave * f}
	}
	b := &pb.Bitswap{Received: s.received, Sent: s.sent, ReceivedRate: rates(1), SentRate: rates(0.6), LedgersTotal: uint32(len(s.connections)), WantlistTotal: 3}
	for i := range min(len(s.connections), 12) {
		b.Ledgers = append(b.Ledgers, &pb.Bitswap_Ledger{PeerId: peerName(i), BytesSent: uint64(9e6 / (i + 1)), BytesReceived: uint64(4e6 / (i + 1)), Exchanged: uint64(300 / (i + 1)), Wants: uint32(i % 4)})
	}
	for i := range 3 {
		b.Wantlist = append(b.Wantlist, &pb.Bitswap_Want{Cid: cidName(900 + i), Have: i == 1})
	}
	return b
}

func (s *swarm) content(now time.Time) *pb.Content {
	c := &pb.Content{SinceTs: uint64(now.Add(-90 * time.Second).UnixMilli()), UntilTs: uint64(now.Add(-30 * time.Second).UnixMilli()), Duplicates: 31, Rebroadcasts: 12,
		Unique:   &pb.Content_Unique{CidsReceived: 1204, CidsSent: 322, PeersReceived: 71, PeersSent: 64},
		Codecs:   []*pb.Content_Share{{Name: "raw", Wants: 5102}, {Name: "dag-pb", Wants: 3110}, {Name: "dag-cbor", Wants: 141}},
		Versions: []*pb.Content_Share{{Name: "1", Wants: 7231}, {Name: "0", Wants: 1122}}, Hashes: []*pb.Content_Share{{Name: "sha2-256", Wants: 8300}, {Name: "blake2b-256", Wants: 53}},
		DhtRequests: []*pb.Content_DhtRequests{
			{Direction: "received", Type: "find_node", Requests: 912, Peers: 210, P50Us: 140, P99Us: 2100}, {Direction: "received", Type: "get_providers", Requests: 301, Peers: 90, P50Us: 210, P99Us: 3000},
			{Direction: "received", Type: "add_provider", Requests: 88, Peers: 31}, {Direction: "sent", Type: "find_node", Requests: 311, Failed: 22, Timeouts: 9, Canceled: 14, Peers: 120, P50Us: 71000, P99Us: 4100000}},
		DhtAgents: []*pb.Content_Share{{Name: "kubo", Wants: 811}, {Name: "other", Wants: 402}, {Name: "unknown", Wants: 88}},
		Latency: []*pb.Content_Latency{
			{Direction: "sent", Answer: "block", Count: 812, P50Us: 84000, P90Us: 310000, P99Us: 1200000, MaxUs: 4100000},
			{Direction: "sent", Answer: "have", Count: 1503, P50Us: 61000, P90Us: 210000, P99Us: 900000, MaxUs: 2100000},
			{Direction: "received", Answer: "block", Count: 301, P50Us: 1100, P90Us: 3900, P99Us: 19000, MaxUs: 61000},
		}}
	lines := []*pb.Content_Line{{Direction: "received", Bytes: 21e6, BlockBytes: 20e6, Agents: []*pb.Content_Bytes{{Name: "kubo", Bytes: 20e6}, {Name: "other", Bytes: 1e6}}}, {Direction: "sent", Bytes: 14e6}}
	for i := range 20 {
		r := &pb.Content_Cid{Cid: cidName(i), Wants: uint64(900 / (i + 1)), Error: uint64(i / 6), Peers: uint64(40 / (i + 1))}
		c.TopCids = append(c.TopCids, r)
		c.DhtKeys = append(c.DhtKeys, &pb.Content_DhtKey{Direction: []string{"received", "sent"}[i%2], Cid: cidName(i + 40), Requests: uint64(300 / (i + 1)), Error: uint64(i / 6), Peers: uint64(30 / (i + 1))})
		c.TopCidsByPeers = append(c.TopCidsByPeers, r)
		agent := agents[i%len(agents)]
		if s.hostile {
			agent = hostileTexts[i%len(hostileTexts)]
		}
		c.TopPeers = append(c.TopPeers, &pb.Content_Peer{PeerId: peerName(i), AgentVersion: agent, Wants: uint64(500 / (i + 1))})
		b := &pb.Content_Bytes{Name: peerName(i), AgentVersion: agent, Bytes: uint64(9_000_000 / (i + 1)), Error: uint64(i / 6)}
		lines[0].Peers, lines[1].Peers = append(lines[0].Peers, b), append(lines[1].Peers, b)
		lines[0].Cids = append(lines[0].Cids, &pb.Content_Bytes{Name: cidName(i), Bytes: uint64(8_000_000 / (i + 1))})
		if i < 2 {
			c.Floods = append(c.Floods, &pb.Content_Flood{PeerId: peerName(i), AgentVersion: agent, Address: "/ip4/203.0.113.9/udp/4001/quic-v1", SinceTs: uint64(now.Add(-time.Minute).UnixMilli()),
				UntilTs: uint64(i) * uint64(now.UnixMilli()), Wants: 9000, WantsPerSecond: 412, MessagesPerSecond: 103, SharePermille: 640, RepeatsPermille: 970, Block: "ipfs swarm filters add /ip4/203.0.113.9/ipcidr/32 && ipfs swarm disconnect /p2p/" + peerName(i)})
		}
	}
	c.Lines = lines
	c.Retrievals = []*pb.Content_Retrieval{{Source: "connected", Blocks: 512, Bytes: 91e6, ProviderP50Us: 31_000, ProviderP90Us: 120_000, BlockP50Us: 84_000, BlockP90Us: 310_000, BlockMaxUs: 4_100_000},
		{Source: "routing", Blocks: 211, Bytes: 40e6, ProviderP50Us: 610_000, ProviderP90Us: 2_200_000, BlockP50Us: 1_300_000, BlockP90Us: 4_900_000, BlockMaxUs: 19_000_000}, {Source: "http", Blocks: 89, Bytes: 12e6, ProviderP50Us: 210_000, BlockP50Us: 440_000}}
	c.Wanted = &pb.Content_Wanted{Blocks: 830, GivenUp: 12, Unanswered: 3, Waiting: 9, Surplus: 40, Searches: 61, Providers: 402, NotFound: 4, SearchP50Us: 800_000, SearchP90Us: 3_000_000}
	c.HttpRequests = []*pb.Content_HttpRequests{{Method: "GET", Outcome: "block", Requests: 89, Bytes: 12e6, P50Us: 90_000, MaxUs: 800_000}, {Method: "HEAD", Outcome: "dont_have", Requests: 31, P50Us: 60_000, MaxUs: 300_000}}
	c.Coverage = []*pb.Content_Coverage{{Family: "kubo", Connected: 60, Asked: 9, Broadcast: 2}, {Family: "other", Connected: 11, Asked: 3, Broadcast: 3}}
	return c
}

// dht fills buckets as a real table does: the far ones full, the near ones thin.
func (s *swarm) dht(now time.Time, name string, peers int) *pb.DHT {
	d := &pb.DHT{Protocol: "/ipfs/kad/1.0.0", Enabled: true, StartTs: uint64(s.start.UnixMilli()), Name: name, Mode: "server", Params: &pb.DHT_Params{K: 20, Alpha: 10, Beta: 3},
		IncomingQueries: &pb.DHT_QueryGauge{Success: 912, Error: 4}, OutgoingQueries: &pb.DHT_QueryGauge{Success: 311, Error: 22, Timeout: 9}}
	if strings.HasPrefix(name, "lan") {
		d.Protocol = "/ipfs/lan/kad/1.0.0"
	}
	for cpl, n := 0, 0; n < peers && cpl < 24; cpl++ {
		b := &pb.DHT_Bucket{Cpl: uint32(cpl)}
		for i := 0; i < min(20, max(1, peers>>(cpl/3+2))) && n < peers; i, n = i+1, n+1 {
			p := &pb.DHT_PeerInDHT{PeerId: peerName(n), AgeInBucket: uint32(math.Min(math.Pow(1.11, float64((n*37)%160))*1000, 4e9)), AgentVersion: agents[n%len(agents)], LastUsefulTs: uint64(now.Add(-time.Duration(n) * 9 * time.Second).UnixMilli())}
			if n%9 == 4 {
				p.Status = pb.DHT_PeerInDHT_MISSING
			}
			b.Peers = append(b.Peers, p)
		}
		d.Size += uint32(len(b.Peers))
		d.Buckets = append(d.Buckets, b)
	}
	return d
}

func (s *swarm) pipeline(now time.Time) *pb.Pipeline {
	return &pb.Pipeline{
		Capture: &pb.Pipeline_Capture{Limited: 3},
		Bus: &pb.Pipeline_Bus{Published: 91022 + s.published, Held: 12, HeldBytes: 9100, Readers: []*pb.Pipeline_Reader{
			{Name: "influx", Read: 91020, Behind: 2}, {Name: "stream", Read: 91010, Behind: 12}, {Name: "metrics", Read: 91022}, {Name: "introspect", Read: 91022}, {Name: "derive", Read: 91022},
		}},
		Stream: &pb.Pipeline_Stream{Accepted: 4, Events: 91010, SentEvents: 120233, SentBytes: 19 << 20, Subscribers: []*pb.Pipeline_Subscriber{
			{Id: "7", SinceTs: uint64(now.Add(-time.Hour).UnixMilli()), Version: 4, Encoding: "zstd", QueuedBytes: 1200, SentEvents: 81000}, {Id: "9", SinceTs: uint64(now.Add(-time.Minute).UnixMilli()), Version: 3, Encoding: "gzip", SentEvents: 912, DroppedEvents: 14},
		}},
		Influx: &pb.Pipeline_Influx{Events: 91020, Accepted: 120331, Stored: 120100, Queued: 231, QueueBytes: 41000, LagSeconds: 0.8},
		Exchanges: []*pb.Pipeline_Exchange{
			{Name: "v3", Exchange: "ipfs.passive_monitoring", Broker: "amqp://broker.example:5672/", Accepted: 90000, Delivered: 90000, Connected: true},
			{Name: "v4", Exchange: "ipfsmon.events", Broker: "amqp://broker.example:5672/", Accepted: 91000, Delivered: 80000, Queued: 11000, SpoolBytes: 3 << 20, SpoolFull: 0.01, LagSeconds: 95, Failing: true, LastError: "connection refused"},
		},
		Spool: &pb.Pipeline_Spool{LimitBytes: 1 << 30}, Http: &pb.Pipeline_Http{Requests: 88, Connections: 2}, Introspection: &pb.Pipeline_Introspection{Sessions: 1, SentMessages: 9000, SentBytes: 88 << 20},
	}
}
