package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/domain"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Setup creates on the server what a sink creates at its start: the database and its retention
// policies, or the buckets and their InfluxQL names. Without the right to create, the error
// lists what to create by hand.
func Setup(ctx context.Context, cfg Config) error {
	set, err := cfg.resolve()
	if err != nil {
		return err
	}
	if set.Base.Scheme != "http" && set.Base.Scheme != "https" {
		return nil // nothing to create there
	}
	c := set.Client(set.RequestTimeout)
	defer c.Close()
	if _, err := c.Find(ctx); err != nil {
		return fmt.Errorf("influx: set-up: %w", err)
	}
	return c.Setup(ctx)
}

// Setup prepares the server, as that which Find has found. Without the right to create (Config's
// CreateDatabase) it only checks an InfluxDB 3, whose databases must be there before the first
// point. The error is a RetryError if another attempt may succeed.
func (c *Client) Setup(ctx context.Context) (err error) {
	var status int
	api := c.set.API()
	switch {
	case api == 3:
		return c.setup3(ctx)
	case !c.set.MayCreate:
		return nil
	case api == 2:
		status, err = c.setup2(ctx)
	default:
		err = c.setup1(ctx)
	}
	if err == nil {
		c.reportOldRollups(ctx)
		return nil
	}
	if api == 1 {
		status = statusOf(err)
	}
	err = fmt.Errorf("influx: set-up: %w", err)
	switch {
	case status == 0 || status == 408 || status == 429 || status >= 500:
		return &RetryError{Err: err}
	case status == 401:
		// Wrong credentials, which the first post will report again, or in 2.x valid ones
		// without the right to create.
		c.set.ReadSecrets()
	}
	return c.Missing(err)
}

// Missing returns what to create by hand, and why.
func (c *Client) Missing(why error) error {
	if why == nil {
		why = errors.New("CreateDatabase is false")
		if c.set.MayCreate {
			return errors.New("it will be created")
		}
	}
	var todo string
	switch c.set.API() {
	case 3:
		return c.missing3(why)
	case 2:
		todo = fmt.Sprintf("influx bucket create --org %q --name %q --retention %s; influx bucket create --org %q --name %q --retention 0",
			c.set.Org, c.set.bucket(schema.History), influxDuration(c.set.retain, "0"), c.set.Org, c.set.bucket(schema.Totals))
	default:
		todo = c.createDatabase() + "; " + c.policy("CREATE", schema.Totals)
	}
	return fmt.Errorf("%w; if it is not there, create it: %s", why, todo)
}

