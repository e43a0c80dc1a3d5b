package unify

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
)

// testCID is the n-th CID of the tests, of either version and of several lengths.
func testCID(n int) cid.Cid {
	hash := uint64(multihash.SHA2_256)
	if n%13 == 12 {
		hash = multihash.SHA2_512 // longer than a record of names has room for
	}
	mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), hash, -1)
	if err != nil {
		panic(err)
	}
	if n%5 == 4 && hash == multihash.SHA2_256 {
		return cid.NewCidV0(mh)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// cidOf is the CID with a key.
func cidOf(key string) cid.Cid {
	c, err := cid.Cast([]byte(key))
	if err != nil {
		panic(err)
	}
	return c
}

// testPeer is the n-th peer of the tests.
func testPeer(n int) peer.ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	mh, err := multihash.Encode(append([]byte{8, 1, 18, 32}, sum[:]...), multihash.IDENTITY)
	if err != nil {
		panic(err)
	}
	return peer.ID(mh)
}

// begin is when the traces of the tests begin.
var begin = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixNano()

// randomTrace returns events of several monitors, in the order of their times,
// with everything that unify knows: few peers and CIDs, so that much repeats.
func randomTrace(r *rand.Rand, monitors, peers, cids, n int, step time.Duration) (events []Event) {
	at := begin
	seqs := make([]uint64, monitors)
	types := []EntryType{Cancel, WantBlock, WantBlockDontHave, WantHave, WantHaveDontHave}
	for range n {
		at += r.Int64N(int64(2 * step))
		if r.IntN(50) == 0 {
			at += r.Int64N(int64(40 * time.Second))
		}
		e := Event{Time: at, Monitor: r.IntN(monitors), Peer: testPeer(r.IntN(peers)), Address: "/ip4/192.0.2.7/tcp/4001"}
		switch k := r.IntN(200); {
		case k == 0:
			e.Kind, e.Peer, e.Address = Restarted, "", ""
		case k < 15:
			e.Kind = Connected
		case k < 32:
			e.Kind = Disconnected
		default:
			e.Full = r.IntN(6) == 0
			for range r.IntN(6) {
				w := Want{CID: testCID(r.IntN(cids)), Priority: r.Int32N(10), Type: types[r.IntN(len(types))]}
				if r.IntN(60) == 0 {
					w.Type = 0
				}
				e.Wants = append(e.Wants, w)
			}
		}
		// The others see the same, a little later, most times.
		for range 1 + r.IntN(monitors+1) {
			seqs[e.Monitor]++
			e.Seq = seqs[e.Monitor]
			events = append(events, e)
			e.Monitor = r.IntN(monitors)
			e.Time += r.Int64N(int64(7 * time.Second))
		}
	}
	slices.SortStableFunc(events, func(a, b Event) int { return int(a.Time - b.Time) })
	clear(seqs)
	for i := range events { // a monitor numbers its events in the order in which it sees them
		seqs[events[i].Monitor]++
		events[i].Seq = seqs[events[i].Monitor]
	}
	return events
}

// names are names for monitors.
func monitorNames(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("m%d", i))
	}
	return out
}

// run pushes events in batches and advances after each to the newest time so far.
func run(t testing.TB, cfg Config, events []Event, batch int) (out []Entry, s Stats) {
	t.Helper()
	u, err := New(cfg, func(e *Entry) { out = append(out, *e) })
	require.NoError(t, err)
	newest := int64(0)
	for part := range slices.Chunk(events, batch) {
		for i := range part {
			newest = max(newest, part[i].Time)
		}
		u.Push(part)
		u.Advance(newest)
		check(t, u)
	}
	u.Flush()
	check(t, u)
	return out, u.Stats()
}

// check compares what a unifier holds with what refers to it.
func check(t testing.TB, u *Unifier) {
	t.Helper()
	s := u.Stats()
	require.Equal(t, s.Windows, u.windows.byKey.n)
	require.Equal(t, s.Wants, u.ledgers.byCID.n)
	require.Equal(t, s.Ledgers, u.ledgers.byKey.n)
	require.Equal(t, s.Peers, u.peers.index.n)
	require.Equal(t, s.CIDs, u.cids.index.n)
	require.LessOrEqual(t, s.Peers, s.Windows+s.Ledgers)
	require.LessOrEqual(t, s.CIDs, s.Windows+s.Wants)
	require.Equal(t, s.Windows == 0, u.windows.newest == 0)
	if s.Windows == 0 {
		require.Zero(t, u.laters.used())
	}
}

