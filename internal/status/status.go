// Package status is the state of the monitor itself, in plain numbers: the HTTP
// API at /pipeline and the Prometheus metrics are made from it.
//
// In: one reading of every part's counters, by the code that knows the parts.
// Out: Pipeline. Promised: its JSON names do not change.
package status

// Pipeline follows the way of the data: capture, bus, sinks. A sink that is off
// is nil. Counters are since the start of the monitor.
type Pipeline struct {
	Capture Capture    `json:"capture"`
	Bus     Bus        `json:"bus"`
	Derive  *Derive    `json:"derive"`
	Origin  *Origin    `json:"origin"`
	Privacy []Privacy  `json:"privacy"` // of each sink that is on
	Stream  *Stream    `json:"stream"`
	Influx  *Influx    `json:"influx"`
	Store   *Store     `json:"store"` // nil: it is not the embedded one that points go to
	HTTP    *HTTP      `json:"http"`
	Clock   ClockSteps `json:"clock_steps"`
}

// ClockSteps is how often the wall clock was set by more than two seconds.
type ClockSteps struct {
	Back    uint64 `json:"back"`
	Forward uint64 `json:"forward"` // or the machine slept
}

// Capture is what was seen at the node's border.
type Capture struct {
	Received  Traffic `json:"received"`
	Sent      Traffic `json:"sent"`
	Limited   uint64  `json:"limited"`   // messages without an event because of their peer's rate
	Undecoded uint64  `json:"undecoded"` // sent messages that could not be read back

	HTTPMessages   uint64 `json:"http_messages"` // answers that came by HTTP; they are in no event and not in Received
	HTTPBlocks     uint64 `json:"http_blocks"`
	HTTPBlockBytes uint64 `json:"http_block_bytes"`

	Panics uint64 `json:"panics"` // callbacks that ended in a fault of our own, with those of a proxy and of look-ups of where peers are from
}

// Traffic is the Bitswap traffic of one direction.
type Traffic struct {
	Messages   uint64 `json:"messages"`
	WantBlock  uint64 `json:"want_block"`
	WantHave   uint64 `json:"want_have"`
	Cancel     uint64 `json:"cancel"`
	Have       uint64 `json:"have"`
	DontHave   uint64 `json:"dont_have"`
	Blocks     uint64 `json:"blocks"`
	BlockBytes uint64 `json:"block_bytes"`
	Truncated  uint64 `json:"truncated"` // entries counted, but left out of their event
}

// Bus is the queue between capture and the sinks.
type Bus struct {
	Published uint64   `json:"published"` // events taken
	Held      uint64   `json:"held"`      // events in the queue now
	HeldBytes uint64   `json:"held_bytes"`
	Readers   []Reader `json:"readers"`
}

// Reader is one sink's place in the queue.
type Reader struct {
	Name   string `json:"name"`
	Read   uint64 `json:"read"`   // events given to it
	Missed uint64 `json:"missed"` // events that went before it read them
	Behind uint64 `json:"behind"` // events that wait for it
}

// Derive is what figures are derived from the events, latencies among them.
type Derive struct {
	Events        uint64 `json:"events"`         // counted
	Wants         uint64 `json:"wants"`          // counted, of both directions
	Matched       uint64 `json:"matched"`        // answers to a want that waited
	Unmatched     uint64 `json:"unmatched"`      // answers to none
	Expired       uint64 `json:"expired"`        // wants that waited too long
	Lost          uint64 `json:"lost"`           // wants that waited and gave way to others
	RepeatsLost   uint64 `json:"repeats_lost"`   // wants forgotten before a repeat of them would have counted
	Latencies     uint64 `json:"latencies"`      // events made of answers
	LatenciesHeld uint64 `json:"latencies_held"` // not made, because there were too many
	Refused       uint64 `json:"refused"`        // events made that the bus did not take
	Pending       uint64 `json:"pending"`        // wants that wait now
	Held          uint64 `json:"held"`           // events that wait now to be put in order
	Panics        uint64 `json:"panics"`
}

// Origin is where peers are from.
type Origin struct {
	Gateways uint64 `json:"gateways"` // in the list of gateways now
}

// Privacy is what one sink gets to see.
type Privacy struct {
	Sink   string `json:"sink"`
	Mode   string `json:"mode"`
	Panics uint64 `json:"panics"` // events left out because of a fault of our own
}

