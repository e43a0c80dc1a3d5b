package unify

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// TestWindowsByHand: what is just as long ago as a window is long is within it, a millisecond
// more is not; a reconnect's window does not have its end.
func TestWindowsByHand(t *testing.T) {
	p := testPeer(1)
	entries := func(after time.Duration, monitor int, kind EntryType) []Entry {
		t.Helper()
		out, _ := run(t, Config{Monitors: monitorNames(2)}, []Event{
			{Time: begin, Monitor: 0, Peer: p, Wants: []Want{{CID: testCID(1), Type: WantHave}}},
			{Time: begin + int64(after), Monitor: monitor, Peer: p, Wants: []Want{{CID: testCID(1), Type: kind}}},
		}, 1)
		require.Len(t, out, 2)
		return out[1:]
	}
	for after, matched := range map[time.Duration]bool{0: true, 5 * time.Second: true, 5*time.Second + time.Millisecond: false} {
		e := entries(after, 1, WantHave)[0]
		require.Equal(t, matched, e.Matched, after)
		if matched {
			require.Equal(t, after, e.MatchAfter)
			require.Equal(t, 0, e.MatchedTo)
		}
	}
	for after, duplicate := range map[time.Duration]bool{31 * time.Second: true, 31*time.Second + time.Millisecond: false} {
		require.Equal(t, duplicate, entries(after, 0, WantHave)[0].Duplicate, after)
	}
	for _, c := range []struct {
		after         time.Duration
		since, window uint32
	}{{1, 1, 9}, {time.Second, 1, 9}, {2*time.Second - 1, 1, 9}, {8 * time.Second, 8, 9}, {9 * time.Second, 9, 11}, {11 * time.Second, 11, 29},
		{604800 * time.Second, 604800, 604801}, {604801 * time.Second, 604801, 0}} {
		e := entries(c.after, 0, WantHave)[0]
		require.Equal(t, []uint32{c.since, c.window}, []uint32{e.Since, e.Window}, c.after)
	}
	require.EqualValues(t, 3, entries(3*time.Second, 0, Cancel)[0].Since)

	for after, repeats := range map[time.Duration]uint8{5*time.Second - 1: RepeatsReconnect, 5 * time.Second: 0} {
		out, _ := run(t, Config{Monitors: monitorNames(1)}, []Event{
			{Time: begin, Peer: p, Wants: []Want{{CID: testCID(1), Type: WantHave}}},
			{Time: begin + 1, Peer: p, Kind: Disconnected},
			{Time: begin + 2, Peer: p, Kind: Connected},
			{Time: begin + 2 + int64(after), Peer: p, Wants: []Want{{CID: testCID(1), Type: WantHave}}},
		}, 1)
		require.Equal(t, repeats, out[len(out)-1].Repeats, after)
	}
}