// TestUnifyIsTheReference: on random traces the entries are those of the
// reference, field for field, in its order.
func TestUnifyIsTheReference(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 17))
		monitors := 1 + r.IntN(5)
		step := []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 0}[r.IntN(4)] + 1
		events := randomTrace(r, monitors, 1+r.IntN(6), 1+r.IntN(20), 400, step)
		if seed%3 == 0 { // times that are just as far apart as the windows are long
			for i := range events {
				events[i].Time -= events[i].Time % int64(time.Second)
			}
		}
		cfg := Config{Monitors: monitorNames(monitors)}
		want := refUnify(cfg, events)
		got, s := run(t, cfg, events, 1+r.IntN(50))
		require.Equal(t, len(want), len(got), "seed %d", seed)
		for i := range want {
			require.Equal(t, want[i], got[i], "seed %d, entry %d", seed, i)
		}
		var sum uint64
		for _, m := range s.Monitors {
			require.Zero(t, m.Late+m.Overflow)
			sum += m.Entries()
		}
		require.EqualValues(t, len(want), sum)
		require.Zero(t, s.Evicted+s.RefusedWants+s.RefusedLedgers+s.Forgotten)
		require.Zero(t, s.Windows)
	}
}

// TestArrivalInAnyOrder: events that come in another order, none later than the
// lateness, make the same entries.
func TestArrivalInAnyOrder(t *testing.T) {
	const lateness = 3 * time.Second
	moved := 0
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 18))
		events := randomTrace(r, 3, 5, 15, 400, []time.Duration{time.Millisecond, 200 * time.Millisecond}[seed%2])
		cfg := Config{Monitors: monitorNames(3), Lateness: lateness}
		want := refUnify(cfg, events)

		// Each event arrives up to the lateness after its time.
		type arrival struct {
			at int64
			e  Event
		}
		arrivals := make([]arrival, len(events))
		for i, e := range events {
			arrivals[i] = arrival{e.Time + r.Int64N(int64(lateness)), e}
		}
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return int(a.at - b.at) })
		var got []Entry
		u, err := New(cfg, func(e *Entry) { got = append(got, *e) })
		require.NoError(t, err)
		for i, a := range arrivals {
			if i > 0 && a.e.Time < arrivals[i-1].e.Time {
				moved++
			}
			u.Push([]Event{a.e})
			u.Advance(a.at)
		}
		u.Flush()
		require.Equal(t, want, got, "seed %d", seed)
		for _, m := range u.Stats().Monitors {
			require.Zero(t, m.Late)
		}
	}
	require.Greater(t, moved, 1000, "events that came after a newer one")
}

// TestLateEventsAreCounted: what comes after its time was released is counted,
// by monitor, with by how much, and costs the others nothing.
func TestLateEventsAreCounted(t *testing.T) {
	want := func(n int) []Want { return []Want{{CID: testCID(n), Type: WantBlock}} }
	var got []Entry
	u, err := New(Config{Monitors: monitorNames(2), Lateness: time.Second}, func(e *Entry) { got = append(got, *e) })
	require.NoError(t, err)
	at := func(s float64) int64 { return begin + int64(s*float64(time.Second)) }
	u.Push([]Event{{Time: at(10), Monitor: 0, Peer: testPeer(1), Wants: want(1)}})
	u.Advance(at(11))
	require.Empty(t, got, "an event of 11-1 s may still come")
	u.Push([]Event{{Time: at(10), Monitor: 1, Peer: testPeer(1), Wants: want(1)}, {Time: at(9.5), Monitor: 1, Peer: testPeer(1), Wants: append(want(2), want(3)...)}})
	u.Advance(at(10)) // back: changes nothing
	u.Advance(at(11) + 1)
	require.Len(t, got, 2)
	require.True(t, got[1].Matched)
	s := u.Stats()
	require.EqualValues(t, 0, s.Monitors[0].Late)
	require.EqualValues(t, 1, s.Monitors[1].Late)
	require.EqualValues(t, 2, s.Monitors[1].LateEntries)
	require.Equal(t, 500*time.Millisecond, s.Monitors[1].LateBy)
}

