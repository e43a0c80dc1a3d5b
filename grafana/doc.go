// Package grafana generates the dashboards, the data sources and the alerts that
// Grafana is provisioned with.
//
// In: the code of this package, whose queries the tests compare with the schema of
// package influx. Out: Files, the JSON and YAML of the folders dashboards and
// provisioning, and dashboards.json at the top, which has all dashboards in one for
// import by hand. Promised: the files match the code (a test compares them; go
// generate writes them); every query is InfluxQL that InfluxDB 1.x, 2.x and the
// embedded store can run; the uid of a dashboard never changes.
package grafana

//go:generate go test -run TestGenerated -update .
