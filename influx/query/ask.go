package query

import (
	"context"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// Ask runs the question for the last since ("": the question's default), or for Between two times, in InfluxQL or Flux,
// and writes the answer to out as one table with the question's columns and order; an InfluxQL
// answer with time steps becomes one table for each series. It returns the number of rows. If
// the question's Else was used, because history has nothing, is too short or in InfluxQL has too many points, say
// is called with its note. Errors are those of Query.
func (q Question) Ask(ctx context.Context, c *client.Client, since string, flux bool, out client.Output, say func(string)) (rows int, err error) {
	if since == "" {
		since = q.Since
	}
	count := &counting{Output: out}
	many := uint64(0)
	if q.Else != nil && !flux && !q.exact {
		if statement, err := Fill(q.InfluxQL, since, c.BucketPrefix()); err == nil {
			many = reads(ctx, c, statement)
		}
	}
	if q.Else == nil || many <= readAtMost && !beyondHistory(ctx, c, since) {
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
	switch {
	case count.rows > 0 && many > readAtMost:
		say(inPlace(q.Else.Note, many))
	case count.rows > 0:
		say(q.Else.Note)
	}
	return count.rows, out.Close()
}

// askOnce runs a question without its Else; it does not close out.
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

// table returns the Output that transforms the answer to a statement.
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

// beyondHistory reports whether since begins before what a query of history can reach.
func beyondHistory(ctx context.Context, c *client.Client, since string) bool {
	during, err := parseDuring(since)
	if err != nil {
		return false
	}
	keep := c.Limit(ctx)
	return keep > 0 && during.ago() > keep
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
