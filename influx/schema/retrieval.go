package schema

import "github.com/ipfsmon/ipfsmon/event"

// tagVia is how a message travelled. Points of Bitswap over libp2p, which are
// nearly all, do not have the tag.
var tagVia = Tag{Key: "transport", Values: []string{"", "http"}, Help: "http: over HTTP from a gateway; points of Bitswap over libp2p do not have the tag"}

// Tags of retrieval.
var (
	TagSource  = Tag{Key: "source", Values: event.SourceNames[:], Help: "where the provider came from; connected: a peer that was connected for another reason and was asked; routing: the routing named it for this CID before it was asked; session: it is connected because the routing named it for another CID; http: an HTTP gateway; unknown: when it was asked is not known"}
	TagMethod  = Tag{Key: "method", Values: event.RequestMethods[:], Help: "GET: a want of a block; HEAD: a want of a HAVE"}
	TagOutcome = Tag{Key: "outcome", Values: event.RequestOutcomeNames[:], Help: "block, have, dont_have: what the server answered; canceled: before an answer the node no longer wanted it; timeout, error: it could not be sent; no_answer: the exchange reported nothing within 30 s, because the server or the connection failed, or the server does not have it and the want did not ask for DONT_HAVE, as those of broadcasts do not"}
	TagVia     = Tag{Key: "transport", Values: []string{"libp2p", "http"}, Help: "libp2p: Bitswap; http: requests to gateways"}
)

// spread are the fields of a distribution of times.
func spread(name, of string) []Field {
	return []Field{
		{Key: name + "sum_us", Type: Int, Unit: "µs", Help: of + ", together"},
		{Key: name + "p50_us", Type: Int, Unit: "µs", Help: "half of them took at most so long"},
		{Key: name + "p90_us", Type: Int, Unit: "µs", Help: "nine tenths"},
		{Key: name + "p99_us", Type: Int, Unit: "µs", Help: "99 of 100"},
		{Key: name + "max_us", Type: Int, Unit: "µs", Help: "the longest"},
	}
}

var HTTPRequests = &Measurement{
	Name: "http_requests", Kind: History,
	Point:   "one want that was asked over HTTP, when it ended, where HistoryLatency is on",
	Answers: "Which gateways are asked for what, and how does that end?",
	Query:   `SELECT count(elapsed_us), median(elapsed_us) FROM http_requests WHERE time > now() - 1h GROUP BY method, outcome`,
	Tags:    []Tag{tagGateway, TagMethod, tagNode, TagOutcome},
	Fields: []Field{fieldCID, fieldPeer,
		{Key: "host", Type: String, Help: "the server's host and port"},
		{Key: "elapsed_us", Type: Int, Unit: "µs", Help: "from the want to its end; the exchange reports the answers to one message's wants together"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "size of the block; 0 if none came"},
		fieldCountry},
	Rollup: []Sum{{"requests", "count", "elapsed_us"}, {"max_us", "max", "elapsed_us"}},
}

var Retrievals = &Measurement{
	Name: "retrievals", Kind: History,
	Point:   "one block that the node wanted, when it first came, where HistoryLatency is on",
	Answers: "Who had what the node wanted, how was that peer found, and how long did it take?",
	Query:   `SELECT count(size), median(provider_us), median(block_us) FROM retrievals WHERE time > now() - 1h GROUP BY source`,
	Tags:    []Tag{tagGateway, tagNode, TagSource},
	Fields: []Field{fieldCID, fieldPeer,
		{Key: "size", Type: Int, Unit: "bytes", Help: "size of the block's data"},
		{Key: "provider_us", Type: Int, Unit: "µs", Help: "from the first want or search to the first record of a provider, HAVE or block"},
		{Key: "block_us", Type: Int, Unit: "µs", Help: "from the first want or search to the block"},
		fieldCountry},
	Rollup: []Sum{{"retrievals", "count", "block_us"}, {"max_us", "max", "block_us"}},
}

var HTTPTraffic = &Measurement{
	Name: "http_traffic", Kind: Totals,
	Point:   "what the exchange sent or received over HTTP in one interval, counted at capture; a series begins with the first message",
	Answers: "How much is exchanged over HTTP, also when history is off or incomplete?",
	Query:   `SELECT sum(blocks), sum(block_bytes) FROM totals.http_traffic WHERE time > now() - 1d GROUP BY time(10m), direction`,
	Tags:    Traffic.Tags,
	Fields:  Traffic.Fields,
}

