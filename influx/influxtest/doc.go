// Package influxtest has what the tests of influx's packages share: events,
// lines as a reference decoder reads them, a server that fails on demand, and
// questions to a real one.
package influxtest
