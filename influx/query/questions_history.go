package query

// historyQuestions are the questions that mostly read history.
var historyQuestions = []Question{
	{
		Name: "missing-agent", Asks: "Which agents asked most for CIDs that the node does not have?", Since: "1h",
		InfluxQL: `SELECT peer FROM presences WHERE time > now() - {since} AND direction = 'sent' AND type = 'dont_have';
SELECT peer, agent FROM totals.top_peers WHERE time > now() - {since};
SELECT peer, agent FROM identifies WHERE time > now() - {since}`,
		Then: []Fold{
			{Of: "presences", By: []string{"peer"}, Make: []Made{{"missing", "count", "peer"}, {"agent", "last", "agent"}}},
			{By: []string{"agent"}, Make: []Made{{"missing", "sum", "missing"}, {"peers", "count", "peer"}}, Sort: "missing", Limit: 20},
		},
		Flux: `asked = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and r._field == "peer" and r.direction == "sent" and r.type == "dont_have")
  |> group(columns: ["_value"]) |> count(column: "type") |> group()
  |> map(fn: (r) => ({peer: r._value, n: r.type, agent: "", at: 0}))
` + fluxAgents + `union(tables: [asked, listed, identified]) |> group(columns: ["peer"])
  |> reduce(identity: {n: 0, agent: "", at: -9000000000000000001}, fn: (r, accumulator) => ({
    n: accumulator.n + r.n,
    agent: if r.agent != "" and r.at >= accumulator.at then r.agent else accumulator.agent,
    at: if r.agent != "" and r.at >= accumulator.at then r.at else accumulator.at}))
  |> group() |> filter(fn: (r) => r.n > 0) |> group(columns: ["agent"])
  |> reduce(identity: {missing: 0, peers: 0}, fn: (r, accumulator) => ({missing: accumulator.missing + r.n, peers: accumulator.peers + 1}))
  |> group() |> sort(columns: ["missing", "agent"], desc: true) |> limit(n: 20)`,
		Else: &Question{
			InfluxQL: `SELECT sum(dont_have) AS missing FROM totals.agent_bytes WHERE time > now() - {since} AND direction = 'sent' GROUP BY family`,
			Then:     []Fold{{By: []string{"family"}, Make: []Made{{"missing", "sum", "missing"}}, Sort: "missing"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "agent_bytes" and r._field == "dont_have" and r.direction == "sent")
  |> group(columns: ["family"]) |> sum() |> group() |> rename(columns: {_value: "missing"}) |> keep(columns: ["family", "missing"])
  |> sort(columns: ["missing", "family"], desc: true)`,
			Note: "history has nothing in that time, so these are families of agents, exact from the sums of its minutes; each peer counts for the agent that it had then",
		},
		Note: "A peer that was not identified in that time has no agent.",
	},
	{
		Name: "missing-cids", Asks: "Which CIDs that the node does not have are requested most?", Since: "1h",
		InfluxQL: `SELECT cid, peer FROM presences WHERE time > now() - {since} AND direction = 'sent' AND type = 'dont_have'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"asked", "count", "cid"}, {"peers", "distinct", "peer"}}, Sort: "asked", Limit: 20}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and (r._field == "cid" or r._field == "peer") and r.direction == "sent" and r.type == "dont_have")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> group(columns: ["cid", "peer"]) |> count(column: "type")
  |> group(columns: ["cid"])
  |> reduce(identity: {asked: 0, peers: 0}, fn: (r, accumulator) => ({asked: accumulator.asked + r.type, peers: accumulator.peers + 1}))
  |> group() |> sort(columns: ["asked", "cid"], desc: true) |> limit(n: 20)`,
		Else: &Question{
			InfluxQL: `SELECT cid, asked, error FROM totals.top_missing WHERE time > now() - {since};
