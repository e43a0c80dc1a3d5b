package influx

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// generated compares a file that is made from code, or writes it with -update.
func generated(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is out of date (%v): run go generate ./influx", path, err)
	}
}

func TestSchemaDoc(t *testing.T) {
	generated(t, filepath.Join("..", "docs", "schema.md"), SchemaDoc())
}

// Tags are sorted, as InfluxDB likes them; each measurement has the tag node;
// keys are told once; a peer's choice is never a tag; series are few.
func TestSchema(t *testing.T) {
	series, probes := 0, 0
	names := map[string]bool{}
	for _, m := range Schema {
		if names[m.Name] || m.Answers == "" || m.Point == "" || m.Query == "" || len(m.Fields) == 0 {
			t.Errorf("%s: told twice or not told fully", m.Name)
		}
		names[m.Name] = true
		var tags []string
		for _, tag := range m.Tags {
			tags = append(tags, tag.Key)
			if tag.Values == nil && tag.Key != "node" && tag.Limit == 0 {
				t.Errorf("%s: tag %s is open", m.Name, tag.Key)
			}
		}
		if !slices.IsSorted(tags) || !slices.Contains(tags, "node") {
			t.Errorf("%s: tags %v, want them sorted and node among them", m.Name, tags)
		}
		keys := map[string]bool{"time": true}
		for _, k := range tags {
			keys[k] = true
		}
		for _, f := range m.Fields {
			if keys[f.Key] {
				t.Errorf("%s: key %s twice", m.Name, f.Key)
			}
			keys[f.Key] = true
		}
		if m == dhtProvide || m == dhtRetrieve { // a scheduler writes these, no monitor
			probes += m.Series()
			continue
		}
		series += m.Series()
		for _, r := range m.Rollups() {
			series += r.Series()
		}
	}
	if series >= 5000 {
		t.Errorf("%d series, want fewer than 5000", series)
	}
	if probes > 1024 {
		t.Errorf("%d series of the probe, want at most 1024", probes)
	}
}
