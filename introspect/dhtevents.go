package introspect

import (
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// queryResults are the outcomes of a query in the words of the original protocol,
// which has none for a query that was cancelled.
var queryResults = [event.DHTStatuses]string{"SUCCESS", "ERROR", "TIMEOUT", "ERROR"}

var dhtColumns = []*pb.EventType_EventProperty{
	Column("peerIds", peerID, true), Column("type", text, false), Column("result", text, false),
	Column("totalTimeMs", number, false), Column("table", text, false), Column("key", text, false),
	Column("providers", number, false), Column("closer", number, false),
}

// The names of types and columns that the original visualizer knows.
var (
	typeInbound  = NewEventType("InboundDHTQuery", dhtColumns...)
	typeOutbound = NewEventType("OutboundDHTQuery", dhtColumns...)
)

type queryContent struct {
	PeerIDs     []string   `json:"peerIds"`
	Type        string     `json:"type,omitempty"` // FIND_NODE and so on; "" where no stream came about
	Result      string     `json:"result"`
	TotalTimeMS float64    `json:"totalTimeMs"`
	Table       string     `json:"table"`
	Key         event.Text `json:"key,omitempty"`
	Providers   int        `json:"providers,omitempty"`
	Closer      int        `json:"closer,omitempty"`
}

// query emits the event of a request of the DHT. Its time is when the request
// began.
func (f *Feed) query(e *event.Event) {
	t, r := typeOutbound, e.DHT
	if e.Dir == event.Received {
		t = typeInbound
	}
	f.srv.Emit(t, e.At().Add(-r.Elapsed), func() any {
		c := queryContent{PeerIDs: []string{e.Peer.String()}, Result: queryResults[min(r.Status, event.DHTCanceled)],
			TotalTimeMS: millis(r.Elapsed), Table: r.Table(), Key: r.Key(), Providers: r.Providers, Closer: r.Closer}
		if r.Type != event.DHTUnsent {
			c.Type = strings.ToUpper(r.Type.String())
		}
		return c
	})
}
