package query

import (
	"cmp"
	"fmt"
	"time"

	"github.com/influxdata/influxql"
)

// LosesPoints returns a warning for each SELECT in an InfluxQL statement, run at the time now,
// for which InfluxDB 1.8 may omit points: one that groups by time with an offset and tz(), as
// in GROUP BY time(1d,12h) tz('Europe/Berlin'), if the zone's clock is put back within the
// queried time by less than the interval (influxdb#25078; not every offset loses points, see
// TestGroupByTimeWhereSummerTimeEnds). A statement that cannot be parsed has no warning.
func LosesPoints(statement string, now time.Time) (warnings []string) {
	q, err := influxql.ParseQuery(statement)
	if err != nil { // the server reports the error
		return nil
	}
	for _, s := range q.Statements {
		if s, ok := s.(*influxql.SelectStatement); ok {
			warnings = append(warnings, losesPoints(s, nil, influxql.TimeRange{}, now)...)
		}
	}
	return warnings
}

// losesPoints is LosesPoints for a SELECT inside another one with that zone (or nil) and that
// time.
func losesPoints(s *influxql.SelectStatement, zone *time.Location, within influxql.TimeRange, now time.Time) (warnings []string) {
	zone = cmp.Or(s.Location, zone)
	_, asked, err := influxql.ConditionExpr(s.Condition, &influxql.NowValuer{Now: now, Location: zone})
	if err != nil {
		return nil
	}
	within = asked.Intersect(within)
	for _, source := range s.Sources {
		if sub, ok := source.(*influxql.SubQuery); ok {
			warnings = append(warnings, losesPoints(sub.Statement, zone, within, now)...)
		}
	}
	interval := offsetInterval(s)
	if interval == 0 || zone == nil {
		return warnings
	}
	from, to := time.Unix(0, 0), now
	if !within.Min.IsZero() {
		from = within.Min
	}
	if !within.Max.IsZero() {
		to = within.Max
	}
	if at := putBack(zone, from.Add(-interval), to.Add(interval), interval); !at.IsZero() {
		warnings = append(warnings, fmt.Sprintf("points may be missing in the answer: InfluxDB 1.8 loses some where GROUP BY time() has an offset and tz('%s') and the clock is put back, as on %s; leave out the offset, or tz()", zone, at.In(zone).Format(time.DateOnly)))
	}
	return warnings
}

// offsetInterval returns the interval of GROUP BY time(interval, offset); 0 without one, or if
// the offset has no effect.
func offsetInterval(s *influxql.SelectStatement) time.Duration {
	for _, d := range s.Dimensions {
		call, ok := d.Expr.(*influxql.Call)
		if !ok || call.Name != "time" || len(call.Args) != 2 {
			continue
		}
		every, ok := call.Args[0].(*influxql.DurationLiteral)
		if !ok || every.Val <= 0 {
			continue
		}
		if offset, ok := call.Args[1].(*influxql.DurationLiteral); ok && offset.Val%every.Val == 0 {
			continue
		}
		return every.Val
	}
	return 0
}

// putBack returns the first time between from and to when a zone's clock is put back by less
// than the interval; the zero time if there is none.
func putBack(zone *time.Location, from, to time.Time, interval time.Duration) time.Time {
	for at := from.In(zone); ; {
		_, before := at.Zone()
		_, next := at.ZoneBounds()
		if next.IsZero() || next.After(to) {
			return time.Time{}
		}
		if _, after := next.Zone(); after < before && time.Duration(before-after)*time.Second < interval {
			return next
		}
		at = next
	}
}
