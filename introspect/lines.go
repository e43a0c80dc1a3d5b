package introspect

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// lines makes a state's figures of what used the line.
func lines(s *event.Summary) (out []*pb.Content_Line) {
	for dir := range event.Directions {
		l := &s.Line[dir]
		one := &pb.Content_Line{Direction: dir.String(), Bytes: l.Bytes, BlockBytes: l.BlockBytes}
		for _, c := range l.CIDs {
			one.Cids = append(one.Cids, &pb.Content_Bytes{Name: c.CID.String(), Bytes: c.Bytes, Error: c.Error})
		}
		for _, p := range l.Peers {
			one.Peers = append(one.Peers, &pb.Content_Bytes{Name: p.Peer.String(), AgentVersion: string(p.Agent), Bytes: p.Bytes, Error: p.Error})
		}
		for _, a := range l.Agents {
			one.Agents = append(one.Agents, &pb.Content_Bytes{Name: a.Family, Bytes: a.Bytes})
		}
		out = append(out, one)
	}
	return out
}

// coverage makes a state's figures of what the connected peers asked.
func coverage(c *event.Coverage) (out []*pb.Content_Coverage) {
	for _, f := range c.Families {
		out = append(out, &pb.Content_Coverage{Family: f.Family, Connected: uint32(f.Connected), Asked: uint32(f.Asked), Broadcast: uint32(f.Broadcast)})
	}
	return out
}
