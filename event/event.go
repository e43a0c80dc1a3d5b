// Package event holds the one type that all sinks understand: Event, something
// that was seen where a node meets the network.
//
// In: capture fills an Event under the limits of this package and hands it to
// the bus. Out: sinks read it. Promised: every string that came from a peer is
// a Text and has passed Clean; every CID is at most MaxCIDBytes long.
//
// All readers of a bus share an Event: none may write to it. It is valid until
// the reader's next call to Next; then the bus reuses it and its Wants,
// Presences and Blocks. Clone it to keep it longer. What its other fields point
// to never changes and may be kept.
package event

import (
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits that capture enforces, whatever a peer sends.
const (
	// MaxEntries is the most wants, presences or blocks that one event
	// carries of each; the rest is counted in Truncated.
	MaxEntries = 1024
	// MaxEncodedBytes bounds the size of an event in every format: capture
	// leaves out (and counts in Truncated) the entries that would make it
	// longer. An entry counts as EntryOverhead bytes plus twice the length of
	// its CID, which is more than base32 and any of our formats need.
	MaxEncodedBytes = 256 << 10
	EntryOverhead   = 128
	// MaxCIDBytes is the longest CID that is kept unchanged (boxo's own default
	// for MaximumAllowedCid). A longer one is replaced by the CIDv1 with codec
	// raw and the sha2-256 of its bytes; OversizeCID has its length.
	MaxCIDBytes = 168
	// MaxAddrs is the most addresses kept for one peer or connection.
	MaxAddrs = 16
	// MaxAddrText, MaxAgentText and MaxProtocolText bound peers' strings, in bytes.
	MaxAddrText     = 512
	MaxAgentText    = 256
	MaxProtocolText = 128
	// MaxProtocols is the most protocols kept of one identify.
	MaxProtocols = 256
	// MaxNameText bounds the name of a node behind a proxy, in bytes.
	MaxNameText = 64
)

// Kind says which part of an Event is filled.
type Kind uint8

// The kinds of events.
const (
	KindMessage    Kind = iota + 1 // a Bitswap message: Wants, Presences, Blocks ...
	KindConnection                 // a connection opened or closed: Conn
	KindIdentify                   // a peer was identified: Identify
	KindSample                     // periodic totals of the node: Sample
	KindLatency                    // an answer to a want: Latency
	KindSummary                    // figures derived from an interval's events: Summary
	KindProxy                      // periodic totals of a proxy: Proxy
	KindClockStep                  // the wall clock was set: ClockStep
	KindSendError                  // a message that could not be sent: SendError
	KindNote                       // something that a person should know: Note
	KindOrigins                    // sums by where peers are: Origins
	KindPipeline                   // the monitor's own counters: Pipeline
	KindDHT                        // a request of the DHT's protocol: DHT
	KindSearch                     // a search for providers: Search
	KindRetrieval                  // a wanted block came: Retrieval
	KindRequest                    // an HTTP request ended: Request
	KindFlood                      // a peer floods the node, or no longer: Flood
	KindFleet                      // periodic totals of a fleet: Fleet
)

// String returns the kind's name in logs, filters and the stream.
func (k Kind) String() string {
	switch k {
	case KindMessage:
		return "message"
	case KindConnection:
		return "connection"
	case KindIdentify:
		return "identify"
	case KindSample:
		return "sample"
	case KindLatency:
		return "latency"
	case KindSummary:
		return "summary"
	case KindProxy:
		return "proxy"
	case KindClockStep:
		return "clock_step"
	case KindSendError:
		return "send_error"
	case KindNote:
		return "note"
	case KindOrigins:
		return "origins"
	case KindPipeline:
		return "pipeline"
	case KindSearch:
		return "search"
	case KindRetrieval:
		return "retrieval"
	case KindRequest:
		return "request"
	case KindFlood:
		return "flood"
	case KindFleet:
		return "fleet"
	case KindProbe:
		return "probe"
	case KindDHT:
		return "dht"
	}
	return "unknown"
}

// Direction says who sent a message.
type Direction uint8

// The two directions; Directions is their number, for arrays indexed by one.
const (
	Received Direction = iota
	Sent
	Directions
)

// String returns the tag value of the direction: received or sent.
func (d Direction) String() string {
	if d == Sent {
		return "sent"
	}
	return "received"
}

// Transport says how a message travelled.
type Transport uint8

// The transports of messages; MessageTransports is their number, for arrays
// indexed by one.
const (
	Libp2p Transport = iota // Bitswap on a libp2p stream
	HTTP                    // a request to a trustless gateway, which boxo turns into messages
	MessageTransports
)

// String returns the tag value of the transport: libp2p or http.
func (t Transport) String() string {
	if t == HTTP {
		return "http"
	}
	return "libp2p"
}

// Side says where a proxy saw something: among the peers that ask it
// (upstream), or among the nodes that it asks (downstream). Events of a node
// without a proxy have no side.
type Side uint8

// The sides; Sides is their number.
const (
	NoSide Side = iota
	Upstream
	Downstream
	Sides
)

// SideNames are the tag values of the sides; that of NoSide is "".
var SideNames = [Sides]string{"", "upstream", "downstream"}

// String returns the tag value of the side: upstream or downstream, else "".
func (s Side) String() string {
	if s < Sides {
		return SideNames[s]
	}
	return ""
}

// WantType is what a wantlist entry asks for. The values are those of the
// Bitswap 1.2 protobuf (Message.Wantlist.WantType); others are kept as sent.
type WantType int32

// The want types of Bitswap 1.2.
const (
	WantBlock WantType = 0
	WantHave  WantType = 1
)

// Want is one entry of a wantlist. A cancel's Type and Priority mean nothing.
type Want struct {
	CID          cid.Cid
	Priority     int32
	Type         WantType
	Cancel       bool
	SendDontHave bool
}

// TypeName returns the tag value of the entry: cancel, want_block, want_have,
// or other for a type that Bitswap does not know.
func (w *Want) TypeName() string {
	switch {
	case w.Cancel:
		return "cancel"
	case w.Type == WantBlock:
		return "want_block"
	case w.Type == WantHave:
		return "want_have"
	}
	return "other"
}

// PresenceType is what a block presence says; the values are those of the
// Bitswap 1.2 protobuf (Message.BlockPresenceType).
type PresenceType int32

// The presence types of Bitswap 1.2.
const (
	Have     PresenceType = 0
	DontHave PresenceType = 1
)

// String returns the tag value: have, dont_have, or other.
func (p PresenceType) String() string {
	switch p {
	case Have:
		return "have"
	case DontHave:
		return "dont_have"
	}
	return "other"
}

// Presence is one HAVE or DONT_HAVE.
type Presence struct {
	CID  cid.Cid
	Type PresenceType
}

// Block is one block of a message: its CID and the size of its data in bytes.
// The data itself is never kept.
type Block struct {
	CID  cid.Cid
	Size int32
}

// Event is something that was seen where a node meets the network. The bus sets
// Seq (1 for the first event, without holes); all else is set before Publish.
type Event struct {
	Seq  uint64
	Time int64 // wall clock, nanoseconds since 1970 UTC; several events may share one
	Kind Kind
	Dir  Direction // of a message or of a request of the DHT
	Full bool      // the message carried a full wantlist
	Peer peer.ID   // the peer it is about; empty for samples and summaries

	Transport Transport // of a message

	Country string // of the peer's first public address: ISO 3166-1 alpha-2; "" if unknown or not configured
	Gateway bool   // the peer is in the list of gateways

	Side       Side // of a proxy; NoSide for what a node saw
	Downstream Text // the configured name of the node behind the proxy, if Side is Downstream

	Monitor Text // of a collector: the monitor that saw it; "" for what this monitor saw itself

	Took time.Duration // that sending it took: KindMessage and KindSendError; 0 for what was received, or where it is not known

	// KindMessage
	PendingBytes int32  // bytes that the sender still has queued for the receiver, as the message says
	WireSize     int32  // bytes of the message on the wire; 0 if unknown
	Truncated    uint32 // entries left out because there were too many
	OversizeCID  uint32 // length of the longest CID over MaxCIDBytes, 0 if none
	Wants        []Want
	Presences    []Presence
	Blocks       []Block
	Addrs        []Text // addresses of the peer's open connections at that time

	Conn      *Conn       // KindConnection
	Identify  *Identify   // KindIdentify
	Sample    *Sample     // KindSample
	Latency   *Latency    // KindLatency
	Summary   *Summary    // KindSummary
	Proxy     *Proxy      // KindProxy
	Probe     *Probe      // KindProbe
	ClockStep *ClockStep  // KindClockStep
	SendError *SendError  // KindSendError
	Note      *Note       // KindNote
	Origins   *Origins    // KindOrigins
	Pipeline  *Pipeline   // KindPipeline
	DHT       *DHTRequest // KindDHT
	Search    *Search     // KindSearch
	Retrieval *Retrieval  // KindRetrieval
	Request   *Request    // KindRequest
	Flood     *Flood      // KindFlood
	Fleet     *Fleet      // KindFleet
}

// Clone returns a copy that may be kept. It has copies of Wants, Presences and
// Blocks, and shares what never changes (see the package comment).
func (e *Event) Clone() *Event {
	out := new(Event)
	e.CloneInto(out)
	return out
}

// CloneInto copies e into out like Clone. It reuses the lists of out that have
// room.
func (e *Event) CloneInto(out *Event) {
	wants, presences, blocks := out.Wants[:0], out.Presences[:0], out.Blocks[:0]
	*out = *e
	out.Wants = append(wants, e.Wants...)
	out.Presences = append(presences, e.Presences...)
	out.Blocks = append(blocks, e.Blocks...)
}

// At returns the event's time in UTC.
func (e *Event) At() time.Time { return time.Unix(0, e.Time).UTC() }

// eventBytes and entryBytes are about what an event and an entry take in
// memory, with a CID of ordinary length.
const (
	eventBytes = 384
	entryBytes = 80
)

// Weight returns about how many bytes the event takes in memory. The bus bounds
// its queue by it.
func (e *Event) Weight() int {
	w := eventBytes + entryBytes*(len(e.Wants)+len(e.Presences)+len(e.Blocks))
	if e.Kind == KindMessage {
		return w // without a look at the fields of rarer kinds, which are in other cache lines
	}
	if e.Identify != nil {
		w += entryBytes * (8 + len(e.Identify.Protocols) + len(e.Identify.ListenAddrs))
	}
	if s := e.Sample; s != nil {
		w += entryBytes * (16 + len(s.Peers) + len(s.Agents) + len(s.Protocols) + len(s.Streams) + len(s.Node.Bandwidth))
	}
	if s := e.Summary; s != nil {
		w += entryBytes * (16 + len(s.TopCIDs) + len(s.TopCIDsByPeers) + len(s.TopPeers) + len(s.TopMissing) + len(s.Codecs) + len(s.Versions) + len(s.Hashes))
		w += entryBytes * len(s.Coverage.Families)
		for d := range s.Line {
			w += entryBytes * (len(s.Line[d].CIDs) + len(s.Line[d].Peers) + len(s.Line[d].Agents))
		}
		if d := s.DHT; d != nil {
			for dir := range Directions {
				w += entryBytes * (int(DHTTypes) + len(d.TopKeys[dir]) + len(d.Agents[dir]))
			}
		}
	}
	if e.DHT != nil {
		w += 3 * entryBytes
	}
	if p := e.Proxy; p != nil {
		w += entryBytes * (8 + 6*len(p.Downstreams))
	}
	if f := e.Fleet; f != nil {
		w += entryBytes * (8 + 4*len(f.Monitors) + len(f.TopCIDs) + len(f.TopByPeer) + 2*len(f.Overlaps) + 2*len(f.Sizes))
	}
	if o := e.Origins; o != nil {
		w += entryBytes * len(o.Sums)
	}
	return w
}

// The closed sets of a connection's tag values; the last of each stands for
// values that are not in the set. "none" means that the transport has its own.
var (
	Transports = []string{"tcp", "quic-v1", "quic", "webtransport", "webrtc-direct", "ws", "wss", "p2p-circuit", "other"}
	Securities = []string{"none", "noise", "tls", "other"}
	Muxers     = []string{"none", "yamux", "other"}
)

// Conn is a connection that was opened or closed.
type Conn struct {
	ID         string // libp2p's name of the connection, unique in this run
	Closed     bool   // false: opened (or found open at the start), true: closed
	Inbound    bool
	Limited    bool   // through a relay, with limits
	Addr       Text   // remote address
	Transport  string // one of Transports
	Security   string // one of Securities
	Muxer      string // one of Muxers
	Opened     time.Time
	Duration   time.Duration // from open to closed; 0 while open
	Streams    int           // streams open at that time
	WasOpen    bool          // it was open before the monitor started
	Unmatched  bool          // closed, but its opening was not seen
	PeerConns  int           // connections to this peer after this event
	TotalConns int           // connections of the node after this event
}

// DirectionName returns the tag value: inbound or outbound.
func (c *Conn) DirectionName() string {
	if c.Inbound {
		return "inbound"
	}
	return "outbound"
}

// StateName returns the tag value: opened or closed.
func (c *Conn) StateName() string {
	if c.Closed {
		return "closed"
	}
	return "opened"
}

// SendErrors are the classes of SendError, a closed set.
var SendErrors = [...]string{"canceled", "timeout", "other"}

// SendError is a message that could not be sent, or not all of it, and what was
// in it.
type SendError struct {
	Class                    string // one of SendErrors
	Wants, Presences, Blocks int    // entries; cancels are wants
}

// Identify is what a peer reported of itself in libp2p's identify protocol.
type Identify struct {
	Agent           Text
	ProtocolVersion Text
	Protocols       []Text
	ListenAddrs     []Text
	ObservedAddr    Text
}

// Traffic counts Bitswap traffic of one direction. Capture counts it, so that
// it includes the events that are lost later.
type Traffic struct {
	Messages   uint64
	WantBlock  uint64
	WantHave   uint64
	Cancel     uint64
	Have       uint64
	DontHave   uint64
	Blocks     uint64
	BlockBytes uint64
	Truncated  uint64
}

// Sub returns the difference to an earlier reading of the same counters.
func (t Traffic) Sub(old Traffic) Traffic {
	return Traffic{
		Messages:   t.Messages - old.Messages,
		WantBlock:  t.WantBlock - old.WantBlock,
		WantHave:   t.WantHave - old.WantHave,
		Cancel:     t.Cancel - old.Cancel,
		Have:       t.Have - old.Have,
		DontHave:   t.DontHave - old.DontHave,
		Blocks:     t.Blocks - old.Blocks,
		BlockBytes: t.BlockBytes - old.BlockBytes,
		Truncated:  t.Truncated - old.Truncated,
	}
}

// PeerCount is the number of connected peers of one direction and transport,
// each peer counted once, by its oldest connection.
type PeerCount struct {
	Inbound   bool
	Transport string
	Peers     int
}

// AgentCount is the number of connected peers with one agent.
type AgentCount struct {
	Agent Text
	Peers int
}

// OthersAgent is the name under which agents beyond the cut-off are summed.
const OthersAgent = Text("others")

// Others is the name under which protocols beyond a sample's limit are summed.
const Others = Text("others")

// ProtocolCount is the number of connected peers that support a protocol; a
// peer counts once for each of its protocols.
type ProtocolCount struct {
	Protocol Text
	Peers    int
}

// StreamDirections is the closed set of StreamCount.Direction.
var StreamDirections = []string{"inbound", "outbound", "unknown"}

// StreamCount is the number of open streams of one protocol and direction.
type StreamCount struct {
	Protocol  Text   // "" while not yet negotiated
	Direction string // one of StreamDirections
	Streams   int
}

// Bandwidth is libp2p's count of one protocol's bytes, or of all, since the
// node's start, and the rates of about the last second in bytes per second.
type Bandwidth struct {
	Protocol          Text
	InBytes, OutBytes int64
	InRate, OutRate   float64
}

// RoutingTable is the size of one of the node's DHT routing tables.
type RoutingTable struct {
	Name  string // wan or lan
	Peers int
}

// Process is what the node's process costs, the monitor in it included.
type Process struct {
	CPUSeconds  float64 // user and system, since the start
	ResidentMem int64   // bytes
	HeapBytes   int64   // in use by Go objects
	Goroutines  int
	OpenFiles   int // -1 if the system does not report it
}

// Node is what a node reports about itself besides its connections.
type Node struct {
	BandwidthTotal Bandwidth
	Bandwidth      []Bandwidth // by protocol: those with most bytes first, then Others
	Routing        []RoutingTable
	Wantlist       int   // CIDs that the node wants
	Ledgers        int   // peers that Bitswap's server keeps a ledger for
	RepoBytes      int64 // -1 where unknown
	Process        Process
}

// Sample is the node's periodic totals: Traffic since the sample before,
// the rest as it is now.
type Sample struct {
	Interval  time.Duration       // since the sample before
	Traffic   [Directions]Traffic // over libp2p
	HTTP      [Directions]Traffic // over HTTP
	Conns     int                 // open connections
	Peers     []PeerCount
	Known     int             // peers in the peerstore
	Agents    []AgentCount    // the most frequent first, then OthersAgent
	Protocols []ProtocolCount // the most frequent first, then Others
	Streams   []StreamCount
	Node      Node
}

// AnswerType is what answered a want.
type AnswerType uint8

// The answers; AnswerTypes is their number.
const (
	AnswerBlock AnswerType = iota
	AnswerHave
	AnswerDontHave
	AnswerTypes
)

// String returns the tag value: block, have or dont_have.
func (a AnswerType) String() string {
	switch a {
	case AnswerBlock:
		return "block"
	case AnswerHave:
		return "have"
	}
	return "dont_have"
}

// Latency is the time from a want to its answer with the same peer. Dir of
// the event is the direction of the want: Sent is how fast others serve us.
type Latency struct {
	CID     cid.Cid
	Want    WantType
	Answer  AnswerType
	Elapsed time.Duration // between the two events' times, never negative
}

// Summary is what is derived from the events of one interval, in bounded
// memory. The docstrings of package derive give the bound of each error.
type Summary struct {
	Interval time.Duration
	Missed   uint64 // events that left the bus before they could be counted here

	UniqueCIDs  [Directions]uint64 // distinct CIDs in wants
	UniquePeers [Directions]uint64 // distinct peers that sent, or were sent, messages
	Askers      [Directions]uint64 // distinct peers that sent, or were sent, wants over Bitswap

	// Wants that repeat an earlier one with the same peer, CID and type: within
	// the duplicate window, and after about the interval of a re-broadcast.
	Duplicates   [Directions]uint64
	Rebroadcasts [Directions]uint64

	TopCIDs        []TopCID  // received wants, most wanted first
	TopCIDsByPeers []TopCID  // most distinct peers first
	TopPeers       []TopPeer // most wants received first
	TopMissing     []TopCID  // most DONT_HAVEs sent first: Wants are these, Peers is 0

	Codecs   []Share // received wants by codec, most first
	Versions []Share // by CID version: 0, 1
	Hashes   []Share // by hash function

	Latency [Directions][AnswerTypes]LatencyStats // over libp2p
	Pending int                                   // wants that wait for an answer
	Lost    uint64                                // wants evicted in this interval because of the memory limit

	Line     [Directions]Line
	Coverage Coverage    // of the peers that are connected at the end
	DHT      *DHTSummary // nil: there was no request

	Retrieval SummaryRetrieval
	Requests  [2][RequestOutcomes]RequestStats // by WantType
	Sending   [MessageTransports]SendStats
}

// TopCID is a CID that was wanted often. The true number of wants is between
// Wants-Error and Wants.
type TopCID struct {
	CID   cid.Cid
	Wants uint64
	Error uint64 // Wants may be too high by this
	Peers uint64 // distinct peers, estimated
}

// TopPeer is a peer that wanted often.
type TopPeer struct {
	Peer  peer.ID
	Agent Text
	Wants uint64
	Error uint64
}

// Share is one part of a whole, named by a closed set that includes "other".
type Share struct {
	Name string
	N    uint64
}

// LatencyStats sums the latencies of an interval.
type LatencyStats struct {
	Count         uint64
	Sum           time.Duration
	P50, P90, P99 time.Duration
	Max           time.Duration
}
