package derive

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

// running is a Deriver on its own bus, with the events that it published there.
type running struct {
	*Deriver
	bus    *bus.Bus
	reader *bus.Reader
	cancel context.CancelFunc
	done   chan error

	mu  sync.Mutex
	out []*event.Event
}

// run starts a Deriver. In a synctest bubble waiting costs no time.
func run(cfg Config, busCfg bus.Config) *running {
	r := &running{bus: bus.New(busCfg), done: make(chan error, 1)}
	r.Deriver = New(cfg, func(e *event.Event) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.out = append(r.out, e)
		return r.bus.Publish(e)
	})
	r.reader = r.bus.Subscribe("derive")
	r.bus.Live()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx, r.reader) }()
	return r
}

// end closes the reader, waits for Run, and closes the bus.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.reader.Close()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.cancel()
	r.bus.Close()
}

func (r *running) published(k event.Kind) (out []*event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.out {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

func TestRunSumsUpEachIntervalAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(Config{Interval: 10 * time.Second}, bus.Config{})
		for i := range 25 {
			e := wants(message(event.Received, 1, 0), event.WantHave, uint64(i))
			e.Time = time.Now().UnixNano()
			r.bus.Publish(e)
			time.Sleep(time.Second)
		}
		r.end(t)
		all := r.published(event.KindSummary)
		if len(all) != 3 {
			t.Fatalf("%d summaries", len(all))
		}
		var wants, seconds uint64
		for _, e := range all {
			wants += e.Summary.Codecs[0].N
			seconds += uint64(e.Summary.Interval.Round(time.Second) / time.Second)
			if e.Peer != "" || e.Seq == 0 || e.Summary.Missed != 0 {
				t.Errorf("%+v", e)
			}
		}
		if wants != 25 || seconds != 25 {
			t.Errorf("%d wants in %d s", wants, seconds)
		}
		if s := r.Stats(); s.Events != 25 || s.Wants != 25 || s.Refused != 0 || s.Held != 0 {
			t.Errorf("what was derived was counted itself: %+v", s)
		}
	})
}

// TestAnAnswerReadBeforeItsWant: events are sorted by their time, both when more follow
// and when none does.
func TestAnAnswerReadBeforeItsWant(t *testing.T) {
	for _, more := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := run(Config{HistoryLatency: true}, bus.Config{})
			now := time.Duration(time.Now().UnixNano() - start)
			r.bus.Publish(blocks(message(event.Received, 1, now+5*ms), 1))
			time.Sleep(20 * ms) // so that they are surely read separately: the bus wakes its readers for the first at once
			r.bus.Publish(wants(message(event.Sent, 1, now), event.WantBlock, 1))
			if more {
				r.bus.Publish(message(event.Received, 2, now+100*ms))
				time.Sleep(60 * ms)
			} else {
				time.Sleep(200 * ms)
			}
			if s := r.Stats(); s.Matched != 1 || s.Held != 0 && !more {
				t.Errorf("more %v: %+v", more, s)
			}
			if out := r.published(event.KindLatency); len(out) != 1 || out[0].Latency.Elapsed != 5*ms {
				t.Errorf("more %v: published %+v", more, out)
			}
			r.end(t)
		})
	}
}

// TestHoldEndsWithoutMoreEvents: what is held is counted as soon as no event came for Hold,
// also where others are read then; requests of the DHT are counted at once.
func TestHoldEndsWithoutMoreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hold = 2 * time.Second
		r := run(Config{Hold: hold}, bus.Config{})
		r.bus.Publish(message(event.Received, 1, 0))
		synctest.Wait()
		if s := r.Stats(); s.Events != 0 || s.Held != 1 {
			t.Errorf("at once: %+v", s)
		}
		time.Sleep(hold / 2)
		r.bus.Publish(&event.Event{Kind: event.KindSample, Sample: &event.Sample{}})
		r.bus.Publish(request(event.Received, 1, event.DHTFindNode, 1))
		r.bus.Publish(request(event.Sent, 1, event.DHTUnsent, 1))
		time.Sleep(hold / 2)
		r.bus.Publish(&event.Event{Kind: event.KindSample, Sample: &event.Sample{}})
		synctest.Wait()
		if s := r.Stats(); s.Events != 3 || s.Held != 0 {
			t.Errorf("after %v: %+v", hold, s)
		}
		r.end(t)
	})
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	d := quiet(Config{})
	for range 3 * maxHeldEvents {
		d.hold(message(event.Received, 1, 0))
		d.count(false)
	}
	if s := d.Stats(); s.Held > maxHeldEvents+1 || s.Events < maxHeldEvents {
		t.Errorf("%+v", s)
	}
	d.count(true)
	heavy := message(event.Received, 1, 0)
	heavy.Wants = make([]event.Want, event.MaxEntries)
	for range 1000 {
		d.hold(heavy)
		d.count(false)
	}
	if d.order.weight > maxHeldBytes+heavy.Weight() {
		t.Errorf("%d bytes held", d.order.weight)
	}
	d.count(true)
	if d.order.weight != 0 || d.order.len() != 0 {
		t.Errorf("%d bytes and %d events held by none", d.order.weight, d.order.len())
	}
}

