package grafana

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// The dashboards for a Prometheus that scrapes /metrics, where there is no InfluxDB. They are the panels of the others
// with other queries: a panel that is in this list has the same title, place in the order, unit, colours and help. What
// /metrics does not have, single CIDs, peers and countries, is left out.

// PrometheusSource is the name of the variable that chooses the data source.
const PrometheusSource = "DS_PROMETHEUS"

// PrometheusTag is the tag of these dashboards.
const PrometheusTag = "ipfsmon-prometheus"

// prom is a query in PromQL: {n} is the choice of nodes, {r} the length of a rate. A label in the legend
// is {{direction}}.
type prom struct{ legend, expr string }

// once is a query that is asked for one figure of the whole time.
func (p prom) once() bool { return strings.Contains(p.expr, "$__range") }

// The parts that many queries have.
const (
	promEntries = `ipfsmon_capture_entries_total`
	promHits    = `sum(rate(` + promEntries + `{{n},direction="sent",type=~"have|block"}[{r}])) / sum(rate(` + promEntries + `{{n},direction="sent",type=~"have|block|dont_have"}[{r}]))`
	promBytes   = `sum by (direction) (rate(ipfsmon_capture_block_bytes_total{{n}}[{r}]))`
)

// entries are entries of messages per second by type.
func entries(direction, types string) prom {
	return prom{"{{type}}", `sum by (type) (rate(` + promEntries + `{{n},direction="` + direction + `",type=~"` + types + `"}[{r}]))`}
}

// answers are those of a direction per second.
func answers(direction string) (all []prom) {
	for _, kind := range [][2]string{{"have", "have"}, {"dont_have", "dont_have"}, {"blocks", "block"}} {
		all = append(all, prom{kind[0], `sum(rate(` + promEntries + `{{n},direction="` + direction + `",type="` + kind[1] + `"}[{r}]))`})
	}
	return all
}

// persec is a counter per second.
func persec(legend, metric, labels string) prom {
	by := ""
	if labels != "" {
		by = " by (" + labels + ") "
	}
	return prom{legend, "sum" + by + "(rate(" + metric + "{{n}}[{r}]))"}
}

// gauges is the sum of a gauge over nodes and all labels but some.
func gauges(legend, metric, labels string) prom {
	by := ""
	if labels != "" {
		by = " by (" + labels + ") "
	}
	return prom{legend, "sum" + by + "(" + metric + "{{n}})"}
}

// lostIn is what a counter counted in a step; one that is absent is 0.
func lostIn(legend, metric, step string) prom {
	return prom{legend, "(sum(increase(" + metric + "{{n}}[" + step + "])) or vector(0))"}
}

var (
	promWants   = []prom{entries("received", "want_have|want_block|cancel")}
	promAnswers = answers("sent")
	promAsk     = []prom{gauges("{{of}}", "ipfsmon_coverage_peers", "of")}
	promData    = []prom{{"{{direction}}", promBytes}}
	promLosses  = []string{"ipfsmon_bus_missed_events_total", "ipfsmon_influx_dropped_points_total", "ipfsmon_influx_rejected_points_total"}
)

