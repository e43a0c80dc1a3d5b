package influx

func init() { Questions = append(Questions, moreQuestions...) }

// moreQuestions are those that mostly look into history.
var moreQuestions = []Question{
	{
		Name: "missing-agent", Asks: "Which agent asked most for what the node does not have?", Since: "1h",
		InfluxQL: `SELECT mode(peer) AS peer FROM presences WHERE time > now() - {since} AND direction = 'sent' AND type = 'dont_have' GROUP BY gateway`,
		Flux: `asked = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and r._field == "peer" and r.direction == "sent" and r.type == "dont_have")
  |> group(columns: ["_value"]) |> count(column: "type") |> group() |> rename(columns: {_value: "peer", type: "missing"})
agents = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "identifies" and (r._field == "peer" or r._field == "agent"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["peer"]) |> last(column: "agent") |> group() |> keep(columns: ["peer", "agent"])
join(tables: {asked: asked, agents: agents}, on: ["peer"])
  |> group(columns: ["agent"]) |> sum(column: "missing") |> group() |> sort(columns: ["missing"], desc: true) |> limit(n: 20)`,
		Note: "InfluxQL cannot join, nor group by a field: it tells the peer that asked most, and `SELECT last(agent) FROM identifies WHERE peer = '...'` its agent. Flux adds up the agents. A peer that was identified before that time is left out.",
	},
	{
		Name: "missing-cids", Asks: "What is asked for most that is not here?", Since: "1h",
		InfluxQL: `SELECT mode(cid) AS cid FROM presences WHERE time > now() - {since} AND direction = 'sent' AND type = 'dont_have' GROUP BY codec`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and r._field == "cid" and r.direction == "sent" and r.type == "dont_have")
  |> group(columns: ["_value"]) |> count(column: "type") |> group()
  |> rename(columns: {_value: "cid", type: "asked"}) |> sort(columns: ["asked"], desc: true) |> limit(n: 20)`,
		Note: "InfluxQL tells the first of each codec, Flux the first 20 of all.",
	},
	{
		Name: "hits", Asks: "How much of what is asked is here?", Since: "1h",
		InfluxQL: `SELECT sum(have) AS have, sum(blocks) AS blocks, sum(dont_have) AS dont_have, (sum(have) + sum(blocks)) / (sum(have) + sum(blocks) + sum(dont_have)) AS hits FROM totals.traffic WHERE time > now() - {since} AND direction = 'sent'`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "traffic" and r.direction == "sent" and (r._field == "have" or r._field == "blocks" or r._field == "dont_have"))
  |> group(columns: ["_field"]) |> sum() |> group()
  |> map(fn: (r) => ({of: "all", what: r._field, n: r._value}))
  |> pivot(rowKey: ["of"], columnKey: ["what"], valueColumn: "n")
  |> map(fn: (r) => ({have: r.have, blocks: r.blocks, dont_have: r.dont_have, hits: if r.have + r.blocks + r.dont_have == 0 then 0.0 else float(v: r.have + r.blocks) / float(v: r.have + r.blocks + r.dont_have)}))`,
	},
	{
		Name: "notes", Asks: "What happened?", Since: "7d",
		InfluxQL: `SELECT kind, text, value FROM totals.notes WHERE time > now() - {since} ORDER BY time DESC LIMIT 50`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "notes")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 50) |> keep(columns: ["_time", "kind", "text", "value"])`,
		Note: "Start and stop of the monitor, losses, storms of wants: what the dashboards mark.",
	},
	{
		Name: "want-kinds", Asks: "What do peers ask for, blocks or who has them?", Since: "1h",
		InfluxQL: `SELECT sum(want_have) AS want_have, sum(want_block) AS want_block, sum(cancel) AS cancel FROM totals.traffic WHERE time > now() - {since} GROUP BY direction`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "traffic" and (r._field == "want_have" or r._field == "want_block" or r._field == "cancel"))
  |> group(columns: ["direction", "_field"]) |> sum()`,
	},
	{
		Name: "old-clients", Asks: "How many wants do not ask to be told DONT_HAVE?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} AND direction = 'received' AND send_dont_have = false AND type != 'cancel' GROUP BY type`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "send_dont_have" and r.direction == "received" and r.type != "cancel")
  |> filter(fn: (r) => r._value == false)
  |> group(columns: ["type"]) |> count()`,
	},
	{
		Name: "askers", Asks: "How many different peers want something?", Since: "1h",
		InfluxQL: `SELECT count(distinct(peer)) AS peers FROM wants WHERE time > now() - {since} AND direction = 'received' GROUP BY time({every}) fill(none)`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "peer" and r.direction == "received")
  |> group() |> window(every: {every}) |> unique() |> count()`,
		Note: "Exact, from history, and so for hours; the question unique answers for any time.",
	},
	{
		Name: "slowest", Asks: "Which answers took longest?", Since: "1h",
		InfluxQL: `SELECT top(elapsed_us, 10) AS us, cid, peer, answer FROM latency WHERE time > now() - {since} AND direction = 'sent'`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency" and r.direction == "sent")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["elapsed_us"], desc: true) |> limit(n: 10) |> keep(columns: ["_time", "elapsed_us", "cid", "peer", "answer"])`,
		Note: "Needs HistoryLatency.",
	},
	{
		Name: "percentiles", Asks: "How are the times to an answer distributed?", Since: "1h",
		InfluxQL: `SELECT percentile(elapsed_us, 50) AS p50, percentile(elapsed_us, 95) AS p95, percentile(elapsed_us, 99) AS p99 FROM latency WHERE time > now() - {since} GROUP BY direction, answer`,
		Flux: `times = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency" and r._field == "elapsed_us")
  |> toFloat() |> group(columns: ["direction", "answer"])
times |> quantile(q: 0.5, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, q: "p50", _value: r._value})) |> yield(name: "p50")
times |> quantile(q: 0.95, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, q: "p95", _value: r._value})) |> yield(name: "p95")
times |> quantile(q: 0.99, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, q: "p99", _value: r._value})) |> yield(name: "p99")`,
		Note: "Exact, of single answers; needs HistoryLatency. The question latency needs nothing.",
	},
	{
		Name: "block-sizes", Asks: "How large are the blocks?", Since: "1h",
		InfluxQL: `SELECT count(size) AS blocks, median(size) AS median, percentile(size, 95) AS p95, max(size) AS max FROM blocks WHERE time > now() - {since} GROUP BY direction, codec`,
		Flux: `sizes = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks" and r._field == "size")
  |> toFloat() |> group(columns: ["direction", "codec"])
sizes |> count() |> yield(name: "blocks")
sizes |> median() |> yield(name: "median")
sizes |> quantile(q: 0.95, method: "exact_selector") |> keep(columns: ["direction", "codec", "_value"]) |> yield(name: "p95")
sizes |> max() |> keep(columns: ["direction", "codec", "_value"]) |> yield(name: "max")`,
	},
	{
		Name: "largest-blocks", Asks: "Which blocks were the largest?", Since: "1h",
		InfluxQL: `SELECT top(size, 10) AS size, cid, peer, direction FROM blocks WHERE time > now() - {since}`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["size"], desc: true) |> limit(n: 10) |> keep(columns: ["_time", "size", "cid", "peer", "direction"])`,
	},
	{
		Name: "served", Asks: "To whom does the data go?", Since: "1h",
		InfluxQL: `SELECT sum(block_bytes) AS bytes, sum(blocks) AS blocks FROM totals.origins WHERE time > now() - {since} AND direction = 'sent' GROUP BY country, gateway`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks" and r.direction == "sent" and (r._field == "size" or r._field == "peer"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["peer"]) |> sum(column: "size") |> group() |> sort(columns: ["size"], desc: true) |> limit(n: 20)`,
		Note: "InfluxQL tells countries and gateways, at any distance in time; Flux the peers, from history.",
	},
	{
		Name: "churn", Asks: "How many connections come and go?", Since: "1h",
		InfluxQL: `SELECT count(duration_ms) AS connections FROM connections WHERE time > now() - {since} GROUP BY time({every}), state fill(none)`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and r._field == "duration_ms")
  |> group(columns: ["state"]) |> aggregateWindow(every: {every}, fn: count, createEmpty: false)`,
	},
	{
		Name: "transports", Asks: "Over what do peers connect?", Since: "1h",
		InfluxQL: `SELECT count(duration_ms) AS connections FROM connections WHERE time > now() - {since} AND state = 'opened' GROUP BY transport, security, muxer, direction`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and r._field == "duration_ms" and r.state == "opened")
  |> group(columns: ["transport", "security", "muxer", "direction"]) |> count()`,
	},
	{
		Name: "newcomers", Asks: "Who was identified last, and what do they run?", Since: "1h",
		InfluxQL: `SELECT agent, protocols, peer, country FROM identifies WHERE time > now() - {since} ORDER BY time DESC LIMIT 20`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "identifies")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "agent", "protocols", "peer", "country"])`,
	},
	{
		Name: "cost", Asks: "What does the node cost?", Since: "1h",
		InfluxQL: `SELECT spread(cpu_ms) AS cpu_ms, max(resident_bytes) AS resident_bytes, max(goroutines) AS goroutines, max(open_files) AS open_files FROM totals.process WHERE time > now() - {since} GROUP BY "node"`,
		Flux: `cost = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "process")
