package query

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:generate go test -run TestQueriesDoc -update .

// Question is a named query. Its text has the placeholders {since}, a duration, {every}, the
// length of a time step, and, in Flux, {bucket}.
type Question struct {
	Name     string
	Asks     string
	Since    string // unless given
	InfluxQL string // one statement, or several whose rows Then combines
	Then     []Fold // the transformations of InfluxQL's rows, in order
	Flux     string // the Flux that returns the same answer
	// Else is the fallback to totals if this question finds nothing or history is too short;
	// its note states what is not exact in it.
	Else *Question
	Note string
	// Long is asked in its place in InfluxQL of a long time, from half a day on; nil: lists of intervals are
	// replaced by those of hours, if it reads such.
	Long *Question

	exact bool // see Exact
	most  int  // see ReadsAtMost
}

// Questions are run by `ipfsmon query NAME`; docs/queries.md is generated from them.
var Questions = slices.Concat(generalQuestions, historyQuestions, dhtQuestions, retrievalQuestions, lineQuestions, fleetQuestions)

// ofMinutes is the note of an answer that the sums of minutes have exactly.
const ofMinutes = "history has nothing in that time, so these are the sums of its whole minutes"

// fluxAgents is the part of a Flux question that finds the agents of peers: listed are those
// of the top peers, identified those of the history, which are preferred.
const fluxAgents = `listed = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_peers" and (r._field == "peer" or r._field == "agent"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> map(fn: (r) => ({peer: r.peer, n: 0, agent: r.agent, at: int(v: r._time) - 9000000000000000000}))
identified = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "identifies" and (r._field == "peer" or r._field == "agent"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> map(fn: (r) => ({peer: r.peer, n: 0, agent: r.agent, at: int(v: r._time)}))
`