SELECT sum(asked) AS unlisted FROM totals.top_missing WHERE time > now() - {since} AND rank = '50'`,
			Then: []Fold{{By: []string{"cid"}, Of: "top_missing", Make: []Made{{"asked", "sum", "asked"}, {"error", "sum", "error"}, {"unlisted", "all", "unlisted"}}, Sort: "asked", Limit: 20}},
			Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_missing" and true)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
listed = rows |> group(columns: ["cid"])
  |> reduce(identity: {asked: 0, error: 0}, fn: (r, accumulator) => ({asked: accumulator.asked + r.asked, error: accumulator.error + r.error}))
  |> group() |> map(fn: (r) => ({of: "all", cid: r.cid, asked: r.asked, error: r.error}))
missing = rows
  |> reduce(identity: {unlisted: 0}, fn: (r, accumulator) => ({unlisted: if r.rank == "50" then accumulator.unlisted + r.asked else accumulator.unlisted}))
  |> map(fn: (r) => ({of: "all", unlisted: r.unlisted}))
join(tables: {listed: listed, missing: missing}, on: ["of"]) |> drop(columns: ["of"])
  |> sort(columns: ["asked", "cid"], desc: true) |> limit(n: 20)`,
			Note: "history has nothing in that time, so these are sums of the minutes' lists of 50: the true number is between asked - error and asked + unlisted",
		},
	},
	{
		Name: "hits", Asks: "What share of the requested CIDs does the node have?", Since: "1h",
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
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 50) |> keep(columns: ["_time", "kind", "text", "value"])`,
		Note: "Start and stop of the monitor, losses, storms of wants: the events that dashboards mark.",
	},
	{
		Name: "want-kinds", Asks: "Do peers ask for blocks, or for who has them?", Since: "1h",
		InfluxQL: `SELECT sum(want_have) AS want_have, sum(want_block) AS want_block, sum(cancel) AS cancel FROM totals.traffic WHERE time > now() - {since} GROUP BY direction`,
		Then:     []Fold{{By: []string{"direction"}, Make: []Made{{"want_have", "sum", "want_have"}, {"want_block", "sum", "want_block"}, {"cancel", "sum", "cancel"}}, Sort: "want_have"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "traffic" and (r._field == "want_have" or r._field == "want_block" or r._field == "cancel"))
  |> group(columns: ["direction", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["direction"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["direction", "want_have", "want_block", "cancel"])
  |> sort(columns: ["want_have", "direction"], desc: true)`,
	},
	{
		Name: "old-clients", Asks: "How many wants do not request DONT_HAVE?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} AND direction = 'received' AND send_dont_have = false AND type != 'cancel' GROUP BY type`,
		Then:     []Fold{{By: []string{"type"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "send_dont_have" and r.direction == "received" and r.type != "cancel")
  |> filter(fn: (r) => r._value == false)
  |> group(columns: ["type"]) |> count() |> group() |> drop(columns: ["_start", "_stop"]) |> rename(columns: {_value: "wants"}) |> sort(columns: ["wants", "type"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(wants) AS wants FROM totals.asking_1m WHERE time > now() - {since} AND direction = 'received' AND send_dont_have = 'false' GROUP BY type`,
			Then:     []Fold{{By: []string{"type"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "asking_1m" and r._field == "wants" and r.direction == "received" and r.send_dont_have == "false")
  |> group(columns: ["type"]) |> sum() |> group() |> rename(columns: {_value: "wants"}) |> keep(columns: ["type", "wants"]) |> sort(columns: ["wants", "type"], desc: true)`,
			Note: ofMinutes,
		},
	},
	{
		Name: "askers", Asks: "How many different peers want something?", Since: "1h",
		InfluxQL: `SELECT count(distinct(peer)) AS peers FROM wants WHERE time > now() - {since} AND direction = 'received' AND type != 'cancel' GROUP BY time({every}) fill(none)`,
		Flux: `import "date"
from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "peer" and r.direction == "received" and r.type != "cancel")
  |> group() |> window(every: {every}) |> unique() |> count()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), peers: r._value})) |> group() |> sort(columns: ["_time"])`,
		Else: &Question{
			InfluxQL: `SELECT max(askers) AS peers_at_least, sum(peers) AS peers_at_most FROM totals.unique WHERE time > now() - {since} AND direction = 'received' GROUP BY time({every}) fill(none)`,
			Flux: `import "date"
of = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "unique" and r.direction == "received" and (r._field == "askers" or r._field == "peers"))
  |> group(columns: ["_field"]) |> window(every: {every})
least = of |> filter(fn: (r) => r._field == "askers") |> max() |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), what: "peers_at_least", n: r._value}))
most = of |> filter(fn: (r) => r._field == "peers") |> sum() |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), what: "peers_at_most", n: r._value}))
union(tables: [least, most]) |> group() |> pivot(rowKey: ["_time"], columnKey: ["what"], valueColumn: "n") |> sort(columns: ["_time"])`,
			Note: "history has nothing in that time. Distinct counts of several minutes cannot be summed: the true number of a step is between the peers of the largest minute that want something and the sum of those that sent messages, each to 0.81 %",
		},
		Note: "In each time step; the steps cannot be summed: the question unique returns the number of the whole time.",
	},
	{
		Name: "slowest", Asks: "Which answers took longest?", Since: "1h",
		InfluxQL: `SELECT top(elapsed_us, 10) AS us, cid, peer, answer FROM latency WHERE time > now() - {since} AND direction = 'sent'`,
		Then:     []Fold{{Sort: "us"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency" and r.direction == "sent")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["elapsed_us"], desc: true) |> limit(n: 10)
  |> rename(columns: {elapsed_us: "us"}) |> keep(columns: ["_time", "us", "cid", "peer", "answer"])`,
		Note: "Needs HistoryLatency.",
	},
	{
		Name: "percentiles", Asks: "How are the times to an answer distributed?", Since: "1h",
		InfluxQL: `SELECT count(elapsed_us) AS answers, percentile(elapsed_us, 50) AS p50_us, percentile(elapsed_us, 95) AS p95_us, percentile(elapsed_us, 99) AS p99_us FROM latency WHERE time > now() - {since} GROUP BY direction, answer`,
		Then:     []Fold{{By: []string{"direction", "answer"}, Make: []Made{{"answers", "sum", "answers"}, {"p50_us", "sum", "p50_us"}, {"p95_us", "sum", "p95_us"}, {"p99_us", "sum", "p99_us"}}, Sort: "answers"}},
		Flux: `of = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency" and r._field == "elapsed_us")
  |> toFloat() |> group(columns: ["direction", "answer"])
answers = of |> count() |> map(fn: (r) => ({direction: r.direction, answer: r.answer, what: "answers", n: float(v: r._value)}))
p50_us = of |> quantile(q: 0.5, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, what: "p50_us", n: float(v: r._value)}))
p95_us = of |> quantile(q: 0.95, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, what: "p95_us", n: float(v: r._value)}))
p99_us = of |> quantile(q: 0.99, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, answer: r.answer, what: "p99_us", n: float(v: r._value)}))
union(tables: [answers, p50_us, p95_us, p99_us]) |> group() |> pivot(rowKey: ["direction", "answer"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["answers", "direction", "answer"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(answers) AS answers, max(p50_us) AS worst_p50_us, max(p90_us) AS worst_p90_us, max(p99_us) AS worst_p99_us FROM totals.latency_totals WHERE time > now() - {since} AND answers > 0 GROUP BY direction, answer`,
			Then:     []Fold{{By: []string{"direction", "answer"}, Make: []Made{{"answers", "sum", "answers"}, {"worst_p50_us", "max", "worst_p50_us"}, {"worst_p90_us", "max", "worst_p90_us"}, {"worst_p99_us", "max", "worst_p99_us"}}, Sort: "answers"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency_totals" and (r._field == "answers" or r._field == "p50_us" or r._field == "p90_us" or r._field == "p99_us"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> filter(fn: (r) => r.answers > 0) |> group(columns: ["direction", "answer"])
  |> reduce(identity: {answers: 0, worst_p50_us: 0, worst_p90_us: 0, worst_p99_us: 0}, fn: (r, accumulator) => ({answers: accumulator.answers + r.answers,
    worst_p50_us: if r.p50_us > accumulator.worst_p50_us then r.p50_us else accumulator.worst_p50_us,
    worst_p90_us: if r.p90_us > accumulator.worst_p90_us then r.p90_us else accumulator.worst_p90_us,
    worst_p99_us: if r.p99_us > accumulator.worst_p99_us then r.p99_us else accumulator.worst_p99_us}))
  |> group() |> sort(columns: ["answers", "direction", "answer"], desc: true)`,
			Note: "history has nothing in that time. Quantiles of several minutes cannot be combined: these are those of the worst minute, to 3.2 %, with all answers",
		},
		Note: "Exact, from single answers; needs HistoryLatency. InfluxQL rounds the rank of a percentile, Flux uses the next one above. The question latency works without it.",
	},
	{
		Name: "block-sizes", Asks: "How large are the blocks?", Since: "1h",
		InfluxQL: `SELECT count(size) AS blocks, median(size) AS median, percentile(size, 95) AS p95, max(size) AS max FROM blocks WHERE time > now() - {since} GROUP BY direction, codec`,
		Then:     []Fold{{By: []string{"direction", "codec"}, Make: []Made{{"blocks", "sum", "blocks"}, {"median", "sum", "median"}, {"p95", "sum", "p95"}, {"max", "sum", "max"}}, Sort: "blocks"}},
		Flux: `of = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks" and r._field == "size")
  |> toFloat() |> group(columns: ["direction", "codec"])
blocks = of |> count() |> map(fn: (r) => ({direction: r.direction, codec: r.codec, what: "blocks", n: float(v: r._value)}))
middle = of |> median(method: "exact_mean") |> map(fn: (r) => ({direction: r.direction, codec: r.codec, what: "median", n: float(v: r._value)}))
p95 = of |> quantile(q: 0.95, method: "exact_selector") |> map(fn: (r) => ({direction: r.direction, codec: r.codec, what: "p95", n: float(v: r._value)}))
most = of |> max() |> map(fn: (r) => ({direction: r.direction, codec: r.codec, what: "max", n: float(v: r._value)}))
union(tables: [blocks, middle, p95, most]) |> group() |> pivot(rowKey: ["direction", "codec"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["blocks", "direction", "codec"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(blocks) AS blocks, sum(bytes) AS bytes, max(max_bytes) AS max_bytes FROM totals.block_sizes_1m WHERE time > now() - {since} GROUP BY direction, codec, up_to_bytes`,
			Then:     []Fold{{By: []string{"direction", "codec", "up_to_bytes"}, Make: []Made{{"blocks", "sum", "blocks"}, {"bytes", "sum", "bytes"}, {"max_bytes", "max", "max_bytes"}}, Sort: "blocks"}},
			Flux: `of = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "block_sizes_1m") |> group(columns: ["direction", "codec", "up_to_bytes", "_field"])
sums = of |> filter(fn: (r) => r._field == "blocks" or r._field == "bytes") |> sum() |> map(fn: (r) => ({direction: r.direction, codec: r.codec, up_to_bytes: r.up_to_bytes, what: r._field, n: r._value}))
most = of |> filter(fn: (r) => r._field == "max_bytes") |> max() |> map(fn: (r) => ({direction: r.direction, codec: r.codec, up_to_bytes: r.up_to_bytes, what: r._field, n: r._value}))
union(tables: [sums, most]) |> group() |> pivot(rowKey: ["direction", "codec", "up_to_bytes"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["blocks", "direction", "codec", "up_to_bytes"], desc: true)`,
			Note: ofMinutes + ", by classes: those of a row have at most up_to_bytes bytes, and more than those of the class below",
		},
		Note: "InfluxQL rounds the rank of a percentile, Flux uses the next one above.",
	},
	{
		Name: "largest-blocks", Asks: "Which blocks were the largest?", Since: "1h",
		InfluxQL: `SELECT top(size, 10) AS size, cid, peer, direction FROM blocks WHERE time > now() - {since}`,
		Then:     []Fold{{Sort: "size"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["size"], desc: true) |> limit(n: 10) |> keep(columns: ["_time", "size", "cid", "peer", "direction"])`,
	},
	{
		Name: "served", Asks: "Which peers receive most data?", Since: "1h",
		InfluxQL: `SELECT size, peer, country FROM blocks WHERE time > now() - {since} AND direction = 'sent'`,
		Then:     []Fold{{By: []string{"peer"}, Make: []Made{{"blocks", "count", "size"}, {"bytes", "sum", "size"}, {"country", "last", "country"}}, Sort: "bytes", Limit: 20}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "blocks" and r.direction == "sent" and (r._field == "size" or r._field == "peer" or r._field == "country"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> group(columns: ["peer"]) |> sort(columns: ["_time"])
  |> reduce(identity: {blocks: 0, bytes: 0, country: ""}, fn: (r, accumulator) => ({blocks: accumulator.blocks + 1, bytes: accumulator.bytes + r.size, country: r.country}))
  |> group() |> sort(columns: ["bytes", "peer"], desc: true) |> limit(n: 20)`,
		Else: &Question{
			InfluxQL: `SELECT peer, bytes, error FROM totals.top_bytes_peers WHERE time > now() - {since} AND direction = 'sent';
SELECT sum(bytes) AS unlisted FROM totals.top_bytes_peers WHERE time > now() - {since} AND direction = 'sent' AND rank = '20'`,
			Then: []Fold{{By: []string{"peer"}, Of: "top_bytes_peers", Make: []Made{{"bytes", "sum", "bytes"}, {"error", "sum", "error"}, {"unlisted", "all", "unlisted"}}, Sort: "bytes", Limit: 20}},
			Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_bytes_peers" and r.direction == "sent")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
listed = rows |> group(columns: ["peer"])
  |> reduce(identity: {bytes: 0, error: 0}, fn: (r, accumulator) => ({bytes: accumulator.bytes + r.bytes, error: accumulator.error + r.error}))
  |> group() |> map(fn: (r) => ({of: "all", peer: r.peer, bytes: r.bytes, error: r.error}))
missing = rows
  |> reduce(identity: {unlisted: 0}, fn: (r, accumulator) => ({unlisted: if r.rank == "20" then accumulator.unlisted + r.bytes else accumulator.unlisted}))
  |> map(fn: (r) => ({of: "all", unlisted: r.unlisted}))
join(tables: {listed: listed, missing: missing}, on: ["of"]) |> drop(columns: ["of"])
  |> sort(columns: ["bytes", "peer"], desc: true) |> limit(n: 20)`,
			Note: "history has nothing in that time, so these are whole messages on the wire, sums of the minutes' lists of 20: the true number is between bytes - error and bytes + unlisted",
		},
	},
	{
		Name: "churn", Asks: "How many connections are opened and closed?", Since: "1h",
		InfluxQL: `SELECT count(duration_ms) AS connections FROM connections WHERE time > now() - {since} GROUP BY time({every}), state fill(none)`,
		Flux: `import "date"
from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and r._field == "duration_ms")
  |> group(columns: ["state", "_field"]) |> window(every: {every}) |> count()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), state: r.state, what: r._field, n: r._value})) |> group()
  |> pivot(rowKey: ["state", "_time"], columnKey: ["what"], valueColumn: "n") |> rename(columns: {duration_ms: "connections"})
  |> sort(columns: ["state", "_time"])`,
		Else: &Question{
			InfluxQL: `SELECT sum(connections) AS connections FROM totals.connections_1m WHERE time > now() - {since} GROUP BY time({every}), state fill(none)`,
			Flux: `import "date"
