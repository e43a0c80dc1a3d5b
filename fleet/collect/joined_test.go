package collect

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/stream"
)

// testPeer returns a peer ID of an identity key's form.
func testPeer(n int) peer.ID {
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, fmt.Sprintf("%032d", n)...))
}

// TestTotals: what three monitors see is joined, counted, and compared with what
// was sent to them; one has a clock that is an hour ahead.
func TestTotals(t *testing.T) {
	ahead := time.Hour
	a := monitorAt(t, "127.0.0.1:0", "a", nil)
	b := monitorAt(t, "127.0.0.1:0", "b", func(c *stream.Config) { c.Now = func() time.Time { return time.Now().Add(ahead) } })
	c := monitorAt(t, "127.0.0.1:0", "c", nil)
	f := collectFrom(t, Config{Lateness: "1s", Monitors: []Source{{Stream: a.addr}, {Stream: b.addr}, {Stream: c.addr}}})
	for _, m := range []*mon{a, b, c} {
		f.await(t, m.addr, up)
	}
	const n = 30
	ask := func(m *mon, who int, at time.Time) {
		country := "" // a has no database of countries
		if m != a {
			country = "FR"
		}
		m.bus.Publish(&event.Event{Country: country, Kind: event.KindMessage, Time: at.UnixNano(), Peer: testPeer(who), Wants: []event.Want{{CID: eventtest.CID, Priority: 1}}})
	}
	connect := func(m *mon, who int) {
		m.bus.Publish(&event.Event{Kind: event.KindConnection, Time: time.Now().UnixNano(), Peer: testPeer(who),
			Conn: &event.Conn{ID: fmt.Sprint(who), Addr: "/ip4/192.0.2.1/tcp/4001", Transport: "tcp", PeerConns: 1, TotalConns: 1}})
	}
	// Each peer asks a, every second one b 100 ms later, and b by its own clock; a
	// peer of its own asks c.
	now := time.Now()
	for i := range n {
		connect(a, i)
		ask(a, i, now)
		if i%2 == 0 {
			connect(b, i)
			ask(b, i, now.Add(ahead+100*time.Millisecond))
		}
	}
	connect(c, 1000)
	ask(c, 1000, now)
	f.await(t, a.addr, func(m Monitor) bool { return m.Wants == n && m.Peers == n })
	f.await(t, b.addr, func(m Monitor) bool { return m.Wants == n/2 && m.Peers == n/2 })
	f.await(t, c.addr, func(m Monitor) bool { return m.Wants == 1 && m.Peers == 1 })
	require.Eventually(t, func() bool { _, entries, _ := f.joined.counts(); return entries == n+n/2+1 }, patience, 10*time.Millisecond)
	// The windows end as time passes.
	f.joined.advance(time.Now().Add(2 * time.Minute))

	got := f.totals(time.Second, time.Now())
	require.EqualValues(t, n+n/2+1, got.Entries)
	require.EqualValues(t, n+1, got.Requests)
	require.EqualValues(t, n+1, got.Closed)
	require.EqualValues(t, n/2, got.Matched)
	require.Zero(t, got.Late)
	require.Equal(t, n+1, got.Peers)
	require.Equal(t, []event.FleetCID{{CID: eventtest.CID, Requests: n + 1, Peers: n + 1, Seen: 0b111}}, got.TopCIDs)
	require.Len(t, got.Monitors, 3)
	for i, want := range []uint64{n, n / 2, 1} {
		require.Equal(t, want, got.Monitors[i].Seen)
		require.EqualValues(t, want*1000/(n+1), got.Monitors[i].Coverage)
	}
	require.InDelta(t, ahead, got.Monitors[1].Offset, float64(time.Second))
	require.InDelta(t, 100*time.Millisecond, got.Monitors[1].Apart, float64(50*time.Millisecond), "the clock's offset is not in it")
	require.InDelta(t, -100*time.Millisecond, got.Monitors[0].Apart, float64(50*time.Millisecond))
	require.Len(t, got.Overlaps, 3)
	ab := got.Overlaps[0]
	require.Equal(t, [2]event.Text{"a", "b"}, [2]event.Text{ab.A, ab.B})
	require.Equal(t, n/2, ab.Common)
	require.Equal(t, [2]int{n / 2, 0}, ab.Only)
	require.EqualValues(t, n/2, ab.Requests)
	require.Equal(t, event.Text("all"), got.Sizes[0].Of)
	require.Equal(t, n+1, got.Sizes[0].Seen)
	require.True(t, got.Sizes[0].Pair.Known)
	require.EqualValues(t, n, got.Sizes[0].Pair.N, "b is a part of a")

	top := f.Status(true).Totals.Top
	require.Equal(t, []Popular{{CID: eventtest.CID.String(), Requests: n + 1, Peers: n + 1, Seen: []string{"a", "b", "c"}}}, top)
	require.Equal(t, []Country{{"none", n}, {"FR", n/2 + 1}}, f.Status(true).Totals.Countries)
	require.Empty(t, f.Status(false).Totals.Top, "of no CID in the other modes of privacy")

	// Nothing came in the next interval.
	got = f.totals(time.Second, time.Now())
	require.Zero(t, got.Entries+got.Requests+got.Closed+got.Matched+got.Monitors[0].Wants+got.Monitors[0].Seen+got.Overlaps[0].Requests)
	require.Empty(t, got.TopCIDs)
	require.Equal(t, n+1, got.Peers)
	require.NotNil(t, f.Status(true).Totals)
	require.Len(t, f.Past().Moments, 2)
	require.EqualValues(t, n+1, f.Past().Moments[0].Requests)
}

func TestPairAt(t *testing.T) {
	i := 0
	for a := range 5 {
		for b := a + 1; b < 5; b++ {
			x, y := pairAt(i, 5)
			require.Equal(t, [2]int{a, b}, [2]int{x, y})
			i++
		}
	}
}
