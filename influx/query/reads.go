package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// readAtMost is how much a question reads of history before it has its answer from totals, or of a shorter time: more takes
// longer than five seconds. One is a point that is returned as a row.
const readAtMost = 2_000_000

// What a point costs that is not returned as a row, but read by a function.
const (
	costOfSum  = 0.15 // count, sum, mean, least and greatest
	costOfRank = 0.5  // functions that keep all values: percentiles, medians, distinct
)

var ranking = []string{"percentile", "median", "distinct", "mode", "top", "bottom"}

// Exact returns the question without its answer from sums, or of a shorter time, where history has many points.
func (q Question) Exact() Question {
	q.exact = true
	return q
}

// reading is what an answer reads of history.
type reading struct {
	points uint64
	cost   float64
}

// tooMuch reports whether it takes too long.
func (r reading) tooMuch() bool { return r.cost > readAtMost }

// reads estimates what the answer to an InfluxQL statement reads of history, from the sums of hours, or of minutes
// if that time is short; 0 if the store has no such sums.
func reads(ctx context.Context, c *client.Client, statement string, length time.Duration) (all reading) {
	parsed, err := influxql.ParseQuery(statement)
	if err != nil {
		return all
	}
	for _, s := range parsed.Statements {
		s, ok := s.(*influxql.SelectStatement)
		if !ok || s.Limit > 0 || len(s.Sources) != 1 {
			continue
		}
		m, ok := s.Sources[0].(*influxql.Measurement)
		if !ok {
			continue
		}
		i := slices.IndexFunc(schema.All, func(x *schema.Measurement) bool { return x.Name == m.Name && x.Rollup != nil })
		if i < 0 {
			continue
		}
		cost := 1.0
		for _, f := range s.Fields {
			outermost(f.Expr, func(string) { cost = min(cost, costOfSum) })
			influxql.WalkFunc(f.Expr, func(n influxql.Node) {
				if call, ok := n.(*influxql.Call); ok && slices.Contains(ranking, call.Name) && cost < 1 {
					cost = costOfRank
				}
			})
		}
		points := counted(ctx, c, schema.All[i], s.Condition, length)
		all.points += points
		all.cost += cost * float64(points)
	}
	return all
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

// shorter returns the end of a time, so long that the question does not read too much of it, and what it reads.
func (q Question) shorter(ctx context.Context, c *client.Client, d during, r reading) (since string, length time.Duration, now reading) {
	to := d.to
	if to.IsZero() {
		to = time.Now()
	}
	for length = d.length; r.tooMuch() && length > time.Minute; {
		length = max(time.Duration(float64(length)*readAtMost/r.cost*0.9).Truncate(time.Minute), time.Minute)
		since = Between(to.Add(-length), to)
		statement, err := Fill(q.InfluxQL, since, c.BucketPrefix())
		if err != nil {
			break // a question that is not ours
		}
		r = reads(ctx, c, statement, length)
	}
	return since, length, r
}

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
func inPlace(note string, points uint64) string {
	why := fmt.Sprintf("history has about %d points of that time, which --exact reads", points)
	return strings.NewReplacer("history has nothing in that time", why, "history has nothing of that time", why).Replace(note)
}