from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections_1m" and r._field == "connections")
  |> group(columns: ["state", "_field"]) |> window(every: {every}) |> sum()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), state: r.state, connections: r._value})) |> group() |> sort(columns: ["state", "_time"])`,
			Note: ofMinutes,
		},
	},
	{
		Name: "transports", Asks: "Which transports do peers connect with?", Since: "1h",
		InfluxQL: `SELECT count(duration_ms) AS connections FROM connections WHERE time > now() - {since} AND state = 'opened' GROUP BY transport, security, muxer, direction`,
		Then:     []Fold{{By: []string{"transport", "security", "muxer", "direction"}, Make: []Made{{"connections", "sum", "connections"}}, Sort: "connections"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and r._field == "duration_ms" and r.state == "opened")
  |> group(columns: ["transport", "security", "muxer", "direction"]) |> count() |> group() |> drop(columns: ["_start", "_stop"]) |> rename(columns: {_value: "connections"}) |> sort(columns: ["connections", "transport", "security", "muxer", "direction"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(connections) AS connections FROM totals.connections_1m WHERE time > now() - {since} AND state = 'opened' GROUP BY transport, security, muxer, direction`,
			Then:     []Fold{{By: []string{"transport", "security", "muxer", "direction"}, Make: []Made{{"connections", "sum", "connections"}}, Sort: "connections"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections_1m" and r._field == "connections" and r.state == "opened")
  |> group(columns: ["transport", "security", "muxer", "direction"]) |> sum() |> group() |> drop(columns: ["_start", "_stop"]) |> rename(columns: {_value: "connections"}) |> sort(columns: ["connections", "transport", "security", "muxer", "direction"], desc: true)`,
			Note: ofMinutes,
		},
	},
	{
		Name: "newcomers", Asks: "Which peers were identified most recently, and what do they run?", Since: "1h",
		InfluxQL: `SELECT agent, protocols, peer, country FROM identifies WHERE time > now() - {since} ORDER BY time DESC LIMIT 20`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "identifies")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "agent", "protocols", "peer", "country"])`,
	},
	{
		Name: "cost", Asks: "Which resources does the node use?", Since: "1h",
		InfluxQL: `SELECT value FROM totals.notes WHERE time > now() - {since} AND "kind" = 'start' GROUP BY "node";
SELECT cpu_ms, resident_bytes, goroutines, open_files FROM totals.process WHERE time > now() - {since} GROUP BY "node"`,
		Then: []Fold{{Of: "process", Starts: "notes", By: []string{"node"}, Make: []Made{{"cpu_ms", "increase", "cpu_ms"}, {"max_resident_bytes", "max", "resident_bytes"}, {"max_goroutines", "max", "goroutines"}, {"max_open_files", "max", "open_files"}}, Sort: "cpu_ms"}},
		Flux: `starts = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "notes" and r._field == "value" and r["kind"] == "start")
  |> map(fn: (r) => ({_time: r._time, node: r.node, mark: 0, cpu_ms: 0, resident_bytes: 0, goroutines: 0, open_files: 0}))
rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "process" and (r._field == "cpu_ms" or r._field == "resident_bytes" or r._field == "goroutines" or r._field == "open_files"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> map(fn: (r) => ({_time: r._time, node: r.node, mark: 1, cpu_ms: r.cpu_ms, resident_bytes: r.resident_bytes, goroutines: r.goroutines, open_files: r.open_files}))
union(tables: [starts, rows]) |> group(columns: ["node"]) |> sort(columns: ["_time", "mark"])
  |> reduce(identity: {rows: 0, begun: 0, b_cpu_ms: 0, cpu_ms: 0, max_resident_bytes: 0, max_goroutines: 0, max_open_files: 0},
    fn: (r, accumulator) => ({rows: accumulator.rows + r.mark, begun: 1,
      b_cpu_ms: r.cpu_ms, cpu_ms: accumulator.cpu_ms + (if accumulator.begun == 0 then 0 else if r.cpu_ms >= accumulator.b_cpu_ms then r.cpu_ms - accumulator.b_cpu_ms else r.cpu_ms),
      max_resident_bytes: if r.resident_bytes > accumulator.max_resident_bytes then r.resident_bytes else accumulator.max_resident_bytes,
      max_goroutines: if r.goroutines > accumulator.max_goroutines then r.goroutines else accumulator.max_goroutines,
      max_open_files: if r.open_files > accumulator.max_open_files then r.open_files else accumulator.max_open_files}))
  |> filter(fn: (r) => r.rows > 0) |> group() |> keep(columns: ["node", "cpu_ms", "max_resident_bytes", "max_goroutines", "max_open_files"]) |> sort(columns: ["cpu_ms", "node"], desc: true)`,
		Note: "Processor time that each node used in that time, and the maximum of the others.",
	},
	{
		Name: "backlog", Asks: "How far behind is the store, and how full the spool?", Since: "1h",
		InfluxQL: `SELECT max(queued) AS queued, max(lag_ms) AS lag_ms, max(spool_permille) AS spool_permille FROM totals.pipeline WHERE time > now() - {since} GROUP BY time({every}), "node" fill(none)`,
		Flux: `import "date"
from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "pipeline" and (r._field == "queued" or r._field == "lag_ms" or r._field == "spool_permille"))
  |> group(columns: ["node", "_field"]) |> window(every: {every}) |> max()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), node: r.node, what: r._field, n: r._value})) |> group()
  |> pivot(rowKey: ["node", "_time"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["node", "_time"])`,
	},
	{
		Name: "nodes", Asks: "Which nodes write here, and how are they?", Since: "1h",
		InfluxQL: `SELECT last(connections) AS connections, wantlist, ledgers, repo_bytes FROM totals."node" WHERE time > now() - {since} GROUP BY "node"`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "node" and (r._field == "connections" or r._field == "wantlist" or r._field == "ledgers" or r._field == "repo_bytes"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> group(columns: ["node"]) |> sort(columns: ["_time"]) |> last(column: "connections") |> group()
  |> keep(columns: ["node", "_time", "connections", "wantlist", "ledgers", "repo_bytes"]) |> sort(columns: ["node"])`,
		Note: "With the time of the last figures: a node with an old time no longer writes.",
	},
	{
		Name: "sides", Asks: "What is wanted on each side of a proxy, and of which node?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} GROUP BY side, downstream, direction, type`,
		Then:     []Fold{{By: []string{"side", "downstream", "direction", "type"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "cid")
  |> group(columns: ["side", "downstream", "direction", "type"]) |> count() |> group() |> drop(columns: ["_start", "_stop"]) |> rename(columns: {_value: "wants"}) |> sort(columns: ["wants", "side", "downstream", "direction", "type"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(wants) AS wants FROM totals.wants_1m WHERE time > now() - {since} GROUP BY side, downstream, direction, type`,
			Then:     []Fold{{By: []string{"side", "downstream", "direction", "type"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants_1m" and r._field == "wants")
  |> group(columns: ["side", "downstream", "direction", "type"]) |> sum() |> group() |> drop(columns: ["_start", "_stop"]) |> rename(columns: {_value: "wants"}) |> sort(columns: ["wants", "side", "downstream", "direction", "type"], desc: true)`,
			Note: ofMinutes,
		},
		Note: "side is upstream or downstream, downstream is the node's name; points written by a node, as here, have neither.",
	},
}
