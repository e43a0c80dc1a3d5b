package query

import (
	"context"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// Ask runs the question for the last since ("": the question's default), or for Between two times, in InfluxQL or Flux,
// and writes the answer to out as one table with the question's columns and order; an InfluxQL
// answer with time steps becomes one table for each series. It returns the number of rows. If
// the question's Else was used, because history has nothing, is too short or in InfluxQL has too many points, say
// is called with its note, and with when the sums begin if that is later than history's. What still has too many points
// is answered for the end of the time, and say is called with how much that is. Errors are those of Query.
func (q Question) Ask(ctx context.Context, c *client.Client, since string, flux bool, out client.Output, say func(string)) (rows int, err error) {
	if since == "" {
		since = q.Since
	}
	count := &counting{Output: out}
	bounded := !flux && !q.exact && q.Name != ""
	ask := func(q Question) (note string, err error) {
		of := since
		if bounded {
			answered, note, err := q.askLong(ctx, c, since, count)
			if answered || err != nil {
				return note, err
			}
			of, note = q.atMost(ctx, c, since, q.reads(ctx, c, since))
			return note, askOnce(ctx, c, q, of, flux, count)
		}
		return "", askOnce(ctx, c, q, of, flux, count)
	}
	const more = "; --exact reads all, which takes long"
	var history reading
	if bounded {
		history = q.inLong(since).reads(ctx, c, since)
	}
	if q.Else != nil && !history.tooMuch() && !beyondHistory(ctx, c, since) {
		note, err := ask(q)
		if err != nil {
			return count.rows, err
		}
		if count.rows > 0 {
			if note != "" {
				say(note + more)
			}
			return count.rows, out.Close()
		}
	}
	if q.Else != nil {
		end, err := ask(*q.Else)
		if err != nil {
			return count.rows, err
		}
		if count.rows > 0 {
			note := q.Else.Note
			if history.tooMuch() {
				note = inPlace(note, history) + q.Else.begins(ctx, c, since, history.sums, history.field)
			}
			if end != "" {
				note += "; " + end
			}
			say(note)
		}
		if count.rows > 0 || !history.tooMuch() {
			return count.rows, out.Close()
		}
	}
	note, err := ask(q)
	if err != nil {
		return count.rows, err
	}
	if note != "" {
		say(note + more)
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
