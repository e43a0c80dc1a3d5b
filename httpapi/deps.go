package httpapi

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/status"
)

// Deps is where the API gets its answers. All of it is called from any
// goroutine, and what is nil is answered with 503.
type Deps struct {
	// MonitoringAddresses gives the addresses at which events can be
	// subscribed to; nil is none.
	MonitoringAddresses func() []string
	// Healthy says which part of the monitor has ended and needs a restart of it;
	// nil: none has.
	Healthy func() error
	// Ready says why the monitor does not do its work yet, or any more; nil: it does.
	Ready func() error
	// Version reports what this program is made of.
	Version func() Version
	// Subscribers lists who gets the stream.
	Subscribers func() []Subscriber
	// Kick closes the subscriber of this ID and says whether there was one.
	Kick func(id string) bool
	// Top returns at most n entries of a kind, cids or peers, the first first. An
	// *Error of it is the answer.
	Top func(kind string, n int) (any, error)
	// Pipeline reads the monitor's counters.
	Pipeline func() status.Pipeline
	// Peers returns the number of open connections, and each peer that is known,
	// or connected.
	Peers func(onlyConnected bool) (connections int, peers iter.Seq[PeerMetadata])
	// Broadcaster sends wants and cancels.
	Broadcaster Broadcaster
	// Metrics serves /metrics.
	Metrics http.Handler
	// History returns figures of the past from the store, in steps. An *Error
	// of it is the answer.
	History func(ctx context.Context, since, step time.Duration) (*History, error)
	// Introspect serves the WebSocket /introspect. It sees to Host and Origin
	// itself; that tokens are shown is seen to before. Nil: there is none.
	Introspect http.Handler
	// Page serves / to browsers, and /ui/. It is given requests without a token
	// too, so there must be nothing of the node in it. Nil: there is none.
	Page http.Handler
}

// History is figures over time.
type History struct {
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	StepSeconds float64   `json:"step_seconds"`
	Times       []int64   `json:"times"` // when each step begins, milliseconds since 1970 UTC
	Series      []Series  `json:"series"`
}

// Series is one figure: a value for each step, nil where nothing is known.
type Series struct {
	Name      string     `json:"name"`
	Direction string     `json:"direction,omitempty"` // received or sent
	Answer    string     `json:"answer,omitempty"`    // of latencies: block, have or dont_have
	Unit      string     `json:"unit,omitempty"`
	Values    []*float64 `json:"values"`
}

// Error is an error that the client gets, with its status.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Broadcaster sends wants and cancels to all connected peers that speak
// Bitswap. Its methods may be called at the same time. When ctx ends they send
// no more wants, take back at once those that they are to take back, and
// return within a few seconds.
type Broadcaster interface {
	Want(ctx context.Context, cids []cid.Cid) []WantSent
	Cancel(ctx context.Context, cids []cid.Cid) []CancelSent
	// WantCancel sends each peer a cancel so long after its want.
	WantCancel(ctx context.Context, cids []cid.Cid, after time.Duration) []WantCancelSent
}

// Sent is how it went to send a message to one peer.
type Sent struct {
	TimestampBeforeSend time.Time  `json:"timestamp_before_send"`
	SendDurationMillis  int64      `json:"send_duration_millis"`
	Error               event.Text `json:"error,omitempty"`
}

// WantSent is how it went with a want. RequestTypeSent is nil if it failed.
type WantSent struct {
	Sent
	Peer            string          `json:"peer"`
	RequestTypeSent *event.WantType `json:"request_type_sent,omitempty"`
}

// CancelSent is how it went with a cancel.
type CancelSent struct {
	Sent
	Peer string `json:"peer"`
}

// WantCancelSent is how it went with a want and the cancel after it.
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

// PeerMetadata is what the node knows of a peer. What is not known of a peer
// that has gone is as it was when it was last here.
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
	QueueLimit    uint64     `json:"queue_limit"` // the most bytes that may wait for it
	SentFrames    uint64     `json:"sent_frames"`
	SentBytes     uint64     `json:"sent_bytes"`
	SentEvents    uint64     `json:"sent_events"`
	DroppedFrames uint64     `json:"dropped_frames"` // because it was too slow
	DroppedEvents uint64     `json:"dropped_events"`
}

// Version is what a monitor is made of.
type Version struct {
	Version string `json:"version"` // of ipfsmon
	Plugin  string `json:"plugin"`  // the plugin's name in kubo's configuration
	Kubo    string `json:"kubo"`
	Go      string `json:"go"`
	Monitor string `json:"monitor"` // the name of this one
}
