package lineproto

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
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

// count counts a point of history in the rollup of one of schema.Counted.
func (e *Encoder) count(t *table, series int, at, v int64) {
	if e.sums != nil {
		e.sums.Add(e.rollup(t, series), at, v)
	}
}

// asked counts how a want asks.
func (e *Encoder) asked(dir int, full bool, w *event.Want, at int64) {
	kind := wantIndex(w)
	if kind == 2 { // a cancel
		return
	}
	e.count(e.t.asking, ((dir*2+sets.Bit(full))*2+sets.Bit(w.SendDontHave))*3+min(kind, 2), at, 0)
}

// lived counts how long a connection that ended lived.
func (e *Encoder) lived(c *event.Conn, at int64) {
	if !c.Closed || c.Unmatched {
		return
	}
	ms := c.Duration.Milliseconds()
	s := sets.Bit(!c.Inbound)*len(schema.TagTransport.Values) + schema.TagTransport.Index(c.Transport)
	e.count(e.t.lifetimes, s*(len(schema.LifetimeBounds)+1)+schema.Class(schema.LifetimeBounds, ms), at, ms)
}

// sized counts a block by its size.
func (e *Encoder) sized(dir int, b *event.Block, at int64) {
	size := int64(b.Size)
	e.count(e.t.blockSizes, (codecIndex(b.CID)*2+dir)*(len(schema.BlockSizeBounds)+1)+schema.Class(schema.BlockSizeBounds, size), at, size)
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