func TestAClockSetBackDelaysNothing(t *testing.T) {
	d := quiet(Config{})
	d.hold(message(event.Received, 1, time.Hour))
	for i := range 100 {
		d.hold(message(event.Received, 1, time.Duration(i)*ms))
		d.count(false)
	}
	if s := d.Stats(); s.Held > 51 {
		t.Errorf("%+v", s)
	}
}

func TestMissedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Config{MaxEvents: 10})
		reader := b.Subscribe("derive")
		b.Live()
		for range 100 {
			b.Publish(message(event.Received, 1, 0))
		}
		var last *event.Summary
		var origins *event.Origins
		d := New(Config{}, func(e *event.Event) bool {
			if last = e.Summary; e.Origins != nil {
				origins = e.Origins
			}
			return false
		})
		b.Close()
		if err := d.Run(t.Context(), reader); err != nil {
			t.Error(err)
		}
		if s := d.Stats(); last == nil || last.Missed != 90 || s.Missed != 90 || s.Events != 10 || s.Refused != 2 || origins.Missed != 90 || origins.Sums[0].Messages != 10 {
			t.Errorf("%+v %+v %+v", last, origins, s)
		}
		if err := d.Run(t.Context(), reader); err == nil {
			t.Error("Run may be called twice")
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(Config{}, bus.Config{})
		e := wants(message(event.Received, 1, 0), event.WantHave, 1)
		r.bus.Publish(e)
		time.Sleep(10 * ms) // read, and held until they are sorted
		r.cancel()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if all := r.published(event.KindSummary); len(all) != 1 || len(all[0].Summary.TopCIDs) != 1 {
			t.Errorf("the last summary: %v", all)
		}
		r.reader.Close()
		r.bus.Close()
	})
}

// TestAPanicCostsOneEvent: an event that lacks a part that its kind promises, and a
// publish that panics.
func TestAPanicCostsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := guardtest.New()
		b := bus.New(bus.Config{})
		reader := b.Subscribe("derive")
		b.Live()
		d := New(Config{Logger: log}, func(e *event.Event) bool { panic("publish") })
		done := make(chan error)
		go func() { done <- d.Run(t.Context(), reader) }()
		for range 5 {
			b.Publish(&event.Event{Kind: event.KindIdentify, Time: start}) // no Identify
			b.Publish(wants(message(event.Received, 1, 0), event.WantHave, 1))
		}
		time.Sleep(time.Second)
		b.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := d.Stats(); s.Panics != 7 || s.Wants != 5 || s.Refused != 2 {
			t.Errorf("%+v", s)
		}
		lines.Once(t, "derive: count an event", "derive.(*Deriver).event(")
		lines.Once(t, "derive: publish a derived event", "derive.(*Deriver).send")
	})
}

// TestAPanicWhileAnIntervalIsSummedUp loses that summary; the next one is published.
func TestAPanicWhileAnIntervalIsSummedUp(t *testing.T) {
	log, lines := guardtest.New()
	d := quiet(Config{})
	d.guard.Log = log
	for range 2 {
		d.now.uniqueCIDs[event.Received] = nil
		d.summarize(time.Unix(0, start))
	}
	if n := d.Stats().Panics; n != 2 {
		t.Errorf("%d panics, want 2", n)
	}
	lines.Once(t, "derive: sum up an interval", "derive.(*Deriver).summarize")
	d.summarize(time.Unix(0, start))
	if len(d.out) != 1 || d.out[0].Kind != event.KindSummary {
		t.Errorf("after it: %v, want one summary", d.out)
	}
}

