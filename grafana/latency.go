package grafana

func latency() *board {
	quantiles := func(title, direction, answer, help string) *panel {
		return lines(title, "µs", help,
			series("$col", `SELECT max(p50_us) AS p50, max(p90_us) AS p90, max(p99_us) AS p99 FROM totals.latency_totals WHERE {w} AND direction = '`+direction+`' AND answer = '`+answer+`' AND answers > 0 GROUP BY {i} fill(null)`)).
			minutes().logarithmic().colors("p50", "green", "p90", "orange", "p99", "red").empty("No such answer in this time.")
	}
	single := "No single answers: HistoryLatency is off. The graphs of quantiles do not need it."
	return &board{
		uid: "ipfsmon-latency", title: "Latency", tags: []string{"latency"},
		help: "How long it takes until a want is answered, both ways.",
		rows: []row{
			{
				title: "How fast others answer",
				read:  "**How to read it:** from a want that the node sent to the answer. p50 is the middle, p99 the slow end; the scale is logarithmic. Of each minute; longer steps and several nodes show the worst.",
				panels: []*panel{
					quantiles("A block", "sent", "block", "From a want sent to the block. Tens to hundreds of milliseconds on the public network. A p99 of many seconds: peers that announce blocks and do not send them."),
					quantiles("A HAVE", "sent", "have", "From a want sent to the HAVE. About one round trip."),
					quantiles("A DONT_HAVE", "sent", "dont_have", "From a want sent to the DONT_HAVE. About one round trip; five seconds and more are peers that are overloaded."),
				},
			},
			{
				title: "How fast the node answers",
				read:  "**How to read it:** from a want received to the answer sent. This is the node's own disk, CPU and queue: slow blocks here slow others down.",
				panels: []*panel{
					quantiles("A block", "received", "block", "From a want received to the block sent. Milliseconds from a good disk; rising with the number of peers is a queue."),
					quantiles("A HAVE", "received", "have", "From a want received to the HAVE sent: one look into the index."),
					quantiles("A DONT_HAVE", "received", "dont_have", "From a want received to the DONT_HAVE sent: one look into the index."),
				},
			},
			{
				title: "Answers",
				read:  "**How to read it:** how many wants found an answer, and the middle of the time that each kind took.",
				panels: []*panel{
					ranking("Mean time to an answer", "µs", "Mean time from a want to each kind of answer in this time. sent: others answered; received: the node did.",
						series("$tag_direction $tag_answer", `SELECT sum(sum_us) / sum(answers) FROM totals.latency_totals WHERE {w} AND answers > 0 GROUP BY direction, answer`)).minutes().fixed("orange"),
					lines("Answers", "cps", "Answers to wants that waited, per second, by kind and by the want's direction.",
						series("$tag_direction $tag_answer", rate("latency_totals", "", "direction, answer", "answers"))).minutes().stacked(),
					lines("Wants without an answer", "short", "Wants that wait for an answer now, both directions; each expires after five minutes. The number grows with peers that do not answer.",
						series("$col", level("derived", "", "", "pending:waiting", "lost:given up for room"))).minutes().colors("waiting", "blue", "given up for room", "red"),
				},
			},
			httpRow(),
			sendingRow(),
			{
				title:  "Single answers",
				closed: true,
				read:   "**How to read it:** every answer is a point, where HistoryLatency is on. Dark cells are many answers; two bands are near and far peers.",
				panels: []*panel{
					spread("Time to a block", "µs", "Time from a want that the node sent to its block, of 20,000 chosen at random where there are more. Each step upwards is twice the time."+lastHour,
						series("time", `SELECT sample(elapsed_us, 20000) AS elapsed_us FROM history.latency WHERE {w} AND answer = 'block' AND direction = 'sent' AND elapsed_us > 0`)).hour().size(12, 9).empty(single),
					lines("Quantiles of single answers", "µs", "p50, p95 and p99 of all answers to wants of this node, exact over each step."+lastHour,
						series("$col", `SELECT percentile(elapsed_us, 50) AS p50, percentile(elapsed_us, 95) AS p95, percentile(elapsed_us, 99) AS p99 FROM history.latency WHERE {w} AND direction = 'sent' GROUP BY {i} fill(null)`)).hour().logarithmic().colors("p50", "green", "p95", "orange", "p99", "red").size(12, 9).empty(single),
				},
			},
		},
	}
}
