package collect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// TestPartContinues: a part that another collector continues at any time, with its sums and
// what was not acknowledged, counts what one collector counts that nobody stopped; however
// often that happens.
func TestPartContinues(t *testing.T) {
	const bucket, lateness = 3, 4 * time.Second
	r := rand.New(rand.NewPCG(7, 11))
	content := func(n int) cid.Cid {
		h, err := multihash.Sum(fmt.Append(nil, n), multihash.IDENTITY, -1)
		require.NoError(t, err)
		return cid.NewCidV1(cid.Raw, h)
	}
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var events []unify.Event // in the order of their arrival
	for i := range 4000 {
		at := begin.Add(time.Duration(i) * 100 * time.Millisecond)
		who, what := r.IntN(5), r.IntN(20)
		for m := range 3 {
			if r.IntN(4) == 0 {
				continue
			}
			kind := unify.WantHave
			if r.IntN(5) == 0 {
				kind = unify.Cancel
			}
			events = append(events, unify.Event{Time: at.Add(time.Duration(r.IntN(3000)) * time.Millisecond).UnixNano(), Monitor: m, Seq: uint64(i + 1), Peer: testPeer(who),
				Wants: []unify.Want{{CID: content(what), Priority: 1, Type: kind}}})
		}
	}
	open := func() *part {
		j, err := newJoined(3, lateness, true)
		require.NoError(t, err)
		require.NoError(t, j.parts[bucket].open())
		return j.parts[bucket]
	}
	now := time.Now() // the part's time is that of its events
	whole := open()
	for i := range events {
		whole.push(events[i:i+1], now, true)
		whole.advance(now)
	}
	want := whole.counted()
	require.NotZero(t, want.requests)
	require.NotZero(t, want.matched)
	require.NotZero(t, want.coverage.Requests)

	for _, kills := range []int{1, 3, 20} {
		var stops []int
		for range kills {
			stops = append(stops, r.IntN(len(events)))
		}
		slices.Sort(stops)
		p := open()
		var unacknowledged []unify.Event
		next := 0
		for _, stop := range append(stops, len(events)) {
			for ; next < stop; next++ {
				unacknowledged = append(unacknowledged, events[next])
				p.push(events[next:next+1], now, true)
				p.advance(now)
			}
			if stop == len(events) || p.again {
				continue
			}
			// It stores its state, acknowledges, reads some more, and is killed.
			sum := p.j.noSums()
			sum.add(p.before)
			sum.add(p.counted())
			until := p.unifier.Stats().Released
			unacknowledged = slices.DeleteFunc(unacknowledged, func(e unify.Event) bool { return e.Time < until-int64(stillNeeded) })
			more := min(next+r.IntN(200), len(events))
			p.push(events[next:more], now, true)
			p.advance(now)
			p = open()
			p.before = sum
			p.until, p.again = until, until > 0
			for i := range unacknowledged {
				p.push(unacknowledged[i:i+1], now, false)
				p.advance(now)
			}
		}
		got := p.j.noSums()
		got.add(p.before)
		got.add(p.counted())
		require.Equal(t, want.requests, got.requests, "%d kills", kills)
		require.Equal(t, want.entries, got.entries, "%d kills", kills)
		require.Equal(t, want.coverage.Requests, got.coverage.Requests, "%d kills", kills)
		require.Zero(t, p.figures().late)
	}
}
