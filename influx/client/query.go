package client

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/domain"
	"github.com/influxdata/influxql"
)

// Client queries a server, sets it up and writes to it. It has the same Config as a Sink.
type Client struct {
	set  *Settings
	http *http.Client
}

// New makes a client without connecting. Close it when it is no longer
// needed.
func New(cfg Config) (*Client, error) {
	set, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if set.Base.Scheme != "http" && set.Base.Scheme != "https" {
		return nil, fmt.Errorf("influx: %s cannot be queried; want the URL of a server, http://host:port", set.Base.Redacted())
	}
	return set.Client(0), nil // only its context bounds a query
}

// HTTP returns the underlying HTTP client, for other requests to the same server with the same
// treatment of proxies and redirects. Its Transport is a *Transport.
func (c *Client) HTTP() *http.Client { return c.http }

// BucketPrefix returns the prefix of the bucket names for Flux, before /history and /totals; in
// InfluxDB 1.x it is the database's name.
func (c *Client) BucketPrefix() string {
	return c.set.prefix()
}

// Database returns the name of the server's database; in InfluxDB 2 it is the InfluxQL name of
// the buckets, in InfluxDB 3 what the names of the databases begin with.
func (c *Client) Database() string {
	if c.set.API() == 3 {
		return c.set.prefix()
	}
	return c.set.Database
}

// URL returns the server's URL without a password.
func (c *Client) URL() string { return c.set.Base.Redacted() }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// QueryError is the server's message for a statement that it refused.
type QueryError struct {
	Status  int // of HTTP
	Message string
}

func (e *QueryError) Error() string { return e.Message }

// Label is a tag of a series in an answer.
type Label struct{ Key, Value string }

// Output receives an answer: each series, followed by its rows. A value is nil, bool, string,
// or json.Number. Close is called last, and only if there was no error.
type Output interface {
	Series(name string, labels []Label, columns []string) error
	Row(values []any) error
	Close() error
}

// Query runs a statement, InfluxQL or Flux, and writes the answer to out as it arrives. The
// error is a *QueryError if the server refused the statement, and a *CutError if the answer was
// truncated.
func (c *Client) Query(ctx context.Context, statement string, flux bool, out Output) error {
	c.find(ctx)
	run := c.influxQL
	if flux && c.set.API() == 3 {
		return &QueryError{Status: http.StatusNotImplemented, Message: "InfluxDB 3 has no Flux; want InfluxQL, or SQL (--sql)"}
	}
	if flux {
		run = c.flux
	}
	if err := run(ctx, statement, out); err != nil {
		return err
	}
	return out.Close()
}

// CutError is the error of a truncated answer: the server's max-row-limit applied, or the
// connection broke. Output has received only a part.
type CutError struct{ Why string }

func (e *CutError) Error() string { return "the answer is truncated: " + e.Why }

// answer is one chunk of an answer to InfluxQL.
type answer struct {
	Results []struct {
		Series []struct {
			Name    string
			Tags    map[string]string
			Columns []string
			Values  [][]any
			Partial bool
		}
		Partial bool
		Error   string
	}
	Error string
}

// completeness decides whether an answer to InfluxQL is whole. In a chunked answer each chunk
// has one series, and partial marks chunks that another one follows. In an answer without
// chunks the server marks a series that it cut at max-row-limit, but not an answer that it cut
// between two series.
type completeness struct {
	version  string // of the server, X-Influxdb-Version
	expected int    // statements; 0: not known
	ended    int    // results that are complete
	open     bool   // the last result, or its last series, is incomplete
	limit    bool   // chunks were requested and did not come
}

func (w *completeness) add(a *answer) {
	for _, r := range a.Results {
		w.open = r.Partial
		for i, s := range r.Series {
			last := i == len(r.Series)-1
			w.open = w.open || s.Partial && last
			// A series that was cut and is not the last, or a SELECT whose series
			// come at once from a server that is known to send chunks.
			w.limit = w.limit || s.Partial && !last ||
				i > 0 && len(s.Columns) > 0 && s.Columns[0] == "time" && strings.HasPrefix(w.version, "1.")
		}
		if !w.open {
			w.ended++
		}
	}
}

// err is nil when the answer that ended here is whole.
func (w *completeness) err() error {
	switch {
	case w.limit:
		return &CutError{"the server was not asked for chunks, so its max-row-limit may apply; does a proxy before it remove \"chunked\" from the URL?"}
	case w.open:
		return &CutError{"the server marks it as partial (is max-row-limit set, or does a proxy remove \"chunked\" from the URL?)"}
	case w.ended == 0:
		return &CutError{"it is empty"}
	case w.ended < w.expected:
		return &CutError{fmt.Sprintf("it has %d results for %d statements", w.ended, w.expected)}
	}
	return nil
}

func (c *Client) influxQL(ctx context.Context, statement string, out Output) error {
	if c.set.API() != 3 {
		return c.ask(ctx, c.set.Database, statement, out)
	}
	all, err := c.set.split3(statement)
	for _, one := range all {
		if err = c.ask(ctx, one.database, one.text, out); err != nil {
			return err
		}
	}
	return err
}

