package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// readAtMost is how much a question reads before it has its answer from totals, or of a shorter time: more takes
// longer than five seconds. One is a point that is returned as a row.
const readAtMost = 250_000

// ReadsAtMost returns the question with another bound of how much it reads, in points that are returned as rows.
func (q Question) ReadsAtMost(points int) Question {
	q.most = points
	if q.Else != nil {
		other := q.Else.ReadsAtMost(points)
		q.Else = &other
	}
	return q
}

// What a point costs that is not returned as a row, but read by a function.
const (
	costOfSum  = 0.03 // count, sum, mean, least and greatest
	costOfRank = 0.3  // functions that keep all values: percentiles, medians, distinct
)

var ranking = []string{"percentile", "median", "distinct", "mode", "top", "bottom"}

// Exact returns the question without its answer from sums, or of a shorter time, where history has many points.
func (q Question) Exact() Question {
	q.exact = true
	return q
}

// reading is what an answer reads of the store.
type reading struct {
	points uint64
	cost   float64
	most   float64 // that is not too much
	of     string  // history, or totals where most of it is of these
	sums   string  // the measurement of the sums that say so of history
	field  string  // of it
}

// tooMuch reports whether it takes too long.
func (r reading) tooMuch() bool { return r.cost > r.most }

// has says how many points there are.
func (r reading) has() string {
	if r.of == schema.Totals.String() {
		return fmt.Sprintf("totals have about %d points of that time", r.points)
	}
	return fmt.Sprintf("history has about %d points of that time", r.points)
}

// countFrom is the time from which rows of totals are counted: those of less are few.
const countFrom = 12 * time.Hour

// reads estimates what the answer to an InfluxQL statement reads: of history from the sums of hours, or of minutes
// if that time is short, 0 if the store has no such sums; of totals the rows, if the time is long.
func reads(ctx context.Context, c *client.Client, statement string, length time.Duration) (all reading) {
	parsed, err := influxql.ParseQuery(statement)
	if err != nil {
		return all
	}
	of := map[string]float64{}
	for _, s := range parsed.Statements {
		s, ok := s.(*influxql.SelectStatement)
		if !ok || s.Limit > 0 || len(s.Sources) != 1 {
			continue
		}
		source, ok := s.Sources[0].(*influxql.Measurement)
		if !ok {
			continue
		}
		i := slices.IndexFunc(schema.All, func(x *schema.Measurement) bool { return x.Name == source.Name })
		if i < 0 {
			continue
		}
		m, cost, points := schema.All[i], cost(s), uint64(0)
		switch {
		case m.Rollup != nil:
			points = counted(ctx, c, m, s.Condition, length)
			if all.sums == "" {
				all.sums, all.field = m.Name+schema.RollupSuffix(schema.RollupSpans[0]), m.Rollup[0].As
			}
		case m.Kind == schema.Totals && cost == 1 && length >= countFrom:
			points = rows(ctx, c, m, s.Condition)
		}
		all.points += points
		all.cost += cost * float64(points)
		if of[m.Kind.String()] += cost * float64(points); of[m.Kind.String()] > all.cost/2 {
			all.of = m.Kind.String()
		}
	}
	return all
}

// cost returns that of a point which a SELECT reads.
func cost(s *influxql.SelectStatement) float64 {
	cost := 1.0
	influxql.WalkFunc(s.Fields, func(n influxql.Node) {
		call, ok := n.(*influxql.Call)
		switch {
		case ok && slices.Contains(ranking, call.Name):
			cost = costOfRank
		case ok && cost == 1:
			cost = costOfSum
		}
	})
	return cost
}

// rows returns how many points of totals a condition finds.
func rows(ctx context.Context, c *client.Client, m *schema.Measurement, condition influxql.Expr) uint64 {
	where := ""
	if condition != nil {
		where = " WHERE " + condition.String()
	}
	field := m.Fields[max(slices.IndexFunc(m.Fields, func(f schema.Field) bool { return f.Type == schema.Int }), 0)].Key
	sum := &summing{of: map[string]uint64{}}
	statement := fmt.Sprintf("SELECT count(%q) AS n FROM %s.%q%s", field, schema.Totals, m.Name, where)
	if err := c.Query(ctx, statement, false, sum); err != nil {
		return 0 // the question itself will meet the same error
	}
	return sum.of["n"]
}

// counted returns how many points of history a condition finds, from sums; parts of it that sums
// do not know count as always true.
func counted(ctx context.Context, c *client.Client, m *schema.Measurement, condition influxql.Expr, length time.Duration) (points uint64) {
	known := append(m.Rollups()[0].By(), "time")
	where := ""
	if e := keep(condition, known); e != nil {
		where = " WHERE " + e.String()
	}
	every := schema.RollupSpans[1]
	if length < 3*every {
		every = schema.RollupSpans[0]
	}
	sum := &summing{of: map[string]uint64{}}
	statement := fmt.Sprintf("SELECT sum(%s) AS n FROM %s.%s%s", strconv.Quote(m.Rollup[0].As), schema.Totals, strconv.Quote(m.Name+schema.RollupSuffix(every)), where)
	if err := c.Query(ctx, statement, false, sum); err != nil {
		return 0 // the question itself will meet the same error, or the sums are not there
	}
	return sum.of["n"]
}

