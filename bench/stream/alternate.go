package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
)

// windowEvents is how many events one measurement of alternate has.
const windowEvents = 4096

// costs are ratios: with a stuck subscriber to without.
type costs struct{ Time, CPU harness.Ratio }

// alternate measures windows of events in one server, with a subscriber that
// never reads and without it, in turns: what disturbs the machine disturbs
// neighbours alike.
func alternate(j job, pairs string) error {
	n, err := strconv.Atoi(pairs)
	if err != nil {
		return err
	}
	t, err := newNewServer(j)
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0], append(j.args("drain"), t.addr())...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	awaitSubscribers(t, j.Subscribers)
	events := make([]event.Event, windowEvents)
	for i := range events {
		events[i] = message(i, j.Entries)
	}
	window := func() (elapsed, cpu float64) {
		begin, used := time.Now(), harness.CPUTime()
		for i := range events {
			e := events[i]
			t.publish(&e)
		}
		for t.behind() > 0 {
			time.Sleep(50 * time.Microsecond)
		}
		return time.Since(begin).Seconds(), harness.CPUTime() - used
	}
	with := func() (elapsed, cpu float64, err error) {
		conn, err := dial(t.addr(), j.Version)
		if err != nil {
			return 0, 0, err
		}
		awaitSubscribers(t, j.Subscribers+1)
		for t.s.Stats().Subscribers[j.Subscribers].DroppedEvents == 0 {
			window() // until nothing more fits its buffers
		}
		elapsed, cpu = window()
		err = conn.Close()
		awaitSubscribers(t, j.Subscribers)
		return elapsed, cpu, err
	}
	window()
	var times, cpus []float64
	for i := range n {
		var e1, c1 float64
		if i%2 == 0 {
			e1, c1 = window()
		}
		e2, c2, err := with()
		if err != nil {
			return err
		}
		if i%2 == 1 {
			e1, c1 = window()
		}
		times, cpus = append(times, e2/e1), append(cpus, c2/c1)
	}
	if lost, _ := t.close(); lost > 0 {
		return fmt.Errorf("the others lost %d events", lost)
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(costs{harness.Paired(times), harness.Paired(cpus)})
}

func awaitSubscribers(t target, n int) {
	for t.subscribers() != n {
		time.Sleep(100 * time.Microsecond)
	}
}
