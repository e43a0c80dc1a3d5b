package bus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func publish(b *Bus, n int) {
	for range n {
		b.Publish(&event.Event{Kind: event.KindMessage})
	}
}

// drain reads until want events were read or missed, and checks that Seq has no gaps
// except the reported ones.
func drain(t *testing.T, r *Reader, want uint64) (read, missed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	buf := make([]*event.Event, 64)
	var last uint64
	for read+missed < want {
		n, m, err := r.Next(ctx, buf)
		if err != nil {
			t.Fatalf("after %d read and %d missed of %d: %v", read, missed, want, err)
		}
		last += m
		for _, e := range buf[:n] {
			if last++; e.Seq != last {
				t.Fatalf("Seq %d, want %d", e.Seq, last)
			}
		}
		read += uint64(n)
		missed += m
	}
	return read, missed
}

func TestEverythingInOrderToEveryReader(t *testing.T) {
	b := New(Config{})
	publish(b, 10) // before any reader
	var wg sync.WaitGroup
	for range 4 {
		r := b.Subscribe("r")
		wg.Go(func() {
			if read, missed := drain(t, r, 10_010); read != 10_010 || missed != 0 {
				t.Errorf("read %d, missed %d", read, missed)
			}
		})
	}
	b.Live()
	publish(b, 10_000)
	wg.Wait()
	if s := b.Stats(); s.Held != 0 || s.Published != 10_010 {
		t.Errorf("after all have read: %+v", s)
	}
	b.Close()
}

func TestAStalledReaderMissesAndIsTold(t *testing.T) {
	b := New(Config{MaxEvents: 100})
	defer b.Close()
	slow, fast := b.Subscribe("slow"), b.Subscribe("fast")
	b.Live()
	for range 100 {
		publish(b, 10)
		if _, missed := drain1(t, fast, 10); missed != 0 {
			t.Fatalf("the fast reader missed %d", missed)
		}
	}
	s := b.Stats()
	if s.Readers[0].Missed != 900 || s.Readers[0].Behind != 100 || s.Held != 100 {
		t.Errorf("stats before it reads: %+v", s)
	}
	if read, missed := drain(t, slow, 1000); read != 100 || missed != 900 {
		t.Errorf("the slow reader read %d and missed %d", read, missed)
	}
}

// drain1 reads n events without looking at Seq.
func drain1(t *testing.T, r *Reader, n int) (read int, missed uint64) {
	t.Helper()
	buf := make([]*event.Event, n)
	for read < n {
		k, m, err := r.Next(context.Background(), buf)
		if err != nil {
			t.Fatal(err)
		}
		read += k
		missed += m
	}
	return read, missed
}

func TestWeightBoundsTheQueue(t *testing.T) {
	heavy := &event.Event{Wants: make([]event.Want, event.MaxEntries)}
	b := New(Config{MaxEvents: 1000, MaxBytes: 10 * heavy.Weight()})
	defer b.Close()
	for range 50 {
		b.Publish(&event.Event{Wants: heavy.Wants})
	}
	if s := b.Stats(); s.Held != 10 || s.Bytes != 10*heavy.Weight() {
		t.Errorf("%+v", s)
	}
	// One event above the whole bound is still carried, alone.
	b.Publish(&event.Event{Wants: make([]event.Want, 20*event.MaxEntries)})
	if s := b.Stats(); s.Held != 1 {
		t.Errorf("%+v", s)
	}
}

func TestWithoutReadersNothingIsHeldOnceLive(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	publish(b, 5)
	b.Live()
	publish(b, 5)
	if s := b.Stats(); s.Held != 0 || s.Bytes != 0 || s.Published != 10 {
		t.Errorf("%+v", s)
	}
}

