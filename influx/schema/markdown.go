package schema

import (
	"fmt"
	"strings"
)

// Doc returns docs/schema.md, generated from All.
func Doc() string {
	var b strings.Builder
	b.WriteString(`# What is stored

This file is generated from ` + "`influx/schema`" + ` by ` + "`make generate`" + `; a test fails when it is out of date.

There are two kinds of measurements. In InfluxDB 1.x they are two retention policies of one database (` + "`ipfsmon`" + `),
in InfluxDB 2 two buckets (` + "`ipfsmon/history` and `ipfsmon/totals`" + `), so that the same InfluxQL works on both.

* **history**: one point for each observation, kept 7 days unless ` + "`HistoryRetention`" + ` changes that. It is the default: ` + "`FROM wants`" + ` reads history.
* **totals**: sums for each interval, kept for ever: ` + "`FROM totals.traffic`" + `.

Two points never share series and timestamp: the time of a point is that of the event, moved forward by as many nanoseconds as needed to be later than the previous point of its measurement. So ` + "`count()`" + ` counts exactly what was stored. Totals of one interval have one time. A value that a peer can choose is a field, or a tag with a limited number of values; all other tags are closed sets. So the number of series is bounded: below 5,500 for all measurements together in one run of the monitor. ` + "`" + `dht_provide` + "`" + ` and ` + "`" + `dht_retrieve` + "`" + `
are written only by the scheduler of the DHT probe, in at most 1,024 series. The history of a proxy has two more tags, ` + "`side`" + `
(` + "`upstream`" + ` for its peers, ` + "`downstream`" + ` for its nodes) and for the latter ` + "`downstream`" + `, the node's name. The number of series in the table then applies to the peers, and again to each node. A node's points have neither.

| measurement | kind | most series per node | answers |
|---|---|---|---|
`)
	for _, m := range All {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %d | %s |\n", m.Name, m.Name, m.Kind, m.Series(), m.Answers)
	}
	for _, m := range All {
		fmt.Fprintf(&b, "\n## %s\n\n%s\nOne point: %s.\n\n```sql\n%s\n```\n\n", m.Name, m.Answers, m.Point, m.Query)
		b.WriteString("| tag | values | |\n|---|---|---|\n")
		for _, t := range m.AllTags() {
			values := "one"
			if t.Limit > 0 {
				values = fmt.Sprintf("at most %d", t.Limit)
			}
			if t.Values != nil {
				values = strings.Replace("`"+strings.Join(t.Values, "` `")+"`", "``", "(no tag)", 1)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", t.Key, values, t.Help)
		}
		b.WriteString("\n| field | type | unit | |\n|---|---|---|---|\n")
		for _, f := range m.Fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Key, f.Type, f.Unit, f.Help)
		}
	}
	b.WriteString(`
## Rollups of history by minutes and hours

Sums of history by minutes and hours are kept for ever, in totals: ` + "`SELECT sum(wants) FROM totals.wants_1h GROUP BY type`" + `.
The server computes them: by continuous queries in InfluxDB 1.x and the embedded store, by tasks in InfluxDB 2, all from one definition. The monitor creates them at its start, if ` + "`CreateDatabase`" + ` and ` + "`Rollups`" + ` are on and it has the right to; if not, it logs that once and delivers points anyway. A point's time is the beginning of its minute or hour. Minutes are recomputed for 10 minutes and hours for 3 hours, to include late points; points that arrive even later, after a longer outage, are only in history.

| measurement | tags | fields |
|---|---|---|
`)
	for _, r := range Rollups() {
		var fields []string
		for _, s := range r.Of.Rollup {
			fields = append(fields, fmt.Sprintf("`%s`: %s of `%s`", s.As, s.Func, s.Of))
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", r.Name(), strings.Join(r.By(), "` `"), strings.Join(fields, ", "))
	}
	return b.String()
}
