package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"gopkg.in/yaml.v3"
)

// The uids of the provisioned data sources.
const (
	InfluxQLSource = "ipfsmon-influxql"
	FluxSource     = "ipfsmon-flux"
)

// Files returns all generated files, by their paths from the top of the repository.
func Files() (map[string][]byte, error) {
	out := map[string][]byte{}
	// Grafana's container has the folder dashboards; where there is no Prometheus, those for it would be empty.
	for folder, all := range map[string][]dashboard.Dashboard{"dashboards": Dashboards(), "prometheus": PrometheusDashboards()} {
		for _, d := range all {
			text, err := indented(d)
			if err != nil {
				return nil, err
			}
			out["grafana/"+folder+"/"+strings.TrimPrefix(*d.Uid, "ipfsmon-")+".json"] = text
		}
	}
	whole, err := importable(Whole())
	if err != nil {
		return nil, err
	}
	out["dashboards.json"] = whole
	newer, err := wholeV2()
	if err != nil {
		return nil, err
	}
	if out["dashboards-v2.json"], err = indented(newer); err != nil {
		return nil, err
	}
	out["docs/dashboards.md"] = []byte(guide())
	for name, content := range map[string]struct {
		head string
		body ordered
	}{
		"prometheus/ipfsmon.rules.yml":         {prometheusHead, prometheusRules()},
		"influxdb3.yml":                        {influxdb3Head(), influxdb3Sources()},
		"provisioning/datasources/ipfsmon.yml": {dataSourcesHead, dataSources()},
		"provisioning/dashboards/ipfsmon.yml":  {"# The dashboards of this folder's neighbour, as files. Grafana reads them again when they change.", providers()},
		"provisioning/alerting/ipfsmon.yml":    {alertsHead, alerts()},
	} {
		var b bytes.Buffer
		fmt.Fprintf(&b, "# Made from the Go package grafana by go generate ./grafana; changes here are lost.\n%s\n", content.head)
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(content.body); err != nil {
			return nil, err
		}
		out["grafana/"+name] = b.Bytes()
	}
	return out, nil
}

func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// importable adds what Grafana's import needs: the choice of the data source that
// replaces ${DS_INFLUXDB}, and the required versions of Grafana and panels.
func importable(d dashboard.Dashboard) ([]byte, error) {
	requires := []required{
		{"grafana", "grafana", "Grafana", "11.6.0"},
		{"datasource", "influxdb", "InfluxDB", "1.0.0"},
	}
	for _, kind := range PanelTypes(d) {
		requires = append(requires, required{"panel", kind, kind, ""})
	}
	return indented(struct {
		Inputs   []input    `json:"__inputs"`
		Requires []required `json:"__requires"`
		ID       *int       `json:"id"` // null: a new one
		dashboard.Dashboard
	}{[]input{{DataSource, "InfluxDB (InfluxQL)", "An InfluxDB data source with the query language InfluxQL and the database ipfsmon", "datasource", "influxdb", "InfluxDB"}},
		requires, nil, d})
}

type input struct {
	Name        string `json:"name"`
	Label       string `json:"label"`
	Description string `json:"description"`
	Type        string `json:"type"`
	PluginID    string `json:"pluginId"`
	PluginName  string `json:"pluginName"`
}

type required struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// PanelTypes returns the types of a dashboard's panels, each once, in the order of
// the panels.
func PanelTypes(d dashboard.Dashboard) (kinds []string) {
	seen := map[string]bool{"row": true}
	for _, p := range AllPanels(d) {
		if !seen[p.Type] {
			seen[p.Type] = true
			kinds = append(kinds, p.Type)
		}
	}
	return kinds
}

// AllPanels returns a dashboard's panels, including those in closed rows.
func AllPanels(d dashboard.Dashboard) (all []dashboard.Panel) {
	for _, p := range d.Panels {
		if p.Panel != nil {
			all = append(all, *p.Panel)
		}
		if p.RowPanel != nil {
			all = append(all, p.RowPanel.Panels...)
		}
	}
	return all
}

// MarshalYAML keeps the keys in order.
func (o ordered) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range o {
		var v yaml.Node
		if err := v.Encode(p.value); err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: p.key}, &v)
	}
	return n, nil
}

const dataSourcesHead = `# The address is in Grafana's environment, the token in a file that only Grafana
# reads: neither is here. The names are what the dashboards choose by: those that
# speak InfluxQL have the word in their name.`

