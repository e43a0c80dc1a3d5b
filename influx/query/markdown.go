package query

import (
	"cmp"
	"fmt"
	"strings"
)

// Doc is docs/queries.md, made from Questions and from what a demo
// answered to them: for each name the answers in influxql and flux.
func Doc(answers map[string]map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Questions and their queries

This file is generated from ` + "`influx/query`" + ` by ` + "`make generate`" + `; a test fails when it is out of date, and another asks every
question in both languages on a real server. [schema.md](schema.md) describes what is stored, [dashboards.md](dashboards.md) what Grafana shows. Under each statement are the first twelve lines of the answer of a two-minute demo (` + "`go test -tags dashboards ./test/dashboards -run TestDashboards -answers FILE`" + ` runs it again).

This file shows the statements that are sent; ` + "`ipfsmon query`" + ` turns the answer into one table, one row for each thing, largest first. InfluxQL cannot group by a field (` + "`cid`, `peer`" + `), sort by a figure, or join: where a question needs it, ` + "`ipfsmon query`" + ` computes it exactly from the rows, and "then" describes how. A question that history answers exactly falls back to totals where history is off or too short, and reports on standard error what is not exact in them. It does the same where the rows that it would read from history are more than 250,000, by the sums of hours (a function reads some 800,000 points for a percentile or 8 million for a count in that time); a question that totals have no answer to is then answered for the end of the time. If the sums begin later than history, because an earlier version of the monitor did not write them, it says when. From half a day on, lists of intervals are read as the lists of their hours (` + "`totals.top_cids_1h`" + ` and others), which have the same figures except for what is below the last place of an hour. ` + "`--exact`" + ` reads all of it. Flux reads history, within the bounds of the store.

Each has a name: ` + "`ipfsmon query top-cids`" + `, ` + "`ipfsmon query wants --since 6h --plot`" + `, ` + "`ipfsmon query --language flux agents`" + `.
` + "`ipfsmon query --list`" + ` lists them, ` + "`ipfsmon query --print NAME`" + ` prints the statement. In the statements {since} stands for the queried time, ` + "`--since`" + `, {every} for a round step that fits at most a hundred times into it, and {bucket} for the prefix of the buckets' names: ` + "`ipfsmon`" + ` unless Bucket (InfluxDB 2) or Database (1.x) say otherwise.

` + "`--since 6h`" + ` with your own statement: {since} and {every} in it are replaced. An InfluxQL SELECT without them gets the condition ` + "`time > now() - 6h`" + ` in addition to its own; a SELECT with a time in its WHERE, other statements, and Flux without {since} are rejected.

` + "`--from 2026-11-20 --to 2026-11-21T12:00`" + ` asks of the time between two times instead, ` + "`--since 6h --to ...`" + ` of the six hours before one. Each is a date, a date with a time of day, RFC 3339, or a duration before now. ` + "`--tz Europe/Berlin`" + ` (or ` + "`local`" + `) is the zone of those that have none, of the times in the answer and of the days that InfluxQL groups by; without it all are UTC. ` + "`--limit 100`" + ` is how long the lists of named questions are, and the most rows of any answer; standard error says if there are more. A question that takes longer than half a second shows on a terminal how many rows have arrived.

Flux in the embedded store and in 1.8 reads everything into memory and ends after 30 s: group first and then window, as here, and prefer InfluxQL.

Days that do not begin at midnight are counted wrong when daylight saving time ends: in InfluxDB 1.8, and so in the embedded store, ` + "`GROUP BY time(1d,12h) tz('Europe/Berlin')`" + `
counts 82 of the 96 hours from 2025-10-25 on (influxdb#25078). Intervals of more than an hour lose points there with most offsets, such as time(2h,1h), time(6h,3h) and
time(1d,6h). Without an offset none loses points, be it time(1h), time(6h), time(1d) or time(1w); nor does any when daylight saving time begins, with or without an offset.
` + "`ipfsmon query`" + ` warns about a statement that may lose points. Leave out the offset, or group by hours without ` + "`tz()`" + ` and add them up.

## Grafana

Add a data source InfluxDB, query language InfluxQL, URL ` + "`http://127.0.0.1:8086`" + ` (what ` + "`ipfsmon run`" + ` prints as "InfluxDB listening on"),
database ` + "`ipfsmon`" + `, user ` + "`reader`" + ` with the password in ` + "`influxdb/reader.password`" + ` of the data folder (` + "`~/.ipfs/ipfsmon`" + `), access "Server". Grafana
must run on the same machine: the store listens on loopback only. For a second data source in Flux: any organisation, token
` + "`reader:PASSWORD`" + `, default bucket ` + "`ipfsmon/history`" + `. Write ` + "`$timeFilter`" + ` where
the statements here use ` + "`time > now() - {since}`" + `, and ` + "`$__interval`" + ` for {every}. To serve a stopped monitor's store, run
` + "`ipfsmon store --dir FOLDER/influxdb`" + `.

| name | question |
|---|---|
`)
	for _, q := range Questions {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", q.Name, q.Name, q.Asks)
	}
	for _, q := range Questions {
		fmt.Fprintf(&b, "\n## %s\n\n%s Default: the last %s.", q.Name, q.Asks, q.Since)
		if q.Note != "" {
			b.WriteString(" " + q.Note)
		}
		if q.OfNetwork() {
			b.WriteString(" Of this node, not of the network: `ipfsmon query` adds its [coverage](#coverage) on standard error.")
		}
		fmt.Fprintf(&b, "\n\n```sql\n%s\n```\n\n%s```text\n%s\n```\n\n```flux\n%s\n```\n\n```text\n%s\n```\n",
			q.InfluxQL, foldsDoc(q.Then), answered(q.Name, answers[q.Name]["influxql"]), q.Flux, answered(q.Name, answers[q.Name]["flux"]))
		if q.Else != nil {
			fmt.Fprintf(&b, "\nElse: %s.\n\n```sql\n%s\n```\n\n%s```flux\n%s\n```\n", q.Else.Note, q.Else.InfluxQL, foldsDoc(q.Else.Then), q.Else.Flux)
		}
	}
	return b.String()
}

// notInDemo says why the answer of a demo to a question is empty.
var notInDemo = map[string]string{
	"http":   "no node of a demo fetches over HTTP: that takes an HTTP gateway and a router that names it",
	"floods": "no peer of a demo sends too much",
}

func answered(name, text string) string {
	return cmp.Or(text, "(no rows: "+notInDemo[name]+")")
}

// foldsDoc describes what is computed from the rows.
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
			if how == "sum of "+m.As || how == "max of "+m.As { // computed by InfluxQL
				made = append(made, m.As)
				continue
			}
			made = append(made, m.As+" ("+how+")")
		}
		if made != nil {
			parts = append(parts, strings.Join(made, ", "))
		}
		if f.Sort != "" {
			parts = append(parts, "by "+f.Sort+", largest first")
		}
		if f.Limit > 0 {
			parts = append(parts, fmt.Sprintf("%d rows", f.Limit))
		}
		steps = append(steps, strings.Join(parts, "; "))
	}
	return "Then: " + strings.Join(steps, ". Then: ") + ".\n\n"
}
