package privacy

import (
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
)

// dht copies a request of the DHT with pseudonyms. A key that is neither a CID nor
// a peer ID is left out: a value's name may be that of a peer. Its namespace stays
// if it is one of the two that every DHT has.
func (n *names) dht(r *event.DHTRequest) *event.DHTRequest {
	if r == nil {
		return nil
	}
	out := &event.DHTRequest{Type: r.Type, Status: r.Status, LAN: r.LAN, CID: n.cid(r.CID), Target: n.peer(r.Target),
		Providers: r.Providers, Closer: r.Closer, Elapsed: r.Elapsed}
	for _, namespace := range []event.Text{"/ipns/", "/pk/"} {
		if strings.HasPrefix(string(r.Name), string(namespace)) {
			out.Name = namespace
		}
	}
	return out
}

// dhtSummary copies the figures of the DHT's requests with pseudonyms of the keys.
func (n *names) dhtSummary(s *event.DHTSummary) *event.DHTSummary {
	out := sumsOfDHT(s)
	if out == nil {
		return nil
	}
	for dir := range s.TopKeys {
		for _, k := range s.TopKeys[dir] {
			out.TopKeys[dir] = append(out.TopKeys[dir], event.TopDHTKey{CID: n.cid(k.CID), Requests: k.Requests, Error: k.Error, Peers: k.Peers})
		}
	}
	return out
}

// sumsOfDHT copies the figures that name nothing.
func sumsOfDHT(s *event.DHTSummary) *event.DHTSummary {
	if s == nil {
		return nil
	}
	return &event.DHTSummary{Requests: s.Requests, Peers: s.Peers, Agents: s.Agents}
}
