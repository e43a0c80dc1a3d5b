package lineproto

import (
	"github.com/ipfsmon/ipfsmon/influx/rollup"
)

// SetRollups has the encoder count each point of history in sums, also where it writes no
// history.
func (e *Encoder) SetRollups(sums *rollup.Sums) { e.sums = sums }

// point counts a point of history in its rollup, with the number that is summed, and reports
// whether the point is written: its time, and its line begun.
func (e *Encoder) point(t *table, b []byte, series int, at, v int64) (p point, write bool) {
	if e.sums != nil && t.m.Rollup != nil {
		e.sums.Add(e.rollup(t, series), at, v)
	}
	if e.noHistory {
		return point{buf: b}, false
	}
	return e.begin(t, b, series), true
}

// rollup returns the place of a series in the sums.
func (e *Encoder) rollup(t *table, series int) int {
	for len(t.rollups) <= e.side {
		t.rollups = append(t.rollups, nil)
	}
	if t.rollups[e.side] == nil {
		t.rollups[e.side] = make([]int32, len(t.series))
	}
	place := &t.rollups[e.side][series]
	if *place == 0 {
		*place = 1 + int32(e.sums.Series(t.m, e.tags(t, series, t.m.Rollups()[0].By())))
	}
	return int(*place) - 1
}
