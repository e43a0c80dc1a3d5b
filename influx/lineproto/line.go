package lineproto

import (
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// line writes what used the line, and the coverage.
func (t *totals) line(s *event.Summary) {
	e := t.e
	cids, peers, agents := e.tables[schema.TopBytesCIDs], e.tables[schema.TopBytesPeers], e.tables[schema.AgentBytes]
	cidsAt, peersAt, w := cids.stamp(t.at), peers.stamp(t.at), t.of(agents)
	for dir := range s.Line {
		l := &s.Line[dir]
		for rank := range l.CIDs[:min(len(l.CIDs), schema.MaxRank)] {
			c := &l.CIDs[rank]
			p := e.begin(cids, t.b, dir*schema.MaxRank+rank)
			p.cid(c.CID)
			p.uint(c.Bytes)
			p.uint(c.Error)
			e.listed(schema.TopBytesCIDs, dir*schema.MaxRank+rank, cidsAt, [2]string{e.listedCID(c.CID)}, whole(c.Bytes), whole(c.Error))
			t.b = p.end(cidsAt)
			t.points++
		}
		for rank := range l.Peers[:min(len(l.Peers), schema.MaxRank)] {
			c := &l.Peers[rank]
			e.setPeer(c.Peer)
			p := e.begin(peers, t.b, dir*schema.MaxRank+rank)
			p.raw(e.peerText)
			p.text(c.Agent)
			p.uint(c.Bytes)
			p.uint(c.Error)
			e.listed(schema.TopBytesPeers, dir*schema.MaxRank+rank, peersAt, [2]string{e.listedPeer(), e.listedText(c.Agent)}, whole(c.Bytes), whole(c.Error))
			t.b = p.end(peersAt)
			t.points++
		}
		for i := range l.Agents {
			c := &l.Agents[i]
			if family := slices.Index(event.AgentFamilies, c.Family); family >= 0 {
				w.put(dir*len(event.AgentFamilies)+family, whole(c.Messages), whole(c.Bytes), whole(c.BlockBytes), whole(c.DontHaves))
			}
		}
	}
	w = t.of(e.tables[schema.Coverage])
	var of [32]event.FamilyCoverage
	for _, c := range s.Coverage.Families {
		if family := slices.Index(event.AgentFamilies, c.Family); family >= 0 {
			of[family] = c
			e.families |= 1 << family
		}
	}
	for family := range event.AgentFamilies { // a family that was seen once has a point from then on
		if c := &of[family]; e.families>>family&1 == 1 {
			w.put(family, int64(c.Connected), int64(c.Asked), int64(c.Broadcast), int64(s.Coverage.Untracked))
		}
	}
}