// reads estimates what the answer to the question in InfluxQL reads.
func (q Question) reads(ctx context.Context, c *client.Client, since string) reading {
	during, err := parseDuring(since)
	if err != nil {
		return reading{} // the question itself will meet the same error
	}
	statement, err := Fill(q.InfluxQL, since, c.BucketPrefix())
	if err != nil {
		return reading{}
	}
	r := reads(ctx, c, statement, during.length)
	r.most = float64(cmp.Or(q.most, readAtMost))
	return r
}

// atMost returns the end of a time, so long that the question does not read too much of it, and text that says so; the time
// itself, and no text, if it may read all.
func (q Question) atMost(ctx context.Context, c *client.Client, since string, r reading) (of, end string) {
	d, err := parseDuring(since)
	if err != nil || !r.tooMuch() {
		return since, ""
	}
	to, all, length := d.to, r, d.length
	if to.IsZero() {
		to = time.Now()
	}
	for of = since; r.tooMuch() && length > time.Minute; r = q.reads(ctx, c, of) {
		length = max(time.Duration(float64(length)*r.most/r.cost*0.9).Truncate(time.Minute), time.Minute)
		of = Between(to.Add(-length), to)
	}
	return of, fmt.Sprintf("%s: this is of its last %s, about %d points", all.has(), units.FormatDuration(length), r.points)
}

// begins says when the sums of an answer begin, if that is more than an hour after a field of other totals: a version of
// the monitor did not write them yet. It returns "" otherwise.
func (q Question) begins(ctx context.Context, c *client.Client, since, other, field string) string {
	during, err := parseDuring(since)
	if err != nil {
		return ""
	}
	first := func(name, field string) time.Time {
		var f firstTime
		_ = c.Query(ctx, fmt.Sprintf("SELECT %q FROM %s.%q WHERE %s ORDER BY time LIMIT 1", field, schema.Totals, name, during.condition()), false, &f) // without an answer nothing is said
		return f.at
	}
	name, own := q.reading()
	if name == "" || other == "" {
		return ""
	}
	mine, all := first(name, own), first(other, field)
	if mine.IsZero() || all.IsZero() || mine.Sub(all) <= time.Hour {
		return ""
	}
	return "; they begin at " + mine.UTC().Format(time.RFC3339)
}

// reading returns the measurement that the question reads first, and a field of it; "" of a subquery.
func (q Question) reading() (name, field string) {
	statement, err := Fill(q.InfluxQL, "1h", "")
	if err != nil {
		return "", ""
	}
	parsed, err := influxql.ParseQuery(statement)
	if err != nil {
		return "", ""
	}
	s, ok := parsed.Statements[0].(*influxql.SelectStatement)
	if !ok {
		return "", ""
	}
	m, ok := s.Sources[0].(*influxql.Measurement)
	if !ok {
		return "", ""
	}
	influxql.WalkFunc(s.Fields, func(n influxql.Node) {
		if v, ok := n.(*influxql.VarRef); ok && field == "" {
			field = v.Val
		}
	})
	return m.Name, field
}

// firstTime is an Output that keeps the time of the first row.
type firstTime struct{ at time.Time }

func (f *firstTime) Series(string, []client.Label, []string) error { return nil }

func (f *firstTime) Row(values []any) error {
	if f.at.IsZero() && len(values) > 0 {
		f.at = timeOf(fmt.Sprint(values[0]))
	}
	return nil
}

func (f *firstTime) Close() error { return nil }

// keep returns the parts of a condition, joined by AND, that name only known columns; nil if there
// are none.
func keep(e influxql.Expr, known []string) influxql.Expr {
	switch b := e.(type) {
	case nil:
		return nil
	case *influxql.ParenExpr:
		if inner := keep(b.Expr, known); inner != nil {
			return &influxql.ParenExpr{Expr: inner}
		}
		return nil
	case *influxql.BinaryExpr:
		if b.Op == influxql.AND {
			l, r := keep(b.LHS, known), keep(b.RHS, known)
			switch {
			case l == nil:
				return r
			case r == nil:
				return l
			}
			return &influxql.BinaryExpr{Op: influxql.AND, LHS: l, RHS: r}
		}
	}
	all := true
	influxql.WalkFunc(e, func(n influxql.Node) {
		if v, ok := n.(*influxql.VarRef); ok && !slices.Contains(known, v.Val) {
			all = false
		}
	})
	if !all {
		return nil
	}
	return e
}

// inPlace changes the note of an answer from totals that was chosen though history has so many points.
func inPlace(note string, history reading) string {
	why := history.has() + ", which --exact reads"
	return strings.NewReplacer("history has nothing in that time", why, "history has nothing of that time", why).Replace(note)
}
