package metrics

import (
	"fmt"
	"strings"
)

// Doc returns docs/prometheus.md, generated from the list of metrics.
func Doc() string {
	var b strings.Builder
	b.WriteString(`# Metrics for Prometheus

This file is generated from ` + "`metrics/list.go`" + ` by ` + "`go generate ./metrics`" + `; a test fails when it is out of date.

Prometheus can scrape the metrics in two places: with kubo's own at ` + "`/debug/metrics/prometheus`" + ` on the address of kubo's RPC API, and
alone at ` + "`/metrics`" + ` on the addresses of ` + "`HTTPServerConfig`" + `, where scrapes from beyond loopback need a token. If a program runs
several monitors, kubo's page has the metrics of the first one only.

The figures of peers, protocols and streams are those of the last sample, which is taken every ` + "`PopulatePrometheusInterval`" + ` seconds; before
the first sample they are absent. Those of retrievals and coverage are of whole intervals, of one minute each, and absent before the end of the
first. Counters start at 0 with the daemon. The metrics of a sink that is off are absent.
A label whose values peers choose has the most frequent values only; the rest is summed as ` + "`others`" + `.

The first seven metrics have the names and the meaning of the old exporter's, with three differences: the number of ` + "`protocol`" + ` values is
limited; ` + "`bitswap_senders`" + ` counts the streams that Bitswap itself has open, because the monitor opens none; an event that is encoded once
for all subscribers counts in ` + "`wiretap_sent_bytes`" + ` once for each of them.

## Dashboards

` + "`grafana/prometheus/*.json`" + ` are dashboards for a Grafana whose data source is a Prometheus that scrapes ` + "`/metrics`" + `; they need no InfluxDB. Import them by hand. They
are made of the same panels as those for InfluxDB, with other queries. What ` + "`/metrics`" + ` does not have is left out: single CIDs, peers, connections and countries, times from a
want to its answer, distinct CIDs and peers, repeats, notes, the probe and a proxy. A plug-in without ` + "`InfluxDB`" + ` in its section stores nothing itself; then this is all there is.

` + "```yaml" + `
scrape_configs:
  - job_name: ipfsmon
    scrape_interval: 10s
    static_configs:
      - targets: ["127.0.0.1:8432"]
` + "```" + `

The dashboards choose monitors by ` + "`instance`" + `, the address that Prometheus scrapes; ` + "`ipfsmon_info`" + ` has a monitor's name. ` + "`TestPrometheusDashboards`" + ` has a real Prometheus (2.42, Debian's)
scrape a demo and asks every query; no Grafana could be run where this was made.

## Metrics

| metric | type | labels | |
|---|---|---|---|
`)
	for _, f := range families {
		var labels []string
		for _, l := range f.Labels {
			labels = append(labels, fmt.Sprintf("`%s`: %s", l.Name, l.Values))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, "; "), f.Help)
	}
	return b.String()
}
