package grafana

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/influxdata/influxql"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// read returns each dashboard as it is in the tree, read strictly, with its text.
func read(t *testing.T) (all map[string]dashboard.Dashboard, texts map[string]string) {
	t.Helper()
	RegisterPlugins()
	all, texts = map[string]dashboard.Dashboard{}, map[string]string{}
	paths, err := filepath.Glob("dashboards/*.json")
	require.NoError(t, err)
	require.Len(t, paths, 9)
	for _, path := range append(paths, "../dashboards.json") {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.HasPrefix(path, "..") { // which only the import reads
			var m map[string]any
			require.NoError(t, json.Unmarshal(raw, &m))
			delete(m, "__inputs")
			delete(m, "__requires")
			raw, err = json.Marshal(m)
			require.NoError(t, err)
		}
		var d dashboard.Dashboard
		require.NoError(t, d.UnmarshalJSONStrict(raw), path)
		require.NoError(t, d.Validate(), path)
		for _, p := range d.Panels {
			if p.RowPanel != nil && p.RowPanel.Panels == nil { // the reader drops an empty list
				p.RowPanel.Panels = []dashboard.Panel{}
			}
		}
		again, err := json.Marshal(d)
		require.NoError(t, err)
		var a, b map[string]any
		require.NoError(t, json.Unmarshal(raw, &a))
		require.NoError(t, json.Unmarshal(again, &b))
		delete(a, "id") // null
		require.Equal(t, a, b, "%s: reading and writing changes it", path)
		all[filepath.Base(path)], texts[filepath.Base(path)] = d, string(raw)
	}
	return all, texts
}

var palette = regexp.MustCompile(`^((super-light|light|semi-dark|dark)-)?(red|orange|yellow|green|blue|purple)$|^text$|^transparent$`)

func TestLint(t *testing.T) {
	all, texts := read(t)
	uids := map[string]bool{}
	for name, d := range all {
		fail := func(format string, args ...any) { t.Helper(); t.Errorf(name+": "+format, args...) }
		if d.Id != nil || d.Version != nil {
			fail("it has an id or a version")
		}
		if uids[*d.Uid] || len(*d.Uid) > 40 {
			fail("uid %q", *d.Uid)
		}
		uids[*d.Uid] = true
		if !slices.Contains(d.Tags, Tag) || *d.Timezone != "browser" || *d.Refresh != "30s" || d.Timepicker.NowDelay == nil || len(d.Links) < 3 || len(d.Annotations.List) != 4 {
			fail("tags, time zone, refresh, delay, links or annotations")
		}
		ids, places := map[uint32]bool{}, map[[2]uint32]string{}
		for _, p := range d.Panels {
			head := p.RowPanel
			if head == nil {
				continue
			}
			if ids[head.Id] || head.GridPos.W != 24 || *head.Title == "" {
				fail("row %q", *head.Title)
			}
			ids[head.Id] = true
		}
		for i, p := range AllPanels(d) {
			title := fmt.Sprintf("panel %d", i)
			if p.Title != nil {
				title = *p.Title
			}
			if p.Id == nil || ids[*p.Id] {
				fail("%s: no id of its own", title)
			}
			ids[*p.Id] = true
			g := p.GridPos
			if g == nil || g.W == 0 || g.H == 0 || g.X+g.W > 24 {
				fail("%s: place %v", title, g)
				continue
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := places[[2]uint32{x, y}]; other != "" {
						fail("%s lies on %s", title, other)
					}
					places[[2]uint32{x, y}] = title
				}
			}
			if p.Type == "text" {
				continue
			}
			lintPanel(t, name, p)
		}
		lintVariables(t, name, d, texts[name])
	}
}

