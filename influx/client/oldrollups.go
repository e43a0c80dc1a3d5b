package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	"github.com/influxdata/influxdb-client-go/v2/domain"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Earlier versions had the server compute the rollups. What they created there still runs: it computes the same from
// what history has, and writes it over what the monitor wrote.

// OldRollups are the continuous queries or tasks that earlier versions of the monitor created.
type OldRollups struct {
	Names []string
	// Statement is InfluxQL that removes them from an InfluxDB 1.x; "" for 2.x.
	Statement string

	tasks []domain.Task
}

// OldRollups finds them, which needs the right to list continuous queries or tasks.
func (c *Client) OldRollups(ctx context.Context) (old OldRollups, err error) {
	switch c.set.API() {
	case 3: // it has neither
		return old, nil
	case 1:
		found := continuousQueries{database: c.set.Database}
		if err := c.influxQL(ctx, "SHOW CONTINUOUS QUERIES", &found); err != nil {
			return old, fmt.Errorf("list continuous queries: %w", err)
		}
		var drop []string
		for _, name := range schema.RollupNames() {
			if slices.Contains(found.names, name) {
				old.Names = append(old.Names, name)
				drop = append(drop, fmt.Sprintf("DROP CONTINUOUS QUERY %q ON %q", name, c.set.Database))
			}
		}
		old.Statement = strings.Join(drop, "; ")
		return old, nil
	}
	client := c.client2()
	defer client.Close()
	for _, r := range schema.Rollups() {
		name := r.TaskName(c.set.Bucket)
		found, err := client.TasksAPI().FindTasks(ctx, &api.TaskFilter{Name: name, OrgName: c.set.Org})
		if err != nil {
			return old, fmt.Errorf("find task %q: %w", name, err)
		}
		for _, t := range found {
			if t.Name == name { // a stand-in may ignore the filter
				old.Names = append(old.Names, name)
				old.tasks = append(old.tasks, t)
			}
		}
	}
	return old, nil
}

// RemoveOldRollups removes them.
func (c *Client) RemoveOldRollups(ctx context.Context, old OldRollups) error {
	if old.Statement != "" {
		_, err := c.Rows(ctx, old.Statement, "")
		return err
	}
	client := c.client2()
	defer client.Close()
	for i := range old.tasks {
		if err := client.TasksAPI().DeleteTask(ctx, &old.tasks[i]); err != nil {
			return fmt.Errorf("remove task %q: %w", old.tasks[i].Name, err)
		}
	}
	return nil
}

func (c *Client) client2() influxdb2.Client {
	return influxdb2.NewClientWithOptions(c.set.Base.String(), c.set.token, influxdb2.DefaultOptions().SetHTTPClient(c.http))
}

// reportOldRollups logs that they run, and how to remove them. Without the right to list them nothing is
// logged.
func (c *Client) reportOldRollups(ctx context.Context) {
	old, err := c.OldRollups(ctx)
	if err != nil || len(old.Names) == 0 {
		return
	}
	remove := "ipfsmon setup --remove-old-rollups"
	if old.Statement != "" {
		remove = "ipfsmon query --write '" + old.Statement + "'"
	}
	c.set.Logger.Warn("influx: the server still computes minutes and hours of history for an earlier version; the monitor sums them now, and the server writes over its sums; remove what it has, an hour or more after the upgrade",
		"found", len(old.Names), "remove", remove)
}

// continuousQueries is an Output that keeps the names of one database's.
type continuousQueries struct {
	database string
	names    []string
	here     bool
	column   int
}

func (q *continuousQueries) Series(name string, _ []Label, columns []string) error {
	q.column = slices.Index(columns, "name")
	q.here = name == q.database && q.column >= 0
	return nil
}

func (q *continuousQueries) Row(values []any) error {
	if q.here {
		q.names = append(q.names, fmt.Sprint(values[q.column]))
	}
	return nil
}

func (q *continuousQueries) Close() error { return nil }
