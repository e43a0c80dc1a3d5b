package query

import (
	"time"

	"github.com/influxdata/influxql"
)

// timeOf reads a time of an answer; what is none is the zero time.
func timeOf(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

// Functions of InfluxQL that make one figure of many, without a time of its own;
// and those that choose a point, whose time it is while they are alone.
var (
	aggregates = map[string]bool{"count": true, "distinct": true, "integral": true, "mean": true, "median": true, "mode": true, "spread": true, "stddev": true, "sum": true}
	selectors  = map[string]bool{"first": true, "last": true, "max": true, "min": true, "percentile": true}
)

// shape says of an InfluxQL statement whether each series of its answer has one
// row (it aggregates, and not by time), and whether the times in them mean
// nothing.
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

// outermost calls f with the functions of an expression that are not within
// others.
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
