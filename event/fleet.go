package event

import (
	"time"

	"github.com/ipfs/go-cid"
)

// Bounds of what one Fleet has.
const (
	// MaxMonitors is the most monitors of one fleet.
	MaxMonitors = 64
	// MaxOverlaps is the most pairs of monitors.
	MaxOverlaps = 128
	// MaxFleetSizes is the most groups of peers whose number is estimated.
	MaxFleetSizes = 128
)

// Fleet is what a collector derives from many monitors, at the end of an interval.
// Counters are since the one before, the rest is as it is now.
type Fleet struct {
	Interval time.Duration
	Monitors []FleetMonitor // by name

	// Requests are wants that are joined over all monitors: the same one at several
	// monitors, and its repeats within 31 s, count once.
	Entries   uint64 // of received wantlists, cancels included
	Requests  uint64
	Closed    uint64 // requests that ended in the interval: nobody asked for 31 s; coverage is of these
	Matched   uint64 // entries that another monitor had seen before
	Late      uint64 // events that came after their time was closed: in no figure here
	Dropped   uint64 // entries that were left out because of a bound of memory
	Uncounted uint64 // requests that are not in the lists, because there were too many peers and CIDs
	TopCIDs   []FleetCID
	TopByPeer []FleetCID // by Peers
	Countries []Share    // received wants of all monitors, repeats included, by the peer's place in Countries; most first, none that is 0

	Peers    int // connected to any of them, each once
	Overlaps []FleetOverlap
	Sizes    []FleetSize
}

// FleetMonitor is one monitor of a fleet.
type FleetMonitor struct {
	Name      Text
	Up        bool
	Events    uint64
	Wants     uint64 // received, without cancels
	Cancels   uint64
	Gaps      uint64 // places where events are missing
	Unbounded uint64 // of these, those of which nothing bounds how many
	Missed    uint64 // events that are missing at most, at the others
	Untimely  uint64 // events whose time was too early or in the future: not joined
	Connects  uint64
	Lag       time.Duration // of its newest event: from its time until it came
	Peers     int           // connected

	Seen     uint64 // of the fleet's Closed requests, those that it saw
	Coverage uint16 // the same in thousandths

	ClockKnown  bool
	Offset      time.Duration // its clock is ahead of the collector's by this
	OffsetError time.Duration
	DriftPPB    int64 // its clock is faster than the collector's by so many parts in 1e9; 0 if not known
	RoundTrip   time.Duration
	// Apart is the median of how much later it has a request than the monitors that
	// saw it first, or the other way round, by the collector's clock. A clock that
	// is not what the monitor says is seen here. MatchedPairs is of how many.
	Apart        time.Duration
	MatchedPairs uint64
}

// FleetCID is a CID that was wanted often. Both figures are exact, except for what
// is in Uncounted.
type FleetCID struct {
	CID      cid.Cid
	Requests uint64
	Peers    uint64 // different ones
	Seen     uint64 // bit i: Monitors[i] had a request for it
}

// FleetOverlap is what two monitors have in common.
type FleetOverlap struct {
	A, B     Text
	Common   int           // peers that are connected to both
	Only     [2]int        // peers that are connected to A, to B alone
	Requests uint64        // of the fleet's Closed requests, those that both saw
	Size     FleetEstimate // of the network, from the two
}

// FleetEstimate is an estimated number with its interval of confidence of 95 %.
type FleetEstimate struct {
	N, Low, High uint64
	// Dependent: the samples are not independent, so that the interval is too
	// narrow and N most likely too low.
	Dependent bool
	Known     bool
}

// FleetSize is the estimated number of peers of a group.
type FleetSize struct {
	Of     Text // all; a family of agents; or the name of a protocol, which begins with /
	Seen   int  // different peers
	Coupon FleetEstimate
	Pair   FleetEstimate // of the two monitors with the narrowest interval
}
