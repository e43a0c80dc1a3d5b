package query

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// Fold computes the answer to a question from the rows that the server returned: InfluxQL
// cannot group by a field, sort by a figure, or join. Tags of a series are columns like any
// other. The result is exact; memory holds one entry for each row of the result.
type Fold struct {
	// Of is the measurement whose rows create rows of the result; rows of other measurements
	// only add to those. "": every measurement.
	Of string
	// Newest is a column, node: for each of its values only the rows with the newest time over
	// all measurements count, so that entries which no longer exist are left out.
	Newest string
	// Starts is a measurement whose rows mark when the counters of the same node began at 0,
	// for Made.How increase. They come before the counters.
	Starts string
	// By are the columns to group by; nil: rows are only sorted.
	By []string
	// Make are the other columns of the result.
	Make []Made
	// Sort is the column by which rows are sorted, largest first; equal ones by the columns of
	// By, descending, as Flux does in one sort.
	Sort string
	// Limit is the maximum number of rows; 0: all.
	Limit int
}

// Made is a column that Fold computes.
type Made struct {
	As string
	// How: count of rows; sum, max or min of numbers; last value that is not empty; distinct, how
	// many different values; increase, how much a counter grew; all, the sum
	// over all rows of the answer.
	How string
	Of  string // the column that it is computed from
}

// maxFolded is the maximum number of rows of a Fold, and half of that of the pairs that it keeps for
// distinct: some hundred MiB.
const maxFolded = 2_000_000

// folding is the Output that computes a Fold.
type folding struct {
	Fold
	most int // maxFolded
	out  client.Output
	from string // the current measurement
	id   int    // of the series
	tags []client.Label
	cols []string
	at   map[string]int // places of the columns of a row and its tags

	index   map[string]int
	groups  []*group
	pairs   map[[2]uint32]struct{}
	words   map[string]uint32
	totals  []float64
	newest  map[string]string
	starts  map[string][]string
	rows    []keptRow // without By, or with Newest
	columns []string  // without By
	prev    map[[2]int]counterAt
}

type group struct {
	key    []any
	value  []float64
	last   []any
	seen   []bool
	counts bool // a row of Of
}

type keptRow struct {
	from   string
	node   string
	time   string
	values map[string]any
}

type counterAt struct {
	time  string
	value float64
}

// newFolding returns an Output that folds its rows and writes the result to out when it is
// closed.
func newFolding(f Fold, out client.Output) *folding {
	return &folding{Fold: f, most: maxFolded, out: out, index: map[string]int{}, pairs: map[[2]uint32]struct{}{}, words: map[string]uint32{},
		totals: make([]float64, len(f.Make)), newest: map[string]string{}, starts: map[string][]string{}, prev: map[[2]int]counterAt{}}
}

func (f *folding) Series(name string, labels []client.Label, columns []string) error {
	f.from, f.tags, f.cols, f.id = name, labels, columns, f.id+1
	f.at = make(map[string]int)
	for i, c := range columns {
		f.at[c] = i
	}
	for i, l := range labels {
		if _, ok := f.at[l.Key]; !ok {
			f.at[l.Key] = len(columns) + i
		}
	}
	if f.By == nil && f.columns == nil {
		for _, l := range labels {
			f.columns = append(f.columns, l.Key)
		}
		f.columns = append(f.columns, columns...)
	}
	return nil
}

// get returns a value of the row by its column.
func (f *folding) get(values []any, column string) any {
	i, ok := f.at[column]
	switch {
	case !ok:
		return nil
	case i >= len(f.cols):
		return f.tags[i-len(f.cols)].Value
	}
	return values[i]
}

