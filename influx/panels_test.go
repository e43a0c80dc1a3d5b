//go:build !race

package influx_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/influx"
)

// TestPanelsAreTrue compares what each panel of each dashboard shows with what
// the events were, at steps of one minute and of five.
func TestPanelsAreTrue(t *testing.T) {
	var all []influx.Panel
	for _, d := range grafana.Dashboards() {
		row := ""
		add := func(p dashboard.Panel) {
			if p.Type == "text" {
				return
			}
			x := influx.Panel{Name: *d.Title + " / " + row + " / " + *p.Title, Type: p.Type, Interval: *p.Interval}
			if p.TimeFrom != nil {
				x.From = *p.TimeFrom
			}
			for _, target := range p.Targets {
				q := target.(grafana.Query)
				x.Queries = append(x.Queries, influx.PanelQuery{Alias: q.Alias, Table: q.ResultFormat == "table",
					Fill: grafana.Statement{Text: q.Query}.Fill, Text: q.Query})
			}
			var rest struct {
				Options struct {
					ReduceOptions struct {
						Values bool
						Calcs  []string
					}
				}
				Transformations []influx.PanelTransformation
			}
			b, err := json.Marshal(p)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &rest))
			require.False(t, rest.Options.ReduceOptions.Values, x.Name)
			require.LessOrEqual(t, len(rest.Options.ReduceOptions.Calcs), 1, x.Name)
			for _, c := range rest.Options.ReduceOptions.Calcs {
				x.Calc = c
			}
			x.Transformations = rest.Transformations
			all = append(all, x)
		}
		for _, p := range d.Panels {
			switch {
			case p.RowPanel != nil:
				row = *p.RowPanel.Title
				for _, inner := range p.RowPanel.Panels {
					add(inner)
				}
			case p.Panel != nil:
				add(*p.Panel)
			}
		}
	}
	influx.PanelsAreTrue(t, all)
}
