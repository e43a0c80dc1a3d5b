//go:build !race

package influx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// Panel is a panel of a dashboard as a test needs it; package influx_test makes
// them, because package grafana imports this one.
type Panel struct {
	Name            string // dashboard / row / panel
	Type            string // of Grafana
	Calc            string // how a series becomes one figure, "": it does not
	From            string // its own time
	Interval        string // the least step
	Queries         []PanelQuery
	Transformations []PanelTransformation
}

// PanelQuery is one of a panel's queries.
type PanelQuery struct {
	Alias string
	Table bool
	Text  string
	Fill  func(from, to time.Time, step time.Duration) string
}

// PanelTransformation is what Grafana does with the answer before it is shown.
type PanelTransformation struct {
	ID      string
	Options map[string]any
}

// graph is what a panel draws: figures by the name of their series and the
// begin of their step, in seconds; a figure without a step is at 0.
type graph map[string]map[int64]float64

func (g graph) set(name string, at int64, v float64) {
	if g[name] == nil {
		g[name] = map[int64]float64{}
	}
	g[name][at] = v
}

// values are single values of which a panel shows how they are spread.
type values []float64

// best are the rows of a table that lists those with the most: all rows that
// there are, how many of them it shows, by what and under which key.
type best struct {
	key, by string
	n       int
	rows    []row
	// least and most are the bounds that the lists state for the true figure, by
	// the key, and truth is that figure; nil: rows are the truth.
	least, most, truth map[string]float64
}

// figureOf is a value of an answer as a figure; null is none.
func figureOf(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case bool:
		return float64(sets.Bit(v)), true
	}
	return 0, false
}

// panelSpan is the time that panels are asked about, up to the newest event.
func (o *oracle) panelSpan(p Panel) (from, to time.Time) {
	to = time.Unix(0, o.all[len(o.all)-1].Time).Add(time.Second)
	if p.From != "" {
		span, err := influxql.ParseDuration(p.From)
		if err != nil {
			panic(err)
		}
		return to.Add(-span), to
	}
	return o.begin, to
}

// shown is what the panel shows, from the store: a graph, values, or rows.
func (p Panel) shown(t *testing.T, c *client.Client, nodes string, from, to time.Time, step time.Duration) any {
	t.Helper()
	g := graph{}
	var table []row
	for _, q := range p.Queries {
		var got answerSeries
		text := strings.ReplaceAll(q.Fill(from, to, step), `"node" =~ /^.*$/`, `"node" =~ /^(`+nodes+`)$/`)
		if err := c.Query(t.Context(), text, false, &got); err != nil {
			t.Fatalf("%s: %v\n%s", p.Name, err, text)
		}
		for _, s := range got.all {
			if q.Table {
				table = append(table, s.table()...)
				continue
			}
			for i, column := range s.columns[1:] {
				name := aliased(q.Alias, column, s.labels)
				for n, values := range s.rows {
					v, ok := figureOf(values[i+1])
					if !ok {
						continue // null
					}
					at := int64(n)
					if strings.Contains(q.Text, "time(") {
						when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(values[0]))
						if err != nil {
							panic(err)
						}
						at = when.Unix()
					} else if p.Type != "heatmap" && p.Type != "histogram" {
						at = 0
					}
					if _, twice := g[name][at]; twice {
						t.Errorf("%s: two series have the name %q", p.Name, name)
					}
					g.set(name, at, v)
				}
			}
		}
	}
	for _, x := range p.Transformations {
		g, table = x.apply(t, p.Name, g, table)
	}
	switch p.Type {
	case "timeseries":
		return g
	case "table":
		return table
	case "stat", "gauge", "bargauge", "piechart":
		return g.reduced(p.Calc)
	case "heatmap", "histogram":
		var all values
		for _, s := range g {
			for _, v := range s {
				all = append(all, v)
			}
		}
		slices.Sort(all)
		return all
	}
	t.Fatalf("%s: a panel of type %q, of which this test does not know what it shows", p.Name, p.Type)
	return nil
}