cost |> filter(fn: (r) => r._field == "cpu_ms") |> spread() |> yield(name: "cpu")
cost |> filter(fn: (r) => r._field == "resident_bytes" or r._field == "goroutines" or r._field == "open_files")
  |> max() |> keep(columns: ["node", "_field", "_value"]) |> yield(name: "most")`,
		Note: "cpu_ms counts from the node's start: after a restart within that time ask for a shorter one.",
	},
	{
		Name: "backlog", Asks: "How far behind is the store, and how full the spool?", Since: "1h",
		InfluxQL: `SELECT max(queued) AS queued, max(lag_ms) AS lag_ms, max(spool_permille) AS spool_permille FROM totals.pipeline WHERE time > now() - {since} GROUP BY time({every}), "node" fill(none)`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "pipeline" and (r._field == "queued" or r._field == "lag_ms" or r._field == "spool_permille"))
  |> group(columns: ["node", "_field"]) |> aggregateWindow(every: {every}, fn: max, createEmpty: false)`,
	},
	{
		Name: "nodes", Asks: "Which nodes write here, and how are they?", Since: "1h",
		InfluxQL: `SELECT last(connections) AS connections, last(wantlist) AS wantlist, last(ledgers) AS ledgers, last(repo_bytes) AS repo_bytes FROM totals."node" WHERE time > now() - {since} GROUP BY "node"`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "node" and (r._field == "connections" or r._field == "wantlist" or r._field == "ledgers" or r._field == "repo_bytes"))
  |> group(columns: ["node", "_field"]) |> last() |> keep(columns: ["node", "_field", "_value"])`,
	},
	{
		Name: "sides", Asks: "What is wanted on each side of a proxy, and of which node?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} GROUP BY side, downstream, direction, type`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "cid")
  |> group(columns: ["side", "downstream", "direction", "type"]) |> count()`,
		Note: "side is upstream or downstream, downstream the node's name; what a node saw, as here, has neither.",
	},
}
