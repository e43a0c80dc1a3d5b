package influx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	"github.com/influxdata/influxdb-client-go/v2/domain"
)

// Setup creates what the points need on the server, as Run does by itself: the
// database and its retention policies, or the buckets and their InfluxQL names.
// If it is not allowed to, the error reports what is to be created.
func Setup(ctx context.Context, cfg Config) error {
	set, err := cfg.resolve()
	if err != nil {
		return err
	}
	if set.base.Scheme != "http" && set.base.Scheme != "https" {
		return nil // nothing to make there
	}
	w := newWriter(&set)
	defer w.client.CloseIdleConnections()
	if v, err := serverVersion(ctx, &set, w.client); err == nil && IsVersion3(v) {
		return &Version3Error{v}
	}
	return w.setup(ctx)
}

// warnVersion3 says what becomes of the points in an InfluxDB 3.
func (w *writer) warnVersion3(version string) {
	w.set.log.Warn("influx: the server is InfluxDB 3, where ipfsmon makes no databases, no retention and no rollups: "+
		"the server makes each database with the first point and keeps history for ever, unless it is made before; there are no minutes and hours of history",
		"version", version, "url", w.set.base.Redacted(), "make_before", fmt.Sprintf(
			`curl -H "Authorization: Bearer TOKEN" %s -d '{"db":%q,"retention_period":%q}'`,
			w.set.base.JoinPath("api/v3/configure/database").Redacted(), w.set.Database+"/"+History.String(), influxDuration(cmp.Or(w.set.retain, DefaultHistoryRetention), "")))
}

