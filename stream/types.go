package stream

import (
	"encoding/json"
	"time"

	"github.com/ipfs/go-cid"
)

// Event is something that a monitor saw: what Client.Next returns, a line of a
// version 4 batch, and a line of a recording. One of Message, Sent, Connection,
// Identify, DHT, Flood, Search, Request, Retrieval, Gap, Note and Origins is set;
// the last three, and a Search that did not just find a provider, have no Peer.
// Version 3 leaves the fields empty that it does not have. The strings come from the network: call Clean before you show them.
type Event struct {
	Timestamp  time.Time   `json:"timestamp"`
	Peer       string      `json:"peer"`                      // base58
	Message    *Message    `json:"bitswap_message,omitempty"` // received
	Connection *Connection `json:"connection_event,omitempty"`

	// Not in version 3.
	Sent      *Message    `json:"sent_message,omitempty"` // by the node, to Peer
	Identify  *Identify   `json:"identify,omitempty"`
	DHT       *DHTRequest `json:"dht,omitempty"`
	Flood     *Flood      `json:"flood,omitempty"`
	Search    *Search     `json:"search,omitempty"`
	Request   *Request    `json:"request,omitempty"`
	Retrieval *Retrieval  `json:"retrieval,omitempty"`
	Gap       *Gap        `json:"gap,omitempty"`
	Note      *Note       `json:"note,omitempty"`
	Origins   *Origins    `json:"origins,omitempty"`
	Seq       uint64      `json:"seq,omitempty"`     // of the monitor's events: 1 for the first of its run
	Country   string      `json:"country,omitempty"` // of Peer's first public address: ISO 3166-1 alpha-2; "" if unknown
	Gateway   bool        `json:"gateway,omitempty"` // Peer is in the monitor's list of gateways
	// Side is set if the monitor is a proxy: upstream if Peer asks the proxy,
	// downstream if Peer is a node behind it, with the configured name Downstream.
	Side       string `json:"side,omitempty"`
	Downstream string `json:"downstream,omitempty"`
	Monitor    string `json:"monitor,omitempty"` // the monitor's name; the wire has it in the handshake, and in events that a collector has from others

	Clock *clockAnswer `json:"clock,omitempty"` // to a ping; Next does not return it
}

// Message is a Bitswap message.
type Message struct {
	Wants     []Want     `json:"wantlist_entries"`
	Full      bool       `json:"full_wantlist"`
	Blocks    []cid.Cid  `json:"blocks"`
	Presences []Presence `json:"block_presences"`
	Addrs     []string   `json:"connected_addresses"` // of the peer's open connections

	// Not in version 3.
	BlockSizes   []int32 `json:"block_sizes,omitempty"`   // bytes, one for each of Blocks
	PendingBytes int32   `json:"pending_bytes,omitempty"` // bytes that the sender still has queued for the receiver
	WireSize     int32   `json:"wire_size,omitempty"`     // bytes of the message; 0 if unknown
	Truncated    uint32  `json:"truncated,omitempty"`     // entries left out by the monitor
	OversizeCID  uint32  `json:"oversize_cid,omitempty"`  // bytes of the longest CID replaced by its hash
	Transport    string  `json:"transport,omitempty"`     // "http", or "" for libp2p
	Duration     int64   `json:"duration_ns,omitempty"`   // that sending it took, 0 where unknown
}

// Want is an entry of a wantlist.
type Want struct {
	Cid          cid.Cid `json:"cid"`
	Priority     int32   `json:"priority"`
	WantType     int32   `json:"want_type"` // 0: WANT_BLOCK, 1: WANT_HAVE
	Cancel       bool    `json:"cancel"`
	SendDontHave bool    `json:"send_dont_have"`
}

