package main

import (
	"fmt"
	"os"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/influx/client"
)

// What our way into a real server must be, of the rate at which a client posts
// batches that it need not make.
const (
	leastOfServer  = 0.95
	leastOfBacklog = 0.9
	mostLag        = 5.0 // seconds
)

// servers compares ours with a bare client at real servers. A server that took
// points before is slower, so each measurement has a new one.
func servers(g *harness.Gates, p plan) error {
	fmt.Printf("%d points into an empty server; rate of ours to that of a client that only posts prepared batches, one at a time or two;\nmedian of %d rounds, all in turns\n", p.points, p.pairs)
	fmt.Println("server          | bare 1 points/s  us CPU | bare 2 points/s  us CPU | ours points/s  us CPU  MiB | of bare 1  spread | of bare 2  spread | gate")
	for _, s := range []struct {
		name  string
		start func() (*server, error)
	}{
		{"embedded 1.8.10", func() (*server, error) { return startStore(p.bin) }},
		{"Debian 1.6.7", startDebian},
	} {
		if err := intoServer(g, p, s.name, s.start); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func intoServer(g *harness.Gates, p plan, name string, start func() (*server, error)) error {
	jobs := []job{{Design: "bare", Posters: 1}, {Design: "bare", Posters: 2}, {Design: "ours"}}
	got := make([][]result, len(jobs))
	for range p.pairs {
		for i, j := range jobs {
			j.Points, j.Entries = p.points, 4
			r, err := intoNew(start, j)
			if err != nil {
				return err
			}
			got[i] = append(got[i], r)
		}
	}
	of := func(value func(round int) float64) (v []float64) {
		for round := range got[0] {
			v = append(v, value(round))
		}
		return v
	}
	rate := func(i int) float64 { return harness.Median(of(func(n int) float64 { return got[i][n].rate() })) }
	cost := func(i int) float64 { return harness.Median(of(func(n int) float64 { return got[i][n].micro() })) }
	one := of(func(n int) float64 { return got[2][n].rate() / got[0][n].rate() })
	two := of(func(n int) float64 { return got[2][n].rate() / got[1][n].rate() })
	fmt.Printf("%-15s | %15.0f %7.2f | %15.0f %7.2f | %13.0f %7.2f %4.0f | %9.2f %6.0f%% | %9.2f %6.0f%% | %s\n", name, rate(0), cost(0), rate(1), cost(1), rate(2), cost(2),
		harness.Median(of(func(n int) float64 { return got[2][n].PeakMiB })), harness.Median(one), 100*harness.Spread(one), harness.Median(two), 100*harness.Spread(two),
		g.Check(harness.Median(one) >= leastOfServer, "%s: ours >= %.2f of bare (%.2f)", name, leastOfServer, harness.Median(one)))
	return nil
}

// intoNew does a job at a new server, and counts there.
func intoNew(start func() (*server, error), j job) (r result, err error) {
	s, err := start()
	if err != nil {
		return r, err
	}
	defer s.close()
	if j.Dir, err = os.MkdirTemp("", "ipfsmon-bench-"); err != nil {
		return r, err
	}
	defer os.RemoveAll(j.Dir)
	j.URL, j.Login = s.url, s.login
	if r, err = measure(j); err != nil {
		return r, err
	}
	return r, complete(s, j.Points, r.Live)
}

// complete checks that the server has each point once.
func complete(s *server, wants, blocks int) error {
	address, err := s.address(s.url)
	if err != nil {
		return err
	}
	for measurement, want := range map[string]int{"wants": wants, "blocks": blocks} {
		if n, err := stored(address, client.DefaultDatabase, "cid", measurement); err != nil || n != want {
			return fmt.Errorf("the server has %d points of %s, want %d: %v", n, measurement, want, err)
		}
	}
	return nil
}

// backlog drains what an outage left behind, while live data comes. The limit
// is measured before and after with half as many points each.
func backlog(g *harness.Gates, p plan) error {
	start := func() (*server, error) { return startStore(p.bin) }
	limit := func() (float64, error) {
		r, err := intoNew(start, job{Design: "bare", Posters: 1, Points: p.backlog / 2, Entries: 4})
		return r.rate(), err
	}
	before, err := limit()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ipfsmon-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	filled, err := measure(job{Design: "ours", URL: "http://127.0.0.1:9", Points: p.backlog, Entries: 4, Dir: dir, Away: true})
	if err != nil {
		return err
	}
	s, err := start()
	if err != nil {
		return err
	}
	defer s.close()
	r, err := measure(job{Design: "ours", URL: s.url, Points: p.backlog, Entries: 4, Dir: dir, Drain: true, Live: p.live, Login: s.login})
	if err != nil {
		return err
	}
	if err := complete(s, p.backlog, r.Live); err != nil {
		return err
	}
	after, err := limit()
	if err != nil {
		return err
	}
	fmt.Printf("backlog of %d points: to disk at %.0f points/s; bare client before and after %.0f and %.0f points/s;\n", p.backlog, filled.rate(), before, after)
	fmt.Printf("drained at %.0f points/s with %d live points among them, %.2f us CPU a point, %.0f MiB at most, live data %.1f s late on average\n",
		r.rate(), r.Live, r.micro(), r.PeakMiB, r.LagMean)
	share := r.rate() / ((before + after) / 2)
	fmt.Println(g.Check(share >= leastOfBacklog, "backlog drains at >= %.1f of the limit (%.2f)", leastOfBacklog, share))
	fmt.Println(g.Check(r.LagMax < mostLag, "live data lags < %.0f s (%.1f at most)", mostLag, r.LagMax))
	return nil
}
