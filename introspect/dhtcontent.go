package introspect

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// dhtContent adds the figures of the DHT's requests to a state's content.
func dhtContent(out *pb.Content, s *event.DHTSummary) {
	if s == nil {
		return
	}
	for d := range event.Directions {
		for t := range event.DHTTypes {
			f := &s.Requests[d][t]
			if n := f.Requests(); n > 0 {
				out.DhtRequests = append(out.DhtRequests, &pb.Content_DhtRequests{
					Direction: d.String(), Type: t.String(), Requests: n, Failed: f.Status[event.DHTFailed], Timeouts: f.Status[event.DHTTimedOut],
					Canceled: f.Status[event.DHTCanceled], Peers: f.Peers, P50Us: micros(f.Elapsed.P50), P99Us: micros(f.Elapsed.P99),
				})
			}
		}
		for _, k := range s.TopKeys[d] {
			out.DhtKeys = append(out.DhtKeys, &pb.Content_DhtKey{Direction: d.String(), Cid: k.CID.String(), Requests: k.Requests, Error: k.Error, Peers: k.Peers})
		}
	}
	out.DhtAgents = shares(s.Agents[event.Received])
}
