// Package unify joins what several monitors saw into one trace, live and in
// event time: which entries of wantlists are the same request at two monitors,
// which repeat an earlier one, and when a request ended without a cancel. The
// semantics are those of the field's offline tool (unify-bitswap-traces of
// ipfs-tools, used for arXiv 2104.09202); docs/fleet.md has them, and where this
// package differs.
//
// In: events of each monitor (Event, made from a stream or a recording by a
// Converter), in any order within a stated lateness. Out: an Entry for each
// entry of a received wantlist and for each synthetic cancel, in the order of
// event time, with every column of the field's CSV.
//
// The path of an event: Push puts it into the pending heap; Advance takes it
// out when nothing older can come any more; the ledger of its monitor and peer
// marks what repeats (ledger.go); the windows over all monitors match it
// (windows.go); emit gets it.
//
// Promised: the result does not depend on the order of arrival within the
// lateness, if events have sequence numbers; a step costs the same however many
// entries a peer has in the windows; memory has the bounds of Config, and each
// thing that is left out because of a bound, or because it is late, is counted
// in Stats. Not promised: that events of different peers have another order
// than that of their times.
package unify
