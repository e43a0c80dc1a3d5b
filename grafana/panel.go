package grafana

import (
	"cmp"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/gauge"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/histogram"
	"github.com/grafana/grafana-foundation-sdk/go/piechart"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/text"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// panel is one panel of a dashboard, without its place.
type panel struct {
	dashboard.Panel
	w, h uint32
}

func ptr[T any](v T) *T { return &v }

// noData is what a panel without rows says; a panel whose data come from
// elsewhere has its own text.
const noData = "No data in this time. Is the monitor running, and is the time range right? The dashboard Overview says what to do."

// newPanel has what all panels have. help says what is seen, what is normal and
// what to do about it.
func newPanel(kind, title, unit, help string, options any, custom any, queries []Query) *panel {
	p := &panel{Panel: *dashboard.NewPanel(), w: 8, h: 8}
	p.Type, p.Title, p.Description, p.Options = kind, &title, &help, options
	p.Datasource = influxSource()
	p.Interval = ptr("10s") // as often as the monitor takes samples
	for i, q := range queries {
		q.RefID = string(rune('A' + i))
		p.Targets = append(p.Targets, q)
	}
	p.FieldConfig = &dashboard.FieldConfigSource{Overrides: []dashboard.DashboardFieldConfigSourceOverrides{}}
	d := &p.FieldConfig.Defaults
	d.Unit, d.NoValue, d.Custom = &unit, ptr(noData), custom
	d.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}
	d.Mappings = []dashboard.ValueMapping{}
	return p.thresholds("green")
}

// thresholds are a colour and then pairs of a value and the colour from it on.
func (p *panel) thresholds(base string, steps ...any) *panel {
	t := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{{Color: base}}}
	for i := 0; i+1 < len(steps); i += 2 {
		t.Steps = append(t.Steps, dashboard.Threshold{Value: ptr(steps[i].(float64)), Color: steps[i+1].(string)})
	}
	p.FieldConfig.Defaults.Thresholds = t
	return p
}

// size sets width (of 24) and height.
func (p *panel) size(w, h uint32) *panel { p.w, p.h = w, h; return p }

// minutes is for figures that come once a minute.
func (p *panel) minutes() *panel {
	p.Interval = ptr("1m")
	if c, ok := p.FieldConfig.Defaults.Custom.(*timeseries.FieldConfig); ok {
		c.SpanNulls = &common.BoolOrFloat64{Float64: ptr(180_000.0)}
	}
	return p
}

// coarseSteps is how many steps a graph of a coarse panel has at most.
const coarseSteps = 120

// coarse is for graphs of dozens of lines, which Grafana would ask for as many steps each as it has pixels.
func (p *panel) coarse() *panel { p.MaxDataPoints = ptr(float64(coarseSteps)); return p }

// from makes the panel show its own time.
func (p *panel) from(span, step string) *panel {
	p.TimeFrom, p.Interval = &span, &step
	return p
}

// empty is the text where there are no data.
func (p *panel) empty(what string) *panel { p.FieldConfig.Defaults.NoValue = &what; return p }

func (p *panel) limits(from, to float64) *panel {
	p.FieldConfig.Defaults.Min, p.FieldConfig.Defaults.Max = &from, &to
	return p
}

// override sets properties, pairs of an ID and a value, of the fields that the
// matcher (byName, byRegexp, byType) finds.
func (p *panel) override(matcher, what string, properties ...any) *panel {
	o := dashboard.DashboardFieldConfigSourceOverrides{Matcher: dashboard.MatcherConfig{Id: matcher, Options: what}}
	for i := 0; i+1 < len(properties); i += 2 {
		o.Properties = append(o.Properties, dashboard.DynamicConfigValue{Id: properties[i].(string), Value: properties[i+1]})
	}
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, o)
	return p
}

// colors sets fixed colours of series: pairs of a name and a colour. Only
// names of Grafana's palette, which differ in the light and the dark theme.
func (p *panel) colors(pairs ...string) *panel {
	for i := 0; i+1 < len(pairs); i += 2 {
		p.override("byName", pairs[i], "color", map[string]any{"mode": "fixed", "fixedColor": pairs[i+1]})
	}
	return p
}

// transform adds a transformation of the answer.
func (p *panel) transform(id string, options map[string]any) *panel {
	p.Transformations = append(p.Transformations, dashboard.DataTransformerConfig{Id: id, Options: options})
	return p
}

// fixed sets one colour for the whole panel.
func (p *panel) fixed(color string) *panel {
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdFixed, FixedColor: &color}
	return p
}

func (p *panel) byThresholds() *panel {
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	return p
}

