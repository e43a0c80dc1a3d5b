package grafana

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

func probe() *board {
	none := "No measurement of the DHT in this time. `ipfsmon probe` makes them; it is a separate program."
	where := `fleet =~ /^$fleet$/ AND region =~ /^$region$/`
	quantiles := func(title, m, help string) *panel {
		return lines(title, "µs", help,
			series("$col", `SELECT percentile(duration_us, 50) AS p50, percentile(duration_us, 90) AS p90, percentile(duration_us, 99) AS p99 FROM totals.`+m+` WHERE {w} AND success = 'true' AND `+where+` GROUP BY {i} fill(null)`)).
			minutes().logarithmic().colors("p50", "green", "p90", "orange", "p99", "red").empty(none)
	}
	done := func(title, m, help string) *panel {
		return number(title, "percentunit", "lastNotNull", help,
			series("ok", `SELECT count(rt_size) FROM totals.`+m+` WHERE {w} AND success = 'true' AND `+where),
			series("all", `SELECT count(rt_size) FROM totals.`+m+` WHERE {w} AND `+where)).
			ratio("ok", "all", "success").thresholds("red", 0.8, "orange", 0.95, "green").empty(none)
	}
	return &board{
		uid: "ipfsmon-probe", title: "DHT probe", tags: []string{"dht"},
		help: "How long it takes to publish in the DHT and to find what was published, measured by servers of one's own.",
		variables: []dashboard.VariableModel{
			choice("fleet", "Fleet", "Fleets of servers that measure", "dht_retrieve", "fleet", "hops"),
			choice("region", "Region", "Regions of the servers that measure", "dht_retrieve", "region", "hops"),
		},
		rows: []row{
			{
				title: "Publish and find",
				read:  "**How to read it:** one server publishes a CID, the others look it up. p50 is the middle, p99 the slow end. On the public network publishing takes seconds to a minute, finding about a second.",
				panels: []*panel{
					done("Published", "dht_provide", "Publications that succeeded, as a part of all."),
					done("Found", "dht_retrieve", "Lookups that found a provider, as a part of all. Below 95 %: look at the errors."),
					number("Measurements", "short", "sum", "Lookups in this time, successful or not.", series("lookups", `SELECT count(duration_us) AS lookups FROM totals.dht_retrieve WHERE {w} AND `+where+` GROUP BY {i} fill(none)`)).minutes().fixed("blue").empty(none),
					ranking("Median by region", "µs", "Middle time of a successful lookup by region of the server, in this time.",
						series("$tag_region", `SELECT median(duration_us) FROM totals.dht_retrieve WHERE {w} AND success = 'true' AND `+where+` GROUP BY region`)).minutes().size(12, 4).empty(none),
					quantiles("Time to publish", "dht_provide", "Successful publications of each step.").size(12, 8),
					quantiles("Time to find", "dht_retrieve", "Successful lookups of each step, until the first provider was found.").size(12, 8),
				},
			},
			{
				title: "Why",
				read:  "**How to read it:** a lookup asks peers that it knows, then those that they name, and so on. Many hops or failed dials make it slow; a small routing table makes it long.",
				panels: []*panel{
					lines("Requests and hops", "short", "Mean hops, requests and failed requests of a lookup. Three to four hops are usual.",
						series("$col", `SELECT mean(hops) AS hops, mean(rpcs) AS requests, mean(failed_rpcs) AS failed FROM totals.dht_retrieve WHERE {w} AND `+where+` GROUP BY {i} fill(null)`)).minutes().colors("failed", "red").empty(none),
					lines("Dials", "short", "Mean number of peers dialled in a lookup, and of these without success. Half failing is usual: peers leave and do not say so.",
						series("$col", `SELECT mean(dials) AS dialled, mean(failed_dials) AS failed FROM totals.dht_retrieve WHERE {w} AND `+where+` GROUP BY {i} fill(null)`)).minutes().colors("dialled", "blue", "failed", "red").empty(none),
					lines("Routing table", "short", "Peers in the servers' routing tables when they measured.",
						series("$tag_fleet", `SELECT mean(rt_size) FROM totals.dht_retrieve WHERE {w} AND `+where+` GROUP BY {i}, fleet fill(null)`)).minutes().empty(none),
					ranking("Hop by hop", "µs", "Mean time until the first answer of each hop, of the lookups that got so far.",
						series("hop 1", `SELECT mean(hop1_us) FROM totals.dht_retrieve WHERE {w} AND hop1_us > 0 AND `+where),
						series("hop 2", `SELECT mean(hop2_us) FROM totals.dht_retrieve WHERE {w} AND hop2_us > 0 AND `+where),
						series("hop 3", `SELECT mean(hop3_us) FROM totals.dht_retrieve WHERE {w} AND hop3_us > 0 AND `+where)).minutes().empty(none),
					spread("Times to find", "µs", "Times of all successful lookups, of at most 20,000. Two bands: near and far providers, or two fleets.",
						series("time", `SELECT sample(duration_us, 20000) AS duration_us FROM totals.dht_retrieve WHERE {w} AND success = 'true' AND duration_us > 0 AND `+where+``)).minutes().empty(none),
					cells("Failures", "string", "The newest failures with their reason.",
						rows(`SELECT error, fleet, region, target, cid FROM totals.dht_retrieve WHERE {w} AND success = 'false' AND `+where+` ORDER BY time DESC LIMIT 50`)).size(8, 8).empty("No lookup failed in this time."),
				},
			},
		},
	}
}