// ask sends InfluxQL in one request, for a database; "" for none.
func (c *Client) ask(ctx context.Context, database, statement string, out Output) error {
	u := c.set.Base.JoinPath("query")
	form := url.Values{"q": {statement}, "chunked": {"true"}}
	if database != "" {
		form.Set("db", database)
	}
	if c.set.API() == 2 {
		// 2.x reads these from the URL only, and requires the organisation.
		form.Set("org", c.set.Org)
	}
	u.RawQuery = form.Encode()
	method := http.MethodPost
	if c.set.API() == 3 {
		method = http.MethodGet // of a POST some versions read the body, and others the URL
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	c.set.authorize(req)
	res, err := c.http.Do(req)
	if err != nil {
		return c.connection(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return c.refusal(res)
	}
	dec := json.NewDecoder(res.Body)
	dec.UseNumber()
	last := ""
	all := completeness{version: res.Header.Get("X-Influxdb-Version")}
	if q, err := influxql.ParseQuery(statement); err == nil {
		all.expected = len(q.Statements)
	}
	for {
		var a answer
		switch err := dec.Decode(&a); {
		case err == io.EOF:
			return all.err()
		case errors.Is(err, io.ErrUnexpectedEOF):
			return &CutError{"the connection to " + c.set.Base.Redacted() + " ended within it"}
		case err != nil:
			return fmt.Errorf("read the answer of %s: %w", c.set.Base.Redacted(), err)
		}
		all.add(&a)
		if a.Error != "" {
			return &QueryError{Status: res.StatusCode, Message: a.Error}
		}
		for _, r := range a.Results {
			for _, s := range r.Series {
				labels := make([]Label, 0, len(s.Tags))
				for k, v := range s.Tags {
					labels = append(labels, Label{k, v})
				}
				sort.Slice(labels, func(i, j int) bool { return labels[i].Key < labels[j].Key })
				if id := fmt.Sprint(s.Name, labels, s.Columns); id != last {
					last = id
					if err := out.Series(s.Name, labels, s.Columns); err != nil {
						return err
					}
				}
				for _, row := range s.Values {
					if len(row) != len(s.Columns) {
						return fmt.Errorf("read the answer of %s: a row has %d values, want %d as the header has", c.set.Base.Redacted(), len(row), len(s.Columns))
					}
					if err := out.Row(row); err != nil {
						return err
					}
				}
			}
			if r.Error != "" {
				return &QueryError{Status: res.StatusCode, Message: r.Error}
			}
		}
	}
}

// flux queries through influxdb-client-go. Each block of the answer's CSV becomes
// one series without labels.
func (c *Client) flux(ctx context.Context, statement string, out Output) error {
	token := c.set.token
	if !c.set.v2 && c.set.Username != "" {
		token = c.set.Username + ":" + c.set.password // the form that 1.8 accepts
	}
	client := influxdb2.NewClientWithOptions(c.set.Base.String(), token, influxdb2.DefaultOptions().SetHTTPClient(c.http))
	defer client.Close()
	header, annotations := true, []domain.DialectAnnotations{domain.DialectAnnotationsDatatype}
	text, err := client.QueryAPI(c.set.Org).QueryRaw(ctx, statement, &domain.Dialect{Header: &header, Annotations: &annotations})
	if err != nil {
		var e *influxhttp.Error
		if errors.As(err, &e) && e.StatusCode != 0 {
			return &QueryError{Status: e.StatusCode, Message: strings.TrimPrefix(e.Error(), e.Code+": ")}
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &CutError{"the connection to " + c.set.Base.Redacted() + " ended within it"}
		}
		return err
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	// Each result ends with an empty line; one without a table is only that.
	if text != "\n" && !strings.HasSuffix(text, "\n\n") {
		return &CutError{"it does not end like an answer to Flux"}
	}
	for block := range strings.SplitSeq(text, "\n\n") {
		if strings.TrimSpace(block) == "" {
			continue
		}
		r := csv.NewReader(strings.NewReader(block))
		r.FieldsPerRecord = -1
		records, err := r.ReadAll()
		if err != nil {
			return fmt.Errorf("read the answer of %s: %w", c.set.Base.Redacted(), err)
		}
		if err := fluxBlock(records, out); err != nil {
			return err
		}
	}
	return nil
}

// fluxBlock passes a header and its rows to out, without the columns that only number the
// tables. Lines that begin with # describe the columns.
func fluxBlock(records [][]string, out Output) error {
	var types []string
	for len(records) > 0 && strings.HasPrefix(records[0][0], "#") {
		if records[0][0] == "#datatype" {
			types = records[0]
		}
		records = records[1:]
	}
	if len(records) == 0 {
		return nil
	}
	var keep []int
	var columns []string
	for i, name := range records[0] {
		// A table of the server's own errors has two columns; a field may be named so too.
		if name == "error" && slices.Contains(records[0], "reference") && len(records) > 1 && len(records[1]) > i {
			return &QueryError{Status: http.StatusOK, Message: records[1][i]}
		}
		if name != "" && name != "result" && name != "table" {
			keep = append(keep, i)
			columns = append(columns, name)
		}
	}
	if err := out.Series("", nil, columns); err != nil {
		return err
	}
	for _, record := range records[1:] {
		row := make([]any, len(keep))
		for i, at := range keep {
			if at < len(record) && at < len(types) {
				row[i] = fluxValue(record[at], types[at])
			}
		}
		if err := out.Row(row); err != nil {
			return err
		}
	}
	return nil
}

// fluxValue returns a typed value. A value that JSON cannot represent stays text.
func fluxValue(text, datatype string) any {
	switch datatype {
	case "long", "unsignedLong", "double":
		if text == "" {
			return nil
		}
		if json.Valid([]byte(text)) {
			return json.Number(text)
		}
	case "boolean":
		if text == "true" || text == "false" {
			return text == "true"
		}
	}
	return text
}
