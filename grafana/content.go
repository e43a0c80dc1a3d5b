package grafana

func content() *board {
	wanted := func(title, list, by, help string) *panel {
		return cells(title, "short", help,
			rows(`SELECT top(`+by+`, 20000) AS `+by+`, cid, `+map[string]string{"wants": "peers", "peers": "wants"}[by]+` FROM totals.top_cids WHERE {w} AND list = '`+list+`'`)).
			minutes().top(20, by, []string{"cid"}, map[string]string{"wants": "sum", "peers": "max"}, map[string]string{"cid": "CID", "wants": "Wants", "peers": "Peers"}).
			bar(map[string]string{"wants": "Wants", "peers": "Peers"}[by]).link("CID", "What is it?", cidLink)
	}
	share := func(m, key, title, help string) *panel {
		return pie(title, "short", help, series("$tag_"+key, `SELECT sum(wants) FROM totals.`+m+` WHERE {w} GROUP BY "`+key+`"`)).minutes()
	}
	return &board{
		uid: "ipfsmon-content", title: "Content", tags: []string{"content"},
		help: "What is wanted and what flows: CIDs, codecs, sizes, and how much of it is new.",
		rows: []row{
			coverageRow(),
			{
				title: "Most wanted",
				read:  "**How to read it:** wants are from the minutes' lists of 50, added up over the time chosen, of the 20,000 largest entries: six hours of one node are whole. The sum does not include wants of minutes in whose list the CID is not. A CID that one peer wants often is a loop; one that many want is popular. Click a CID to see what it is: that page is not part of this monitor." + ofThisNode,
				panels: []*panel{
					wanted("By wants", "wants", "wants", "The 20 CIDs with the most wants in the minutes' lists. `ipfsmon query top-cids` has the exact numbers, from history."),
					wanted("By peers", "peers", "peers", "The 20 CIDs that the most different peers wanted in one minute."),
					cells("Most missed", "short", "The 20 CIDs that the node was asked for most and does not have: DONT_HAVEs sent, from the minutes' lists of 50. `ipfsmon query missing-cids` has the exact numbers.",
						rows(`SELECT top(asked, 20000) AS asked, cid FROM totals.top_missing WHERE {w}`)).
						minutes().top(20, "asked", []string{"cid"}, map[string]string{"asked": "sum"}, map[string]string{"cid": "CID", "asked": "Asked"}).
						bar("Asked").link("CID", "What is it?", cidLink),
				},
			},
			{
				title: "Kinds",
				read:  "**How to read it:** parts of all received wants. dag-pb is files and folders, raw the leaves of files, dag-cbor other data; CIDv0 is always dag-pb with sha2-256." + ofThisNode,
				panels: []*panel{
					share("codecs", "codec", "Codec", "Received wants by the codec of the CID. dag-pb and raw are nearly all on the public network."),
					share("cid_versions", "cid_version", "CID version", "Received wants by the version of the CID. Version 0 is older content, or made by software that still uses it."),
					share("hashes", "hash", "Hash", "Received wants by the hash function. identity: the CID contains the data, so nobody needs to request it."),
					lines("Wants by codec", "cps", "Received wants per second by the codec of the CID.",
						series("$tag_codec", `SELECT sum(wants) * 1000.0 / $__interval_ms FROM totals.codecs WHERE {w} GROUP BY {i}, codec fill(0)`)).minutes().stacked().size(12, 8),
					lines("Data by codec", "Bps", "Bytes of blocks per second, both directions, by the codec of the CID. From the sums of minutes.",
						series("$tag_codec", `SELECT sum(bytes) * 1000.0 / $__interval_ms FROM totals.blocks_1m WHERE {w} GROUP BY {i}, codec fill(0)`)).minutes().stacked().size(12, 8).empty(noSums),
				},
			},
			{
				title: "How much is different",
				read:  "**How to read it:** estimates, true to 0.8 %, of each minute. Many different CIDs and few peers is a crawler; many peers and few CIDs is something popular." + ofThisNode,
				panels: []*panel{
					lines("Different CIDs wanted", "short", "Distinct CIDs in the wants of each minute. At longer steps the highest minute.",
						series("$tag_direction", `SELECT max(cids) FROM totals."unique" WHERE {w} GROUP BY {i}, direction fill(null)`)).minutes().colors("received", "blue", "sent", "green"),
					lines("Different peers", "short", "Distinct peers with messages in each minute. At longer steps the highest minute.",
						series("$tag_direction", `SELECT max(peers) FROM totals."unique" WHERE {w} GROUP BY {i}, direction fill(null)`)).minutes().colors("received", "blue", "sent", "green"),
					lines("Not here", "cps", "DONT_HAVEs sent per second by the codec of the CID: what peers asked for and this node does not have. From the sums of minutes.",
						series("$tag_codec", `SELECT sum(presences) * 1000.0 / $__interval_ms FROM totals.presences_1m WHERE {w} AND direction = 'sent' AND type = 'dont_have' GROUP BY {i}, codec fill(0)`)).minutes().stacked().empty(noSums),
				},
			},
			retrievalRow(),
			{
				title: "Blocks",
				read:  "**How to read it:** the data themselves, as they passed. A block larger than 2 MiB is refused by most nodes.",
				panels: []*panel{
					frequencies("Sizes of blocks", "bytes", "How often which size came, of 20,000 blocks chosen at random where there are more."+lastHour,
						series("size", `SELECT sample(size, 20000) AS size FROM history.blocks WHERE {w}`)).fixed("purple").hour().empty(noHistory),
					spread("Sizes over time", "bytes", "Sizes of blocks over time, of 20,000 chosen at random where there are more: dark cells are many blocks. Each step upwards is twice the size."+lastHour,
						series("size", `SELECT sample(size, 20000) AS size FROM history.blocks WHERE {w} AND size > 0`)).hour().empty(noHistory),
					cells("Blocks that came last", "short", "The newest blocks with where they came from or went to.",
						rows(`SELECT cid, size, direction, codec, peer FROM history.blocks WHERE {w} ORDER BY time DESC LIMIT 50`)).
						override("byName", "size", "unit", "bytes", "displayName", "Size").link("cid", "What is it?", cidLink).size(8, 8).empty(noHistory),
				},
			},
		},
	}
}

// Panels that draw history of any length read the monitor's sums of minutes. What these do not have is drawn of the last hour:
// of a busy node seven days are half a billion points.
const lastHour = " Of the last hour, whatever time is chosen above."

// hour makes the panel show the last hour.
func (p *panel) hour() *panel { return p.from("1h", "10s") }

// noSums is the text of a panel of the sums of minutes without data.
const noSums = "No sums of minutes in this time. The first come a minute after the start; they can be off (Rollups)."

// noHistory is the text of a panel of history without data.
const noHistory = "No history in this time. It is kept for 7 days (HistoryRetention) and can be off (History, Privacy)."
