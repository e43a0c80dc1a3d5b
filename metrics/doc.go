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
