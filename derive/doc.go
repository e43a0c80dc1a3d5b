// Package derive computes figures from events as they pass on the bus, in
// bounded memory, and publishes them as events.
//
// In: a bus.Reader. Out: an event of KindSummary for every interval, and, with
// HistoryLatency, one of KindLatency for every answer to a want; at each sample of
// the node one of KindOrigins, and, with Pipeline, one of KindPipeline; one of
// KindNote when wants come in a storm, when something was lost, and when the clock
// was set; one of KindFlood when a peer begins or ends to flood the node, and in
// each interval while it does; Stats, Top and Floods on request. Nothing is derived from what was derived.
//
// Promised: memory is bounded, whatever peers send. Every table has its greatest
// size from Config and is keyed by hashes under a secret of this process, so
// that no peer can choose which entries meet. Not promised: exact figures.
// Their errors, with N the wants received in the interval:
//
//   - Latency: Count, Sum and Max are exact. P50, P90 and P99 are within 3.2 %
//     (buckets as wide as a sixteenth of their lower bound, reported by their
//     middle). A want and an answer that come in the wrong order are matched if
//     they are less than Hold apart. A want is never matched if it is older than
//     Expiry, or if it was evicted because its bucket of MaxPending was full;
//     both are counted.
//   - Duplicates, Rebroadcasts: never too high except for hash collisions, in
//     less than one of 10^8 wants. Too low by at most Stats.RepeatsLost.
//   - UniqueCIDs, UniquePeers: HyperLogLog with 2^14 registers, standard error
//     0.81 %; within 4 % in all but one of a million intervals.
//   - TopCIDs: a variant of Space-Saving (heavy.go). Wants is too high by at most Error, and Error is
//     at most N/MaxCIDsTracked; every CID with more wants than that is tracked.
//     Peers is too low by at most Error.
//   - TopCIDsByPeers: the same over the first want of each peer for a CID.
//     Peers is too low by at most n/MaxCIDsTracked, n the number of such first
//     wants. Wants is too high by at most Error.
//   - In both, Peers is too high only where a repeated want counts as a first
//     one because its entry of MaxRepeats was lost: at most
//     Stats.RepeatsLost in all lists and intervals together.
//   - TopMissing: as TopCIDs, over the n DONT_HAVEs sent: Wants is too high by at
//     most Error, and Error is at most n/MaxCIDsTracked.
//   - Askers: as UniquePeers.
//   - TopPeers: the same. Wants is too high by at most Error, and Error is
//     at most N/MaxPeersTracked.
//   - Codecs, Versions, Hashes: exact; what is not in the set is "other".
//   - Line: Messages, Bytes, BlockBytes and Agents are exact sums of what
//     event.Event.WireBytes and the blocks' sizes say. CIDs and Peers: as TopCIDs,
//     with the bytes as weight. Bytes is too high by at most Error, and Error is at
//     most BlockBytes/MaxCIDsTracked or Bytes/MaxPeersTracked; every CID or peer with
//     more than that is tracked. Error is 0 for all where the direction's CIDs (or
//     peers) of the interval are no more than the counters.
//   - Floods: a peer's wants and messages in a window are never too high, and too
//     low by at most n/1024, n the wants and messages of all peers in the window.
//   - Coverage: exact for the peers that are tracked, at most MaxAgents; Untracked
//     counts the others. Asked and Broadcast are too low by what Missed lacks.
//     Broadcast counts a peer too much if the node took longer than 5 s to answer
//     it HAVE, or if it is not of a boxo family and asked in a session for
//     what the node lacks; too little if all its wants that looked like broadcasts
//     came while an earlier one could still be answered, or if it broadcasts
//     WANT_BLOCK, as Bitswap before 1.2 did.
//   - Origins: exact.
//   - Notes: a storm begins with a sample of more than 100 wants a second that is
//     more than five times the usual rate, an average over at least ten minutes and
//     about an hour. It ends below twice the usual rate, or below 50 a second. A
//     loss is noted at once, further losses every five minutes.
//   - DHT: Status is exact, Elapsed and Peers are as Latency and UniquePeers.
//     Agents is exact by the agent known when the request ended. TopKeys:
//     as TopCIDs, over the n requests of get_providers of one direction.
//     Requests is too high by at most Error, and Error is at most
//     n/MaxDHTTracked. Peers of a key is too low by at most Error; it is too high only where more than 32768 pairs of peer and key
//     came in the interval, so that a repeat may count as a first one.
//
// All of them lack what the reader missed on the bus, which Missed reports.
//
// The lists of CIDs and peers are ordered by the lower bound (Wants less
// Error): a flood of CIDs that are wanted once each raises all estimates, but
// not the lower bounds.
//
// A repeated want is one with the same peer, direction, CID and type as an
// earlier one that was not cancelled since. Within the window of 31 s it is a
// duplicate. Bitswap checks every 15 s for wants that have waited for 30 s, and
// sends them again: a repeat after 29 to 46 s counts as a re-broadcast. At about
// 30 s it is both.
//
// A want waits from the first time that it is sent. HAVE answers a want-have,
// which then waits for its block; a block or DONT_HAVE ends the waiting for the
// CID. A want of unknown type counts as a want for a block, as in Bitswap.
package derive
