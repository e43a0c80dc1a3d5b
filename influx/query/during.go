package query

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// The time that a question is about is text: a duration before now, such as 6h, or the two ends of an ISO 8601 interval,
// 2026-11-20T00:00:00Z/2026-11-21T00:00:00Z. Between returns the latter.

// Between returns the text of the time from the first to the second, which is not a part of it.
func Between(from, to time.Time) string {
	return from.UTC().Format(time.RFC3339Nano) + "/" + to.UTC().Format(time.RFC3339Nano)
}

// during is the time of a question: since a duration before now, or from one time to another.
type during struct {
	since    string
	from, to time.Time
	length   time.Duration
}

func parseDuring(s string) (d during, err error) {
	from, to, between := strings.Cut(s, "/")
	if !between {
		d.since = s
		d.length, err = parseSpan(s)
		return d, err
	}
	d.from, err = time.Parse(time.RFC3339Nano, from)
	if err == nil {
		d.to, err = time.Parse(time.RFC3339Nano, to)
	}
	if d.length = d.to.Sub(d.from); err != nil || d.length <= 0 || d.from.Year() < 1970 || d.to.Year() > 2200 {
		return d, fmt.Errorf("time %q: want a duration such as 6h, or two times FROM/TO between the years 1970 and 2200, the first before the second", s)
	}
	return d, nil
}

// ago returns how long ago its beginning is.
func (d during) ago() time.Duration {
	if d.from.IsZero() {
		return d.length
	}
	return time.Since(d.from)
}

// condition is InfluxQL for it.
func (d during) condition() string {
	if d.from.IsZero() {
		return "time > now() - " + d.since
	}
	return fmt.Sprintf("time >= '%s' AND time < '%s'", d.from.UTC().Format(time.RFC3339Nano), d.to.UTC().Format(time.RFC3339Nano))
}

var (
	sinceCondition = regexp.MustCompile(`time\s*>=?\s*now\(\)\s*-\s*\{since\}`)
	sinceRange     = regexp.MustCompile(`range\(\s*start:\s*-\s*\{since\}\s*\)`)
)

// fill replaces {since} in a statement.
func (d during) fill(statement string) (string, error) {
	if d.from.IsZero() {
		return strings.ReplaceAll(statement, "{since}", d.since), nil
	}
	statement = sinceCondition.ReplaceAllLiteralString(statement, d.condition())
	statement = sinceRange.ReplaceAllLiteralString(statement, fmt.Sprintf("range(start: %s, stop: %s)", d.from.UTC().Format(time.RFC3339Nano), d.to.UTC().Format(time.RFC3339Nano)))
	if strings.Contains(statement, "{since}") {
		return "", errors.New("with two ends, want {since} as in time > now() - {since} or range(start: -{since})")
	}
	return statement, nil
}

// ParseTime parses one end of a queried time, at the time now in a zone: a date, a date and a time of day, RFC 3339, or
// a duration before now.
func ParseTime(s string, now time.Time, zone *time.Location) (time.Time, error) {
	if d, err := parseSpan(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, s, zone); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want 2006-01-02, 2006-01-02T15:04, 2006-01-02T15:04:05+02:00, or a duration before now such as 6h", s)
}

// WithLimit returns the question with a list of so many rows, if it is one of the top or the latest.
func (q Question) WithLimit(n int) Question {
	limit := func(s string) string { return listLimit.ReplaceAllString(s, fmt.Sprintf("${1}%d", n)) }
	q.InfluxQL, q.Flux = limit(q.InfluxQL), limit(q.Flux)
	then := append([]Fold(nil), q.Then...)
	for i := range then {
		if then[i].Limit > 1 {
			then[i].Limit = n
		}
	}
	q.Then = then
	if q.Else != nil {
		other := q.Else.WithLimit(n)
		q.Else = &other
	}
	return q
}

