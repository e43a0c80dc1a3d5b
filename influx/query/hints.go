package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// derivedNames are the measurements written once in each interval of the derived figures.
var derivedNames = []string{"unique", "duplicates", "top_cids", "top_peers", "top_missing", "top_bytes_cids", "top_bytes_peers", "agent_bytes", "coverage", "dht_requests", "dht_top", "codecs", "cid_versions", "hashes", "latency_totals", "derived"}

// Hints returns hints for a statement that found nothing: names that the schema does not have
// with similar ones that it has, and when the first points are written. It may return none.
func Hints(statement string, flux bool) []string {
	h := &hints{}
	if flux {
		h.flux(statement)
	} else if q, err := influxql.ParseQuery(statement); err == nil {
		for _, s := range q.Statements {
			if s, ok := s.(*influxql.SelectStatement); ok {
				h.selects(s)
			}
		}
	}
	if len(h.wrong) > 0 {
		return h.wrong
	}
	return h.late
}

type hints struct {
	wrong []string // unknown names
	late  []string // measurements with no points yet, or none at all
}

func (h *hints) say(list *[]string, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(*list, text) {
		*list = append(*list, text)
	}
}

// columns returns the fields and tags of a measurement; nil for an unknown name.
func columns(name string) (m *schema.Measurement, kind schema.Kind, names []string) {
	for _, m := range schema.All {
		if m.Name == name {
			for _, f := range m.Fields {
				names = append(names, f.Key)
			}
			for _, t := range m.AllTags() {
				names = append(names, t.Key)
			}
			return m, m.Kind, names
		}
	}
	for _, r := range schema.Rollups() {
		if r.Name() == name {
			for _, s := range r.Of.Rollup {
				names = append(names, s.As)
			}
			return r.Of, schema.Totals, append(names, r.By()...)
		}
	}
	return nil, 0, nil
}

func (h *hints) measurement(name, policy string) (m *schema.Measurement, names []string) {
	m, kind, names := columns(name)
	switch {
	case m == nil:
		if like := alike(name, measurementNames()); like != "" {
			h.say(&h.wrong, "there is no measurement %s; did you mean %s?", name, qualified(like))
		} else {
			h.say(&h.wrong, "there is no measurement %s; docs/schema.md and SHOW MEASUREMENTS list what is stored", name)
		}
	case policy == "" && kind == schema.Totals, policy != "" && policy != kind.String():
		h.say(&h.wrong, "%s is among the %s; did you mean %s?", name, kind, qualified(name))
	case slices.Contains(derivedNames, strings.TrimSuffix(name, schema.HoursSuffix)):
		h.say(&h.late, "%s is written once in a minute (six times PopulatePrometheusInterval), so the first points come a minute after the start; is the time right?", name)
	case kind == schema.Totals:
		h.say(&h.late, "%s is written every 10 seconds (PopulatePrometheusInterval); is the time right, and does the monitor run?", name)
	case name == "latency":
		h.say(&h.late, "latency is written where HistoryLatency is on")
	default:
		h.say(&h.late, "nothing of %s was stored in that time; history is kept for 7 days (HistoryRetention) and can be off (History)", name)
	}
	return m, names
}

func measurementNames() (names []string) {
	for _, m := range schema.All {
		names = append(names, m.Name)
	}
	return append(names, schema.RollupNames()...)
}

// qualified returns a measurement's name in InfluxQL: history is the default policy.
func qualified(name string) string {
	if _, kind, _ := columns(name); kind == schema.Totals {
		return "totals." + name
	}
	return name
}

// selects checks the names in a SELECT, and returns the columns that it produces.
func (h *hints) selects(q *influxql.SelectStatement) (made []string) {
	names, known := []string{"time"}, true
	var tags []schema.Tag
	for _, s := range q.Sources {
		switch s := s.(type) {
		case *influxql.Measurement:
			if s.Regex != nil {
				known = false
				continue
			}
			m, has := h.measurement(s.Name, s.RetentionPolicy)
			if m == nil {
				known = false
				continue
			}
			names = append(names, has...)
			tags = append(tags, m.AllTags()...)
		case *influxql.SubQuery:
			names = append(names, h.selects(s.Statement)...)
			for _, d := range s.Statement.Dimensions {
				if v, ok := d.Expr.(*influxql.VarRef); ok {
					names = append(names, v.Val)
				}
			}
		}
	}
	visit := func(n influxql.Node) {
		switch n := n.(type) {
		case *influxql.VarRef:
			if !known || slices.Contains(names, n.Val) {
				return
			}
			if like := alike(n.Val, names); like != "" {
				h.say(&h.wrong, "there is no field or tag %s there; did you mean %s?", n.Val, like)
			} else {
				h.say(&h.wrong, "there is no field or tag %s there; there are %s", n.Val, strings.Join(names[1:], ", "))
			}
		case *influxql.BinaryExpr:
			v, ok := n.LHS.(*influxql.VarRef)
			text, isText := n.RHS.(*influxql.StringLiteral)
			if !ok || !isText || n.Op != influxql.EQ {
				return
			}
			for _, t := range tags {
				if t.Key == v.Val && t.Values != nil && !slices.Contains(t.Values, text.Val) {
					values := t.Values[:min(len(t.Values), 12)]
					h.say(&h.wrong, "%s is never %q; want one of %s", t.Key, text.Val, strings.Join(values, ", "))
				}
			}
		}
	}
	for _, f := range q.Fields {
		influxql.WalkFunc(f.Expr, visit)
		made = append(made, f.Name())
	}
	if q.Condition != nil {
		influxql.WalkFunc(q.Condition, visit)
	}
	for _, d := range q.Dimensions {
		influxql.WalkFunc(d.Expr, visit)
	}
	return made
}

var (
	fluxBucket = regexp.MustCompile(`bucket:\s*"[^"]*/(history|totals)"`)
	fluxName   = regexp.MustCompile(`_measurement"?\]?\s*==\s*"([^"]*)"`)
	fluxField  = regexp.MustCompile(`_field"?\]?\s*==\s*"([^"]*)"`)
)

// flux checks the names that a Flux query compares with.
func (h *hints) flux(text string) {
	policy := ""
	if b := fluxBucket.FindAllStringSubmatch(text, -1); len(b) == 1 {
		policy = b[0][1]
	}
	var names []string
	for _, m := range fluxName.FindAllStringSubmatch(text, -1) {
		_, kind, has := columns(m[1])
		if policy != "" && has != nil && policy != kind.String() {
			h.say(&h.wrong, "%s is among the %s; did you mean the bucket .../%s?", m[1], kind, kind)
			continue
		}
		h.measurement(m[1], kind.String())
		names = append(names, has...)
	}
	for _, f := range fluxField.FindAllStringSubmatch(text, -1) {
		if len(names) > 0 && !slices.Contains(names, f[1]) {
			h.say(&h.wrong, "there is no field %s there; there are %s", f[1], strings.Join(names, ", "))
		}
	}
}

// alike returns the name most similar to another, if any is similar.
func alike(name string, among []string) (best string) {
	least := max(2, len(name)/3) + 1
	for _, a := range among {
		d := distance(strings.ToLower(name), a)
		if len(name) >= 3 && (strings.HasPrefix(a, strings.ToLower(name)) || strings.HasPrefix(strings.ToLower(name), a)) {
			d = min(d, 2)
		}
		if d < least {
			best, least = a, d
		}
	}
	return best
}

// distance returns the edit distance of a and b in characters.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
