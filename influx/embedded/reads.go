package embedded

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxql"
)

// readsOnly lets everyone but an administrator run statements that only read.
// InfluxDB itself asks for no right to write where a statement's INTO names no
// database, and keeps a continuous query for ever. It judges what InfluxDB has
// parsed, with bound parameters, and so whatever way the statement came.
type readsOnly struct{ httpd.QueryAuthorizer }

func (a readsOnly) AuthorizeQuery(u meta.User, q *influxql.Query, database string) (query.FineAuthorizer, error) {
	if u == nil { // somebody dropped all users; the next start makes them again
		return nil, meta.ErrAuthorize{Query: q, Database: database, Message: "no user: start the store again, which makes its users"}
	}
	if !u.AuthorizeUnrestricted() {
		for _, s := range q.Statements {
			if err := onlyReads(s); err != nil {
				return nil, meta.ErrAuthorize{Query: q, User: u.ID(), Database: database,
					Message: fmt.Sprintf("statement '%s': %v", s, err)}
			}
		}
	}
	return a.QueryAuthorizer.AuthorizeQuery(u, q, database)
}

// onlyReads reports why a statement is none that only reads: SELECT without
// INTO, EXPLAIN of one, SHOW.
func onlyReads(s influxql.Statement) error {
	switch s := s.(type) {
	case *influxql.SelectStatement:
		return selectReads(s)
	case *influxql.ExplainStatement:
		return selectReads(s.Statement)
	case *influxql.ShowContinuousQueriesStatement, *influxql.ShowDatabasesStatement, *influxql.ShowDiagnosticsStatement,
		*influxql.ShowFieldKeyCardinalityStatement, *influxql.ShowFieldKeysStatement, *influxql.ShowGrantsForUserStatement,
		*influxql.ShowMeasurementCardinalityStatement, *influxql.ShowMeasurementsStatement, *influxql.ShowQueriesStatement,
		*influxql.ShowRetentionPoliciesStatement, *influxql.ShowSeriesCardinalityStatement, *influxql.ShowSeriesStatement,
		*influxql.ShowShardGroupsStatement, *influxql.ShowShardsStatement, *influxql.ShowStatsStatement,
		*influxql.ShowSubscriptionsStatement, *influxql.ShowTagKeyCardinalityStatement, *influxql.ShowTagKeysStatement,
		*influxql.ShowTagValuesCardinalityStatement, *influxql.ShowTagValuesStatement, *influxql.ShowUsersStatement:
		return nil // and those that need an administrator are refused by InfluxDB
	}
	return fmt.Errorf("only user %s may change anything: want SELECT, SHOW or EXPLAIN", MonitorUser)
}

func selectReads(s *influxql.SelectStatement) error {
	if s.Target != nil {
		return fmt.Errorf("only user %s may change anything: want SELECT without INTO", MonitorUser)
	}
	for _, source := range s.Sources {
		if sub, ok := source.(*influxql.SubQuery); ok {
			if err := selectReads(sub.Statement); err != nil {
				return err
			}
		}
	}
	return nil
}

// warnOfQueries logs each continuous query whose name is not among own: it runs
// for as long as the store is there, and writes what it likes.
func warnOfQueries(databases []meta.DatabaseInfo, own []string, log *slog.Logger) {
	for _, d := range databases {
		for _, q := range d.ContinuousQueries {
			if !slices.Contains(own, q.Name) {
				log.Warn("store: found a continuous query that is not the monitor's; drop it if nobody here made it",
					"query", q.Query, "drop", fmt.Sprintf("DROP CONTINUOUS QUERY %q ON %q", q.Name, d.Name))
			}
		}
	}
}
