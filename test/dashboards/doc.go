// Package dashboards runs every query of the dashboards, alerts and questions on three
// InfluxDBs, and checks the dashboards against Grafana's types. Build tag dashboards; make
// check-dashboards.
package dashboards
