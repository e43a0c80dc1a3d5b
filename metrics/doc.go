package metrics

import (
	"fmt"
	"strings"
)

// Doc is docs/prometheus.md, made from the list of metrics.
func Doc() string {
	var b strings.Builder
	b.WriteString(`# Metrics for Prometheus

This file is made from ` + "`metrics/list.go`" + ` by ` + "`go generate ./metrics`" + `; a test fails when it is out of date.

They are served where kubo serves its own, ` + "`/debug/metrics/prometheus`" + ` on the address of kubo's RPC API, and alone at ` + "`/metrics`" + ` on
the addresses of ` + "`HTTPServerConfig`" + `, beyond loopback for those who show a token. Kubo's page has them of one monitor only, the first, if
a program runs several.

Figures of peers, protocols and streams are those of the last sample, which is taken every ` + "`PopulatePrometheusInterval`" + ` seconds; before
the first sample they are absent. Counters start at 0 with the daemon. Metrics of a sink that is off are absent.
A label that peers could fill with anything is cut to the most frequent values; the rest is summed as ` + "`others`" + `.

The first seven keep the names and the meaning of the old exporter, with three differences: the number of ` + "`protocol`" + ` values is limited,
` + "`bitswap_senders`" + ` counts the streams that Bitswap itself has open, for none are opened beside them, and an event that is encoded once
for all subscribers still counts in ` + "`wiretap_sent_bytes`" + ` for each of them.

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
