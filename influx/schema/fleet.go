package schema

import "github.com/ipfsmon/ipfsmon/event"

// MaxFleetMonitors is how many monitors of a collector have their own name in one run, with
// others; MaxFleetPairs and MaxFleetGroups are
// the same of pairs of them, and of the groups of peers whose number is estimated.
const (
	MaxFleetMonitors = event.MaxMonitors + 1
	MaxFleetPairs    = event.MaxOverlaps + 1
	MaxFleetGroups   = event.MaxFleetSizes + 1
)

// Tags of a fleet.
var (
	TagMonitor   = Tag{Key: "monitor", Limit: MaxFleetMonitors, Help: "name of the monitor, as configured or as it calls itself; at most 65 in one run, the rest is others"}
	tagPair      = Tag{Key: "pair", Limit: MaxFleetPairs, Help: "the names of both, as in de1 with us1; at most 129 pairs in one run, the rest is others"}
	tagGroup     = Tag{Key: "of", Limit: MaxFleetGroups, Help: "all, a family of agents, or a protocol, which begins with /; at most 129 in one run, the rest is others"}
	tagFleetList = Tag{Key: "list", Values: []string{"requests", "peers"}, Help: "what the CIDs are in the order of"}
)

// estimated are the fields of an estimated number.
func estimated(name, how string) []Field {
	return []Field{
		{Key: name + "estimate", Type: Int, Help: "estimated number of peers, " + how + "; 0 if it cannot be estimated"},
		{Key: name + "low", Type: Int, Help: "lower end of its interval of confidence of 95 %"},
		{Key: name + "high", Type: Int, Help: "upper end"},
		{Key: name + "dependent", Type: Bool, Help: "whether the samples are not independent, so that the estimate is most likely too low"},
	}
}

var Fleet = &Measurement{
	Name: "fleet", Kind: Totals,
	Point:   "what all monitors of a collector saw in one interval (only `ipfsmon fleet collect`)",
	Answers: "How much is asked of all monitors together, and how much of it did several see?",
	Query:   `SELECT sum(requests), sum(matched) FROM totals.fleet WHERE time > now() - 1h GROUP BY time(1m)`,
	Tags:    []Tag{tagNode},
	Fields: []Field{fieldInterval,
		{Key: "monitors", Type: Int, Help: "monitors in the configuration"},
		{Key: "up", Type: Int, Help: "of these, those whose stream is read"},
		{Key: "entries", Type: Int, Help: "entries of received wantlists, and cancels that full wantlists and disconnects imply"},
		{Key: "requests", Type: Int, Help: "requests: the same one at several monitors, and its repeats within 31 s, count once"},
		{Key: "closed", Type: Int, Help: "requests that ended, because no monitor was asked for 31 s; coverage is of these"},
		{Key: "matched", Type: Int, Help: "entries that another monitor had seen before, within 5 s"},
		{Key: "late", Type: Int, Help: "events that came too late to be joined"},
		{Key: "dropped", Type: Int, Help: "entries and windows left out because of a bound of memory"},
		{Key: "uncounted", Type: Int, Help: "requests that are not in fleet_top, because there were too many pairs of a peer and a CID"},
		{Key: "clock_us", Type: Int, Unit: "µs", Help: "how far the clock of a monitor is from the collector's, of the one that is farthest"},
		{Key: "peers", Type: Int, Help: "different peers that are connected to any monitor"}},
}

