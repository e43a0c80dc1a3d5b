package nodestate

import (
	"cmp"
	"math"
	"slices"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	kbucket "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// The names of a node's DHTs.
const tableWAN, tableLAN = "wan", "lan"

// dhtTable is one DHT of a node.
type dhtTable struct {
	Name     string // wan or lan
	Protocol string
	DHT      *dht.IpfsDHT
}

// dhtProvider returns the provider of these tables. agent returns a peer's unchanged agent
// version; requests may be nil.
func dhtProvider(start time.Time, tables []dhtTable, requests func(lan bool) event.DHTCounters, agent func(peer.ID) string) func() ([]*pb.DHT, error) {
	return func() ([]*pb.DHT, error) {
		out := make([]*pb.DHT, 0, len(tables))
		for _, t := range tables {
			d := describeTable(t, agent)
			d.StartTs = pb.Millis(start)
			if requests != nil {
				n := requests(t.Name == tableLAN)
				d.IncomingQueries, d.OutgoingQueries = queryGauge(&n[event.Received]), queryGauge(&n[event.Sent])
			}
			out = append(out, d)
		}
		return out, nil
	}
}

// queryGauge sums the requests of one direction. The protocol has three outcomes:
// what was cancelled is an error there.
func queryGauge(by *[event.DHTTypes][event.DHTStatuses]uint64) *pb.DHT_QueryGauge {
	g := new(pb.DHT_QueryGauge)
	for _, n := range by {
		g.Success += n[event.DHTAnswered]
		g.Error += n[event.DHTFailed] + n[event.DHTCanceled]
		g.Timeout += n[event.DHTTimedOut]
	}
	return g
}

func describeTable(t dhtTable, agent func(peer.ID) string) *pb.DHT {
	h := t.DHT.Host()
	self := kbucket.ConvertPeerID(h.ID())
	now := time.Now()
	buckets := make(map[int]*pb.DHT_Bucket)
	infos := t.DHT.RoutingTable().GetPeerInfos()
	for _, p := range infos {
		cpl := kbucket.CommonPrefixLen(self, kbucket.ConvertPeerID(p.Id))
		b := buckets[cpl]
		if b == nil {
			b = &pb.DHT_Bucket{Cpl: uint32(cpl)}
			buckets[cpl] = b
		}
		status := pb.DHT_PeerInDHT_MISSING
		if h.Network().Connectedness(p.Id) == network.Connected {
			status = pb.DHT_PeerInDHT_ACTIVE
		}
		b.Peers = append(b.Peers, &pb.DHT_PeerInDHT{
			PeerId: p.Id.String(), Status: status, AgeInBucket: ageMillis(now, p.AddedAt),
			LastUsefulTs: pb.Millis(p.LastUsefulAt), LastQueryTs: pb.Millis(p.LastSuccessfulOutboundQueryAt),
			AgentVersion: string(event.Clean(agent(p.Id), event.MaxAgentText)),
		})
	}
	out := &pb.DHT{
		Name: t.Name, Protocol: t.Protocol, Enabled: true, Mode: modeName(t.DHT.Mode()), Size: uint32(len(infos)),
		// kubo uses the Amino DHT's values.
		Params: &pb.DHT_Params{K: amino.DefaultBucketSize, Alpha: amino.DefaultConcurrency, Beta: amino.DefaultResiliency, DisjointPaths: 1},
	}
	for _, b := range buckets {
		slices.SortFunc(b.Peers, func(a, b *pb.DHT_PeerInDHT) int {
			return cmp.Or(cmp.Compare(b.AgeInBucket, a.AgeInBucket), cmp.Compare(a.PeerId, b.PeerId))
		})
		out.Buckets = append(out.Buckets, b)
	}
	slices.SortFunc(out.Buckets, func(a, b *pb.DHT_Bucket) int { return cmp.Compare(a.Cpl, b.Cpl) })
	return out
}

func ageMillis(now, since time.Time) uint32 {
	if since.IsZero() {
		return 0
	}
	return uint32(min(max(now.Sub(since).Milliseconds(), 0), math.MaxUint32))
}

func modeName(m dht.ModeOpt) string {
	switch m {
	case dht.ModeServer:
		return "server"
	case dht.ModeClient:
		return "client"
	}
	return "auto"
}
