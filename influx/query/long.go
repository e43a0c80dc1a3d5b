package query

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// longTime is the time from which a question reads lists of hours in place of those of intervals, and its Long.
const longTime = 12 * time.Hour

// ofHours is the note of an answer from lists of hours.
const ofHours = "from lists of whole hours, those that begin in that time"

var lists = func() *regexp.Regexp {
	var names []string
	for m := range schema.Hours {
		names = append(names, m.Name)
	}
	return regexp.MustCompile(`totals\.(` + strings.Join(names, "|") + `)\b`)
}()

var lastPlace = regexp.MustCompile(`rank = '\d\d'`)

// long returns what is asked in place of the question about a long time, and reports whether there is something. What a
// list of hours lacks, below its last place, comes to what those of its intervals lack.
func (q Question) long() (Question, bool) {
	if q.Long != nil {
		return *q.Long, true
	}
	var all []string
	for _, s := range strings.Split(q.InfluxQL, ";\n") {
		hours := lists.ReplaceAllString(s, "totals.${1}"+schema.HoursSuffix)
		all = append(all, lastPlace.ReplaceAllString(hours, fmt.Sprintf("rank = '%d'", schema.MaxRank)))
		if hours != s && lastPlace.MatchString(s) {
			all = append(all, s)
		}
	}
	text := strings.Join(all, ";\n")
	if text == q.InfluxQL {
		return q, false
	}
	long := Question{InfluxQL: text}
	if first, _, _ := strings.Cut(q.InfluxQL, ";\n"); lists.MatchString(first) {
		long.Note = ofHours
	}
	for _, f := range q.Then {
		if lists.MatchString("totals." + f.Of) {
			f.Of += schema.HoursSuffix
		}
		long.Then = append(long.Then, f)
	}
	return long, true
}

// inLong returns what is asked about that time: of a long one what long returns.
func (q Question) inLong(since string) Question {
	if during, err := parseDuring(since); err != nil || during.length < longTime { // the error is that of the question too
		return q
	}
	long, ok := q.long()
	if !ok {
		return q
	}
	long.most = q.most
	return long
}

// askLong asks what is asked of a long time, and reports whether that was answered; else nothing was written. The text
// says what is not exact, or of less than the time.
func (q Question) askLong(ctx context.Context, c *client.Client, since string, out *counting) (answered bool, note string, err error) {
	long := q.inLong(since)
	if long.InfluxQL == q.InfluxQL {
		return false, "", nil
	}
	of, end := long.atMost(ctx, c, since, long.reads(ctx, c, since))
	before := out.rows
	if err := askOnce(ctx, c, long, of, false, out); err != nil {
		return false, "", err
	}
	if out.rows == before {
		return false, "", nil
	}
	if long.Note != "" {
		name, field := q.reading()
		note = "; " + long.Note + long.begins(ctx, c, since, name, field)
	}
	if end != "" {
		note += "; " + end
	}
	return true, strings.TrimPrefix(note, "; "), nil
}
