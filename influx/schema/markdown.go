package schema

import (
	"fmt"
	"strings"
)

// Doc is docs/schema.md, made from Schema.
func Doc() string {
	var b strings.Builder
	b.WriteString(`# What is stored

This file is made from ` + "`influx/schema`" + ` by ` + "`make generate`" + `; a test fails when it is out of date.

There are two kinds of measurements. In InfluxDB 1.x they are two retention policies of one database (` + "`ipfsmon`" + `),
in InfluxDB 2 two buckets (` + "`ipfsmon/history` and `ipfsmon/totals`" + `), so that the same InfluxQL works on both.

* **history**: one point for each thing seen, kept 7 days unless ` + "`HistoryRetention`" + ` says otherwise. The default: ` + "`FROM wants`" + ` means these.
* **totals**: sums for each interval, kept for ever: ` + "`FROM totals.traffic`" + `.

Two points never share series and timestamp: the time of a point is that of the event, moved on by as many nanoseconds as it takes
to be later than the point before it in its measurement. So ` + "`count()`" + ` finds exactly what was stored. Totals of one interval have one time.
Whatever a peer can choose is a field, or one of the first so many values of a tag that has a limit; else tags are closed sets. So the
number of series is bounded, for all measurements together below 5,000 for one run of the monitor. ` + "`" + `dht_provide` + "`" + ` and ` + "`" + `dht_retrieve` + "`" + `
are written by the scheduler of the DHT probe alone, in at most 1,024 series. What a proxy writes of history has two tags more, ` + "`side`" + `
(` + "`upstream`" + `: with its peers, ` + "`downstream`" + `: with its nodes) and for the latter ` + "`downstream`" + `, the node's name: so many series
for the peers, and again for each node. A node's points have neither.

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
				values = "`" + strings.Join(t.Values, "` `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", t.Key, values, t.Help)
		}
		b.WriteString("\n| field | type | unit | |\n|---|---|---|---|\n")
		for _, f := range m.Fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Key, f.Type, f.Unit, f.Help)
		}
	}
	b.WriteString(`
## Minutes and hours of history

What history forgets is kept for ever in sums of each minute and each hour, in totals: ` + "`SELECT sum(wants) FROM totals.wants_1h GROUP BY type`" + `.
The server makes them itself: by continuous queries in InfluxDB 1.x and the embedded store, by tasks in InfluxDB 2, all from one
definition. The monitor creates both at its start, if ` + "`CreateDatabase`" + ` and ` + "`Rollups`" + ` are on and it is allowed to; if not, it says so once and
delivers all the same. A point's time is the beginning of its minute or hour. Minutes are made again for 10 minutes and hours for 3, so
that late points are in them; what comes later than that, after a longer outage, is in history alone.

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
