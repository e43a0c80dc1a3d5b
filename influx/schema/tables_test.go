package schema

import (
	"regexp"
	"slices"
	"testing"
)

// Tables have what InfluxDB 3 wants: at least one tag, no name twice among tags and fields of a
// table, names of letters, digits and underscores, and a type for each field.
func TestTables(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[string]bool{}
	for k := range Kinds {
		for _, table := range Tables(k) {
			if seen[table.Name] || !name.MatchString(table.Name) || len(table.Tags) == 0 || len(table.Fields) == 0 || table.Kind != k {
				t.Errorf("%+v: want a name of its own, a tag and a field", table)
			}
			seen[table.Name] = true
			columns := slices.Clone(table.Tags)
			for _, f := range table.Fields {
				columns = append(columns, f.Key)
				if !slices.Contains([]string{"int64", "float64", "bool", "utf8"}, f.Type) {
					t.Errorf("%s.%s has the type %q", table.Name, f.Key, f.Type)
				}
			}
			slices.Sort(columns)
			if len(slices.Compact(slices.Clone(columns))) != len(columns) || slices.Contains(columns, "time") {
				t.Errorf("%s has a column twice: %q", table.Name, columns)
			}
			for _, c := range columns {
				if !name.MatchString(c) {
					t.Errorf("%s has a column %q", table.Name, c)
				}
			}
		}
	}
	if len(seen) != len(All)+len(Rollups()) {
		t.Errorf("%d tables of %d measurements and %d rollups", len(seen), len(All), len(Rollups()))
	}
}

// TestTablesOfAKind: each measurement is among its own, a rollup among totals, and a mean is no
// whole number.
func TestTablesOfAKind(t *testing.T) {
	find := func(k Kind, name string) *Table {
		all := Tables(k)
		if i := slices.IndexFunc(all, func(t Table) bool { return t.Name == name }); i >= 0 {
			return &all[i]
		}
		t.Errorf("%s is not among %v", name, k)
		return new(Table)
	}
	for _, m := range All {
		find(m.Kind, m.Name)
	}
	types := map[string]string{"count": "int64", "sum": "int64", "max": "int64", "mean": "float64", "median": "float64"}
	for _, r := range Rollups() {
		fields := find(Totals, r.Name()).Fields
		for i, s := range r.Of.Rollup {
			if want := (Column{s.As, types[s.Func]}); fields[i] != want {
				t.Errorf("%s: %+v, want %+v", r.Name(), fields[i], want)
			}
		}
	}
}