func legend(calcs ...string) common.VizLegendOptions {
	l := *common.NewVizLegendOptions()
	l.ShowLegend, l.Calcs = true, calcs
	if len(calcs) > 0 {
		l.DisplayMode = common.LegendDisplayModeTable
	}
	if calcs == nil {
		l.Calcs = []string{}
	}
	return l
}

// lines is a graph over time.
func lines(title, unit, help string, queries ...Query) *panel {
	o := timeseries.NewOptions()
	o.Legend = legend("mean", "max", "lastNotNull")
	o.Tooltip.Mode, o.Tooltip.Sort = common.TooltipDisplayModeMulti, common.SortOrderDescending
	c := &timeseries.FieldConfig{
		DrawStyle: ptr(common.GraphDrawStyleLine), LineWidth: ptr(1.0), FillOpacity: ptr(10.0),
		ShowPoints: ptr(common.VisibilityModeAuto), AxisSoftMin: ptr(0.0),
		SpanNulls: &common.BoolOrFloat64{Float64: ptr(60_000.0)}, // one sample may be late
	}
	return newPanel("timeseries", title, unit, help, o, c, queries)
}

func (p *panel) graph() *timeseries.FieldConfig {
	return p.FieldConfig.Defaults.Custom.(*timeseries.FieldConfig)
}

// stacked puts areas on each other; percent makes them parts of a whole.
func (p *panel) stacked() *panel { return p.stack(common.StackingModeNormal) }

func (p *panel) percent() *panel { return p.stack(common.StackingModePercent) }

func (p *panel) stack(mode common.StackingMode) *panel {
	c := p.graph()
	c.Stacking = &common.StackingConfig{Mode: &mode, Group: ptr("A")}
	c.FillOpacity = ptr(30.0)
	return p
}

func (p *panel) bars() *panel {
	c := p.graph()
	c.DrawStyle, c.FillOpacity = ptr(common.GraphDrawStyleBars), ptr(60.0)
	return p
}

func (p *panel) logarithmic() *panel {
	p.graph().ScaleDistribution = &common.ScaleDistributionConfig{Type: common.ScaleDistributionLog, Log: ptr(10.0)}
	p.graph().AxisSoftMin = nil
	return p
}

// below draws the series that match downwards.
func (p *panel) below(pattern string) *panel {
	p.graph().AxisSoftMin = nil
	return p.override("byRegexp", pattern, "custom.transform", "negative-Y")
}

// right puts the series of that name on its own axis.
func (p *panel) right(name, unit string) *panel {
	return p.override("byName", name, "unit", unit, "custom.axisPlacement", "right", "custom.fillOpacity", 0.0)
}

// line draws the thresholds into the graph.
func (p *panel) line() *panel {
	p.graph().ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
	return p
}

func reduce(calc string) common.ReduceDataOptions {
	return common.ReduceDataOptions{Values: ptr(false), Calcs: []string{calc}, Fields: ptr("")}
}

// number is one figure with the way that it took.
func number(title, unit, calc, help string, queries ...Query) *panel {
	o := stat.NewOptions()
	o.ReduceOptions, o.Orientation = reduce(calc), common.VizOrientationAuto
	return newPanel("stat", title, unit, help, o, nil, queries).byThresholds().size(4, 4).empty("no data")
}

// dial is a figure between two limits.
func dial(title, unit, help string, queries ...Query) *panel {
	o := gauge.NewOptions()
	o.ReduceOptions, o.Orientation = reduce("lastNotNull"), common.VizOrientationAuto
	return newPanel("gauge", title, unit, help, o, nil, queries).byThresholds().size(4, 4).empty("no data")
}

// ranking is one bar for each series.
func ranking(title, unit, help string, queries ...Query) *panel {
	o := bargauge.NewOptions()
	o.ReduceOptions, o.Orientation = reduce("lastNotNull"), common.VizOrientationHorizontal
	o.DisplayMode, o.ValueMode = common.BarGaugeDisplayModeGradient, common.BarGaugeValueModeColor
	o.Legend = legend()
	o.Legend.ShowLegend = false
	return newPanel("bargauge", title, unit, help, o, nil, queries).limitless().fixed("blue")
}

// limitless begins bars at 0.
func (p *panel) limitless() *panel { p.FieldConfig.Defaults.Min = ptr(0.0); return p }

// pie is the parts of a whole.
func pie(title, unit, help string, queries ...Query) *panel {
	o := piechart.NewOptions()
	o.PieType, o.ReduceOptions, o.Orientation = piechart.PieChartTypeDonut, reduce("lastNotNull"), common.VizOrientationAuto
	l := legend()
	o.Legend = piechart.PieChartLegendOptions{
		Values: []piechart.PieChartLegendValues{piechart.PieChartLegendValuesValue, piechart.PieChartLegendValuesPercent},
		Calcs:  l.Calcs, ShowLegend: true, DisplayMode: common.LegendDisplayModeTable, Placement: common.LegendPlacementRight,
	}
	o.Tooltip.Mode = common.TooltipDisplayModeSingle
	return newPanel("piechart", title, unit, help, o, &piechart.FieldConfig{}, queries)
}

