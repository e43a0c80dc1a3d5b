package grafana

// lineRow is what uses the line, and who floods the node.
func lineRow() row {
	used := func(title, m, key, head string, more ...string) *panel {
		columns, keys, names := key, []string{key, "direction"}, map[string]string{key: head, "bytes": "Bytes"}
		if len(more) > 0 {
			columns, keys, names[more[0]] = key+", "+more[0], []string{key, more[0], "direction"}, more[1]
		}
		return cells(title, "bytes", "The 20 with most bytes in the minutes' lists of 20, either way. In each minute they are exact up to 8,192 CIDs or 4,096 peers; `ipfsmon query "+map[string]string{"cid": "line-cids", "peer": "line-peers"}[key]+"` shows the error beyond.",
			rows(`SELECT top(bytes, 20000) AS bytes, `+columns+`, direction FROM totals.`+m+` WHERE {w}`)).
			minutes().top(20, "bytes", keys, map[string]string{"bytes": "sum"}, names).bar("Bytes").size(12, 9)
	}
	return row{
		title: "What uses the line",
		read:  "**How to read it:** bytes of Bitswap's messages, and of blocks that came over HTTP. A peer or a CID far above all others is what to look at first. Floods are peers that send more than a node can use; the command blocks one of them in kubo, together with all other peers of its address. `ipfsmon query line` and `floods` have the numbers.",
		panels: []*panel{
			lines("By agent", "Bps", "Bytes per second by direction and family of agents, exact.",
				series("$tag_direction $tag_family", `SELECT sum(bytes) * 1000.0 / $__interval_ms FROM totals.agent_bytes WHERE {w} GROUP BY {i}, direction, family fill(0)`)).minutes().stacked().size(14, 8),
			ranking("By country", "bytes", "Bytes of blocks in this time by direction and the peer's country; none unless the monitor has a database of countries (GeoIPDatabase).",
				series("$tag_direction $tag_country", `SELECT sum(block_bytes) FROM totals.origins WHERE {w} GROUP BY direction, country`)).size(10, 8),
			used("By CID", "top_bytes_cids", "cid", "CID").link("CID", "What is it?", cidLink),
			used("By peer", "top_bytes_peers", "peer", "Peer", "agent", "Agent"),
			cells("Floods", "short", "Peers that send the node more wants or messages than a node can use: when that began, once a minute while it runs, and when it ended, the newest first. Shares and repeats are in thousandths.",
				rows(`SELECT state, peer, agent, addr, want_rate, message_rate, share_permille, repeats_permille, command FROM totals.floods WHERE {w} ORDER BY time DESC LIMIT 50`)).size(24, 8).empty("No floods in this time."),
		},
	}
}

// peersThatAsk is the coverage of all peers together.
func peersThatAsk() *panel {
	return lines("Peers that ask", "short", "Connected peers, those that sent a want since they connected, and those that sent one like a broadcast. Far apart: wants, top CIDs and distinct CIDs are those of a few peers.",
		series("$col", level("coverage", "", "", "connected", "asked", "broadcast"))).minutes().colors("connected", "blue", "asked", "green", "broadcast", "orange")
}

// coverageRow says how much the figures of a board can be taken for the network's.
func coverageRow() row {
	return row{
		title: "Coverage",
		read:  "**How to read it:** all figures here are of this node, not of the network. Asked: connected peers that ever sent it a want. Broadcast: of these, peers that asked for what the node does not have, as they ask all their peers; only what these want is a sample of what is wanted at all. [What is seen, and what is not](" + Docs + "what-is-seen.md).",
		panels: []*panel{
			peersThatAsk().size(10, 8),
			lines("Peers that ask, by agent", "short", "The same by family of agents. Kubo since 0.36 hardly broadcasts.",
				series("$tag_family $col", level("coverage", "", "family", "asked", "broadcast"))).minutes().size(14, 8),
		},
	}
}

// ofThisNode ends the text of a row whose figures could be taken for the network's.
const ofThisNode = " Of this node, not of the network: see Coverage on this dashboard."
