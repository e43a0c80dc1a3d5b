package rollup

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

const (
	// maxBytes bounds the memory of all sums, roughly.
	maxBytes = 16 << 20
	// grace is how long after its end a minute or hour is written: events come in order except
	// what several goroutines publish at once.
	grace = 2 * time.Second
	// again is how long a minute or hour with late points waits until it is written again, so that many late
	// points are one more write.
	again = 10 * time.Second
	// cellBytes is the memory of a cell, roughly, and bucketBytes that of one bucket of its
	// histogram.
	cellBytes, bucketBytes = 64, 16
)

// hold is how many minutes and hours are in memory, the current ones included: three hours, and a day.
var hold = [...]int{180, 24}

// Sums are the sums of the minutes and hours of one monitor. They are for one goroutine at a time, except
// for Late.
type Sums struct {
	spans  [len(hold)]span
	series []series
	place  map[string]int
	bytes  int
	late   atomic.Uint64
	file   *file // nil: in memory
}

// series is one series of a measurement of history, with the tags that its rollup keeps.
type series struct {
	of     *schema.Measurement
	tags   string // escaped, each with a comma before it
	median bool
}

// span is all intervals of one length.
type span struct {
	every  int64 // ns
	suffix string
	held   map[int64]*interval // by start
	last   *interval           // the one of the last point
	gone   []stretch           // intervals that are no longer held, sorted
	born   int64               // intervals that start before it are as good as gone
}

// stretch is the starts of the first and the last of adjacent intervals.
type stretch struct{ first, last int64 }

// interval is one minute or hour.
type interval struct {
	start     int64
	cells     []*cell   // by the place of the series; nil: no points
	unsaved   bool      // on disk it is less
	written   bool      // all of it, at the time wrote
	marked    bool      // that it was written is to be on disk
	unmarked  bool      // and is with the next block
	at        int64     // when a point last was counted, by the clock of Save
	wrote     time.Time // when it was written last, or read from the file
	overtook  bool      // an earlier write of it may arrive after the last one
	notBefore time.Time // when it is written next
}

// cell is one series in one interval.
type cell struct {
	n, sum, max int64
	hist        histogram.Sparse // only where a median is wanted
	unsaved     bool
}

// New makes sums that are in memory only, from the minute and the hour of now on.
func New(now time.Time) *Sums {
	s := &Sums{place: make(map[string]int)}
	for i, every := range schema.RollupSpans {
		s.spans[i] = span{every: int64(every), suffix: schema.RollupSuffix(every), held: make(map[int64]*interval)}
		s.spans[i].born = s.spans[i].startOf(now.UnixNano())
	}
	return s
}

// Late returns how many points were too late for their minute and hour, each counted for both. It may be
// called from any goroutine.
func (s *Sums) Late() uint64 { return s.late.Load() }

// Series returns the place of a series: that of a measurement with a rollup, and the tags that it
// keeps, escaped, sorted and each with a comma before it.
func (s *Sums) Series(of *schema.Measurement, tags string) int {
	key := of.Name + tags
	i, ok := s.place[key]
	if !ok {
		i = len(s.series)
		s.place[key] = i
		s.series = append(s.series, series{of: of, tags: tags,
			median: slices.ContainsFunc(of.Rollup, func(f schema.Sum) bool { return f.Func == "median" })})
	}
	return i
}

// Add counts a point of the series in a place: its time, and the number that is summed, if any is.
func (s *Sums) Add(place int, at, v int64) {
	for i := range s.spans {
		sp := &s.spans[i]
		start := sp.startOf(at)
		in := sp.last
		if in == nil || in.start != start {
			if in = sp.interval(start); in == nil {
				s.late.Add(1)
				continue
			}
			sp.last = in
		}
		s.bytes += in.add(place, v, s.series[place].median)
	}
}

func (sp *span) startOf(at int64) int64 { return at - ((at%sp.every)+sp.every)%sp.every }

// interval returns the interval that starts then, or nil if points for it are too late.
func (sp *span) interval(start int64) *interval {
	if v := sp.held[start]; v != nil {
		return v
	}
	// A fleet's clocks may say anything: those beyond all bounds wait for the next call of Append.
	if start < sp.born || sp.isGone(start) || len(sp.held) >= 2*hold[0] {
		return nil
	}
	v := &interval{start: start}
	sp.held[start] = v
	return v
}

func (sp *span) isGone(start int64) bool {
	return slices.ContainsFunc(sp.gone, func(g stretch) bool { return g.first <= start && start <= g.last })
}

// maxGone bounds the stretches.
const maxGone = 32

// forget takes an interval out of memory. Later points for it are too late.
func (sp *span) forget(v *interval) {
	delete(sp.held, v.start)
	if sp.last == v {
		sp.last = nil
	}
	sp.close(stretch{v.start, v.start})
}