func lintPanel(t *testing.T, name string, p dashboard.Panel) {
	t.Helper()
	fail := func(format string, args ...any) { t.Helper(); t.Errorf(name+": "+*p.Title+": "+format, args...) }
	def := p.FieldConfig.Defaults
	if p.Description == nil || len(*p.Description) < 30 || def.Unit == nil || *def.Unit == "" || def.NoValue == nil || *def.NoValue == "" {
		fail("no description, unit or text for no data")
	}
	if p.Datasource == nil || p.Datasource.Uid == nil || *p.Datasource.Uid != "${DS_INFLUXDB}" || *p.Datasource.Type != "influxdb" {
		fail("data source %v", p.Datasource)
	}
	if def.Thresholds == nil || len(def.Thresholds.Steps) == 0 || def.Color == nil {
		fail("no thresholds or colour")
	}
	if slices.Contains([]string{"stat", "gauge", "bargauge"}, p.Type) && def.Color.Mode == dashboard.FieldColorModeIdThresholds && len(def.Thresholds.Steps) < 2 {
		fail("its colour goes by thresholds, and there is one only")
	}
	for _, s := range def.Thresholds.Steps {
		if !palette.MatchString(s.Color) {
			fail("colour %q is not of the palette that both themes have", s.Color)
		}
	}
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`"fixedColor":"([^"]*)"`).FindAllStringSubmatch(string(raw), -1) {
		if !palette.MatchString(m[1]) {
			fail("colour %q is not of the palette that both themes have", m[1])
		}
	}
	if strings.Contains(string(raw), "Turbo") {
		fail("the scheme turns round in the light theme")
	}
	refs := map[string]bool{}
	if len(p.Targets) == 0 {
		fail("no query")
	}
	for _, target := range p.Targets {
		q := target.(Query)
		if refs[q.RefID] || q.Datasource == nil || *q.Datasource.Uid != "${DS_INFLUXDB}" {
			fail("query %s: its name or data source", q.RefID)
		}
		refs[q.RefID] = true
		if !strings.Contains(q.Query, "$timeFilter") || !strings.Contains(q.Query, `"node" =~ /^$node$/`) {
			fail("query %s: no time or no node: %s", q.RefID, q.Query)
		}
		if (q.ResultFormat == "table") != (p.Type == "table") {
			fail("query %s: its answer is for a %s", q.RefID, q.ResultFormat)
		}
		if p.Type == "timeseries" && !strings.Contains(q.Query, "GROUP BY time($__interval)") && p.TimeFrom == nil {
			fail("query %s: not by steps of time: %s", q.RefID, q.Query)
		}
	}
}

// lintVariables compares the declared variables with the used ones.
func lintVariables(t *testing.T, name string, d dashboard.Dashboard, text string) {
	t.Helper()
	declared := map[string]bool{}
	for _, v := range d.Templating.List {
		declared[v.Name] = true
		if v.Type == dashboard.VariableTypeDatasource && (v.Regex == nil || *v.Regex != "/InfluxQL/") {
			t.Errorf("%s: the data source may become one that speaks Flux", name)
		}
	}
	used := map[string]bool{}
	builtin := []string{"timeFilter", "__interval", "__interval_ms", "__all", "__value.raw", "col"}
	for _, m := range regexp.MustCompile(`\$(?:\{([A-Za-z_.]+)\}|([A-Za-z_]+))`).FindAllStringSubmatch(text, -1) {
		v := m[1] + m[2]
		if slices.Contains(builtin, v) || strings.HasPrefix(v, "tag_") {
			continue
		}
		used[v] = true
		if !declared[v] {
			t.Errorf("%s: $%s is used and not declared", name, v)
		}
	}
	for v := range declared {
		if !used[v] {
			t.Errorf("%s: $%s is declared and not used", name, v)
		}
	}
	var plain map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &plain))
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case map[string]any:
			if s, ok := x["datasource"]; ok {
				if _, ok := s.(map[string]any); !ok {
					t.Errorf("%s: a data source by name: %v", name, s)
				}
			}
			for _, y := range x {
				walk(y)
			}
		case []any:
			for _, y := range x {
				walk(y)
			}
		}
	}
	walk(plain)
}