// setup makes the server ready. Its error is a retryError if it may go better
// next time.
func (w *writer) setup(ctx context.Context) error {
	var status int
	version, err := serverVersion(ctx, w.set, w.client)
	if err == nil && IsVersion3(version) {
		w.warnVersion3(version)
		return nil
	}
	if err != nil {
		return &retryError{err: fmt.Errorf("influx: set-up: %w", err)}
	}
	if w.set.v2 {
		status, err = w.setup2(ctx)
	} else if err = w.setup1(ctx); err != nil {
		var e *QueryError
		if errors.As(err, &e) {
			status = e.Status
		}
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("influx: set-up: %w", err)
	switch {
	case status == 0 || status == 408 || status == 429 || status >= 500:
		return &retryError{err: err}
	case status == 401:
		// Bad credentials, which the first post will tell again, or in 2.x
		// good ones without the right to create.
		w.set.secrets()
	}
	return w.missing(err)
}

// missing says what to create by hand, and why that is necessary.
func (w *writer) missing(why error) error {
	if why == nil {
		why = errors.New("CreateDatabase is false")
		if w.set.create {
			return errors.New("it will be created")
		}
	}
	var todo string
	if w.set.v2 {
		todo = fmt.Sprintf("influx bucket create --org %q --name %q --retention %s; influx bucket create --org %q --name %q --retention 0",
			w.set.Org, w.set.bucket(History), influxDuration(w.set.retain, "0"), w.set.Org, w.set.bucket(Totals))
	} else {
		todo = w.createDatabase() + "; " + w.policy("CREATE", Totals)
	}
	return fmt.Errorf("%w; if it is not there, create it: %s", why, todo)
}

// influxDuration writes a duration as InfluxQL and the influx command have it.
func influxDuration(d time.Duration, forever string) string {
	switch {
	case d == 0:
		return forever
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}

// retention is how long points of a kind are kept, 0: for ever.
func (w *writer) retention(k Kind) time.Duration {
	if k == History {
		return w.set.retain
	}
	return 0
}

func (w *writer) createDatabase() string {
	return fmt.Sprintf(`CREATE DATABASE %q WITH DURATION %s REPLICATION 1 NAME %q`,
		w.set.Database, influxDuration(w.retention(History), "INF"), History)
}

// policy is the statement that creates or alters a kind's retention policy.
func (w *writer) policy(verb string, k Kind) string {
	q := fmt.Sprintf(`%s RETENTION POLICY %q ON %q DURATION %s REPLICATION 1`,
		verb, k, w.set.Database, influxDuration(w.retention(k), "INF"))
	if verb == "ALTER" {
		// A shorter retention than that of the shards there would be refused.
		q += " SHARD DURATION " + influxDuration(shardDuration(w.retention(k)), "")
	}
	if k == History {
		q += " DEFAULT"
	}
	return q
}

// shardDuration is what InfluxDB takes for a new retention policy.
func shardDuration(retain time.Duration) time.Duration {
	switch {
	case retain == 0 || retain > 180*24*time.Hour:
		return 7 * 24 * time.Hour
	case retain >= 48*time.Hour:
		return 24 * time.Hour
	}
	return time.Hour
}

// setup1 is for API 1. It asks before it creates: a user without rights to
// create may find that all is there.
func (w *writer) setup1(ctx context.Context) error {
	c := &Client{set: w.set, http: w.client}
	names, err := c.column(ctx, "SHOW DATABASES", "name")
	if err != nil {
		return err
	}
	if _, ok := names[w.set.Database]; !ok {
		if _, err := c.column(ctx, w.createDatabase(), ""); err != nil {
			return err
		}
	}
	policies, err := c.column(ctx, fmt.Sprintf("SHOW RETENTION POLICIES ON %q", w.set.Database), "name")
	if err != nil {
		return err
	}
	for k := range Kinds {
		row, ok := policies[k.String()]
		if !ok {
			if _, err := c.column(ctx, w.policy("CREATE", k), ""); err != nil {
				return err
			}
			continue
		}
		if k != History {
			continue // how long totals are kept is the operator's choice
		}
		have, err := time.ParseDuration(fmt.Sprint(row["duration"]))
		if err == nil && w.keeps(have) {
			if _, err := c.column(ctx, w.policy("ALTER", k), ""); err != nil {
				return err
			}
		} else if row["default"] != true {
			w.set.log.Info("influx: making history the default retention policy, as queries without one want it", "database", w.set.Database)
			if _, err := c.column(ctx, fmt.Sprintf("ALTER RETENTION POLICY %q ON %q DEFAULT", k, w.set.Database), ""); err != nil {
				return err
			}
		}
	}
	w.rollups(func() error { return c.continuousQueries(ctx) })
	return nil
}

// keeps is whether the server, which keeps history for so long (0: for ever),
// is to keep it for another time: only if one was asked for. It says so before
// that is done, since a shorter one deletes.
func (w *writer) keeps(have time.Duration) (change bool) {
	want := w.set.retain
	switch {
	case have == want:
		return false
	case !w.set.asked:
		w.set.log.Info("influx: history is kept for as long as the server has it; HistoryRetention changes that", "kept_for", keptFor(have))
		return false
	case want != 0 && (have == 0 || want < have):
		w.set.log.Warn("influx: history is kept for a shorter time now, as HistoryRetention says: the server deletes what is older", "was", keptFor(have), "HistoryRetention", keptFor(want))
	default:
		w.set.log.Info("influx: history is kept for a longer time now, as HistoryRetention says", "was", keptFor(have), "HistoryRetention", keptFor(want))
	}
	return true
}

func keptFor(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return d.String()
}

// rollups makes the server keep rollups. That it is not allowed to, or that the
// server cannot, is no reason to deliver nothing.
func (w *writer) rollups(create func() error) {
	if !w.set.rollups {
		return
	}
	if err := create(); err != nil {
		w.set.log.Warn("influx: minutes and hours of history are not kept beyond its retention; Rollups: false ends this warning", "error", err)
	}
}

// continuousQueries creates the rollups, or creates them again if they are
// there in another form.
func (c *Client) continuousQueries(ctx context.Context) error {
	for _, r := range Rollups() {
		create := r.ContinuousQuery(c.set.Database)
		_, err := c.column(ctx, create, "")
		if err != nil && strings.Contains(err.Error(), "already exists") {
			create = fmt.Sprintf("DROP CONTINUOUS QUERY %q ON %q; %s", r.Name(), c.set.Database, create)
			_, err = c.column(ctx, create, "")
		}
		if err != nil {
			return fmt.Errorf("create continuous query %s: %w", r.Name(), err)
		}
	}
	return nil
}

// tasks creates the rollups in InfluxDB 2, or changes them if they are there in
// another form.
func (w *writer) tasks(ctx context.Context, client influxdb2.Client, org string) error {
	for _, r := range Rollups() {
		name, script := r.taskName(w.set.Bucket), r.Task(w.set.Org, w.set.Bucket)
		found, err := client.TasksAPI().FindTasks(ctx, &api.TaskFilter{Name: name, OrgID: org})
		if err != nil {
			return fmt.Errorf("find task %q: %w", name, err)
		}
		switch {
		case len(found) == 0:
			if _, err := client.TasksAPI().CreateTaskByFlux(ctx, script, org); err != nil {
				return fmt.Errorf("create task %q: %w", name, err)
			}
		case found[0].Flux != script:
			_, err := client.APIClient().PatchTasksID(ctx, &domain.PatchTasksIDAllParams{TaskID: found[0].Id, Body: domain.PatchTasksIDJSONRequestBody{Flux: &script}})
			if err != nil {
				return fmt.Errorf("change task %q: %w", name, err)
			}
		}
	}
	return nil
}

// column asks InfluxQL and returns the rows by the text in one column; key ""
// just runs the statement.
func (c *Client) column(ctx context.Context, statement, key string) (map[string]map[string]any, error) {
	rows := collector{key: key, rows: make(map[string]map[string]any)}
	err := c.influxQL(ctx, statement, &rows)
	return rows.rows, err
}

// collector is an Output that keeps the rows of a short answer.
type collector struct {
	key     string
	columns []string
	rows    map[string]map[string]any
}

func (c *collector) Series(_ string, _ []Label, columns []string) error {
	c.columns = columns
	return nil
}

func (c *collector) Row(values []any) error {
	row := make(map[string]any, len(values))
	for i, v := range values {
		row[c.columns[i]] = v
	}
	if c.key != "" {
		c.rows[fmt.Sprint(row[c.key])] = row
	}
	return nil
}

func (c *collector) Close() error { return nil }

// lastStatus remembers the status of the last answer, which the client library
// leaves out of some of its errors.
type lastStatus struct {
	next   http.RoundTripper
	status int
}

func (l *lastStatus) RoundTrip(r *http.Request) (*http.Response, error) {
	l.status = 0
	res, err := l.next.RoundTrip(r)
	if err == nil {
		l.status = res.StatusCode
	}
	return res, err
}

// setup2 is for API 2: two buckets, and their names for InfluxQL. status is
// that of the answer which err is about, 0 if there was none.
func (w *writer) setup2(ctx context.Context) (status int, err error) {
	last := &lastStatus{next: w.client.Transport}
	counted := *w.client
	counted.Transport = last
	client := influxdb2.NewClientWithOptions(w.set.base.String(), w.set.token, influxdb2.DefaultOptions().SetHTTPClient(&counted))
	defer client.Close()
	err = w.buckets(ctx, client, &last.status)
	return last.status, err
}

// kept is how long a bucket keeps points, 0: for ever.
func kept(b *domain.Bucket) time.Duration {
	if len(b.RetentionRules) == 0 {
		return 0
	}
	return time.Duration(b.RetentionRules[0].EverySeconds) * time.Second
}

func (w *writer) buckets(ctx context.Context, client influxdb2.Client, status *int) error {
	org, err := client.OrganizationsAPI().FindOrganizationByName(ctx, w.set.Org)
	if err != nil {
		return fmt.Errorf("find organisation %q: %w", w.set.Org, err)
	}
	if org.Id == nil {
		return fmt.Errorf("find organisation %q: it has no ID", w.set.Org)
	}
	dbrps, err := client.APIClient().GetDBRPs(ctx, &domain.GetDBRPsParams{OrgID: org.Id, Db: &w.set.Database})
	if err != nil {
		return fmt.Errorf("list InfluxQL mappings: %w", err)
	}
	mapped := make(map[string]bool)
	if dbrps != nil && dbrps.Content != nil {
		for _, m := range *dbrps.Content {
			mapped[m.RetentionPolicy] = mapped[m.RetentionPolicy] || m.Virtual == nil || !*m.Virtual
		}
	}
	for k := range Kinds {
		name := w.set.bucket(k)
		found, err := client.APIClient().GetBuckets(ctx, &domain.GetBucketsParams{OrgID: org.Id, Name: &name})
		if err != nil && *status != http.StatusNotFound {
			return fmt.Errorf("find bucket %q: %w", name, err)
		}
		var bucket *domain.Bucket
		if found != nil && found.Buckets != nil && len(*found.Buckets) > 0 {
			bucket = &(*found.Buckets)[0]
		}
		rule := domain.RetentionRule{EverySeconds: int64(w.retention(k) / time.Second)}
		switch {
		case bucket == nil:
			if bucket, err = client.BucketsAPI().CreateBucketWithNameWithID(ctx, *org.Id, name, rule); err != nil {
				return fmt.Errorf("create bucket %q: %w", name, err)
			}
		case k == History && w.keeps(kept(bucket)):
			bucket.RetentionRules = domain.RetentionRules{rule}
			if _, err := client.BucketsAPI().UpdateBucket(ctx, bucket); err != nil {
				return fmt.Errorf("update bucket %q: %w", name, err)
			}
		}
		if mapped[k.String()] || bucket.Id == nil {
			continue
		}
		isDefault := k == History
		_, err = client.APIClient().PostDBRP(ctx, &domain.PostDBRPAllParams{Body: domain.PostDBRPJSONRequestBody{
			BucketID: *bucket.Id, Database: w.set.Database, RetentionPolicy: k.String(), Default: &isDefault, OrgID: org.Id,
		}})
		if err != nil {
			return fmt.Errorf("map %s.%s to bucket %q: %w", w.set.Database, k, name, err)
		}
	}
	w.rollups(func() error { return w.tasks(ctx, client, *org.Id) })
	return nil
}
