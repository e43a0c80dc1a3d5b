package schema

import "github.com/ipfsmon/ipfsmon/event"

var tagFamily = Tag{Key: "family", Values: event.AgentFamilies, Help: "family of agents, by the first word of what a peer calls itself; unknown: it was not identified"}

var fieldBytesError = Field{Key: "error", Type: Int, Unit: "bytes", Help: "bytes may be too high by this; 0 is exact"}

var TopBytesCIDs = &Measurement{
	Name: "top_bytes_cids", Kind: Totals,
	Point:   "one CID among the 20 whose blocks had most bytes in one direction, in one interval of the derived figures",
	Answers: "Which data uses the line?",
	Query:   `SELECT cid, bytes FROM totals.top_bytes_cids WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{TagDirection, tagNode, tagRank},
	Fields: []Field{fieldCID,
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "data in its blocks; the true number is at most error less"},
		fieldBytesError},
}

var TopBytesPeers = &Measurement{
	Name: "top_bytes_peers", Kind: Totals,
	Point:   "one peer among the 20 whose messages had most bytes in one direction, in one interval of the derived figures; HTTP servers are among them",
	Answers: "Who uses the line?",
	Query:   `SELECT peer, agent, bytes FROM totals.top_bytes_peers WHERE time > now() - 1h AND rank = '01'`,
	Tags:    []Tag{TagDirection, tagNode, tagRank},
	Fields: []Field{fieldPeer,
		{Key: "agent", Type: String, Help: "agent version as the peer reports it"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "its messages on the wire; the true number is at most error less"},
		fieldBytesError},
}

var AgentBytes = &Measurement{
	Name: "agent_bytes", Kind: Totals,
	Point:   "what the peers of one family of agents exchanged in one direction, in one interval of the derived figures; exact",
	Answers: "Which software uses the line?",
	Query:   `SELECT sum(bytes) FROM totals.agent_bytes WHERE time > now() - 1d GROUP BY family, direction`,
	Tags:    []Tag{TagDirection, tagFamily, tagNode},
	Fields: []Field{
		{Key: "messages", Type: Int, Help: "messages"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "these on the wire"},
		{Key: "block_bytes", Type: Int, Unit: "bytes", Help: "data in their blocks"}},
}

var Coverage = &Measurement{
	Name: "coverage", Kind: Totals,
	Point:   "the connected peers of one family of agents at the end of one interval of the derived figures",
	Answers: "How much of what the connected peers want reaches this node?",
	Query:   `SELECT last(connected), last(asked), last(broadcast) FROM totals.coverage WHERE time > now() - 5m GROUP BY family`,
	Tags:    []Tag{tagFamily, tagNode},
	Fields: []Field{
		{Key: "connected", Type: Int, Help: "connected peers"},
		{Key: "asked", Type: Int, Help: "of these, peers that sent a want since they connected"},
		{Key: "broadcast", Type: Int, Help: "of these, peers that sent a want like a broadcast: a WANT_HAVE that the node had nothing for"},
		{Key: "untracked", Type: Int, Help: "connected peers that are in no family because there was no room; the same in all points of one time"}},
}
