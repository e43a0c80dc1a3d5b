package grafana

func pipeline() *board {
	return &board{
		uid: "ipfsmon-pipeline", title: "Pipeline health", tags: []string{"health"},
		help: "Is what the other dashboards show complete, and what does monitoring cost the node?",
		rows: []row{
			{
				title: "From the node to InfluxDB",
				read:  "**How to read it:** events go through the bus to the writer, points from the writer to InfluxDB. Anything red is lost and counted; anything that only grows will be lost.",
				panels: []*panel{
					lines("Points", "cps", "Points encoded and points that InfluxDB has, per second. They differ only by seconds; stored below encoded means that points wait.",
						series("$col", counter("pipeline", "", "", "accepted:encoded", "stored"))).colors("encoded", "blue", "stored", "green"),
					lines("Lost", "short", "In each step: events that a sink missed on the bus, points dropped because the queue or the disk was full, points that InfluxDB refused. What was lost in the step in which a monitor started is not in it. All should be 0. See docs/durability.md.",
						series("$col", lostPer)).bars().colors("events missed", "orange", "points dropped", "red", "points rejected", "purple"),
					lines("Waiting points", "short", "Points that wait for InfluxDB, in memory and on disk. A saw-tooth of a second is usual; a slope is an InfluxDB that is down.",
						series("$col", level("pipeline", "", "", "queued:points"))).fixed("blue"),
					lines("Behind", "ms", "Age of the oldest point that InfluxDB does not have, worst node.",
						series("$tag_node", `SELECT max(lag_ms) FROM totals.pipeline WHERE {w} GROUP BY {i}, "node" fill(null)`)).thresholds("transparent", 30000.0, "orange", 300000.0, "red").line(),
					lines("Memory of what waits", "bytes", "Events on the bus and points that wait for InfluxDB. Both are bounded: by EventBuffer and by QueueBytes (64 MiB) or the spool's bound.",
						series("$col", level("pipeline", "", "", "held_bytes:on the bus", "queue_bytes:points"))),
					lines("Events", "cps", "Events that the bus took, per second.", series("$col", counter("pipeline", "", "", "published:events"))).fixed("blue"),
				},
			},
			{
				title: "Subscribers and derived figures",
				read:  "**How to read it:** subscribers that are too slow lose events, which are counted here. Derived figures (unique, top, latency) lack what was missed.",
				panels: []*panel{
					lines("Subscribers of the stream", "short", "Programs that read the TCP stream now: ipfsmon tail, collectors of traces.", series("$col", level("pipeline", "", "", "subscribers"))).fixed("blue"),
					lines("Missed by slow subscribers", "cps", "Events per second that subscribers did not get because they were slow. Their loss, not the store's.",
						series("$col", counter("pipeline", "", "", "stream_dropped:events"))).fixed("orange"),
					lines("Derived figures", "short", "Events that the derived figures missed, and wants given up for room, in each step. 0 unless memory is short.",
						series("$col", `SELECT sum(missed) AS "missed", sum(lost) AS "given up" FROM totals.derived WHERE {w} GROUP BY {i} fill(null)`)).minutes().bars().colors("missed", "red", "given up", "orange"),
					lines("Floods and faults", "cps", "Messages beyond a peer's rate, sent messages that could not be read back, and faults of the monitor's own, per second.",
						series("$col", counter("pipeline", "", "", "limited:limited", "send_errors", "panics"))).colors("panics", "red").size(24, 6),
				},
			},
			{
				title: "What it costs",
				read:  "**How to read it:** the node's process with the monitor in it. 100 % is one processor.",
				panels: []*panel{
					lines("Processor", "percentunit", "Processor time of the node's process, user and system. 100 % is one processor.",
						series("$tag_node", `SELECT non_negative_derivative(last(cpu_ms), 1s) / 1000 FROM totals.process WHERE {w} GROUP BY {i}, "node" fill(null)`)),
					lines("Memory", "bytes", "Resident memory and what of it is in use by Go's objects, sum of the nodes. Resident memory that only grows for days is a leak.",
						series("$col", level("process", "", "", "resident_bytes:resident", "heap_bytes:in use"))).colors("resident", "orange", "in use", "blue"),
					lines("Goroutines and files", "short", "Goroutines and open files of the nodes. They follow the number of peers.",
						series("$col", level("process", "open_files >= 0", "", "goroutines", "open_files:files"))).right("files", "short"),
					lines("Line by protocol", "Bps", "Bytes received (up) and sent (down) per second by protocol, as libp2p counts them.",
						series("$tag_protocol received", counter("bandwidth_1m", "", "protocol", "in_bytes:received")),
						series("$tag_protocol sent", counter("bandwidth_1m", "", "protocol", "out_bytes:sent"))).below("sent$").minutes().coarse().size(12, 9),
					lines("Line", "Bps", "All bytes of libp2p per second: received up, sent down.",
						series("$col", counter("node", "", "", "in_bytes:received", "out_bytes:sent"))).below("^sent").colors("received", "blue", "sent", "green").size(6, 9),
					lines("Repository", "bytes", "Size of the nodes' repositories. kubo collects garbage at StorageMax if garbage collection is enabled.",
						series("$tag_node", `SELECT last(repo_bytes) FROM totals.node WHERE {w} AND repo_bytes >= 0 GROUP BY {i}, "node" fill(null)`)).size(6, 9),
				},
			},
		},
	}
}
