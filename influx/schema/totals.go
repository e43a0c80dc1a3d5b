package schema

import (
	"fmt"
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
)

func ranks() []string {
	out := make([]string, MaxRank)
	for i := range out {
		out[i] = fmt.Sprintf("%02d", i+1)
	}
	return out
}

var Traffic = &Measurement{
	Name: "traffic", Kind: Totals,
	Point:   "Bitswap traffic of one direction in one interval, counted at capture, without what travelled over HTTP",
	Answers: "How much Bitswap traffic is there, also when history is off or incomplete?",
	Query:   `SELECT sum(blocks), sum(block_bytes) FROM totals.traffic WHERE time > now() - 1d GROUP BY time(10m), direction`,
	Tags:    []Tag{TagDirection, tagNode},
	Fields: []Field{
		fieldInterval,
		{Key: "messages", Type: Int, Help: "messages"},
		{Key: "want_block", Type: Int, Help: "wants for a block"},
		{Key: "want_have", Type: Int, Help: "wants for a HAVE"},
		{Key: "cancel", Type: Int, Help: "cancelled wants"},
		{Key: "have", Type: Int, Help: "HAVEs"},
		{Key: "dont_have", Type: Int, Help: "DONT_HAVEs"},
		{Key: "blocks", Type: Int, Help: "blocks"},
		{Key: "block_bytes", Type: Int, Unit: "bytes", Help: "block data"},
		{Key: "truncated", Type: Int, Help: "entries beyond the limit of one message: counted in the other fields, but without a point of history"}},
}

var Peers = &Measurement{
	Name: "peers", Kind: Totals,
	Point:   "peers of one direction and transport at the end of an interval; tcp and quic-v1 always, others once they have been seen",
	Answers: "How many peers is the node connected to, and how?",
	Query:   `SELECT sum(connected) FROM (SELECT last(connected) AS connected FROM totals.peers WHERE time > now() - 1m GROUP BY direction, transport)`,
	Tags:    []Tag{TagInOut, tagNode, TagTransport},
	Fields: []Field{
		{Key: "connected", Type: Int, Help: "connected peers, each counted once by its oldest connection"},
		{Key: "known", Type: Int, Help: "peers in the peerstore; the same in all points of one time"}},
}

var Origins = &Measurement{
	Name: "origins", Kind: Totals,
	Point:   "Bitswap traffic of one interval with the peers of one country, gateways separately; counted from the events that the monitor derives figures from, also when history is off",
	Answers: "Where are the peers, and what is the share of gateways?",
	Query:   `SELECT sum(wants) FROM totals.origins WHERE time > now() - 1d AND direction = 'received' GROUP BY country`,
	Tags: []Tag{{Key: "country", Values: event.Countries, Help: "ISO 3166-1 alpha-2; none if unknown"},
		TagDirection, tagGateway, tagNode},
	Fields: []Field{
		{Key: "messages", Type: Int, Help: "messages"},
		{Key: "wants", Type: Int, Help: "wants, without cancels"},
		{Key: "blocks", Type: Int, Help: "blocks"},
		{Key: "block_bytes", Type: Int, Unit: "bytes", Help: "block data"},
		{Key: "connections", Type: Int, Help: "opened connections: received if the peer opened it, else sent"}},
}

var AgentVersions = &Measurement{
	Name: "agent_versions", Kind: Totals,
	Point:   "connected peers with one agent version at the end of an interval",
	Answers: "Which software do the connected peers run?",
	Query:   `SELECT last(peers) FROM totals.agent_versions WHERE time > now() - 5m GROUP BY agent`,
	Tags: []Tag{
		{Key: "agent", Limit: MaxAgents, Help: "agent version: the most frequent ones, at most 500 in one run; the rest is summed as others"},
		tagNode},
	Fields: []Field{{Key: "peers", Type: Int, Help: "connected peers"}},
}

var Protocols = &Measurement{
	Name: "protocols", Kind: Totals,
	Point:   "connected peers that support one protocol at the end of an interval; a peer is counted for each of its protocols",
	Answers: "Which protocols do the connected peers support?",
	Query:   `SELECT last(peers) FROM totals.protocols WHERE time > now() - 5m GROUP BY protocol`,
	Tags:    []Tag{tagNode, TagProtocol},
	Fields:  []Field{{Key: "peers", Type: Int, Help: "connected peers"}},
}

