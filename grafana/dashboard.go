package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Tag is the tag of all dashboards, by which they link to each other.
const Tag = "ipfsmon"

// Docs is the address of the documents that dashboards link to.
const Docs = "https://github.com/ipfsmon/ipfsmon/blob/main/docs/"

// board is one dashboard.
type board struct {
	uid, title, help string
	tags             []string
	variables        []dashboard.VariableModel // beside data source and node
	rows             []row
}

// row is a part of a dashboard, with a line at its top that says how to read it.
type row struct {
	title  string
	read   string
	closed bool
	panels []*panel
}

// boards returns all dashboards, in the order in which they are listed.
func boards() []*board {
	return []*board{overview(), traffic(), content(), peers(), latency(), probe(), proxy(), fleet(), pipeline()}
}

// Dashboards returns the provisioned dashboards.
func Dashboards() (all []dashboard.Dashboard) {
	for _, b := range boards() {
		all = append(all, b.build(DataSourceVariable()))
	}
	return all
}

// Whole returns all dashboards in one, for import by hand. The first rows are open;
// the others query nothing until they are opened.
func Whole() dashboard.Dashboard {
	whole := &board{uid: "ipfsmon", title: "IPFS node monitor", help: "Everything that ipfsmon records of an IPFS node: traffic, content, peers, latency, DHT probe, proxy, fleet, and the monitor itself."}
	for i, b := range boards() {
		for _, r := range b.rows {
			r.title, r.closed = b.title+": "+r.title, i > 0 || r.closed
			whole.rows = append(whole.rows, r)
		}
		whole.variables = append(whole.variables, b.variables...)
	}
	v := DataSourceVariable()
	// The import replaces the data source everywhere.
	v.Hide = ptr(dashboard.VariableHideHideVariable)
	return whole.build(v)
}

// DataSourceVariable chooses among the data sources of InfluxQL, by their names;
// without the pattern Grafana may choose one of Flux.
func DataSourceVariable() dashboard.VariableModel {
	v := newVariable()
	v.Type, v.Name, v.Label = dashboard.VariableTypeDatasource, DataSource, ptr("Data source")
	v.Description = ptr("An InfluxDB data source with the query language InfluxQL, whose name says so")
	v.Query = &dashboard.StringOrMap{String: ptr("influxdb")}
	v.Regex, v.Refresh = ptr("/InfluxQL/"), ptr(dashboard.VariableRefreshOnDashboardLoad)
	v.Multi, v.IncludeAll, v.Hide = ptr(false), ptr(false), ptr(dashboard.VariableHideDontHide)
	return v
}

// choice returns a variable with all values of a tag in the time range; field is a
// field of the measurement. SHOW TAG VALUES does not work for this: InfluxDB 2 looks
// only into the bucket of history, whatever FROM says.
func choice(name, label, help, measurement, key, field string) dashboard.VariableModel {
	query := fmt.Sprintf(`SELECT distinct(%[1]q) AS %[1]q FROM (SELECT last(%[2]s) AS n, %[1]q FROM totals.%[3]q WHERE $timeFilter GROUP BY %[1]q) WHERE $timeFilter`, key, field, measurement)
	v := newVariable()
	v.Type, v.Name, v.Label, v.Description = dashboard.VariableTypeQuery, name, &label, &help
	v.Datasource = influxSource()
	v.Query = &dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": "InfluxVariableQueryEditor-VariableQuery"}}
	v.Multi, v.IncludeAll, v.AllValue = ptr(true), ptr(true), ptr(".*")
	v.Current = &dashboard.VariableOption{Selected: ptr(true), Text: listOf("All"), Value: listOf("$__all")}
	v.Refresh, v.Sort, v.Hide = ptr(dashboard.VariableRefreshOnTimeRangeChanged), ptr(dashboard.VariableSortAlphabeticalAsc), ptr(dashboard.VariableHideDontHide)
	v.Regex = ptr("")
	return v
}

// newVariable returns a variable without the keys that only interval variables have.
func newVariable() dashboard.VariableModel {
	v := *dashboard.NewVariableModel()
	v.Auto, v.AutoMin, v.AutoCount = nil, nil, nil
	return v
}

func listOf(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{ArrayOfString: []string{s}}
}

