package query

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Export writes the points of a kind as line protocol, with times in nanoseconds, for import
// into another server: those from since (inclusive) to until (exclusive); a zero time means no
// bound. It returns how many points it wrote. It streams the points series by series, so that
// memory does not grow with them. Points written while it runs may or may not be included.
func Export(ctx context.Context, c *client.Client, kind schema.Kind, since, until time.Time, w io.Writer) (points int, err error) {
	out := &lineOutput{w: bufio.NewWriterSize(w, 256<<10)}
	err = eachMeasurement(ctx, c, kind, since, until, func(_ string, types map[string]string, query string) error {
		out.types = types
		return c.Query(ctx, query+" GROUP BY *", false, out)
	})
	if err != nil {
		return out.points, err
	}
	if err := out.w.Flush(); err != nil {
		return out.points, fmt.Errorf("influx: export: %w", err)
	}
	return out.points, nil
}

// ExportTables reads the points of a kind as tables, one for each measurement, whose columns are time, tags and
// fields. open returns the output of a measurement, whose fields have the types integer, float, boolean or
// string; it is closed if all rows came. Times are as for Export.
func ExportTables(ctx context.Context, c *client.Client, kind schema.Kind, since, until time.Time, open func(measurement string, types map[string]string) (client.Output, error)) error {
	return eachMeasurement(ctx, c, kind, since, until, func(name string, types map[string]string, query string) error {
		out, err := open(name, types)
		if err != nil {
			return err
		}
		return c.Query(ctx, query, false, unnamed{out})
	})
}

// unnamed is an Output without the name of the measurement.
type unnamed struct{ client.Output }

func (u unnamed) Series(_ string, labels []client.Label, columns []string) error {
	return u.Output.Series("", labels, columns)
}

// eachMeasurement calls each with the measurements of a kind, the types of their fields and the query for their points.
func eachMeasurement(ctx context.Context, c *client.Client, kind schema.Kind, since, until time.Time, each func(name string, types map[string]string, query string) error) error {
	_, _ = c.Find(ctx) // the name of the database depends on it; the query reports what is wrong
	from := fmt.Sprintf("%q.%q", c.Database(), kind.String())
	fields := &fieldTypes{of: make(map[string]map[string]string)}
	if err := c.Query(ctx, "SHOW FIELD KEYS FROM "+from+"./.*/", false, fields); err != nil {
		return fmt.Errorf("influx: export: list the fields: %w", err)
	}
	names := make([]string, 0, len(fields.of))
	for name := range fields.of {
		names = append(names, name)
	}
	sort.Strings(names)

	var bounds []string
	for _, b := range []struct {
		sign string
		at   time.Time
	}{{">=", since}, {"<", until}} {
		if !b.at.IsZero() {
			bounds = append(bounds, fmt.Sprintf("time %s %d", b.sign, b.at.UnixNano()))
		}
	}
	where := ""
	if len(bounds) > 0 {
		where = " WHERE " + strings.Join(bounds, " AND ")
	}
	for _, name := range names {
		if err := each(name, fields.of[name], fmt.Sprintf("SELECT * FROM %s.%q%s", from, name, where)); err != nil {
			return fmt.Errorf("influx: export %s: %w", name, err)
		}
	}
	return nil
}

// fieldTypes is an Output that keeps an answer to SHOW FIELD KEYS by
// measurement.
type fieldTypes struct {
	of   map[string]map[string]string
	name string // of the current measurement
}

func (f *fieldTypes) Series(name string, _ []client.Label, _ []string) error {
	f.name = name
	f.of[name] = make(map[string]string)
	return nil
}

func (f *fieldTypes) Row(values []any) error {
	if len(values) == 2 {
		f.of[f.name][fmt.Sprint(values[0])] = fmt.Sprint(values[1])
	}
	return nil
}

func (f *fieldTypes) Close() error { return nil }

// lineOutput is an Output that writes line protocol.
type lineOutput struct {
	w       *bufio.Writer
	types   map[string]string // of the measurement's fields
	head    []byte            // measurement and tags of the series
	columns []string
	line    []byte
	points  int
}

func (l *lineOutput) Series(name string, labels []client.Label, columns []string) error {
	l.head, l.columns = lineproto.AppendTag(l.head[:0], name), columns
	for _, t := range labels {
		if t.Value == "" {
			continue // the series has no such tag
		}
		l.head = append(lineproto.AppendTag(append(l.head, ','), t.Key), '=')
		l.head = lineproto.AppendTag(l.head, t.Value)
	}
	return nil
}

func (l *lineOutput) Row(values []any) error {
	l.line = append(l.line[:0], l.head...)
	sep := byte(' ')
	stamp := ""
	for i, v := range values {
		key := l.columns[i]
		if v == nil {
			continue
		}
		if key == "time" {
			stamp = fmt.Sprint(v)
			continue
		}
		l.line = append(lineproto.AppendTag(append(l.line, sep), key), '=')
		sep = ','
		switch v := v.(type) {
		case string:
			l.line = lineproto.AppendString(l.line, v)
		case bool:
			l.line = fmt.Append(l.line, v)
		case json.Number:
			l.line = append(l.line, v...)
			if l.types[key] == "integer" {
				l.line = append(l.line, 'i')
			}
		default:
			return fmt.Errorf("field %q has a value of an unknown kind, %T", key, v)
		}
	}
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return fmt.Errorf("a point's time: %w", err)
	}
	if sep == ' ' {
		return nil // no field
	}
	l.line = fmt.Appendf(l.line, " %d\n", at.UnixNano())
	l.points++
	_, err = l.w.Write(l.line)
	return err
}

func (l *lineOutput) Close() error { return nil }