// influxDuration formats a duration for InfluxQL and the influx command.
func influxDuration(d time.Duration, forever string) string {
	switch {
	case d == 0:
		return forever
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}

// retention returns how long points of a kind are kept; 0: for ever.
func (c *Client) retention(k schema.Kind) time.Duration {
	if k == schema.History {
		return c.set.retain
	}
	return 0
}

func (c *Client) createDatabase() string {
	return fmt.Sprintf(`CREATE DATABASE %q WITH DURATION %s REPLICATION 1 NAME %q`,
		c.set.Database, influxDuration(c.retention(schema.History), "INF"), schema.History)
}

// policy returns the statement that creates or alters a kind's retention policy.
func (c *Client) policy(verb string, k schema.Kind) string {
	q := fmt.Sprintf(`%s RETENTION POLICY %q ON %q DURATION %s REPLICATION 1`,
		verb, k, c.set.Database, influxDuration(c.retention(k), "INF"))
	if verb == "ALTER" {
		// The server refuses a retention shorter than its shards.
		q += " SHARD DURATION " + influxDuration(shardDuration(c.retention(k)), "")
	}
	if k == schema.History {
		q += " DEFAULT"
	}
	return q
}

// shardDuration returns InfluxDB's default shard duration for a new retention policy.
func shardDuration(retain time.Duration) time.Duration {
	switch {
	case retain == 0 || retain > 180*24*time.Hour:
		return 7 * 24 * time.Hour
	case retain >= 48*time.Hour:
		return 24 * time.Hour
	}
	return time.Hour
}

// setup1 is for API 1. It checks before it creates, because a user without the right to create
// may need nothing created.
func (c *Client) setup1(ctx context.Context) error {
	names, err := c.Rows(ctx, "SHOW DATABASES", "name")
	if err != nil {
		return err
	}
	if _, ok := names[c.set.Database]; !ok {
		if _, err := c.Rows(ctx, c.createDatabase(), ""); err != nil {
			return err
		}
	}
	policies, err := c.Rows(ctx, fmt.Sprintf("SHOW RETENTION POLICIES ON %q", c.set.Database), "name")
	if err != nil {
		return err
	}
	for k := range schema.Kinds {
		row, ok := policies[k.String()]
		if !ok {
			if _, err := c.Rows(ctx, c.policy("CREATE", k), ""); err != nil {
				return err
			}
			continue
		}
		if k != schema.History {
			continue // how long totals are kept is the operator's choice
		}
		have, err := time.ParseDuration(fmt.Sprint(row["duration"]))
		if err == nil && c.keeps(have) {
			if _, err := c.Rows(ctx, c.policy("ALTER", k), ""); err != nil {
				return err
			}
		} else if row["default"] != true {
			c.set.Logger.Info("influx: making history the default retention policy, which queries without a policy need", "database", c.set.Database)
			if _, err := c.Rows(ctx, fmt.Sprintf("ALTER RETENTION POLICY %q ON %q DEFAULT", k, c.set.Database), ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// keeps reports whether the server's retention of history (0: for ever) has to change: only if
// HistoryRetention is set. It logs the change beforehand, since a shorter retention deletes
// points.
func (c *Client) keeps(have time.Duration) (change bool) {
	want := c.set.retain
	switch {
	case have == want:
		return false
	case !c.set.asked:
		c.set.Logger.Info("influx: history is kept for the server's own retention; set HistoryRetention to change it", "kept_for", keptFor(have))
		return false
	case want != 0 && (have == 0 || want < have):
		c.set.Logger.Warn("influx: shortening the retention of history to HistoryRetention: the server deletes older points", "was", keptFor(have), "history_retention", keptFor(want))
	default:
		c.set.Logger.Info("influx: extending the retention of history to HistoryRetention", "was", keptFor(have), "history_retention", keptFor(want))
	}
	return true
}

func keptFor(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return d.String()
}

// Rows runs an InfluxQL statement and returns its rows by the text in column key; with key ""
// it only runs the statement.
func (c *Client) Rows(ctx context.Context, statement, key string) (map[string]map[string]any, error) {
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

// setup2 is for API 2: two buckets, and their names for InfluxQL. status is the HTTP status of
// the answer that caused err, 0 if there was none.
func (c *Client) setup2(ctx context.Context) (status int, err error) {
	last := &lastStatus{next: c.http.Transport}
	counted := *c.http
	counted.Transport = last
	client := influxdb2.NewClientWithOptions(c.set.Base.String(), c.set.token, influxdb2.DefaultOptions().SetHTTPClient(&counted))
	defer client.Close()
	err = c.buckets(ctx, client, &last.status)
	return last.status, err
}

// kept returns how long a bucket keeps points; 0: for ever.
func kept(b *domain.Bucket) time.Duration {
	if len(b.RetentionRules) == 0 {
		return 0
	}
	return time.Duration(b.RetentionRules[0].EverySeconds) * time.Second
}

func (c *Client) buckets(ctx context.Context, client influxdb2.Client, status *int) error {
	org, err := client.OrganizationsAPI().FindOrganizationByName(ctx, c.set.Org)
	if err != nil {
		return fmt.Errorf("find organisation %q: %w", c.set.Org, err)
	}
	if org.Id == nil {
		return fmt.Errorf("find organisation %q: it has no ID", c.set.Org)
	}
	dbrps, err := client.APIClient().GetDBRPs(ctx, &domain.GetDBRPsParams{OrgID: org.Id, Db: &c.set.Database})
	if err != nil {
		return fmt.Errorf("list InfluxQL mappings: %w", err)
	}
	mapped := make(map[string]bool)
	if dbrps != nil && dbrps.Content != nil {
		for _, m := range *dbrps.Content {
			mapped[m.RetentionPolicy] = mapped[m.RetentionPolicy] || m.Virtual == nil || !*m.Virtual
		}
	}
	for k := range schema.Kinds {
		name := c.set.bucket(k)
		found, err := client.APIClient().GetBuckets(ctx, &domain.GetBucketsParams{OrgID: org.Id, Name: &name})
		if err != nil && *status != http.StatusNotFound {
			return fmt.Errorf("find bucket %q: %w", name, err)
		}
		var bucket *domain.Bucket
		if found != nil && found.Buckets != nil && len(*found.Buckets) > 0 {
			bucket = &(*found.Buckets)[0]
		}
		rule := domain.RetentionRule{EverySeconds: int64(c.retention(k) / time.Second)}
		switch {
		case bucket == nil:
			if bucket, err = client.BucketsAPI().CreateBucketWithNameWithID(ctx, *org.Id, name, rule); err != nil {
				return fmt.Errorf("create bucket %q: %w", name, err)
			}
		case k == schema.History && c.keeps(kept(bucket)):
			bucket.RetentionRules = domain.RetentionRules{rule}
			if _, err := client.BucketsAPI().UpdateBucket(ctx, bucket); err != nil {
				return fmt.Errorf("update bucket %q: %w", name, err)
			}
		}
		if mapped[k.String()] || bucket.Id == nil {
			continue
		}
		isDefault := k == schema.History
		_, err = client.APIClient().PostDBRP(ctx, &domain.PostDBRPAllParams{Body: domain.PostDBRPJSONRequestBody{
			BucketID: *bucket.Id, Database: c.set.Database, RetentionPolicy: k.String(), Default: &isDefault, OrgID: org.Id,
		}})
		if err != nil {
			return fmt.Errorf("map %s.%s to bucket %q: %w", c.set.Database, k, name, err)
		}
	}
	return nil
}
