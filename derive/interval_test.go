package derive

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestUniqueAgainstExact(t *testing.T) {
	for _, n := range []uint64{0, 1, 10, 1000, 30_000, 100_000} {
		d := quiet(Config{})
		for i := range n {
			d.feed(wants(message(event.Received, int(i%(n/3+1)), 0), event.WantHave, i, i))
			if i%2 == 0 {
				d.feed(cancels(wants(message(event.Sent, int(i%7), 0), event.WantHave, i), i, n+i)) // a cancel is not a want
			}
			d.feed(cancels(message(event.Received, int(2*n+i%11), 0), i)) // peers that want nothing
		}
		s := d.cut()
		within(t, "CIDs received", s.UniqueCIDs[event.Received], n, 0.04)
		within(t, "CIDs sent", s.UniqueCIDs[event.Sent], (n+1)/2, 0.04)
		within(t, "peers received", s.UniquePeers[event.Received], min(n, n/3+1)+min(n, 11), 0.04)
		within(t, "peers sent", s.UniquePeers[event.Sent], min((n+1)/2, 7), 0.04)
		within(t, "askers received", s.Askers[event.Received], min(n, n/3+1), 0.04)
		within(t, "askers sent", s.Askers[event.Sent], min((n+1)/2, 7), 0.04)
		if s = d.cut(); s.UniqueCIDs[event.Received] != 0 || s.UniquePeers[event.Sent] != 0 || s.Askers != [event.Directions]uint64{} {
			t.Errorf("the next interval begins with %+v", s)
		}
	}
}

// exact counts exactly what the rankings estimate.
type exact struct {
	wants map[cid.Cid]uint64
	peers map[cid.Cid]map[peer.ID]bool
	by    map[peer.ID]uint64
	pairs uint64
	total uint64
}

func (x *exact) add(e *event.Event) {
	for _, w := range e.Wants {
		x.total++
		x.wants[w.CID]++
		x.by[e.Peer]++
		if x.peers[w.CID] == nil {
			x.peers[w.CID] = map[peer.ID]bool{}
		}
		if !x.peers[w.CID][e.Peer] {
			x.peers[w.CID][e.Peer] = true
			x.pairs++
		}
	}
}

// TestTopAgainstExact checks every bound of the rankings on streams of 100,000 wants:
// natural ones, and a flood of one peer with CIDs that it requests once each.
func TestTopAgainstExact(t *testing.T) {
	const tracked, trackedPeers, n = 500, 200, 100_000
	flat := rand.New(rand.NewPCG(9, 9))
	for name, draw := range map[string]func(i int) (peer int, c uint64){
		"zipf 1.1": func() func(int) (int, uint64) {
			c, p := zipf(1, 1.1, 1_000_000), zipf(2, 1.3, 5000)
			return func(int) (int, uint64) { return int(p()), c() }
		}(),
		"zipf 2": func() func(int) (int, uint64) {
			c, p := zipf(3, 2, 1_000_000), zipf(4, 1.1, 5000)
			return func(int) (int, uint64) { return int(p()), c() }
		}(),
		"all unique": func(i int) (int, uint64) { return i, uint64(i) },
		// Nine of ten wants are one peer's, for CIDs that no other peer wants; the last
		// hundred CIDs come late, when no counter is free.
		"flood": func(i int) (int, uint64) {
			if i%10 != 0 {
				return 1_000_000, 1<<40 + uint64(i)
			}
			return flat.IntN(2000), uint64(i/(n/2))*50 + uint64(flat.IntN(20))
		},
	} {
		d := quiet(Config{MaxCIDsTracked: tracked, MaxPeersTracked: trackedPeers})
		x := &exact{wants: map[cid.Cid]uint64{}, peers: map[cid.Cid]map[peer.ID]bool{}, by: map[peer.ID]uint64{}}
		for i := range n {
			p, c := draw(i)
			e := wants(message(event.Received, p, time.Duration(i)*50*time.Microsecond), event.WantType(i%2), c)
			x.add(e)
			d.feed(e)
		}
		s, lost := d.cut(), d.Stats().RepeatsLost
		if lost > n/1000 {
			t.Fatalf("%s: %d repeats lost", name, lost)
		}
		for i, c := range s.TopCIDs {
			truth, peers := x.wants[c.CID], uint64(len(x.peers[c.CID]))
			if truth > c.Wants || truth < c.Wants-c.Error || c.Error > x.total/tracked {
				t.Errorf("%s: CID %d: %d wants less at most %d, exactly %d", name, i, c.Wants, c.Error, truth)
			}
			if c.Peers > peers+lost || c.Peers+c.Error < peers {
				t.Errorf("%s: CID %d: %d peers, exactly %d, error %d", name, i, c.Peers, peers, c.Error)
			}
		}
		for i, c := range s.TopCIDsByPeers {
			truth, peers := x.wants[c.CID], uint64(len(x.peers[c.CID]))
			if truth > c.Wants || truth < c.Wants-c.Error {
				t.Errorf("%s: CID %d by peers: %d wants less at most %d, exactly %d", name, i, c.Wants, c.Error, truth)
			}
			if c.Peers > peers+lost || c.Peers+(x.pairs+lost)/tracked < peers {
				t.Errorf("%s: CID %d by peers: %d peers, exactly %d", name, i, c.Peers, peers)
			}
		}
		for i, p := range s.TopPeers {
			if truth := x.by[p.Peer]; truth > p.Wants || truth < p.Wants-p.Error || p.Error > x.total/trackedPeers {
				t.Errorf("%s: peer %d: %d wants less at most %d, exactly %d", name, i, p.Wants, p.Error, truth)
			}
		}
		// Every key that exceeds the bound is in the list.
		missing(t, name+": CIDs", s.TopCIDs, func(c event.TopCID) cid.Cid { return c.CID }, x.wants, x.total/tracked)
		missing(t, name+": peers", s.TopPeers, func(p event.TopPeer) peer.ID { return p.Peer }, x.by, x.total/trackedPeers)
		distinct := map[cid.Cid]uint64{}
		for c, peers := range x.peers {
			distinct[c] = uint64(len(peers))
		}
		missing(t, name+": CIDs by peers", s.TopCIDsByPeers, func(c event.TopCID) cid.Cid { return c.CID }, distinct, x.pairs/tracked)
		if name == "flood" && s.TopCIDsByPeers[0].Peers < 150 {
			t.Errorf("flood: the first by peers has %d", s.TopCIDsByPeers[0].Peers)
		}
	}
}

