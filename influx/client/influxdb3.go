package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// InfluxDB 3 has a database for each kind of points, named like the buckets of 2.x. What it does
// is known from its documents and its source, versions 3.10 and 3.11.

// found is what the last ping reported. The copies of one destination's Settings share it.
type found struct {
	mu             sync.Mutex
	asked          bool
	guarded        bool // the ping was answered with 401
	version, build string
}

func (f *found) set(version, build string, guarded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.version, f.build, f.guarded = true, version, build, guarded
	if guarded { // by who was there before: asked again
		f.asked = false
	}
}

func (f *found) get() (version, build string, guarded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version, f.build, f.guarded
}

func (f *found) isKnown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// API returns the version of the API that the server gets: 3 if the last ping found an
// InfluxDB 3 or Version is "3", else the configured one, 1 or 2.
func (s *Settings) API() int {
	version, _, _ := s.found.get()
	switch {
	case s.v3 || IsVersion3(version):
		return 3
	case s.v2:
		return 2
	}
	return 1
}

// IsVersion3 reports whether a version is InfluxDB 3.
func IsVersion3(version string) bool { return strings.HasPrefix(version, "3.") }

// Find asks the server what it is and returns the API's version, as Settings.API does. A
// server that answers without a version, or refuses to answer, keeps the configured API. An
// error is one of the connection.
func (c *Client) Find(ctx context.Context) (api int, err error) {
	before := c.set.API()
	version, err := c.Version(ctx)
	if err != nil {
		return before, err
	}
	if api = c.set.API(); api == 3 && before != 3 {
		_, build, _ := c.set.found.get()
		c.set.Logger.Info("influx: the server is InfluxDB 3", "version", version, "build", build, "url", c.set.Base.Redacted(), "limits", coreLimits(build))
	}
	return api, nil
}

// Guarded returns a note for an answer 401 to a post, if the server answered /ping with 401 as
// well: an InfluxDB 3 does that, which then cannot be distinguished from others.
func (c *Client) Guarded() string {
	if version, _, guarded := c.set.found.get(); version == "" && guarded {
		return "; /ping is refused too, as by an InfluxDB 3, which wants one of its tokens: Token or TokenFile with Version \"3\", or the token as Password"
	}
	return ""
}

// find is Find where nobody has asked yet; a failure leaves the configured API, and the request
// that follows reports it.
func (c *Client) find(ctx context.Context) {
	if !c.set.found.isKnown() && !c.set.v3 {
		_, _ = c.Find(ctx)
	}
}

// coreLimits describes the limits of InfluxDB 3 Core that its users meet.
func coreLimits(build string) string {
	if build != "Core" {
		return "none that a monitor meets"
	}
	return "Core has at most 5 databases, and a query reads about 72 hours"
}

// database3 returns the name of a kind's database.
func (s *Settings) database3(k schema.Kind) string { return s.prefix() + "/" + k.String() }

// prefix returns how the names of buckets and of InfluxDB 3's databases begin.
func (s *Settings) prefix() string {
	if s.v2 {
		return s.Bucket
	}
	return s.Database
}