func (f *folding) text(values []any, column string) string {
	if v := f.get(values, column); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (f *folding) Row(values []any) error {
	if f.Starts != "" && f.from == f.Starts {
		node := f.text(values, "node")
		f.starts[node] = append(f.starts[node], f.text(values, "time"))
		return nil
	}
	if f.By != nil && f.Newest == "" {
		return f.add(func(column string) any { return f.get(values, column) }, f.from, f.id)
	}
	if len(f.rows) >= f.most {
		return errTooMany
	}
	row := keptRow{from: f.from, time: f.text(values, "time"), values: make(map[string]any, len(f.at))}
	for c := range f.at {
		row.values[c] = f.get(values, c)
	}
	if f.Newest != "" {
		row.node = fmt.Sprint(row.values[f.Newest])
		if timeOf(row.time).After(timeOf(f.newest[row.node])) {
			f.newest[row.node] = row.time
		}
	}
	f.rows = append(f.rows, row)
	return nil
}

var errTooMany = fmt.Errorf("more than %d rows would have to be kept in memory; ask about a shorter time (--since), or in Flux (--language flux)", maxFolded)

// add counts a row; get returns its columns.
func (f *folding) add(get func(string) any, from string, series int) error {
	key := make([]any, len(f.By))
	var id strings.Builder
	for i, c := range f.By {
		key[i] = get(c)
		fmt.Fprintf(&id, "%v\x00", key[i])
	}
	n, ok := f.index[id.String()]
	if !ok {
		if n = len(f.groups); n >= f.most {
			return errTooMany
		}
		f.index[id.String()] = n
		f.groups = append(f.groups, &group{key: key, value: make([]float64, len(f.Make)), last: make([]any, len(f.Make)), seen: make([]bool, len(f.Make))})
	}
	g := f.groups[n]
	// A row of Of without any of By is a sum over all.
	counts := f.Of == "" || from == f.Of && slices.ContainsFunc(key, func(k any) bool { return k != nil })
	g.counts = g.counts || counts
	for i, m := range f.Make {
		v := get(m.Of)
		if v == nil {
			continue
		}
		num, isNum := number(v)
		switch m.How {
		case "count":
			if counts {
				g.value[i]++
				g.seen[i] = true
			}
		case "distinct":
			if counts {
				pair := [2]uint32{uint32(n)<<3 | uint32(i), f.word(fmt.Sprint(v))}
				if _, ok := f.pairs[pair]; !ok {
					if len(f.pairs) >= 2*f.most {
						return errTooMany
					}
					f.pairs[pair] = struct{}{}
					g.value[i]++
				}
				g.seen[i] = true
			}
		case "last":
			if v != "" {
				g.last[i], g.seen[i] = v, true
			}
		case "sum", "all":
			if isNum {
				f.totals[i] += num
				g.value[i] += num
				g.seen[i] = true
			}
		case "max", "min":
			if isNum && (!g.seen[i] || m.How == "max" && num > g.value[i] || m.How == "min" && num < g.value[i]) {
				g.value[i], g.seen[i] = num, true
			}
		case "increase":
			if !isNum {
				continue
			}
			at := counterAt{time: fmt.Sprint(get("time")), value: num}
			before, ok := f.prev[[2]int{series, i}]
			if !ok {
				before = counterAt{value: num} // the count before that time
			}
			for _, start := range f.starts[fmt.Sprint(get("node"))] {
				if !timeOf(start).After(timeOf(at.time)) && (before.time == "" || timeOf(start).After(timeOf(before.time))) {
					before.value = 0
				}
			}
			if num >= before.value {
				g.value[i] += num - before.value
			} else {
				g.value[i] += num // the counter was reset
			}
			g.seen[i] = true
			f.prev[[2]int{series, i}] = at
		}
	}
	return nil
}

// word returns a number for a text, which is stored once.
func (f *folding) word(s string) uint32 {
	n, ok := f.words[s]
	if !ok {
		n = uint32(len(f.words))
		f.words[s] = n
	}
	return n
}

func (f *folding) Close() error {
	if err := f.emit(); err != nil {
		return err
	}
	return f.out.Close()
}

func (f *folding) emit() error {
	if f.Newest != "" {
		for _, r := range f.rows {
			if !timeOf(r.time).Equal(timeOf(f.newest[r.node])) {
				continue
			}
			if err := f.add(func(c string) any { return r.values[c] }, r.from, 0); err != nil {
				return err
			}
		}
	}
	columns := append([]string(nil), f.By...)
	for _, m := range f.Make {
		columns = append(columns, m.As)
	}
	var rows [][]any
	if f.By == nil {
		columns = f.columns
		for _, r := range f.rows {
			row := make([]any, len(columns))
			for i, c := range columns {
				row[i] = r.values[c]
			}
			rows = append(rows, row)
		}
	}
	for _, g := range f.groups {
		if !g.counts {
			continue
		}
		row := append([]any(nil), g.key...)
		for i, m := range f.Make {
			switch {
			case m.How == "all":
				row = append(row, json.Number(figure(f.totals[i])))
			case !g.seen[i]:
				row = append(row, nil)
			case m.How == "last":
				row = append(row, g.last[i])
			default:
				row = append(row, json.Number(figure(g.value[i])))
			}
		}
		rows = append(rows, row)
	}
	if f.Sort != "" {
		by := slices.Index(columns, f.Sort)
		slices.SortStableFunc(rows, func(a, b []any) int {
			x, _ := number(a[by])
			y, _ := number(b[by])
			if c := cmp.Compare(y, x); c != 0 {
				return c
			}
			for i := range f.By {
				if c := cmp.Compare(fmt.Sprint(b[i]), fmt.Sprint(a[i])); c != 0 {
					return c
				}
			}
			return 0
		})
	}
	if f.Limit > 0 && len(rows) > f.Limit {
		rows = rows[:f.Limit]
	}
	if len(rows) == 0 {
		return nil
	}
	if err := f.out.Series("", nil, columns); err != nil {
		return err
	}
	for _, r := range rows {
		if err := f.out.Row(r); err != nil {
			return err
		}
	}
	return nil
}

// flat is an Output that merges the series of an answer with one row each into one table: their
// tags become columns. An answer without time steps loses its column of times, which are
// meaningless: InfluxDB writes the start of the queried time there, or 1970.
type flat struct {
	out    client.Output
	noTime bool
	id     string
	tags   []any
	cut    int // the column of times, -1: none
}

func (f *flat) Series(name string, labels []client.Label, columns []string) error {
	f.tags, f.cut = f.tags[:0], -1
	var all []string
	for _, l := range labels {
		all = append(all, l.Key)
		f.tags = append(f.tags, l.Value)
	}
	for i, c := range columns {
		if c == "time" && f.noTime {
			f.cut = i
			continue
		}
		all = append(all, c)
	}
	if id := fmt.Sprintf("%q%q", name, all); id != f.id {
		f.id = id
		return f.out.Series(name, nil, all)
	}
	return nil
}

func (f *flat) Row(values []any) error {
	row := append([]any(nil), f.tags...)
	for i, v := range values {
		if i != f.cut {
			row = append(row, v)
		}
	}
	return f.out.Row(row)
}

func (f *flat) Close() error { return f.out.Close() }

// figure formats a number, without an exponent if it is whole.
func figure(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(v)
}
