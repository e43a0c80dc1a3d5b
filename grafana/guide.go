package grafana

import (
	"fmt"
	"strings"
)

// guide is docs/dashboards.md.
func guide() string {
	var b strings.Builder
	b.WriteString(guideHead)
	for _, bo := range boards() {
		var titles []string
		for _, r := range bo.rows {
			titles = append(titles, r.title)
		}
		n := 0
		for _, r := range bo.rows {
			n += len(r.panels)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d |\n", bo.title, bo.help, strings.Join(titles, ", "), n)
	}
	b.WriteString(guideAlerts)
	for _, a := range Alerts() {
		limit := "below"
		v := a.Below
		if v == nil {
			limit, v = "above", a.Above
		}
		over := fmt.Sprintf("%d min", a.Queries[0].Seconds/60)
		fmt.Fprintf(&b, "| %s | %s | %s %s %v over %s, for %s | %s |\n", a.Title, a.Severity, a.Reduce, limit, *v, over, a.For, a.Runbook)
	}
	b.WriteString(guideTail)
	return b.String()
}

const guideHead = `# Dashboards and alerts

Made from the Go package ` + "`grafana`" + ` by ` + "`go generate ./grafana`" + `; a test fails when it is out of date.

## See them

* **With the stack**: ` + "`docker compose up -d`" + `, then Grafana behind nginx ([operations.md](operations.md)). Everything is there.
* **With your own Grafana, by hand** (11.6 or later): add a data source InfluxDB, query language InfluxQL, whose name has the word
  InfluxQL in it, and import ` + "`dashboards.json`" + `: all panels in one dashboard, which asks for the data source. For the store that ` + "`ipfsmon run`" + `
  embeds: URL ` + "`http://127.0.0.1:8086`" + `, database ` + "`ipfsmon`" + `, user ` + "`reader`" + `, its password in ` + "`influxdb/reader.password`" + ` of the data folder. For InfluxDB 2:
  a header ` + "`Authorization`" + ` with ` + "`Token ...`" + ` of a token that may read the buckets ` + "`ipfsmon/history` and `ipfsmon/totals`" + `.
* **With your own Grafana, provisioned**: ` + "`grafana/provisioning`" + ` is for ` + "`/etc/grafana/provisioning`" + `, ` + "`grafana/dashboards`" + ` for ` + "`/etc/ipfsmon/dashboards`" + `. Grafana's
  environment has IPFSMON_INFLUXDB_URL and IPFSMON_INFLUXDB_ORG, the file ` + "`/run/secrets/influxdb-token`" + ` the token. An InfluxDB 1.x or the embedded
  store has users instead of tokens: give the data source a user and a password in place of the header.

All dashboards have a choice of nodes, keep time and nodes when you go from one to the next (the menu ipfsmon), and run on InfluxDB 1.x,
2.x and the embedded store, for all queries are InfluxQL. [queries.md](queries.md) has Flux for the main questions. The light and the dark theme
have the same meaning of colours.

* **Grafana 13** imports ` + "`dashboards.json`" + ` too; ` + "`dashboards-v2.json`" + ` is the same as a resource of its own schema, V2.
* **With Prometheus alone**: ` + "`grafana/prometheus/*.json`" + `, to import by hand, need nothing but ` + "`/metrics`" + ` ([prometheus.md](prometheus.md#dashboards)).

**Nothing to see?** The table Nodes on the overview shows what to do. In short: is a monitor running (` + "`ipfsmon demo`" + ` needs no Internet access),
does it write here (its status line), is the data source the right one, is the time range. Rates are complete from the second sample on,
twenty seconds after the start; derived figures (unique, top, latency) come once a minute. History is kept for 7 days and may be off.

**Lines in the graphs** are notes that the monitor writes (measurement ` + "`notes`" + `): blue it started or stopped, or the wall clock was set, red something was lost, orange a storm
of wants: five times the usual rate of the last hour and more than 100 a second, until it is below twice the usual.

## What there is

| dashboard | | rows | panels |
|---|---|---|---|
`

const guideAlerts = `
Two ideas were left out. A map of countries would fetch its tiles from somebody else's server; the bars by country do not. The rhythm of the
week is a bar for each hour of seven days, because no panel of Grafana makes hours by weekdays of InfluxQL.

## Alerts

Provisioned with the data sources, evaluated every minute, one for each node where it is about a node. Queries, conditions and texts are in
` + "`grafana/alerts.go`" + `. ` + "`grafana/prometheus/ipfsmon.rules.yml`" + ` has the same, except repeated wants, as rules for a Prometheus that scrapes
` + "`/metrics`" + ` of each node.

| alert | severity | when | what to do |
|---|---|---|---|
`

const guideTail = `
### Who is notified

Nobody, until you say so: Grafana shows firing alerts, and sends them to an address that does not exist. Either choose in Grafana
(Alerting, Contact points, and Notification policies), or put a file beside ` + "`grafana/provisioning/alerting/ipfsmon.yml`" + `, such as contact.yml, and
restart Grafana. A policy given like this takes the place of all policies there are:

` + "```yaml" + `
apiVersion: 1
contactPoints:
  - orgId: 1
    name: ipfsmon
    receivers:
      - uid: ipfsmon-webhook
        type: webhook
        settings: {url: "http://alerts.example:9000/ipfsmon"}
policies:
  - orgId: 1
    receiver: ipfsmon
    group_by: [alertname, node]
` + "```" + `

Labels to route by: ` + "`severity`" + ` (critical, warning), ` + "`source`" + ` (ipfsmon), ` + "`node`" + `. A contact point by mail needs Grafana's own SMTP settings.

## Change them

Edit the Go files, ` + "`go generate ./grafana`" + `, ` + "`make check-dashboards`" + `. The tests read each file with the types of Grafana's SDK, hold it against a list of
rules (ids, places, descriptions, units, colours, variables), compare every measurement, tag and field with ` + "`influx/schema`" + `, compile each
dashboard against Grafana's own TypeScript types, and ask every query of every panel, variable, annotation and alert of the embedded store,
InfluxDB 1.6.7, 1.13.2 and 2.9.1, which a demo has filled. What each panel shows, with what its transformations do, and for which nodes each alert
fires, is compared with what is computed from the events alone: a panel or an alert without such an answer fails the tests (` + "`TestPanelsAreTrue`, `TestAlertsAreTrue`" + `
in ` + "`influx`" + `). What they cannot do is look at it: no Grafana could be run where this was made.
`
