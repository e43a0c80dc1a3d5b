package query

import (
	"time"

	"github.com/influxdata/influxql"
)

// timeOf parses a time in an answer; an invalid one is the zero time.
func timeOf(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

// InfluxQL functions that aggregate many values into one without its own time; and those that
// select a point, whose time they keep if they are alone.
var (
	aggregates = map[string]bool{"count": true, "distinct": true, "integral": true, "mean": true, "median": true, "mode": true, "spread": true, "stddev": true, "sum": true}
	selectors  = map[string]bool{"first": true, "last": true, "max": true, "min": true, "percentile": true}
)

// shape reports whether each series in the answer to an InfluxQL statement has one row (it
// aggregates, and not by time), and whether the times in the rows are meaningless.
func shape(statement string) (single, noTime bool) {
	q, err := influxql.ParseQuery(statement)
	if err != nil || len(q.Statements) == 0 {
		return false, false
	}
	single, noTime = true, true
	for _, s := range q.Statements {
		s, ok := s.(*influxql.SelectStatement)
		if !ok {
			return false, false
		}
		if every, err := s.GroupByInterval(); err != nil || every > 0 {
			return false, false
		}
		calls, chosen, other := 0, 0, 0
		for _, f := range s.Fields {
			outermost(f.Expr, func(name string) {
				calls++
				switch {
				case selectors[name]:
					chosen++
				case !aggregates[name]:
					other++
				}
			})
		}
		single = single && calls > 0 && other == 0
		noTime = noTime && single && !(calls == 1 && chosen == 1)
	}
	return single, noTime
}

// outermost calls f for the functions of an expression that are not arguments of others.
func outermost(e influxql.Expr, f func(name string)) {
	switch e := e.(type) {
	case *influxql.Call:
		f(e.Name)
	case *influxql.BinaryExpr:
		outermost(e.LHS, f)
		outermost(e.RHS, f)
	case *influxql.ParenExpr:
		outermost(e.Expr, f)
	}
}
