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

// readsOnly restricts everyone but an administrator to statements that only read. InfluxDB
// itself requires no right to write if a statement's INTO names no database, and keeps a
// continuous query for ever. readsOnly examines statements as InfluxDB parsed them, with bound
// parameters, whichever way they came.
type readsOnly struct{ httpd.QueryAuthorizer }

func (a readsOnly) AuthorizeQuery(u meta.User, q *influxql.Query, database string) (query.FineAuthorizer, error) {
	if u == nil { // somebody dropped all users; the next start creates them again
		return nil, meta.ErrAuthorize{Query: q, Database: database, Message: "no user: restart the store, which creates its users"}
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

// onlyReads returns an error unless a statement only reads: SELECT without INTO, EXPLAIN of
// one, SHOW.
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
		return nil // InfluxDB refuses those that need an administrator
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

// warnOfQueries logs each continuous query whose name is not in own: such a query runs for as
// long as the store exists and can write anything.
func warnOfQueries(databases []meta.DatabaseInfo, own []string, log *slog.Logger) {
	for _, d := range databases {
		for _, q := range d.ContinuousQueries {
			if !slices.Contains(own, q.Name) {
				log.Warn("store: found a continuous query that is not the monitor's; drop it if nobody here created it",
					"query", q.Query, "drop", fmt.Sprintf("DROP CONTINUOUS QUERY %q ON %q", q.Name, d.Name))
			}
		}
	}
}
