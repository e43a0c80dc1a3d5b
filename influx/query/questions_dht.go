package query

// dhtQuestions are about the requests of the DHT.
var dhtQuestions = []Question{
	{
		Name: "dht-requests", Asks: "What does the DHT ask of the node, and the node of the DHT?", Since: "1h",
		InfluxQL: `SELECT sum(requests) AS requests, sum(failed) AS failed, sum(timeouts) AS timeouts, sum(canceled) AS canceled FROM totals.dht_requests WHERE time > now() - {since} GROUP BY direction, type`,
		Then: []Fold{{By: []string{"direction", "type"}, Make: []Made{{"requests", "sum", "requests"}, {"failed", "sum", "failed"},
			{"timeouts", "sum", "timeouts"}, {"canceled", "sum", "canceled"}}, Sort: "requests"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "dht_requests" and (r._field == "requests" or r._field == "failed" or r._field == "timeouts" or r._field == "canceled"))
  |> group(columns: ["direction", "type", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["direction", "type"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["direction", "type", "requests", "failed", "timeouts", "canceled"])
  |> sort(columns: ["requests", "direction", "type"], desc: true)`,
		Note: "received: peers ask this node; sent: this node asks them. unsent is a peer that could not be reached, so nothing was asked.",
	},
	{
		Name: "dht-keys", Asks: "Whose providers are looked for most?", Since: "1h",
		InfluxQL: `SELECT cid, requests, error FROM totals.dht_top WHERE time > now() - {since} AND direction = 'received' AND list = 'keys'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"requests", "sum", "requests"}, {"error", "sum", "error"}}, Sort: "requests", Limit: 20}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "dht_top" and r.direction == "received" and r.list == "keys")
  |> pivot(rowKey: ["_time", "node", "rank"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["cid"])
  |> reduce(identity: {requests: 0, error: 0}, fn: (r, accumulator) => ({requests: accumulator.requests + r.requests, error: accumulator.error + r.error}))
  |> group() |> sort(columns: ["requests", "cid"], desc: true) |> limit(n: 20)`,
		Note: "Sums of the minutes' lists of 50: the true number is at least requests - error. A provider record does not have the codec, so each is shown as raw.",
	},
	{
		Name: "dht-agents", Asks: "Which software asks the DHT of this node?", Since: "1h",
		InfluxQL: `SELECT agent, requests FROM totals.dht_top WHERE time > now() - {since} AND direction = 'received' AND list = 'agents'`,
		Then:     []Fold{{By: []string{"agent"}, Make: []Made{{"requests", "sum", "requests"}}, Sort: "requests"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "dht_top" and r.direction == "received" and r.list == "agents" and (r._field == "agent" or r._field == "requests"))
  |> pivot(rowKey: ["_time", "node", "rank"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["agent"])
  |> sum(column: "requests") |> group() |> sort(columns: ["requests", "agent"], desc: true)`,
		Note: "By families of agents, exact; unknown are peers that were not identified.",
	},
}