var Streams = &Measurement{
	Name: "streams", Kind: Totals,
	Point:   "open streams of one protocol and direction at the end of an interval",
	Answers: "What are the connections used for?",
	Query:   `SELECT last(streams) FROM totals.streams WHERE time > now() - 5m GROUP BY protocol, direction`,
	Tags: []Tag{{Key: "direction", Values: []string{"inbound", "outbound", "unknown"}, Help: "who opened it"},
		tagNode, TagProtocol},
	Fields: []Field{{Key: "streams", Type: Int, Help: "open streams"}},
}

var Bandwidth = &Measurement{
	Name: "bandwidth", Kind: Totals,
	Point:   "libp2p's byte counters of one protocol at the end of an interval",
	Answers: "Which protocols use the bandwidth?",
	Query:   `SELECT max(in_rate), max(out_rate) FROM totals.bandwidth WHERE time > now() - 1h GROUP BY time(1m), protocol`,
	Tags:    []Tag{tagNode, TagProtocol},
	Fields:  bandwidthFields,
}

var bandwidthFields = []Field{
	{Key: "in_bytes", Type: Int, Unit: "bytes", Help: "received since the node's start"},
	{Key: "out_bytes", Type: Int, Unit: "bytes", Help: "sent since the node's start"},
	{Key: "in_rate", Type: Int, Unit: "bytes/s", Help: "received in roughly the last second"},
	{Key: "out_rate", Type: Int, Unit: "bytes/s", Help: "sent in roughly the last second"},
}

var Routing = &Measurement{
	Name: "routing", Kind: Totals,
	Point:   "one of the node's DHT routing tables at the end of an interval",
	Answers: "How well is the node connected to the DHT?",
	Query:   `SELECT last(peers) FROM totals.routing WHERE time > now() - 5m GROUP BY table`,
	Tags:    []Tag{tagNode, {Key: "table", Values: []string{"wan", "lan", "other"}, Help: "which DHT"}},
	Fields:  []Field{{Key: "peers", Type: Int, Help: "peers in the table"}},
}

var NodeTotals = &Measurement{
	Name: "node", Kind: Totals,
	Point:   "the node at the end of an interval",
	Answers: "What is the state of the node?",
	Query:   `SELECT mean(connections), mean(wantlist), last(repo_bytes) FROM totals.node WHERE time > now() - 1d GROUP BY time(10m)`,
	Tags:    []Tag{tagNode},
	Fields: append([]Field{
		{Key: "connections", Type: Int, Help: "open connections"},
		{Key: "wantlist", Type: Int, Help: "CIDs in the node's wantlist"},
		{Key: "ledgers", Type: Int, Help: "peers that Bitswap's server keeps a ledger for"},
		{Key: "repo_bytes", Type: Int, Unit: "bytes", Help: "size of the repository; -1 if unknown"},
	}, bandwidthFields...),
}

var Process = &Measurement{
	Name: "process", Kind: Totals,
	Point:   "the node's process at the end of an interval, including the monitor",
	Answers: "Which resources does the node use?",
	Query:   `SELECT spread(cpu_ms), max(resident_bytes) FROM totals.process WHERE time > now() - 1h GROUP BY time(1m)`,
	Tags:    []Tag{tagNode},
	Fields: []Field{
		{Key: "cpu_ms", Type: Int, Unit: "ms", Help: "user and system processor time since the start"},
		{Key: "resident_bytes", Type: Int, Unit: "bytes", Help: "resident memory"},
		{Key: "heap_bytes", Type: Int, Unit: "bytes", Help: "memory in use by Go's objects"},
		{Key: "goroutines", Type: Int, Help: "goroutines"},
		{Key: "open_files", Type: Int, Help: "open file descriptors; -1 if unknown"}},
}

var Unique = &Measurement{
	Name: "unique", Kind: Totals,
	Point:   "distinct CIDs and peers of one direction in one interval of the derived figures; estimates with a standard error of 0.81 %",
	Answers: "How many different CIDs and peers are there?",
	Query:   `SELECT mean(cids), max(peers) FROM totals.unique WHERE time > now() - 1d GROUP BY time(10m), direction`,
	Tags:    []Tag{TagDirection, tagNode},
	Fields: []Field{fieldInterval,
		{Key: "cids", Type: Int, Help: "distinct CIDs in wants"},
		{Key: "peers", Type: Int, Help: "distinct peers in messages of that direction"},
		{Key: "askers", Type: Int, Help: "distinct peers in wants of that direction, over Bitswap and without cancels"}},
}