// reduced makes one figure of each series.
func (g graph) reduced(calc string) graph {
	out := graph{}
	for name, s := range g {
		sum, last := 0.0, int64(math.MinInt64)
		for at, v := range s {
			sum, last = sum+v, max(last, at)
		}
		switch calc {
		case "lastNotNull":
			out.set(name, 0, s[last])
		case "sum":
			out.set(name, 0, sum)
		case "mean":
			out.set(name, 0, sum/float64(len(s)))
		default:
			panic("a calculation " + calc)
		}
	}
	return out
}

// aliased is a series' name as Grafana's data source makes it.
func aliased(alias, column string, labels []client.Label) string {
	name := regexp.MustCompile(`\$(tag_\w+|col)`).ReplaceAllStringFunc(alias, func(m string) string {
		if m == "$col" {
			return column
		}
		for _, l := range labels {
			if "$tag_"+l.Key == m {
				return l.Value
			}
		}
		return m
	})
	return strings.TrimSpace(name)
}

// apply does what Grafana does; it rejects unknown transformations.
func (x PanelTransformation) apply(t *testing.T, name string, g graph, table []row) (graph, []row) {
	t.Helper()
	var o struct {
		ByField, Mode, Alias string
		ReplaceFields        bool
		Binary               struct{ Left, Operator, Right string }
		Fields               map[string]struct {
			Operation    string
			Aggregations []string
		}
		Sort []struct {
			Field string
			Desc  bool
		}
		LimitField                 int
		ExcludeByName, IndexByName map[string]any
		RenameByName               map[string]string
		Unknown                    map[string]any `json:"-"`
	}
	b, err := json.Marshal(x.Options)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%s: transformation %s: %v", name, x.ID, err)
	}
	switch {
	case x.ID == "joinByField" && o.ByField == "Time" && o.Mode == "outer":
		return g, table
	case x.ID == "calculateField" && o.Mode == "binary" && o.Binary.Operator == "/" && o.ReplaceFields:
		out := graph{}
		for at, v := range g[o.Binary.Left] {
			of, ok := g[o.Binary.Right][at]
			if !ok || of == 0 {
				t.Errorf("%s: %v is divided by nothing", name, v)
			}
			out.set(o.Alias, at, v/of)
		}
		if len(g) != 2 || len(g[o.Binary.Left]) != len(g[o.Binary.Right]) {
			t.Errorf("%s: the two series are not of the same times", name)
		}
		return out, table
	case x.ID == "groupBy":
		var keys []string
		for f, how := range o.Fields {
			if how.Operation == "groupby" {
				keys = append(keys, f)
			}
		}
		slices.Sort(keys)
		sums := adding(keys...)
		for _, r := range table {
			var key []string
			for _, k := range keys {
				key = append(key, fmt.Sprint(r[k]))
			}
			into := sums.at(key...)
			for f, how := range o.Fields {
				if how.Operation != "aggregate" {
					continue
				}
				for _, a := range how.Aggregations {
					v, ok := r[f].(float64)
					switch {
					case !ok:
						t.Errorf("%s: %s is %v", name, f, r[f])
					case a == "sum":
						into.add(f+" (sum)", v)
					case a == "max":
						into.most(f+" (max)", v)
					default:
						t.Fatalf("%s: an aggregation %q", name, a)
					}
				}
			}
		}
		var out []row
		for _, r := range sums.rows {
			out = append(out, r)
		}
		return g, out
	case x.ID == "sortBy" && len(o.Sort) == 1 && o.Sort[0].Desc:
		f := o.Sort[0].Field
		slices.SortStableFunc(table, func(a, b row) int { return cmp.Compare(b[f].(float64), a[f].(float64)) })
		return g, table
	case x.ID == "limit":
		return g, table[:min(len(table), o.LimitField)]
	case x.ID == "organize" && len(o.ExcludeByName) == 0 && len(o.IndexByName) == 0:
		for i, r := range table {
			named := row{}
			for k, v := range r {
				named[cmp.Or(o.RenameByName[k], k)] = v
			}
			table[i] = named
		}
		return g, table
	}
	t.Fatalf("%s: a transformation %s %v, which this test does not know", name, x.ID, x.Options)
	return nil, nil
}

