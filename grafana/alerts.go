package grafana

import (
	"fmt"
	"strings"
)

// Alert is one rule of Grafana's alerting, as it is provisioned.
type Alert struct {
	UID, Title string
	Summary    string // what happened
	Runbook    string // what to do
	Severity   string // critical or warning
	Dashboard  string // uid of the dashboard to look at
	For        string
	NoData     string // OK, or Alerting if no data is the alert
	Queries    []AlertQuery
	Reduce     string // how a query's result is reduced to one number per node: last, sum ...
	Condition  string // expression over the queries' names; empty means A
	Above      *float64
	Below      *float64

	// Prometheus is the same in PromQL over the monitor's metrics, one result for
	// each instance that the alert fires for. "": the metrics do not have it.
	Prometheus string
}

// AlertQuery is InfluxQL over the last Seconds.
type AlertQuery struct {
	Ref     string
	Seconds int
	Text    string
}

// Alerts returns the rules. They do not use the variable $node: each rule watches
// all nodes, and each node on its own if its query groups by node.
func Alerts() []Alert {
	ask := func(ref string, seconds int, text string) AlertQuery {
		return AlertQuery{ref, seconds, macros.Replace(text)}
	}
	return []Alert{
		{
			UID: "ipfsmon-no-points", Title: "No points for 5 minutes", Severity: "critical", Dashboard: "ipfsmon-overview",
			Summary: "No monitored node has written to InfluxDB for 5 minutes.",
			Runbook: "Check that InfluxDB is up and its disk has room, and that the nodes run. /pipeline of a node's HTTP API has the last error of its writer. Nothing is lost yet: points wait on the nodes' disks.",
			For:     "1m", NoData: "Alerting", Reduce: "sum", Below: ptr(1.0),
			Prometheus: `sum(increase(ipfsmon_influx_stored_points_total[5m])) < 1`,
			Queries:    []AlertQuery{ask("A", 300, `SELECT count(connections) AS points FROM totals.node WHERE {t}`)},
		},
		{
			UID: "ipfsmon-node-down", Title: "Node down", Severity: "critical", Dashboard: "ipfsmon-overview",
			Summary: "Node {{ $labels.node }} wrote in the last day, but not in the last 5 minutes.",
			Runbook: "Check that the node runs. Its log says why it ended, or why it cannot write. For a node that was removed for good the alert ends after a day.",
			For:     "5m", NoData: "OK", Reduce: "last", Below: ptr(1.0),
			Prometheus: `max by (instance, job, monitor) (max_over_time(ipfsmon_info[1d])) unless max by (instance, job, monitor) (ipfsmon_info)`,
			Queries:    []AlertQuery{ask("A", 86400, `SELECT count(connections) AS points FROM totals.node WHERE {t} GROUP BY time(5m), "node" fill(0)`)},
		},
		{
			UID: "ipfsmon-lost", Title: "Points lost", Severity: "critical", Dashboard: "ipfsmon-pipeline",
			Summary: "Node {{ $labels.node }} lost points or events.",
			Runbook: "See Pipeline health, Lost: missed events mean that the node's machine is too slow, dropped points that the spool is full, rejected points that InfluxDB rejected them (rejected.lp in the spool's folder has them, with the server's error). docs/durability.md explains each.",
			For:     "0s", NoData: "OK", Reduce: "sum", Above: ptr(0.0),
			Prometheus: `sum by (instance, job) (increase(ipfsmon_bus_missed_events_total[15m])) > 0 or sum by (instance, job) (increase(ipfsmon_influx_dropped_points_total[15m])) > 0 or sum by (instance, job) (increase(ipfsmon_influx_rejected_points_total[15m])) > 0`,
			Queries:    []AlertQuery{ask("A", 900, `SELECT sum(value) AS lost FROM totals.notes WHERE {t} AND "kind" = 'loss' GROUP BY "node"`)},
		},
		{
			UID: "ipfsmon-disk", Title: "Spool nearly full", Severity: "warning", Dashboard: "ipfsmon-pipeline",
			Summary: "The spool of {{ $labels.node }}, which holds the points that wait for InfluxDB, is more than 80 % full.",
			Runbook: "InfluxDB has been down or too slow for a long time. At 100 % the oldest points are dropped. Bring InfluxDB back, or raise SpoolMaxBytes.",
			For:     "1m", NoData: "OK", Reduce: "last", Above: ptr(800.0),
			Prometheus: `max by (instance, job) (ipfsmon_influx_spool_full_ratio) > 0.8`,
			Queries:    []AlertQuery{ask("A", 600, `SELECT last(spool_permille) AS permille FROM totals.pipeline WHERE {t} GROUP BY time(1m), "node" fill(none)`)},
		},
		{
			UID: "ipfsmon-storm", Title: "Storm of wants", Severity: "warning", Dashboard: "ipfsmon-traffic",
			Summary: "Peers send node {{ $labels.node }} wants at more than five times the usual rate.",
			Runbook: "See Bitswap traffic and Peers, Who asks. One peer: limit or block it. Many peers and few CIDs: something is popular. Many of both: a faulty client, or an attack.",
			For:     "0s", NoData: "OK", Reduce: "sum", Above: ptr(0.0),
			Prometheus: `(sum by (instance, job) (rate(ipfsmon_capture_entries_total{direction="received", type=~"want_.*"}[1m])) > 5 * sum by (instance, job) (rate(ipfsmon_capture_entries_total{direction="received", type=~"want_.*"}[1h] offset 1m))) and sum by (instance, job) (rate(ipfsmon_capture_entries_total{direction="received", type=~"want_.*"}[1m])) > 100`,
			Queries:    []AlertQuery{ask("A", 600, `SELECT count(value) AS storms FROM totals.notes WHERE {t} AND "kind" = 'storm' GROUP BY "node"`)},
		},
		{
			UID: "ipfsmon-flood", Title: "A peer floods the node", Severity: "warning", Dashboard: "ipfsmon-traffic",
			Summary: "A peer sends node {{ $labels.node }} more wants or messages than a node can use.",
			Runbook: "See Bitswap traffic, What uses the line, Floods: the peer, what it sends, and the command that blocks it in kubo. `ipfsmon query floods`, the live page and /metric_plugin/v1/floods of the node's HTTP API have the same. A gateway or another node of yours: talk to its owner first. docs/operations.md says more.",
			For:     "0s", NoData: "OK", Reduce: "sum", Above: ptr(0.0),
			Prometheus: `max by (instance, job) (ipfsmon_derive_flooding_peers) > 0`,
			Queries:    []AlertQuery{ask("A", 180, `SELECT count(wants) AS floods FROM totals.floods WHERE {t} AND state != 'ended' GROUP BY "node"`)},
		},
		{
			UID: "ipfsmon-fleet-away", Title: "A monitor of the fleet is away", Severity: "warning", Dashboard: "ipfsmon-fleet",
			Summary: "Collector {{ $labels.node }} does not read all of its monitors.",
			Runbook: "See Fleet, Each monitor, or /metric_plugin/v1/fleet of the collector's HTTP API, which says why. What the monitor sees meanwhile is missing in the fleet's figures; its own are not affected.",
			For:     "5m", NoData: "OK", Reduce: "last", Condition: "$A_reduced / $B_reduced", Below: ptr(1.0),
			Prometheus: `min by (instance, job) (ipfsmon_fleet_monitor_up) < 1`,
			Queries: []AlertQuery{
				ask("A", 600, `SELECT last(up) AS up FROM totals.fleet WHERE {t} GROUP BY time(1m), "node" fill(none)`),
				ask("B", 600, `SELECT last(monitors) AS monitors FROM totals.fleet WHERE {t} GROUP BY time(1m), "node" fill(none)`)},
		},
		{
			UID: "ipfsmon-fleet-clock", Title: "A clock of the fleet is wrong", Severity: "warning", Dashboard: "ipfsmon-fleet",
			Summary: "The clock of a monitor of collector {{ $labels.node }} is more than a second away from the collector's.",
			Runbook: "See Fleet, Each monitor, Clocks. Figures are corrected by the offset, but each change of it moves events in time. Run NTP on the monitor and on the collector.",
			For:     "10m", NoData: "OK", Reduce: "last", Above: ptr(1000000.0),
			Prometheus: `max by (instance, job) (abs(ipfsmon_fleet_clock_offset_seconds)) > 1`,
			Queries:    []AlertQuery{ask("A", 600, `SELECT last(clock_us) AS away FROM totals.fleet WHERE {t} GROUP BY time(1m), "node" fill(none)`)},
		},
		{
			UID: "ipfsmon-duplicates", Title: "Many repeated wants", Severity: "warning", Dashboard: "ipfsmon-traffic",
			Summary: "More than a fifth of the wants that node {{ $labels.node }} receives repeat a want of the last 31 seconds.",
			Runbook: "See Peers, Who asks: often one peer asks in a loop.",
			For:     "15m", NoData: "OK", Reduce: "sum", Condition: "$A_reduced / $B_reduced", Above: ptr(0.2),
			Queries: []AlertQuery{
				ask("A", 900, `SELECT sum(duplicates) AS duplicates FROM totals.duplicates WHERE {t} AND direction = 'received' GROUP BY "node"`),
				ask("B", 900, `SELECT sum(want_block) + sum(want_have) AS wants FROM totals.traffic WHERE {t} AND direction = 'received' GROUP BY "node"`)},
		},
		{
			UID: "ipfsmon-peers", Title: "Peers collapsed", Severity: "critical", Dashboard: "ipfsmon-peers",
			Summary: "Node {{ $labels.node }} has less than a third of the connections that it had in the last 6 hours.",
			Runbook: "Check the node's network connection, and whether the node was restarted (see the notes). A firewall or a new address affects inbound peers first.",
			For:     "5m", NoData: "OK", Reduce: "mean", Condition: "$A_reduced / $B_reduced", Below: ptr(0.33),
			Prometheus: `max by (instance, job) (avg_over_time(plugin_metric_export_wiretap_connections[5m])) < 0.33 * max by (instance, job) (avg_over_time(plugin_metric_export_wiretap_connections[6h]))`,
			Queries: []AlertQuery{
				ask("A", 300, `SELECT mean(connections) AS now FROM totals.node WHERE {t} GROUP BY "node"`),
				ask("B", 21600, `SELECT mean(connections) AS usual FROM totals.node WHERE {t} GROUP BY "node"`)},
		},
	}
}

