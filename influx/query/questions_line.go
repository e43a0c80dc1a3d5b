package query

// lineQuestions are about what uses the line, floods and coverage.
var lineQuestions = []Question{
	{
		Name: "line", Asks: "What eats my line?", Since: "1h",
		InfluxQL: `SELECT sum(bytes) AS bytes, sum(block_bytes) AS block_bytes FROM totals.agent_bytes WHERE time > now() - {since} GROUP BY family, direction`,
		Then:     []Fold{{By: []string{"family", "direction"}, Make: []Made{{"bytes", "sum", "bytes"}, {"block_bytes", "sum", "block_bytes"}}, Sort: "bytes"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "agent_bytes" and (r._field == "bytes" or r._field == "block_bytes"))
  |> group(columns: ["family", "direction", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["family", "direction"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["family", "direction", "bytes", "block_bytes"])
  |> sort(columns: ["bytes", "family", "direction"], desc: true)`,
		Note: "By family of agents, exact; line-cids, line-peers and line-countries have the CIDs, peers and countries. Counted once a minute, at its end.",
	},
	{
		Name: "line-cids", Asks: "Which data eats my line?", Since: "1h",
		InfluxQL: `SELECT cid, direction, bytes, error FROM totals.top_bytes_cids WHERE time > now() - {since}`,
		Then:     []Fold{{By: []string{"cid", "direction"}, Make: []Made{{"bytes", "sum", "bytes"}, {"error", "sum", "error"}}, Sort: "bytes", Limit: 20}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_bytes_cids" and (r._field == "cid" or r._field == "bytes" or r._field == "error"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["cid", "direction"])
  |> reduce(identity: {bytes: 0, error: 0}, fn: (r, accumulator) => ({bytes: accumulator.bytes + r.bytes, error: accumulator.error + r.error}))
  |> group() |> sort(columns: ["bytes", "cid", "direction"], desc: true) |> limit(n: 20)`,
		Note: "Data of blocks, in the minutes' lists of 20. The true number is at most error less, and more by the minutes in whose list the CID is not.",
	},
	{
		Name: "line-peers", Asks: "Which peers eat my line?", Since: "1h",
		InfluxQL: `SELECT peer, direction, bytes, error, agent FROM totals.top_bytes_peers WHERE time > now() - {since}`,
		Then:     []Fold{{By: []string{"peer", "direction"}, Make: []Made{{"bytes", "sum", "bytes"}, {"error", "sum", "error"}, {"agent", "last", "agent"}}, Sort: "bytes", Limit: 20}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_bytes_peers" and true)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["peer", "direction"]) |> sort(columns: ["_time"])
  |> reduce(identity: {bytes: 0, error: 0, agent: ""}, fn: (r, accumulator) => ({bytes: accumulator.bytes + r.bytes, error: accumulator.error + r.error, agent: if r.agent != "" then r.agent else accumulator.agent}))
  |> group() |> sort(columns: ["bytes", "peer", "direction"], desc: true) |> limit(n: 20)`,
		Note: "Messages on the wire, in the minutes' lists of 20. The true number is at most error less, and more by the minutes in whose list the peer is not.",
	},
	{
		Name: "line-countries", Asks: "Which countries eat my line?", Since: "1d",
		InfluxQL: `SELECT sum(block_bytes) AS block_bytes, sum(blocks) AS blocks FROM totals.origins WHERE time > now() - {since} GROUP BY country, direction`,
		Then:     []Fold{{By: []string{"country", "direction"}, Make: []Made{{"block_bytes", "sum", "block_bytes"}, {"blocks", "sum", "blocks"}}, Sort: "block_bytes"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "origins" and (r._field == "block_bytes" or r._field == "blocks"))
  |> group(columns: ["country", "direction", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["country", "direction"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["country", "direction", "block_bytes", "blocks"])
  |> sort(columns: ["block_bytes", "country", "direction"], desc: true)`,
		Note: "Data of blocks over libp2p, exact; a gateway asked over HTTP is not in it. The country is none unless the monitor has a database of countries (GeoIPDatabase).",
	},
	{
		Name: "coverage", Asks: "How many of the connected peers ever ask this node?", Since: "1h",
		InfluxQL: `SELECT last(connected) AS connected, last(asked) AS asked, last(broadcast) AS broadcast FROM totals.coverage WHERE time > now() - {since} GROUP BY family, "node"`,
		Then:     []Fold{{By: []string{"family"}, Make: []Made{{"connected", "sum", "connected"}, {"asked", "sum", "asked"}, {"broadcast", "sum", "broadcast"}}, Sort: "connected"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "coverage" and (r._field == "connected" or r._field == "asked" or r._field == "broadcast"))
  |> group(columns: ["family", "node", "_field"]) |> last() |> group(columns: ["family", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["family"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["family", "connected", "asked", "broadcast"])
  |> sort(columns: ["connected", "family"], desc: true)`,
		Note: "At the end of the last minute of that time. Asked: sent a want since they connected; broadcast: asked for what the node has nothing of, as peers ask everybody. docs/what-is-seen.md says what that means for all other answers.",
	},
	{
		Name: "floods", Asks: "Who floods the node, and how is that peer blocked?", Since: "1d",
		InfluxQL: `SELECT peer, agent, addr, want_rate, message_rate, share_permille, repeats_permille, command FROM totals.floods WHERE time > now() - {since} AND state = 'began' ORDER BY time DESC LIMIT 50`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "floods" and r.state == "began")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 50)
  |> keep(columns: ["_time", "peer", "agent", "addr", "want_rate", "message_rate", "share_permille", "repeats_permille", "command"])`,
		Note: "Rates are per second, of two seconds. The command blocks the peer in kubo, with all other peers of its address.",
	},
}