// TestBoundsAreExact: as many as a bound says have room, one more does not.
func TestBoundsAreExact(t *testing.T) {
	message := func(p, c int) Event {
		return Event{Time: begin + int64(p*1000+c), Peer: testPeer(p), Wants: []Want{{CID: testCID(c), Type: WantHave}}}
	}
	f := func(cfg Config, events []Event, want func(Stats) uint64) (counts []uint64) {
		t.Helper()
		cfg.Monitors = monitorNames(1)
		u, err := New(cfg, func(*Entry) {})
		require.NoError(t, err)
		for _, e := range events {
			u.Push([]Event{e})
			u.Advance(e.Time + 1 + int64(cfg.Lateness))
			check(t, u)
			counts = append(counts, want(u.Stats()))
		}
		return counts
	}
	three := []Event{message(1, 1), message(1, 2), message(1, 3)}
	require.Equal(t, []uint64{0, 0, 1}, f(Config{MaxWindows: 2}, three, func(s Stats) uint64 { return s.Evicted }))
	require.Equal(t, []uint64{1, 2, 2}, f(Config{MaxWindows: 2}, three, func(s Stats) uint64 { return uint64(s.Windows) }))
	require.Equal(t, []uint64{0, 0, 1}, f(Config{MaxPeerWants: 2}, three, func(s Stats) uint64 { return s.RefusedWants }))
	require.Equal(t, []uint64{0, 0, 1}, f(Config{MaxWants: 2}, three, func(s Stats) uint64 { return s.RefusedWants }))
	peers := []Event{message(1, 1), message(2, 1), message(3, 1)}
	require.Equal(t, []uint64{0, 0, 1}, f(Config{MaxLedgers: 2}, peers, func(s Stats) uint64 { return s.RefusedLedgers }))
	// A ledger of a peer that is gone makes room.
	gone := []Event{message(1, 1), {Time: begin + 1500, Peer: testPeer(1), Kind: Disconnected}, message(2, 1), message(3, 1)}
	require.Equal(t, []uint64{0, 0, 0, 1}, f(Config{MaxLedgers: 2}, gone, func(s Stats) uint64 { return s.Forgotten }))
	require.Equal(t, []uint64{0, 0, 0, 1}, f(Config{MaxWants: 2}, gone, func(s Stats) uint64 { return s.Forgotten }))

	// What waits: an event and its entries, an equal part for each monitor.
	u, err := New(Config{Monitors: monitorNames(2), MaxPending: 2 * 20_000, Lateness: time.Hour}, func(*Entry) {})
	require.NoError(t, err)
	e := Event{Time: begin, Peer: testPeer(1)}
	for range 9_999 {
		e.Wants = append(e.Wants, Want{CID: testCID(1), Type: WantHave})
	}
	u.Push([]Event{e, e})
	require.Equal(t, 20_000, u.Stats().Waiting)
	require.Zero(t, u.Stats().Monitors[0].Overflow)
	u.Push([]Event{{Time: begin, Peer: testPeer(1)}, {Time: begin, Peer: testPeer(1), Monitor: 1}})
	s := u.Stats()
	require.EqualValues(t, 1, s.Monitors[0].Overflow)
	require.Zero(t, s.Monitors[0].OverflowEntries)
	require.Zero(t, s.Monitors[1].Overflow)
	require.Equal(t, 20_001, s.Waiting)
	u.Push([]Event{e})
	require.EqualValues(t, 9_999, u.Stats().Monitors[0].OverflowEntries)
	u.Flush()
	require.Zero(t, u.Stats().Waiting)
}

// TestConfigLimits: what is at a limit is accepted.
func TestConfigLimits(t *testing.T) {
	ok := func(c Config) { t.Helper(); c.Monitors = monitorNames(1); require.NoError(t, c.Validate()) }
	no := func(c Config, want string) {
		t.Helper()
		c.Monitors = monitorNames(1)
		require.ErrorContains(t, c.Validate(), want)
	}
	const day = 24 * time.Hour
	ok(Config{Lateness: day, Match: day, Duplicate: day, Reconnect: day, MaxPending: 1 << 30, MaxWindows: 1 << 30, MaxWants: 1 << 30, MaxPeerWants: 1 << 30, MaxLedgers: 1 << 30})
	no(Config{Lateness: day + 1}, "a lateness")
	no(Config{Match: day + 1}, "a match window")
	no(Config{Duplicate: -1}, "a duplicate window")
	no(Config{Reconnect: day + 1}, "a reconnect window")
	no(Config{MaxLedgers: 1<<30 + 1}, "a bound of memory")
	no(Config{MaxPending: -1}, "a bound of memory")
	require.NoError(t, Config{Monitors: monitorNames(64)}.Validate())
}

