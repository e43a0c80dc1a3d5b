package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxlog "github.com/influxdata/influxdb-client-go/v2/log"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
)

// fault is a row of the table: a stream of points, and a time in it when the
// server is not as it should be.
type fault struct {
	name   string
	rate   int // points a second
	before time.Duration
	state  int32
	away   time.Duration
	after  time.Duration // points continue for so long
	quiet  time.Duration // then nobody writes
	ends   bool          // the writer is closed in the outage, which ends afterwards

	ready func() // says that this one has all it needs
	wait  func() // waits for the others: what they prepare would delay its calls
}

var faults = []fault{
	{name: "none", rate: 200, before: 10 * time.Second},
	{name: "down 6 s, then 30 s in which nobody writes", rate: 200, before: 3 * time.Second, state: down, away: 6 * time.Second, quiet: 30 * time.Second},
	{name: "down 15 s", rate: 200, before: 15 * time.Second, state: down, away: 15 * time.Second, after: 30 * time.Second},
	{name: "down 60 s", rate: 200, before: 15 * time.Second, state: down, away: time.Minute, after: 110 * time.Second},
	{name: "down 300 s", rate: 200, before: 15 * time.Second, state: down, away: 5 * time.Minute, after: 140 * time.Second},
	{name: "down 30 s", rate: 10_000, before: 15 * time.Second, state: down, away: 30 * time.Second, after: 80 * time.Second},
	{name: "closed while down 8 s", rate: 200, before: 5 * time.Second, state: down, away: 8 * time.Second, ends: true},
	{name: "401 for 5 s", rate: 200, before: 10 * time.Second, state: denied, away: 5 * time.Second, after: 15 * time.Second},
	{name: "no answer for 45 s", rate: 1000, before: 10 * time.Second, state: hung, away: 45 * time.Second, after: 75 * time.Second},
}

// took is what a writer made of a fault.
type took struct {
	wrote, stored int
	blocked       time.Duration // longest call
}