// missing fails for each of the first keys of the exact list that is not in the top
// although it exceeds the list's last by more than the bound.
func missing[K comparable, T any](t *testing.T, what string, got []T, key func(T) K, truth map[K]uint64, bound uint64) {
	t.Helper()
	if len(got) != min(DefaultTopN, len(truth)) {
		t.Errorf("%s: %d in the list", what, len(got))
	}
	in := map[K]bool{}
	for _, g := range got {
		in[key(g)] = true
	}
	all := make([]uint64, 0, len(truth))
	for _, n := range truth {
		all = append(all, n)
	}
	slices.Sort(all)
	nth := all[max(0, len(all)-DefaultTopN)]
	for k, n := range truth {
		if n > nth+2*bound && !in[k] {
			t.Errorf("%s: %v with %d is not in the list; the last place has %d, the bound is %d", what, k, n, nth, bound)
		}
	}
}

// TestAPeerIsCountedOnceForACID: repeating, the other type and cancelling do not make one
// peer two; a new interval counts from zero.
func TestAPeerIsCountedOnceForACID(t *testing.T) {
	d := quiet(Config{})
	for range 2 {
		for i := range 30 {
			at := time.Duration(i) * time.Second
			d.feed(wants(message(event.Received, 1, at), event.WantType(i%2), 1))
			d.feed(cancels(message(event.Received, 1, at), 1))
			d.feed(wants(message(event.Received, 2, at), event.WantHave, 1))
		}
		s := d.cut()
		for _, top := range [][]event.TopCID{s.TopCIDs, s.TopCIDsByPeers} {
			if len(top) != 1 || top[0] != (event.TopCID{CID: testCID(1), Wants: 60, Peers: 2}) {
				t.Errorf("%+v", top)
			}
		}
	}
}