// TestConverterLimits: the years that nanoseconds have, and the longest peer IDs and CIDs.
func TestConverterLimits(t *testing.T) {
	c := NewConverter(3)
	at := func(y int) *stream.Event {
		return &stream.Event{Timestamp: time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC), Peer: testPeer(1).String(), Connection: &stream.Connection{Type: 1, Remote: "/ip4/1.2.3.4"}}
	}
	for y, ok := range map[int]bool{1969: false, 1970: true, 2261: true, 2262: false} {
		e, is, err := c.Event(at(y))
		require.Equal(t, ok, is)
		require.Equal(t, ok, err == nil, y)
		if ok {
			require.Equal(t, Event{Time: at(y).Timestamp.UnixNano(), Monitor: 3, Kind: Disconnected, Peer: testPeer(1), Address: "/ip4/1.2.3.4"}, e)
		}
	}
	id := func(n int) string { // of so many bytes
		for size := n; ; size-- {
			mh, err := multihash.Encode(make([]byte, size), multihash.IDENTITY)
			require.NoError(t, err)
			if len(mh) == n {
				return peer.ID(mh).String()
			}
		}
	}
	p, err := c.Peer(id(event.MaxCIDBytes))
	require.NoError(t, err)
	require.Len(t, string(p), event.MaxCIDBytes)
	_, err = c.Peer(id(event.MaxCIDBytes + 1))
	require.ErrorContains(t, err, fmt.Sprintf("want at most %d", event.MaxCIDBytes))
	for i := range maxPeerTexts + 1 {
		_, err := c.Peer(testPeer(i).String())
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.peers), maxPeerTexts)
	}
	require.Len(t, c.peers, 2, "the first and the last after it was emptied")
	require.Empty(t, address("x"))
}

// TestNamesOfEveryLength: names of up to nameBytes are in the records, longer ones take their
// length more.
func TestNamesOfEveryLength(t *testing.T) {
	names := newNames()
	names.add(strings.Repeat("x", nameBytes))
	require.Empty(t, names.long)
	before := names.size()
	id := names.add(strings.Repeat("x", nameBytes+1))
	require.Len(t, names.long, 1)
	require.Equal(t, before+nameBytes+1+48, names.size())
	names.drop(id)
	require.Equal(t, before, names.size()-4*cap(names.all.spare))
}

// TestPendingIsSorted: what waits comes out by time, monitor, number and arrival.
func TestPendingIsSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var p pending
	var want []waiting
	for n := range uint64(3000) {
		e := Event{Time: r.Int64N(20), Monitor: r.IntN(4), Seq: r.Uint64N(5), Full: n%2 == 0}
		p.push(&e)
		want = append(want, waiting{e.Time, e.Seq, n + 1, int32(e.Monitor), 0})
		if r.IntN(3) > 0 {
			continue
		}
		slices.SortFunc(want, func(a, b waiting) int {
			return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.monitor, b.monitor), cmp.Compare(a.seq, b.seq), cmp.Compare(a.arrived, b.arrived))
		})
		at, ok := p.oldest()
		require.True(t, ok)
		require.Equal(t, want[0].time, at)
		require.Equal(t, want[0].arrived, p.heap[0].arrived)
		got := p.pop()
		require.Equal(t, Event{Time: want[0].time, Monitor: int(want[0].monitor), Seq: want[0].seq, Full: want[0].arrived%2 == 1}, got)
		want = want[1:]
	}
	for range len(want) {
		p.pop()
	}
	_, ok := p.oldest()
	require.False(t, ok)
	require.Zero(t, p.events.used())
}

// TestSizesAreSums: what is said about memory is that of all parts.
func TestSizesAreSums(t *testing.T) {
	var s slab[int64]
	require.Zero(t, s.bytes())
	s.take()
	require.Equal(t, 8*pageRecords, s.bytes())
	for range pageRecords {
		s.take()
	}
	s.free(7)
	require.Equal(t, 2*8*pageRecords+4*cap(s.spare), s.bytes())
	names := newNames()
	names.add("a")
	require.Equal(t, names.all.bytes()+8*len(names.index.slots), names.size())
	u, err := New(Config{Monitors: monitorNames(1)}, func(*Entry) {})
	require.NoError(t, err)
	u.Push([]Event{{Time: begin, Peer: testPeer(1), Wants: []Want{{CID: testCID(1), Type: WantHave}}}})
	u.Advance(begin + int64(time.Minute))
	l := &u.ledgers
	parts := []int{l.all.bytes(), l.byKey.bytes(), l.wants.bytes(), l.byCID.bytes()}
	require.Equal(t, parts[0]+parts[1]+parts[2]+parts[3], u.Stats().LedgerBytes)
	require.Positive(t, slices.Min(parts))
}

