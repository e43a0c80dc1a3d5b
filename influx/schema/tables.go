package schema

// Table is a measurement as a server that wants its columns beforehand sees it (InfluxDB 3).
type Table struct {
	Name   string
	Kind   Kind
	Tags   []string // in the order of Measurement.AllTags
	Fields []Column
}

// Column is a field of a Table: its Type is int64, float64, bool or utf8.
type Column struct{ Key, Type string }

// Tables lists the tables of a kind: the measurements, and for Totals the rollups too.
func Tables(k Kind) (all []Table) {
	for _, m := range All {
		if m.Kind != k {
			continue
		}
		t := Table{Name: m.Name, Kind: k}
		for _, tag := range m.AllTags() {
			t.Tags = append(t.Tags, tag.Key)
		}
		for _, f := range m.Fields {
			t.Fields = append(t.Fields, Column{f.Key, columnTypes[f.Type]})
		}
		all = append(all, t)
	}
	if k != Totals {
		return all
	}
	for _, r := range Rollups() {
		t := Table{Name: r.Name(), Kind: k, Tags: r.By()}
		for _, s := range r.Of.Rollup {
			kind := "int64"
			if s.Func == "mean" || s.Func == "median" {
				kind = "float64"
			}
			t.Fields = append(t.Fields, Column{s.As, kind})
		}
		all = append(all, t)
	}
	return all
}

var columnTypes = map[Type]string{Int: "int64", Bool: "bool", String: "utf8"}