func TestLatencyEventsAreLimitedAndOptional(t *testing.T) {
	answerAll := func(cfg Config) *Deriver {
		d := quiet(cfg)
		for i := range 2 * 100 {
			at := time.Duration(i) * 10 * ms // two seconds
			d.feed(wants(message(event.Received, 1, at), event.WantHave, uint64(i)))
			d.feed(presences(message(event.Sent, 1, at+ms), event.DontHave, uint64(i)))
		}
		return d
	}
	d := answerAll(Config{HistoryLatency: true, MaxLatencies: 30})
	if s := d.Stats(); s.Latencies != 60 || s.LatenciesHeld != 140 || s.Matched != 200 || len(d.out) != 60 {
		t.Errorf("%+v", s)
	}
	if d = answerAll(Config{}); len(d.out) != 0 || d.cut().Latency[event.Received][event.AnswerDontHave].Count != 200 {
		t.Errorf("%d events without HistoryLatency", len(d.out))
	}
}

// TestLatencyEventsAreLimitedOutOfOrder: requests that failed end later than they are
// counted, and an answer may come late; a second has no more events for it.
func TestLatencyEventsAreLimitedOutOfOrder(t *testing.T) {
	d := quiet(Config{HistoryLatency: true, MaxLatencies: 3})
	for i := range 50 {
		d.feed(wants(message(event.Received, 1, ms), event.WantHave, uint64(i)))
		d.feed(presences(message(event.Sent, 1, ms), event.DontHave, uint64(i)))
		failed := wants(web(message(event.Sent, 1, 2*ms)), event.WantBlock, uint64(i))
		failed.Kind, failed.Took, failed.SendError = event.KindSendError, 5*time.Second, &event.SendError{Class: "timeout", Wants: 1}
		d.feed(failed)
		d.feed(wants(message(event.Received, 1, -ms), event.WantHave, uint64(100+i)))
		d.feed(presences(message(event.Sent, 1, -ms), event.DontHave, uint64(100+i)))
	}
	if s := d.Stats(); s.Latencies != 3 || len(d.out) != 3 {
		t.Errorf("%d events of single answers in a second, want 3", s.Latencies)
	}
}

func TestTop(t *testing.T) {
	d := quiet(Config{TopN: 5})
	for i := range 10 {
		for j := range i + 1 {
			d.feed(wants(message(event.Received, j, 0), event.WantHave, uint64(i)))
		}
	}
	got, err := d.Top("cids", 3)
	if err != nil || len(got.Running.CIDs) != 3 || got.Running.CIDs[0].CID != testCID(9) || got.Running.CIDsByPeers[0].Peers != 10 ||
		got.Running.Peers != nil || got.Last.Seconds != 0 || len(got.Last.CIDs) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	d.cut()
	got, err = d.Top("peers", 100)
	if err != nil || len(got.Last.Peers) != 5 || got.Last.Peers[0].Peer != testPeer(0) || got.Last.Peers[0].Wants != 10 ||
		len(got.Running.Peers) != 0 || got.Last.CIDs != nil || got.Last.Until.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = d.Top("cids", 0); err != nil || len(got.Last.CIDs) != 5 || len(got.Last.CIDsByPeers) != 5 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err = d.Top("agents", 1); err == nil || !strings.Contains(err.Error(), "want cids or peers") {
		t.Errorf("err = %v", err)
	}
}

// TestStatsAndTopWhileRunning is for the race detector.
func TestStatsAndTopWhileRunning(t *testing.T) {
	r := run(Config{Interval: 5 * ms, Hold: ms, HistoryLatency: true}, bus.Config{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 50 {
				r.Stats()
				for _, kind := range []string{TopKindCIDs, TopKindPeers} {
					if _, err := r.Top(kind, 10); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(ms)
			}
		})
	}
	for i := range 2000 {
		now := time.Duration(time.Now().UnixNano() - start)
		r.bus.Publish(wants(message(event.Received, i%10, now), event.WantBlock, uint64(i)))
		r.bus.Publish(blocks(message(event.Sent, i%10, now+1), uint64(i)))
	}
	wg.Wait()
	for deadline := time.Now().Add(time.Minute); r.Stats().Events < 4000 && time.Now().Before(deadline); {
		time.Sleep(ms) // end closes the reader, which drops what it has not read
	}
	r.end(t)
	if s := r.Stats(); s.Matched != 2000 || s.Panics != 0 || int(s.Latencies) != len(r.published(event.KindLatency))+len(r.published(event.KindRetrieval)) {
		t.Errorf("%+v", s)
	}
}
