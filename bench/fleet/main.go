// Command fleet measures how fast the events of several monitors are unified.
//
// In: nothing. Out: a table, and a status other than 0 if a gate is missed. It
// measures frames of the stream's version 4 of three monitors, which are decoded,
// matched and counted in one goroutine; the collector, which does that and more for each
// monitor in one; the matcher alone beside one that scans a
// queue for each peer, in one run, when peers ask little and much; and the bytes
// that an entry takes in the windows.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
)

// The gates.
const (
	leastRate    = 200_000 // entries a second of one core
	leastTimes   = 20      // as fast as the queues
	mostPerEntry = 200     // bytes
)

func main() {
	rounds := flag.Int("rounds", 3, "measurements of each; the median counts")
	profile := flag.String("cpuprofile", "", "`FILE` for a CPU profile of the collector, which is measured once")
	flag.Parse()
	if err := run(*rounds, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench/fleet:", err)
		os.Exit(1)
	}
}

func run(rounds int, profile string) error {
	var g harness.Gates
	fmt.Printf("%s; load %s\n\n", harness.Machine(), harness.Load())
	if err := frames(&g, rounds); err != nil {
		return err
	}
	if err := collector(&g, profile); err != nil {
		return err
	}
	if err := queues(&g, rounds); err != nil {
		return err
	}
	if err := memory(&g); err != nil {
		return err
	}
	fmt.Println("load at the end:", harness.Load())
	return g.Err()
}

// queues compares the matcher with one that scans queues.
func queues(g *harness.Gates, rounds int) error {
	fmt.Println("\nthe matcher beside one that scans a queue for each peer; the same events, decoded")
	fmt.Println("  peers  entries/s of each |  queues, entries/s   ours, entries/s   times")
	for _, c := range []struct {
		peers   int
		seconds int
		rate    int // messages a second at each monitor
		gate    bool
	}{{5000, 20, 2000, false}, {100, 40, 1000, true}} {
		events := traffic(c.peers, c.rate, c.seconds)
		var old, ours []float64
		for range rounds {
			// The queues take part of the trace: it is the end that is slow.
			n := entriesOf(events)
			began := harness.CPUTime()
			q := newQueues()
			for i := range events {
				q.handle(&events[i])
			}
			old = append(old, float64(n)/(harness.CPUTime()-began))

			began = harness.CPUTime()
			got := 0
			u, err := unify.New(unify.Config{Monitors: monitors}, func(e *unify.Entry) {
				if e.Matched {
					got++
				}
			})
			if err != nil {
				return err
			}
			feed(u, events)
			ours = append(ours, float64(n)/(harness.CPUTime()-began))
			if got != q.matched {
				return fmt.Errorf("%d entries are matched, by the queues %d: want the same", got, q.matched)
			}
		}
		was, is := harness.Median(old), harness.Median(ours)
		line := fmt.Sprintf("%7d  %17.0f  |  %17.0f  %16.0f  %6.1f", c.peers, float64(entriesPerMessage*len(monitors)*c.rate)/float64(c.peers), was, is, is/was)
		if c.gate {
			line = g.Check(is >= leastTimes*was, "%s  at least %d times", line, leastTimes)
		}
		fmt.Println(line)
	}
	return nil
}

// memory measures what an entry takes in full windows.
func memory(g *harness.Gates) error {
	fmt.Println("\nmemory of full windows, each entry of another peer and CID pair")
	for _, peers := range []int{1000, 20000} {
		const n = 800_000
		before := heap()
		u, err := unify.New(unify.Config{Monitors: monitors, MaxWants: 1}, func(*unify.Entry) {})
		if err != nil {
			return err
		}
		for i := range n / entriesPerMessage {
			at := begin + int64(i)*(30*int64(time.Second))/(n/entriesPerMessage)
			u.Push([]unify.Event{message(i%len(monitors), i%peers, at, func(k int) int { return i*entriesPerMessage + k })})
			u.Advance(at)
		}
		each := float64(heap()-before) / n
		s := u.Stats()
		fmt.Println(g.Check(each <= mostPerEntry, "%d entries of %d peers: %.0f bytes of heap an entry (counted: %.0f), at most %d", s.Windows, peers, each, float64(s.WindowBytes)/n, mostPerEntry))
		runtime.KeepAlive(u)
	}
	return nil
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