func dataSources() ordered {
	url, org, token := "$__env{IPFSMON_INFLUXDB_URL}", "$__env{IPFSMON_INFLUXDB_ORG}", "$__file{/run/secrets/influxdb-token}"
	return ordered{{"apiVersion", 1}, {"datasources", []any{
		ordered{
			{"name", "InfluxDB (InfluxQL)"}, {"uid", InfluxQLSource}, {"type", "influxdb"}, {"access", "proxy"},
			{"url", url}, {"isDefault", true}, {"editable", false},
			{"jsonData", ordered{{"version", "InfluxQL"}, {"dbName", "ipfsmon"}, {"httpMode", "POST"}, {"timeInterval", "10s"}, {"httpHeaderName1", "Authorization"}}},
			{"secureJsonData", ordered{{"httpHeaderValue1", "Token " + token}}},
		},
		ordered{
			{"name", "InfluxDB (Flux)"}, {"uid", FluxSource}, {"type", "influxdb"}, {"access", "proxy"},
			{"url", url}, {"isDefault", false}, {"editable", false},
			{"jsonData", ordered{{"version", "Flux"}, {"organization", org}, {"defaultBucket", "ipfsmon/history"}, {"timeInterval", "10s"}}},
			{"secureJsonData", ordered{{"token", token}}},
		},
	}}}
}

// Sampled are the titles of the panels that show a sample chosen at random, which InfluxDB 3 lacks.
func Sampled() (titles []string) {
	for _, d := range Dashboards() {
		for _, p := range AllPanels(d) {
			if slices.ContainsFunc(p.Targets, func(t variants.Dataquery) bool { return strings.Contains(t.(Query).Query, "sample(") }) {
				titles = append(titles, *p.Title)
			}
		}
	}
	return titles
}

func influxdb3Head() string {
	return influxdb3Text + "\n#\n# InfluxDB 3 lacks SAMPLE: these panels show its error.\n#\n#   " + strings.Join(Sampled(), "\n#   ")
}

const influxdb3Text = `# In the place of provisioning/datasources/ipfsmon.yml where the points are in InfluxDB 3, which
# has a database for each kind of points. The dashboards are the same: choose the data source of
# totals at the top, and that of history for the panels of history. Alerts ask the totals.`

// influxdb3Sources are the data sources of InfluxDB 3. Queries are sent as GET: of a POST some
// versions of InfluxDB 3 read the body, and others the URL.
func influxdb3Sources() ordered {
	source := func(kind, uid string, first bool) ordered {
		return ordered{
			{"name", "InfluxDB 3 (InfluxQL, " + kind + ")"}, {"uid", uid}, {"type", "influxdb"}, {"access", "proxy"},
			{"url", "$__env{IPFSMON_INFLUXDB_URL}"}, {"isDefault", first}, {"editable", false},
			{"jsonData", ordered{{"version", "InfluxQL"}, {"dbName", "ipfsmon/" + kind}, {"httpMode", "GET"}, {"timeInterval", "10s"}, {"httpHeaderName1", "Authorization"}}},
			{"secureJsonData", ordered{{"httpHeaderValue1", "Token $__file{/run/secrets/influxdb-token}"}}},
		}
	}
	return ordered{{"apiVersion", 1}, {"datasources", []any{source("totals", InfluxQLSource, true), source("history", InfluxQLSource+"-history", false)}}}
}

func providers() ordered {
	return ordered{{"apiVersion", 1}, {"providers", []any{ordered{
		{"name", "ipfsmon"}, {"orgId", 1}, {"folder", "ipfsmon"}, {"type", "file"},
		{"disableDeletion", true}, {"allowUiUpdates", false}, {"updateIntervalSeconds", 30},
		{"options", ordered{{"path", "/etc/ipfsmon/dashboards"}, {"foldersFromFilesStructure", false}}},
	}}}}
}

const alertsHead = `# Receivers are not here: until a contact point is chosen (Alerting, Contact
# points; or your own file beside this one) Grafana shows the alerts and sends
# them to its default, an address that does not exist. docs/dashboards.md explains how.`

func alerts() ordered {
	var rules []any
	for _, a := range Alerts() {
		rules = append(rules, a.rule())
	}
	return ordered{{"apiVersion", 1}, {"groups", []any{ordered{
		{"orgId", 1}, {"name", "ipfsmon"}, {"folder", "ipfsmon"}, {"interval", "1m"}, {"rules", rules},
	}}}}
}