// Measurements, fields and tags in the queries are those of the schema.
func TestQueriesFitTheSchema(t *testing.T) {
	now := time.Now()
	measured := map[string]bool{}
	for _, s := range Statements() {
		text := s.Fill(now.Add(-time.Hour), now, time.Minute)
		parsed, err := influxql.ParseStatement(text)
		if err != nil || regexp.MustCompile(`\$[A-Za-z_{]`).MatchString(text) {
			t.Errorf("%s: %v in %s", s.Where, err, text)
			continue
		}
		q, ok := parsed.(*influxql.SelectStatement)
		require.True(t, ok, s.Where)
		fits(t, s.Where, q, measured)
	}
	for _, m := range schema.All {
		if questions := m.Name == "identifies" || strings.HasSuffix(m.Name, schema.HoursSuffix); !measured[m.Name] && !measured[m.Name+"_1m"] && !questions {
			t.Errorf("no panel shows %s", m.Name)
		}
	}
}

// measurement returns the columns of a measurement, those of the sums of minutes and hours included.
func measurement(t *testing.T, where string, m *influxql.Measurement) (columns []string) {
	t.Helper()
	for k := range schema.Kinds {
		for _, s := range schema.Tables(k) {
			if s.Name != m.Name {
				continue
			}
			if s.Kind.String() != m.RetentionPolicy {
				t.Errorf("%s: %s is of %s, not of %q", where, s.Name, s.Kind, m.RetentionPolicy)
			}
			columns = append(columns, s.Tags...)
			for _, f := range s.Fields {
				columns = append(columns, f.Key)
			}
			return columns
		}
	}
	t.Errorf("%s: no measurement %s", where, m.Name)
	return nil
}

// fits checks a SELECT against what its sources have, and returns the columns of its
// result.
func fits(t *testing.T, where string, q *influxql.SelectStatement, measured map[string]bool) map[string]bool {
	t.Helper()
	has := map[string]bool{"time": true}
	for _, s := range q.Sources {
		switch s := s.(type) {
		case *influxql.Measurement:
			measured[s.Name] = true
			for _, c := range measurement(t, where, s) {
				has[c] = true
			}
		case *influxql.SubQuery:
			maps.Copy(has, fits(t, where, s.Statement, measured))
			for _, d := range s.Statement.Dimensions {
				if v, ok := d.Expr.(*influxql.VarRef); ok {
					has[v.Val] = true
				}
			}
		}
	}
	influxql.WalkFunc(q, func(n influxql.Node) {
		if v, ok := n.(*influxql.VarRef); ok && !has[v.Val] && !within(q, v) {
			t.Errorf("%s: there is no %s in %s", where, v.Val, q)
		}
	})
	out := map[string]bool{}
	for _, f := range q.Fields {
		out[f.Name()] = true
	}
	return out
}

// within reports whether a reference is in a subquery, which is checked separately.
func within(q *influxql.SelectStatement, v *influxql.VarRef) (found bool) {
	for _, s := range q.Sources {
		if sub, ok := s.(*influxql.SubQuery); ok {
			influxql.WalkFunc(sub.Statement, func(n influxql.Node) { found = found || n == influxql.Node(v) })
		}
	}
	return found
}

// The import asks for nothing that does not exist, and has the same panels as the
// provisioned dashboards.
func TestImportIsTheSame(t *testing.T) {
	raw, err := os.ReadFile("../dashboards.json")
	require.NoError(t, err)
	var whole struct {
		ID       any              `json:"id"`
		Inputs   []map[string]any `json:"__inputs"`
		Requires []map[string]any `json:"__requires"`
	}
	require.NoError(t, json.Unmarshal(raw, &whole))
	require.Nil(t, whole.ID)
	require.Len(t, whole.Inputs, 1)
	require.Equal(t, DataSource, whole.Inputs[0]["name"])
	require.Equal(t, "influxdb", whole.Inputs[0]["pluginId"])
	var kinds []string
	for _, r := range whole.Requires {
		if r["type"] == "panel" {
			kinds = append(kinds, r["id"].(string))
		}
	}
	all, _ := read(t)
	one := all["dashboards.json"]
	require.ElementsMatch(t, PanelTypes(one), kinds)

	bare := func(p dashboard.Panel) string {
		p.Id, p.GridPos = nil, nil
		b, err := json.Marshal(p)
		require.NoError(t, err)
		return string(b)
	}
	var there, here []string
	for _, p := range AllPanels(one) {
		there = append(there, bare(p))
	}
	for name, d := range all {
		if name != "dashboards.json" {
			for _, p := range AllPanels(d) {
				here = append(here, bare(p))
			}
		}
	}
	slices.Sort(there)
	slices.Sort(here)
	require.Equal(t, here, there)
}

