package schema

import (
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// Others is the value of an open tag for everything beyond its limit.
const Others = string(event.Others)

//go:generate go test -run TestSchemaDoc -update .

// Kind determines how long the points of a measurement are kept. It names the retention policy
// in InfluxDB 1.x and the end of the bucket's name in 2.x.
type Kind uint8

// The kinds of measurements; Kinds is their number, for arrays indexed by one.
const (
	History Kind = iota // one point for each observation; kept for Config.HistoryRetention
	Totals              // sums for each interval; kept for ever
	Kinds
)

// String returns the name of the retention policy: history or totals.
func (k Kind) String() string {
	if k == Totals {
		return "totals"
	}
	return "history"
}

// Type is the type of a field.
type Type uint8

// The types of fields.
const (
	Int Type = iota
	Bool
	String
)

// String returns the type's name in the documentation.
func (t Type) String() string {
	switch t {
	case Bool:
		return "boolean"
	case String:
		return "string"
	}
	return "integer"
}

// Tag is an indexed key of a measurement. Its values are a closed set, so that the number of
// series is known beforehand; a value outside it becomes the last one; for "" a point does not
// have the tag. An open tag has a Limit
// instead: a run of the monitor writes the first so many values; later ones become others. The
// tag node has neither: the monitor's owner chooses its one value.
type Tag struct {
	Key    string
	Values []string
	Limit  int
	Help   string
}

// Size returns how many values the tag can have for one node.
func (t *Tag) Size() int {
	switch {
	case t.Values != nil:
		return len(t.Values)
	case t.Limit > 0:
		return t.Limit
	}
	return 1
}

// Index returns the index of a value in the closed set.
func (t *Tag) Index(value string) int { return sets.Index(t.Values, value) }

// Field is a value of a point. Every point has all fields of its measurement.
type Field struct {
	Key  string
	Type Type
	Unit string // empty: a plain number or text
	Help string
}

// Measurement is one row of the schema.
type Measurement struct {
	Name    string
	Kind    Kind
	Point   string // what one point stands for
	Answers string // the question that it answers
	Query   string // InfluxQL for that question
	Tags    []Tag  // in the order of their keys, as InfluxDB sorts them
	Fields  []Field
	// Rollup lists the sums of history kept for ever, by minutes and hours: one field for each
	// Sum, in series of the tags RollupBy (nil: all).
	Rollup   []Sum
	RollupBy []string
}

// Sum is one field of a rollup: a function of a field, one of count, sum, max (integers), mean and median (floats); InfluxQL and Flux
// both have a function of that name.
type Sum struct {
	As, Func, Of string
}

// Series returns the maximum number of series for one node.
func (m *Measurement) Series() int {
	n := 1
	for i := range m.Tags {
		n *= m.Tags[i].Size()
	}
	return n
}

// The maximum number of values of each open tag in one run of the monitor, including others.
const (
	MaxAgents    = 500
	MaxProtocols = 200
	// MaxRank is the length of the stored lists of top CIDs and peers.
	MaxRank = 50
)

// Tags that several measurements share.
var (
	tagNode      = Tag{Key: "node", Help: "name of the monitored node, one value per monitor"}
	TagDirection = Tag{Key: "direction", Values: []string{"received", "sent"}, Help: "from the node's point of view"}
	TagInOut     = Tag{Key: "direction", Values: []string{"inbound", "outbound"}, Help: "who opened it"}
	tagCodec     = Tag{Key: "codec", Values: []string{"dag-pb", "raw", "dag-cbor", "dag-json", "libp2p-key", "other"}, Help: "codec of the CID"}
	TagTransport = Tag{Key: "transport", Values: event.Transports, Help: "transport of the connection"}
	tagGateway   = Tag{Key: "gateway", Values: []string{"false", "true"}, Help: "whether the peer is in the list of gateways"}
	TagAnswer    = Tag{Key: "answer", Values: []string{"block", "have", "dont_have"}, Help: "what answered the want"}
	TagProtocol  = Tag{Key: "protocol", Limit: MaxProtocols, Help: "protocol ID: those of libp2p and IPFS, and the first others seen, at most 200 in one run; the rest is summed as others"}
	tagRank      = Tag{Key: "rank", Values: ranks(), Help: "place in the list, 01 is the first"}
)

// Fields that several measurements share.
var (
	fieldCID      = Field{Key: "cid", Type: String, Help: "the CID as text: CIDv0 in base58, CIDv1 in base32"}
	fieldPeer     = Field{Key: "peer", Type: String, Help: "the remote peer's ID"}
	fieldCountry  = Field{Key: "country", Type: String, Help: "the peer's country, ISO 3166-1 alpha-2; none if unknown"}
	fieldInterval = Field{Key: "interval_ms", Type: Int, Unit: "ms", Help: "length of the interval"}
)

// All lists the measurements. Encoding, documentation, dashboards, rollups and tests derive
// from it. A value that a peer can choose is a field, or a tag with a limit.
var All = []*Measurement{
	Wants, Blocks, Presences, Connections, Identifies, Latency, HTTPRequests, Retrievals,
	Traffic, Peers, Origins, AgentVersions, Protocols, Streams, Bandwidth, Routing, NodeTotals, Process,
	Unique, Duplicates, TopCIDs, TopPeers, TopMissing, TopBytesCIDs, TopBytesPeers, AgentBytes, Coverage, Floods, Codecs, CIDVersions, Hashes, LatencyTotals, Derived, Pipeline, Notes,
	DHTRequests, DHTTop, DHTLog,
	HTTPTraffic, Retrieval, RetrievalWants, HTTPTotals, Sending, SendErrors,
	DHTProvide, DHTRetrieve, ProxyTotals, ProxyDownstreams,
	Fleet, FleetMonitors, FleetOverlaps, FleetSizes, FleetTop,
	AgentVersionsMinutes, StreamsMinutes, BandwidthMinutes,
	TopCIDsHours, TopPeersHours, TopMissingHours, TopBytesCIDsHours, TopBytesPeersHours, DHTTopHours, FleetTopHours,
}

var Wants = &Measurement{
	Name: "wants", Kind: History,
	Point:   "one entry of a wantlist, received or sent",
	Answers: "Who requests what from whom, and when?",
	Query:   `SELECT count(cid) FROM wants WHERE time > now() - 1h GROUP BY time(1m), direction, type`,
	Tags: []Tag{tagCodec, TagDirection, tagGateway, tagNode,
		{Key: "type", Values: []string{"want_block", "want_have", "cancel", "other"}, Help: "type of the entry"}},
	Fields: []Field{fieldCID, fieldPeer,
		{Key: "priority", Type: Int, Help: "the entry's priority; meaningless for a cancel"},
		{Key: "send_dont_have", Type: Bool, Help: "whether the sender requests DONT_HAVE"},
		{Key: "full", Type: Bool, Help: "whether the message had a full wantlist, not an update"},
		fieldCountry},
	Rollup: []Sum{{"wants", "count", "cid"}},
}

var Blocks = &Measurement{
	Name: "blocks", Kind: History,
	Point:   "one block in a message, received or sent",
	Answers: "Which data flows through the node, how much, to and from whom?",
	Query:   `SELECT sum(size) FROM blocks WHERE time > now() - 1h GROUP BY time(1m), direction`,
	Tags:    []Tag{tagCodec, TagDirection, tagGateway, tagNode, tagVia},
	Fields: []Field{fieldCID, fieldPeer,
		{Key: "size", Type: Int, Unit: "bytes", Help: "size of the block's data"},
		fieldCountry},
	Rollup: []Sum{{"blocks", "count", "size"}, {"bytes", "sum", "size"}},
}

var Presences = &Measurement{
	Name: "presences", Kind: History,
	Point:   "one HAVE or DONT_HAVE in a message, received or sent",
	Answers: "Who has which CIDs, and who was asked without success?",
	Query:   `SELECT count(cid) FROM presences WHERE time > now() - 1h GROUP BY direction, type`,
	Tags: []Tag{tagCodec, TagDirection, tagGateway, tagNode,
		{Key: "type", Values: []string{"have", "dont_have", "other"}, Help: "HAVE or DONT_HAVE"}},
	Fields: []Field{fieldCID, fieldPeer, fieldCountry},
	Rollup: []Sum{{"presences", "count", "cid"}},
}

var Connections = &Measurement{
	Name: "connections", Kind: History,
	Point:   "one connection opened or closed",
	Answers: "Who connects, over which transport, from where, and for how long?",
	Query:   `SELECT median(duration_ms) FROM connections WHERE state = 'closed' GROUP BY transport, direction`,
	Tags: []Tag{TagInOut,
		{Key: "limited", Values: []string{"false", "true"}, Help: "through a relay, with limits"},
		{Key: "muxer", Values: event.Muxers, Help: "stream multiplexer; none where the transport has its own"},
		tagNode,
		{Key: "security", Values: event.Securities, Help: "secure channel; none where the transport has its own"},
		{Key: "state", Values: []string{"opened", "closed"}, Help: "opened or closed"},
		TagTransport},
	Fields: []Field{fieldPeer,
		{Key: "addr", Type: String, Help: "the remote address"},
		{Key: "duration_ms", Type: Int, Unit: "ms", Help: "how long the connection was open; 0 when opened"},
		{Key: "streams", Type: Int, Help: "streams open on it at that time"},
		{Key: "was_open", Type: Bool, Help: "whether it was open before the monitor started"},
		{Key: "unmatched", Type: Bool, Help: "whether it was closed without its opening being seen"},
		{Key: "peer_conns", Type: Int, Help: "connections to this peer after it"},
		{Key: "total_conns", Type: Int, Help: "connections of the node after it"},
		fieldCountry,
		{Key: "gateway", Type: Bool, Help: "whether the peer is in the list of gateways"}},
	Rollup:   []Sum{{"connections", "count", "duration_ms"}, {"mean_ms", "mean", "duration_ms"}, {"max_ms", "max", "duration_ms"}},
	RollupBy: []string{"direction", "muxer", "node", "security", "state", "transport"},
}

var Identifies = &Measurement{
	Name: "identifies", Kind: History,
	Point:   "one identify answer of a peer",
	Answers: "What software does a peer run, and which protocols does it support?",
	Query:   `SELECT agent, protocols, peer FROM identifies ORDER BY time DESC LIMIT 20`,
	Tags:    []Tag{tagGateway, tagNode},
	Fields: []Field{fieldPeer,
		{Key: "agent", Type: String, Help: "agent version that the peer reports"},
		{Key: "protocol_version", Type: String, Help: "protocol version that the peer reports"},
		{Key: "protocols", Type: Int, Help: "number of protocols it supports"},
		{Key: "listen_addrs", Type: Int, Help: "number of addresses it listens on"},
		{Key: "observed_addr", Type: String, Help: "the node's address as the peer sees it"},
		fieldCountry},
	Rollup: []Sum{{"identifies", "count", "protocols"}},
}

var Latency = &Measurement{
	Name: "latency", Kind: History,
	Point:   "one answer to a pending want, if HistoryLatency is on",
	Answers: "How long does it take until a want is answered, by whom, for what?",
	Query:   `SELECT median(elapsed_us), percentile(elapsed_us, 99) FROM latency WHERE time > now() - 1h GROUP BY direction, answer`,
	Tags: []Tag{TagAnswer, TagDirection, tagGateway, tagNode,
		{Key: "type", Values: []string{"want_block", "want_have", "other"}, Help: "type of the want"}},
	Fields: []Field{fieldCID, fieldPeer,
		{Key: "elapsed_us", Type: Int, Unit: "µs", Help: "time from the want to the answer; direction is that of the want"},
		fieldCountry},
	Rollup: []Sum{{"answers", "count", "elapsed_us"}, {"mean_us", "mean", "elapsed_us"}, {"median_us", "median", "elapsed_us"}, {"max_us", "max", "elapsed_us"}},
}

// OpenTag reports whether the network chooses a tag's values.
func OpenTag(measurement, tag string) bool {
	return slices.ContainsFunc(All, func(m *Measurement) bool {
		return m.Name == measurement && slices.ContainsFunc(m.AllTags(), func(t Tag) bool { return t.Key == tag && t.Limit > 0 })
	})
}
