package grafana

// worst is the greatest of each step of one field, in series of a tag.
func worst(m, field, where, by string) Query {
	return series("$tag_"+by, `SELECT max(`+field+`) FROM totals.`+m+` WHERE {w} AND `+where+` GROUP BY {i}, `+by+` fill(null)`)
}

// retrievalRow shows where the blocks come from that the node wants.
func retrievalRow() row {
	return row{
		title: "Where blocks come from",
		read:  "**How to read it:** the blocks that the node wanted, by where the peer came from that sent them: connected for another reason, named by the routing for this CID or for another one of the session, or an HTTP gateway. Times begin with the first want or search.",
		panels: []*panel{
			lines("Blocks by source", "cps", "Blocks that the node wanted and got, per second, each counted when it first came. Much from routing: the content is not at the peers that are connected, and each search costs a second and more.",
				series("$tag_source", rate("retrieval", "", "source", "blocks"))).minutes().stacked(),
			lines("Data by source", "Bps", "Bytes in these blocks, per second.",
				series("$tag_source", rate("retrieval", "", "source", "bytes"))).minutes().stacked(),
			lines("Wants without a block", "cps", "CIDs per second whose want was cancelled before a block came, and those that nobody answered for five minutes; and blocks that came though nothing waited for them, mostly second copies.",
				series("$col", rate("retrieval_wants", "", "", "given_up:given up", "unanswered", "surplus"))).minutes().colors("given up", "orange", "unanswered", "red", "surplus", "purple"),
			lines("Time to the first provider", "µs", "Nine tenths of the blocks had a first provider (a record of the routing, a HAVE or the block) within this time, by source. Of each minute; longer steps and several nodes show the worst.",
				worst("retrieval", "provider_p90_us", "blocks > 0", "source")).minutes().logarithmic(),
			lines("Time to the block, by source", "µs", "Nine tenths of the blocks came within this time, by source. Of each minute; longer steps and several nodes show the worst.",
				worst("retrieval", "block_p90_us", "blocks > 0", "source")).minutes().logarithmic(),
			lines("Searches for providers", "cps", "Searches that the exchange made in the routing, per second, the records that it returned, and searches that ended without one.",
				series("$col", rate("retrieval_wants", "", "", "searches", "providers", "not_found:nothing found"))).minutes().colors("searches", "blue", "providers", "green", "nothing found", "red"),
			cells("Blocks that were wanted last", "short", "The newest blocks that the node wanted and got, with their source and times.",
				rows(`SELECT cid, source, size, provider_us, block_us, peer FROM history.retrievals WHERE {w} ORDER BY time DESC LIMIT 50`)).
				override("byName", "size", "unit", "bytes", "displayName", "Size").override("byName", "provider_us", "unit", "µs", "displayName", "First provider").
				override("byName", "block_us", "unit", "µs", "displayName", "Block").link("cid", "What is it?", cidLink).size(24, 8).empty(noHistory),
		},
	}
}

// httpRow shows what is asked over HTTP.
func httpRow() row {
	return row{
		title: "Over HTTP",
		read:  "**How to read it:** wants that the node asked of HTTP gateways. HEAD asks whether the block is there, GET for the block. no_answer: the request failed, or the server does not have it and the want did not ask for DONT_HAVE.",
		panels: []*panel{
			lines("Requests by outcome", "cps", "HTTP requests that ended, per second, by how. A rise of no_answer: a gateway is down.",
				series("$tag_method $tag_outcome", rate("http_totals", "", "method, outcome", "requests"))).minutes().coarse().stacked().empty("Nothing was asked over HTTP in this time."),
			lines("Time of a request", "µs", "Nine tenths of the requests ended within this time, by outcome. The exchange reports the answers to one message's wants together.",
				worst("http_totals", "p90_us", "requests > 0", "outcome")).minutes().logarithmic().empty("Nothing was asked over HTTP in this time."),
			lines("Data over HTTP", "Bps", "Bytes of blocks that came over HTTP, per second. The dashboard Bitswap traffic does not count them.",
				series("$tag_direction", rate("http_traffic", "direction = 'received'", "direction", "block_bytes"))).colors("received", "blue").empty("Nothing was asked over HTTP in this time."),
			cells("Requests that ended last", "short", "The newest HTTP requests, with the server that was asked.",
				rows(`SELECT host, method, outcome, elapsed_us, cid FROM history.http_requests WHERE {w} ORDER BY time DESC LIMIT 50`)).
				override("byName", "elapsed_us", "unit", "µs", "displayName", "Took").link("cid", "What is it?", cidLink).size(24, 8).empty(noHistory),
		},
	}
}

// sendingRow shows how long sending takes, and what fails.
func sendingRow() row {
	return row{
		title: "Sending",
		read:  "**How to read it:** from handing a message to the network until it is written. A long time is a slow peer or a full line; the scale is logarithmic.",
		panels: []*panel{
			lines("Time to send", "µs", "99 of 100 messages were sent within this time, by transport; over HTTP, that is until the requests are with the workers. Of each minute; longer steps and several nodes show the worst.",
				worst("sending", "p99_us", "messages > 0", "transport")).minutes().logarithmic().size(12, 8),
			lines("Messages not sent", "cps", "Messages that could not be sent, per second, by reason. canceled is normal when peers go; a rise of timeout is a line that is full.",
				series("$tag_class $tag_transport", rate("send_errors", "", "class, transport", "messages"))).minutes().stacked().size(12, 8).empty("Everything was sent in this time."),
		},
	}
}
