// Package broker sends a monitor's events to an AMQP broker (RabbitMQ), and reads them from one.
//
// In: a bus.Reader. Out: messages in two formats, as configured. v3 is what the metrics exporter
// sent since version 0.4: the exchange ipfs.passive_monitoring, received messages and
// connections, kept nowhere. v4 is the exchange ipfsmon.events: everything that version 4 of the
// stream has, in batches of one bucket of peers each, persistent, with numbers by which a reader
// knows what is missing and what is repeated. Consumer is the other end of both.
//
// Promised: the bus and the node never wait for the broker; memory is bounded; of v4, an event
// that was accepted waits on disk until a queue of the broker has it, and each one that is lost
// nevertheless is counted and logged; a message that cannot be read never ends a consumer. Not
// promised: that v3 reaches anyone; that a v4 batch arrives only once.
//
// The formats and what to bind: docs/broker.md.
package broker
