package query

import (
	"fmt"
	"strings"
)

// fleetQuestions are about what a collector of several monitors makes of their streams
// (`ipfsmon fleet collect`).
var fleetQuestions = []Question{
	{
		Name: "fleet", Asks: "How much do the monitors of a fleet see together?", Since: "1h",
		InfluxQL: `SELECT sum(entries) AS entries, sum(requests) AS requests, sum(matched) AS matched, sum(late) AS late, sum(dropped) AS dropped FROM totals.fleet WHERE time > now() - {since} GROUP BY time({every}) fill(none)`,
		Flux: `import "date"
from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet" and (r._field == "entries" or r._field == "requests" or r._field == "matched" or r._field == "late" or r._field == "dropped"))
  |> group(columns: ["_field"]) |> window(every: {every}) |> sum()
  |> map(fn: (r) => ({_time: date.truncate(t: r._start, unit: {every}), what: r._field, n: r._value})) |> group()
  |> pivot(rowKey: ["_time"], columnKey: ["what"], valueColumn: "n") |> sort(columns: ["_time"])`,
		Note: "Requests: the same one at several monitors, and its repeats within 31 s, count once. Matched: entries of wantlists that another monitor had seen before. Late and dropped ones are not joined.",
	},
	{
		Name: "fleet-sizes", Asks: "How many peers does the network have, by software and protocol?", Since: "1h",
		InfluxQL: `SELECT last(seen) AS seen, coupon_estimate, coupon_low, coupon_high, coupon_dependent FROM totals.fleet_sizes WHERE time > now() - {since} GROUP BY of, "node"`,
		Then: []Fold{{Newest: "node", By: []string{"of", "node"}, Make: []Made{{"seen", "sum", "seen"}, {"estimate", "sum", "coupon_estimate"}, {"low", "sum", "coupon_low"},
			{"high", "sum", "coupon_high"}, {"dependent", "last", "coupon_dependent"}}, Sort: "seen"}},
		Flux: newestOfFleet("fleet_sizes", "of", "seen", "estimate:coupon_estimate", "low:coupon_low", "high:coupon_high", "dependent:coupon_dependent"),
		Note: "From all monitors of each collector (node), at the end of the last interval, with an interval of confidence of 95 %; 0: it cannot be estimated. Dependent: the monitors do not see peers independently of each other, and the estimate is most likely too low.",
	},
	{
		Name: "fleet-overlaps", Asks: "How many peers do two monitors have in common, and how large is the network by that?", Since: "1h",
		InfluxQL: `SELECT last(common) AS common, only_a, only_b, estimate, low, high, dependent FROM totals.fleet_overlaps WHERE time > now() - {since} GROUP BY pair, "node"`,
		Then: []Fold{{Newest: "node", By: []string{"pair", "node"}, Make: []Made{{"common", "sum", "common"}, {"only_a", "sum", "only_a"}, {"only_b", "sum", "only_b"},
			{"estimate", "sum", "estimate"}, {"low", "sum", "low"}, {"high", "sum", "high"}, {"dependent", "last", "dependent"}}, Sort: "common"}},
		Flux: newestOfFleet("fleet_overlaps", "pair", "common", "only_a", "only_b", "estimate", "low", "high", "dependent"),
		Note: "Exact, at the end of the last interval; only_a are connected to the first of the two alone. The estimate is as in fleet-sizes.",
	},
	{
		Name: "fleet-coverage", Asks: "How much of the fleet's requests does each monitor see?", Since: "1h",
		InfluxQL: `SELECT sum(seen) AS seen, sum(closed) AS closed, sum(seen) / sum(closed) AS share FROM totals.fleet_monitors WHERE time > now() - {since} AND closed > 0 GROUP BY monitor`,
		Then:     []Fold{{By: []string{"monitor"}, Make: []Made{{"seen", "sum", "seen"}, {"closed", "sum", "closed"}, {"share", "sum", "share"}}, Sort: "share"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_monitors" and (r._field == "seen" or r._field == "closed"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
  |> filter(fn: (r) => r.closed > 0) |> group(columns: ["monitor"])
  |> reduce(identity: {seen: 0, closed: 0}, fn: (r, accumulator) => ({seen: accumulator.seen + r.seen, closed: accumulator.closed + r.closed})) |> group()
  |> map(fn: (r) => ({monitor: r.monitor, seen: r.seen, closed: r.closed, share: float(v: r.seen) / float(v: r.closed)}))
  |> sort(columns: ["share", "monitor"], desc: true)`,
		Note: "Of the requests that ended in that time, because no monitor was asked for 31 s. Requests that no monitor sees are not among them.",
	},
	{
		Name: "fleet-cids", Asks: "Which CIDs are requested most, of all monitors together?", Since: "1h",
		InfluxQL: `SELECT cid, requests, peers, monitors FROM totals.fleet_top WHERE time > now() - {since} AND list = 'requests'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"requests", "sum", "requests"}, {"peers_at_least", "max", "peers"}, {"monitors_at_least", "max", "monitors"}}, Sort: "requests", Limit: 20}},
		Flux:     popularInFleet("requests", "requests"),
		Note:     "Raw popularity, in the intervals' lists of 20: the true number is larger by the intervals in whose list the CID is not. Peers and monitors: the most different ones that asked, or were asked, in one interval.",
	},
	{
		Name: "fleet-askers", Asks: "Which CIDs do most different peers request, of all monitors together?", Since: "1h",
		InfluxQL: `SELECT cid, requests, peers, monitors FROM totals.fleet_top WHERE time > now() - {since} AND list = 'peers'`,
		Then:     []Fold{{By: []string{"cid"}, Make: []Made{{"peers_at_least", "max", "peers"}, {"monitors_at_least", "max", "monitors"}, {"requests", "sum", "requests"}}, Sort: "peers_at_least", Limit: 20}},
		Flux:     popularInFleet("peers", "peers_at_least"),
		Note:     "Unique popularity, of the interval in which it was highest. Requests are those of the intervals in whose list of 20 the CID is.",
	},
	{
		Name: "fleet-gaps", Asks: "Which monitors lag, or lose events on the way to the collector?", Since: "1h",
		InfluxQL: `SELECT sum(events) AS events, sum(connects) AS connects, sum(gaps) AS gaps, sum(unbounded) AS unbounded, sum(missed) AS missed, sum(untimely) AS untimely, max(lag_ms) AS max_lag_ms FROM totals.fleet_monitors WHERE time > now() - {since} GROUP BY monitor`,
		Then: []Fold{{By: []string{"monitor"}, Make: []Made{{"events", "sum", "events"}, {"connects", "sum", "connects"}, {"gaps", "sum", "gaps"}, {"unbounded", "sum", "unbounded"},
			{"missed", "sum", "missed"}, {"untimely", "sum", "untimely"}, {"max_lag_ms", "max", "max_lag_ms"}}, Sort: "missed"}},
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_monitors" and true)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["monitor"])
  |> reduce(identity: {events: 0, connects: 0, gaps: 0, unbounded: 0, missed: 0, untimely: 0, max_lag_ms: 0}, fn: (r, accumulator) => ({
    events: accumulator.events + r.events, connects: accumulator.connects + r.connects, gaps: accumulator.gaps + r.gaps, unbounded: accumulator.unbounded + r.unbounded,
    missed: accumulator.missed + r.missed, untimely: accumulator.untimely + r.untimely, max_lag_ms: if r.lag_ms > accumulator.max_lag_ms then r.lag_ms else accumulator.max_lag_ms}))
  |> group() |> sort(columns: ["missed", "monitor"], desc: true)`,
		Note: "Missed: events that are missing at most, at the gaps that have a bound; nothing bounds what is missing at the unbounded ones. Untimely events have a time that is too early or in the future, and are not joined.",
	},
	{
		Name: "fleet-clocks", Asks: "How far are the monitors' clocks from the collector's?", Since: "1h",
		InfluxQL: `SELECT last(offset_us) AS offset_us, clock_known, offset_error_us, drift_ppb, round_trip_us, apart_us FROM totals.fleet_monitors WHERE time > now() - {since} GROUP BY monitor, "node"`,
		Then: []Fold{{Newest: "node", By: []string{"monitor", "node"}, Make: []Made{{"known", "last", "clock_known"}, {"offset_us", "sum", "offset_us"}, {"offset_error_us", "sum", "offset_error_us"},
			{"drift_ppb", "sum", "drift_ppb"}, {"round_trip_us", "sum", "round_trip_us"}, {"apart_us", "sum", "apart_us"}}, Sort: "offset_us"}},
		Flux: newestOfFleet("fleet_monitors", "monitor", "offset_us", "known:clock_known", "offset_error_us", "drift_ppb", "round_trip_us", "apart_us"),
		Note: "At the end of the last interval. Offset: how much the monitor's clock is ahead, at most offset_error_us wrong. Apart: the median of how much later than another monitor it has the same entry.",
	},
}

// newestOfFleet is the Flux that returns, of each collector, the newest points of a measurement, by a
// tag, with the fields (as "field", or "name:field"), the largest of the first one first.
func newestOfFleet(measurement, tag string, fields ...string) string {
	var filters, columns []string
	first := ""
	for _, f := range fields {
		as, field, ok := strings.Cut(f, ":")
		if !ok {
			field = as
		}
		if first == "" {
			first = as
		}
		filters = append(filters, fmt.Sprintf("r._field == %q", field))
		columns = append(columns, fmt.Sprintf("%s: r.%s", as, field))
	}
	field := strings.TrimPrefix(fields[0], first+":")
	return fmt.Sprintf(`newest = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == %[1]q and r._field == %[2]q)
  |> group(columns: ["node"]) |> sort(columns: ["_time"]) |> last() |> group() |> keep(columns: ["node", "_time"])
rows = from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == %[1]q and (%[3]s))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
join(tables: {rows: rows, newest: newest}, on: ["node", "_time"])
  |> map(fn: (r) => ({%[4]s: r.%[4]s, node: r.node, %[5]s})) |> sort(columns: [%[6]q, %[4]q, "node"], desc: true)`,
		measurement, field, strings.Join(filters, " or "), tag, strings.Join(columns, ", "), first)
}

// popularInFleet is the Flux that returns the CIDs of one of the lists, by a column.
func popularInFleet(list, by string) string {
	return fmt.Sprintf(`from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "fleet_top" and r.list == %q)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group(columns: ["cid"])
  |> reduce(identity: {requests: 0, peers_at_least: 0, monitors_at_least: 0}, fn: (r, accumulator) => ({requests: accumulator.requests + r.requests,
    peers_at_least: if r.peers > accumulator.peers_at_least then r.peers else accumulator.peers_at_least,
    monitors_at_least: if r.monitors > accumulator.monitors_at_least then r.monitors else accumulator.monitors_at_least}))
  |> group() |> sort(columns: [%q, "cid"], desc: true) |> limit(n: 20)`, list, by)
}