// listLimit finds how long the list of a question is. A limit of one is a part of how a question is answered.
var listLimit = regexp.MustCompile(`(LIMIT |limit\(n: |top\([a-z_]+, )(?:10|20|50)\b`)

// ErrLimit is what Limit's Output returns for a row too many. It ends the request.
var ErrLimit = errors.New("there are more rows")

// Limit returns an Output that takes so many rows, and ErrLimit for the next one. Nothing is
// lost of those that it took: they are written by Close.
func Limit(out client.Output, rows int) client.Output { return &limited{Output: out, left: rows} }

type limited struct {
	client.Output
	left int
}

func (l *limited) Row(values []any) error {
	if l.left <= 0 {
		return ErrLimit
	}
	l.left--
	return l.Output.Row(values)
}

// InZone returns an Output that shows times in a zone.
func InZone(out client.Output, zone *time.Location) client.Output {
	return &zoned{Output: out, zone: zone}
}

type zoned struct {
	client.Output
	zone *time.Location
	time []bool // columns
}

func (z *zoned) Series(name string, labels []client.Label, columns []string) error {
	z.time = z.time[:0]
	for _, c := range columns {
		z.time = append(z.time, c == "time" || c == "_time" || c == "_start" || c == "_stop")
	}
	return z.Output.Series(name, labels, columns)
}

func (z *zoned) Row(values []any) error {
	row := append([]any(nil), values...)
	for i, v := range row {
		s, text := v.(string)
		if i >= len(z.time) || !z.time[i] || !text {
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			row[i] = at.In(z.zone).Format(time.RFC3339Nano)
		}
	}
	return z.Output.Row(row)
}

// WithZone adds tz() to each SELECT in InfluxQL that groups by time and has none, so that its days and hours are
// those of the zone. The statement may have placeholders.
func WithZone(statement string, zone *time.Location) string {
	statement = uncommented(statement)
	words := words(statement)
	var b strings.Builder
	begin, from := 0, 0
	end := func(at, next int) {
		part := words[begin:next]
		b.WriteString(strings.TrimSpace(statement[from:at]))
		if len(part) > 0 && part[0].text == "select" && groupsByTime(part) {
			fmt.Fprintf(&b, " tz('%s')", zone)
		}
	}
	for i, w := range words {
		if w.text == ";" && w.depth == 0 {
			end(w.at, i)
			b.WriteString(";\n")
			begin, from = i+1, w.at+1
		}
	}
	end(len(statement), len(words))
	return b.String()
}

// groupsByTime reports whether a SELECT of these words groups by time, without tz().
func groupsByTime(words []word) bool {
	group, byTime := false, false
	for _, w := range words {
		switch {
		case w.depth > 0:
		case w.text == "group":
			group = true
		case w.text == "time":
			byTime = byTime || group
		case w.text == "tz":
			return false
		}
	}
	return byTime
}

// WithZone returns the question in InfluxQL with days and hours of the zone.
func (q Question) WithZone(zone *time.Location) Question {
	q.InfluxQL = WithZone(q.InfluxQL, zone)
	if q.Else != nil {
		other := q.Else.WithZone(zone)
		q.Else = &other
	}
	return q
}

// Zone loads a zone by its name; local is that of the system.
func Zone(name string) (*time.Location, error) {
	if strings.EqualFold(name, "local") {
		name = os.Getenv("TZ")
		if path, err := filepath.EvalSymlinks("/etc/localtime"); err == nil && name == "" {
			if _, after, ok := strings.Cut(path, "zoneinfo/"); ok {
				name = after
			}
		}
		if name == "" || strings.HasPrefix(name, ":") || filepath.IsAbs(name) {
			return nil, errors.New("the system does not name its zone; want a name such as Europe/Berlin")
		}
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || zone == time.Local {
		return nil, fmt.Errorf("zone %q: want local, UTC or a name such as Europe/Berlin", name)
	}
	return zone, nil
}
