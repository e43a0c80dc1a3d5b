// Package dashboards asks three InfluxDBs every query of the dashboards, alerts and
// questions, and checks the dashboards against Grafana's types. Build tag
// dashboards; make check-dashboards.
package dashboards
