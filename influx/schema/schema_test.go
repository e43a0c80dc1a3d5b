package schema_test

import (
	"cmp"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

func TestSchemaDoc(t *testing.T) {
	influxtest.Generated(t, filepath.Join("..", "..", "docs", "schema.md"), schema.Doc())
}

// Tags are sorted, as InfluxDB likes them; each measurement has the tag node;
// keys are listed once; a peer's choice is never a tag; series are few.
func TestSchema(t *testing.T) {
	series, probes, fleet := 0, 0, 0
	names := map[string]bool{}
	for _, m := range schema.All {
		if names[m.Name] || m.Answers == "" || m.Point == "" || m.Query == "" || len(m.Fields) == 0 {
			t.Errorf("%s: listed twice or incompletely", m.Name)
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
		if m == schema.DHTProvide || m == schema.DHTRetrieve { // a scheduler writes these, no monitor
			probes += m.Series()
			continue
		}
		if slices.Contains([]*schema.Measurement{schema.Fleet, schema.FleetMonitors, schema.FleetOverlaps, schema.FleetSizes, schema.FleetTop, schema.FleetTopHours}, m) { // a collector writes these
			fleet += m.Series()
			continue
		}
		series += m.Series()
	}
	for _, m := range schema.Counted {
		if !slices.IsSortedFunc(m.Tags, func(a, b schema.Tag) int { return cmp.Compare(a.Key, b.Key) }) || m.Answers == "" || m.Point == "" || m.Query == "" || names[m.Name] {
			t.Errorf("%s: tags that are not sorted, or listed twice or incompletely", m.Name)
		}
	}
	for _, r := range schema.Rollups() {
		series += r.Series()
	}
	t.Logf("%d series", series)
	if series >= 9000 {
		t.Errorf("%d series, want fewer than 9000", series)
	}
	if fleet > 1024 {
		t.Errorf("%d series of a fleet, want at most 1024", fleet)
	}
	if probes > 1024 {
		t.Errorf("%d series of the probe, want at most 1024", probes)
	}
}
