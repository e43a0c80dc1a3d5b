// Package lineproto makes InfluxDB's line protocol of events.
//
// In: events. Out: lines for each kind of schema.Kind. Nothing is counted or
// derived here: what is not in an event is not in a line. Each point of history is handed to package rollup,
// which sums them.
//
// Promised: each line is of a measurement of package schema, with all of its
// fields; no two lines of a node share series and timestamp; no text of a peer
// can create a series, a line or a measurement; nothing is allocated for an
// event whose peers and tag values were seen before.
// Not promised: that lines come in the order of their time.
package lineproto
