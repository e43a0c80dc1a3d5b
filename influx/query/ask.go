package query

import (
	"context"
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Ask asks the question of a server about the last since ("": the question's own) in InfluxQL
// or Flux, and writes the answer to out as one table, with rows and in the order
// that the question says; an answer with steps of time in InfluxQL as a table
// for each series. rows is how many there were. Where Else had to be asked, say
// gets its note. Errors are as for Query.
func (q Question) Ask(ctx context.Context, c *client.Client, since string, flux bool, out client.Output, say func(string)) (rows int, err error) {
	if since == "" {
		since = q.Since
	}
	count := &counting{Output: out}
	if q.Else == nil || !beyondHistory(ctx, c, since) {
		if err := askOnce(ctx, c, q, since, flux, count); err != nil {
			return count.rows, err
		}
		if count.rows > 0 || q.Else == nil {
			return count.rows, out.Close()
		}
	}
	if err := askOnce(ctx, c, *q.Else, since, flux, count); err != nil {
		return count.rows, err
	}
	if count.rows > 0 {
		say(q.Else.Note)
	}
	return count.rows, out.Close()
}

// askOnce asks a question without its Else; out is not closed.
func askOnce(ctx context.Context, c *client.Client, q Question, since string, flux bool, out *counting) error {
	statement := q.InfluxQL
	if flux {
		statement = q.Flux
	}
	if since != "" {
		var err error
		if statement, err = Fill(statement, since, c.BucketPrefix()); err != nil {
			return err
		}
	}
	return c.Query(ctx, statement, flux, q.table(statement, flux, out))
}

// table is the Output that puts an answer to a statement into its form.
func (q *Question) table(statement string, flux bool, out client.Output) client.Output {
	switch single, noTime := shape(statement); {
	case flux:
	case len(q.Then) > 0:
		for i := len(q.Then) - 1; i >= 0; i-- {
			out = newFolding(q.Then[i], out)
		}
	case single:
		out = &flat{out: out, noTime: noTime}
	}
	return out
}

// beyondHistory says whether since is longer than the server keeps history.
func beyondHistory(ctx context.Context, c *client.Client, since string) bool {
	want, err := parseSpan(since)
	if err != nil {
		return false
	}
	policies, err := c.Rows(ctx, fmt.Sprintf("SHOW RETENTION POLICIES ON %q", c.Database()), "name")
	if err != nil {
		return false // the question itself meets what is wrong
	}
	keep, err := time.ParseDuration(fmt.Sprint(policies[schema.History.String()]["duration"]))
	return err == nil && keep > 0 && want > keep
}

// counting is an Output that counts rows; its Close does not close the one
// behind it.
type counting struct {
	client.Output
	rows int
}

func (c *counting) Row(values []any) error {
	c.rows++
	return c.Output.Row(values)
}

func (c *counting) Close() error { return nil }
