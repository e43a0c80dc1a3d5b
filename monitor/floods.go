package monitor

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// floods returns the peers that flood the node, and the last ones that did.
func (m *Monitor) floods() []httpapi.Flood {
	running, ended := m.derive.Floods()
	out := make([]httpapi.Flood, 0, len(running)+len(ended))
	for _, e := range append(running, ended...) {
		f := e.Flood
		one := httpapi.Flood{
			Peer: e.Peer.String(), Agent: f.Agent, Addresses: append([]event.Text{}, e.Addrs...), Country: e.Country, Gateway: e.Gateway,
			Since: f.Since, Wants: f.Wants, Messages: f.Messages, WantsPerSecond: f.WantRate, MessagesPerSecond: f.MessageRate,
			Share: float64(f.Share) / 1000, Repeats: float64(f.Repeats) / 1000, Block: f.Block,
		}
		if f.State == event.FloodEnded {
			until := e.At()
			one.Until = &until
		}
		out = append(out, one)
	}
	return out
}

// shownFloods are those of the live page.
func (m *Monitor) shownFloods() []*pb.Content_Flood {
	running, ended := m.derive.Floods()
	out := make([]*pb.Content_Flood, 0, len(running)+len(ended))
	for _, e := range append(running, ended...) {
		f := e.Flood
		one := &pb.Content_Flood{
			PeerId: e.Peer.String(), AgentVersion: string(f.Agent), Country: e.Country, SinceTs: pb.Millis(f.Since), Wants: f.Wants, Messages: f.Messages,
			WantsPerSecond: f.WantRate, MessagesPerSecond: f.MessageRate, SharePermille: uint32(f.Share), RepeatsPermille: uint32(f.Repeats), Block: string(f.Block),
		}
		if len(e.Addrs) > 0 {
			one.Address = string(e.Addrs[0])
		}
		if f.State == event.FloodEnded {
			one.UntilTs = pb.Millis(e.At())
		}
		out = append(out, one)
	}
	return out
}
