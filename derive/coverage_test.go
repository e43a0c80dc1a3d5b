package derive

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

func connect(d *Deriver, p int, agent event.Text) {
	d.feed(&event.Event{Kind: event.KindConnection, Peer: testPeer(p), Time: start, Conn: &event.Conn{PeerConns: 1}})
	if agent != "" {
		d.feed(&event.Event{Kind: event.KindIdentify, Peer: testPeer(p), Time: start, Identify: &event.Identify{Agent: agent}})
	}
}

func leave(d *Deriver, p int, at time.Duration) {
	d.feed(&event.Event{Kind: event.KindConnection, Peer: testPeer(p), Time: start + int64(at), Conn: &event.Conn{Closed: true}})
}

// TestWhatIsLikeABroadcast checks the definition: a WANT_HAVE that the node answers with
// neither HAVE nor a block within five seconds; for boxo's families, only one without
// send_dont_have.
func TestWhatIsLikeABroadcast(t *testing.T) {
	f := func(name string, agent event.Text, want bool, events func(e func(event.Direction, time.Duration) *event.Event) []*event.Event) {
		t.Helper()
		d := quiet(Config{})
		connect(d, 1, agent)
		for _, e := range events(func(dir event.Direction, at time.Duration) *event.Event { return message(dir, 1, at) }) {
			d.feed(e)
		}
		d.feed(message(event.Received, 2, time.Minute)) // time passes
		c := d.cut().Coverage
		if len(c.Families) != 1 || c.Families[0].Connected != 1 || c.Families[0].Asked != 1 {
			t.Fatalf("%s: %+v", name, c)
		}
		if got := c.Families[0].Broadcast == 1; got != want {
			t.Errorf("%s: like a broadcast: %v, want %v", name, got, want)
		}
	}
	type at = func(event.Direction, time.Duration) *event.Event
	const kubo, helia = "kubo/0.43.1", "helia/2"
	silent := func(e at) []*event.Event {
		return []*event.Event{wants(e(event.Received, 0), event.WantHave, 1)}
	}
	f("not answered", kubo, true, silent)
	f("not answered, no agent yet", "", true, silent)
	session := func(e at) []*event.Event {
		w := wants(e(event.Received, 0), event.WantHave, 1)
		w.Wants[0].SendDontHave = true
		return []*event.Event{w, presences(e(event.Sent, time.Millisecond), event.DontHave, 1)}
	}
	f("of a session of boxo's", kubo, false, session)
	f("DONT_HAVE to others", helia, true, session)
	f("HAVE", kubo, false, func(e at) []*event.Event {
		return append(silent(e), presences(e(event.Sent, time.Millisecond), event.Have, 1))
	})
	f("the block", kubo, false, func(e at) []*event.Event {
		return append(silent(e), blocks(e(event.Sent, 4*time.Second), 1))
	})
	f("HAVE just in time", kubo, false, func(e at) []*event.Event {
		return append(silent(e), presences(e(event.Sent, time.Duration(settle)), event.Have, 1))
	})
	f("HAVE too late", kubo, true, func(e at) []*event.Event {
		return append(silent(e), presences(e(event.Sent, 6*time.Second), event.Have, 1))
	})
	f("HAVE of another", kubo, true, func(e at) []*event.Event {
		return append(silent(e), presences(e(event.Sent, time.Millisecond), event.Have, 2))
	})
	f("a want for a block", kubo, false, func(e at) []*event.Event {
		return []*event.Event{wants(e(event.Received, 0), event.WantBlock, 1)}
	})
	f("first HAVE, then nothing", kubo, true, func(e at) []*event.Event {
		return append(silent(e), presences(e(event.Sent, time.Millisecond), event.Have, 1), wants(e(event.Received, time.Second), event.WantHave, 2))
	})
}

