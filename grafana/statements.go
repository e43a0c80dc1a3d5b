package grafana

import (
	"fmt"
	"strings"
	"time"

	"github.com/influxdata/influxql"
)

// Statement is one query with the place that it stands in.
type Statement struct {
	Where string        // dashboard or alert, and panel, variable or annotation
	Text  string        // with macros
	Span  time.Duration // of an alert
	Steps int           // the most steps of a panel that has fewer than pixels; 0: as many as it has pixels
	Own   time.Duration // of a panel with a time of its own, which Grafana asks about in place of the one chosen
}

// Statements are all queries of all dashboards, variables, annotations and
// alerts, so that a test can ask them of a server.
func Statements() (all []Statement) {
	for _, d := range Dashboards() {
		for _, p := range AllPanels(d) {
			for _, t := range p.Targets {
				q := t.(Query)
				s := Statement{Where: fmt.Sprintf("%s / %s / %s", *d.Title, *p.Title, q.RefID), Text: q.Query}
				if p.TimeFrom != nil {
					s.Own, _ = influxql.ParseDuration(*p.TimeFrom) // a test reads them
				}
				if p.MaxDataPoints != nil {
					s.Steps = int(*p.MaxDataPoints)
				}
				all = append(all, s)
			}
		}
		for _, v := range d.Templating.List {
			if v.Query != nil && v.Query.Map != nil {
				all = append(all, Statement{Where: *d.Title + " / variable " + v.Name, Text: v.Query.Map["query"].(string)})
			}
		}
		for _, a := range d.Annotations.List {
			if q, ok := a.Target.(Query); ok {
				all = append(all, Statement{Where: *d.Title + " / annotation " + a.Name, Text: q.Query})
			}
		}
	}
	for _, a := range Alerts() {
		for _, q := range a.Queries {
			all = append(all, Statement{Where: "alert " + a.Title + " / " + q.Ref, Text: q.Text, Span: time.Duration(q.Seconds) * time.Second})
		}
	}
	return all
}

// Fill puts in what Grafana would for that time, a step of that length, and All
// chosen in each variable.
func (s Statement) Fill(from, to time.Time, step time.Duration) string {
	if s.Span > 0 {
		from = to.Add(-s.Span)
	}
	filter := fmt.Sprintf("time >= %dms and time <= %dms", from.UnixMilli(), to.UnixMilli())
	pairs := []string{"$timeFilter", filter,
		"$__interval_ms", fmt.Sprint(step.Milliseconds()), "$__interval", fmt.Sprintf("%ds", int(step.Seconds()))}
	for _, v := range []string{"node", "country", "fleet", "region", "downstream", "monitor"} {
		pairs = append(pairs, "$"+v, ".*")
	}
	return strings.NewReplacer(pairs...).Replace(s.Text)
}
