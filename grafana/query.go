package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// DataSource is the name of the input and of the variable that select which data
// source is asked: an import by hand puts the one chosen in the place of
// ${DS_INFLUXDB}, a provisioned dashboard has a variable of that name.
const DataSource = "DS_INFLUXDB"

// influxSource is what panels and queries name as their data source.
func influxSource() *common.DataSourceRef {
	kind, uid := "influxdb", "${"+DataSource+"}"
	return &common.DataSourceRef{Type: &kind, Uid: &uid}
}

// Query is one query of Grafana's InfluxDB data source, in InfluxQL. The SDK
// has no type for it. The last five fields are for annotations.
type Query struct {
	Datasource   *common.DataSourceRef `json:"datasource,omitempty"`
	RefID        string                `json:"refId"`
	Query        string                `json:"query"`
	RawQuery     bool                  `json:"rawQuery"`
	ResultFormat string                `json:"resultFormat,omitempty"` // time_series or table
	Alias        string                `json:"alias,omitempty"`

	QueryType       string `json:"queryType,omitempty"`
	FromAnnotations bool   `json:"fromAnnotations,omitempty"`
	TextColumn      string `json:"textColumn,omitempty"`
	TitleColumn     string `json:"titleColumn,omitempty"`
	TagsColumn      string `json:"tagsColumn,omitempty"`
}

// ImplementsDataqueryVariant marks Query as a query of the SDK.
func (q Query) ImplementsDataqueryVariant() {}

// DataqueryType is the data source's type.
func (q Query) DataqueryType() string { return "influxdb" }

// Equals compares what the JSON would say.
func (q Query) Equals(other variants.Dataquery) bool {
	a, _ := json.Marshal(q)
	b, _ := json.Marshal(other)
	return bytes.Equal(a, b)
}

// Validate refuses a query that Grafana would not run.
func (q Query) Validate() error {
	if q.Query == "" || q.RefID == "" || !q.RawQuery {
		return fmt.Errorf("query %q: it needs a text, a refId and rawQuery", q.RefID)
	}
	return nil
}

// Build makes Query its own builder, as the SDK's alerts take queries.
func (q Query) Build() (variants.Dataquery, error) { return q, q.Validate() }

// RegisterPlugins registers the panels and Query with the SDK, so that dashboards
// can be read strictly.
func RegisterPlugins() {
	plugins.RegisterDefaultPlugins()
	read := func(raw []byte) (variants.Dataquery, error) {
		var q Query
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			return nil, err
		}
		return q, q.Validate()
	}
	cog.NewRuntime().RegisterDataqueryVariant(variants.DataqueryConfig{
		Identifier: "influxdb", DataqueryUnmarshaler: read, StrictDataqueryUnmarshaler: read,
	})
}

// Where what every query needs stands in the texts of this package.
var macros = strings.NewReplacer(
	"{w}", `$timeFilter AND "node" =~ /^$node$$/`,
	"{t}", "$timeFilter",
	"{i}", "time($__interval)",
)

func influxQL(text, format, alias string) Query {
	text = strings.ReplaceAll(macros.Replace(text), "$$/", "$/")
	return Query{Datasource: influxSource(), RawQuery: true, Query: text, ResultFormat: format, Alias: alias}
}

// series is a query whose answer is lines; alias names them: $col is the
// column, $tag_direction a tag.
func series(alias, text string) Query { return influxQL(text, "time_series", alias) }

// rows is a query whose answer is a table.
func rows(text string) Query { return influxQL(text, "table", "") }

// over is a query in two steps: inner figures of each series and each step of
// time, and their sum over nodes and all tags but those in by. A field may be
// followed by a colon and the name that its column gets.
func over(inner func(field string) string, m, where, by string, fields ...string) string {
	var in, out []string
	for _, f := range fields {
		field, as, ok := strings.Cut(f, ":")
		if !ok {
			as = field
		}
		in = append(in, fmt.Sprintf("%s AS %q", inner(field), as))
		out = append(out, fmt.Sprintf("sum(%[1]q) AS %[1]q", as))
	}
	if where != "" {
		where = " AND " + where
	}
	if by != "" {
		by = ", " + by
	}
	return fmt.Sprintf(`SELECT %s FROM (SELECT %s FROM totals.%q WHERE {w}%s GROUP BY {i}%s fill(none)) WHERE {t} GROUP BY {i}%s fill(null)`,
		strings.Join(out, ", "), strings.Join(in, ", "), m, where, tags(m), by)
}

// tags lists the tags of a measurement. Whatever is not kept apart is added up:
// a mean over directions, or a rate over the intervals of both, would be half of
// what it should be.
func tags(measurement string) (list string) {
	for _, m := range schema.All {
		if m.Name == measurement {
			for _, tag := range m.Tags {
				list += fmt.Sprintf(", %q", tag.Key)
			}
		}
	}
	return list
}

// rate is sums of intervals as what came in a second, whatever the intervals'
// lengths: the last, unfinished step of a graph does not fall to nothing. 1000.0
// and not 1000, for in an inner query InfluxDB divides integers to an integer.
func rate(m, where, by string, fields ...string) string {
	return over(func(f string) string { return "sum(" + f + ") * 1000.0 / sum(interval_ms)" }, m, where, by, fields...)
}

// counter is counters since a start as what came in a second.
func counter(m, where, by string, fields ...string) string {
	return over(func(f string) string { return "non_negative_derivative(last(" + f + "), 1s)" }, m, where, by, fields...)
}

// level is what is there at a time, the mean of each step.
func level(m, where, by string, fields ...string) string {
	return over(func(f string) string { return "mean(" + f + ")" }, m, where, by, fields...)
}
