// Package grafana is the dashboards, the data sources and the alerts that
// Grafana is provisioned with, as code.
//
// In: nothing but the names of the schema in package influx, which the tests
// hold the queries against. Out: Files, the JSON and YAML of the folders
// dashboards and provisioning, and dashboards.json at the top, which is all
// dashboards in one for import by hand. Promised: the files are what the code
// says (a test compares them; go generate writes them); every query is InfluxQL
// that InfluxDB 1.x, 2.x and the embedded store answer; a dashboard's uid stays.
package grafana

//go:generate go test -run TestGenerated -update .