func TestSharesAreExactAndClosed(t *testing.T) {
	sum := func(version, codec, hash uint64) cid.Cid {
		h, err := mh.Encode(make([]byte, 32), hash)
		if err != nil {
			t.Fatal(err)
		}
		if version == 0 {
			return cid.NewCidV0(h)
		}
		return cid.NewCidV1(codec, h)
	}
	d := quiet(Config{})
	e := message(event.Received, 1, 0)
	for c, n := range map[cid.Cid]int{
		sum(0, cid.DagProtobuf, mh.SHA2_256): 4,
		sum(1, cid.Raw, mh.SHA2_256):         3,
		sum(1, cid.DagCBOR, mh.BLAKE3):       2,
		sum(1, 0x999999, 0x777777):           1,
		{}:                                   1,
	} {
		for range n {
			e.Wants = append(e.Wants, event.Want{CID: c})
		}
	}
	d.feed(e)
	e.Dir = event.Sent // the node's own wants are not counted
	d.feed(e)
	s := d.cut()
	for what, pair := range map[string][2][]event.Share{
		"codecs":   {s.Codecs, {{Name: "dag-pb", N: 4}, {Name: "raw", N: 3}, {Name: "dag-cbor", N: 2}, {Name: "other", N: 2}}},
		"versions": {s.Versions, {{Name: "1", N: 6}, {Name: "0", N: 4}, {Name: "other", N: 1}}},
		"hashes":   {s.Hashes, {{Name: "sha2-256", N: 7}, {Name: "blake3", N: 2}, {Name: "other", N: 2}}},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	if len(codecCodes)+1 != len(Codecs) || len(hashCodes)+1 != len(Hashes) {
		t.Error("names and codes do not match")
	}
	for i, name := range Hashes[:len(hashCodes)] {
		if mh.Names[name] != hashCodes[i] {
			t.Errorf("%s is %#x, not %#x", name, mh.Names[name], hashCodes[i])
		}
	}
}

func TestTopPeersCarryTheirAgent(t *testing.T) {
	d := quiet(Config{MaxAgents: 100})
	identify := func(p int, agent event.Text) {
		d.feed(&event.Event{Kind: event.KindIdentify, Peer: testPeer(p), Time: start, Identify: &event.Identify{Agent: agent}})
	}
	agent := func() event.Text {
		d.feed(wants(message(event.Received, 1, 0), event.WantHave, 1))
		return d.cut().TopPeers[0].Agent
	}
	if a := agent(); a != "" {
		t.Errorf("agent %q before identify", a)
	}
	identify(1, "kubo/0.42")
	identify(1, "kubo/0.43")
	if a := agent(); a != "kubo/0.43" {
		t.Errorf("agent %q", a)
	}
	closed := func(left int) {
		d.feed(&event.Event{Kind: event.KindConnection, Peer: testPeer(1), Time: start, Conn: &event.Conn{Closed: true, PeerConns: left}})
	}
	closed(1)
	if a := agent(); a == "" {
		t.Error("forgotten with a connection left")
	}
	closed(0)
	if a := agent(); a != "" {
		t.Errorf("agent %q of a peer that left", a)
	}
	for p := range 1000 {
		identify(p, "flood")
	}
	if n := len(d.peers.of); n != 100 {
		t.Errorf("%d agents remembered", n)
	}
}

// TestMemoryIsBounded measures the heap after a million CIDs from 100,000 peers with long
// agents, each once, and again after more: it may be as large as the tables of Config,
// and does not grow.
func TestMemoryIsBounded(t *testing.T) {
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	d := quiet(Config{HistoryLatency: true})
	agent := strings.Repeat("a", event.MaxAgentText-8)
	flood := func(from, to int) int {
		for i := from; i < to; i += 10 {
			e := message(event.Received, i/10, time.Duration(i)*5*time.Microsecond)
			for c := range 10 {
				wants(e, event.WantHave, uint64(i+c))
			}
			d.hold(e)
			d.hold(&event.Event{Kind: event.KindIdentify, Peer: e.Peer, Time: e.Time,
				Identify: &event.Identify{Agent: event.Text(agent + time.Duration(i).String())}})
			d.count(false)
		}
		d.cut()
		d.out = nil
		return heap() - before
	}
	first := flood(0, 1_000_000)
	second := flood(1_000_000, 1_400_000)
	t.Logf("%d MiB after a million CIDs, %d MiB after more", first>>20, second>>20)
	if first > 80<<20 {
		t.Errorf("%d MiB", first>>20)
	}
	if second > first+first/10 {
		t.Errorf("%d bytes after the first million, %d after more", first, second)
	}
	runtime.KeepAlive(d)
}

// TestMissingAgainstExact checks the list of DONT_HAVEs sent: those that were received, HAVEs and those over HTTP are not in it.
func TestMissingAgainstExact(t *testing.T) {
	const tracked, n = 500, 100_000
	d := quiet(Config{MaxCIDsTracked: tracked})
	draw, truth := zipf(1, 1.2, 1_000_000), map[cid.Cid]uint64{}
	for i := range n {
		c := draw()
		at := time.Duration(i) * 50 * time.Microsecond
		answer := func(dir event.Direction, c uint64, kind event.PresenceType) *event.Event {
			e := message(dir, i%100, at)
			e.Presences = []event.Presence{{CID: testCID(c), Type: kind}}
			return e
		}
		truth[testCID(c)]++
		d.feed(answer(event.Sent, c, event.DontHave))
		if i%10 == 0 {
			d.feed(answer(event.Sent, 7, event.Have))
			d.feed(answer(event.Received, 8, event.DontHave))
			http := answer(event.Sent, 9, event.DontHave)
			http.Transport = event.HTTP
			d.feed(http)
		}
	}
	s := d.cut()
	for i, c := range s.TopMissing {
		held(t, "missing", truth[c.CID], c.Wants, c.Error, n/tracked)
		if i > 0 && c.Wants-c.Error > s.TopMissing[i-1].Wants-s.TopMissing[i-1].Error {
			t.Errorf("CID %d is out of order", i)
		}
	}
	missing(t, "missing", s.TopMissing, func(c event.TopCID) cid.Cid { return c.CID }, truth, n/tracked)
	if s = d.cut(); len(s.TopMissing) != 0 {
		t.Errorf("the next interval begins with %v", s.TopMissing)
	}
}