// name3 matches the names that InfluxDB 3 accepts before the slash.
var name3 = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// setup3 makes the databases and tables that are missing. A database that the server made with
// its first point would be kept for ever, and InfluxDB 3 Core can never change that: so the
// error is a RetryError, and nothing may be written, as long as one is known to be missing.
func (c *Client) setup3(ctx context.Context) error {
	if p := c.set.prefix(); !name3.MatchString(p) || len(p)+len("/history") > 64 {
		return &RetryError{Err: fmt.Errorf("influx: set-up: %q: want at most 56 letters, digits, hyphens and underscores: InfluxDB 3 accepts no other name of a database", p)}
	}
	there, err := c.databases3(ctx)
	if err != nil {
		return c.refused3("list the databases", err, false)
	}
	for k := range schema.Kinds {
		if k == schema.History && !c.set.KeepsHistory {
			continue
		}
		name := c.set.database3(k)
		switch {
		case there[name]:
			if k == schema.History && c.set.asked {
				c.set.Logger.Info("influx: the database of history exists, and InfluxDB 3 keeps its retention: HistoryRetention is for a new one", "database", name)
			}
		case !c.set.MayCreate:
			return c.refused3("", errors.New("CreateDatabase is false"), true)
		default:
			if err := c.configure3(ctx, "database", c.database3Request(k)); err != nil {
				return c.refused3("create the database "+name, err, true)
			}
		}
	}
	if !c.set.MayCreate {
		return nil
	}
	for k := range schema.Kinds {
		if k == schema.History && !c.set.KeepsHistory {
			continue
		}
		if err := c.tables3(ctx, k); err != nil {
			if code := statusOf(err); code == 0 || code >= 500 {
				return &RetryError{Err: fmt.Errorf("influx: set-up: create tables: %w", err)}
			}
			c.set.Logger.Warn("influx: InfluxDB 3 did not create a table beforehand; its first line will determine the types and the order of tags", "err", err)
		}
	}
	return nil
}

// statusOf returns the HTTP status of a server's refusal, 0 for another error.
func statusOf(err error) int {
	var e *QueryError
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// refused3 turns a failure of the set-up into its error. missing: a database is known not to be
// there.
func (c *Client) refused3(what string, err error, missing bool) error {
	if what != "" {
		err = fmt.Errorf("%s: %w", what, err)
	}
	err = fmt.Errorf("influx: set-up: %w", err)
	code := statusOf(err)
	if code == http.StatusUnauthorized || code == http.StatusForbidden {
		c.set.ReadSecrets()
	}
	if code == http.StatusUnprocessableEntity {
		err = fmt.Errorf("%w (InfluxDB 3 Core has at most 5 databases; remove one that is not needed)", err)
	}
	if missing || code == 401 || code == 403 || code == 400 {
		err = c.Missing(err)
	}
	if missing || code == 0 || code == 401 || code == 408 || code == 429 || code >= 500 {
		return &RetryError{Err: err}
	}
	return err
}

// databases3 returns the names of the databases.
func (c *Client) databases3(ctx context.Context) (map[string]bool, error) {
	body, err := c.request3(ctx, http.MethodGet, "api/v3/configure/database", url.Values{"format": {"json"}}, nil)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, fmt.Errorf("the answer is no list of databases: %w", err)
	}
	names := map[string]bool{}
	for _, row := range rows {
		names[fmt.Sprint(row["iox::database"])] = true
	}
	return names, nil
}

type newDatabase struct {
	DB        string `json:"db"`
	Retention string `json:"retention_period,omitempty"` // "0s" would delete everything
}

func (c *Client) database3Request(k schema.Kind) newDatabase {
	return newDatabase{c.set.database3(k), influxDuration(c.retention(k), "")}
}

// tables3 creates the tables of a kind that are not there, with the schema's tags and types.
func (c *Client) tables3(ctx context.Context, k schema.Kind) error {
	there := &collector{key: "name", rows: map[string]map[string]any{}}
	if err := c.ask(ctx, c.set.database3(k), "SHOW MEASUREMENTS", there); err != nil {
		return err
	}
	for _, t := range schema.Tables(k) {
		if _, ok := there.rows[t.Name]; ok {
			continue
		}
		type field struct {
			Name string `json:"name"`
			Type string `json:"type"`
		}
		r := struct {
			DB     string   `json:"db"`
			Table  string   `json:"table"`
			Tags   []string `json:"tags"`
			Fields []field  `json:"fields"`
		}{DB: c.set.database3(k), Table: t.Name, Tags: t.Tags}
		for _, f := range t.Fields {
			r.Fields = append(r.Fields, field{f.Key, f.Type})
		}
		if err := c.configure3(ctx, "table", r); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

// configure3 creates a database or a table; one that exists is no error.
func (c *Client) configure3(ctx context.Context, what string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.request3(ctx, http.MethodPost, "api/v3/configure/"+what, nil, body)
	if statusOf(err) == http.StatusConflict {
		return nil
	}
	return err
}

// request3 makes a request with a body of JSON and returns the answer's; the error of an answer
// that is no success is a *QueryError.
func (c *Client) request3(ctx context.Context, method, path string, params url.Values, body []byte) ([]byte, error) {
	res, err := c.open3(ctx, method, path, params, "application/json", body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, maxAnswer))
}

// open3 is request3 that returns the answer for reading; the caller closes its body.
func (c *Client) open3(ctx context.Context, method, path string, params url.Values, contentType string, body []byte) (*http.Response, error) {
	u := c.set.Base.JoinPath(path)
	u.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType) // the server answers 415 to any other
	}
	c.set.authorize(req)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.connection(err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		defer res.Body.Close()
		return nil, c.refusal(res)
	}
	return res, nil
}

