package grafana

// asking is a query of the received wants that ask in some way.
func asking(name, how string) Query {
	return series(name, `SELECT sum(wants) * 1000.0 / $__interval_ms FROM totals.asking_1m WHERE {w} AND direction = 'received' AND type != 'other' AND `+how+` GROUP BY {i} fill(0)`)
}

func traffic() *board {
	return &board{
		uid: "ipfsmon-traffic", title: "Bitswap traffic", tags: []string{"traffic"},
		help: "All Bitswap messages of the chosen nodes, both directions: wants, cancels, presences and blocks.",
		rows: []row{
			{
				title: "Wants",
				read:  "**How to read it:** left what others ask of the node, right what the node asks of others. cancel follows the wants, since a want is cancelled as soon as one peer has answered it." + ofThisNode,
				panels: []*panel{
					lines("Wants received", "cps", "Entries of wantlists that peers sent, per second, by kind. Normal: want_have above want_block, cancel about as many as both. Only want_block: a client that asks without asking who has.",
						series("$col", rate("traffic", "direction = 'received'", "", "want_have", "want_block", "cancel"))).stacked().colors("want_have", "blue", "want_block", "orange", "cancel", "text").size(12, 8),
					lines("Wants sent", "cps", "Entries of wantlists that the node sent, per second, by kind. It asks for what its users fetch; a node that only provides sends nothing.",
						series("$col", rate("traffic", "direction = 'sent'", "", "want_have", "want_block", "cancel"))).stacked().colors("want_have", "blue", "want_block", "orange", "cancel", "text").size(12, 8),
					lines("Wants repeated", "cps", "Wants that repeat one of the same peer, CID and kind: within 31 s (duplicates), and after about 30 s as Bitswap itself does (re-broadcasts). Many re-broadcasts: peers wait for data that nobody sends.",
						series("$col $tag_direction", over(func(f string) string { return "sum(" + f + ") * 1000.0 / sum(interval_ms)" }, "duplicates", "", "direction", "duplicates", "rebroadcasts"))).minutes(),
					lines("Repeats among wants received", "percentunit", "Wants that repeat one within 31 s, as a part of all wants received. Up to a fifth is usual; more is waste, or one peer that hammers: see Top peers.",
						series("duplicates", `SELECT sum(duplicates) AS duplicates FROM totals.duplicates WHERE {w} AND direction = 'received' GROUP BY {i} fill(none)`),
						series("wants", `SELECT sum(want_block) + sum(want_have) AS wants FROM totals.traffic WHERE {w} AND direction = 'received' GROUP BY {i} fill(none)`)).
						minutes().ratio("duplicates", "wants", "repeats").thresholds("transparent", 0.2, "red").line(),
					lines("Wants by kind of peer", "cps", "Wants received from peers in the list of gateways and from all others, per second. Without a list (GatewayList) all are others.",
						series("$col", `SELECT sum(wants) * 1000.0 / $__interval_ms AS gateways FROM totals.origins WHERE {w} AND direction = 'received' AND gateway = 'true' GROUP BY {i} fill(0)`),
						series("$col", `SELECT sum(wants) * 1000.0 / $__interval_ms AS others FROM totals.origins WHERE {w} AND direction = 'received' AND gateway = 'false' GROUP BY {i} fill(0)`)).stacked().colors("gateways", "purple", "others", "blue"),
					lines("How peers ask", "cps", "Received wants per second that request DONT_HAVE, those that do not, and those in a full wantlist. Old software does not request it. From the sums of minutes.",
						asking("requested", `send_dont_have = 'true'`), asking("not requested", `send_dont_have = 'false'`), asking("full wantlist", `"full" = 'true'`)).
						minutes().colors("requested", "blue", "not requested", "orange", "full wantlist", "purple").size(24, 7).empty(noSums),
				},
			},
			coverageRow(),
			{
				title: "Answers and data",
				read:  "**How to read it:** have and blocks are hits, dont_have are misses. Bytes received point up, bytes sent down.",
				panels: []*panel{
					lines("Answers sent", "cps", "HAVE, DONT_HAVE and blocks that the node sent, per second.",
						series("$col", rate("traffic", "direction = 'sent'", "", "have", "dont_have", "blocks"))).stacked().colors("have", "green", "dont_have", "red", "blocks", "purple").size(12, 8),
					lines("Answers received", "cps", "HAVE, DONT_HAVE and blocks that came from peers, per second.",
						series("$col", rate("traffic", "direction = 'received'", "", "have", "dont_have", "blocks"))).stacked().colors("have", "green", "dont_have", "red", "blocks", "purple").size(12, 8),
					lines("Data in blocks", "Bps", "Bytes of blocks received (up) and sent (down), per second.",
						series("$tag_direction", rate("traffic", "", "direction", "block_bytes"))).below("^sent").colors("received", "blue", "sent", "green"),
					lines("Hits", "percentunit", "Positive answers as a share of all sent answers. It drops when many peers ask for CIDs that the node does not have.",
						series("$col", hitRatio)).limits(0, 1),
					lines("Size of a block", "bytes", "Mean size of the blocks of each step of time. Files come in blocks of 256 KiB or 1 MiB, folders and small files in less.",
						series("$tag_direction", `SELECT sum(block_bytes) / sum(blocks) AS size FROM totals.traffic WHERE {w} GROUP BY {i}, direction fill(none)`)).colors("received", "blue", "sent", "green"),
				},
			},
			{
				title: "Messages",
				read:  "**How to read it:** how the traffic is packed. One message can carry many entries; few entries in a message cost more than many.",
				panels: []*panel{
					lines("Messages", "cps", "Bitswap messages per second: received up, sent down.",
						series("$tag_direction", rate("traffic", "", "direction", "messages"))).below("^sent").colors("received", "blue", "sent", "green"),
					lines("Entries in a message", "short", "Entries of wantlists in the mean message. One to three is usual; hundreds are full wantlists, after a connection was made.",
						series("$tag_direction", `SELECT (sum(want_block) + sum(want_have) + sum(cancel)) / sum(messages) AS entries FROM totals.traffic WHERE {w} GROUP BY {i}, direction fill(none)`)).colors("received", "blue", "sent", "green"),
					frequencies("How many messages come in ten seconds", "short", "How often which number of messages was received in one interval. Two heaps: two kinds of hours, or of nodes.",
						series("messages", `SELECT sample(messages, 20000) AS messages FROM totals.traffic WHERE {w} AND direction = 'received'`)).fixed("blue"),
					lines("Rhythm of the week", "short", "Messages received in each hour of the last 7 days, whatever time is chosen above. Day and night, work days and weekend.",
						series("messages", `SELECT sum(messages) AS messages FROM totals.traffic WHERE {w} AND direction = 'received' GROUP BY time(1h) fill(0)`)).from("7d", "1h").bars().fixed("blue").size(16, 8),
					lines("Not looked at", "cps", "Entries beyond 1,024 of one message, and messages beyond what one peer may send in a second: counted, but without points of history. Anything above 0 is a flood.",
						series("entries", rate("traffic", "", "", "truncated")),
						series("messages", counter("pipeline", "", "", "limited"))).thresholds("transparent", 1.0, "red").line(),
				},
			},
			lineRow(),
		},
	}
}

// ratio shows one of two series divided by the other.
func (p *panel) ratio(part, whole, as string) *panel {
	p.transform("joinByField", map[string]any{"byField": "Time", "mode": "outer"})
	return p.transform("calculateField", map[string]any{
		"mode": "binary", "alias": as, "replaceFields": true,
		"binary": map[string]any{"left": part, "operator": "/", "right": whole},
	})
}
