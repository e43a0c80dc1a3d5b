package unify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestIndexIsAMap: an index with hashes that collide often finds what a map has.
func TestIndexIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var x index
	have := map[uint32]uint32{} // number, hash
	for range 200_000 {
		id := 1 + r.Uint32N(500)
		if tag, ok := have[id]; ok {
			require.Equal(t, id, x.find(tag, func(other uint32) bool { return other == id }))
			if r.IntN(2) == 0 {
				x.remove(tag, id)
				delete(have, id)
			}
			continue
		}
		tag := r.Uint32N(60) * 0x01000193
		require.Zero(t, x.find(tag, func(other uint32) bool { return other == id }))
		x.add(tag, id)
		have[id] = tag
	}
	require.Equal(t, len(have), x.n)
	require.LessOrEqual(t, len(x.slots), 1024, "removed entries leave nothing")
}

// TestNames: numbers of names of all lengths, and what is free is used again.
func TestNames(t *testing.T) {
	names := newNames()
	var all []string
	for n := range 200 {
		all = append(all, strings.Repeat("x", n), fmt.Sprint(n, strings.Repeat("y", n)))
	}
	ids := map[string]uint32{}
	for range 3 {
		for _, s := range all {
			id := names.add(s)
			if old, ok := ids[s]; ok {
				require.Equal(t, old, id)
			}
			ids[s] = id
			require.Equal(t, s, names.text(id))
		}
	}
	require.Equal(t, len(all), names.all.used())
	for range 3 {
		for _, s := range all {
			names.drop(ids[s])
		}
	}
	require.Zero(t, names.all.used())
	require.Zero(t, names.index.n)
	require.Empty(t, names.long)
	before := names.size()
	for _, s := range all {
		names.drop(names.add(s))
	}
	require.Equal(t, before, names.size())
}

// TestMarksBeginAgain: after 2^32 messages the marks of the ledgers' wants begin
// again, and no want has an old one that counts as new.
func TestMarksBeginAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 21))
	events := randomTrace(r, 2, 4, 10, 600, 100*time.Millisecond)
	cfg := Config{Monitors: monitorNames(2)}
	var got []Entry
	u, err := New(cfg, func(e *Entry) { got = append(got, *e) })
	require.NoError(t, err)
	for i := range events {
		if i == len(events)/2 {
			u.ledgers.mark = math.MaxUint32 - 20
		}
		u.Push(events[i : i+1])
		u.Advance(events[i].Time)
	}
	u.Flush()
	require.Equal(t, refUnify(cfg, events), got)
	require.Less(t, u.ledgers.mark, uint32(math.MaxUint32/2))
}

// TestMemoryIsUsedAgain: a long trace takes the memory of its busiest time, not of
// its length.
func TestMemoryIsUsedAgain(t *testing.T) {
	u, err := New(Config{Monitors: monitorNames(2)}, func(*Entry) {})
	require.NoError(t, err)
	var early int
	for round := range 40 {
		for i := range 2000 {
			at := begin + int64(round)*int64(time.Minute) + int64(i)*int64(time.Millisecond)
			p := testPeer(round*2000 + i)
			for m := range 2 {
				u.Push([]Event{{Time: at, Monitor: m, Peer: p, Wants: []Want{{CID: testCID(round*2000 + i), Type: WantHave}}},
					{Time: at + int64(time.Second), Monitor: m, Kind: Disconnected, Peer: p}, {Time: at + 2*int64(time.Second), Monitor: m, Kind: Connected, Peer: p},
					{Time: at + 8*int64(time.Second), Monitor: m, Peer: p}, {Time: at + 9*int64(time.Second), Monitor: m, Kind: Disconnected, Peer: p}})
			}
			u.Advance(at)
		}
		u.Advance(begin + int64(round+1)*int64(time.Minute))
		s := u.Stats()
		require.Zero(t, s.Windows+s.Wants+s.Ledgers+s.Peers+s.CIDs, "a minute later nothing is held")
		if size := s.WindowBytes + s.LedgerBytes; round == 3 {
			early = size
		} else if round > 3 {
			require.LessOrEqual(t, size, early+early/10, "round %d", round)
		}
	}
}
