package schema

import "github.com/ipfsmon/ipfsmon/event"

var tagFamily = Tag{Key: "family", Values: event.AgentFamilies, Help: "family of agents, by the first word of the peer's agent version; unknown: not identified"}

var fieldBytesError = Field{Key: "error", Type: Int, Unit: "bytes", Help: "maximum error of bytes; 0: exact"}

var TopBytesCIDs = &Measurement{
	Name: "top_bytes_cids", Kind: Totals,
	Point:   "one CID among the 20 whose blocks had most bytes in one direction, in one interval of the derived figures",
	Answers: "Which data uses the bandwidth?",
	Query:   `SELECT cid, bytes FROM totals.top_bytes_cids WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{TagDirection, tagNode, tagRank},
	Fields: []Field{fieldCID,
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "data in its blocks; the true number is lower by at most error"},
		fieldBytesError},
}

var TopBytesPeers = &Measurement{
	Name: "top_bytes_peers", Kind: Totals,
	Point:   "one peer among the 20 whose messages had most bytes in one direction, in one interval of the derived figures; HTTP servers are among them",
	Answers: "Which peers use the bandwidth?",
	Query:   `SELECT peer, agent, bytes FROM totals.top_bytes_peers WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{TagDirection, tagNode, tagRank},
	Fields: []Field{fieldPeer,
		{Key: "agent", Type: String, Help: "agent version that the peer reports"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "its messages on the wire; the true number is lower by at most error"},
		fieldBytesError},
}

var AgentBytes = &Measurement{
	Name: "agent_bytes", Kind: Totals,
	Point:   "traffic of the peers of one family of agents in one direction, in one interval of the derived figures; exact",
	Answers: "Which software uses the bandwidth?",
	Query:   `SELECT sum(bytes) FROM totals.agent_bytes WHERE time > now() - 1d GROUP BY family, direction`,
	Tags:    []Tag{TagDirection, tagFamily, tagNode},
	Fields: []Field{
		{Key: "messages", Type: Int, Help: "messages"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "messages on the wire"},
		{Key: "block_bytes", Type: Int, Unit: "bytes", Help: "block data"},
		{Key: "dont_have", Type: Int, Help: "DONT_HAVEs, over Bitswap"}},
}

var Coverage = &Measurement{
	Name: "coverage", Kind: Totals,
	Point:   "the connected peers of one family of agents at the end of one interval of the derived figures; of a family from when it was first seen",
	Answers: "How much of what the connected peers want reaches this node?",
	Query:   `SELECT last(connected), last(asked), last(broadcast) FROM totals.coverage WHERE time > now() - 5m GROUP BY family`,
	Tags:    []Tag{tagFamily, tagNode},
	Fields: []Field{
		{Key: "connected", Type: Int, Help: "connected peers"},
		{Key: "asked", Type: Int, Help: "connected peers that sent a want since they connected"},
		{Key: "broadcast", Type: Int, Help: "connected peers that sent a want like a broadcast: a WANT_HAVE for a block that the node did not have"},
		{Key: "untracked", Type: Int, Help: "connected peers without a family because of a limit; the same in all points of one time"}},
}