// promPanels has the queries of panels by dashboard and title.
var promPanels = map[string]map[string][]prom{
	"ipfsmon-overview": {
		"Connected peers": {gauges("{{direction}}", "ipfsmon_peers", "direction")},
		"Wants received":  promWants,
		"Hits":            {{"hits", promHits}},
		"Lost": {{"lost", lostIn("", promLosses[0], "$__range").expr + " + " + lostIn("", promLosses[1], "$__range").expr + " + " +
			lostIn("", promLosses[2], "$__range").expr}},
		"Behind":         {{"lag", "max(ipfsmon_influx_lag_seconds{{n}}) * 1000"}},
		"Answers sent":   promAnswers,
		"Data in blocks": promData,
		"Peers that ask": promAsk,
	},
	"ipfsmon-traffic": {
		"Wants received":   promWants,
		"Wants sent":       {entries("sent", "want_have|want_block|cancel")},
		"Peers that ask":   promAsk,
		"Answers sent":     promAnswers,
		"Answers received": answers("received"),
		"Data in blocks":   promData,
		"Hits":             {{"hits", promHits}},
		"Size of a block":  {{"{{direction}}", promBytes + ` / sum by (direction) (rate(` + promEntries + `{{n},type="block"}[{r}]) > 0)`}},
		"Messages":         {persec("{{direction}}", "ipfsmon_capture_messages_total", "direction")},
		"Entries in a message": {{"{{direction}}", `sum by (direction) (rate(` + promEntries + `{{n},type=~"want_have|want_block|cancel"}[{r}])) / ` +
			`sum by (direction) (rate(ipfsmon_capture_messages_total{{n}}[{r}]) > 0)`}},
		"Rhythm of the week":       {{"messages", `sum(increase(ipfsmon_capture_messages_total{{n},direction="received"}[1h]))`}},
		"Not looked at":            {persec("entries", "ipfsmon_capture_truncated_entries_total", ""), persec("messages", "ipfsmon_capture_limited_messages_total", "")},
		"Peers that ask, by agent": {{"{{family}} {{of}}", `sum by (family, of) (ipfsmon_coverage_peers{{n},of=~"asked|broadcast"})`}},
	},
	"ipfsmon-content": {
		"Blocks by source": {persec("{{source}}", "ipfsmon_retrieval_blocks_total", "source")},
		"Data by source":   {persec("{{source}}", "ipfsmon_retrieval_block_bytes_total", "source")},
		"Wants without a block": {{"given up", `sum(rate(ipfsmon_retrieval_wanted_total{{n},state="given_up"}[{r}]))`},
			{"unanswered", `sum(rate(ipfsmon_retrieval_wanted_total{{n},state="unanswered"}[{r}]))`},
			persec("surplus", "ipfsmon_retrieval_surplus_blocks_total", "")},
		"Time to the first provider":   {{"{{source}}", `max by (source) (ipfsmon_retrieval_to_provider_seconds{{n},quantile="0.9"}) * 1e6`}},
		"Time to the block, by source": {{"{{source}}", `max by (source) (ipfsmon_retrieval_to_block_seconds{{n},quantile="0.9"}) * 1e6`}},
		"Searches for providers": {persec("searches", "ipfsmon_retrieval_searches_total", ""), persec("providers", "ipfsmon_retrieval_providers_total", ""),
			persec("nothing found", "ipfsmon_retrieval_searches_not_found_total", "")},
	},
	"ipfsmon-peers": {
		"Peers by transport":       {gauges("{{direction}} {{transport}}", "ipfsmon_peers", "direction, transport")},
		"Known peers":              {gauges("known", "ipfsmon_known_peers", "")},
		"Peers that ask":           promAsk,
		"Peers that ask, by agent": {{"{{family}} {{of}}", `sum by (family, of) (ipfsmon_coverage_peers{{n},of=~"asked|broadcast"})`}},
		"Peers by agent":           {gauges("{{agent_version}}", "plugin_metric_export_peers_by_agent_version", "agent_version")},
		"Agents now":               {gauges("{{agent_version}}", "plugin_metric_export_peers_by_agent_version", "agent_version")},
		"Bitswap versions":         {{"{{protocol}}", `sum by (protocol) (plugin_metric_export_peers_supported_protocols{{n},protocol=~".*bitswap.*"})`}},
		"Protocols":                {gauges("{{protocol}}", "plugin_metric_export_peers_supported_protocols", "protocol")},
		"Streams by protocol":      {gauges("{{protocol}}", "plugin_metric_export_open_streams", "protocol")},
		"Requests received":        {{"{{type}}", `sum by (type) (rate(ipfsmon_capture_dht_requests_total{{n},direction="received"}[{r}]))`}},
		"Requests sent":            {{"{{type}}", `sum by (type) (rate(ipfsmon_capture_dht_requests_total{{n},direction="sent"}[{r}]))`}},
		"Without an answer": {
			{"failed", `(sum(rate(ipfsmon_capture_dht_requests_total{{n},direction="sent",type!="unsent",status="error"}[{r}])) or vector(0)) / sum(rate(ipfsmon_capture_dht_requests_total{{n},direction="sent",type!="unsent"}[{r}]))`},
			{"late", `(sum(rate(ipfsmon_capture_dht_requests_total{{n},direction="sent",type!="unsent",status="timeout"}[{r}])) or vector(0)) / sum(rate(ipfsmon_capture_dht_requests_total{{n},direction="sent",type!="unsent"}[{r}]))`}},
	},
	"ipfsmon-latency": {
		"Requests by outcome": {persec("{{method}} {{outcome}}", "ipfsmon_retrieval_http_requests_total", "method, outcome")},
		"Data over HTTP":      {persec("received", "ipfsmon_capture_http_block_bytes_total", "")},
		"Wants without an answer": {gauges("waiting", "ipfsmon_derive_pending_wants", ""),
			lostIn("given up for room", "ipfsmon_derive_lost_wants_total", "$__rate_interval")},
	},
	"ipfsmon-pipeline": {
		"Points": {persec("encoded", "ipfsmon_influx_accepted_points_total", ""), persec("stored", "ipfsmon_influx_stored_points_total", "")},
		"Lost": {lostIn("events missed", promLosses[0], "$__rate_interval"), lostIn("points dropped", promLosses[1], "$__rate_interval"),
			lostIn("points rejected", promLosses[2], "$__rate_interval")},
		"Waiting points":             {gauges("points", "ipfsmon_influx_queued_points", "")},
		"Behind":                     {{"{{instance}}", "max by (instance) (ipfsmon_influx_lag_seconds{{n}}) * 1000"}},
		"Memory of what waits":       {gauges("on the bus", "ipfsmon_bus_held_bytes", ""), gauges("points", "ipfsmon_influx_queued_bytes", "")},
		"Events":                     {persec("events", "ipfsmon_bus_published_events_total", "")},
		"Subscribers of the stream":  {gauges("subscribers", "ipfsmon_stream_subscribers", "")},
		"Missed by slow subscribers": {persec("events", "ipfsmon_stream_dropped_events_total", "")},
		"Derived figures": {{"missed", `(sum(increase(ipfsmon_bus_missed_events_total{{n},reader="derive"}[$__rate_interval])) or vector(0))`},
			lostIn("given up", "ipfsmon_derive_lost_wants_total", "$__rate_interval")},
		"Floods and faults": {persec("limited", "ipfsmon_capture_limited_messages_total", ""), persec("send_errors", "ipfsmon_capture_send_errors_total", ""),
			persec("panics", "ipfsmon_capture_panics_total", "")},
	},
}