// answerSeries is an Output that keeps an answer's series.
type answerSeries struct{ all []oneSeries }

type oneSeries struct {
	labels  []client.Label
	columns []string
	rows    [][]any
}

func (a *answerSeries) Series(_ string, labels []client.Label, columns []string) error {
	a.all = append(a.all, oneSeries{labels: slices.Clone(labels), columns: slices.Clone(columns)})
	return nil
}

func (a *answerSeries) Row(values []any) error {
	s := &a.all[len(a.all)-1]
	s.rows = append(s.rows, slices.Clone(values))
	return nil
}

func (a *answerSeries) Close() error { return nil }

// table is the series as a table's rows.
func (s oneSeries) table() []row {
	out := answerRows{labels: s.labels, columns: s.columns}
	for _, r := range s.rows {
		_ = out.Row(r)
	}
	return out.rows
}

// PanelsAreTrue compares all panels with their oracles.
func PanelsAreTrue(t *testing.T, panels []Panel) {
	t.Helper()
	var nodes, edges *oracle
	c := filledStore(t, true, func(write writer) {
		now := time.Now().UTC().Truncate(time.Hour).Add(-2*time.Hour + 17*time.Minute + 23*time.Second) // at any hour the same steps
		nodes = makeOracle(now, write)
		edges = makeEdges(now, write)
	})
	used, sampled := map[string]bool{}, 0
	for _, p := range panels {
		if slices.ContainsFunc(p.Queries, func(q PanelQuery) bool { return strings.Contains(q.Text, "sample(") }) {
			sampled++
		}
		of := panelOracles[p.Name]
		if of == nil {
			of = edgeOracles[p.Name]
		}
		if of == nil {
			t.Errorf("%s: no oracle has its answer", p.Name)
			continue
		}
		used[p.Name] = true
		o, who := nodes, "one|two"
		switch {
		case strings.HasPrefix(p.Name, "DHT probe / "):
			o, who = edges, "probe"
		case strings.HasPrefix(p.Name, "Bitswap proxy / "):
			o, who = edges, "proxy"
		case strings.HasPrefix(p.Name, "Fleet / "):
			o, who = edges, "fleet"
		}
		least, err := influxql.ParseDuration(p.Interval)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []time.Duration{time.Minute, 5 * time.Minute} {
			step = max(step, least)
			from, to := o.panelSpan(p)
			o.from, o.to, o.every = from.UnixNano(), to.UnixNano(), step
			if slices.ContainsFunc(p.Queries, func(q PanelQuery) bool { return strings.Contains(q.Text, "_1m ") }) {
				o.from = from.Add(time.Minute - 1).Truncate(time.Minute).UnixNano() // whole minutes
			}
			want := of(o)
			if g, ok := want.(graph); ok && p.Calc != "" {
				want = g.reduced(p.Calc)
			}
			if wrong := differ(want, p.shown(t, c, who, from, to, step)); wrong != "" {
				t.Errorf("%s, step %v: %s", p.Name, step, wrong)
			}
			if step <= max(least, time.Minute) {
				continue
			}
			if wrong := differ(want, p.withoutSample(t, asThree(t, c)).shown(t, asThree(t, c), who, from, to, step)); wrong != "" {
				t.Errorf("%s, step %v, InfluxDB 3: %s", p.Name, step, wrong)
			}
		}
	}
	if sampled != 5 {
		t.Errorf("%d panels show a random sample, which InfluxDB 3 lacks: docs/destinations.md names 5", sampled)
	}
	if len(used) != len(panelOracles)+len(edgeOracles) {
		t.Errorf("%d panels have an oracle, and there are %d oracles", len(used), len(panelOracles)+len(edgeOracles))
	}
}