// The provisioning names only what exists, contains no secret, and has no text that
// Grafana would replace.
func TestProvisioning(t *testing.T) {
	read := func(path string, into any) string {
		raw, err := os.ReadFile("provisioning/" + path)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(raw, into))
		return string(raw)
	}
	var sources struct {
		Datasources []struct{ Name, UID, URL string }
	}
	text := read("datasources/ipfsmon.yml", &sources)
	require.Len(t, sources.Datasources, 2)
	require.Regexp(t, "InfluxQL", sources.Datasources[0].Name)
	require.NotRegexp(t, "InfluxQL", sources.Datasources[1].Name, "the dashboards would take it")
	require.Equal(t, 2, strings.Count(text, "$__file{"))
	for _, m := range regexp.MustCompile(`\$\S`).FindAllString(text, -1) {
		require.Equal(t, "$_", m, "Grafana expands it as a variable")
	}

	var alerts struct {
		Groups []struct {
			Rules []struct {
				UID, Title, Condition, For, NoDataState, ExecErrState string
				Data                                                  []struct {
					RefID         string `yaml:"refId"`
					DatasourceUID string `yaml:"datasourceUid"`
					Model         map[string]any
				}
				Annotations, Labels map[string]string
			}
		}
	}
	read("alerting/ipfsmon.yml", &alerts)
	require.Len(t, alerts.Groups, 1)
	rules := alerts.Groups[0].Rules
	require.Len(t, rules, 10)
	uids := map[string]bool{}
	for _, r := range rules {
		require.False(t, uids[r.UID] || len(r.UID) > 40, r.UID)
		uids[r.UID] = true
		require.NotEmpty(t, r.Annotations["summary"])
		require.NotEmpty(t, r.Annotations["description"])
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"])
		require.NotContains(t, r.Annotations["summary"], "${", "Grafana expands it as a variable")
		refs := map[string]bool{}
		for _, d := range r.Data {
			require.False(t, refs[d.RefID], d.RefID)
			if d.DatasourceUID == "__expr__" {
				for _, m := range regexp.MustCompile(`\$?([A-Za-z_]+)`).FindAllStringSubmatch(d.Model["expression"].(string), -1) {
					require.True(t, refs[m[1]], "%s: %s comes from nowhere", r.Title, m[1])
				}
			} else {
				require.Equal(t, InfluxQLSource, d.DatasourceUID)
			}
			require.Equal(t, d.RefID, d.Model["refId"])
			refs[d.RefID] = true
		}
		require.True(t, refs[r.Condition])
	}
}

// TestAnswersAreTrue rejects forms of queries with misleading answers: the first rows of
// a time in place of all of it, and the last values of each name, which include names
// that no longer exist and count one node's as all.
func TestAnswersAreTrue(t *testing.T) {
	for _, d := range Dashboards() {
		for _, p := range AllPanels(d) {
			for _, target := range p.Targets {
				text := target.(Query).Query
				q, err := influxql.ParseStatement(Statement{Text: text}.Fill(time.Now().Add(-time.Hour), time.Now(), time.Minute))
				require.NoError(t, err)
				s := q.(*influxql.SelectStatement)
				if s.Limit > 0 && (len(s.SortFields) == 0 || s.SortFields[0].Ascending) {
					t.Errorf("%s: the first %d rows of the time: %s", *p.Title, s.Limit, text)
				}
				every, err := s.GroupByInterval()
				require.NoError(t, err)
				if every == 0 && strings.Contains(text, "last(peers)") && (p.TimeFrom == nil || !strings.Contains(text, "SELECT sum(peers) FROM (")) {
					t.Errorf("%s: the last figures, whenever they were, of one node: %s", *p.Title, text)
				}
			}
		}
	}
}