// TestIndexGrows: a table is at most three quarters full.
func TestIndexGrows(t *testing.T) {
	var x index
	for n := range uint32(1000) {
		x.add(n, n+1)
		require.LessOrEqual(t, 4*x.n, 3*len(x.slots))
		require.True(t, len(x.slots) == 16 || 8*x.n > 3*len(x.slots), "and not larger than needed: %d of %d", x.n, len(x.slots))
	}
}

// TestWhatHasNoPart: messages over HTTP, of the nodes behind a proxy and sent ones have no part
// in a unified trace, and of the notes only a start has.
func TestWhatHasNoPart(t *testing.T) {
	c := NewConverter(0)
	at := time.Unix(0, begin).UTC()
	f := func(want Kind, ok bool, e stream.Event) {
		t.Helper()
		e.Timestamp, e.Peer = at, testPeer(1).String()
		got, is, err := c.Event(&e)
		require.NoError(t, err)
		require.Equal(t, ok, is)
		if ok {
			require.Equal(t, want, got.Kind)
		}
	}
	f(Message, true, stream.Event{Message: &stream.Message{}})
	f(Message, false, stream.Event{Message: &stream.Message{Transport: event.HTTP.String()}})
	f(Message, false, stream.Event{Sent: &stream.Message{}})
	f(Message, false, stream.Event{Side: event.Downstream.String(), Message: &stream.Message{}})
	f(Message, true, stream.Event{Side: event.Upstream.String(), Message: &stream.Message{}})
	f(Restarted, true, stream.Event{Note: &stream.Note{Kind: event.NoteStart.String()}})
	f(Message, false, stream.Event{Note: &stream.Note{Kind: event.NoteStorm.String()}})
	f(Connected, true, stream.Event{Connection: &stream.Connection{}})
	f(Disconnected, true, stream.Event{Connection: &stream.Connection{Type: 1}})
}

// TestStatsByHand: each counter, of a small trace.
func TestStatsByHand(t *testing.T) {
	p := testPeer(1)
	at := func(s float64) int64 { return begin + int64(s*float64(time.Second)) }
	message := func(s float64, monitor, c int, kind EntryType, more ...Want) Event {
		return Event{Time: at(s), Monitor: monitor, Peer: p, Wants: append([]Want{{CID: testCID(c), Type: kind}}, more...)}
	}
	u, err := New(Config{Monitors: monitorNames(2)}, func(*Entry) {})
	require.NoError(t, err)
	u.Push([]Event{
		message(0, 0, 1, WantHave, Want{}), message(1, 1, 1, WantHave), message(2, 0, 1, WantHave), message(3, 0, 1, Cancel),
		message(4, 0, 2, WantBlock), message(4.5, 0, 2, WantBlock), {Time: at(5), Monitor: 0, Peer: p, Kind: Disconnected},
	})
	u.Flush()
	s := u.Stats()
	require.Equal(t, MonitorStats{Name: "m0", Newest: at(5), Events: 6, Messages: 5, Unknown: 1, Requests: 4, Cancels: 1, Synthetic: 1, Duplicates: 2, Repeats: 2}, s.Monitors[0])
	require.Equal(t, MonitorStats{Name: "m1", Newest: at(1), Events: 1, Messages: 1, Requests: 1, Matched: 1, Duplicates: 1}, s.Monitors[1])
	require.EqualValues(t, 7, s.Messages)
	require.EqualValues(t, 6, s.Monitors[0].Entries())
	parts := []int{u.windows.all.bytes(), u.windows.byKey.bytes(), u.laters.bytes(), u.peers.size(), u.cids.size()}
	require.Equal(t, parts[0]+parts[1]+parts[2]+parts[3]+parts[4], s.WindowBytes)
	require.Positive(t, slices.Min(parts))

	out, _ := run(t, Config{Monitors: monitorNames(1), Sliding: []uint32{5}}, []Event{message(0, 0, 1, WantHave), message(3, 0, 1, WantHave)}, 1)
	require.EqualValues(t, 5, out[1].Window, "the first of the sliding windows")
	require.EqualValues(t, RepeatsSliding, out[1].Repeats)
}