func (b *board) build(source dashboard.VariableModel) dashboard.Dashboard {
	d := *dashboard.NewDashboard()
	d.Uid, d.Title, d.Description = &b.uid, &b.title, &b.help
	d.Tags = append([]string{Tag, "ipfs", "kubo", "bitswap", "libp2p", "influxdb"}, b.tags...)
	d.Editable, d.Refresh, d.LiveNow = ptr(true), ptr("30s"), ptr(false)
	d.GraphTooltip = ptr(dashboard.DashboardCursorSyncCrosshair)
	d.Time = &dashboard.DashboardDashboardTime{From: "now-6h", To: "now"}
	// 10 s back, the data are complete: batches are stored within a few seconds.
	d.Timepicker = &dashboard.TimePickerConfig{NowDelay: ptr("10s")}
	// Grafana 11.6 and later can read it; newer ones migrate it.
	d.SchemaVersion = 39
	node := choice("node", "Node", "Names of the monitored nodes (MonitorName)", "node", "node", "connections")
	if b.uid == "ipfsmon-probe" {
		node = choice("node", "Scheduler", "Names of the probe's schedulers", "dht_retrieve", "node", "hops")
	}
	if b.uid == "ipfsmon-proxy" {
		node = choice("node", "Proxy", "Names of the proxies", "proxy", "node", "blocks")
	}
	if b.uid == "ipfsmon-fleet" {
		node = choice("node", "Collector", "Names of the collectors", "fleet", "node", "entries")
	}
	d.Templating.List = append([]dashboard.VariableModel{source, node}, b.variables...)
	d.Annotations.List = annotations()
	d.Links = links()
	d.Panels = b.place()
	return d
}

// place arranges the panels from left to right and from top to bottom.
func (b *board) place() (out []dashboard.PanelOrRowPanel) {
	id, y := uint32(0), uint32(0)
	next := func() *uint32 { id++; v := id; return &v }
	for _, r := range b.rows {
		head := dashboard.RowPanel{Type: "row", Title: &r.title, Collapsed: r.closed, Id: *next(), Panels: []dashboard.Panel{},
			GridPos: &dashboard.GridPos{H: 1, W: 24, Y: y}}
		y++
		var placed []dashboard.Panel
		x, high := uint32(0), uint32(0)
		for _, p := range append([]*panel{words(r.read)}, r.panels...) {
			if x+p.w > 24 {
				x, y, high = 0, y+high, 0
			}
			here := p.Panel
			here.Id, here.GridPos = next(), &dashboard.GridPos{H: p.h, W: p.w, X: x, Y: y}
			x, high = x+p.w, max(high, p.h)
			placed = append(placed, here)
		}
		y += high
		if r.closed {
			head.Panels = placed
			out = append(out, dashboard.PanelOrRowPanel{RowPanel: &head})
			continue
		}
		out = append(out, dashboard.PanelOrRowPanel{RowPanel: &head})
		for i := range placed {
			out = append(out, dashboard.PanelOrRowPanel{Panel: &placed[i]})
		}
	}
	return out
}

// annotations returns the monitor's notes, and Grafana's own annotations.
func annotations() []dashboard.AnnotationQuery {
	kind, uid := "grafana", "-- Grafana --"
	list := []dashboard.AnnotationQuery{{
		Name: "Annotations & Alerts", BuiltIn: ptr(1.0), Datasource: &common.DataSourceRef{Type: &kind, Uid: &uid},
		Enable: true, Hide: ptr(true), IconColor: "rgba(0, 211, 255, 1)", Type: ptr("dashboard"),
	}}
	for _, a := range []struct{ name, kinds, color string }{
		{"Start, stop, clock", "start|stop|clock_step", "blue"},
		{"Loss", "loss", "red"},
		{"Storm of wants", "storm|calm", "orange"},
	} {
		q := influxQL(`SELECT text, "kind", "node" FROM totals.notes WHERE {w} AND "kind" =~ /^(`+a.kinds+`)$/`, "table", "")
		q.RefID, q.QueryType, q.FromAnnotations = "annotationQuery", "tags", true
		q.TextColumn, q.TitleColumn, q.TagsColumn = "text", "node", "kind"
		list = append(list, dashboard.AnnotationQuery{
			Name: a.name, Datasource: influxSource(), Enable: true, Hide: ptr(false), IconColor: a.color, Target: q,
		})
	}
	return list
}

func links() []dashboard.DashboardLink {
	return []dashboard.DashboardLink{
		{Title: "ipfsmon", Type: dashboard.DashboardLinkTypeDashboards, Tags: []string{Tag}, KeepTime: true, IncludeVars: true, AsDropdown: true, Icon: "external link", Tooltip: "The other dashboards, with the same time and nodes"},
		{Title: "What is stored", Type: dashboard.DashboardLinkTypeLink, Url: ptr(Docs + "schema.md"), Tags: []string{}, TargetBlank: true, Icon: "doc", Tooltip: "Measurements, tags and fields"},
		{Title: "Questions", Type: dashboard.DashboardLinkTypeLink, Url: ptr(Docs + "queries.md"), Tags: []string{}, TargetBlank: true, Icon: "doc", Tooltip: "Questions with their queries, in InfluxQL and Flux"},
	}
}
