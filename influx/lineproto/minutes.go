package lineproto

import (
	"math"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// endOfMinute is the end of a minute in which its figures are written: no sample of the usual ten seconds follows in it.
const endOfMinute = 50 * time.Second

// minutes sums the points of a measurement over the running minute.
type minutes struct {
	of     *table // that of the minutes
	last   []bool // by field: the last counts, not the mean
	begin  int64
	cells  map[int]*minuteCell // by series
	series []int               // in the order in which they came
	fresh  bool                // something has changed since it was written
}

type minuteCell struct {
	n    int64
	sums [4]int64
}

// inMinute adds a point to those of its minute. Without rollups there are none.
func (e *Encoder) inMinute(of *table, series int, values []int64) {
	m := e.minutes[of.m]
	if m == nil {
		return
	}
	c := m.cells[series]
	if c == nil {
		c = &minuteCell{}
		m.cells[series] = c
		m.series = append(m.series, series)
	}
	c.n++
	for i, v := range values {
		if m.last[i] {
			c.sums[i] = v
		} else {
			c.sums[i] = v + min(c.sums[i], math.MaxInt64-max(v, 0))
		}
	}
	m.fresh = true
}

// beginMinutes is called before a sample is encoded: it writes the minutes that are over.
func (t *totals) beginMinutes() {
	e := t.e
	if e.sums == nil {
		return
	}
	if e.minutes == nil {
		e.minutes = map[*schema.Measurement]*minutes{}
	}
	at := min(max(t.at, 0), maxTime)
	begin := at - at%int64(time.Minute)
	for _, of := range schema.All {
		if schema.Minutes[of] == nil {
			continue
		}
		m := e.minutes[of]
		if m == nil {
			m = &minutes{of: e.tables[schema.Minutes[of]], begin: begin, cells: map[int]*minuteCell{}}
			for _, f := range of.Fields {
				m.last = append(m.last, f.Key == "in_bytes" || f.Key == "out_bytes")
			}
			e.minutes[of] = m
		}
		if m.begin != begin {
			if m.fresh {
				t.minute(m)
			}
			m.begin, m.series = begin, m.series[:0]
			clear(m.cells)
		}
	}
}

// endMinutes is called after a sample was encoded: it writes the minutes that end.
func (t *totals) endMinutes() {
	if min(max(t.at, 0), maxTime)%int64(time.Minute) < int64(endOfMinute) {
		return
	}
	for _, of := range schema.All {
		if m := t.e.minutes[of]; m != nil && m.fresh {
			t.minute(m)
		}
	}
}

// minute writes one minute.
func (t *totals) minute(m *minutes) {
	m.fresh = false
	for _, series := range m.series {
		c := m.cells[series]
		p := t.e.begin(m.of, t.b, series)
		for i := range m.last {
			if m.last[i] {
				p.int(c.sums[i])
			} else {
				p.int(int64(math.Round(float64(c.sums[i]) / float64(c.n))))
			}
		}
		t.b = p.end(m.begin)
		t.points++
	}
}
