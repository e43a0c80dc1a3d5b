package grafana

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

func proxy() *board {
	none := "No proxy wrote in this time. `ipfsmon proxy` runs one; it is a separate program."
	sides := `(side = 'upstream' OR side = 'downstream' AND downstream =~ /^$downstream$/)`
	where := `downstream =~ /^$downstream$/`
	return &board{
		uid: "ipfsmon-proxy", title: "Bitswap proxy", tags: []string{"proxy"},
		help: "One identity in front of many nodes: what peers ask of the proxy, and how each node behind it does.",
		variables: []dashboard.VariableModel{
			choice("downstream", "Behind it", "Nodes behind the proxy", "proxy_downstreams", "downstream", "verified"),
		},
		rows: []row{
			{
				title: "The peers' side",
				read:  "**How to read it:** what peers ask and get. Merged and cached wants are work that the nodes behind were spared.",
				panels: []*panel{
					number("Peers", "short", "lastNotNull", "Connected peers that the proxy serves.", series("$col", level("proxy", "", "", "upstream_peers:peers"))).fixed("blue").empty(none),
					number("Nodes behind", "short", "lastNotNull", "Connected nodes behind the proxy. 0: nothing can be served.", series("$col", level("proxy", "", "", "downstream_peers:nodes"))).thresholds("red", 1.0, "green").empty(none),
					number("Spared", "percentunit", "mean", "Wants that joined one already asked for or were answered from what was just fetched, as a part of all wants for blocks.",
						series("$col", `SELECT (sum(merged) + sum(cached)) / sum(want_block) AS spared FROM totals.proxy WHERE {w} GROUP BY {i} fill(none)`)).fixed("green").empty(none),
					lines("Time to a block", "µs", "From a peer's want to its block, as the proxy saw it.",
						series("$col", `SELECT max(answer_p50_us) AS p50, max(answer_p99_us) AS p99 FROM totals.proxy WHERE {w} AND answer_count > 0 GROUP BY {i} fill(null)`)).logarithmic().colors("p50", "green", "p99", "red").size(12, 8).empty(none),
					lines("Wants", "cps", "What peers ask of the proxy, per second.",
						series("$col", rate("proxy", "", "", "want_have", "want_block", "cancel"))).stacked().colors("want_have", "blue", "want_block", "orange", "cancel", "text").size(12, 8).empty(none),
					lines("Answers", "cps", "What the proxy answers, per second.",
						series("$col", rate("proxy", "", "", "have", "dont_have", "blocks"))).stacked().colors("have", "green", "dont_have", "red", "blocks", "purple").empty(none),
					lines("Data to peers", "Bps", "Bytes of blocks sent to peers, per second.", series("$col", rate("proxy", "", "", "block_bytes:sent"))).fixed("green").empty(none),
					lines("Waiting", "short", "CIDs asked of nodes without an answer yet, wants that wait for their turn, and wants beyond a limit. Waiting that only grows: the nodes are too slow.",
						series("$col", level("proxy", "", "", "outstanding", "waiting")),
						series("$col", rate("proxy", "", "", "overflow:refused per second", "deferred:put off per second"))).colors("refused per second", "red").empty(none),
				},
			},
			{
				title: "The nodes behind",
				read:  "**How to read it:** one line for each node. Their parts of the work follow their speed; a node that is asked and brings nothing is stuck, one that brings what was not asked for lies.",
				panels: []*panel{
					lines("Round trip", "µs", "Median time from a want sent to the node to its block. The proxy prefers the fast.",
						series("$tag_downstream", `SELECT max(rtt_p50_us) FROM totals.proxy_downstreams WHERE {w} AND rtt_count > 0 AND `+where+` GROUP BY {i}, downstream fill(null)`)).logarithmic().empty(none),
					lines("Part of the work", "short", "Each node's part of the blocks, in thousandths of all.",
						series("$tag_downstream", `SELECT mean(share_permille) FROM totals.proxy_downstreams WHERE {w} AND `+where+` GROUP BY {i}, downstream fill(null)`)).stacked().empty(none),
					lines("Data from nodes", "Bps", "Bytes of verified blocks from each node, per second.",
						series("$tag_downstream", rate("proxy_downstreams", where, "downstream", "verified_bytes"))).stacked().empty(none),
					lines("Refused, late, timed out", "cps", "Blocks that were not asked for, that came late, and wants without an answer in time, per second, all nodes. Refused above 0: a node that sends wrong data.",
						series("$col", rate("proxy_downstreams", where, "", "refused", "late", "timeouts"))).colors("refused", "red", "late", "orange", "timeouts", "yellow").empty(none),
					cells("Nodes", "short", "The last figures of each node, and when these came.",
						rows(`SELECT last(connected) AS "Connected", stalled AS "Stalled", outstanding AS "Outstanding", rtt_p50_us AS "Round trip", verified AS "Blocks" FROM totals.proxy_downstreams WHERE {w} AND `+where+` GROUP BY downstream`)).
						override("byName", "Time", "displayName", "Last figures").override("byName", "Round trip", "unit", "µs").override("byName", "downstream", "displayName", "Node").size(8, 8).empty(none),
					lines("Other streams and preloads", "cps", "Streams of other protocols passed on or refused, and requests for preloads, per second.",
						series("$col", rate("proxy", "", "", "passed_streams", "blocked_streams", "preload_requests", "preload_refused"))).empty(none),
				},
			},
			{
				title: "Both sides",
				read:  "**How to read it:** sums of minutes of what passed; the last blocks are from history, as long as that keeps them. What peers ask stands beside what the nodes are asked for it; upstream are the peers, downstream the nodes by their names.",
				panels: []*panel{
					lines("Wants on each side", "cps", "Wants of peers, and wants sent to each node, per second. More to the nodes than from peers: many are asked in vain, or one after the other.",
						series("$tag_side $tag_downstream", `SELECT sum(wants) * 1000.0 / $__interval_ms FROM totals.wants_1m WHERE {w} AND `+sides+` AND type =~ /^want/ GROUP BY {i}, side, downstream fill(0)`)).minutes().size(12, 8).empty(none),
					lines("Data on each side", "Bps", "Bytes of blocks from each node, and to the peers, per second. What is fetched once and wanted by many leaves more often than it comes.",
						series("$tag_side $tag_downstream", `SELECT sum(bytes) * 1000.0 / $__interval_ms FROM totals.blocks_1m WHERE {w} AND `+sides+` GROUP BY {i}, side, downstream fill(0)`)).minutes().size(12, 8).empty(none),
					lines("Asked in vain", "cps", "DONT_HAVEs of each node, per second. All nodes alike: what peers ask for is nowhere. One node more: it lost its data.",
						series("$tag_downstream", `SELECT sum(presences) * 1000.0 / $__interval_ms FROM totals.presences_1m WHERE {w} AND side = 'downstream' AND type = 'dont_have' AND `+where+` GROUP BY {i}, downstream fill(0)`)).minutes().empty(none),
					lines("Nodes come and go", "short", "Connections to each node, opened and closed in each step. None is normal: the proxy keeps one open.",
						series("$tag_downstream $tag_state", `SELECT sum(connections) FROM totals.connections_1m WHERE {w} AND side = 'downstream' AND `+where+` GROUP BY {i}, downstream, state fill(0)`)).minutes().bars().empty(none),
					cells("Last blocks", "bytes", "What went through the proxy last: from which node, to which peer.",
						rows(`SELECT cid, size, side, downstream, peer FROM history.blocks WHERE {w} AND `+sides+` ORDER BY time DESC LIMIT 50`)).
						override("byName", "downstream", "displayName", "Node").size(8, 8).empty(none),
				},
			},
		},
	}
}