func TestCloseDeliversWhatIsHeld(t *testing.T) {
	b := New(Config{})
	r := b.Subscribe("r")
	publish(b, 3)
	b.Close()
	b.Close()
	if b.Publish(&event.Event{}) {
		t.Error("a closed bus accepted an event")
	}
	if read, _ := drain(t, r, 3); read != 3 {
		t.Errorf("read %d", read)
	}
	if _, _, err := r.Next(context.Background(), make([]*event.Event, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v", err)
	}
}

func TestNextEndsWithItsContextOrReader(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	r := b.Subscribe("r")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := r.Next(ctx, make([]*event.Event, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	time.AfterFunc(10*time.Millisecond, r.Close)
	if _, _, err := r.Next(context.Background(), make([]*event.Event, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v", err)
	}
	r.Close()
}

func TestManyWritersAndReaders(t *testing.T) {
	const writers, each = 8, 5000
	b := New(Config{MaxEvents: 256})
	var wg sync.WaitGroup
	for range 4 {
		r := b.Subscribe("r")
		wg.Go(func() { drain(t, r, writers*each) })
	}
	b.Live()
	for range writers {
		wg.Go(func() { publish(b, each) })
	}
	wg.Wait()
	b.Close()
}

func TestPublishDoesNotAllocate(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	r := b.Subscribe("stalled")
	defer r.Close()
	e := &event.Event{Kind: event.KindMessage}
	b.Publish(e)
	if n := testing.AllocsPerRun(1000, func() { b.Publish(e) }); n != 0 {
		t.Errorf("Publish allocates %v times", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	bb := New(Config{})
	defer bb.Close()
	e := &event.Event{Kind: event.KindMessage}
	for b.Loop() {
		bb.Publish(e)
	}
}

// odd drops every event with an even Seq and renames the others.
func odd(e *event.Event) *event.Event {
	if e.Seq%2 == 0 {
		return nil
	}
	return &event.Event{Kind: event.KindLatency, Time: int64(e.Seq)}
}

func TestMap(t *testing.T) {
	b := New(Config{MaxEvents: 100})
	r, plain := b.Subscribe("mapped"), b.Subscribe("plain")
	r.Map(odd)
	b.Live()
	publish(b, 150) // 50 are lost
	buf := make([]*event.Event, 7)
	last, lost, read := uint64(0), uint64(0), 0
	for last != 149 {
		n, missed, err := r.Next(t.Context(), buf)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		lost += missed
		read += n
		for _, e := range buf[:n] {
			if e.Seq%2 == 0 || e.Seq <= last || e.Kind != event.KindLatency || e.Time != int64(e.Seq) {
				t.Fatalf("%+v after %d", e, last)
			}
			last = e.Seq
		}
		for _, e := range buf[n:] {
			if e != nil && e.Kind != event.KindLatency {
				t.Fatal("an event that Map dropped is in the buffer")
			}
		}
	}
	if lost != 50 || read != 50 {
		t.Fatalf("lost %d, read %d", lost, read)
	}
	if read, missed := drain(t, plain, 150); read != 100 || missed != 50 {
		t.Fatalf("the other reader: read %d, missed %d", read, missed)
	}
	b.Close()
	if n, missed, err := r.Next(t.Context(), buf); n != 0 || missed != 0 || err != ErrClosed {
		t.Fatal(n, missed, err)
	}
}

// TestMapLeavesOutEverything: events that are lost before others that Map drops are
// reported with the next event that Map keeps, and Next waits for that event.
func TestMapLeavesOutEverything(t *testing.T) {
	b := New(Config{MaxEvents: 10})
	r := b.Subscribe("r")
	r.Map(func(e *event.Event) *event.Event {
		if e.Kind == event.KindSample {
			return e
		}
		return nil
	})
	b.Live()
	publish(b, 30) // 20 are lost
	type result struct {
		n      int
		missed uint64
		err    error
	}
	got := make(chan result)
	buf := make([]*event.Event, 4)
	next := func(ctx context.Context) {
		n, missed, err := r.Next(ctx, buf)
		got <- result{n, missed, err}
	}
	impatient, giveUp := context.WithCancel(t.Context())
	go next(impatient)
	for b.Stats().Readers[0].Behind > 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case g := <-got:
		t.Fatalf("Next did not wait: %+v", g)
	case <-time.After(20 * time.Millisecond):
	}
	// A reader that stops waiting and returns learns how many events it missed.
	giveUp()
	if g := <-got; g.n != 0 || g.missed != 0 || g.err != context.Canceled {
		t.Fatalf("%+v", g)
	}
	go next(t.Context())
	sample := &event.Event{Kind: event.KindSample}
	b.Publish(sample)
	if g := <-got; g.n != 1 || g.missed != 20 || g.err != nil || buf[0].Kind != event.KindSample || buf[0].Seq != 31 || sample.Seq != 31 {
		t.Fatalf("%+v", g)
	}
	for _, e := range buf[1:] {
		if e != nil {
			t.Fatalf("an event that Map dropped is in the buffer: %+v", e)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	go next(ctx)
	publish(b, 3)
	cancel()
	if g := <-got; g.n != 0 || g.err != context.Canceled {
		t.Fatalf("%+v", g)
	}
	publish(b, 3)
	go next(t.Context())
	b.Close()
	if g := <-got; g.n != 0 || g.err != ErrClosed {
		t.Fatalf("%+v", g)
	}
}

// TestMapPanics: the panic reaches the caller of Next, and the buffer holds no event that
// Map did not change.
func TestMapPanics(t *testing.T) {
	b := New(Config{})
	r := b.Subscribe("r")
	r.Map(func(e *event.Event) *event.Event {
		if e.Seq == 3 {
			panic("no")
		}
		return &event.Event{Kind: event.KindLatency}
	})
	publish(b, 5)
	buf := make([]*event.Event, 5)
	func() {
		defer func() {
			if recover() != "no" {
				t.Error("no panic")
			}
		}()
		_, _, _ = r.Next(t.Context(), buf)
	}()
	for i, e := range buf {
		if e != nil && e.Kind != event.KindLatency {
			t.Errorf("%d: %+v", i, e)
		}
	}
	publish(b, 1)
	if n, _, err := r.Next(t.Context(), buf); n != 1 || err != nil || buf[0].Seq != 6 {
		t.Fatal(n, err)
	}
	b.Close()
}

// TestSpareEventsAreTheReadersUntilItsNextNext publishes spare events for readers of
// different speed: what a reader holds must not change until its next call of Next.
func TestSpareEventsAreTheReadersUntilItsNextNext(t *testing.T) {
	const n = 50_000
	b := New(Config{MaxEvents: 128})
	var wg sync.WaitGroup
	for i := range 3 {
		r := b.Subscribe("r")
		wg.Go(func() {
			buf := make([]*event.Event, 1+i*20)
			for seen := uint64(0); seen < n; {
				k, missed, err := r.Next(t.Context(), buf)
				if err != nil {
					t.Error(err)
					return
				}
				if i == 1 && seen%1000 < 10 {
					time.Sleep(time.Millisecond) // long enough to be overtaken
				}
				for _, e := range buf[:k] {
					if e.Time != int64(e.Seq) || len(e.Wants) != int(e.Seq%20) {
						t.Errorf("event %d was overwritten: time %d, %d wants", e.Seq, e.Time, len(e.Wants))
						return
					}
					for _, w := range e.Wants {
						if int64(w.Priority) != e.Time {
							t.Errorf("event %d has a want of event %d", e.Seq, w.Priority)
							return
						}
					}
				}
				seen += uint64(k) + missed
			}
		})
	}
	b.Live()
	var buf [8]*event.Event
	for seq := int64(1); seq <= n; {
		b.Spare(buf[:])
		for _, e := range buf {
			e.Time, e.Wants = seq, e.Wants[:0]
			for range seq % 20 {
				e.Wants = append(e.Wants, event.Want{Priority: int32(seq)})
			}
			b.PublishSpare(e)
			seq++
		}
	}
	wg.Wait()
	b.Close()
}

// TestAClosedReaderKeepsItsEvents closes readers while they look at a batch.
func TestAClosedReaderKeepsItsEvents(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	b.Live()
	var buf [4]*event.Event
	for range 100 {
		r := b.Subscribe("short-lived")
		b.Spare(buf[:])
		for i, e := range buf {
			e.Time = int64(1000 + i)
			b.PublishSpare(e)
		}
		got := make([]*event.Event, 4)
		k, _, err := r.Next(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		other := b.Subscribe("other")
		b.Spare(buf[:])
		for _, e := range buf {
			e.Time = -1
			b.PublishSpare(e)
		}
		for i, e := range got[:k] {
			if e.Time != int64(1000+i) {
				t.Fatalf("the event that the reader holds was overwritten: its time is %d", e.Time)
			}
		}
		other.Close()
	}
}

// TestLongListsAreNotKept publishes events with many entries and no reader: Spare must
// return none of them with its list.
func TestLongListsAreNotKept(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	b.Live()
	f := func(entries int, comesBack bool) {
		t.Helper()
		var buf [1]*event.Event
		b.Spare(buf[:])
		sent := buf[0]
		sent.Wants = make([]event.Want, entries)
		b.PublishSpare(sent)
		b.Spare(buf[:])
		if (buf[0] == sent) != comesBack {
			t.Errorf("an event of %d entries is used again: %v, want %v", entries, !comesBack, comesBack)
		}
	}
	f(1, true)
	f(64, true)
	f(65, false)
	f(event.MaxEntries, false)
}
