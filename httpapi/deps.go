package httpapi

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// Deps has the functions that answer the API's requests. They may be called from
// any goroutine. Requests for a nil one are answered with 503.
type Deps struct {
	// MonitoringAddresses returns the addresses at which events can be
	// subscribed to; nil means none.
	MonitoringAddresses func() []string
	// Healthy returns an error that names the part of the monitor that has ended,
	// so that the monitor needs a restart; nil: none has.
	Healthy func() error
	// Ready returns why the monitor is not ready to work; nil: it is ready.
	Ready func() error
	// Version returns the versions of this program and its parts.
	Version func() Version
	// Subscribers lists the subscribers of the stream.
	Subscribers func() []Subscriber
	// Kick disconnects the subscriber with this ID and reports whether there was one.
	Kick func(id string) bool
	// Top returns the first n entries of a kind, cids or peers. If it returns an
	// *Error, that is the answer.
	Top func(kind string, n int) (any, error)
	// Coverage returns that of the interval that Top is of, by family of agents; nil:
	// it is not known.
	Coverage func() []Coverage
	// Floods returns the peers that flood the node, and the last ones that did.
	Floods func() []Flood
	// Fleet returns the state of a collector's fleet, FleetPast its last intervals.
	Fleet, FleetPast func() any
	// Pipeline reads the monitor's counters.
	Pipeline func() pipeline.Pipeline
	// Peers returns the number of open connections, and all known peers or the
	// connected ones only.
	Peers func(onlyConnected bool) (connections int, peers iter.Seq[PeerMetadata])
	// Broadcaster sends wants and cancels.
	Broadcaster Broadcaster
	// Metrics serves /metrics.
	Metrics http.Handler
	// History returns figures of the past from the store, in steps. If it returns
	// an *Error, that is the answer.
	History func(ctx context.Context, since, step time.Duration) (*History, error)
	// Introspect serves the WebSocket /introspect. It checks Host and Origin
	// itself; the API has checked the token before. Nil: there is none.
	Introspect http.Handler
	// Page serves / to browsers, and /ui/. It also gets requests without a token,
	// so it must not contain anything about the node. Nil: there is none.
	Page http.Handler
}

// History is figures over time.
type History struct {
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	StepSeconds float64   `json:"step_seconds"`
	Times       []int64   `json:"times"` // start of each step, milliseconds since 1970 UTC
	Series      []Series  `json:"series"`
}

// Series is one figure: a value for each step, nil if there is none.
type Series struct {
	Name      string     `json:"name"`
	Direction string     `json:"direction,omitempty"` // received or sent
	Answer    string     `json:"answer,omitempty"`    // of latencies: block, have or dont_have
	Unit      string     `json:"unit,omitempty"`
	Values    []*float64 `json:"values"`
}

// Error is an error that is sent to the client, with its HTTP status.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Broadcaster sends wants and cancels to all connected peers that speak
// Bitswap. Its methods may be called concurrently. When ctx ends they send no
// more wants, send the cancels that are still due at once, and return within a
// few seconds.
type Broadcaster interface {
	Want(ctx context.Context, cids []cid.Cid) []WantSent
	Cancel(ctx context.Context, cids []cid.Cid) []CancelSent
	// WantCancel sends each peer a want and, after that time, a cancel.
	WantCancel(ctx context.Context, cids []cid.Cid, after time.Duration) []WantCancelSent
}

// Sent is the result of sending a message to one peer.
type Sent struct {
	TimestampBeforeSend time.Time  `json:"timestamp_before_send"`
	SendDurationMillis  int64      `json:"send_duration_millis"`
	Error               event.Text `json:"error,omitempty"`
}

// WantSent is the result of sending a want. RequestTypeSent is nil if it failed.
type WantSent struct {
	Sent
	Peer            string          `json:"peer"`
	RequestTypeSent *event.WantType `json:"request_type_sent,omitempty"`
}

// CancelSent is the result of sending a cancel.
type CancelSent struct {
	Sent
	Peer string `json:"peer"`
}

// WantCancelSent is the result of sending a want and the cancel after it.
type WantCancelSent struct {
	Peer         string     `json:"peer"`
	WantStatus   WantStatus `json:"want_status"`
	CancelStatus Sent       `json:"cancel_status"`
}

// WantStatus is WantSent without the peer.
type WantStatus struct {
	Sent
	RequestTypeSent *event.WantType `json:"request_type_sent,omitempty"`
}

// PeerMetadata is what the node knows about a peer. For a disconnected peer it is
// what was known when it was last connected.
type PeerMetadata struct {
	PeerID                  string       `json:"peer_id"`
	Connectedness           int          `json:"connectedness"` // 0 not connected, 1 connected, 2 could connect, 3 could not
	Multiaddresses          []event.Text `json:"multiaddresses"`
	Protocols               []event.Text `json:"protocols"`
	AgentVersion            *event.Text  `json:"agent_version"`   // "N/A" if not known, null if it could not be read
	LatencyEWMANs           *int64       `json:"latency_ewma_ns"` // null if not measured
	ConnectedMultiaddresses []event.Text `json:"connected_multiaddresses"`
}

// Subscriber is one client of the stream.
type Subscriber struct {
	ID            string     `json:"id"`
	Since         time.Time  `json:"since"`
	Version       int        `json:"version"`            // of the protocol
	Encoding      string     `json:"encoding,omitempty"` // of version 4
	Filter        event.Text `json:"filter,omitempty"`   // of version 4, as JSON
	QueuedBytes   uint64     `json:"queued_bytes"`
	QueueLimit    uint64     `json:"queue_limit"` // most bytes that may be queued
	SentFrames    uint64     `json:"sent_frames"`
	SentBytes     uint64     `json:"sent_bytes"`
	SentEvents    uint64     `json:"sent_events"`
	DroppedFrames uint64     `json:"dropped_frames"` // because it was too slow
	DroppedEvents uint64     `json:"dropped_events"`
}

// Version has the versions of a monitor and its parts.
type Version struct {
	Version string `json:"version"` // of ipfsmon
	Commit  string `json:"commit"`  // from which it was built, or unknown
	Plugin  string `json:"plugin"`  // the plugin's name in kubo's configuration
	Kubo    string `json:"kubo"`
	Go      string `json:"go"`
	Monitor string `json:"monitor"` // the monitor's name
}
