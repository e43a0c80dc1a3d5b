package client

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// statement3 is one statement with the database that answers it; "" for none.
type statement3 struct{ database, text string }

// split3 returns the requests for a text in InfluxQL. InfluxDB 3 takes one statement in a
// request and reads one database in it: the retention policies that the statement names decide
// which, and history is the default as in 1.x. A SHOW without a measurement is asked of both.
func (s *Settings) split3(text string) ([]statement3, error) {
	history := s.database3(schema.History)
	q, err := influxql.ParseQuery(text)
	if err != nil {
		return []statement3{{history, text}}, nil // the server reports the error
	}
	var out []statement3
	for _, statement := range q.Statements {
		one := statement.String()
		if len(q.Statements) == 1 {
			one = text
		}
		names := s.databases(statement)
		switch {
		case len(names) > 1:
			return nil, &QueryError{Status: http.StatusBadRequest, Message: fmt.Sprintf("InfluxDB 3 reads one database in a statement, and this one names %s; ask for each on its own", strings.Join(names, " and "))}
		case len(names) == 1:
			out = append(out, statement3{names[0], one})
		case asksServer(statement):
			out = append(out, statement3{"", one})
		default:
			for k := range schema.Kinds {
				if k != schema.History || s.KeepsHistory {
					out = append(out, statement3{s.database3(k), one})
				}
			}
		}
	}
	return out, nil
}

// asksServer reports whether a statement is about no database.
func asksServer(s influxql.Statement) bool {
	switch s.(type) {
	case *influxql.ShowDatabasesStatement, *influxql.ShowRetentionPoliciesStatement:
		return true
	}
	return false
}

// databases returns the databases of the measurements in a statement, each once.
func (s *Settings) databases(statement influxql.Node) (names []string) {
	influxql.WalkFunc(statement, func(n influxql.Node) {
		if explain, ok := n.(*influxql.ExplainStatement); ok {
			names = append(names, s.databases(explain.Statement)...)
		}
		m, ok := n.(*influxql.Measurement)
		if !ok {
			return
		}
		db, policy := m.Database, m.RetentionPolicy
		if db == "" {
			db = s.prefix()
		}
		if policy == "" {
			policy = schema.History.String()
		}
		names = append(names, db+"/"+policy)
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// SQL runs a statement in SQL, which InfluxDB 3 has, on the database of a kind, and writes the
// answer to out as it arrives: one series without labels.
func (c *Client) SQL(ctx context.Context, statement string, kind schema.Kind, out Output) error {
	if api, err := c.Find(ctx); err == nil && api != 3 {
		version, _, _ := c.set.found.get()
		if version == "" {
			version = "of another kind"
		}
		return &QueryError{Status: http.StatusNotImplemented, Message: fmt.Sprintf("the server is InfluxDB %s, which has no SQL; want InfluxDB 3, or InfluxQL", version)}
	}
	body, err := json.Marshal(map[string]string{"db": c.set.database3(kind), "q": statement, "format": "csv"})
	if err != nil {
		return err
	}
	res, err := c.open3(ctx, http.MethodPost, "api/v3/query_sql", nil, "application/json", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	r := csv.NewReader(res.Body)
	r.FieldsPerRecord = -1
	for first := true; ; first = false {
		record, err := r.Read()
		switch {
		case err == io.EOF:
			return out.Close()
		case errors.Is(err, io.ErrUnexpectedEOF):
			return &CutError{"the connection to " + c.set.Base.Redacted() + " ended within it"}
		case err != nil:
			return fmt.Errorf("read the answer of %s: %w", c.set.Base.Redacted(), err)
		case first:
			if err := out.Series("", nil, slices.Clone(record)); err != nil {
				return err
			}
			continue
		}
		row := make([]any, len(record))
		for i, text := range record {
			row[i] = sqlValue(text)
		}
		if err := out.Row(row); err != nil {
			return err
		}
	}
}

var sqlNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// sqlValue returns a value of CSV, which does not say its type: an empty one is null, a number
// is one.
func sqlValue(text string) any {
	switch {
	case text == "":
		return nil
	case text == "true" || text == "false":
		return text == "true"
	case sqlNumber.MatchString(text):
		return json.Number(text)
	}
	return text
}

// SQLKind returns the kind of the tables that a statement in SQL names after FROM and JOIN;
// history if it names none of the schema's. The error is about a statement that names both kinds.
func SQLKind(statement string) (schema.Kind, error) {
	kinds := map[schema.Kind]string{}
	for _, m := range sqlTable.FindAllStringSubmatch(statement, -1) {
		for k := range schema.Kinds {
			if slices.ContainsFunc(schema.Tables(k), func(t schema.Table) bool { return strings.EqualFold(t.Name, m[1]) }) {
				kinds[k] = m[1]
			}
		}
	}
	if len(kinds) == int(schema.Kinds) {
		return 0, fmt.Errorf("%s is among the history and %s among the totals: want tables of one kind, which is one database", kinds[schema.History], kinds[schema.Totals])
	}
	for k := range kinds {
		return k, nil
	}
	return schema.History, nil
}

var sqlTable = regexp.MustCompile(`(?i)\b(?:from|join)\s+"?(?:iox"?\."?)?([a-z0-9_]+)`)
