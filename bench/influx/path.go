package main

import (
	"fmt"
	"os"

	"github.com/ipfsmon/ipfsmon/bench/harness"
)

// What our whole path must be beside the client's WriteAPI, gzip in both.
const (
	leastRate = 6.0
	mostCPU   = 1.0 / 6
)

// path compares the whole way of points to a server that throws them away.
func path(g *harness.Gates, p plan) error {
	fmt.Println("events, sink, spool on disk, gzip, null HTTP server in another process; median of", p.pairs, "pairs, client and ours in turns")
	fmt.Println("wants in a message | client points/s  us CPU | ours points/s  us CPU  MiB | rate ratio  spread | CPU ratio | gates")
	s, err := startNull()
	if err != nil {
		return err
	}
	defer s.close()
	for _, entries := range []int{1, 16} {
		var rates, costs, cRate, cCost, oRate, oCost, oMem []float64
		for range p.pairs {
			c, err := measure(job{Design: "client", URL: s.url, Points: 320_000, Entries: entries, Gzip: true})
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "ipfsmon-bench-")
			if err != nil {
				return err
			}
			o, err := measure(job{Design: "ours", URL: s.url, Points: 1_600_000, Entries: entries, Gzip: true, Dir: dir})
			os.RemoveAll(dir)
			if err != nil {
				return err
			}
			rates, costs = append(rates, o.rate()/c.rate()), append(costs, o.micro()/c.micro())
			cRate, cCost = append(cRate, c.rate()), append(cCost, c.micro())
			oRate, oCost, oMem = append(oRate, o.rate()), append(oCost, o.micro()), append(oMem, o.PeakMiB)
		}
		rate, cost := harness.Median(rates), harness.Median(costs)
		fmt.Printf("%18d | %15.0f %7.2f | %13.0f %7.2f %4.0f | %10.1f %6.0f%% | 1/%-7.1f | %s %s\n", entries, harness.Median(cRate), harness.Median(cCost),
			harness.Median(oRate), harness.Median(oCost), harness.Median(oMem), rate, 100*harness.Spread(rates), 1/cost,
			g.Check(rate >= leastRate, "%d: rate >= %.0fx (%.1f)", entries, leastRate, rate),
			g.Check(cost <= mostCPU, "%d: CPU <= 1/6 (1/%.1f)", entries, 1/cost))
	}
	return nil
}
