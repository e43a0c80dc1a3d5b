package query

// fleetQuestions are about what a collector derives from many monitors.
var fleetQuestions = []Question{
	{
		Name: "fleet", Asks: "What does each monitor of the fleet see, miss and cover?", Since: "1h",
		InfluxQL: `SELECT sum(events) AS events, sum(wants) AS wants, sum(missed) AS missed, sum(unbounded) AS unbounded, sum(untimely) AS untimely, sum(seen) AS seen, max(lag_ms) AS lag_ms, last(offset_us) AS offset_us, last(offset_error_us) AS offset_error_us, last(peers) AS peers FROM totals.fleet_monitors WHERE time > now() - {since} GROUP BY monitor`,
		Then: []Fold{{By: []string{"monitor"}, Make: []Made{{"events", "sum", "events"}, {"wants", "sum", "wants"}, {"missed", "sum", "missed"}, {"unbounded", "sum", "unbounded"},
			{"untimely", "sum", "untimely"}, {"seen", "sum", "seen"}, {"lag_ms", "max", "lag_ms"}, {"offset_us", "last", "offset_us"}, {"offset_error_us", "last", "offset_error_us"}, {"peers", "last", "peers"}}, Sort: "events"}},
		Flux: `all = from(bucket: "{bucket}/totals") |> range(start: -{since}) |> filter(fn: (r) => r._measurement == "fleet_monitors")
sums = all |> filter(fn: (r) => r._field == "events" or r._field == "wants" or r._field == "missed" or r._field == "unbounded" or r._field == "untimely" or r._field == "seen") |> group(columns: ["monitor", "_field"]) |> sum()
most = all |> filter(fn: (r) => r._field == "lag_ms") |> group(columns: ["monitor", "_field"]) |> max() |> keep(columns: ["monitor", "_field", "_value"])
newest = all |> filter(fn: (r) => r._field == "offset_us" or r._field == "offset_error_us" or r._field == "peers") |> group(columns: ["monitor", "_field"]) |> sort(columns: ["_time"]) |> last() |> keep(columns: ["monitor", "_field", "_value"])
union(tables: [sums, most, newest]) |> group()
  |> pivot(rowKey: ["monitor"], columnKey: ["_field"], valueColumn: "_value")
  |> keep(columns: ["monitor", "events", "wants", "missed", "unbounded", "untimely", "seen", "lag_ms", "offset_us", "offset_error_us", "peers"])
  |> sort(columns: ["events", "monitor"], desc: true)`,
		Note: "Of `ipfsmon fleet collect`. Missed is a bound: some of these events may be of kinds that a stream does not have; unbounded counts gaps without one. seen counts requests of the fleet, joined over its monitors.",
	},
	{
		Name: "fleet-requests", Asks: "How much is asked of all monitors together?", Since: "1h",
		InfluxQL: `SELECT sum(requests) AS requests, sum(entries) AS entries, sum(matched) AS matched FROM totals.fleet WHERE time > now() - {since} GROUP BY time({every}) fill(0)`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet" and (r._field == "requests" or r._field == "entries" or r._field == "matched"))
  |> group(columns: ["_field"]) |> aggregateWindow(every: {every}, fn: sum, timeSrc: "_start") |> fill(value: 0)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> keep(columns: ["_time", "requests", "entries", "matched"])`,
		Note: "A request that several monitors saw, and its repeats within 31 s, count once; entries are all that came.",
	},
	{
		Name: "fleet-overlaps", Asks: "How much of the same network do the monitors see?", Since: "1h",
		InfluxQL: `SELECT last(common) AS common, last(only_a) AS only_a, last(only_b) AS only_b, last(estimate) AS estimate, last(low) AS low, last(high) AS high FROM totals.fleet_overlaps WHERE time > now() - {since} GROUP BY pair`,
		Then: []Fold{{By: []string{"pair"}, Make: []Made{{"common", "last", "common"}, {"only_a", "last", "only_a"}, {"only_b", "last", "only_b"},
			{"estimate", "last", "estimate"}, {"low", "last", "low"}, {"high", "last", "high"}}, Sort: "common"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_overlaps" and (r._field == "common" or r._field == "only_a" or r._field == "only_b" or r._field == "estimate" or r._field == "low" or r._field == "high"))
  |> group(columns: ["pair", "_field"]) |> sort(columns: ["_time"]) |> last() |> group()
  |> pivot(rowKey: ["pair"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["pair", "common", "only_a", "only_b", "estimate", "low", "high"])
  |> sort(columns: ["common", "pair"], desc: true)`,
		Note: "Connected peers at the end of the last interval; exact, except for the size of the network that is estimated from them, with its interval of confidence of 95 %.",
	},
	{
		Name: "fleet-size", Asks: "How many peers does the network have?", Since: "1h",
		InfluxQL: `SELECT last(seen) AS seen, last(coupon_estimate) AS coupon, last(coupon_low) AS coupon_low, last(coupon_high) AS coupon_high, last(pair_estimate) AS pair, last(pair_low) AS pair_low, last(pair_high) AS pair_high FROM totals.fleet_sizes WHERE time > now() - {since} GROUP BY of`,
		Then: []Fold{{By: []string{"of"}, Make: []Made{{"seen", "last", "seen"}, {"coupon", "last", "coupon"}, {"coupon_low", "last", "coupon_low"}, {"coupon_high", "last", "coupon_high"},
			{"pair", "last", "pair"}, {"pair_low", "last", "pair_low"}, {"pair_high", "last", "pair_high"}}, Sort: "seen"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_sizes" and r._field != "coupon_dependent" and r._field != "pair_dependent")
  |> group(columns: ["of", "_field"]) |> sort(columns: ["_time"]) |> last() |> group()
  |> pivot(rowKey: ["of"], columnKey: ["_field"], valueColumn: "_value")
  |> rename(columns: {coupon_estimate: "coupon", pair_estimate: "pair"})
  |> keep(columns: ["of", "seen", "coupon", "coupon_low", "coupon_high", "pair", "pair_low", "pair_high"])
  |> sort(columns: ["seen", "of"], desc: true)`,
		Note: "Of all peers, by family of agents, and by protocol. Two estimates, each with its interval of confidence of 95 %; 0 where there is none. docs/fleet.md says what they assume.",
	},
	{
		Name: "fleet-top", Asks: "What is wanted most, of all monitors together?", Since: "1h",
		InfluxQL: `SELECT cid, requests, peers FROM totals.fleet_top WHERE time > now() - {since} AND list = 'requests'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"requests", "sum", "requests"}, {"peers", "max", "peers"}}, Sort: "requests", Limit: 20}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_top" and r.list == "requests")
  |> pivot(rowKey: ["_time", "node", "rank"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["cid"])
  |> reduce(identity: {requests: 0, peers: 0}, fn: (r, accumulator) => ({requests: accumulator.requests + r.requests, peers: if r.peers > accumulator.peers then r.peers else accumulator.peers}))
  |> group() |> sort(columns: ["requests", "cid"], desc: true) |> limit(n: 20)`,
		Note: "Sums of the intervals' lists of 20: the true number is higher by the intervals in whose list the CID is not. A request that several monitors saw counts once. peers is the most of one interval.",
	},
}
