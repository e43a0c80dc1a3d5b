package unify

import "time"

// MonitorStats are the counters of one monitor. All but Waiting only grow.
type MonitorStats struct {
	Name   string
	Newest int64 // the newest time of its events, ns; 0 if there was none

	Events   uint64 // pushed
	Messages uint64 // handled

	// What was left out.
	Late, LateEntries         uint64        // events that came after their time was released, and their entries
	LateBy                    time.Duration // by how much the latest of them
	Overflow, OverflowEntries uint64        // events for which the monitor's part of MaxPending had no room
	Unknown                   uint64        // entries of a type that Bitswap does not know, or without a CID

	// What was emitted.
	Requests, Cancels, Synthetic uint64 // entries; their sum is all
	Matched                      uint64 // entries that match one of another monitor
	Duplicates                   uint64 // requests that are a global duplicate
	Repeats                      uint64 // requests that repeat an earlier one at this monitor

	Waiting int // events that wait, and their entries
}

// Entries returns how many entries were emitted.
func (s *MonitorStats) Entries() uint64 { return s.Requests + s.Cancels + s.Synthetic }

func (s *MonitorStats) count(e *Entry) {
	switch {
	case e.Type.Request():
		s.Requests++
		if e.Duplicate {
			s.Duplicates++
		}
		if e.Repeats != 0 {
			s.Repeats++
		}
	case e.Type.Synthetic():
		s.Synthetic++
	default:
		s.Cancels++
	}
	if e.Matched {
		s.Matched++
	}
}

// Stats are the counters of a unifier, and what it holds.
type Stats struct {
	Monitors []MonitorStats // as in Config.Monitors
	Messages int64          // and connection events, of all monitors: the newest MessageID
	Released int64          // ns: everything before this time was emitted

	// Why the marks of entries may lack something: each counts what was left out
	// because a bound of Config was reached.
	Evicted        uint64 // windows that ended before their time: later entries found no match or duplicate in them
	RefusedWants   uint64 // requests that no ledger has: their repeats are not marked
	RefusedLedgers uint64 // messages and connections for which there was no ledger
	Forgotten      uint64 // ledgers of disconnected peers: what they ask again after a reconnect is not marked

	// What is held now.
	Waiting int // events that wait, and their entries
	Windows int // pairs of a peer and a CID, of requests and of cancels
	Wants   int
	Ledgers int
	Peers   int // distinct ones
	CIDs    int

	// WindowBytes is about what the windows take in memory, with the names of
	// peers and CIDs; LedgerBytes is for the ledgers without these names.
	WindowBytes, LedgerBytes int

	Coverage Coverage
}

// Stats returns a copy of the counters.
func (u *Unifier) Stats() Stats {
	s := Stats{
		Monitors: append([]MonitorStats(nil), u.stats...), Messages: u.messages, Released: u.released,
		Evicted: u.windows.evicted, RefusedWants: u.ledgers.refusedWants, RefusedLedgers: u.ledgers.refusedLedgers, Forgotten: u.ledgers.forgotten,
		Windows: u.windows.all.used(), Wants: u.ledgers.wants.used(), Ledgers: u.ledgers.all.used(), Peers: u.peers.all.used(), CIDs: u.cids.all.used(),
		WindowBytes: u.windows.all.bytes() + u.windows.byKey.bytes() + u.laters.bytes() + u.peers.size() + u.cids.size(),
		LedgerBytes: u.ledgers.size(), Coverage: u.coverage.clone(),
	}
	for i := range u.stats {
		s.Waiting += u.stats[i].Waiting
	}
	return s
}
