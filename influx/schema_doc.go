package influx

import (
	"fmt"
	"strings"
)

// SchemaDoc is docs/schema.md, made from Schema.
func SchemaDoc() string {
	var b strings.Builder
	b.WriteString(`# What is stored

This file is made from ` + "`influx/schema.go`" + ` by ` + "`go generate ./influx`" + `; a test fails when it is out of date.

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
	for _, m := range Schema {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %d | %s |\n", m.Name, m.Name, m.Kind, m.Series(), m.Answers)
	}
	for _, m := range Schema {
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
delivers all the same. A point's time is the beginning of its minute or hour. Minutes are made anew for 10 minutes and hours for 3, so
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

// QueriesDoc is docs/queries.md, made from Questions and from what a demo
// answered to them: for each name the answers in influxql and flux.
func QueriesDoc(answers map[string]map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Questions and their queries

This file is made from ` + "`influx/queries.go` and `influx/questions.go`" + ` by ` + "`go generate ./influx`" + `; a test fails when it is out of date, and another asks every
question in both languages of a real server. What is stored is told in [schema.md](schema.md), what Grafana shows in
[dashboards.md](dashboards.md). Under each statement stands what a demo of two minutes answered, its first twelve lines
(` + "`go test -tags dashboards ./test/dashboards -run TestDashboards -answers FILE`" + ` asks anew).

What stands here is what is asked; ` + "`ipfsmon query`" + ` makes one table of the answer, one row for each thing, the most first. InfluxQL cannot group by a
field (` + "`cid`, `peer`" + `), sort by a figure, or join: where a question needs it, ` + "`ipfsmon query`" + ` does it with the rows as they come, exactly, and "then" says how.
A question that history answers exactly falls back to totals where history is off, or does not reach so far back, and says on standard error what is not exact in them.

Each has a name: ` + "`ipfsmon query top-cids`" + `, ` + "`ipfsmon query wants --since 6h --plot`" + `, ` + "`ipfsmon query --language flux agents`" + `.
` + "`ipfsmon query --list`" + ` lists them, ` + "`ipfsmon query --print NAME`" + ` prints the statement. In the statements stands {since} for the time
that is asked about, ` + "`--since`" + `, {every} for a round step of which there are at most a hundred in it, and {bucket} for how the buckets' names
begin: ` + "`ipfsmon`" + ` unless Bucket (InfluxDB 2) or Database (1.x) say otherwise.

` + "`--since 6h`" + ` with a statement of your own: {since} and {every} in it are put in. An InfluxQL SELECT without them gets the condition
` + "`time > now() - 6h`" + ` beside its own; a SELECT with a time in its WHERE, other statements, and Flux without {since} are refused.

Flux in the embedded store and in 1.8 reads all into memory and ends after 30 s: group first and then window, as here, and prefer InfluxQL.

Days that do not begin at midnight are wrong where summer time ends: in InfluxDB 1.8, and so in the embedded store, ` + "`GROUP BY time(1d,12h) tz('Europe/Berlin')`" + `
counts 82 of the 96 hours from 2025-10-25 on (influxdb#25078). Intervals of more than an hour lose points there with most offsets, such as time(2h,1h), time(6h,3h) and
time(1d,6h). Without an offset none does, be it time(1h), time(6h), time(1d) or time(1w); nor does any when summer time begins, with an offset or without.
` + "`ipfsmon query`" + ` warns of a statement that may lose points. Leave out the offset, or group by hours without ` + "`tz()`" + ` and add them up.

## Grafana

Add a data source InfluxDB, query language InfluxQL, URL ` + "`http://127.0.0.1:8086`" + ` (what ` + "`ipfsmon run`" + ` prints as "InfluxDB listening on"),
database ` + "`ipfsmon`" + `, user ` + "`reader`" + ` with the password in ` + "`influxdb/reader.password`" + ` of the data folder (` + "`~/.ipfs/ipfsmon`" + `), access "Server". Grafana
must run on the same machine: the store listens on loopback only. For a second data source in Flux: organisation anything, token
` + "`reader:PASSWORD`" + `, default bucket ` + "`ipfsmon/history`" + `. Write ` + "`$timeFilter`" + ` where
the statements here have ` + "`time > now() - {since}`" + `, and ` + "`$__interval`" + ` for {every}. A stopped monitor's store is served by
` + "`ipfsmon store --dir FOLDER/influxdb`" + `.

| name | question |
|---|---|
`)
	for _, q := range Questions {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", q.Name, q.Name, q.Asks)
	}
	for _, q := range Questions {
		fmt.Fprintf(&b, "\n## %s\n\n%s The last %s unless told otherwise.", q.Name, q.Asks, q.Since)
		if q.Note != "" {
			b.WriteString(" " + q.Note)
		}
		fmt.Fprintf(&b, "\n\n```sql\n%s\n```\n\n%s```text\n%s\n```\n\n```flux\n%s\n```\n\n```text\n%s\n```\n",
			q.InfluxQL, foldsDoc(q.Then), answers[q.Name]["influxql"], q.Flux, answers[q.Name]["flux"])
		if q.Else != nil {
			fmt.Fprintf(&b, "\nElse: %s.\n\n```sql\n%s\n```\n\n%s```flux\n%s\n```\n", q.Else.Note, q.Else.InfluxQL, foldsDoc(q.Else.Then), q.Else.Flux)
		}
	}
	return b.String()
}

// foldsDoc says what is made of the rows.
func foldsDoc(folds []Fold) string {
	if len(folds) == 0 {
		return ""
	}
	var steps []string
	for _, f := range folds {
		var parts []string
		if f.Newest != "" {
			parts = append(parts, "of each "+f.Newest+" the newest rows")
		}
		if f.By != nil {
			parts = append(parts, "a row for each "+strings.Join(f.By, ", "))
		}
		var made []string
		for _, m := range f.Make {
			how := m.How + " of " + m.Of
			if m.How == "all" {
				how = "sum of " + m.Of
			}
			if how == "sum of "+m.As || how == "max of "+m.As { // what InfluxQL has made
				made = append(made, m.As)
				continue
			}
			made = append(made, m.As+" ("+how+")")
		}
		if made != nil {
			parts = append(parts, strings.Join(made, ", "))
		}
		if f.Sort != "" {
			parts = append(parts, "by "+f.Sort+", the most first")
		}
		if f.Limit > 0 {
			parts = append(parts, fmt.Sprintf("%d rows", f.Limit))
		}
		steps = append(steps, strings.Join(parts, "; "))
	}
	return "Then: " + strings.Join(steps, ". Then: ") + ".\n\n"
}
