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

Two points never share series and timestamp: the time of a point is that of the event, moved forward by as many nanoseconds as needed to be later than the previous point of its measurement. So ` + "`count()`" + ` counts exactly what was stored. Totals of one interval have one time. A value that a peer can choose is a field, or a tag with a limited number of values; all other tags are closed sets. So the number of series is bounded: below 9,000 for all measurements together in one run of the monitor. ` + "`" + `dht_provide` + "`" + ` and ` + "`" + `dht_retrieve` + "`" + `
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
The monitor sums them as it captures, and writes them like all totals, on every store the same, also where ` + "`History`" + ` is false; ` + "`Rollups`" + ` false turns them off. A point's time is the beginning of its minute or hour. It is written when the minute or hour is over, two seconds later, and again, with all that was counted, if late points arrive. The current one is on disk in the spool's folder (` + "`rollups`" + `), so that a restart continues it; after a ` + "`kill -9`" + ` it may count points of the last second that history does not have. Without a spool, what was counted before a restart is missing. Nothing is ever written with less than before.

Counts, sums, means and maxima are exact: those of the points of history. A median is at most 1/32 off. The last 180 minutes and 24 hours that had points are in memory, at most 16 MiB; a point that is later than those, after the clock was set back for longer, is in no sum and is counted in ` + "`late_sums`" + ` of ` + "`/pipeline`" + `. Where events leave only as sums ([privacy.md](privacy.md)), there are no minutes and hours.

Earlier versions had the server compute them, by continuous queries and tasks, which still run after an upgrade: see [operations.md](operations.md#upgrades).

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
	b.WriteString("\nThese have tags that history has as fields, or classes of a number:\n")
	for _, m := range Counted {
		fmt.Fprintf(&b, "\n`%s_1m`, `%s_1h`: %s. %s\n\n```sql\n%s\n```\n\n| tag | values | |\n|---|---|---|\n", m.Name, m.Name, m.Point, m.Answers, m.Query)
		for _, t := range m.Tags {
			if t.Values != nil {
				fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", t.Key, strings.Join(t.Values, "` `"), t.Help)
			}
		}
	}
	return b.String()
}