var promMacros = strings.NewReplacer("{{n}", `{instance=~"$node"`, "{r}", "$__rate_interval")

func promSource() *common.DataSourceRef {
	kind, uid := "prometheus", "${"+PrometheusSource+"}"
	return &common.DataSourceRef{Type: &kind, Uid: &uid}
}

// PrometheusDashboards returns the dashboards for Prometheus.
func PrometheusDashboards() (all []dashboard.Dashboard) {
	for _, b := range boards() {
		if b = b.prometheus(); b != nil {
			all = append(all, b.buildPrometheus())
		}
	}
	return all
}

// prometheus returns the board with the panels that Prometheus can fill, or nil.
func (b *board) prometheus() *board {
	out := *b
	out.uid = strings.Replace(b.uid, "ipfsmon-", "ipfsmon-prometheus-", 1)
	out.title = b.title + " (Prometheus)"
	out.help += " From a Prometheus that scrapes /metrics; what only InfluxDB has is not here."
	out.variables, out.rows = nil, nil
	for _, r := range b.rows {
		row := r
		row.panels = nil
		for _, p := range r.panels {
			queries, ok := promPanels[b.uid][*p.Title]
			if !ok {
				continue
			}
			// A panel of the same title that shows one figure.
			if single := p.Type == "stat" && (*p.Title == "Connected peers" || *p.Title == "Wants received"); single {
				queries = []prom{{"all", "sum(" + queries[0].expr + ")"}}
				if *p.Title == "Wants received" { // without cancels, as its help says
					queries[0].expr = "sum(" + entries("received", "want_have|want_block").expr + ")"
				}
			}
			q := *p
			q.Panel.Datasource, q.Panel.Targets = promSource(), nil
			for i, x := range queries {
				target := prometheus.NewDataquery()
				target.RefId, target.Expr, target.LegendFormat = ptr(string(rune('A'+i))), promMacros.Replace(x.expr), ptr(x.legend)
				target.Instant, target.Range, target.Datasource = ptr(x.once()), ptr(!x.once()), promSource()
				q.Targets = append(q.Targets, *target)
			}
			row.panels = append(row.panels, &q)
		}
		if len(row.panels) > 0 {
			out.rows = append(out.rows, row)
		}
	}
	if len(out.rows) == 0 {
		return nil
	}
	return &out
}

