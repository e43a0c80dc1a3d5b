package influxtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// write stores lines in the server behind.
func (b *Behind3) write(r *http.Request, name, lines string) error {
	db, rp, ok := split3(name)
	if !ok {
		return fmt.Errorf("the test has no place for points of the database %q", name)
	}
	res, err := b.do(r, "/write?"+url.Values{"db": {db}, "rp": {rp}}.Encode(), lines)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("the server behind answers %s: %s", res.Status, text)
	}
	return nil
}

func (b *Behind3) do(r *http.Request, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, b.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(b.Username, b.Password)
	return http.DefaultClient.Do(req)
}

// query answers InfluxQL as /query does.
func (s *InfluxDB3) query(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query() // not the body
	q, err := influxql.ParseQuery(params.Get("q"))
	if err != nil || params.Get("q") == "" {
		http.Error(w, fmt.Sprintf("error in InfluxQL statement: parsing error: %v", err), http.StatusInternalServerError)
		return
	}
	if len(q.Statements) != 1 {
		http.Error(w, "must provide only one InfluxQl statement per query", http.StatusInternalServerError)
		return
	}
	statement := q.Statements[0]
	switch statement.(type) {
	case *influxql.ShowDatabasesStatement:
		s.mu.Lock()
		var rows [][]any
		for name := range s.databases {
			rows = append(rows, []any{name})
		}
		s.mu.Unlock()
		table(w, "databases", "iox::database", rows)
		return
	case *influxql.ShowRetentionPoliciesStatement:
		table(w, "retention_policies", "iox::database", nil)
		return
	}
	name, err := s.resolve(statement, params.Get("db"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	d := s.databases[name]
	var names [][]any
	if d != nil {
		for t := range d.tables {
			names = append(names, []any{t})
		}
	}
	s.mu.Unlock()
	if d == nil {
		problem(w, http.StatusNotFound, "query error: database not found: "+name)
		return
	}
	if _, ok := statement.(*influxql.ShowMeasurementsStatement); ok {
		slices.SortFunc(names, func(a, b []any) int { return strings.Compare(a[0].(string), b[0].(string)) })
		table(w, "measurements", "name", names)
		return
	}
	if s.Build == "Core" {
		if n := s.filesOf(d, statement); n > coreFiles {
			http.Error(w, fmt.Sprintf("datafusion error: Query would exceed file limit of %d parquet files. Please specify a smaller time range for your query. You can increase the file limit with the `--query-file-limit` option", coreFiles), http.StatusInternalServerError)
			return
		}
	}
	db, rp, ok := split3(name)
	if s.Behind == nil || !ok {
		table(w, "", "", nil)
		return
	}
	influxql.WalkFunc(statement, func(n influxql.Node) {
		if m, ok := n.(*influxql.Measurement); ok {
			m.Database, m.RetentionPolicy = "", rp
		}
	})
	form := url.Values{"db": {db}, "q": {statement.String()}}
	if params.Get("chunked") == "true" {
		form.Set("chunked", "true")
	}
	if epoch := params.Get("epoch"); epoch != "" {
		form.Set("epoch", epoch)
	}
	res, err := s.Behind.do(r, "/query?"+form.Encode(), "")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return
	}
	if why := failure(body); res.StatusCode != http.StatusOK || why != "" {
		http.Error(w, "query error: "+why, http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body)
}

// failure returns the error in an answer of InfluxDB 1.x.
func failure(body []byte) string {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	for {
		var a struct {
			Error   string
			Results []struct{ Error string }
		}
		if err := dec.Decode(&a); err != nil {
			return a.Error
		}
		for _, r := range a.Results {
			if r.Error != "" {
				return r.Error
			}
		}
		if a.Error != "" {
			return a.Error
		}
	}
}

// table answers with one series of one column; none without rows.
func table(w io.Writer, name, column string, rows [][]any) {
	type series struct {
		Name    string   `json:"name"`
		Columns []string `json:"columns"`
		Values  [][]any  `json:"values"`
	}
	type result struct {
		ID     int      `json:"statement_id"`
		Series []series `json:"series,omitempty"`
	}
	var r result
	if len(rows) > 0 {
		r.Series = []series{{name, []string{column}, rows}}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"results": []result{r}})
}

// resolve returns the database of a statement, and an error for what InfluxDB 3 lacks.
func (s *InfluxDB3) resolve(statement influxql.Statement, param string) (name string, err error) {
	if explain, ok := statement.(*influxql.ExplainStatement); ok {
		statement = explain.Statement
	}
	switch statement.(type) {
	case *influxql.SelectStatement, *influxql.ShowMeasurementsStatement, *influxql.ShowFieldKeysStatement, *influxql.ShowTagKeysStatement, *influxql.ShowTagValuesStatement:
	default:
		return "", fmt.Errorf("this feature is not implemented: %.40s", statement)
	}
	names := map[string]bool{}
	influxql.WalkFunc(statement, func(n influxql.Node) {
		switch n := n.(type) {
		case *influxql.SelectStatement:
			if n.Target != nil || n.SLimit > 0 || n.SOffset > 0 {
				err = errors.New("this feature is not implemented: INTO, SLIMIT, SOFFSET")
			}
		case *influxql.Call:
			if n.Name == "sample" || strings.HasPrefix(n.Name, "holt_winters") {
				err = errors.New("this feature is not implemented: " + n.Name)
			}
		case *influxql.Measurement:
			switch { // a policy without a database says nothing
			case n.Database != "" && n.RetentionPolicy != "":
				names[n.Database+"/"+n.RetentionPolicy] = true
			case n.Database != "":
				names[n.Database] = true
			}
		}
	})
	if err != nil {
		return "", err
	}
	for n := range names {
		if name != "" {
			return "", errors.New("the statement reads more than one database")
		}
		name = n
	}
	switch {
	case name == "" && param == "":
		return "", errors.New("must specify a 'db' parameter, or provide the database in the InfluxQL query")
	case name != "" && param != "" && name != param:
		return "", fmt.Errorf("provided a database in both the parameters (%s) and query string (%s) that do not match", param, name)
	case name == "":
		return param, nil
	}
	return name, nil
}

// filesOf returns how many files a statement reads: of each table one for every ten minutes in
// which it has points.
func (s *InfluxDB3) filesOf(d *database3, statement influxql.Statement) int {
	sel, ok := statement.(*influxql.SelectStatement)
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.read(sel, influxql.TimeRange{})
}

// read is filesOf for a SELECT in a time; the caller holds mu.
func (d *database3) read(sel *influxql.SelectStatement, within influxql.TimeRange) (count int) {
	if _, span, err := influxql.ConditionExpr(sel.Condition, &influxql.NowValuer{Now: time.Now()}); err == nil {
		within = within.Intersect(span)
	}
	for _, source := range sel.Sources {
		switch source := source.(type) {
		case *influxql.SubQuery:
			count += d.read(source.Statement, within)
		case *influxql.Measurement:
			if d.tables[source.Name] == nil {
				continue
			}
			for at := range d.tables[source.Name].files {
				begin := time.Unix(0, at*int64(fileSpan))
				if (within.Min.IsZero() || begin.Add(fileSpan).After(within.Min)) && (within.Max.IsZero() || begin.Before(within.Max)) {
					count++
				}
			}
		}
	}
	return count
}

// sql answers SQL with what the test expects.
func (s *InfluxDB3) sql(w http.ResponseWriter, r *http.Request) {
	var v struct{ DB, Q, Format string }
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		http.Error(w, "serde json error: "+err.Error(), http.StatusBadRequest)
		return
	}
	if _, _, there := s.Database(v.DB); !there {
		problem(w, http.StatusNotFound, "query error: database not found: "+v.DB)
		return
	}
	answer, ok := s.SQL[v.DB+": "+v.Q]
	if !ok || v.Format != "csv" {
		http.Error(w, "datafusion error: Error during planning: "+v.Q, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/csv")
	_, _ = io.WriteString(w, answer)
}

// InFront starts a new server with access control in front of a real store, and returns it with a
// configuration that may do everything.
func InFront(t testing.TB, store interface {
	URL() string
	Login() (user, file string)
}) (*InfluxDB3, client.Config) {
	t.Helper()
	behind := StoreAt(store)
	behind.HistoryRetention = "0s" // InfluxDB 3 does not refuse old points
	if err := client.Setup(t.Context(), behind); err != nil {
		t.Fatal(err)
	}
	s := New3()
	s.Auth = true
	s.Behind = BehindStore(t, store)
	return s, client.Config{URL: s.Start(t).URL, Version: "3", Token: s.Admin("_admin")}
}

// BehindStore puts a store of storetest behind the stand-in.
func BehindStore(t testing.TB, c interface {
	URL() string
	Login() (user, file string)
}) *Behind3 {
	t.Helper()
	user, file := c.Login()
	password, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &Behind3{URL: c.URL(), Username: user, Password: strings.TrimSpace(string(password))}
}