var Retrieval = &Measurement{
	Name: "retrieval", Kind: Totals,
	Point:   "the blocks that the node wanted and got from one source, in one interval of the derived figures; quantiles to 3.2 %",
	Answers: "Where does what the node wants come from, and how long does it take?",
	Query:   `SELECT sum(blocks), sum(bytes) FROM totals.retrieval WHERE time > now() - 1d GROUP BY source`,
	Tags:    []Tag{tagNode, TagSource},
	Fields: append(append([]Field{fieldInterval,
		{Key: "blocks", Type: Int, Help: "blocks, each counted when it first came"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "data in the blocks"}},
		spread("provider_", "times from the first want or search to the first record of a provider, HAVE or block")...),
		spread("block_", "times from the first want or search to the block")...),
}

var RetrievalWants = &Measurement{
	Name: "retrieval_wants", Kind: Totals,
	Point:   "what the node wanted in one interval of the derived figures, and its searches for providers",
	Answers: "How much of what the node wants does it get, and what does the routing find?",
	Query:   `SELECT sum(wanted), sum(given_up), sum(unanswered) FROM totals.retrieval_wants WHERE time > now() - 1d GROUP BY time(1h)`,
	Tags:    []Tag{tagNode},
	Fields: append([]Field{fieldInterval,
		{Key: "wanted", Type: Int, Help: "CIDs that the node began to want"},
		{Key: "given_up", Type: Int, Help: "CIDs whose want was cancelled before a block came"},
		{Key: "unanswered", Type: Int, Help: "CIDs that never came and were not asked for again for five minutes"},
		{Key: "waiting", Type: Int, Help: "CIDs that wait at the end of the interval"},
		{Key: "lost", Type: Int, Help: "waiting CIDs and records forgotten because of the bound on memory"},
		{Key: "surplus", Type: Int, Help: "blocks received that were not waited for: mostly second copies"},
		{Key: "surplus_bytes", Type: Int, Unit: "bytes", Help: "data in these"},
		{Key: "searches", Type: Int, Help: "searches for providers that began"},
		{Key: "providers", Type: Int, Help: "records that the routing returned"},
		{Key: "not_found", Type: Int, Help: "searches that ended without a record"}},
		spread("search_", "times that searches took which ended")...),
}

var HTTPTotals = &Measurement{
	Name: "http_totals", Kind: Totals,
	Point:   "the wants asked over HTTP by one method that ended in one way, in one interval of the derived figures; quantiles to 3.2 %; a series begins with the first",
	Answers: "How much is asked over HTTP, how does it end, and how fast, also when history is off?",
	Query:   `SELECT sum(requests), sum(bytes) FROM totals.http_totals WHERE time > now() - 1d GROUP BY method, outcome`,
	Tags:    []Tag{TagMethod, tagNode, TagOutcome},
	Fields: append([]Field{fieldInterval,
		{Key: "requests", Type: Int, Help: "requests that ended"},
		{Key: "bytes", Type: Int, Unit: "bytes", Help: "data in the blocks that came"}},
		spread("", "their times from the want")...),
}

var Sending = &Measurement{
	Name: "sending", Kind: Totals,
	Point:   "the messages that the node sent over one transport, in one interval of the derived figures; quantiles to 3.2 %",
	Answers: "How long does sending take?",
	Query:   `SELECT max(p50_us), max(p99_us) FROM totals.sending WHERE time > now() - 1d AND messages > 0 GROUP BY time(10m), transport`,
	Tags:    []Tag{tagNode, TagVia},
	Fields: append([]Field{fieldInterval,
		{Key: "messages", Type: Int, Help: "messages that were sent"}},
		spread("", "times that the exchange's network took to send them; over HTTP, to hand the requests to its workers")...),
}

var SendErrors = &Measurement{
	Name: "send_errors", Kind: Totals,
	Point:   "the messages that could not be sent over one transport for one reason, in one interval of the derived figures; a series begins with the first",
	Answers: "What could not be sent, and why?",
	Query:   `SELECT sum(messages) FROM totals.send_errors WHERE time > now() - 1d GROUP BY class, transport`,
	Tags: []Tag{
		{Key: "class", Values: event.SendErrors[:], Help: "canceled: the exchange no longer wanted to send it; timeout; other: the stream or the connection failed"},
		tagNode, TagVia},
	Fields: []Field{fieldInterval,
		{Key: "messages", Type: Int, Help: "messages that were not sent, or not whole"},
		{Key: "wants", Type: Int, Help: "entries of wantlists in them, cancels too"},
		{Key: "presences", Type: Int, Help: "HAVEs and DONT_HAVEs in them"},
		{Key: "blocks", Type: Int, Help: "blocks in them"},
		{Key: "sum_us", Type: Int, Unit: "µs", Help: "times until the errors, together"}},
}
