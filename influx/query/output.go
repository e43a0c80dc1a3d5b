package query

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/textout"
)

// NewOutput returns an Output that writes text: "table" for people, "csv" with a header, or
// "json", an array with one object for each row. The program's fourth format, parquet, is of archive/answer.
func NewOutput(format string, w io.Writer) (client.Output, error) {
	b := bufio.NewWriter(w)
	switch format {
	case "table":
		return &tableOutput{w: b}, nil
	case "csv":
		return &csvOutput{w: csv.NewWriter(b), b: b}, nil
	case "json":
		return &jsonOutput{w: b}, nil
	}
	return nil, fmt.Errorf("format %q: want table, csv, json or parquet", format)
}

// tableRows is how many rows determine the columns' widths; the next rows start a new part with
// its own widths.
const tableRows = 1000

// maxCell is the maximum length of a value in a table, in bytes.
const maxCell = 200

type tableOutput struct {
	w       *bufio.Writer
	some    bool
	headed  bool // the header of the series is written
	columns []any
	rows    [][]any
}

func (t *tableOutput) Series(name string, labels []client.Label, columns []string) error {
	if err := t.flush(); err != nil {
		return err
	}
	if t.some {
		t.w.WriteByte('\n')
	}
	t.some = true
	title := []string{name}
	for _, l := range labels {
		title = append(title, l.Key+"="+l.Value)
	}
	if s := strings.TrimSpace(strings.Join(title, "  ")); s != "" {
		t.w.WriteString(string(event.Clean(s, 4*maxCell)) + "\n")
	}
	t.columns, t.headed = make([]any, len(columns)), false
	for i, c := range columns {
		t.columns[i] = cell(c)
	}
	return nil
}

func (t *tableOutput) Row(values []any) error {
	row := make([]any, len(values))
	for i, v := range values {
		row[i] = cell(v)
	}
	t.rows = append(t.rows, row)
	if len(t.rows) >= tableRows {
		return t.flush()
	}
	return nil
}

// cell makes a value safe for a terminal: a name that a peer chose must not move the cursor.
// Times lose their T and Z.
func cell(v any) string {
	if v == nil {
		return "-"
	}
	s := fmt.Sprint(v)
	if len(s) >= len("2006-01-02T15:04:05Z") && s[4] == '-' && s[10] == 'T' {
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			if _, offset := at.Zone(); offset != 0 {
				return at.Format("2006-01-02 15:04:05.999999999 -07:00")
			}
			return at.UTC().Format("2006-01-02 15:04:05.999999999")
		}
	}
	return string(event.Clean(s, maxCell))
}

func (t *tableOutput) flush() error {
	if t.columns == nil || t.headed && len(t.rows) == 0 {
		return nil
	}
	t.headed = true
	table := textout.NewTable(t.w)
	rule := make([]any, len(t.columns))
	for i, c := range t.columns {
		rule[i] = strings.Repeat("-", utf8.RuneCountInString(fmt.Sprint(c)))
	}
	table.Row(t.columns...)
	table.Row(rule...)
	for _, row := range t.rows {
		table.Row(row[:min(len(row), len(t.columns))]...)
	}
	t.rows = t.rows[:0]
	if err := table.Flush(); err != nil {
		return err
	}
	return t.w.Flush()
}

func (t *tableOutput) Close() error { return t.flush() }

// csvOutput puts measurement and tags before the columns, so that the series
// of a GROUP BY are one table. A new header comes only with new columns.
type csvOutput struct {
	w      *csv.Writer
	b      *bufio.Writer // that w writes to
	header string
	fixed  []string
}

func (c *csvOutput) Series(name string, labels []client.Label, columns []string) error {
	var header []string
	c.fixed = c.fixed[:0]
	if name != "" {
		header, c.fixed = append(header, "measurement"), append(c.fixed, name)
	}
	for _, l := range labels {
		header, c.fixed = append(header, l.Key), append(c.fixed, l.Value)
	}
	header = append(header, columns...)
	id := fmt.Sprintf("%q", header)
	if id == c.header {
		return nil
	}
	if c.header != "" {
		c.w.Flush()
		c.b.WriteByte('\n')
	}
	c.header = id
	return c.w.Write(header)
}

func (c *csvOutput) Row(values []any) error {
	row := append([]string(nil), c.fixed...)
	for _, v := range values {
		if v == nil {
			v = ""
		}
		row = append(row, fmt.Sprint(v))
	}
	return c.w.Write(row)
}

func (c *csvOutput) Close() error {
	c.w.Flush() // b too
	return c.w.Error()
}

type jsonOutput struct {
	w       *bufio.Writer
	some    bool
	fixed   []client.Label
	columns []string
}

func (j *jsonOutput) Series(name string, labels []client.Label, columns []string) error {
	j.fixed = labels
	if name != "" {
		j.fixed = append([]client.Label{{Key: "measurement", Value: name}}, labels...)
	}
	j.columns = columns
	return nil
}

func (j *jsonOutput) Row(values []any) error {
	sep := ",\n"
	if !j.some {
		sep, j.some = "[\n", true
	}
	j.w.WriteString(sep)
	sep = "{"
	pair := func(key string, v any) error {
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		j.w.WriteString(sep)
		j.w.Write(k)
		j.w.WriteByte(':')
		j.w.Write(b)
		sep = ","
		return nil
	}
	for _, l := range j.fixed {
		if err := pair(l.Key, l.Value); err != nil {
			return err
		}
	}
	for i, v := range values {
		if i < len(j.columns) {
			if err := pair(j.columns[i], v); err != nil {
				return err
			}
		}
	}
	return j.w.WriteByte('}')
}

func (j *jsonOutput) Close() error {
	if j.some {
		j.w.WriteString("\n]\n")
	} else {
		j.w.WriteString("[]\n")
	}
	return j.w.Flush()
}
