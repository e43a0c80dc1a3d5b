package grafana

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

func fleet() *board {
	none := "No collector wrote in this time. `ipfsmon fleet collect` runs one; it is a separate program."
	where := `monitor =~ /^$monitor$/`
	return &board{
		uid: "ipfsmon-fleet", title: "Fleet", tags: []string{"fleet"},
		help: "Many monitors joined: what is asked of all together, how each of them does, what they have in common, and how large the network is by that.",
		variables: []dashboard.VariableModel{
			choice("monitor", "Monitor", "Monitors of the fleet", "fleet_monitors", "monitor", "events"),
		},
		rows: []row{
			{
				title: "Together",
				read:  "**How to read it:** a request that several monitors saw, and its repeats within 31 s, count once. The more of the entries match, the more the monitors see the same.",
				panels: []*panel{
					number("Monitors", "short", "lastNotNull", "Monitors whose stream is read, and those in the configuration.", series("$col", level("fleet", "", "", "up", "monitors"))).fixed("blue").empty(none),
					number("Peers of all", "short", "lastNotNull", "Different peers that are connected to any monitor.", series("$col", level("fleet", "", "", "peers"))).fixed("blue").empty(none),
					lines("Requests of all", "cps", "Per second: entries that came, requests without repeats, and entries that another monitor had seen before.",
						series("$col", rate("fleet", "", "", "entries", "requests", "matched"))).size(16, 8).empty(none),
					lines("Not joined", "cps", "Per second: events that came too late to be joined, and entries left out because of a bound of memory. Above 0: the lateness is too short, or a monitor's clock is wrong.",
						series("$col", rate("fleet", "", "", "late", "dropped"))).colors("late", "orange", "dropped", "red").empty(none),
				},
			},
			{
				title: "Each monitor",
				read:  "**How to read it:** one line for each monitor. Coverage is its share of the fleet's requests; of all requests in the network it sees less.",
				panels: []*panel{
					lines("Coverage of requests", "short", "Share of the fleet's requests that each monitor saw, in thousandths.",
						series("$tag_monitor", `SELECT mean(coverage_permille) FROM totals.fleet_monitors WHERE {w} AND `+where+` GROUP BY {i}, monitor fill(null)`)).size(12, 8).empty(none),
					lines("Wants of each", "cps", "Wants that each monitor received, per second.",
						series("$tag_monitor", rate("fleet_monitors", where, "monitor", "wants"))).stacked().size(12, 8).empty(none),
					lines("Missed events", "cps", "Events of each monitor that are missing at most, per second. docs/durability.md says what is lost when.",
						series("$tag_monitor", rate("fleet_monitors", where, "monitor", "missed"))).empty(none),
					lines("Lag", "ms", "From the time of each monitor's newest event until it came: the most of each step.",
						series("$tag_monitor", `SELECT max(lag_ms) FROM totals.fleet_monitors WHERE {w} AND `+where+` GROUP BY {i}, monitor fill(null)`)).empty(none),
					lines("Clocks", "µs", "How much the clock of each monitor is ahead of the collector's. Figures of the fleet are corrected by it.",
						series("$tag_monitor", `SELECT mean(offset_us) FROM totals.fleet_monitors WHERE {w} AND clock_known = true AND `+where+` GROUP BY {i}, monitor fill(null)`)).empty(none),
					lines("Apart", "µs", "Median of how much later than another monitor each had the same entry, by the collector's clock. Far from 0, and the clock known: the monitor's times are not those of its clock.",
						series("$tag_monitor", `SELECT mean(apart_us) FROM totals.fleet_monitors WHERE {w} AND pairs > 0 AND `+where+` GROUP BY {i}, monitor fill(null)`)).empty(none),
				},
			},
			{
				title: "The network",
				read:  "**How to read it:** sizes are estimated from the peers that the monitors have in common, with their interval of confidence of 95 %. They assume that the monitors see peers independently of each other; docs/fleet.md has more.",
				panels: []*panel{
					lines("Size of the network", "short", "Peers, estimated from all monitors, and the ends of the interval.",
						series("$col", `SELECT mean(coupon_estimate) AS estimate, mean(coupon_low) AS low, mean(coupon_high) AS high FROM totals.fleet_sizes WHERE {w} AND of = 'all' AND coupon_estimate > 0 GROUP BY {i} fill(null)`)).
						colors("estimate", "green", "low", "text", "high", "text").size(12, 8).empty(none),
					lines("Peers in common", "short", "Peers that are connected to both monitors of each pair.",
						series("$tag_pair", `SELECT mean(common) FROM totals.fleet_overlaps WHERE {w} GROUP BY {i}, pair fill(null)`)).size(12, 8).empty(none),
					cells("Wanted most", "short", "The CIDs that were requested most of all monitors, interval by interval, the newest first.",
						rows(`SELECT cid AS "CID", requests AS "Requests", peers AS "Peers" FROM totals.fleet_top WHERE {w} AND list = 'requests' ORDER BY time DESC LIMIT 50`)).size(24, 8).empty(none),
				},
			},
		},
	}
}