// TestBoundsHold: with bounds that are too small for a trace, memory stays within
// them, and everything that is left out is counted.
func TestBoundsHold(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 19))
	events := randomTrace(r, 3, 400, 4000, 30000, 5*time.Millisecond)
	cfg := Config{Monitors: monitorNames(3), MaxWindows: 500, MaxWants: 300, MaxPeerWants: 20, MaxLedgers: 100}
	entries := 0
	u, err := New(cfg, func(*Entry) { entries++ })
	require.NoError(t, err)
	all := 0
	for part := range slices.Chunk(events, 100) {
		u.Push(part)
		u.Advance(part[len(part)-1].Time)
		s := u.Stats()
		require.LessOrEqual(t, s.Windows, 500)
		require.LessOrEqual(t, s.Wants, 300)
		require.LessOrEqual(t, s.Ledgers, 100)
		for i := range part {
			for _, w := range part[i].Wants {
				if w.Type != 0 {
					all++
				}
			}
		}
	}
	u.Flush()
	check(t, u)
	s := u.Stats()
	require.NotZero(t, s.Evicted)
	require.NotZero(t, s.RefusedWants)
	require.NotZero(t, s.RefusedLedgers)
	require.NotZero(t, s.Forgotten)
	var sum, synthetic uint64
	for _, m := range s.Monitors {
		sum += m.Requests + m.Cancels
		synthetic += m.Synthetic
	}
	require.EqualValues(t, all, sum, "each entry is emitted, whatever the ledgers have no room for")
	require.EqualValues(t, entries, sum+synthetic)

	// A monitor that sends from the future fills its own part of what may wait.
	u, err = New(Config{Monitors: monitorNames(3), MaxPending: 3 * 2000}, func(e *Entry) { require.NotEqual(t, 0, e.Monitor) })
	require.NoError(t, err)
	for i := range 5000 {
		at := begin + int64(i)*int64(time.Millisecond)
		wants := []Want{{CID: testCID(i), Type: WantHave}}
		u.Push([]Event{{Time: at + int64(time.Hour), Monitor: 0, Peer: testPeer(i % 7), Wants: wants}, {Time: at, Monitor: 1, Peer: testPeer(i % 7), Wants: wants}})
		u.Advance(at)
	}
	s = u.Stats()
	require.EqualValues(t, 4000, s.Monitors[0].Overflow)
	require.Zero(t, s.Monitors[1].Overflow+s.Monitors[1].Late)
}

// TestCoverageCountsRequestsOnce: by hand.
func TestCoverageCountsRequestsOnce(t *testing.T) {
	at := func(s int) int64 { return begin + int64(s)*int64(time.Second) }
	e := func(s, monitor, n int, kind EntryType) Event {
		return Event{Time: at(s), Monitor: monitor, Peer: testPeer(1), Wants: []Want{{CID: testCID(n), Type: kind}}}
	}
	_, s := run(t, Config{Monitors: monitorNames(3)}, []Event{
		e(0, 0, 1, WantHave), e(1, 1, 1, WantHave), e(30, 0, 1, WantBlock), e(31, 2, 1, WantHave), // one request, at all
		e(32, 2, 2, WantHave), e(33, 2, 2, Cancel), e(34, 0, 2, Cancel), // one, at the third; cancels are none
		e(100, 0, 1, WantHave), // another one
	}, 1)
	require.Equal(t, Coverage{Requests: 3, Seen: []uint64{2, 1, 2}, Both: [][]uint64{{2, 1, 1}, {1, 1, 1}, {1, 1, 2}}}, s.Coverage)
}

// TestConfigNamesWhatIsWrong: all errors at once.
func TestConfigNamesWhatIsWrong(t *testing.T) {
	_, err := New(Config{Monitors: []string{"a", "a", ""}, Lateness: -1, Sliding: []uint32{0}, MaxWants: -1}, nil)
	for _, want := range []string{`two monitors have the name "a"`, `a monitor's name ""`, "a lateness of -1ns: want 0 to 24h", "a sliding window of 0 s", "a bound of memory"} {
		require.ErrorContains(t, err, want)
	}
	_, err = New(Config{}, nil)
	require.ErrorContains(t, err, "0 monitors: want 1 to 64")
	_, err = New(Config{Monitors: monitorNames(65)}, nil)
	require.ErrorContains(t, err, "65 monitors: want 1 to 64")
}

// TestBytesOfWindows: an entry of another peer and CID takes at most 200 bytes in
// the windows, as Config says, and a full ledger no more than it says. make
// bench-fleet measures the heap.
func TestBytesOfWindows(t *testing.T) {
	const n, peers = 200_000, 1000
	u, err := New(Config{Monitors: monitorNames(1), MaxPeerWants: 1 << 20}, func(*Entry) {})
	require.NoError(t, err)
	e := Event{Time: begin, Peer: testPeer(0)}
	for i := range n {
		e.Peer = testPeer(i % peers)
		mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)), multihash.SHA2_256, -1)
		require.NoError(t, err)
		e.Wants = []Want{{CID: cid.NewCidV1(cid.Raw, mh), Type: WantHave}}
		u.Push([]Event{e})
	}
	u.Advance(begin + 1 + int64(time.Second))
	s := u.Stats()
	require.Equal(t, n, s.Windows)
	require.Equal(t, n, s.Wants)
	require.LessOrEqual(t, float64(s.WindowBytes)/n, 200., "WindowBytes of an entry")
	require.LessOrEqual(t, float64(s.LedgerBytes)/n, 160., "LedgerBytes of a want")
	t.Logf("%.0f and %.0f bytes", float64(s.WindowBytes)/n, float64(s.LedgerBytes)/n)
}
