// Package introspect reports the current state and the events of a node to programs and to a
// page in a browser.
//
// In: providers, one for each subsystem, which are called when a session needs a state
// (nodestate has those of a libp2p node); events, including those of the monitor's bus (Feed).
// Out: a State, and the WebSocket protocol of the last version of libp2p's introspection
// (package pb, docs/formats/introspect.md), so that programs written for it keep working.
// Promised: sessions share snapshots; snapshots take at most a tenth of one processor's time
// however often they are requested, and hold no lock of the node while they are encoded; a
// session's memory is bounded, and events that it misses are counted and reported to it; a
// provider that fails leaves the rest of the state intact, and is named in it; without sessions
// it does almost nothing. Not promised: that all parts of a snapshot are of the same instant.
package introspect
