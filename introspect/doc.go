// Package introspect reports the state of a node at one moment and what happens
// in it, to programs and to a page in a browser.
//
// In: providers, one for each subsystem, which are called when a session needs
// a state (nodestate has those of a libp2p node); events, those of the monitor's
// bus among them (Feed). Out: a State, and the WebSocket protocol of libp2p's
// introspection in its last generation (package pb, docs/formats/introspect.md),
// so that the programs made for it keep working.
// Promised: a snapshot is made once for all sessions, takes at most a tenth of
// one processor's time however often it is asked for, and holds no lock of the
// node while it is encoded; a session is bounded in memory, and what it misses
// is counted and reported to it; a provider that fails leaves the rest of the
// state intact, and is named in it; without sessions almost nothing is done.
// Not promised: that one snapshot is of one instant in all its parts.
package introspect
