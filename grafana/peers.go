package grafana

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// lived is a query of the connections that lived so long, by the values of schema.Lifetimes' up_to_s.
func lived(name, upTo string) Query {
	return series(name, `SELECT sum(connections) FROM totals.lifetimes_1m WHERE {w} AND up_to_s =~ /^(`+upTo+`)$$/ GROUP BY {i} fill(0)`)
}

func peers() *board {
	return &board{
		uid: "ipfsmon-peers", title: "Peers and connections", tags: []string{"peers"},
		help: "Who is connected, over what, with what software, from where, and for how long.",
		variables: []dashboard.VariableModel{
			choice("country", "Country", "Countries of the peers; all are none unless the monitor has a database of countries (GeoIPDatabase)", "origins", "country", "messages"),
		},
		rows: []row{
			{
				title: "Connected",
				read:  "**How to read it:** inbound means that the peer called: a node without inbound peers is not reached from outside. Joins and leaves are about equal; only leaves is a line that goes down.",
				panels: []*panel{
					lines("Peers by transport", "short", "Connected peers by who opened the connection and over what. quic-v1 and tcp are usual; webtransport and webrtc are browsers.",
						series("$tag_direction $tag_transport", level("peers", "", "direction, transport", "connected"))).stacked(),
					lines("Known peers", "short", "Peers in the peerstore, connected or not. Some thousands after an hour on the public network.",
						series("$col", `SELECT sum(known) AS known FROM (SELECT max(known) AS known FROM totals.peers WHERE {w} GROUP BY {i}, "node" fill(none)) WHERE {t} GROUP BY {i} fill(null)`)).fixed("blue"),
					lines("Peers that come and go", "short", "Connections opened (up) and closed (down) in each step of time. Much more than the number of peers in an hour is churn: look at how long they live.",
						series("opened", `SELECT sum(connections) FROM totals.connections_1m WHERE {w} AND state = 'opened' GROUP BY {i} fill(0)`),
						series("closed", `SELECT sum(connections) FROM totals.connections_1m WHERE {w} AND state = 'closed' GROUP BY {i} fill(0)`)).minutes().bars().below("^closed").colors("opened", "green", "closed", "red").empty(noSums),
					lines("How long connections lived", "short", "The connections that ended in each step, by how long they lived; those whose opening was not seen are left out. Seconds only: peers that look and leave, or a connection manager that cuts. `ipfsmon query durations` has the medians.",
						lived("up to 10 s", "1|10"), lived("up to 1 min", "60"), lived("up to 15 min", "300|900"), lived("up to 4 h", "3600|14400"), lived("longer", "86400|more")).
						minutes().bars().stacked().colors("up to 10 s", "red", "up to 1 min", "orange", "up to 15 min", "yellow", "up to 4 h", "green", "longer", "blue").empty(noSums),
					ranking("Secured and multiplexed by", "short", "Connections opened in this time by security and multiplexer. none: the transport (QUIC, WebTransport) brings its own.",
						series("$tag_security $tag_muxer", `SELECT sum(connections) FROM totals.connections_1m WHERE {w} AND state = 'opened' GROUP BY security, muxer`)).minutes().empty(noSums),
					lines("Routing tables", "short", "Peers in the node's DHT routing tables. wan has some 200 on the public network; 0 means that the DHT does not work.",
						series("$tag_table", level("routing", "", `"table"`, "peers"))),
				},
			},
			coverageRow(),
			{
				title: "Software",
				read:  "**How to read it:** what peers say of themselves. Agents are the most frequent, at most 500 in one run; the rest is others." + ofThisNode,
				panels: []*panel{
					lines("Peers by agent", "short", "Connected peers by agent version in each minute, as parts of all. kubo is usual; a new name with many peers is worth a look.",
						series("$tag_agent", level("agent_versions_1m", "", "agent", "peers"))).minutes().coarse().percent().size(12, 9),
					ranking("Agents now", "short", "Connected peers by agent version now, of all chosen nodes together, whatever time is chosen above.",
						series("$tag_agent", `SELECT sum(peers) FROM (SELECT last(peers) AS peers FROM totals.agent_versions WHERE {w} GROUP BY agent, "node") WHERE {t} GROUP BY agent`)).from("2m", "10s").size(12, 9),
					pie("Bitswap versions", "short", "Connected peers that speak each version of Bitswap now, whatever time is chosen above. 1.2.0 knows HAVE; a peer is counted for each version it speaks.",
						series("$tag_protocol", `SELECT sum(peers) FROM (SELECT last(peers) AS peers FROM totals.protocols WHERE {w} AND protocol =~ /bitswap/ GROUP BY protocol, "node") WHERE {t} GROUP BY protocol`)).from("2m", "10s"),
					ranking("Protocols", "short", "Connected peers that speak each protocol now, of all chosen nodes together, whatever time is chosen above.",
						series("$tag_protocol", `SELECT sum(peers) FROM (SELECT last(peers) AS peers FROM totals.protocols WHERE {w} GROUP BY protocol, "node") WHERE {t} GROUP BY protocol`)).from("2m", "10s"),
					lines("Streams by protocol", "short", "Open streams by protocol, the mean of each minute. Streams that only grow are a leak, here or there.",
						series("$tag_protocol", level("streams_1m", "", "protocol", "streams"))).minutes().coarse().stacked(),
				},
			},
			dhtRow(),
			{
				title: "Who asks",
				read:  "**How to read it:** wants of the minutes' lists of 50, added up. A peer far above all others is a gateway, an indexer, or a client that hammers." + ofThisNode,
				panels: []*panel{
					cells("Top 20 requesting peers", "short", "Peers that sent the most wants in this time, with their agent. `ipfsmon query top-peers` has the exact numbers.",
						rows(`SELECT top(wants, 20000) AS wants, peer, agent FROM totals.top_peers WHERE {w}`)).
						minutes().top(20, "wants", []string{"peer", "agent"}, map[string]string{"wants": "sum"}, map[string]string{"peer": "Peer", "agent": "Agent", "wants": "Wants"}).
						bar("Wants").size(14, 9),
					cells("Connected last", "short", "The newest connections with address and country.",
						rows(`SELECT peer, addr, country, direction, transport, security, muxer FROM history.connections WHERE {w} AND state = 'opened' ORDER BY time DESC LIMIT 50`)).size(10, 9).empty(noHistory),
				},
			},
			{
				title: "Where from",
				read:  "**How to read it:** countries need a database of addresses (GeoIPDatabase); without one all are none. Choose countries above." + ofThisNode,
				panels: []*panel{
					ranking("Wants by country", "short", "Wants received in this time by the peer's country.",
						series("$tag_country", `SELECT sum(wants) FROM totals.origins WHERE {w} AND direction = 'received' AND country =~ /^$country$/ GROUP BY country`)),
					ranking("Data sent by country", "bytes", "Bytes of blocks sent in this time by the peer's country.",
						series("$tag_country", `SELECT sum(block_bytes) FROM totals.origins WHERE {w} AND direction = 'sent' AND country =~ /^$country$/ GROUP BY country`)).fixed("green"),
					lines("Connections by country", "cps", "Connections opened per second, either way, by the peer's country.",
						series("$tag_country", `SELECT sum(connections) * 1000.0 / $__interval_ms FROM totals.origins WHERE {w} AND country =~ /^$country$/ GROUP BY {i}, country fill(0)`)).stacked(),
				},
			},
		},
	}
}