var generalQuestions = []Question{
	{
		Name: "wants", Asks: "How many wants are received and sent?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} AND type != 'cancel' GROUP BY time({every}), direction fill(0)`,
		Flux: `import "date"
from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "cid" and r.type != "cancel")
  |> group(columns: ["direction", "_field"]) |> window(every: {every}, createEmpty: true) |> count()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), direction: r.direction, what: r._field, n: r._value})) |> group()
  |> pivot(rowKey: ["direction", "_time"], columnKey: ["what"], valueColumn: "n") |> rename(columns: {cid: "wants"})
  |> sort(columns: ["direction", "_time"])`,
		Else: &Question{
			InfluxQL: `SELECT sum(wants) AS wants FROM totals.wants_1m WHERE time > now() - {since} AND type != 'cancel' GROUP BY time({every}), direction fill(none)`,
			Flux: `import "date"
from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants_1m" and r._field == "wants" and r.type != "cancel")
  |> group(columns: ["direction", "_field"]) |> window(every: {every}) |> sum()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), direction: r.direction, wants: r._value})) |> group() |> sort(columns: ["direction", "_time"])`,
			Note: ofMinutes,
		},
		Note: "Without cancels.",
	},
	{
		Name: "top-cids", Asks: "Which CIDs are wanted most?", Since: "1h",
		InfluxQL: `SELECT cid, peer FROM wants WHERE time > now() - {since} AND direction = 'received' AND type != 'cancel'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"wants", "count", "cid"}, {"peers", "distinct", "peer"}}, Sort: "wants", Limit: 20}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and (r._field == "cid" or r._field == "peer") and r.direction == "received" and r.type != "cancel")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> group(columns: ["cid", "peer"]) |> count(column: "type")
  |> group(columns: ["cid"])
  |> reduce(identity: {wants: 0, peers: 0}, fn: (r, accumulator) => ({wants: accumulator.wants + r.type, peers: accumulator.peers + 1}))
  |> group() |> sort(columns: ["wants", "cid"], desc: true) |> limit(n: 20)`,
		Else: &Question{
			InfluxQL: `SELECT cid, wants, error FROM totals.top_cids WHERE time > now() - {since} AND list = 'wants';
SELECT sum(wants) AS unlisted FROM totals.top_cids WHERE time > now() - {since} AND list = 'wants' AND rank = '50'`,
			Then: []Fold{{By: []string{"cid"}, Of: "top_cids", Make: []Made{{"wants", "sum", "wants"}, {"error", "sum", "error"}, {"unlisted", "all", "unlisted"}}, Sort: "wants", Limit: 20}},
			Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_cids" and r.list == "wants")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
listed = rows |> group(columns: ["cid"])
  |> reduce(identity: {wants: 0, error: 0}, fn: (r, accumulator) => ({wants: accumulator.wants + r.wants, error: accumulator.error + r.error}))
  |> group() |> map(fn: (r) => ({of: "all", cid: r.cid, wants: r.wants, error: r.error}))
missing = rows
  |> reduce(identity: {unlisted: 0}, fn: (r, accumulator) => ({unlisted: if r.rank == "50" then accumulator.unlisted + r.wants else accumulator.unlisted}))
  |> map(fn: (r) => ({of: "all", unlisted: r.unlisted}))
join(tables: {listed: listed, missing: missing}, on: ["of"]) |> drop(columns: ["of"])
  |> sort(columns: ["wants", "cid"], desc: true) |> limit(n: 20)`,
			Note: "history has nothing in that time, so these are sums of the minutes' lists of 50: the true number is between wants - error and wants + unlisted",
		},
		Note: "Exact, from history. A repeated want counts each time.",
	},
	{
		Name: "top-peers", Asks: "Which peers want most?", Since: "1h",
		InfluxQL: `SELECT peer FROM wants WHERE time > now() - {since} AND direction = 'received' AND type != 'cancel';
SELECT peer, agent FROM totals.top_peers WHERE time > now() - {since};
SELECT peer, agent FROM identifies WHERE time > now() - {since}`,
		Then: []Fold{{Of: "wants", By: []string{"peer"}, Make: []Made{{"wants", "count", "peer"}, {"agent", "last", "agent"}}, Sort: "wants", Limit: 20}},
		Flux: `wants = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "peer" and r.direction == "received" and r.type != "cancel")
  |> group(columns: ["_value"]) |> count(column: "type") |> group()
  |> map(fn: (r) => ({peer: r._value, n: r.type, agent: "", at: 0}))
` + fluxAgents + `union(tables: [wants, listed, identified]) |> group(columns: ["peer"])
  |> reduce(identity: {wants: 0, agent: "", at: -9000000000000000001}, fn: (r, accumulator) => ({
    wants: accumulator.wants + r.n,
    agent: if r.agent != "" and r.at >= accumulator.at then r.agent else accumulator.agent,
    at: if r.agent != "" and r.at >= accumulator.at then r.at else accumulator.at}))
  |> group() |> filter(fn: (r) => r.wants > 0) |> keep(columns: ["peer", "wants", "agent"])
  |> sort(columns: ["wants", "peer"], desc: true) |> limit(n: 20)`,
		Else: &Question{
			InfluxQL: `SELECT peer, wants, error FROM totals.top_peers WHERE time > now() - {since};
SELECT sum(wants) AS unlisted FROM totals.top_peers WHERE time > now() - {since} AND rank = '50'`,
			Then: []Fold{{By: []string{"peer"}, Of: "top_peers", Make: []Made{{"wants", "sum", "wants"}, {"error", "sum", "error"}, {"unlisted", "all", "unlisted"}}, Sort: "wants", Limit: 20}},
			Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_peers" and true)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
listed = rows |> group(columns: ["peer"])
  |> reduce(identity: {wants: 0, error: 0}, fn: (r, accumulator) => ({wants: accumulator.wants + r.wants, error: accumulator.error + r.error}))
  |> group() |> map(fn: (r) => ({of: "all", peer: r.peer, wants: r.wants, error: r.error}))
missing = rows
  |> reduce(identity: {unlisted: 0}, fn: (r, accumulator) => ({unlisted: if r.rank == "50" then accumulator.unlisted + r.wants else accumulator.unlisted}))
  |> map(fn: (r) => ({of: "all", unlisted: r.unlisted}))
join(tables: {listed: listed, missing: missing}, on: ["of"]) |> drop(columns: ["of"])
  |> sort(columns: ["wants", "peer"], desc: true) |> limit(n: 20)`,
			Note: "history has nothing in that time, so these are sums of the minutes' lists of 50: the true number is between wants - error and wants + unlisted",
		},
		Note: "Exact, from history; the agent is the one identified last in that time, else that of the minutes' lists.",
	},
	{
		Name: "blocks", Asks: "How much data flows in and out?", Since: "1d",
		InfluxQL: `SELECT sum(blocks) AS blocks, sum(block_bytes) AS bytes FROM totals.traffic WHERE time > now() - {since} GROUP BY time({every}), direction fill(0)`,
		Flux: `import "date"
from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "traffic" and (r._field == "blocks" or r._field == "block_bytes"))
  |> group(columns: ["direction", "_field"]) |> window(every: {every}, createEmpty: true) |> sum() |> fill(value: 0)
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), direction: r.direction, what: r._field, n: r._value})) |> group()
  |> pivot(rowKey: ["direction", "_time"], columnKey: ["what"], valueColumn: "n") |> rename(columns: {block_bytes: "bytes"})
  |> sort(columns: ["direction", "_time"])`,
	},
	{
		Name: "peers", Asks: "How many peers are connected, and how?", Since: "5m",
		InfluxQL: `SELECT last(connected) AS peers FROM totals.peers WHERE time > now() - {since} GROUP BY direction, transport, "node";
SELECT last(connections) AS connections FROM totals."node" WHERE time > now() - {since} GROUP BY "node"`,
		Then: []Fold{{Of: "peers", Newest: "node", By: []string{"direction", "transport"}, Make: []Made{{"peers", "sum", "peers"}}, Sort: "peers"}},
		Flux: `at = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "node" and r._field == "connections")
  |> group(columns: ["node"]) |> sort(columns: ["_time"]) |> last() |> group() |> keep(columns: ["node", "_time"])
all = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "peers" and r._field == "connected") |> group()
join(tables: {all: all, at: at}, on: ["node", "_time"])
  |> group(columns: ["direction", "transport"]) |> sum() |> group() |> rename(columns: {_value: "peers"}) |> sort(columns: ["peers", "direction", "transport"], desc: true)`,
		Note: "The newest figures of each node in that time, summed over nodes; peers that have left are not included.",
	},
	{
		Name: "agents", Asks: "Which software do the peers run?", Since: "5m",
		InfluxQL: `SELECT last(peers) AS peers FROM totals.agent_versions WHERE time > now() - {since} GROUP BY agent, "node";
SELECT last(connections) AS connections FROM totals."node" WHERE time > now() - {since} GROUP BY "node"`,
		Then: []Fold{{Of: "agent_versions", Newest: "node", By: []string{"agent"}, Make: []Made{{"peers", "sum", "peers"}}, Sort: "peers"}},
		Flux: `at = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "node" and r._field == "connections")
  |> group(columns: ["node"]) |> sort(columns: ["_time"]) |> last() |> group() |> keep(columns: ["node", "_time"])
all = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "agent_versions" and r._field == "peers") |> group()
join(tables: {all: all, at: at}, on: ["node", "_time"])
  |> group(columns: ["agent"]) |> sum() |> group() |> rename(columns: {_value: "peers"}) |> sort(columns: ["peers", "agent"], desc: true)`,
		Note: "The newest figures of each node in that time, summed over nodes; peers that have left are not included.",
	},
	{
		Name: "protocols", Asks: "Which protocols do the peers support?", Since: "5m",
		InfluxQL: `SELECT last(peers) AS peers FROM totals.protocols WHERE time > now() - {since} GROUP BY protocol, "node";
SELECT last(connections) AS connections FROM totals."node" WHERE time > now() - {since} GROUP BY "node"`,
		Then: []Fold{{Of: "protocols", Newest: "node", By: []string{"protocol"}, Make: []Made{{"peers", "sum", "peers"}}, Sort: "peers"}},
		Flux: `at = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "node" and r._field == "connections")
  |> group(columns: ["node"]) |> sort(columns: ["_time"]) |> last() |> group() |> keep(columns: ["node", "_time"])
all = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "protocols" and r._field == "peers") |> group()
join(tables: {all: all, at: at}, on: ["node", "_time"])
  |> group(columns: ["protocol"]) |> sum() |> group() |> rename(columns: {_value: "peers"}) |> sort(columns: ["peers", "protocol"], desc: true)`,
		Note: "The newest figures of each node in that time, summed over nodes; peers that have left are not included.",
	},
	{
		Name: "latency", Asks: "How fast are wants answered?", Since: "1d",
		InfluxQL: `SELECT sum(answers) AS answers, sum(sum_us) / sum(answers) AS mean_us, max(p50_us) AS worst_p50_us, max(p99_us) AS worst_p99_us, max(max_us) AS max_us FROM totals.latency_totals WHERE time > now() - {since} AND answers > 0 GROUP BY direction, answer`,
		Then:     []Fold{{By: []string{"direction", "answer"}, Make: []Made{{"answers", "sum", "answers"}, {"mean_us", "sum", "mean_us"}, {"worst_p50_us", "max", "worst_p50_us"}, {"worst_p99_us", "max", "worst_p99_us"}, {"max_us", "max", "max_us"}}, Sort: "answers"}},
		Flux: `rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency_totals")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> filter(fn: (r) => r.answers > 0) |> group(columns: ["direction", "answer"])
  |> reduce(identity: {answers: 0, sum: 0, p50: 0, p99: 0, most: 0}, fn: (r, accumulator) => ({answers: accumulator.answers + r.answers, sum: accumulator.sum + r.sum_us,
    p50: if r.p50_us > accumulator.p50 then r.p50_us else accumulator.p50, p99: if r.p99_us > accumulator.p99 then r.p99_us else accumulator.p99,
    most: if r.max_us > accumulator.most then r.max_us else accumulator.most})) |> group()
rows |> map(fn: (r) => ({direction: r.direction, answer: r.answer, answers: r.answers, mean_us: float(v: r.sum) / float(v: r.answers), worst_p50_us: r.p50, worst_p99_us: r.p99, max_us: r.most}))
  |> sort(columns: ["answers", "direction", "answer"], desc: true)`,
		Note: "Count, mean and maximum are exact. Quantiles cannot be combined: these are those of the worst minute, to 3.2 %; the question percentiles returns those of the whole time. Direction sent: how fast others answer this node.",
	},
	{
		Name: "durations", Asks: "How long do connections last?", Since: "1d",
		InfluxQL: `SELECT count(duration_ms) AS connections, median(duration_ms) AS median_ms FROM connections WHERE time > now() - {since} AND state = 'closed' AND unmatched = false GROUP BY transport, direction`,
		Then:     []Fold{{By: []string{"transport", "direction"}, Make: []Made{{"connections", "sum", "connections"}, {"median_ms", "sum", "median_ms"}}, Sort: "connections"}},
		Flux: `of = from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and (r._field == "duration_ms" or r._field == "unmatched") and r.state == "closed")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> filter(fn: (r) => r.unmatched == false) |> map(fn: (r) => ({transport: r.transport, direction: r.direction, _value: float(v: r.duration_ms)})) |> group(columns: ["transport", "direction"])
connections = of |> count() |> map(fn: (r) => ({transport: r.transport, direction: r.direction, what: "connections", n: float(v: r._value)}))
median_ms = of |> median(method: "exact_mean") |> map(fn: (r) => ({transport: r.transport, direction: r.direction, what: "median_ms", n: float(v: r._value)}))
union(tables: [connections, median_ms]) |> group() |> pivot(rowKey: ["transport", "direction"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["connections", "transport", "direction"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT sum(connections) AS connections, max(max_ms) AS max_ms FROM totals.lifetimes_1m WHERE time > now() - {since} GROUP BY transport, direction, up_to_s`,
			Then:     []Fold{{By: []string{"transport", "direction", "up_to_s"}, Make: []Made{{"connections", "sum", "connections"}, {"max_ms", "max", "max_ms"}}, Sort: "connections"}},
			Flux: `of = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "lifetimes_1m") |> group(columns: ["transport", "direction", "up_to_s", "_field"])
sums = of |> filter(fn: (r) => r._field == "connections") |> sum() |> map(fn: (r) => ({transport: r.transport, direction: r.direction, up_to_s: r.up_to_s, what: r._field, n: r._value}))
most = of |> filter(fn: (r) => r._field == "max_ms") |> max() |> map(fn: (r) => ({transport: r.transport, direction: r.direction, up_to_s: r.up_to_s, what: r._field, n: r._value}))
union(tables: [sums, most]) |> group() |> pivot(rowKey: ["transport", "direction", "up_to_s"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["connections", "transport", "direction", "up_to_s"], desc: true)`,
			Note: ofMinutes + ", by classes: those of a row lasted at most up_to_s seconds, and more than those of the class below",
		},
		Note: "Only connections whose opening was seen too.",
	},
	{
		Name: "who-has", Asks: "Which peers reported most recently that they have which CIDs?", Since: "1h",
		InfluxQL: `SELECT cid, peer, country FROM presences WHERE time > now() - {since} AND direction = 'received' AND type = 'have' ORDER BY time DESC LIMIT 20`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and r.direction == "received" and r.type == "have")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "cid", "peer", "country"])`,
	},
	{
		Name: "unique", Asks: "How many different CIDs and peers are there?", Since: "1d",
		InfluxQL: `SELECT count(distinct(cid)) AS cids, count(distinct(peer)) AS peers FROM wants WHERE time > now() - {since} AND type != 'cancel' GROUP BY direction`,
		Then:     []Fold{{By: []string{"direction"}, Make: []Made{{"cids", "sum", "cids"}, {"peers", "sum", "peers"}}, Sort: "cids"}},
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and (r._field == "cid" or r._field == "peer") and r.type != "cancel")
  |> group(columns: ["direction", "_field"]) |> unique() |> count() |> group()
  |> pivot(rowKey: ["direction"], columnKey: ["_field"], valueColumn: "_value") |> rename(columns: {cid: "cids", peer: "peers"})
  |> keep(columns: ["direction", "cids", "peers"]) |> sort(columns: ["cids", "direction"], desc: true)`,
		Else: &Question{
			InfluxQL: `SELECT max(cids) AS cids_at_least, sum(cids) AS cids_at_most, max(askers) AS peers_at_least, sum(peers) AS peers_at_most FROM totals.unique WHERE time > now() - {since} GROUP BY direction`,
			Then:     []Fold{{By: []string{"direction"}, Make: []Made{{"cids_at_least", "max", "cids_at_least"}, {"cids_at_most", "sum", "cids_at_most"}, {"peers_at_least", "max", "peers_at_least"}, {"peers_at_most", "sum", "peers_at_most"}}, Sort: "cids_at_most"}},
			Flux: `of = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "unique" and (r._field == "cids" or r._field == "askers" or r._field == "peers")) |> group(columns: ["direction", "_field"])
least = of |> filter(fn: (r) => r._field != "peers") |> max() |> map(fn: (r) => ({direction: r.direction, what: (if r._field == "cids" then "cids" else "peers") + "_at_least", n: r._value}))
most = of |> filter(fn: (r) => r._field != "askers") |> sum() |> map(fn: (r) => ({direction: r.direction, what: r._field + "_at_most", n: r._value}))
union(tables: [least, most]) |> group() |> pivot(rowKey: ["direction"], columnKey: ["what"], valueColumn: "n")
  |> sort(columns: ["cids_at_most", "direction"], desc: true)`,
			Note: "history has nothing in that time. Distinct counts of several minutes cannot be summed: the true number is between that of the largest minute and the sum, which for peers is of all that sent messages; each to 0.81 %",
		},
		Note: "In wants, without cancels. Exact, from history.",
	},
	{
		Name: "duplicates", Asks: "How many wants are repeats?", Since: "1d",
		InfluxQL: `SELECT sum(duplicates) AS duplicates, sum(rebroadcasts) AS rebroadcasts FROM totals.duplicates WHERE time > now() - {since} GROUP BY direction`,
		Then:     []Fold{{By: []string{"direction"}, Make: []Made{{"duplicates", "sum", "duplicates"}, {"rebroadcasts", "sum", "rebroadcasts"}}, Sort: "duplicates"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "duplicates" and (r._field == "duplicates" or r._field == "rebroadcasts"))
  |> group(columns: ["direction", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["direction"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["direction", "duplicates", "rebroadcasts"])
  |> sort(columns: ["duplicates", "direction"], desc: true)`,
		Note: "Counted once a minute, at its end.",
	},
	{
		Name: "codecs", Asks: "What kinds of data are wanted?", Since: "1d",
		InfluxQL: `SELECT sum(wants) AS wants FROM totals.codecs WHERE time > now() - {since} GROUP BY codec`,
		Then:     []Fold{{By: []string{"codec"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "codecs" and r._field == "wants")
  |> group(columns: ["codec", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["codec"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["codec", "wants"])
  |> sort(columns: ["wants", "codec"], desc: true)`,
		Note: "Counted once a minute, at its end.",
	},
	{
		Name: "countries", Asks: "Where do wants come from?", Since: "1d",
		InfluxQL: `SELECT sum(wants) AS wants FROM totals.origins WHERE time > now() - {since} AND direction = 'received' GROUP BY country, gateway`,
		Then:     []Fold{{By: []string{"country", "gateway"}, Make: []Made{{"wants", "sum", "wants"}}, Sort: "wants"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "origins" and r._field == "wants" and r.direction == "received")
  |> group(columns: ["country", "gateway", "_field"]) |> sum() |> group()
  |> pivot(rowKey: ["country", "gateway"], columnKey: ["_field"], valueColumn: "_value") |> keep(columns: ["country", "gateway", "wants"])
  |> sort(columns: ["wants", "country", "gateway"], desc: true)`,
		Note: "The country is none unless the monitor has a database of countries (GeoIPDatabase).",
	},
	{
		Name: "bandwidth", Asks: "Which protocols use the bandwidth?", Since: "1h",
		InfluxQL: `SELECT in_bytes, out_bytes FROM totals.bandwidth WHERE time > now() - {since} GROUP BY protocol, "node"`,
		Then:     []Fold{{By: []string{"protocol"}, Make: []Made{{"received_bytes", "increase", "in_bytes"}, {"sent_bytes", "increase", "out_bytes"}}, Sort: "received_bytes"}},
		Long: &Question{
			InfluxQL: `SELECT last(in_bytes) AS in_bytes, last(out_bytes) AS out_bytes FROM totals.bandwidth_1m WHERE time > now() - {since} GROUP BY time(1h), protocol, "node" fill(none)`,
			Then:     []Fold{{By: []string{"protocol"}, Make: []Made{{"received_bytes", "increase", "in_bytes"}, {"sent_bytes", "increase", "out_bytes"}}, Sort: "received_bytes"}},
			Note:     "counted from hour to hour: without the first hour of that time, and without what came in an hour before a restart in it",
		},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "bandwidth" and (r._field == "in_bytes" or r._field == "out_bytes"))
  |> group(columns: ["node", "protocol", "_field"]) |> sort(columns: ["_time"])
  |> reduce(identity: {begun: false, before: 0, grew: 0}, fn: (r, accumulator) => ({begun: true, before: r._value,
    grew: accumulator.grew + (if not accumulator.begun then 0 else if r._value >= accumulator.before then r._value - accumulator.before else r._value)}))
  |> group(columns: ["protocol", "_field"]) |> sum(column: "grew") |> group()
  |> pivot(rowKey: ["protocol"], columnKey: ["_field"], valueColumn: "grew") |> rename(columns: {in_bytes: "received_bytes", out_bytes: "sent_bytes"})
  |> sort(columns: ["received_bytes", "protocol"], desc: true)`,
		Note: "The growth of libp2p's counters between the first and the last figures of that time; a restart in between is accounted for.",
	},
	{
		Name: "losses", Asks: "Does the monitor lose anything?", Since: "1d",
		InfluxQL: `SELECT value FROM totals.notes WHERE time > now() - {since} AND "kind" = 'start' GROUP BY "node";
SELECT missed, dropped, rejected, lag_ms FROM totals.pipeline WHERE time > now() - {since} GROUP BY "node"`,
		Then: []Fold{{Of: "pipeline", Starts: "notes", By: []string{"node"}, Make: []Made{{"missed", "increase", "missed"}, {"dropped", "increase", "dropped"}, {"rejected", "increase", "rejected"}, {"max_lag_ms", "max", "lag_ms"}}, Sort: "dropped"}},
		Flux: `starts = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "notes" and r._field == "value" and r["kind"] == "start")
  |> map(fn: (r) => ({_time: r._time, node: r.node, mark: 0, missed: 0, dropped: 0, rejected: 0, lag_ms: 0}))
rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "pipeline" and (r._field == "missed" or r._field == "dropped" or r._field == "rejected" or r._field == "lag_ms"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> map(fn: (r) => ({_time: r._time, node: r.node, mark: 1, missed: r.missed, dropped: r.dropped, rejected: r.rejected, lag_ms: r.lag_ms}))
union(tables: [starts, rows]) |> group(columns: ["node"]) |> sort(columns: ["_time", "mark"])
  |> reduce(identity: {rows: 0, begun: 0, b_missed: 0, missed: 0, b_dropped: 0, dropped: 0, b_rejected: 0, rejected: 0, max_lag_ms: 0},
    fn: (r, accumulator) => ({rows: accumulator.rows + r.mark, begun: 1,
      b_missed: r.missed, missed: accumulator.missed + (if accumulator.begun == 0 then 0 else if r.missed >= accumulator.b_missed then r.missed - accumulator.b_missed else r.missed),
      b_dropped: r.dropped, dropped: accumulator.dropped + (if accumulator.begun == 0 then 0 else if r.dropped >= accumulator.b_dropped then r.dropped - accumulator.b_dropped else r.dropped),
      b_rejected: r.rejected, rejected: accumulator.rejected + (if accumulator.begun == 0 then 0 else if r.rejected >= accumulator.b_rejected then r.rejected - accumulator.b_rejected else r.rejected),
      max_lag_ms: if r.lag_ms > accumulator.max_lag_ms then r.lag_ms else accumulator.max_lag_ms}))
  |> filter(fn: (r) => r.rows > 0) |> group() |> keep(columns: ["node", "missed", "dropped", "rejected", "max_lag_ms"]) |> sort(columns: ["dropped", "node"], desc: true)`,
		Note: "The growth of each node's counters in that time, from 0 if the monitor started within it.",
	},
}

// Named finds a question by its name.
func Named(name string) (Question, error) {
	i := slices.IndexFunc(Questions, func(q Question) bool { return q.Name == name })
	if i < 0 {
		return Question{}, fmt.Errorf("no query is named %q; there are %s", name, strings.Join(questionNames(), ", "))
	}
	return Questions[i], nil
}

// questionNames lists the names of all questions.
func questionNames() (names []string) {
	for _, q := range Questions {
		names = append(names, q.Name)
	}
	return names
}

// Fill replaces {since} and {every} in a statement for a time such as 1h or 7d, or Between two, and {bucket} by
// the bucket's name.
func Fill(statement, since, bucket string) (string, error) {
	d, err := parseDuring(since)
	if err != nil {
		return "", err
	}
	if statement, err = d.fill(statement); err != nil {
		return "", err
	}
	return strings.NewReplacer("{every}", every(d.length), "{bucket}", bucket).Replace(statement), nil
}

// Since adds a time to a statement, as Fill has it: it replaces {since}, or adds the condition time > now() -
// since to a SELECT without a time in its WHERE. A statement that has a time already, or no
// place for one, is an error, because its meaning would be ambiguous.
func Since(statement, since, bucket string, flux bool) (string, error) {
	if strings.Contains(statement, "{since}") {
		return Fill(statement, since, bucket)
	}
	during, err := parseDuring(since)
	if err != nil {
		return "", err
	}
	if flux {
		return "", fmt.Errorf("a Flux query needs {since} in the place of the time: range(start: -{since})")
	}
	statement = strings.ReplaceAll(uncommented(statement), "{every}", every(during.length))
	statement = strings.TrimSpace(strings.TrimRight(statement, " \n\t;"))
	at, after, err := conditionPlace(statement)
	if err != nil {
		return "", err
	}
	condition := during.condition()
	if after { // a WHERE exists: put its condition in brackets
		where, rest := statement[:at[0]], statement[at[1]:]
		old := strings.TrimSpace(statement[at[0]:at[1]])
		return strings.TrimRight(fmt.Sprintf("%s %s AND (%s) %s", where, condition, old, strings.TrimSpace(rest)), " "), nil
	}
	return strings.TrimRight(fmt.Sprintf("%s WHERE %s %s", strings.TrimRight(statement[:at[0]], " \n\t"), condition, strings.TrimSpace(statement[at[0]:])), " "), nil
}

// conditionPlace finds in a SELECT the condition after WHERE, or the place where a WHERE would
// be. It skips words in quotes and brackets.
func conditionPlace(s string) (at [2]int, where bool, err error) {
	words := words(s)
	if len(words) == 0 || words[0].text != "select" {
		return at, false, fmt.Errorf("--since, --from and --to need a single SELECT, or a statement with {since} in the place of the time")
	}
	at = [2]int{len(s), len(s)}
	ended := false // the condition, or the place for one
	for _, w := range words {
		if ended && w.text != ";" {
			continue
		}
		if w.depth > 0 {
			if where && (w.text == "time" || w.text == `"time"`) {
				return at, false, errOwnTime
			}
			continue
		}
		switch w.text {
		case "where":
			at[0], where = w.at+len("where"), true
		case "time", `"time"`:
			if where {
				return at, false, errOwnTime
			}
		case ";", "into":
			return at, false, fmt.Errorf("--since, --from and --to need a single SELECT that only reads")
		}
		if w.text == "group" || w.text == "fill" || w.text == "order" || w.text == "limit" || w.text == "offset" || w.text == "slimit" || w.text == "soffset" || w.text == "tz" {
			at[1], ended = w.at, true
			if !where {
				at[0] = w.at
			}
		}
	}
	return at, where, nil
}

var errOwnTime = errors.New("the statement has its own time; leave out --since, --from and --to, or write {since} in it: time > now() - {since}")

type word struct {
	text  string // in lower case
	at    int
	depth int // of brackets
}

var spanPattern = regexp.MustCompile(`^([0-9]+(ms|s|m|h|d|w))+$`)

var spanPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d|w)`)

// parseSpan parses a duration in the syntax that InfluxQL and Flux share.
func parseSpan(s string) (time.Duration, error) {
	if !spanPattern.MatchString(s) {
		return 0, fmt.Errorf("time %q: want a number and ms, s, m, h, d or w, such as 90s, 1h or 7d", s)
	}
	unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	var d time.Duration
	for _, m := range spanPart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil || time.Duration(n) > (100*365*24*time.Hour-d)/unit[m[2]] {
			return 0, fmt.Errorf("time %q: want at most 100 years", s)
		}
		d += time.Duration(n) * unit[m[2]]
	}
	if d <= 0 {
		return 0, fmt.Errorf("time %q: want more than 0", s)
	}
	return d, nil
}

// every returns a round step, about a sixtieth of the time.
func every(d time.Duration) string {
	for _, step := range []struct {
		d    time.Duration
		text string
	}{
		{time.Second, "1s"}, {5 * time.Second, "5s"}, {10 * time.Second, "10s"}, {30 * time.Second, "30s"}, {time.Minute, "1m"}, {5 * time.Minute, "5m"},
		{10 * time.Minute, "10m"}, {30 * time.Minute, "30m"}, {time.Hour, "1h"}, {3 * time.Hour, "3h"}, {12 * time.Hour, "12h"}, {24 * time.Hour, "1d"},
	} {
		if d <= 100*step.d {
			return step.text
		}
	}
	return "7d"
}

// uncommented returns InfluxQL with spaces in place of its comments, so that what is appended is not a part of one.
func uncommented(s string) string {
	b := []byte(s)
	for i := 0; i < len(s); {
		end := i
		switch {
		case strings.HasPrefix(s[i:], "--"):
			line, _, _ := strings.Cut(s[i:], "\n")
			end += len(line)
		case strings.HasPrefix(s[i:], "/*"):
			text, _, _ := strings.Cut(s[i:], "*/")
			end = min(i+len(text)+len("*/"), len(s))
		default:
			i = max(quoteEnd(s, i), i+1)
			continue
		}
		for ; i < end; i++ {
			b[i] = ' '
		}
	}
	return string(b)
}

// quoteEnd returns where the text in quotes or the pattern ends that begins there; 0 if none does.
func quoteEnd(s string, begin int) int {
	quote := s[begin]
	if quote != '\'' && quote != '"' && (quote != '/' || !regexpBegins(s[:begin])) {
		return 0
	}
	end := begin + 1
	for end < len(s) && s[end] != quote {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	return min(end+1, len(s))
}

// words splits InfluxQL into words; a quoted text is one word, with its quotes.
func words(s string) (words []word) {
	depth := 0
	for i := 0; i < len(s); {
		c, end := s[i], quoteEnd(s, i)
		switch {
		case end > 0:
			words = append(words, word{strings.ToLower(s[i:end]), i, depth})
			i = end
			continue
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ';':
			words = append(words, word{";", i, depth})
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			j := i
			for j < len(s) && (s[j] == '_' || s[j] >= 'a' && s[j] <= 'z' || s[j] >= 'A' && s[j] <= 'Z' || s[j] >= '0' && s[j] <= '9') {
				j++
			}
			words = append(words, word{strings.ToLower(s[i:j]), i, depth})
			i = j
			continue
		}
		i++
	}
	return words
}

// regexpBegins reports whether a slash after this text begins a pattern: after an operator,
// FROM, or a comma; elsewhere it divides.
func regexpBegins(before string) bool {
	b := strings.TrimRight(before, " \n\t")
	return strings.HasSuffix(b, "~") || strings.HasSuffix(b, ",") || strings.HasSuffix(strings.ToLower(b), "from") || strings.HasSuffix(strings.ToLower(b), "by") || strings.HasSuffix(b, ".")
}