// cells is a table.
func cells(title, unit, help string, queries ...Query) *panel {
	o := table.NewOptions()
	o.ShowHeader, o.CellHeight, o.Footer = true, ptr(common.TableCellHeightSm), nil
	p := newPanel("table", title, unit, help, o, common.NewTableFieldOptions(), queries)
	return p.size(12, 9)
}

// hide leaves columns out.
func (p *panel) hide(names ...string) *panel {
	for _, n := range names {
		p.override("byName", n, "custom.hidden", true)
	}
	return p
}

// bar draws a column's numbers as bars.
func (p *panel) bar(name string) *panel {
	return p.override("byName", name, "custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}, "min", 0.0,
		"color", map[string]any{"mode": "fixed", "fixedColor": "blue"})
}

// link makes a column's values links.
func (p *panel) link(name, title, url string) *panel {
	return p.override("byName", name, "links", []map[string]any{{"title": title, "url": url, "targetBlank": true}}, "custom.minWidth", 220.0)
}

// top adds up the rows of a table that have the same keys, shows the greatest
// and renames the columns.
func (p *panel) top(n int, sort string, keys []string, sums map[string]string, names map[string]string) *panel {
	fields := map[string]any{}
	for _, k := range keys {
		fields[k] = map[string]any{"operation": "groupby", "aggregations": []string{}}
	}
	rename := map[string]any{}
	for f, how := range sums {
		fields[f] = map[string]any{"operation": "aggregate", "aggregations": []string{how}}
		rename[f+" ("+how+")"] = cmp.Or(names[f], f)
	}
	for _, k := range keys {
		rename[k] = cmp.Or(names[k], k)
	}
	p.transform("groupBy", map[string]any{"fields": fields})
	p.transform("sortBy", map[string]any{"fields": map[string]any{}, "sort": []map[string]any{{"field": sort + " (" + sums[sort] + ")", "desc": true}}})
	p.transform("limit", map[string]any{"limitField": n})
	return p.transform("organize", map[string]any{"excludeByName": map[string]any{}, "indexByName": map[string]any{}, "renameByName": rename})
}

// spread is how values are distributed over time: logarithmic steps upwards.
func spread(title, unit, help string, queries ...Query) *panel {
	o := heatmap.NewOptions()
	o.Calculate = ptr(true)
	o.Calculation = &common.HeatmapCalculationOptions{
		XBuckets: &common.HeatmapCalculationBucketConfig{Mode: ptr(common.HeatmapCalculationModeCount), Value: ptr("60")},
		YBuckets: &common.HeatmapCalculationBucketConfig{Mode: ptr(common.HeatmapCalculationModeSize), Value: ptr("1"),
			Scale: &common.ScaleDistributionConfig{Type: common.ScaleDistributionLog, Log: ptr(2.0)}},
	}
	o.Color = *heatmap.NewHeatmapColorOptions()
	o.Color.Mode, o.Color.Scheme, o.Color.Fill, o.Color.Exponent, o.Color.Steps = ptr(heatmap.HeatmapColorModeScheme), "Oranges", "dark-orange", 0.5, 64
	o.Color.Scale = ptr(heatmap.HeatmapColorScaleExponential)
	o.YAxis = heatmap.YAxisConfig{Unit: &unit, AxisPlacement: ptr(common.AxisPlacementLeft)}
	o.CellGap = ptr(uint8(1))
	o.ShowValue = common.VisibilityModeNever
	o.Legend.Show = true
	o.Tooltip.Mode, o.Tooltip.YHistogram = common.TooltipDisplayModeSingle, ptr(true)
	o.Exemplars.Color = "blue"
	return newPanel("heatmap", title, unit, help, o, &heatmap.FieldConfig{}, queries)
}

// frequencies is how often which values came.
func frequencies(title, unit, help string, queries ...Query) *panel {
	o := histogram.NewOptions()
	o.Legend = legend()
	o.Tooltip.Mode = common.TooltipDisplayModeMulti
	o.Combine = ptr(false)
	return newPanel("histogram", title, unit, help, o, &histogram.FieldConfig{LineWidth: ptr(uint32(1)), FillOpacity: ptr(uint32(60))}, queries)
}

// words is a line that says how to read a row.
func words(content string) *panel {
	p := &panel{Panel: *dashboard.NewPanel(), w: 24, h: 2}
	p.Type, p.Transparent = "text", ptr(true)
	p.Options = &text.Options{Mode: text.TextModeMarkdown, Content: content}
	p.FieldConfig = nil
	return p
}