// outage has the same faults for the client's WriteAPI and for ours, all at
// once, each with a proxy and its own database at one real store.
func outage(g *harness.Gates, p plan) error {
	influxlog.Log = nil
	s, err := startStore(p.bin)
	if err != nil {
		return err
	}
	defer s.close()
	got := make([][2]took, len(faults))
	errs := make([]error, 2*len(faults))
	var wg, preparing sync.WaitGroup
	preparing.Add(2 * len(faults))
	for i, f := range faults {
		for _, d := range []*time.Duration{&f.before, &f.away, &f.after, &f.quiet} {
			*d = time.Duration(float64(*d) * p.outages)
		}
		for side, run := range []func(context.Context, fault, *proxy, influx.Config) (took, error){clientFault, oursFault} {
			f := f // each side says for itself that it is ready
			f.ready, f.wait = sync.OnceFunc(preparing.Done), preparing.Wait
			wg.Go(func() {
				defer f.ready()
				got[i][side], errs[2*i+side] = withProxy(s, f, fmt.Sprintf("row%d_%d", i, side), run)
			})
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("outages of the embedded server, the client's WriteAPI with its defaults and ours beside it")
	if p.outages < 1 {
		fmt.Printf("all times are %.2f of what the table says\n", p.outages)
	}
	fmt.Println("outage                                     points/s | client wrote   stored     lost  longest call | ours wrote   stored  lost  longest call | gate")
	for i, f := range faults {
		c, o := got[i][0], got[i][1]
		fmt.Printf("%-42s %8d | %12d %8d %8d %13v | %10d %8d %5d %13v | %s\n", f.name, f.rate, c.wrote, c.stored, c.wrote-c.stored, c.blocked.Round(time.Millisecond),
			o.wrote, o.stored, o.wrote-o.stored, o.blocked.Round(time.Microsecond), g.Check(o.stored == o.wrote && o.wrote > 0, "ours lost 0 (%d)", o.wrote-o.stored))
	}
	return nil
}

func withProxy(s *server, f fault, database string, run func(context.Context, fault, *proxy, influx.Config) (took, error)) (t took, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	cfg := s.config(s.url)
	cfg.Database = database
	if err := client.Setup(ctx, cfg); err != nil {
		return t, err
	}
	p, err := newProxy(s.url)
	if err != nil {
		return t, err
	}
	defer p.close()
	cfg.URL = p.url()
	if t, err = run(ctx, f, p, cfg); err != nil {
		return t, fmt.Errorf("%s: %w", f.name, err)
	}
	address, err := s.address(s.url)
	if err != nil {
		return t, err
	}
	t.stored, err = stored(address, database, "cid", "wants")
	return t, err
}

// play writes points at the fault's rate, injects the fault, and returns the longest
// call of write, which gets the number of the point.
func (f fault) play(ctx context.Context, p *proxy, write func(n int), end func() error) (t took, err error) {
	f.ready()
	f.wait()
	begin := time.Now()
	change := make(chan error, 1)
	go func() { // ends with the outage
		change <- func() error {
			if f.state == up {
				return nil
			}
			if err := sleep(ctx, f.before); err != nil {
				return err
			}
			if err := p.set(f.state); err != nil {
				return err
			}
			if err := sleep(ctx, f.away); err != nil {
				return err
			}
			return p.set(up)
		}()
	}()
	writing := f.before + f.away + f.after
	if f.ends {
		writing = f.before + f.away/2
	}
	for elapsed := time.Duration(0); elapsed < writing; elapsed = time.Since(begin) {
		for ; t.wrote < int(elapsed.Seconds()*float64(f.rate)); t.wrote++ {
			called := time.Now()
			write(t.wrote)
			t.blocked = max(t.blocked, time.Since(called))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !f.ends {
		err = errors.Join(<-change, sleep(ctx, f.quiet))
		return t, errors.Join(err, end())
	}
	err = end()
	return t, errors.Join(err, <-change)
}

func clientFault(ctx context.Context, f fault, p *proxy, cfg influx.Config) (took, error) {
	password, err := login{PasswordFile: cfg.PasswordFile}.password()
	if err != nil {
		return took{}, err
	}
	c := influxdb2.NewClient(p.url(), cfg.Username+":"+password) // as InfluxDB 1.8 takes it
	w := c.WriteAPI("none", cfg.Database+"/history")
	told := make(chan struct{})
	go func(errors <-chan error) { // ended by Close
		for range errors {
		}
		close(told)
	}(w.Errors())
	src := newSource(1, time.Now())
	points := make([]point, templates)
	for i := range points {
		one, err := pointsOf(&src.messages[i])
		if err != nil {
			return took{}, err
		}
		points[i] = one[0]
	}
	begin := time.Now()
	t, err := f.play(ctx, p, func(n int) {
		w.WritePoint(points[n%templates].forClient(begin.Add(time.Duration(n) * time.Microsecond)))
	},
		func() error { c.Close(); return nil })
	<-told
	return t, err
}

func oursFault(ctx context.Context, f fault, p *proxy, cfg influx.Config) (took, error) {
	dir, err := os.MkdirTemp("", "ipfsmon-bench-")
	if err != nil {
		return took{}, err
	}
	defer os.RemoveAll(dir)
	no := false
	cfg.SpoolDir, cfg.CreateDatabase = filepath.Join(dir, "spool"), &no
	flow, err := startFlow(cfg)
	if err != nil {
		return took{}, err
	}
	src := newSource(1, time.Now())
	t, err := f.play(ctx, p, func(int) { flow.bus.Publish(src.next(new(event.Event))) }, func() error { _, err := flow.stop(); return err })
	if err != nil {
		return t, err
	}
	// What the end left on disk is the next process's to deliver.
	if flow, err = startFlow(cfg); err != nil {
		return t, err
	}
	drained := eventually(time.Minute, func() bool { return flow.sink.Stats().Queued == 0 })
	st, err := flow.stop()
	if !drained {
		err = errors.Join(err, fmt.Errorf("not delivered within a minute: %+v", st))
	}
	return t, err
}
