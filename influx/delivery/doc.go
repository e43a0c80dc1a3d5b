// Package delivery sends points to one or several InfluxDB servers until each has accepted
// them.
//
// In: events from the bus. Out: points on servers, or lines in UDP datagrams, a
// file or standard output; and counters of the outcome of each point (Stats).
//
// The path of a point: the Sink reads an event and encodes it (package lineproto); the batcher
// collects lines into one batch for each kind; the queue of each destination (memoryQueue, or
// diskQueue over package spool) holds the batches; writers post them until the server has
// accepted them, as many at once as the rate control permits. A destination that does not
// acknowledge (unacked) has neither batches nor a queue.
//
// Promised: reading from the bus never waits for HTTP; a point that cannot be stored is counted
// as dropped (the queue was full, or shutdown timed out) or rejected (the server rejected that
// line), and nothing else is lost. Not promised: that batches which are only in memory survive
// the process.
package delivery
