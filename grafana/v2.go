package grafana

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// wholeV2 is all dashboards in one as a resource in Grafana's schema V2, which Grafana 13 stores: the rows are a
// layout, and the panels are listed apart from it.
func wholeV2() (map[string]any, error) {
	return v2(Whole())
}

// object is JSON.
type object = map[string]any

// v2 makes the resource of a dashboard in the classic schema.
func v2(d dashboard.Dashboard) (object, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var c object // the classic dashboard
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	elements := object{}
	var rows []any
	var items []any // of the current row
	var title string
	var closed bool
	top := 0.0
	end := func() {
		if title != "" {
			rows = append(rows, object{"kind": "RowsLayoutRow", "spec": object{"title": title, "collapse": closed,
				"layout": object{"kind": "GridLayout", "spec": object{"items": items}}}})
		}
		items = []any{}
	}
	add := func(p object) {
		name, at := fmt.Sprintf("panel-%v", p["id"]), p["gridPos"].(object)
		elements[name] = panelV2(p)
		items = append(items, object{"kind": "GridLayoutItem", "spec": object{"x": at["x"], "y": at["y"].(float64) - top, "width": at["w"], "height": at["h"],
			"element": object{"kind": "ElementReference", "name": name}}})
	}
	for _, x := range c["panels"].([]any) {
		p := x.(object)
		if p["type"] != "row" {
			add(p)
			continue
		}
		end()
		title, closed = p["title"].(string), p["collapsed"].(bool)
		top = p["gridPos"].(object)["y"].(float64) + 1
		for _, inside := range p["panels"].([]any) {
			add(inside.(object))
		}
	}
	end()
	var annotations, links, variables []any
	for _, x := range c["annotations"].(object)["list"].([]any) {
		annotations = append(annotations, annotationV2(x.(object)))
	}
	for _, x := range c["links"].([]any) {
		l := x.(object)
		l["tags"], l["url"] = orNone(l["tags"]), orEmpty(l["url"])
		links = append(links, l)
	}
	for _, x := range c["templating"].(object)["list"].([]any) {
		variables = append(variables, variableV2(x.(object)))
	}
	spec := object{
		"title": c["title"], "description": c["description"], "tags": c["tags"], "editable": true, "liveNow": false, "preload": false, "cursorSync": "Crosshair",
		"annotations": annotations, "links": links, "variables": variables, "elements": elements,
		"layout": object{"kind": "RowsLayout", "spec": object{"rows": rows}},
		"timeSettings": object{"timezone": "browser", "from": "now-6h", "to": "now", "autoRefresh": c["refresh"], "autoRefreshIntervals": []string{"10s", "30s", "1m", "5m", "15m", "1h"},
			"hideTimepicker": false, "fiscalYearStartMonth": 0, "nowDelay": "10s"},
	}
	return object{"apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "metadata": object{"name": *d.Uid}, "spec": spec}, nil
}

func orNone(v any) any {
	if v == nil {
		return []any{}
	}
	return v
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// dataQueryV2 is a query for a data source.
func dataQueryV2(q object) object {
	spec := object{}
	for k, v := range q {
		if k != "datasource" && k != "refId" {
			spec[k] = v
		}
	}
	source := q["datasource"].(object)
	return object{"kind": "DataQuery", "group": source["type"], "version": "v0", "datasource": object{"name": source["uid"]}, "spec": spec}
}

func panelV2(p object) object {
	queries, transformations := []any{}, []any{}
	for _, x := range asList(p["targets"]) {
		q := x.(object)
		queries = append(queries, object{"kind": "PanelQuery", "spec": object{"refId": q["refId"], "hidden": false, "query": dataQueryV2(q)}})
	}
	for _, x := range asList(p["transformations"]) {
		t := x.(object)
		transformations = append(transformations, object{"kind": "Transformation", "group": t["id"], "spec": object{"options": t["options"]}})
	}
	options := object{}
	for from, to := range map[string]string{"timeFrom": "timeFrom", "interval": "interval", "maxDataPoints": "maxDataPoints"} {
		if v := p[from]; v != nil {
			options[to] = v
		}
	}
	fields, _ := p["fieldConfig"].(object)
	if fields == nil {
		fields = object{"defaults": object{}, "overrides": []any{}}
	}
	spec := object{"id": p["id"], "title": orEmpty(p["title"]), "description": orEmpty(p["description"]), "links": []any{},
		"data":      object{"kind": "QueryGroup", "spec": object{"queries": queries, "transformations": transformations, "queryOptions": options}},
		"vizConfig": object{"kind": "VizConfig", "group": p["type"], "version": "", "spec": object{"options": p["options"], "fieldConfig": fields}}}
	if p["transparent"] == true {
		spec["transparent"] = true
	}
	return object{"kind": "Panel", "spec": spec}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

func annotationV2(a object) object {
	spec := object{"name": a["name"], "enable": a["enable"], "hide": a["hide"], "iconColor": a["iconColor"]}
	query := object{"kind": "DataQuery", "group": "grafana", "version": "v0", "datasource": object{"name": "-- Grafana --"}, "spec": object{}}
	if target, ok := a["target"].(object); ok {
		query = dataQueryV2(target)
		if _, ok := target["datasource"]; !ok {
			query["datasource"] = object{"name": a["datasource"].(object)["uid"]}
		}
	}
	spec["query"] = query
	if a["builtIn"] != nil {
		spec["builtIn"] = true
	}
	return object{"kind": "AnnotationQuery", "spec": spec}
}

func variableV2(v object) object {
	spec := object{"name": v["name"], "label": orEmpty(v["label"]), "description": orEmpty(v["description"]), "hide": "dontHide", "skipUrlSync": false,
		"regex": orEmpty(v["regex"]), "multi": v["multi"], "includeAll": v["includeAll"], "options": []any{}, "allowCustomValue": true}
	if v["type"] == "datasource" {
		spec["pluginId"], spec["refresh"], spec["current"] = v["query"], "onDashboardLoad", object{"text": "", "value": ""}
		return object{"kind": "DatasourceVariable", "spec": spec}
	}
	query := v["query"].(object)
	query["datasource"] = v["datasource"]
	spec["query"], spec["allValue"], spec["current"] = dataQueryV2(query), v["allValue"], object{"text": "All", "value": "$__all"}
	spec["refresh"], spec["sort"] = "onTimeRangeChanged", "alphabeticalAsc"
	return object{"kind": "QueryVariable", "spec": spec}
}