// ordered is a YAML mapping that keeps the order of its keys.
type ordered []pair

type pair struct {
	key   string
	value any
}

// rule returns the alert in Grafana's form: queries, each reduced to one number per
// node, an optional expression over these, and a threshold.
func (a *Alert) rule() ordered {
	var data []any
	expression := func(ref string, model ordered) {
		data = append(data, ordered{{"refId", ref}, {"datasourceUid", "__expr__"}, {"model", append(model, pair{"refId", ref})}})
	}
	for _, q := range a.Queries {
		data = append(data, ordered{
			{"refId", q.Ref},
			{"relativeTimeRange", ordered{{"from", q.Seconds}, {"to", 0}}},
			{"datasourceUid", InfluxQLSource},
			{"model", ordered{{"refId", q.Ref}, {"rawQuery", true}, {"resultFormat", "time_series"}, {"query", q.Text},
				{"intervalMs", 60000}, {"maxDataPoints", 43200}}},
		})
	}
	for _, q := range a.Queries {
		expression(q.Ref+"_reduced", ordered{{"type", "reduce"}, {"expression", q.Ref}, {"reducer", a.Reduce},
			{"settings", ordered{{"mode", "dropNN"}}}})
	}
	value := "A_reduced"
	if a.Condition != "" {
		value = "value"
		expression(value, ordered{{"type", "math"}, {"expression", a.Condition}})
	}
	kind, limit := "gt", a.Above
	if limit == nil {
		kind, limit = "lt", a.Below
	}
	expression("alert", ordered{{"type", "threshold"}, {"expression", value},
		{"conditions", []any{ordered{{"evaluator", ordered{{"type", kind}, {"params", []any{*limit}}}}}}}})
	return ordered{
		{"uid", a.UID}, {"title", a.Title}, {"condition", "alert"}, {"data", data},
		{"noDataState", a.NoData}, {"execErrState", "Error"}, {"for", a.For}, {"isPaused", false},
		{"annotations", ordered{{"summary", a.Summary}, {"description", a.Runbook}, {"dashboard", fmt.Sprintf("/d/%s", a.Dashboard)}}},
		{"labels", ordered{{"severity", a.Severity}, {"source", "ipfsmon"}}},
	}
}

// prometheusRules are the alerts as a file of rules for Prometheus.
func prometheusRules() ordered {
	var rules []any
	for _, a := range Alerts() {
		if a.Prometheus == "" {
			continue
		}
		instance := strings.NewReplacer("$labels.node", "$labels.instance")
		rules = append(rules, ordered{
			{"alert", strings.ReplaceAll(a.UID, "-", "_")}, {"expr", a.Prometheus}, {"for", a.For},
			{"labels", ordered{{"severity", a.Severity}, {"source", "ipfsmon"}}},
			{"annotations", ordered{{"title", a.Title}, {"summary", instance.Replace(a.Summary)}, {"description", a.Runbook}}},
		})
	}
	return ordered{{"groups", []any{ordered{{"name", "ipfsmon"}, {"rules", rules}}}}}
}

const prometheusHead = `# For rule_files of Prometheus, which scrapes /metrics of each node. "Many repeated
# wants" is not here: the metrics do not have repeats.`