var FleetMonitors = &Measurement{
	Name: "fleet_monitors", Kind: Totals,
	Point:   "one monitor of a collector at the end of an interval",
	Answers: "Which monitor is away, lags, loses events or has a wrong clock, and how much of the fleet's requests does each see?",
	Query:   `SELECT sum(missed), max(lag_ms), last(offset_us), last(coverage_permille) FROM totals.fleet_monitors WHERE time > now() - 1h GROUP BY monitor`,
	Tags:    []Tag{TagMonitor, tagNode},
	Fields: []Field{fieldInterval,
		{Key: "up", Type: Bool, Help: "whether its stream is read"},
		{Key: "events", Type: Int, Help: "events read"},
		{Key: "wants", Type: Int, Help: "wants that it received, without cancels"},
		{Key: "cancels", Type: Int, Help: "cancels that it received"},
		{Key: "gaps", Type: Int, Help: "places in its stream where events are missing"},
		{Key: "unbounded", Type: Int, Help: "of these, those of which nothing bounds how many are missing"},
		{Key: "missed", Type: Int, Help: "events that are missing at most, at the other gaps"},
		{Key: "untimely", Type: Int, Help: "events whose time was too early or in the future: not joined"},
		{Key: "connects", Type: Int, Help: "connections made to its stream"},
		{Key: "lag_ms", Type: Int, Unit: "ms", Help: "from the time of its newest event, by the collector's clock, until it came"},
		{Key: "peers", Type: Int, Help: "peers connected to it"},
		{Key: "seen", Type: Int, Help: "of the fleet's closed requests, those that it saw"},
		{Key: "closed", Type: Int, Help: "the fleet's closed requests"},
		{Key: "coverage_permille", Type: Int, Unit: "‰", Help: "the same as a share; 0 if none closed"},
		{Key: "clock_known", Type: Bool, Help: "whether its clock was compared with the collector's"},
		{Key: "offset_us", Type: Int, Unit: "µs", Help: "how much its clock is ahead of the collector's; 0 if not known"},
		{Key: "offset_error_us", Type: Int, Unit: "µs", Help: "the most by which that may be wrong"},
		{Key: "drift_ppb", Type: Int, Unit: "1e-9", Help: "how much faster its clock runs than the collector's; 0 if not known"},
		{Key: "round_trip_us", Type: Int, Unit: "µs", Help: "the shortest round trip to it of the last half hour"},
		{Key: "apart_us", Type: Int, Unit: "µs", Help: "median of how much later than another monitor it had the same entry, by the collector's clock; negative: earlier"},
		{Key: "pairs", Type: Int, Help: "entries that it and another monitor had, on which apart_us is based"}},
}

var FleetOverlaps = &Measurement{
	Name: "fleet_overlaps", Kind: Totals,
	Point:   "two monitors of a collector at the end of an interval",
	Answers: "How much do two monitors see of the same network, and how large is it by that?",
	Query:   `SELECT last(common), last(estimate), last(low), last(high) FROM totals.fleet_overlaps WHERE time > now() - 1h GROUP BY pair`,
	Tags:    []Tag{tagNode, tagPair},
	Fields: append([]Field{
		{Key: "common", Type: Int, Help: "peers connected to both"},
		{Key: "only_a", Type: Int, Help: "peers connected to the first alone"},
		{Key: "only_b", Type: Int, Help: "peers connected to the second alone"},
		{Key: "requests", Type: Int, Help: "of the fleet's closed requests of the interval, those that both saw"}},
		estimated("", "from the two (Chapman)")...),
}

var FleetSizes = &Measurement{
	Name: "fleet_sizes", Kind: Totals,
	Point:   "one group of peers at the end of an interval",
	Answers: "How many peers does the network have, by software and protocol?",
	Query:   `SELECT last(seen), last(coupon_estimate), last(coupon_low), last(coupon_high) FROM totals.fleet_sizes WHERE time > now() - 1h GROUP BY of`,
	Tags:    []Tag{tagNode, tagGroup},
	Fields: append(append([]Field{
		{Key: "seen", Type: Int, Help: "different peers of the group that are connected to any monitor"}},
		estimated("coupon_", "from all monitors, each a draw of its own size")...),
		estimated("pair_", "from the two monitors with the narrowest interval (Chapman)")...),
}

var FleetTop = &Measurement{
	Name: "fleet_top", Kind: Totals,
	Point:   "one of the CIDs that were wanted most of all monitors in one interval",
	Answers: "What is wanted most, of all monitors together?",
	Query:   `SELECT cid, requests, peers FROM totals.fleet_top WHERE time > now() - 1h AND list = 'peers'`,
	Tags:    []Tag{tagFleetList, tagNode, tagRank},
	Fields: []Field{fieldCID,
		{Key: "requests", Type: Int, Help: "requests, as in fleet"},
		{Key: "peers", Type: Int, Help: "different peers that requested it"},
		{Key: "monitors", Type: Int, Help: "monitors that had a request for it"}},
}
