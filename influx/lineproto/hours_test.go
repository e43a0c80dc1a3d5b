package lineproto

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// TestHours compares the lists of hours with the events: they are the sums of the intervals' lists, also of two runs in one
// hour, and a clock that is set back makes none of them less.
func TestHours(t *testing.T) {
	begin := time.Unix(influxtest.Time/int64(time.Second), 0).UTC().Truncate(time.Hour).Add(20 * time.Minute)
	r := rand.New(rand.NewPCG(1, 2))
	run := func() *Encoder {
		e := NewEncoder("n", true)
		e.SetRollups(rollup.New(begin))
		return e
	}
	e := run()
	type sums struct{ wants, errors, peers int64 }
	truth := map[int64]map[string]*sums{}  // by hour and CID
	stored := map[string]map[string]sums{} // by time and place
	written := 0
	take := func(at time.Time) {
		s := &event.Summary{}
		for range 30 {
			c := event.TopCID{CID: influxtest.CID(r.IntN(90)), Wants: uint64(1 + r.IntN(1000)), Error: uint64(r.IntN(9)), Peers: uint64(r.IntN(50))}
			if slices.ContainsFunc(s.TopCIDs, func(o event.TopCID) bool { return o.CID == c.CID }) {
				continue
			}
			s.TopCIDs = append(s.TopCIDs, c)
			hour := at.Truncate(time.Hour).UnixNano()
			if truth[hour] == nil {
				truth[hour] = map[string]*sums{}
			}
			x := truth[hour][c.CID.String()]
			if x == nil {
				x = &sums{}
				truth[hour][c.CID.String()] = x
			}
			x.wants, x.errors, x.peers = x.wants+int64(c.Wants), x.errors+int64(c.Error), max(x.peers, int64(c.Peers))
		}
		for _, p := range influxtest.Decode(t, influxtest.Encode(e, &event.Event{Time: at.UnixNano(), Kind: event.KindSummary, Summary: s})) {
			if p.Name != schema.TopCIDsHours.Name || p.Tags["list"] != "wants" {
				continue
			}
			written++
			now := sums{p.Fields["wants"].(int64), p.Fields["error"].(int64), p.Fields["peers"].(int64)}
			key, place := fmt.Sprint(p.At), p.Tags["rank"]
			if place == "01" {
				if old := stored[key]["cid 01"]; now.wants < old.wants {
					t.Errorf("the first of %s has %d wants, had %d", key, now.wants, old.wants)
				}
				stored[key] = map[string]sums{}
			}
			stored[key]["cid "+place] = now
			stored[key][p.Fields["cid"].(string)] = now
		}
	}
	for m := range 200 {
		if m == 90 { // within an hour
			e = run()
		}
		take(begin.Add(time.Duration(m) * time.Minute))
	}
	last := begin.Add(199 * time.Minute).Truncate(time.Hour)
	for hour, of := range truth {
		if hour == begin.Add(90*time.Minute).Truncate(time.Hour).UnixNano() {
			continue // of two runs; its parts are compared below
		}
		var all []int64
		for _, x := range of {
			all = append(all, x.wants)
		}
		slices.SortFunc(all, func(a, b int64) int { return cmp.Compare(b, a) })
		key := fmt.Sprint(hour)
		if hour == begin.Truncate(time.Hour).UnixNano() {
			key = fmt.Sprint(begin.UnixNano()) // that of the first list
		}
		for i, want := range all[:schema.MaxRank] {
			if got := stored[key][fmt.Sprintf("cid %02d", i+1)].wants; got != want {
				t.Errorf("hour %v, place %d: %d wants, want %d", time.Unix(0, hour).UTC(), i+1, got, want)
			}
		}
		for c, got := range stored[key] {
			if want := of[c]; want != nil && got.wants == want.wants && got != (sums{want.wants, want.errors, want.peers}) {
				t.Errorf("%s: %+v, want %+v", c, got, *want)
			}
		}
	}
	// Two runs in one hour: their parts have times of their own, and come to the whole.
	first, second := begin.Add(90*time.Minute).Truncate(time.Hour), begin.Add(90*time.Minute)
	parts := 0
	for c, want := range truth[first.UnixNano()] {
		a, there := stored[fmt.Sprint(first.UnixNano())][c]
		b, too := stored[fmt.Sprint(second.UnixNano())][c]
		if there && too && a.wants+b.wants != want.wants {
			t.Errorf("%s: %d and %d wants in two runs, want %d", c, a.wants, b.wants, want.wants)
		}
		if there && too {
			parts++
		}
	}
	if parts < 10 {
		t.Errorf("%d CIDs in both parts", parts)
	}
	of := func() string {
		return fmt.Sprint(stored[fmt.Sprint(last.UnixNano())], stored[fmt.Sprint(last.Add(-time.Hour).UnixNano())])
	}
	before := of()
	take(begin.Add(30 * time.Minute)) // the clock was set back
	take(last.Add(-30 * time.Minute))
	take(last.Add(time.Minute))
	if of() != before || written == 0 {
		t.Errorf("%d written; a clock that was set back changed what was written of %v", written, last)
	}
}