// withoutSample returns the panel with queries that InfluxDB 3 has: it lacks sample(), which its
// refusal says.
func (p Panel) withoutSample(t *testing.T, c *client.Client) Panel {
	t.Helper()
	queries := slices.Clone(p.Queries)
	for i, q := range p.Queries {
		if !strings.Contains(q.Text, "sample(") {
			continue
		}
		var got answerSeries
		if err := c.Query(t.Context(), q.Fill(time.Now().Add(-time.Hour), time.Now(), time.Minute), false, &got); err == nil || !strings.Contains(err.Error(), "sample") {
			t.Errorf("%s: InfluxDB 3 lacks sample(): %v", p.Name, err)
		}
		queries[i].Fill = func(from, to time.Time, step time.Duration) string {
			return regexp.MustCompile(`sample\((\w+), 20000\)`).ReplaceAllString(q.Fill(from, to, step), "$1")
		}
	}
	p.Queries = queries
	return p
}

// nearly reports whether two figures differ only in the last digits.
func nearly(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a)) }

// differ returns how a panel's answer differs from the expected one, "": not at all.
func differ(want, got any) string {
	switch want := want.(type) {
	case graph:
		got, ok := got.(graph)
		n := 0
		for name, s := range want {
			for at, w := range s {
				n++
				if v, there := got[name][at]; !there || !nearly(w, v) {
					return fmt.Sprintf("%q at %d is %v (there: %v), want %v", name, at, v, there, w)
				}
			}
		}
		if !ok || n == 0 {
			return "nothing is expected"
		}
		for name, s := range got {
			for at, v := range s {
				if _, there := want[name][at]; !there && v != 0 { // steps in which nothing was may be drawn at 0
					return fmt.Sprintf("%q at %d is %v, want none", name, at, v)
				}
			}
		}
	case values:
		got, ok := got.(values)
		slices.Sort(want)
		if !ok || len(want) == 0 || !slices.EqualFunc(want, got, nearly) {
			return fmt.Sprintf("%d values, want %d:\n got  %.60v\n want %.60v", len(got), len(want), got, want)
		}
	case []row:
		got, ok := got.([]row)
		if !ok || len(want) == 0 || len(got) != len(want) {
			return fmt.Sprintf("%d rows, want %d: %v", len(got), len(want), want[:min(1, len(want))])
		}
		for i := range want {
			if !same(want[i], got[i]) {
				return fmt.Sprintf("row %d:\n got  %v\n want %v", i+1, got[i], want[i])
			}
		}
	case best:
		got, ok := got.([]row)
		if !ok || len(got) != min(want.n, len(want.rows)) || len(want.rows) <= want.n {
			return fmt.Sprintf("%d rows of %d, want %d", len(got), len(want.rows), want.n)
		}
		slices.SortFunc(want.rows, func(a, b row) int { return cmp.Compare(b[want.by].(float64), a[want.by].(float64)) })
		for i, g := range got {
			if w := want.rows[i][want.by]; g[want.by] != w {
				return fmt.Sprintf("row %d: %v, want %v %s", i+1, g, w, want.by)
			}
			at := slices.IndexFunc(want.rows, func(r row) bool { return same(r, g) })
			if at < 0 {
				return fmt.Sprintf("row %d: %v, which is not so", i+1, g)
			}
			if want.truth != nil {
				key := fmt.Sprint(g[want.key])
				if w, v := want.truth[key], g[want.by].(float64); w < v-want.least[key] || w > v+want.most[key] {
					return fmt.Sprintf("row %d: %v, the truth is %v, stated are %v less and %v more", i+1, g, w, want.least[key], want.most[key])
				}
			}
		}
	default:
		return fmt.Sprintf("an oracle that answers with %T", want)
	}
	return ""
}
