package grafana

// Queries that more than one dashboard has.
const (
	hitRatio = `SELECT (sum(have) + sum(blocks)) / (sum(have) + sum(blocks) + sum(dont_have)) AS hits FROM totals.traffic WHERE {w} AND direction = 'sent' GROUP BY {i} fill(none)`
	lostPer  = `SELECT sum(missed) AS "events missed", sum(dropped) AS "points dropped", sum(rejected) AS "points rejected" FROM (SELECT non_negative_difference(last(missed)) AS missed, non_negative_difference(last(dropped)) AS dropped, non_negative_difference(last(rejected)) AS rejected FROM totals.pipeline WHERE {w} GROUP BY {i}, "node" fill(none)) WHERE {t} GROUP BY {i} fill(null)`
)

// firstSteps is what a new dashboard says where there is nothing to show yet.
const firstSteps = `No points yet. 1. Is a monitor running? "ipfsmon run", or "ipfsmon demo" for a private swarm to look at. ` +
	`2. Does it write here? Its status line and http://127.0.0.1:8432/pipeline show InfluxDB's last error. ` +
	`3. Is the data source right (InfluxQL, database ipfsmon), and the time range? The first points come ten seconds after the start.`

func overview() *board {
	return &board{
		uid: "ipfsmon-overview", title: "IPFS overview", tags: []string{"overview"},
		help: "One look at the monitored nodes: are they connected, what is asked of them, do they answer, and is the monitor whole?",
		rows: []row{
			{
				title: "Now",
				read:  "**How to read it:** green is well, orange wants a look, red wants a hand. The table lists the nodes that write; if it is empty, it says what to do next. Vertical lines in all graphs: blue the monitor started or stopped or the clock was set, red something was lost, orange a storm of wants.",
				panels: []*panel{
					number("Connected peers", "short", "lastNotNull", "Peers connected to the chosen nodes. kubo keeps 32 to 96 unless configured otherwise. Few or none: is the node behind a firewall, or offline?",
						series("$col", level("peers", "", "", "connected:peers"))).thresholds("red", 1.0, "orange", 8.0, "green"),
					number("Peers with a ledger", "short", "lastNotNull", "Peers for which Bitswap's server keeps a ledger: those it exchanges with. It follows the connected peers; much fewer means that few speak Bitswap.",
						series("$col", level("node", "", "", "ledgers:peers"))).fixed("blue"),
					number("Wants received", "cps", "lastNotNull", "Entries of wantlists that peers sent, cancels left out, per second. A quiet node has a few; a gateway thousands. A sudden rise to many times the usual is a storm.",
						series("$col", `SELECT sum(wants) AS wants FROM (SELECT (sum(want_block) + sum(want_have)) * 1000.0 / sum(interval_ms) AS wants FROM totals.traffic WHERE {w} AND direction = 'received' GROUP BY {i}, "node" fill(none)) WHERE {t} GROUP BY {i} fill(null)`)).thresholds("green", 5000.0, "orange", 20000.0, "red"),
					dial("Hits", "percentunit", "Positive answers, HAVE or a block, as a share of all answers. Low values are usual on the public network, where peers ask everyone for everything.",
						series("$col", hitRatio)).limits(0, 1).thresholds("red", 0.02, "orange", 0.2, "green"),
					number("Lost", "short", "sum", "Events and points that the monitor lost in this time: missed on the bus, dropped because the queue was full, or rejected by InfluxDB. What was lost in the step in which a monitor started is not in it. It should be 0; the dashboard Pipeline shows where.",
						series("$col", `SELECT sum(missed) + sum(dropped) + sum(rejected) AS lost FROM (SELECT non_negative_difference(last(missed)) AS missed, non_negative_difference(last(dropped)) AS dropped, non_negative_difference(last(rejected)) AS rejected FROM totals.pipeline WHERE {w} GROUP BY {i}, "node" fill(none)) WHERE {t} GROUP BY {i} fill(none)`)).thresholds("green", 1.0, "red"),
					number("Behind", "ms", "lastNotNull", "Age of the oldest point that InfluxDB has not got yet. Usually a second; minutes mean that InfluxDB is down or too slow, and points wait on disk.",
						series("$col", `SELECT max(lag_ms) AS lag FROM totals.pipeline WHERE {w} GROUP BY {i} fill(none)`)).thresholds("green", 30000.0, "orange", 300000.0, "red"),
					cells("Nodes", "short", "The nodes that wrote in this time, with their last figures and when these came. A node that is missing here, or whose time is old, does not write: see its log.",
						rows(`SELECT last(connections) AS "Connections", wantlist AS "Wantlist", ledgers AS "Ledgers", repo_bytes AS "Repository" FROM totals.node WHERE {w} GROUP BY "node"`)).
						override("byName", "Time", "displayName", "Last figures").override("byName", "Repository", "unit", "bytes").override("byName", "node", "displayName", "Node", "custom.minWidth", 160.0).empty(firstSteps).size(14, 7),
					cells("What happened", "string", "What the monitor noted: start and stop, losses, storms of wants, steps of the clock. Newest first.",
						rows(`SELECT text, "node", "kind" FROM totals.notes WHERE {w} ORDER BY time DESC LIMIT 50`)).
						hide("kind").override("byName", "text", "displayName", "What", "custom.minWidth", 260.0).override("byName", "node", "displayName", "Node").
						empty("Nothing was noted in this time: no start, no stop, no loss, no storm.").size(10, 7),
				},
			},
			{
				title: "Traffic and peers",
				read:  "**How to read it:** wants come in (above), answers go out; bytes in point up, bytes out down. Peers change slowly; a step down at all nodes at once is the line, at one node that node. All of it is of these nodes, not of the network: \"Peers that ask\" shows how many of the connected peers ask them at all.",
				panels: []*panel{
					lines("Wants received", "cps", "What peers ask for, per second, by kind. Modern peers ask many for a HAVE and few for the block; many want_block without want_have are old or rude clients.",
						series("$col", rate("traffic", "direction = 'received'", "", "want_have", "want_block", "cancel"))).stacked().colors("want_have", "blue", "want_block", "orange", "cancel", "text"),
					lines("Answers sent", "cps", "What the node answers, per second. dont_have far above have is usual on the public network.",
						series("$col", rate("traffic", "direction = 'sent'", "", "have", "dont_have", "blocks"))).stacked().colors("have", "green", "dont_have", "red", "blocks", "purple"),
					lines("Data in blocks", "Bps", "Bytes of blocks received (up) and sent (down), per second.",
						series("$tag_direction", rate("traffic", "", "direction", "block_bytes"))).below("^sent").colors("received", "blue", "sent", "green"),
					lines("Connected peers", "short", "Connected peers by who opened the connection.",
						series("$tag_direction", level("peers", "", "direction", "connected"))).size(8, 8),
					lines("Time to a block", "µs", "From a want that a node sent to the block that answered it: half of the answers of each minute came faster than p50, 99 of 100 faster than p99. Worst node.",
						series("$col", `SELECT max(p50_us) AS p50, max(p90_us) AS p90, max(p99_us) AS p99 FROM totals.latency_totals WHERE {w} AND direction = 'sent' AND answer = 'block' AND answers > 0 GROUP BY {i} fill(null)`)).minutes().logarithmic().colors("p50", "green", "p90", "orange", "p99", "red").empty("No want of this node was answered with a block in this time."),
					peersThatAsk().size(8, 8),
					cells("Most wanted", "short", "The CIDs that were wanted most, from the minutes' lists of 50. `ipfsmon query top-cids` has the exact numbers.",
						rows(topCIDs)).minutes().top(10, "wants", []string{"cid"}, map[string]string{"wants": "sum"}, map[string]string{"cid": "CID", "wants": "Wants"}).
						bar("Wants").link("CID", "What is it?", cidLink).size(24, 8),
				},
			},
		},
	}
}

// cidLink explains a CID. Nothing of it is asked before somebody clicks.
const cidLink = "https://cid.ipfs.tech/#${__value.raw}"

const topCIDs = `SELECT top(wants, 20000) AS wants, cid, peers FROM totals.top_cids WHERE {w} AND list = 'wants'`