var Duplicates = &Measurement{
	Name: "duplicates", Kind: Totals,
	Point:   "wants of one direction that repeat one with the same peer, CID and type, in one interval of the derived figures",
	Answers: "How much of the traffic is repeated?",
	Query:   `SELECT sum(duplicates), sum(rebroadcasts) FROM totals.duplicates WHERE time > now() - 1d GROUP BY time(10m), direction`,
	Tags:    []Tag{TagDirection, tagNode},
	Fields: []Field{fieldInterval,
		{Key: "duplicates", Type: Int, Help: "repeats within 31 s"},
		{Key: "rebroadcasts", Type: Int, Help: "repeats after 29 to 46 s, as Bitswap sends them"}},
}

var TopCIDs = &Measurement{
	Name: "top_cids", Kind: Totals,
	Point:   "one CID among the most wanted of one interval of the derived figures, received wants only",
	Answers: "What is wanted most?",
	Query:   `SELECT sum(wants) FROM totals.top_cids WHERE time > now() - 1d AND list = 'wants' GROUP BY time(1h), rank`,
	Tags: []Tag{{Key: "list", Values: []string{"wants", "peers"}, Help: "ordered by number of wants, or of distinct peers"},
		tagNode, tagRank},
	Fields: []Field{fieldCID,
		{Key: "wants", Type: Int, Help: "wants for it; the true number is lower by at most error"},
		{Key: "error", Type: Int, Help: "maximum error of wants"},
		{Key: "peers", Type: Int, Help: "distinct peers that wanted it, estimated"}},
}

var TopPeers = &Measurement{
	Name: "top_peers", Kind: Totals,
	Point:   "one peer among those that sent most wants in one interval of the derived figures",
	Answers: "Who wants most?",
	Query:   `SELECT peer, agent, wants FROM totals.top_peers WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{tagNode, tagRank},
	Fields: []Field{fieldPeer,
		{Key: "agent", Type: String, Help: "agent version that the peer reports"},
		{Key: "wants", Type: Int, Help: "wants received from it; the true number is lower by at most error"},
		{Key: "error", Type: Int, Help: "maximum error of wants"}},
}

var TopMissing = &Measurement{
	Name: "top_missing", Kind: Totals,
	Point:   "one CID among those of the most DONT_HAVEs that the node sent in one interval of the derived figures",
	Answers: "What is asked for most that the node does not have?",
	Query:   `SELECT cid, asked FROM totals.top_missing WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{tagNode, tagRank},
	Fields: []Field{fieldCID,
		{Key: "asked", Type: Int, Help: "DONT_HAVEs sent for it; the true number is lower by at most error"},
		{Key: "error", Type: Int, Help: "maximum error of asked"}},
}

// share returns a measurement of received wants by one property of their CIDs.
func share(name, key, what string, values ...string) *Measurement {
	return &Measurement{
		Name: name, Kind: Totals,
		Point:   "received wants of one " + what + " in one interval of the derived figures",
		Answers: "Which " + what + "s have the wanted CIDs?",
		Query:   fmt.Sprintf("SELECT sum(wants) FROM totals.%s WHERE time > now() - 1d GROUP BY time(1h), %s", name, key),
		Tags:    []Tag{{Key: key, Values: values, Help: what + " of the CID"}, tagNode},
		Fields:  []Field{{Key: "wants", Type: Int, Help: "received wants, without cancels"}},
	}
}

var (
	Codecs = share("codecs", "codec", "codec",
		"dag-pb", "raw", "dag-cbor", "dag-json", "libp2p-key", "cbor", "json", "git-raw", "other")
	CIDVersions = share("cid_versions", "cid_version", "CID version", "0", "1", "other")
	Hashes      = share("hashes", "hash", "hash function",
		"sha2-256", "identity", "sha2-512", "sha3-256", "sha3-512", "keccak-256", "blake2b-256", "blake3", "dbl-sha2-256", "other")
)

var LatencyTotals = &Measurement{
	Name: "latency_totals", Kind: Totals,
	Point:   "the answers of one type to wants of one direction, in one interval of the derived figures; quantiles to 3.2 %",
	Answers: "How fast are wants answered, also when history is off?",
	Query:   `SELECT max(p50_us), max(p99_us) FROM totals.latency_totals WHERE time > now() - 1d AND answers > 0 GROUP BY time(10m), direction, answer`,
	Tags:    []Tag{TagAnswer, TagDirection, tagNode},
	Fields: []Field{fieldInterval,
		{Key: "answers", Type: Int, Help: "answers to pending wants"},
		{Key: "sum_us", Type: Int, Unit: "µs", Help: "sum of their times from want to answer"},
		{Key: "p50_us", Type: Int, Unit: "µs", Help: "median"},
		{Key: "p90_us", Type: Int, Unit: "µs", Help: "90th percentile"},
		{Key: "p99_us", Type: Int, Unit: "µs", Help: "99 of 100"},
		{Key: "max_us", Type: Int, Unit: "µs", Help: "maximum"}},
}

