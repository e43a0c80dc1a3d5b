// Package soak has the benchmarks that run whole nodes for minutes or hours. Build
// tag soak; make soak, bench-influx and bench-capture.
package soak
