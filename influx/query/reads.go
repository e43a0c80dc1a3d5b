package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// readAtMost is how many points of history a question that has an answer from totals reads one by one:
// more take longer than five seconds.
const readAtMost = 2_000_000

// Exact returns the question without its answer from sums where history has many points.
func (q Question) Exact() Question {
	q.exact = true
	return q
}

// reads returns about how many points of history the answer to an InfluxQL statement would have as rows,
// from the sums of hours; 0 if it has none, or if the store has no such sums.
func reads(ctx context.Context, c *client.Client, statement string) (points uint64) {
	parsed, err := influxql.ParseQuery(statement)
	if err != nil {
		return 0
	}
	for _, s := range parsed.Statements {
		s, ok := s.(*influxql.SelectStatement)
		if !ok || s.Limit > 0 || len(s.Sources) != 1 {
			continue
		}
		calls := 0
		for _, f := range s.Fields {
			outermost(f.Expr, func(string) { calls++ })
		}
		m, ok := s.Sources[0].(*influxql.Measurement)
		if !ok || calls > 0 {
			continue
		}
		i := slices.IndexFunc(schema.All, func(x *schema.Measurement) bool { return x.Name == m.Name && x.Rollup != nil })
		if i < 0 {
			continue
		}
		points += counted(ctx, c, schema.All[i], s.Condition)
	}
	return points
}

// counted returns how many points of history a condition finds, from sums; parts of it that sums
// do not know count as always true.
func counted(ctx context.Context, c *client.Client, m *schema.Measurement, condition influxql.Expr) (points uint64) {
	known := append(m.Rollups()[0].By(), "time")
	where := ""
	if e := keep(condition, known); e != nil {
		where = " WHERE " + e.String()
	}
	sum := &summing{of: map[string]uint64{}}
	statement := fmt.Sprintf("SELECT sum(%s) AS n FROM %s.%s%s", strconv.Quote(m.Rollup[0].As), schema.Totals, strconv.Quote(m.Name+schema.RollupSuffix(schema.RollupSpans[1])), where)
	if err := c.Query(ctx, statement, false, sum); err != nil {
		return 0 // the question itself will meet the same error, or the sums are not there
	}
	return sum.of["n"]
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
