package schema

import "github.com/ipfsmon/ipfsmon/event"

// Tags of the DHT's requests.
var (
	tagDHTType      = Tag{Key: "type", Values: event.DHTTypeNames[:], Help: "what was asked for; unsent: no stream to the peer could be opened, so nothing was asked"}
	tagDHTDirection = Tag{Key: "direction", Values: TagDirection.Values, Help: "received: peers ask this node; sent: this node asks peers"}
)

var DHTRequests = &Measurement{
	Name: "dht_requests", Kind: Totals,
	Point:   "requests of the DHT's protocol of one type and direction in one interval of the derived figures; none where there was none",
	Answers: "What does the DHT ask of the node, and the node of the DHT?",
	Query:   `SELECT sum(requests) FROM totals.dht_requests WHERE time > now() - 1d AND direction = 'received' GROUP BY time(1h), type`,
	Tags:    []Tag{tagDHTDirection, tagNode, tagDHTType},
	Fields: []Field{fieldInterval,
		{Key: "requests", Type: Int, Help: "requests"},
		{Key: "failed", Type: Int, Help: "of these, without an answer: the stream ended"},
		{Key: "timeouts", Type: Int, Help: "of these, without an answer in the 10 s that kad-dht waits"},
		{Key: "canceled", Type: Int, Help: "of these, that the node stopped waiting for, as a lookup does that has found enough"},
		{Key: "peers", Type: Int, Help: "distinct peers with requests of this type, estimated"},
		{Key: "all_peers", Type: Int, Help: "distinct peers with requests of any type, estimated; the same in all points of one time and direction"},
		{Key: "p50_us", Type: Int, Unit: "µs", Help: "half of the answers took at most so long"},
		{Key: "p90_us", Type: Int, Unit: "µs", Help: "nine tenths"},
		{Key: "p99_us", Type: Int, Unit: "µs", Help: "99 of 100"},
		{Key: "max_us", Type: Int, Unit: "µs", Help: "the longest"}},
}

var DHTTop = &Measurement{
	Name: "dht_top", Kind: Totals,
	Point:   "one key among those whose providers were asked for most in one interval of the derived figures, or one family of agents that asked, or was asked",
	Answers: "What is looked for in the DHT, and by which software?",
	Query:   `SELECT cid, requests FROM totals.dht_top WHERE time > now() - 1h AND direction = 'received' AND list = 'keys' AND rank = '01'`,
	Tags: []Tag{tagDHTDirection,
		{Key: "list", Values: []string{"keys", "agents"}, Help: "what is listed: keys of get_providers, or families of agents"},
		tagNode, tagRank},
	Fields: []Field{
		{Key: "cid", Type: String, Help: "the key as a CID: version 1, codec raw, in base32; a provider record does not have the codec. \"\" of an agent"},
		{Key: "agent", Type: String, Help: "the family of agents as in agent_bytes, unknown of peers that were not identified; \"\" of a key"},
		{Key: "requests", Type: Int, Help: "requests; the true number is at most error less"},
		{Key: "error", Type: Int, Help: "requests may be too high by this; 0 of agents"},
		{Key: "peers", Type: Int, Help: "of a key: distinct peers, too low by at most error; else 0"}},
}

var DHTLog = &Measurement{
	Name: "dht_log", Kind: History,
	Point:   "one request of the DHT's protocol that has ended, where HistoryDHT is on",
	Answers: "Who asks the DHT for what, and who is asked?",
	Query:   `SELECT peer, target FROM dht_log WHERE time > now() - 10m AND direction = 'received' AND type = 'add_provider'`,
	Tags: []Tag{tagDHTDirection, tagNode,
		{Key: "status", Values: event.DHTStatusNames[:], Help: "how it ended"},
		tagDHTType},
	Fields: []Field{
		{Key: "table", Type: String, Help: "which DHT: wan or lan"},
		{Key: "target", Type: String, Help: "what was asked for: a CID (version 1, codec raw) for provider records, a peer ID for find_node, the name of a value; other keys as 0x and hexadecimal digits"},
		fieldPeer,
		{Key: "elapsed_us", Type: Int, Unit: "µs", Help: "until the answer, or until the wait for it ended"},
		{Key: "providers", Type: Int, Help: "provider records in the answer; of add_provider those in the request"},
		{Key: "closer", Type: Int, Help: "peers in the answer that are closer to the key"},
		fieldCountry},
}
