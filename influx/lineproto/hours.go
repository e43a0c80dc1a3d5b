package lineproto

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
)

// maxListed bounds what is summed of one list in an hour, some MiB. Beyond it the lower half is dropped: none of that
// had more than the last of the list has.
const maxListed = 20_000

// hours sums the lists of a measurement over the running hour.
type hours struct {
	of     *table // that of the hours
	most   []bool // by field: the greatest counts, not the sum
	lists  map[int]*hourList
	change bool
}

// hourList is one list.
type hourList struct {
	begin int64 // the time of its points
	last  int64 // the latest of these times
	by    int   // the field by which it is ordered
	of    map[string]*listed
	fresh bool // it has changed since it was written
}

// listed is what was listed of a CID, peer or agent.
type listed struct {
	texts [2]string // fields, quoted
	n     [3]int64
}

// newHours makes the sums of a measurement's lists.
func newHours(of *table) *hours {
	h := &hours{of: of, lists: map[int]*hourList{}}
	for _, f := range of.m.Fields {
		if f.Type == schema.Int {
			h.most = append(h.most, f.Key == "peers" || f.Key == "monitors")
		}
	}
	return h
}

// listed adds a place of a list, at the time of its interval, to the sums of the hour: series is that of its point. texts
// are its fields of text, quoted, and n its numbers, none below 0. Without rollups there are no lists of hours.
func (e *Encoder) listed(m *schema.Measurement, series int, at int64, texts [2]string, n ...int64) {
	if e.sums == nil {
		return
	}
	h := e.hours[m]
	if h == nil {
		h = newHours(e.tables[schema.Hours[m]])
		e.hours[m] = h
	}
	first := series / schema.MaxRank * schema.MaxRank
	l := h.lists[first]
	if hour := at - at%int64(time.Hour); l == nil {
		l = &hourList{begin: at, by: orderedBy(m, first), of: map[string]*listed{}} // another run may have written the beginning of the hour
		h.lists[first] = l
	} else if hour != l.begin-l.begin%int64(time.Hour) {
		begin := hour
		if hour <= l.last { // the clock was set back: that hour was written before
			begin = at
		}
		*l = hourList{begin: begin, last: l.last, by: l.by, of: map[string]*listed{}}
	}
	l.last = max(l.last, l.begin)
	id := texts[0]
	if id == `""` {
		id = texts[1]
	}
	x := l.of[id]
	if x == nil {
		if len(l.of) >= maxListed {
			l.halve()
		}
		x = &listed{texts: texts}
		l.of[id] = x
	}
	if len(texts[1]) > 2 {
		x.texts[1] = texts[1]
	}
	for i, v := range n {
		if h.most[i] {
			x.n[i] = max(x.n[i], v)
		} else {
			x.n[i] = v + min(x.n[i], math.MaxInt64-v)
		}
	}
	l.fresh, h.change = true, true
}

// orderedBy returns the number by which a list is ordered that begins with a series.
func orderedBy(m *schema.Measurement, first int) int {
	switch {
	case m == schema.TopCIDs && first > 0:
		return 2 // peers
	case m == schema.FleetTop && first > 0:
		return 1 // peers
	}
	return 0
}

// sorted lists the entries, the most first.
func (l *hourList) sorted() (ids []string) {
	for id := range l.of {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.of[b].n[l.by], l.of[a].n[l.by]), cmp.Compare(a, b))
	})
	return ids
}

// halve drops the lower half.
func (l *hourList) halve() {
	for _, id := range l.sorted()[maxListed/2:] {
		delete(l.of, id)
	}
}

// appendHours appends the lists of hours that have changed, and returns how many lines there are.
func (e *Encoder) appendHours(b []byte) (_ []byte, points int) {
	for _, m := range schema.All {
		h := e.hours[m]
		if h == nil || !h.change {
			continue
		}
		h.change = false
		for first := 0; first < m.Series(); first += schema.MaxRank {
			l := h.lists[first]
			if l == nil || !l.fresh {
				continue
			}
			l.fresh = false
			ids := l.sorted()
			for rank, id := range ids[:min(len(ids), schema.MaxRank)] {
				x, texts, numbers := l.of[id], 0, 0
				p := e.begin(h.of, b, first+rank)
				for _, f := range h.of.m.Fields {
					if f.Type == schema.String {
						p.word(x.texts[texts])
						texts++
					} else {
						p.int(x.n[numbers])
						numbers++
					}
				}
				b = p.end(l.begin)
				points++
			}
		}
	}
	return b, points
}

// listedCID returns a CID as the value of a field for listed, which needs none without rollups.
func (e *Encoder) listedCID(c cid.Cid) string {
	if e.sums == nil {
		return ""
	}
	return string(append(cidtext.AppendCID([]byte{'"'}, c), '"'))
}

// listedText returns a text as listedCID does.
func (e *Encoder) listedText(t event.Text) string {
	if e.sums == nil {
		return ""
	}
	return string(AppendString(nil, string(t)))
}

// listedPeer returns the event's peer as listedCID does.
func (e *Encoder) listedPeer() string {
	if e.sums == nil {
		return ""
	}
	return string(e.peerText)
}