// UnmarshalJSON reads both spellings of the names: those of version 3, which
// are Go's, and those of version 4 and of recordings.
func (w *Want) UnmarshalJSON(data []byte) error {
	var v struct {
		Cid          cid.Cid `json:"cid"` // also "Cid": encoding/json ignores the case
		Priority     int32   `json:"priority"`
		Cancel       bool    `json:"cancel"`
		WantType     int32   `json:"want_type"`
		SendDontHave bool    `json:"send_dont_have"`
		V3WantType   int32   `json:"WantType"`
		V3SDH        bool    `json:"SendDontHave"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*w = Want{Cid: v.Cid, Priority: v.Priority, WantType: v.WantType | v.V3WantType, Cancel: v.Cancel, SendDontHave: v.SendDontHave || v.V3SDH}
	return nil
}

// Presence reports that a peer has a block (Type 0) or does not (Type 1).
type Presence struct {
	Cid  cid.Cid `json:"cid"`
	Type int32   `json:"block_presence_type"`
}

// Connection is a connection that was opened (Type 0) or closed (Type 1).
type Connection struct {
	Remote string `json:"remote"`
	Type   int32  `json:"connection_event_type"`

	// Not in version 3.
	ID         string     `json:"id,omitempty"`        // unique in a run of the monitor
	Direction  string     `json:"direction,omitempty"` // inbound or outbound
	Transport  string     `json:"transport,omitempty"`
	Security   string     `json:"security,omitempty"`
	Muxer      string     `json:"muxer,omitempty"`
	Limited    bool       `json:"limited,omitempty"` // through a relay
	Opened     *time.Time `json:"opened,omitempty"`
	DurationNS int64      `json:"duration_ns,omitempty"`       // from open to closed
	Streams    int        `json:"streams,omitempty"`           // open at that time
	WasOpen    bool       `json:"was_open,omitempty"`          // it was open before the monitor started
	Unmatched  bool       `json:"unmatched,omitempty"`         // closed, but its opening was not seen
	PeerConns  int        `json:"peer_connections,omitempty"`  // to this peer after this event
	TotalConns int        `json:"total_connections,omitempty"` // of the node after this event
}

// Identify is what a peer reported of itself.
type Identify struct {
	Agent           string   `json:"agent"`
	ProtocolVersion string   `json:"protocol_version"`
	Protocols       []string `json:"protocols"`
	ListenAddrs     []string `json:"listen_addresses"`
	ObservedAddr    string   `json:"observed_address"`
}

// Note reports something about the monitor or all of its node's traffic.
type Note struct {
	Kind  string `json:"kind"`            // one of event.NoteNames
	Value int64  `json:"value,omitempty"` // by Kind: see event.Note
	Text  string `json:"text"`            // the same for people
}

// Origins are sums of the traffic of an interval, which ends with the event, by
// where the peers are.
type Origins struct {
	IntervalNS int64    `json:"interval_ns"`
	Missed     uint64   `json:"missed,omitempty"` // events that the sums lack
	Sums       []Origin `json:"sums"`
}

// Origin is what is summed of the peers of one country and direction, gateways
// apart.
type Origin struct {
	Country     string `json:"country,omitempty"` // as of an Event; "other": what is no country
	Direction   string `json:"direction"`         // received or sent; of connections received: the peer opened it
	Gateway     bool   `json:"gateway,omitempty"`
	Messages    uint64 `json:"messages,omitempty"` // over libp2p
	Wants       uint64 `json:"wants,omitempty"`    // without cancels
	Blocks      uint64 `json:"blocks,omitempty"`
	BlockBytes  uint64 `json:"block_bytes,omitempty"`
	Connections uint64 `json:"connections,omitempty"` // opened
}

// Flood is a peer that sends the node too much: when that began, ended, and once a
// minute while it continues. Rates are those of two seconds, the counts are since
// it began.
type Flood struct {
	State       string    `json:"state"` // began, runs or ended
	Since       time.Time `json:"since"`
	Agent       string    `json:"agent"`
	Addrs       []string  `json:"connected_addresses"` // of the peer's open connections
	Wants       uint64    `json:"wants,omitempty"`     // without cancels
	Messages    uint64    `json:"messages,omitempty"`
	WantRate    uint64    `json:"want_rate,omitempty"` // per second
	MessageRate uint64    `json:"message_rate,omitempty"`
	Share       uint16    `json:"share_permille,omitempty"`   // its part of all that the node received
	Repeats     uint16    `json:"repeats_permille,omitempty"` // part of its wants that repeat an earlier one
}

// Gap reports that the subscriber missed events at this place of the stream.
type Gap struct {
	Slow  uint64 `json:"slow"`  // events that match its filter, dropped because it was too slow
	Bus   uint64 `json:"bus"`   // events of any kind that the monitor was too slow to send to anyone
	First uint64 `json:"first"` // Seq of the first missed event
	Last  uint64 `json:"last"`  // Seq of the last one; not every Seq between the two was missed
}

// Missed returns how many events were missed. It is an upper bound if there is a
// filter and Bus is not 0.
func (g *Gap) Missed() uint64 { return g.Slow + g.Bus }
