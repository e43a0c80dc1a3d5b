// Package influxtest has the helpers that the tests of influx's packages share: events, a
// reference decoder of lines, a server that fails on demand, and queries to a real one.
package influxtest
