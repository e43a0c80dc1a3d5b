// Package collect joins what many monitors see.
//
// In: the event streams of monitors (package stream), over TLS and with tokens
// where they want them, and, where configured, their lists of connected peers.
// Out: the same events with the monitor's name in Monitor, in the order of their
// arrival, for a bus and its sinks; totals of the fleet as events of the kind
// event.KindFleet; Status. Promised: what was missed of a monitor is counted,
// logged and published as a note, exactly or with a bound where the stream has
// one; memory is bounded for each monitor; a monitor that is away, sends garbage
// or too much, has the name of another, or a clock that is wrong costs its own
// figures and nothing else. Not promised: events that a monitor saw while its
// stream was not read; the stream does not keep them.
package collect