func (b *board) buildPrometheus() dashboard.Dashboard {
	source := newVariable()
	source.Type, source.Name, source.Label = dashboard.VariableTypeDatasource, PrometheusSource, ptr("Data source")
	source.Description = ptr("A Prometheus that scrapes the monitors")
	source.Query = &dashboard.StringOrMap{String: ptr("prometheus")}
	source.Regex, source.Refresh = ptr(""), ptr(dashboard.VariableRefreshOnDashboardLoad)
	source.Multi, source.IncludeAll, source.Hide = ptr(false), ptr(false), ptr(dashboard.VariableHideDontHide)
	d := b.build(source)
	node := choice("node", "Node", "Monitors, by the address that Prometheus scrapes", "node", "node", "connections")
	node.Datasource = promSource()
	node.Query = &dashboard.StringOrMap{Map: map[string]any{"query": "label_values(ipfsmon_info, instance)", "refId": "PrometheusVariableQueryEditor-VariableQuery"}}
	d.Templating.List = []dashboard.VariableModel{source, node}
	d.Tags = []string{PrometheusTag, "ipfs", "kubo", "bitswap", "libp2p", "prometheus"}
	d.Annotations.List = d.Annotations.List[:1] // the monitor's notes are in InfluxDB
	d.Links = []dashboard.DashboardLink{
		{Title: "ipfsmon", Type: dashboard.DashboardLinkTypeDashboards, Tags: []string{PrometheusTag}, KeepTime: true, IncludeVars: true, AsDropdown: true, Icon: "external link", Tooltip: "The other dashboards, with the same time and nodes"},
		{Title: "Metrics", Type: dashboard.DashboardLinkTypeLink, Url: ptr(Docs + "prometheus.md"), Tags: []string{}, TargetBlank: true, Icon: "doc", Tooltip: "Metrics with their labels"},
	}
	return d
}

// PromQuery is one query of the dashboards for Prometheus.
type PromQuery struct {
	Where   string // dashboard / panel / refId
	Expr    string
	Instant bool
}

// PromQueries returns all of them.
func PromQueries() (all []PromQuery) {
	for _, d := range PrometheusDashboards() {
		for _, p := range AllPanels(d) {
			for _, target := range p.Targets {
				q := target.(prometheus.Dataquery)
				all = append(all, PromQuery{*d.Title + " / " + *p.Title + " / " + *q.RefId, q.Expr, *q.Instant})
			}
		}
	}
	return all
}
