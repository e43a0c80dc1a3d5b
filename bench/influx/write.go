package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxlog "github.com/influxdata/influxdb-client-go/v2/log"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

const batchPoints = 5000 // of all designs

// writeJob does a job and prints its result.
func writeJob(j job) error {
	do := map[string]func(job) (result, error){"ours": ours, "client": writeAPI, "bare": bare}[j.Design]
	if do == nil {
		return fmt.Errorf("design %q: want ours, client or bare", j.Design)
	}
	r, err := do(j)
	if err != nil {
		return err
	}
	r.PeakMiB = harness.PeakMiB()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// flow is a sink with a bus to give it events.
type flow struct {
	sink *influx.Sink
	bus  *bus.Bus
	end  chan error
}

func startFlow(cfg influx.Config) (*flow, error) {
	cfg.Log = slog.New(slog.DiscardHandler) // what counts is in its figures
	sink, err := influx.New(cfg, nodeName)
	if err != nil {
		return nil, err
	}
	f := &flow{sink: sink, bus: bus.New(bus.Config{}), end: make(chan error, 1)}
	r := f.bus.Subscribe("influx")
	f.bus.Live()
	go func() { f.end <- sink.Run(context.Background(), r) }()
	return f, nil
}

// hold waits before the ring or memory overflows: neither is what is measured.
// Of what waits for a server that is away the spool keeps a quarter of
// QueueBytes in memory, so that the bound is above that.
func (f *flow) hold(j job) {
	most := 12 << 20
	if j.Away {
		most = 40 << 20
	}
	for f.bus.Stats().Held*j.Entries > 16_000 || f.sink.Stats().QueueBytes > uint64(most) {
		time.Sleep(200 * time.Microsecond)
	}
}

// reach waits until a figure of the sink is so high, or points are lost.
func (f *flow) reach(want uint64, figure func(influx.Stats) uint64) error {
	for st := f.sink.Stats(); figure(st) < want; st = f.sink.Stats() {
		if err := lossless(st); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func lossless(st influx.Stats) error {
	if st.Missed+st.Dropped+st.Rejected+st.Panics > 0 {
		return fmt.Errorf("the sink lost points: %+v", st)
	}
	return nil
}

// stop ends the sink and checks that it lost nothing.
func (f *flow) stop() (influx.Stats, error) {
	f.bus.Close()
	err := <-f.end
	st := f.sink.Stats()
	return st, errors.Join(err, lossless(st))
}

// ours is the whole way: events, bus, encoder, spool on disk, posts.
func ours(j job) (r result, err error) {
	no := false
	cfg := j.Login.config(j.URL)
	cfg.SpoolDir, cfg.Gzip, cfg.BatchSize, cfg.CreateDatabase = j.Dir, "off", batchPoints, &no
	if j.Gzip {
		cfg.Gzip = "on"
	}
	src := newSource(j.Entries, time.Now().Add(-time.Hour))
	f, err := startFlow(cfg)
	if err != nil {
		return r, err
	}
	r.Points = j.Points
	begin, cpu := time.Now(), harness.CPUTime()
	if !j.Drain {
		spare := make([]*event.Event, 64) // as capture does it
		for i := range j.Points / j.Entries {
			if i%len(spare) == 0 {
				f.hold(j)
				f.bus.Spare(spare)
			}
			f.bus.PublishSpare(src.next(spare[i%len(spare)]))
		}
	}
	want := uint64(j.Points)
	switch {
	case j.Away:
		err = f.reach(want, func(st influx.Stats) uint64 { return st.Accepted })
	case j.Live > 0:
		r.Live, r.LagMean, r.LagMax, err = f.live(j)
		want += uint64(r.Live)
	}
	if !j.Away && err == nil {
		// What is in the open batch is posted at once by the end, else within FlushInterval.
		err = f.reach(want, func(st influx.Stats) uint64 { return st.Stored + uint64(min(st.Queued, batchPoints)) })
	}
	st, stopErr := f.stop()
	r.Seconds, r.CPU = time.Since(begin).Seconds(), harness.CPUTime()-cpu
	if err = errors.Join(err, stopErr); err == nil && !j.Away && st.Stored < want {
		err = fmt.Errorf("%d of %d points are stored at the end", st.Stored, want)
	}
	return r, err
}

// live publishes blocks, which the backlog has none of, while the backlog
// drains, and asks the server each half second how old the newest it has is.
func (f *flow) live(j job) (n int, mean, most float64, err error) {
	begin := time.Now()
	server, err := j.Login.address(j.URL)
	if err != nil {
		return 0, 0, 0, err
	}
	asked := begin.Add(3 * time.Second) // the first have arrived
	sum, times := 0.0, 0
	for st := f.sink.Stats(); st.Stored < uint64(j.Points) || st.Queued > uint64(5*j.Live); st = f.sink.Stats() {
		if err := lossless(st); err != nil {
			return n, 0, 0, err
		}
		for now := time.Now(); n < int(now.Sub(begin).Seconds()*float64(j.Live)); n++ {
			f.bus.Publish(&event.Event{Time: now.UnixNano(), Kind: event.KindMessage, Peer: peerOf(n % peers), Blocks: []event.Block{{CID: cidOf(n % cids), Size: int32(n)}}})
		}
		time.Sleep(5 * time.Millisecond)
		if time.Now().Before(asked) {
			continue
		}
		newest, err := newest(server, "blocks")
		if err != nil {
			return n, 0, 0, err
		}
		lag := time.Since(newest).Seconds()
		sum, times, most = sum+lag, times+1, max(most, lag)
		asked = time.Now().Add(500 * time.Millisecond)
	}
	return n, sum / float64(max(times, 1)), most, nil
}

// writeAPI is the WriteAPI of influxdb-client-go with its defaults, except for gzip.
func writeAPI(j job) (r result, err error) {
	influxlog.Log = nil
	c := influxdb2.NewClientWithOptions(j.URL, "none", influxdb2.DefaultOptions().SetBatchSize(batchPoints).SetUseGZip(j.Gzip))
	w := c.WriteAPI("none", client.DefaultDatabase+"/history")
	failed := make(chan error, 1)
	go func() { // ended by Close
		for e := range w.Errors() {
			select {
			case failed <- e:
			default:
			}
		}
	}()
	src := newSource(j.Entries, time.Now().Add(-time.Hour))
	points := make([][]point, templates)
	for i := range points {
		if points[i], err = pointsOf(&src.messages[i]); err != nil {
			return r, err
		}
	}
	r.Points = j.Points
	begin, cpu := time.Now(), harness.CPUTime()
	at := time.Now().Add(-time.Hour)
	for i := range j.Points / j.Entries {
		for k := range points[i%templates] {
			at = at.Add(time.Microsecond)
			w.WritePoint(points[i%templates][k].forClient(at))
		}
	}
	w.Flush()
	r.Seconds, r.CPU = time.Since(begin).Seconds(), harness.CPUTime()-cpu
	c.Close()
	select {
	case err = <-failed:
	default:
	}
	return r, err
}

// bare posts batches that were encoded before the clock started.
func bare(j job) (r result, err error) {
	file, err := os.Create(filepath.Join(j.Dir, "prepared"))
	if err != nil {
		return r, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var ends []int64
	src, enc := newSource(j.Entries, time.Now().Add(-time.Hour)), lineproto.NewEncoder(nodeName, true)
	var bufs [schema.Kinds][]byte
	at, waiting := int64(0), 0
	for i := range j.Points / j.Entries {
		var n [schema.Kinds]int
		bufs, n = enc.Append(bufs, src.next(new(event.Event)))
		if waiting += n[schema.History]; waiting < batchPoints && i < j.Points/j.Entries-1 {
			continue
		}
		if _, err := file.Write(bufs[schema.History]); err != nil {
			return r, err
		}
		at += int64(len(bufs[schema.History]))
		ends = append(ends, at)
		bufs[schema.History], waiting = bufs[schema.History][:0], 0
	}
	server, err := j.Login.address(j.URL)
	if err != nil {
		return r, err
	}
	r.Points = j.Points
	begin, cpu := time.Now(), harness.CPUTime()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, j.Posters)
	for p := range j.Posters {
		wg.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			var body []byte
			for errs[p] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(ends) {
					return
				}
				from := int64(0)
				if i > 0 {
					from = ends[i-1]
				}
				if n := int(ends[i] - from); n > cap(body) {
					body = make([]byte, n)
				}
				body = body[:ends[i]-from]
				if _, errs[p] = file.ReadAt(body, from); errs[p] == nil {
					errs[p] = post(c, server, body)
				}
			}
		})
	}
	wg.Wait()
	r.Seconds, r.CPU = time.Since(begin).Seconds(), harness.CPUTime()-cpu
	return r, errors.Join(errs...)
}

func post(c *http.Client, url string, body []byte) error {
	resp, err := c.Post(url+"/write?db="+client.DefaultDatabase+"&rp=history&precision=ns", "text/plain", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("%s: %s", resp.Status, said)
	}
	return err
}