// Stream is the TCP stream. Its totals include subscribers that have gone.
type Stream struct {
	Subscribers      uint64 `json:"subscribers"` // now
	Accepted         uint64 `json:"accepted"`    // connections
	Refused          uint64 `json:"refused"`     // of these, because of a limit
	FailedHandshakes uint64 `json:"failed_handshakes"`
	FailedTokens     uint64 `json:"failed_tokens"`     // of the failed handshakes
	Events           uint64 `json:"events"`            // encoded for version 3, each once
	BatchedEvents    uint64 `json:"batched_events"`    // put into batches of version 4, once for each filter in use
	OfferedRawBytes  uint64 `json:"offered_raw_bytes"` // for each subscriber, whether it got them or not, before compression
	OfferedBytes     uint64 `json:"offered_bytes"`     // the same after compression
	SentFrames       uint64 `json:"sent_frames"`
	SentBytes        uint64 `json:"sent_bytes"`
	SentEvents       uint64 `json:"sent_events"`
	DroppedFrames    uint64 `json:"dropped_frames"` // because a subscriber was too slow
	DroppedEvents    uint64 `json:"dropped_events"`
	Kicked           uint64 `json:"kicked"` // subscribers
	Panics           uint64 `json:"panics"`
	Slow             []Slow `json:"slow"` // connected subscribers that did not get all: those with most events dropped, MaxSlow at most
}

// MaxSlow is how many slow subscribers are named.
const MaxSlow = 16

// Slow is a subscriber that did not get all that it asked for.
type Slow struct {
	ID            string `json:"id"` // as the HTTP API's list of subscribers has it
	DroppedFrames uint64 `json:"dropped_frames"`
	DroppedEvents uint64 `json:"dropped_events"`
}

// Influx is what goes to InfluxDB, to all destinations together: a point counts
// once for each that it goes to, and what is no sum is the worst of them.
type Influx struct {
	Events uint64 `json:"events"` // read from the bus
	Delivery
	Panics       uint64        `json:"panics"`
	Destinations []Destination `json:"destinations"`
}

// Destination is one server that points go to.
type Destination struct {
	Name string `json:"name"` // main, or as configured
	URL  string `json:"url"`
	Delivery
}

// Delivery is what became of the points.
type Delivery struct {
	Accepted   uint64  `json:"accepted"`    // points encoded and taken
	Stored     uint64  `json:"stored"`      // points that the server has
	Dropped    uint64  `json:"dropped"`     // points lost: no room, or no time at the end
	Damaged    uint64  `json:"damaged"`     // of dropped: the disk has changed them
	Rejected   uint64  `json:"rejected"`    // points that the server refused for good
	Expired    uint64  `json:"expired"`     // of rejected: too old for its retention
	Others     uint64  `json:"others"`      // points with a tag value of others, because the server takes no more values
	Restored   uint64  `json:"restored"`    // of accepted: found on disk at the start
	Queued     uint64  `json:"queued"`      // points that wait now
	QueueBytes uint64  `json:"queue_bytes"` // their memory
	LagSeconds float64 `json:"lag_seconds"` // age of the oldest of them
	SpoolBytes uint64  `json:"spool_bytes"` // on disk, of points that wait
	SpoolFull  float64 `json:"spool_full"`  // 1: at the bound of the disk that it may use
	SpoolError string  `json:"spool_error,omitempty"`
	BatchSize  uint64  `json:"batch_size"` // most points of a request now
	Requests   uint64  `json:"requests"`   // most requests at once now
	Failing    bool    `json:"failing"`    // the last request failed and is tried again
	LastError  string  `json:"last_error,omitempty"`
}

// Store is the process of the embedded InfluxDB.
type Store struct {
	Up          bool    `json:"up"`           // it answers, and is not stuck
	DownSeconds float64 `json:"down_seconds"` // for how long it has not been up
	Restarts    uint64  `json:"restarts"`     // times that it was started again
	Stuck       uint64  `json:"stuck"`        // of these, because it took no writes though its disk did
	Hung        uint64  `json:"hung"`         // of these, because it did not answer
	LastError   string  `json:"last_error,omitempty"`
}

// HTTP is the HTTP API.
type HTTP struct {
	Requests    []Requests `json:"requests"` // by route and status, in that order
	Connections uint64     `json:"connections"`
	Refused     uint64     `json:"refused"` // connections closed as they came, because all that there may be were being served
	Evicted     uint64     `json:"evicted"` // connections closed to make room, because they kept the server waiting
	Panics      uint64     `json:"panics"`
}

// Requests counts the requests of one route that got one status.
type Requests struct {
	Route string `json:"route"` // as in the API's description, or other
	Code  int    `json:"code"`
	Count uint64 `json:"count"`
}
