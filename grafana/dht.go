package grafana

// dhtRow is about the requests of the DHT.
func dhtRow() row {
	return row{
		title: "DHT",
		read:  "**How to read it:** received is what peers ask of this node's DHT, sent what this node asks. A node that is a DHT client is asked nothing. Keys are shown as raw CIDs: a provider record does not have the codec.",
		panels: []*panel{
			lines("Requests received", "cps", "Requests of the DHT's protocol that peers sent to this node, per second, by type. find_node is most of them; add_provider are those who publish here, get_providers those who search.",
				series("$tag_type", dhtRate("received"))).minutes().stacked().size(12, 8).empty("No request of the DHT in this time: the node is a DHT client, or has no DHT."),
			lines("Requests sent", "cps", "Requests that this node sent to DHT peers, per second, by type. unsent are peers that could not be reached.",
				series("$tag_type", dhtRate("sent"))).minutes().stacked().size(12, 8).empty("The node asked the DHT nothing in this time."),
			lines("Without an answer", "percentunit", "Requests sent that failed or were late, as parts of all. Those that the node stopped waiting for are not in it.",
				series("$col", `SELECT sum(failed) / sum(requests) AS failed, sum(timeouts) / sum(requests) AS late FROM totals.dht_requests WHERE {w} AND direction = 'sent' AND type != 'unsent' GROUP BY {i} fill(none)`)).minutes().limits(0, 1).colors("failed", "red", "late", "orange"),
			lines("Time to an answer", "µs", "Of the requests that this node sent: half of the answers of each type came within this time, in the worst minute of each step.",
				series("$tag_type", `SELECT max(p50_us) FROM totals.dht_requests WHERE {w} AND direction = 'sent' AND max_us > 0 GROUP BY {i}, type fill(none)`)).minutes().logarithmic(),
			lines("Peers that ask the DHT", "short", "Distinct peers in a minute with any request, the most of each step. Estimates, 0.81 % standard error.",
				series("$tag_direction", `SELECT sum(peers) FROM (SELECT max(all_peers) AS peers FROM totals.dht_requests WHERE {w} GROUP BY {i}, direction, "node" fill(none)) WHERE {t} GROUP BY {i}, direction fill(null)`)).minutes().colors("received", "blue", "sent", "green"),
			cells("Who asks the DHT", "short", "Requests received in this time by family of agents; unknown are peers that were not identified.",
				rows(`SELECT top(requests, 20000) AS requests, agent FROM totals.dht_top WHERE {w} AND direction = 'received' AND list = 'agents'`)).
				minutes().top(20, "requests", []string{"agent"}, map[string]string{"requests": "sum"}, map[string]string{"agent": "Agent", "requests": "Requests"}).
				bar("Requests").size(8, 9),
			cells("Providers looked for most", "short", "Keys of get_providers received in this time. `ipfsmon query dht-keys` has the numbers with their error.",
				rows(`SELECT top(requests, 20000) AS requests, cid FROM totals.dht_top WHERE {w} AND direction = 'received' AND list = 'keys'`)).
				minutes().top(20, "requests", []string{"cid"}, map[string]string{"requests": "sum"}, map[string]string{"cid": "CID", "requests": "Requests"}).
				bar("Requests").size(16, 9),
			cells("Requests seen last", "short", "The newest requests of the DHT, both ways.",
				rows(`SELECT direction, type, status, target, peer, elapsed_us, providers, closer FROM history.dht_log WHERE {w} ORDER BY time DESC LIMIT 50`)).size(24, 9).
				empty("Single requests are stored where HistoryDHT is on."),
		},
	}
}

// dhtRate is the requests of one direction per second, by type. A minute without
// a request has no point, so that the points' own lengths are not the time.
func dhtRate(direction string) string {
	return "SELECT sum(requests) * 1000.0 / $__interval_ms FROM totals.dht_requests WHERE {w} AND direction = '" + direction + "' GROUP BY {i}, type fill(0)"
}
