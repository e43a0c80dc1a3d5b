package schema

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rollup is a measurement of totals that the server computes from a measurement of history and
// keeps for ever, such as wants_1m and wants_1h of wants.
type Rollup struct {
	Of    *Measurement
	Every time.Duration // length of an interval; a point's time is its beginning
	// Again is how far back intervals are recomputed each time, to include late points.
	Again time.Duration
}

// Name returns the name of the rollup's measurement.
func (r Rollup) Name() string { return r.Of.Name + "_" + span(r.Every) }

// By lists the tags that it keeps; always those of a proxy's sides, which a node's points lack.
func (r Rollup) By() []string {
	var by []string
	for _, tag := range r.Of.AllTags() {
		if r.Of.RollupBy == nil || slices.Contains(r.Of.RollupBy, tag.Key) || slices.ContainsFunc(sideTags, func(t Tag) bool { return t.Key == tag.Key }) {
			by = append(by, tag.Key)
		}
	}
	return by
}

// Series returns the maximum number of series for one node.
func (r Rollup) Series() int {
	n, by := 1, r.By()
	for i := range r.Of.Tags {
		if slices.Contains(by, r.Of.Tags[i].Key) {
			n *= r.Of.Tags[i].Size()
		}
	}
	return n
}

// Rollups lists the rollups of a measurement.
func (m *Measurement) Rollups() []Rollup {
	if m.Rollup == nil {
		return nil
	}
	return []Rollup{{m, time.Minute, 10 * time.Minute}, {m, time.Hour, 3 * time.Hour}}
}

// Rollups lists all rollups of the schema.
func Rollups() (all []Rollup) {
	for _, m := range All {
		all = append(all, m.Rollups()...)
	}
	return all
}

// RollupNames returns the names of the continuous queries that the monitor creates.
func RollupNames() (names []string) {
	for _, r := range Rollups() {
		names = append(names, r.Name())
	}
	return names
}

// span formats a duration in the syntax that InfluxQL and Flux share: 1m, 3h.
func span(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// ContinuousQuery returns the statement that creates the rollup in InfluxDB 1.x.
func (r Rollup) ContinuousQuery(database string) string {
	var fields []string
	for _, s := range r.Of.Rollup {
		fields = append(fields, fmt.Sprintf("%s(%q) AS %q", s.Func, s.Of, s.As))
	}
	by := []string{fmt.Sprintf("time(%s)", span(r.Every))}
	for _, tag := range r.By() {
		by = append(by, fmt.Sprintf("%q", tag))
	}
	return fmt.Sprintf("CREATE CONTINUOUS QUERY %q ON %q RESAMPLE EVERY %s FOR %s BEGIN SELECT %s INTO %q.%q.%q FROM %q.%q.%q GROUP BY %s END",
		r.Name(), database, span(r.Every), span(r.Again), strings.Join(fields, ", "),
		database, Totals, r.Name(), database, History, r.Of.Name, strings.Join(by, ", "))
}

// Flux returns the Flux that computes the rollup from start to stop, which are Flux
// expressions, without its destination: one stream of tables for each field.
func (r Rollup) Flux(bucket, start, stop string) []string {
	var out []string
	by := fmt.Sprintf("%q", r.By())
	by = strings.ReplaceAll(by, `" "`, `", "`)
	for _, s := range r.Of.Rollup {
		run := s.Func + "()"
		if s.Func == "median" { // Flux has no median of integers
			run = "toFloat()\n  |> " + run
		}
		out = append(out, fmt.Sprintf(`from(bucket: %q)
  |> range(start: %s, stop: %s)
  |> filter(fn: (r) => r._measurement == %q and r._field == %q)
  |> group(columns: %s)
  |> window(every: %s)
  |> %s
  |> duplicate(column: "_start", as: "_time")
  |> window(every: inf)
  |> set(key: "_measurement", value: %q)
  |> set(key: "_field", value: %q)`,
			bucket, start, stop, r.Of.Name, s.Of, by, span(r.Every), run, r.Name(), s.As))
	}
	return out
}

// Task returns the Flux of the task that computes the rollup in InfluxDB 2. It uses only what
// the Flux of InfluxDB 1.8 has too (subDuration, not its successor date.sub), so that all of it
// but its option and to() can be tested there.
func (r Rollup) Task(org, bucket string) string {
	var b strings.Builder
	b.WriteString("import \"date\"\nimport \"experimental\"\n\n")
	fmt.Fprintf(&b, "option task = {name: %q, every: %s, offset: 10s}\n\n", r.TaskName(bucket), span(r.Every))
	fmt.Fprintf(&b, "stop = date.truncate(t: now(), unit: %s)\nstart = experimental.subDuration(d: %s, from: stop)\n", span(r.Every), span(r.Again))
	for _, q := range r.Flux(bucket+"/"+History.String(), "start", "stop") {
		fmt.Fprintf(&b, "\n%s\n  |> to(bucket: %q, org: %q)\n", q, bucket+"/"+Totals.String(), org)
	}
	return b.String()
}

// TaskName returns the name of the task in InfluxDB 2. It includes the bucket, so that each
// bucket has its own.
func (r Rollup) TaskName(bucket string) string { return bucket + " " + r.Name() }
