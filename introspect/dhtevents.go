package introspect

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// The outcomes of a query, named as in the original protocol.
const (
	QuerySuccess = "SUCCESS"
	QueryError   = "ERROR"
	QueryTimeout = "TIMEOUT"
)

// DHTQuery is one request of the DHT's protocol and its outcome.
type DHTQuery struct {
	Peer     peer.ID
	Inbound  bool   // true: the peer asked this node
	Type     string // FIND_NODE and so on; "" if no stream was opened
	Result   string // SUCCESS, ERROR or TIMEOUT
	Table    string // wan or lan
	At       time.Time
	Duration time.Duration // until the answer or the failure
}

var dhtColumns = []*pb.EventType_EventProperty{
	Column("peerIds", peerID, true), Column("type", text, false), Column("result", text, false),
	Column("totalTimeMs", number, false), Column("table", text, false),
}

// The names of types and columns that the original visualizer knows.
var (
	typeInbound  = NewEventType("InboundDHTQuery", dhtColumns...)
	typeOutbound = NewEventType("OutboundDHTQuery", dhtColumns...)
)

type queryContent struct {
	PeerIDs     []string `json:"peerIds"`
	Type        string   `json:"type,omitempty"`
	Result      string   `json:"result"`
	TotalTimeMS float64  `json:"totalTimeMs"`
	Table       string   `json:"table"`
}

// Query emits the event of a DHT query. It never blocks.
func (s *Server) Query(q DHTQuery) {
	t := typeOutbound
	if q.Inbound {
		t = typeInbound
	}
	s.Emit(t, q.At, func() any {
		return queryContent{PeerIDs: []string{q.Peer.String()}, Type: q.Type, Result: q.Result,
			TotalTimeMS: float64(q.Duration.Microseconds()) / 1000, Table: q.Table}
	})
}