var Derived = &Measurement{
	Name: "derived", Kind: Totals,
	Point:   "the completeness of one interval of the derived figures",
	Answers: "How complete are unique, duplicates, top_cids, top_peers, the shares and latency_totals?",
	Query:   `SELECT sum(missed), sum(lost), max(pending) FROM totals.derived WHERE time > now() - 1d GROUP BY time(1h)`,
	Tags:    []Tag{tagNode},
	Fields: []Field{fieldInterval,
		{Key: "missed", Type: Int, Help: "events lost before they could be counted"},
		{Key: "pending", Type: Int, Help: "wants without an answer so far"},
		{Key: "lost", Type: Int, Help: "wants dropped because of the memory limit"}},
}

var Pipeline = &Measurement{
	Name: "pipeline", Kind: Totals,
	Point:   "the monitor itself at the end of an interval; counters are since its start",
	Answers: "Does the monitor lose anything, and where?",
	Query:   `SELECT spread(missed), spread(dropped), spread(rejected), max(lag_ms) FROM totals.pipeline WHERE time > now() - 1d GROUP BY time(10m)`,
	Tags:    []Tag{tagNode},
	Fields: []Field{
		{Key: "limited", Type: Int, Help: "messages without an event because of their peer's rate limit"},
		{Key: "send_errors", Type: Int, Help: "messages that could not be sent to a peer"},
		{Key: "published", Type: Int, Help: "events accepted by the bus"},
		{Key: "held", Type: Int, Help: "events in the bus now"},
		{Key: "held_bytes", Type: Int, Unit: "bytes", Help: "memory of the events in the bus"},
		{Key: "missed", Type: Int, Help: "events that a sink lost because it read too slowly, sum over all sinks"},
		{Key: "accepted", Type: Int, Help: "points encoded"},
		{Key: "stored", Type: Int, Help: "points stored in InfluxDB"},
		{Key: "dropped", Type: Int, Help: "points lost"},
		{Key: "rejected", Type: Int, Help: "points that InfluxDB refused"},
		{Key: "queued", Type: Int, Help: "points waiting now"},
		{Key: "queue_bytes", Type: Int, Unit: "bytes", Help: "memory of the waiting points"},
		{Key: "lag_ms", Type: Int, Unit: "ms", Help: "age of the oldest waiting point"},
		{Key: "spool_bytes", Type: Int, Unit: "bytes", Help: "points waiting on disk"},
		{Key: "spool_permille", Type: Int, Unit: "‰", Help: "fill level of the spool, the maximum of several destinations"},
		{Key: "subscribers", Type: Int, Help: "subscribers of the event stream now"},
		{Key: "stream_dropped", Type: Int, Help: "events that slow subscribers missed"},
		{Key: "panics", Type: Int, Help: "internal errors of the monitor that lost one event each"}},
}

// KnownProtocols always are among the values of the tag protocol, so that peers with invented
// names cannot displace them.
var KnownProtocols = strings.Fields(`
/ipfs/bitswap /ipfs/bitswap/1.0.0 /ipfs/bitswap/1.1.0 /ipfs/bitswap/1.2.0 /ipfs/kad/1.0.0 /ipfs/lan/kad/1.0.0
/ipfs/id/1.0.0 /ipfs/id/push/1.0.0 /ipfs/ping/1.0.0 /p2p/id/delta/1.0.0 /http/1.1
/libp2p/autonat/1.0.0 /libp2p/autonat/2/dial-request /libp2p/autonat/2/dial-back
/libp2p/circuit/relay/0.1.0 /libp2p/circuit/relay/0.2.0/hop /libp2p/circuit/relay/0.2.0/stop /libp2p/dcutr /libp2p/fetch/0.0.1
/meshsub/1.0.0 /meshsub/1.1.0 /meshsub/1.2.0 /floodsub/1.0.0 /ipfs/graphsync/2.0.0 /ipfs/graphsync/1.0.0`)
