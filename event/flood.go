package event

import "time"

// FloodState says where in its course a flood is.
type FloodState uint8

// The states of a flood. FloodStates are their names.
const (
	FloodBegan FloodState = iota
	FloodRuns             // once in each interval of the derived figures while it continues
	FloodEnded
)

// FloodStates are the tag values of the states.
var FloodStates = []string{"began", "runs", "ended"}

// String returns the tag value of the state: began, runs or ended.
func (s FloodState) String() string {
	if int(s) < len(FloodStates) {
		return FloodStates[s]
	}
	return FloodStates[FloodEnded]
}

// Flood is a peer that sends the node more wants or messages than a node can use.
// Peer, Country, Gateway and Addrs of the event are the peer's. Rates and parts are
// of the last window when it began, else since then. They are too low by what
// package derive's docstring states.
type Flood struct {
	State    FloodState
	Since    time.Time // when the first window with too much began
	Agent    Text
	Wants    uint64 // received since then, cancels not counted
	Messages uint64
	// WantRate and MessageRate are per second.
	WantRate, MessageRate uint64
	// Share is the peer's part of all that the node received, of wants or of
	// messages, whichever is more; Repeats the part of its wants that repeat one of
	// the last 31 s. Both are in thousandths.
	Share, Repeats uint16
	// Block is the shell command that blocks the peer in kubo. It is empty where there
	// is no address to block.
	Block Text
}
