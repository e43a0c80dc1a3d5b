package query

// retrievalQuestions are those about what the node wants, and how it asks.
var retrievalQuestions = []Question{
	{
		Name: "sources", Asks: "Where do the blocks come from that the node wants?", Since: "1d",
		InfluxQL: `SELECT sum(blocks) AS blocks, sum(bytes) AS bytes, sum(provider_sum_us) / sum(blocks) AS mean_provider_us, sum(block_sum_us) / sum(blocks) AS mean_block_us, max(block_p90_us) AS worst_p90_us, max(block_max_us) AS max_us FROM totals.retrieval WHERE time > now() - {since} AND blocks > 0 GROUP BY source`,
		Then: []Fold{{By: []string{"source"}, Make: []Made{{"blocks", "sum", "blocks"}, {"bytes", "sum", "bytes"}, {"mean_provider_us", "sum", "mean_provider_us"},
			{"mean_block_us", "sum", "mean_block_us"}, {"worst_p90_us", "max", "worst_p90_us"}, {"max_us", "max", "max_us"}}, Sort: "blocks"}},
		Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "retrieval")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> filter(fn: (r) => r.blocks > 0) |> group(columns: ["source"])
  |> reduce(identity: {blocks: 0, bytes: 0, provider: 0, block: 0, p90: 0, most: 0}, fn: (r, accumulator) => ({blocks: accumulator.blocks + r.blocks, bytes: accumulator.bytes + r.bytes,
    provider: accumulator.provider + r.provider_sum_us, block: accumulator.block + r.block_sum_us,
    p90: if r.block_p90_us > accumulator.p90 then r.block_p90_us else accumulator.p90,
    most: if r.block_max_us > accumulator.most then r.block_max_us else accumulator.most})) |> group()
rows |> map(fn: (r) => ({source: r.source, blocks: r.blocks, bytes: r.bytes, mean_provider_us: float(v: r.provider) / float(v: r.blocks), mean_block_us: float(v: r.block) / float(v: r.blocks), worst_p90_us: r.p90, max_us: r.most}))
  |> sort(columns: ["blocks", "source"], desc: true)`,
		Note: "connected: a peer that was connected for another reason; routing: the routing named it for this CID; session: for another CID; http: an HTTP gateway. Counts, means and maximum are exact, the quantile is of the worst minute.",
	},
	{
		Name: "wanted", Asks: "How much of what the node wants does it get?", Since: "1d",
		InfluxQL: `SELECT sum(wanted) AS wanted, sum(given_up) AS given_up, sum(unanswered) AS unanswered, sum(surplus) AS surplus, sum(searches) AS searches, sum(providers) AS providers, sum(not_found) AS not_found FROM totals.retrieval_wants WHERE time > now() - {since}`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "retrieval_wants" and (r._field == "wanted" or r._field == "given_up" or r._field == "unanswered" or r._field == "surplus" or r._field == "searches" or r._field == "providers" or r._field == "not_found"))
  |> group(columns: ["_field"]) |> sum() |> group()
  |> map(fn: (r) => ({of: "all", what: r._field, n: r._value}))
  |> pivot(rowKey: ["of"], columnKey: ["what"], valueColumn: "n")
  |> keep(columns: ["wanted", "given_up", "unanswered", "surplus", "searches", "providers", "not_found"])`,
		Note: "CIDs that it began to want, whose wants it cancelled before a block came, and that nobody answered; second copies of blocks; searches in the routing, the records that they returned and those without one.",
	},
	{
		Name: "slow-blocks", Asks: "Which wanted blocks took longest to come?", Since: "1h",
		InfluxQL: `SELECT top(block_us, 10) AS us, provider_us, cid, peer, source FROM retrievals WHERE time > now() - {since}`,
		Then:     []Fold{{Sort: "us"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "retrievals")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["block_us"], desc: true) |> limit(n: 10)
  |> rename(columns: {block_us: "us"}) |> keep(columns: ["_time", "us", "provider_us", "cid", "peer", "source"])`,
		Note: "Needs HistoryLatency. provider_us: until the first record, HAVE or block.",
	},
	{
		Name: "http", Asks: "Which HTTP gateways are asked, and how does that end?", Since: "1h",
		InfluxQL: `SELECT host, method, outcome, elapsed_us, bytes FROM http_requests WHERE time > now() - {since}`,
		Then:     []Fold{{By: []string{"host", "method", "outcome"}, Make: []Made{{"requests", "count", "elapsed_us"}, {"bytes", "sum", "bytes"}, {"max_us", "max", "elapsed_us"}}, Sort: "requests", Limit: 50}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "http_requests" and (r._field == "host" or r._field == "elapsed_us" or r._field == "bytes"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["host", "method", "outcome"])
  |> reduce(identity: {requests: 0, bytes: 0, max_us: 0}, fn: (r, accumulator) => ({requests: accumulator.requests + 1, bytes: accumulator.bytes + r.bytes,
    max_us: if r.elapsed_us > accumulator.max_us then r.elapsed_us else accumulator.max_us}))
  |> group() |> sort(columns: ["requests", "host", "method", "outcome"], desc: true) |> limit(n: 50)`,
		Else: &Question{
			InfluxQL: `SELECT sum(requests) AS requests, sum(bytes) AS bytes, max(max_us) AS max_us FROM totals.http_totals WHERE time > now() - {since} GROUP BY method, outcome`,
			Then:     []Fold{{By: []string{"method", "outcome"}, Make: []Made{{"requests", "sum", "requests"}, {"bytes", "sum", "bytes"}, {"max_us", "max", "max_us"}}, Sort: "requests"}},
			Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "http_totals" and (r._field == "requests" or r._field == "bytes" or r._field == "max_us"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["method", "outcome"])
  |> reduce(identity: {requests: 0, bytes: 0, max_us: 0}, fn: (r, accumulator) => ({requests: accumulator.requests + r.requests, bytes: accumulator.bytes + r.bytes,
    max_us: if r.max_us > accumulator.max_us then r.max_us else accumulator.max_us}))
  |> group() |> sort(columns: ["requests", "method", "outcome"], desc: true)`,
			Note: "history has nothing of that time, which is what knows single servers",
		},
		Note: "Needs HistoryLatency. HEAD asks whether a block is there, GET for the block.",
	},
	{
		Name: "sending", Asks: "How long does sending take, and what could not be sent?", Since: "1d",
		InfluxQL: `SELECT sum(messages) AS messages, max(p99_us) AS worst_p99_us, max(max_us) AS max_us FROM totals.sending WHERE time > now() - {since} GROUP BY transport;
SELECT sum(messages) AS errors FROM totals.send_errors WHERE time > now() - {since} GROUP BY transport`,
		Then: []Fold{{Of: "sending", By: []string{"transport"}, Make: []Made{{"messages", "sum", "messages"}, {"worst_p99_us", "max", "worst_p99_us"}, {"max_us", "max", "max_us"}, {"errors", "sum", "errors"}}, Sort: "messages"}},
		Flux: `sent = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "sending" and (r._field == "messages" or r._field == "p99_us" or r._field == "max_us"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> map(fn: (r) => ({transport: r.transport, messages: r.messages, p99: r.p99_us, most: r.max_us, errors: 0}))
failed = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "send_errors" and r._field == "messages") |> group()
  |> map(fn: (r) => ({transport: r.transport, messages: 0, p99: 0, most: 0, errors: r._value}))
union(tables: [sent, failed]) |> group(columns: ["transport"])
  |> reduce(identity: {messages: 0, worst_p99_us: 0, max_us: 0, errors: 0}, fn: (r, accumulator) => ({messages: accumulator.messages + r.messages, errors: accumulator.errors + r.errors,
    worst_p99_us: if r.p99 > accumulator.worst_p99_us then r.p99 else accumulator.worst_p99_us, max_us: if r.most > accumulator.max_us then r.most else accumulator.max_us}))
  |> group() |> sort(columns: ["messages", "transport"], desc: true)`,
		Note: "The quantile is of the worst minute. totals.send_errors has the reasons.",
	},
}