// close adds to the stretches that are gone and joins those that touch. Too many become fewer: the two oldest are
// joined with what is between them.
func (sp *span) close(g stretch) {
	sp.gone = append(sp.gone, g)
	slices.SortFunc(sp.gone, func(a, b stretch) int { return int(min(max(a.first-b.first, -1), 1)) })
	joined := sp.gone[:1]
	for _, g := range sp.gone[1:] {
		if last := &joined[len(joined)-1]; g.first <= last.last+sp.every {
			last.last = max(last.last, g.last)
		} else {
			joined = append(joined, g)
		}
	}
	if len(joined) > maxGone {
		joined[1].first = joined[0].first
		joined = slices.Delete(joined, 0, 1)
	}
	sp.gone = joined
}

// cell returns the cell of a place, and by how much the interval grew.
func (v *interval) cell(place int) (c *cell, grew int) {
	if place >= len(v.cells) {
		grew = (place + 1 - len(v.cells)) * 8
		v.cells = append(v.cells, make([]*cell, place+1-len(v.cells))...)
	}
	if v.cells[place] == nil {
		v.cells[place] = new(cell)
		grew += cellBytes
	}
	return v.cells[place], grew
}

// add counts a point and returns by how much the interval grew.
func (v *interval) add(place int, n int64, median bool) (grew int) {
	c, grew := v.cell(place)
	if c.n == 0 || n > c.max {
		c.max = n
	}
	c.n++
	c.sum += n
	if median {
		grew += bucketBytes * c.hist.Add(uint64(max(n, 0)))
	}
	c.unsaved, v.unsaved, v.written, v.marked = true, true, false, false
	return grew
}

// size is the memory of the interval.
func (v *interval) size() (bytes int) {
	bytes = 8 * len(v.cells)
	for _, c := range v.cells {
		if c != nil {
			bytes += cellBytes + bucketBytes*c.hist.Len()
		}
	}
	return bytes
}

// Append appends the lines of the minutes and hours that are over and have changed since they
// were written, and returns how many lines there are. If there is a file, Save must have been called without
// an error before: what is not on disk is not written.
//
// waiting is the time of the oldest write that is not delivered yet, by the clock of now; zero: all are. Writes may
// arrive in another order than they were made. What is written while an earlier write of the same minute or hour may
// be waiting is written once more when that has arrived, so that the last write has it whole.
func (s *Sums) Append(b []byte, now, waiting time.Time) (lines []byte, points int) {
	for i := range s.spans {
		sp := &s.spans[i]
		sp.born = min(sp.born, sp.startOf(now.UnixNano())) // the clock was set back
		for _, v := range sp.sorted() {
			behind := !v.wrote.IsZero() && !waiting.IsZero() && !waiting.After(v.wrote)
			if v.written && (behind || !v.overtook) || v.unsaved && s.file != nil || v.start+sp.every+int64(grace) > now.UnixNano() || now.Before(v.notBefore) {
				continue
			}
			var n int
			b, n = s.lines(b, sp, v)
			points += n
			v.written, v.wrote, v.overtook, v.notBefore = true, now, behind, now.Add(again)
		}
	}
	for i := range s.spans {
		sp := &s.spans[i]
		for len(sp.held) > hold[i] || s.bytes > maxBytes && len(sp.held) > 1 {
			var n int
			b, n = s.evict(b, sp)
			points += n
		}
	}
	return b, points
}

// sorted returns the intervals in the order of their time.
func (sp *span) sorted() []*interval {
	all := make([]*interval, 0, len(sp.held))
	for _, v := range sp.held {
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].start < all[j].start })
	return all
}

// evict takes the interval out of memory that has changed least recently, and writes it if it has not been.
func (s *Sums) evict(b []byte, sp *span) ([]byte, int) {
	var old *interval
	for _, v := range sp.sorted() {
		if old == nil || v.at < old.at {
			old = v
		}
	}
	points := 0
	if !old.written {
		b, points = s.lines(b, sp, old)
	}
	s.bytes -= old.size()
	sp.forget(old)
	if s.file != nil {
		s.file.gone = append(s.file.gone, gone{sp, old.start})
	}
	return b, points
}

// lines appends a line for each series of an interval.
func (s *Sums) lines(b []byte, sp *span, v *interval) (_ []byte, points int) {
	for place, c := range v.cells {
		if c == nil {
			continue
		}
		x := &s.series[place]
		b = append(append(append(append(b, x.of.Name...), sp.suffix...), x.tags...), ' ')
		for i, f := range x.of.Rollup {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, f.As...), '=')
			switch f.Func {
			case "count":
				b = append(strconv.AppendInt(b, c.n, 10), 'i')
			case "sum":
				b = append(strconv.AppendInt(b, c.sum, 10), 'i')
			case "max":
				b = append(strconv.AppendInt(b, c.max, 10), 'i')
			case "mean":
				b = strconv.AppendFloat(b, float64(c.sum)/float64(c.n), 'g', -1, 64)
			case "median":
				b = strconv.AppendFloat(b, math.Min(c.hist.Median(), float64(c.max)), 'g', -1, 64)
			default:
				panic("rollup: no function " + f.Func)
			}
		}
		b = append(strconv.AppendInt(append(b, ' '), v.start, 10), '\n')
		points++
	}
	return b, points
}