// TestCoverageAgainstExact counts peers that connect, ask and disconnect, against an
// oracle that stores everything.
func TestCoverageAgainstExact(t *testing.T) {
	d := quiet(Config{})
	agents := []event.Text{"kubo/0.43.1", "go-ipfs/0.9", "rainbow/1", "helia/2", "x"}
	type truth struct {
		family           string
		asked, broadcast bool
	}
	there := map[peer.ID]*truth{}
	rng := rand.New(rand.NewPCG(7, 8))
	at := time.Duration(0)
	for range 20_000 {
		at += 10 * time.Millisecond
		p := rng.IntN(500)
		x := there[testPeer(p)]
		switch {
		case x == nil:
			a := agents[p%len(agents)]
			connect(d, p, a)
			there[testPeer(p)] = &truth{family: event.AgentFamilies[event.AgentFamily(a)]}
		case rng.IntN(50) == 0:
			leave(d, p, at)
			delete(there, testPeer(p))
		case p%3 == 0: // never asks
			d.feed(presences(message(event.Received, p, at), event.DontHave, 1))
		case p%3 == 1:
			d.feed(wants(message(event.Received, p, at), event.WantHave, uint64(at)))
			d.feed(presences(message(event.Sent, p, at+time.Millisecond), event.Have, uint64(at)))
			x.asked = true
		default:
			d.feed(wants(message(event.Received, p, at), event.WantHave, uint64(at)))
			x.asked, x.broadcast = true, true
		}
	}
	d.feed(message(event.Received, 1_000_000, at+time.Minute)) // time passes, and a peer without a connection
	got := d.cut().Coverage
	want := map[string]event.FamilyCoverage{}
	for _, x := range there {
		c := want[x.family]
		c.Family = x.family
		c.Connected++
		if x.asked {
			c.Asked++
		}
		if x.broadcast {
			c.Broadcast++
		}
		want[x.family] = c
	}
	if len(got.Families) != len(want) || got.Untracked != 0 {
		t.Errorf("%+v, want %v", got, want)
	}
	for _, c := range got.Families {
		if want[c.Family] != c {
			t.Errorf("%+v, exactly %+v", c, want[c.Family])
		}
	}
	if !slices.IsSortedFunc(got.Families, func(a, b event.FamilyCoverage) int {
		return slices.Index(event.AgentFamilies, a.Family) - slices.Index(event.AgentFamilies, b.Family)
	}) {
		t.Errorf("out of order: %+v", got.Families)
	}
}

// TestCoverageIsBounded: peers beyond MaxAgents are not in the figures, and are counted.
// Peers that are not connected are evicted first.
func TestCoverageIsBounded(t *testing.T) {
	d := quiet(Config{MaxAgents: 100})
	for p := range 250 {
		connect(d, p, "kubo/0.43.1")
	}
	c := d.cut().Coverage
	if n := len(d.peers.of); n != 100 || len(c.Families) != 1 || c.Families[0].Connected != 100 || c.Untracked != 150 {
		t.Errorf("%d peers kept: %+v", n, c)
	}
	for p := range 250 {
		leave(d, p, time.Second)
	}
	if c = d.cut().Coverage; len(c.Families) != 0 || c.Untracked != 0 {
		t.Errorf("after all left: %+v", c)
	}
	for p := range 1000 { // they never connect
		d.feed(message(event.Received, p, time.Second))
	}
	if n := len(d.peers.of); n != 100 {
		t.Errorf("%d peers kept", n)
	}
	for range 3 {
		d.cut()
	}
	if n := len(d.peers.of); n != 0 || d.peers.lost != 0 {
		t.Errorf("%d peers without a connection kept, %d lost", n, d.peers.lost)
	}
}

// TestPeersThatAreNotConnectedGoFirst: where one of few peers has to go for another, it is one
// without a connection.
func TestPeersThatAreNotConnectedGoFirst(t *testing.T) {
	const n = evictTries - 1
	for range 20 { // maps have any order
		ps := peers{of: map[peer.ID]*known{}, limit: n}
		for p := range n {
			ps.at(testPeer(p), 1).connected = p != 3
		}
		ps.at(testPeer(n), 1)
		if ps.of[testPeer(3)] != nil || len(ps.of) != n || ps.lost != 0 {
			t.Fatalf("%d of %d peers stay, %d connected ones are lost", len(ps.of), n, ps.lost)
		}
	}
}
