package schema

import "github.com/ipfsmon/ipfsmon/event"

var Floods = &Measurement{
	Name: "floods", Kind: Totals,
	Point:   "a peer that sends the node more wants or messages than a node can use: when that began, once in each interval of the derived figures while it continues, and when it ended",
	Answers: "Who floods the node, and how is that peer blocked?",
	Query:   `SELECT peer, agent, addr, want_rate, command FROM totals.floods WHERE time > now() - 1d AND state = 'began' ORDER BY time DESC`,
	Tags: []Tag{tagNode,
		{Key: "state", Values: event.FloodStates, Help: "began, runs or ended"}},
	Fields: []Field{fieldPeer,
		{Key: "agent", Type: String, Help: "agent version as the peer reports it"},
		{Key: "addr", Type: String, Help: "address of one of its connections"},
		fieldCountry,
		{Key: "gateway", Type: Bool, Help: "the peer is in the list of gateways"},
		{Key: "lasted_ms", Type: Int, Unit: "ms", Help: "since the flood began"},
		{Key: "wants", Type: Int, Help: "wants received since then"},
		{Key: "messages", Type: Int, Help: "messages received since then"},
		{Key: "want_rate", Type: Int, Unit: "1/s", Help: "wants in the last two seconds with too much"},
		{Key: "message_rate", Type: Int, Unit: "1/s", Help: "messages in these"},
		{Key: "share_permille", Type: Int, Unit: "‰", Help: "its part of the wants, or of the messages, that the node received in these, whichever is more"},
		{Key: "repeats_permille", Type: Int, Unit: "‰", Help: "part of its wants that repeat one of the last 31 s"},
		{Key: "command", Type: String, Help: "what blocks it in kubo; empty through a relay, and where the peer has a pseudonym"}},
}
