// Package influx keeps what the monitor sees in InfluxDB.
//
// In: events from the bus. Out: points in an InfluxDB 1.x or 2.x, or in
// several, over HTTP, and the answers to queries (Query). The InfluxDB for those who have none is
// in package store, which the plugin does not link.
//
// The path of a point: Encoder makes lines of an event, the batcher collects
// them into one batch for each retention policy, a bounded queue for each
// destination holds the batches, on disk too if there is a spool, and writers
// post them until the server has accepted them, at the rate that it accepts.
//
// Promised: reading from the bus never waits for HTTP; no two points share
// series and timestamp, so what was stored is what count() finds; what cannot
// be stored is counted as dropped (the queue was full, or shutdown timed out) or
// rejected (the server rejected that line), and nothing else is lost; no text of
// a peer can create a series, a line or a measurement.
// Not promised: anything about batches in memory only when the process dies.
package influx
