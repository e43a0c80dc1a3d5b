package derive

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

func request(dir event.Direction, p int, t event.DHTType, key uint64) *event.Event {
	r := &event.DHTRequest{Type: t, Elapsed: time.Millisecond}
	if t == event.DHTGetProviders || t == event.DHTAddProvider {
		r.CID = testCID(key)
	}
	return &event.Event{Kind: event.KindDHT, Dir: dir, Peer: testPeer(p), Time: start, DHT: r}
}

// TestDHTAgainstExact compares the figures of random requests with exact ones.
func TestDHTAgainstExact(t *testing.T) {
	const n, tracked = 100_000, 200
	d := quiet(Config{MaxDHTTracked: tracked})
	for p := range 1000 {
		d.feed(&event.Event{Kind: event.KindIdentify, Peer: testPeer(p), Time: start,
			Identify: &event.Identify{Agent: event.Text(fmt.Sprintf("%s/1.%d", event.AgentFamilies[1+p%7], p))}})
	}
	keys, peers := zipf(1, 1.2, 100_000), zipf(2, 1.1, 1500)
	rng := rand.New(rand.NewPCG(3, 4))
	type pair struct {
		dir event.Direction
		t   event.DHTType
	}
	status := map[pair][event.DHTStatuses]uint64{}
	distinct := map[any]map[peer.ID]bool{}
	seen := func(what any, p peer.ID) {
		if distinct[what] == nil {
			distinct[what] = map[peer.ID]bool{}
		}
		distinct[what][p] = true
	}
	wanted, agents := [2]map[cid.Cid]uint64{{}, {}}, [2]map[string]uint64{{}, {}}
	var total, lookups [2]uint64
	for range n {
		p := int(peers())
		e := request(event.Direction(rng.IntN(2)), p, event.DHTType(rng.IntN(int(event.DHTTypes))), keys())
		e.DHT.Status = event.DHTStatus(rng.IntN(int(event.DHTStatuses)))
		d.hold(e)
		k := pair{e.Dir, e.DHT.Type}
		s := status[k]
		s[e.DHT.Status]++
		status[k] = s
		seen(k, e.Peer)
		if e.DHT.Type == event.DHTUnsent {
			continue
		}
		seen(e.Dir, e.Peer)
		agent := "unknown"
		if p < 1000 {
			agent = event.AgentFamilies[1+p%7]
		}
		agents[e.Dir][agent]++
		total[e.Dir]++
		if e.DHT.Type == event.DHTGetProviders {
			wanted[e.Dir][e.DHT.CID]++
			lookups[e.Dir]++
			seen([2]any{e.Dir, e.DHT.CID}, e.Peer)
		}
	}
	s := d.cut().DHT
	require.NotNil(t, s)
	for dir := range event.Directions {
		within(t, "peers", s.Peers[dir], uint64(len(distinct[dir])), 0.04)
		for i := range event.DHTTypes {
			f, k := &s.Requests[dir][i], pair{dir, i}
			require.Equal(t, status[k], f.Status, k)
			within(t, "peers of a type", f.Peers, uint64(len(distinct[k])), 0.04)
			require.Equal(t, f.Status[event.DHTAnswered], f.Elapsed.Count)
		}
		require.Len(t, s.TopKeys[dir], DefaultTopN)
		for _, c := range s.TopKeys[dir] {
			exact, askers := wanted[dir][c.CID], uint64(len(distinct[[2]any{dir, c.CID}]))
			require.LessOrEqual(t, exact, c.Requests)
			require.GreaterOrEqual(t, exact, c.Requests-c.Error)
			require.LessOrEqual(t, c.Error, lookups[dir]/tracked)
			require.LessOrEqual(t, c.Peers, askers)
			require.GreaterOrEqual(t, c.Peers+c.Error, askers)
		}
		missing(t, "keys", s.TopKeys[dir], func(c event.TopDHTKey) cid.Cid { return c.CID }, wanted[dir], lookups[dir]/tracked)
		require.Len(t, s.Agents[dir], 8)
		for _, a := range s.Agents[dir] {
			require.Equal(t, agents[dir][a.Name], a.N, a.Name)
		}
	}
	require.Nil(t, d.cut().DHT, "an interval without requests")
	d.hold(request(event.Received, 1, event.DHTGetProviders, 1))
	s = d.cut().DHT
	require.Equal(t, []event.TopDHTKey{{CID: testCID(1), Requests: 1, Peers: 1}}, s.TopKeys[event.Received], "an interval begins with nothing")
}

// TestDHTIsBounded: a flood of keys, peers and agents costs the same memory.
func TestDHTIsBounded(t *testing.T) {
	d := quiet(Config{MaxDHTTracked: 64, MaxAgents: 100})
	for i := range 3 * maxDHTAskers {
		d.hold(request(event.Received, i, event.DHTGetProviders, uint64(i)))
	}
	v := &d.now.dht
	require.Len(t, v.askers, maxDHTAskers)
	require.LessOrEqual(t, len(v.keys[event.Received].slots), 2*64)
	require.Nil(t, v.keys[event.Sent])
	for _, e := range []*event.Event{{Kind: event.KindDHT}, {Kind: event.KindDHT, Dir: 9, DHT: &event.DHTRequest{}},
		{Kind: event.KindDHT, DHT: &event.DHTRequest{Type: 99}}, {Kind: event.KindDHT, DHT: &event.DHTRequest{Status: 99}}} {
		d.hold(e) // nothing happens
	}
	require.Zero(t, d.Stats().Panics)
}

func TestDHTDoesNotAllocate(t *testing.T) {
	d := quiet(Config{MaxDHTTracked: 64})
	events := make([]*event.Event, 4096)
	for i := range events {
		events[i] = request(event.Direction(i%2), i%1000, event.DHTGetProviders, uint64(i%500))
	}
	i := 0
	for range events {
		d.hold(events[i%len(events)])
		i++
	}
	if n := testing.AllocsPerRun(3000, func() { d.hold(events[i%len(events)]); i++ }); n > 0.1 {
		t.Errorf("a request allocates %v times", n)
	}
}

func BenchmarkDHT(b *testing.B) {
	d := quiet(Config{})
	events := make([]*event.Event, 1<<14)
	keys := zipf(1, 1.1, 100_000)
	for i := range events {
		events[i] = request(event.Received, i%1000, event.DHTGetProviders, keys())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.hold(events[i%len(events)])
	}
}