// connection shortens the error of a request: the text of a url.Error would repeat the URL with
// the whole statement, encoded.
func (c *Client) connection(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = fmt.Errorf("ask %s: %w", c.set.Base.Redacted(), ue.Err)
	}
	return err
}

// refusal returns the server's answer as an error.
func (c *Client) refusal(res *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	msg := ErrorText(b)
	if msg == "" {
		msg = res.Status
	}
	if c.set.API() == 3 {
		msg = explain3(res.StatusCode, msg)
	}
	return &QueryError{Status: res.StatusCode, Message: msg + Through(res.Header)}
}

// fileLimit matches the refusal of a query that would read more files than the server allows.
var fileLimit = regexp.MustCompile(`(?i)file limit|limit of \d+ parquet|query-file-limit`)

// explain3 adds to a message of InfluxDB 3 what to do about it.
func explain3(status int, msg string) string {
	switch {
	case status == http.StatusUnauthorized:
		return msg + "; want a token that InfluxDB 3 knows: Token or TokenFile with Version \"3\", or the token as Password (--token, --token-file)"
	case status == http.StatusForbidden:
		return msg + "; want a token with the right to do that; to create databases and tables an administrator's"
	case fileLimit.MatchString(msg):
		return msg + "; InfluxDB 3 Core reads about 72 hours in one query: ask for less (--since 48h), or start the server with a higher --query-file-limit"
	}
	return msg
}

// missing3 lists what to create by hand, by HTTP: every installation has that.
func (c *Client) missing3(why error) error {
	var todo []string
	for k := range schema.Kinds {
		if k == schema.History && !c.set.KeepsHistory {
			continue
		}
		body, _ := json.Marshal(c.database3Request(k)) // strings
		todo = append(todo, fmt.Sprintf(`curl -H "Authorization: Bearer $ADMIN_TOKEN" -H "Content-Type: application/json" %s -d '%s'`, c.set.Base.JoinPath("api/v3/configure/database").Redacted(), body))
	}
	return fmt.Errorf("%w; nothing is written before the databases are there, because the server would keep theirs for ever: create them with an administrator's token: %s; the monitor's own token needs the right to write to both", why, strings.Join(todo, "; "))
}

// Limit returns how far back a query of history can reach: the retention of history if it is
// known, and no more than InfluxDB 3 Core reads at once; 0: no limit is known.
func (c *Client) Limit(ctx context.Context) time.Duration {
	c.find(ctx)
	if c.set.API() != 3 {
		policies, err := c.Rows(ctx, fmt.Sprintf("SHOW RETENTION POLICIES ON %q", c.Database()), "name")
		if err != nil {
			return 0 // the query itself will meet the same error
		}
		keep, err := time.ParseDuration(fmt.Sprint(policies[schema.History.String()]["duration"]))
		if err != nil {
			return 0
		}
		return keep
	}
	if _, build, _ := c.set.found.get(); build == "Core" {
		return core3Hours
	}
	return c.set.retain
}

// core3Hours is what 432 files of ten minutes hold.
const core3Hours = 72 * time.Hour

// cleanHeader makes a short header safe to show.
func cleanHeader(s string) string { return string(event.Clean(s, 64)) }
