// Package pipeline has the counters of the monitor itself. The HTTP API at
// /pipeline and the Prometheus metrics show them.
//
// In: one reading of every part's counters, by the code that knows the parts.
// Out: Pipeline. Promised: its JSON names do not change.
package pipeline

import (
	"cmp"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Totals returns what the event of the pipeline has of the counters.
func (p *Pipeline) Totals() event.Pipeline {
	out := event.Pipeline{
		Limited: p.Capture.Limited, SendErrors: p.Capture.SendErrors,
		Published: p.Bus.Published, Held: p.Bus.Held, HeldBytes: p.Bus.HeldBytes,
		Panics: p.Capture.Panics,
	}
	for _, r := range p.Bus.Readers {
		out.Missed += r.Missed
	}
	if i := p.Influx; i != nil {
		out.Accepted, out.Stored, out.Dropped, out.Rejected = i.Accepted, i.Stored, i.Dropped, i.Rejected
		out.Queued, out.QueueBytes, out.Lag = i.Queued, i.QueueBytes, time.Duration(i.LagSeconds*float64(time.Second))
		out.SpoolBytes, out.SpoolFull = i.SpoolBytes, i.SpoolFull
		out.Panics += i.Panics
	}
	if s := p.Stream; s != nil {
		out.Subscribers, out.StreamDropped = s.Subscribers, s.DroppedEvents
		out.Panics += s.Panics
	}
	if p.Broker != nil {
		out.Panics += p.Broker.Panics
	}
	if p.HTTP != nil {
		out.Panics += p.HTTP.Panics
	}
	return out
}

// Pipeline has the counters of all parts in the order of the data: capture, bus,
// sinks. A sink that is off is nil. Counters are since the start of the monitor.
type Pipeline struct {
	Capture Capture    `json:"capture"`
	Bus     Bus        `json:"bus"`
	Derive  *Derive    `json:"derive"`
	Origin  *Origin    `json:"origin"`
	Privacy []Privacy  `json:"privacy"` // of each sink that is on
	Stream  *Stream    `json:"stream"`
	Influx  *Influx    `json:"influx"`
	Broker  *Broker    `json:"broker"`
	Store   *Store     `json:"store"` // nil: no points go to an embedded InfluxDB
	HTTP    *HTTP      `json:"http"`
	Clock   ClockSteps `json:"clock_steps"`
}

// ClockSteps is how often the wall clock was set by more than two seconds.
type ClockSteps struct {
	Back    uint64 `json:"back"`
	Forward uint64 `json:"forward"` // or the machine was suspended
}

// Capture counts what the node exchanged with the network.
type Capture struct {
	Received   Traffic `json:"received"`
	Sent       Traffic `json:"sent"`
	Limited    uint64  `json:"limited"`     // messages without an event because of their peer's rate
	SendErrors uint64  `json:"send_errors"` // messages that could not be sent

	HTTPWants      uint64 `json:"http_wants"`    // asked by HTTP
	HTTPMessages   uint64 `json:"http_messages"` // answers that came by HTTP; no other counter includes them
	HTTPBlocks     uint64 `json:"http_blocks"`
	HTTPBlockBytes uint64 `json:"http_block_bytes"`

	DHT []DHTRequests `json:"dht_requests"` // those that there were

	Panics uint64 `json:"panics"` // panics recovered from in callbacks, in a proxy and in look-ups of peers' origins
}

// DHTRequests counts the requests of the DHT's protocol of one kind, of both its
// tables.
type DHTRequests struct {
	Direction string `json:"direction"` // received or sent
	Type      string `json:"type"`      // as event.DHTTypeNames
	Status    string `json:"status"`    // as event.DHTStatusNames
	Requests  uint64 `json:"requests"`
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
	Published uint64   `json:"published"` // events accepted
	Held      uint64   `json:"held"`      // events in the queue now
	HeldBytes uint64   `json:"held_bytes"`
	Readers   []Reader `json:"readers"`
}

// Reader is one sink's place in the queue.
type Reader struct {
	Name   string `json:"name"`
	Read   uint64 `json:"read"`   // events that it has read
	Missed uint64 `json:"missed"` // events that left the queue before it read them
	Behind uint64 `json:"behind"` // events waiting for it
}

// Derive has the counters of what is derived from events, such as latencies.
type Derive struct {
	Events        uint64 `json:"events"`         // events counted
	Wants         uint64 `json:"wants"`          // wants counted, of both directions
	Matched       uint64 `json:"matched"`        // answers to a waiting want
	Unmatched     uint64 `json:"unmatched"`      // answers to no waiting want
	Expired       uint64 `json:"expired"`        // wants that waited too long
	Lost          uint64 `json:"lost"`           // waiting wants evicted by others
	RepeatsLost   uint64 `json:"repeats_lost"`   // wants forgotten before a repeat of them would have counted
	Latencies     uint64 `json:"latencies"`      // latency events made
	LatenciesHeld uint64 `json:"latencies_held"` // latency events not made, because there were too many
	Refused       uint64 `json:"refused"`        // derived events that the bus refused
	Pending       uint64 `json:"pending"`        // wants waiting now
	Held          uint64 `json:"held"`           // events waiting now to be put in order
	Floods        uint64 `json:"floods"`         // peers found that flood the node
	Flooding      uint64 `json:"flooding"`       // of these, those that do now
	FloodsLost    uint64 `json:"floods_lost"`    // peers that sent too much in a window, and could not be followed because too many did
	Panics        uint64 `json:"panics"`
}

// Origin is about where peers come from.
type Origin struct {
	Gateways uint64 `json:"gateways"` // peers in the list of gateways now
}

// Privacy is how much one sink gets to see.
type Privacy struct {
	Sink   string `json:"sink"`
	Mode   string `json:"mode"`
	Panics uint64 `json:"panics"` // events left out because of a panic
}

// Stream has the counters of the TCP stream. Totals include subscribers that have
// disconnected.
type Stream struct {
	Subscribers      uint64 `json:"subscribers"` // now
	Accepted         uint64 `json:"accepted"`    // connections
	Refused          uint64 `json:"refused"`     // of these, because of a limit
	FailedHandshakes uint64 `json:"failed_handshakes"`
	FailedTokens     uint64 `json:"failed_tokens"`     // of the failed handshakes
	Events           uint64 `json:"events"`            // encoded for version 3, each once
	BatchedEvents    uint64 `json:"batched_events"`    // put into batches of version 4, once for each group of subscribers
	OfferedRawBytes  uint64 `json:"offered_raw_bytes"` // before compression, counted once for each subscriber, dropped or not
	OfferedBytes     uint64 `json:"offered_bytes"`     // the same after compression
	SentFrames       uint64 `json:"sent_frames"`
	SentBytes        uint64 `json:"sent_bytes"`
	SentEvents       uint64 `json:"sent_events"`
	DroppedFrames    uint64 `json:"dropped_frames"` // because a subscriber was too slow
	DroppedEvents    uint64 `json:"dropped_events"`
	Kicked           uint64 `json:"kicked"` // subscribers
	Panics           uint64 `json:"panics"`
	Slow             []Slow `json:"slow"` // connected subscribers that lost events: those with most events dropped, at most MaxSlow
}

// MaxSlow is how many slow subscribers are listed.
const MaxSlow = 16

// Slow is a subscriber that lost events because it was too slow.
type Slow struct {
	ID            string `json:"id"` // as the HTTP API's list of subscribers has it
	DroppedFrames uint64 `json:"dropped_frames"`
	DroppedEvents uint64 `json:"dropped_events"`
}

// Influx has the counters of the delivery to all destinations together. A point
// counts once for each destination; a figure that cannot be summed is the worst of
// them.
type Influx struct {
	Events uint64 `json:"events"` // read from the bus
	Delivery
	Panics       uint64        `json:"panics"`
	LateSums     uint64        `json:"late_sums"` // points too late for the sum of their minute or hour
	Destinations []Destination `json:"destinations"`
}

// Destination is one place that points go to.
type Destination struct {
	Name string `json:"name"` // main, or as configured
	URL  string `json:"url"`
	Delivery
}

// Delivery counts the outcomes of the points. Accepted is the sum of Stored, Dropped,
// Rejected and Queued, except for what changes while it is read.
type Delivery struct {
	Accepted   uint64  `json:"accepted"`    // points accepted for delivery
	Stored     uint64  `json:"stored"`      // points that the server has stored
	Dropped    uint64  `json:"dropped"`     // points lost: no room, or no time at shutdown
	Damaged    uint64  `json:"damaged"`     // of dropped: damaged on disk
	Rejected   uint64  `json:"rejected"`    // points that the server rejected permanently
	Expired    uint64  `json:"expired"`     // of rejected: too old for its retention period
	Others     uint64  `json:"others"`      // points with a tag value replaced by others, because the server accepts no more values
	Restored   uint64  `json:"restored"`    // of accepted: found on disk at the start
	Queued     uint64  `json:"queued"`      // points waiting now
	QueueBytes uint64  `json:"queue_bytes"` // memory of the waiting points
	LagSeconds float64 `json:"lag_seconds"` // age of the oldest waiting point
	SpoolBytes uint64  `json:"spool_bytes"` // bytes on disk of the waiting points
	SpoolFull  float64 `json:"spool_full"`  // 1: the spool has reached its bound
	SpoolError string  `json:"spool_error,omitempty"`
	BatchSize  uint64  `json:"batch_size"`           // current limit of points per request
	Requests   uint64  `json:"requests"`             // current limit of concurrent requests
	Failing    bool    `json:"failing"`              // the last request failed and is retried
	LastError  string  `json:"last_error,omitempty"` // kept after it is over

	LastTime time.Time `json:"-"` // of LastError
}

// Add adds what can be summed, and keeps the worst of what cannot.
func (d *Delivery) Add(o Delivery) {
	d.Accepted += o.Accepted
	d.Stored += o.Stored
	d.Dropped += o.Dropped
	d.Damaged += o.Damaged
	d.Rejected += o.Rejected
	d.Expired += o.Expired
	d.Others += o.Others
	d.Restored += o.Restored
	d.Queued += o.Queued
	d.QueueBytes += o.QueueBytes
	d.LagSeconds = max(d.LagSeconds, o.LagSeconds)
	d.SpoolBytes += o.SpoolBytes
	d.SpoolFull = max(d.SpoolFull, o.SpoolFull)
	d.SpoolError = cmp.Or(d.SpoolError, o.SpoolError)
	d.BatchSize = max(d.BatchSize, o.BatchSize)
	d.Requests += o.Requests
	if o.Failing && !d.Failing || o.Failing == d.Failing && o.LastTime.After(d.LastTime) {
		d.LastError, d.LastTime = o.LastError, o.LastTime
	}
	d.Failing = d.Failing || o.Failing
}

// Store is the process of the embedded InfluxDB.
type Store struct {
	Up          bool    `json:"up"`           // it answers and accepts writes
	DownSeconds float64 `json:"down_seconds"` // how long it has not been up
	Restarts    uint64  `json:"restarts"`     // all restarts
	Stuck       uint64  `json:"stuck"`        // of restarts: because it accepted no writes although its disk did
	Hung        uint64  `json:"hung"`         // of restarts: because it did not answer
	LastError   string  `json:"last_error,omitempty"`
}

// HTTP has the counters of the HTTP API.
type HTTP struct {
	Requests    []Requests `json:"requests"` // by route and status, in that order
	Connections uint64     `json:"connections"`
	Refused     uint64     `json:"refused"` // connections closed at once, because the most that it may have were being served
	Evicted     uint64     `json:"evicted"` // connections closed to make room, because they had kept the server waiting
	Panics      uint64     `json:"panics"`
}

// Requests counts the requests of one route with one status.
type Requests struct {
	Route string `json:"route"` // as in docs/openapi.yaml, or other
	Code  int    `json:"code"`
	Count uint64 `json:"count"`
}

// Broker has the counters of what is sent to an AMQP broker.
type Broker struct {
	Exchanges []Exchange `json:"exchanges"` // those that are sent to
	Panics    uint64     `json:"panics"`
}

// Exchange counts the outcomes of the events of one format. Accepted is the sum of Delivered,
// Dropped, Rejected, Queued and those of the open message.
type Exchange struct {
	Name       string  `json:"name"` // of the format: v3 or v4
	Exchange   string  `json:"exchange"`
	Broker     string  `json:"broker"`      // its address, without user and password
	Accepted   uint64  `json:"accepted"`    // events accepted for delivery
	Delivered  uint64  `json:"delivered"`   // events that the broker has confirmed
	Dropped    uint64  `json:"dropped"`     // events lost: no room, no time at shutdown, or damaged on disk
	Damaged    uint64  `json:"damaged"`     // of dropped: damaged on disk
	Rejected   uint64  `json:"rejected"`    // events of messages that the broker never accepts
	Restored   uint64  `json:"restored"`    // of accepted: found on disk at the start
	Queued     uint64  `json:"queued"`      // events waiting now
	QueueBytes uint64  `json:"queue_bytes"` // memory of the waiting events
	LagSeconds float64 `json:"lag_seconds"` // age of the oldest waiting event
	SpoolBytes uint64  `json:"spool_bytes"` // bytes on disk of the waiting events
	SpoolFull  float64 `json:"spool_full"`  // 1: the spool has reached its bound
	SpoolError string  `json:"spool_error,omitempty"`
	Connected  bool    `json:"connected"`
	Blocked    bool    `json:"blocked"` // the broker accepts nothing: an alarm of its memory or disk
	Failing    bool    `json:"failing"` // the last attempt failed and is retried
	LastError  string  `json:"last_error,omitempty"`
}
