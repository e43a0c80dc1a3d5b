package derive

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// lineOracle adds up everything, without a limit.
type lineOracle struct {
	cids  map[cid.Cid]uint64
	peers map[peer.ID]uint64
	of    map[string]event.FamilyBytes
	sum   event.Line
}

func oracleOfLine(all []*event.Event, dir event.Direction, agent map[peer.ID]event.Text) *lineOracle {
	x := &lineOracle{cids: map[cid.Cid]uint64{}, peers: map[peer.ID]uint64{}, of: map[string]event.FamilyBytes{}}
	for _, e := range all {
		if e.Kind != event.KindMessage || e.Dir != dir {
			continue
		}
		f := event.AgentFamilies[event.AgentFamily(agent[e.Peer])]
		s := x.of[f]
		s.Family = f
		n := uint64(e.WireBytes())
		x.peers[e.Peer] += n
		x.sum.Messages++
		x.sum.Bytes += n
		s.Messages++
		s.Bytes += n
		for _, b := range e.Blocks {
			x.cids[b.CID] += uint64(b.Size)
			x.sum.BlockBytes += uint64(b.Size)
			s.BlockBytes += uint64(b.Size)
		}
		for _, p := range e.Presences {
			if p.Type == event.DontHave {
				s.DontHaves++
			}
		}
		x.of[f] = s
	}
	return x
}

func held(t *testing.T, what string, truth, got, err, bound uint64) {
	t.Helper()
	if truth > got || truth < got-err || err > bound {
		t.Errorf("%s: %d less at most %d, exactly %d; the error may be %d", what, got, err, truth, bound)
	}
}

// TestLineAgainstExact checks every figure about bandwidth against an oracle that reads
// the same events: exact where there are fewer keys than counters, within the stated
// error where there are many more.
func TestLineAgainstExact(t *testing.T) {
	agents := []event.Text{"kubo/0.43.1", "rainbow/1", "helia/2", "something else", ""}
	for name, c := range map[string]struct {
		cids, peers, counters int
		exact                 bool
	}{
		"few":  {300, 40, 512, true},
		"many": {20_000, 3000, 256, false},
	} {
		d := quiet(Config{MaxCIDsTracked: c.counters, MaxPeersTracked: c.counters})
		rng := rand.New(rand.NewPCG(1, 2))
		pick, who := zipf(5, 1.2, uint64(c.cids)), zipf(6, 1.2, uint64(c.peers))
		var all []*event.Event
		agent := map[peer.ID]event.Text{}
		for i := range c.peers {
			a := agents[i%len(agents)]
			agent[testPeer(i)] = a
			d.feed(&event.Event{Kind: event.KindConnection, Peer: testPeer(i), Time: start, Conn: &event.Conn{PeerConns: 1}})
			d.feed(&event.Event{Kind: event.KindIdentify, Peer: testPeer(i), Time: start, Identify: &event.Identify{Agent: a}})
		}
		for i := range 60_000 {
			e := message(event.Direction(rng.IntN(2)), int(who()), time.Duration(i)*time.Millisecond)
			for range rng.IntN(3) {
				e.Blocks = append(e.Blocks, event.Block{CID: testCID(pick()), Size: int32(rng.IntN(1 << 18))})
			}
			if rng.IntN(2) == 0 {
				wants(e, event.WantHave, pick())
			}
			for range rng.IntN(3) {
				e.Presences = append(e.Presences, event.Presence{CID: testCID(pick()), Type: event.PresenceType(rng.IntN(2))})
			}
			all = append(all, e)
			d.feed(e)
		}
		s := d.cut()
		for dir := range event.Directions {
			x, l := oracleOfLine(all, dir, agent), s.Line[dir]
			if l.Messages != x.sum.Messages || l.Bytes != x.sum.Bytes || l.BlockBytes != x.sum.BlockBytes {
				t.Errorf("%s: %d messages, %d bytes, %d of blocks; exactly %+v", name, l.Messages, l.Bytes, l.BlockBytes, x.sum)
			}
			for i, g := range l.CIDs {
				bound := x.sum.BlockBytes / uint64(c.counters)
				if c.exact {
					bound = 0
				}
				held(t, name+": CID", x.cids[g.CID], g.Bytes, g.Error, bound)
				if i > 0 && g.Bytes-g.Error > l.CIDs[i-1].Bytes-l.CIDs[i-1].Error {
					t.Errorf("%s: CID %d is out of order", name, i)
				}
			}
			for _, g := range l.Peers {
				bound := x.sum.Bytes / uint64(c.counters)
				if c.exact {
					bound = 0
				}
				held(t, name+": peer", x.peers[g.Peer], g.Bytes, g.Error, bound)
				if g.Agent != agent[g.Peer] {
					t.Errorf("%s: agent %q, want %q", name, g.Agent, agent[g.Peer])
				}
			}
			largest(t, name+": CIDs", len(l.CIDs), func(i int) cid.Cid { return l.CIDs[i].CID }, x.cids, x.sum.BlockBytes/uint64(c.counters))
			largest(t, name+": peers", len(l.Peers), func(i int) peer.ID { return l.Peers[i].Peer }, x.peers, x.sum.Bytes/uint64(c.counters))
			if len(l.Agents) != len(x.of) {
				t.Errorf("%s: %d families, want %d", name, len(l.Agents), len(x.of))
			}
			for _, g := range l.Agents {
				if x.of[g.Family] != g {
					t.Errorf("%s: %+v, exactly %+v", name, g, x.of[g.Family])
				}
			}
		}
		for _, l := range d.cut().Line {
			if l.Bytes != 0 || len(l.CIDs)+len(l.Peers)+len(l.Agents) != 0 {
				t.Errorf("%s: the next interval begins with %+v", name, l)
			}
		}
	}
}

// largest fails for each key that exceeds the last place by more than the bound and is
// not in the list.
func largest[K comparable](t *testing.T, what string, n int, key func(int) K, truth map[K]uint64, bound uint64) {
	t.Helper()
	if n != min(TopBytes, len(truth)) {
		t.Errorf("%s: %d in the list of %d", what, n, len(truth))
	}
	in := map[K]bool{}
	for i := range n {
		in[key(i)] = true
	}
	var all []uint64
	for _, v := range truth {
		all = append(all, v)
	}
	slices.Sort(all)
	last := all[max(0, len(all)-TopBytes)]
	for k, v := range truth {
		if v > last+2*bound && !in[k] {
			t.Errorf("%s: %v with %d is not in the list, whose last has %d", what, k, v, last)
		}
	}
}

// TestLineOfHTTP: traffic over HTTP uses bandwidth too, and has no agent.
func TestLineOfHTTP(t *testing.T) {
	d := quiet(Config{})
	e := message(event.Received, 1, 0)
	e.Transport = event.HTTP
	e.Blocks = []event.Block{{CID: testCID(1), Size: 1000}}
	d.feed(e)
	l := d.cut().Line[event.Received]
	if l.BlockBytes != 1000 || len(l.Peers) != 1 || len(l.Agents) != 1 || l.Agents[0].Family != "unknown" {
		t.Errorf("%+v", l)
	}
	if len(d.peers.of) != 0 {
		t.Error("an HTTP server counts as a connected peer")
	}
}

func TestFamiliesHaveRoom(t *testing.T) {
	if len(event.AgentFamilies) > maxFamilies {
		t.Errorf("%d families, room for %d", len(event.AgentFamilies), maxFamilies)
	}
}
