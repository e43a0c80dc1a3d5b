package delivery

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

func testBatch(kind schema.Kind, points, size int) *batch {
	b := newBatch(kind)
	b.buf = append(make([]byte, 0, size), bytes.Repeat([]byte{'x'}, size)...)
	b.points = points
	b.since = time.Now()
	return b
}

// A full queue drops the oldest batch that is not being posted, and counts it.
func TestQueueDropsOldest(t *testing.T) {
	dropped := 0
	q := newMemoryQueue(1000, 1, func(n int) { dropped += n })
	for i := 1; i <= 3; i++ {
		q.put(testBatch(schema.History, i, 300))
	}
	first, err := q.head(t.Context(), 0)
	if err != nil || first.points != 1 {
		t.Fatalf("head %+v, %v; want the first", first, err)
	}
	q.put(testBatch(schema.Totals, 10, 300)) // 2 goes, 1 is being posted
	if dropped != 2 {
		t.Errorf("%d points dropped, want 2", dropped)
	}
	q.put(testBatch(schema.History, 20, 5000)) // larger than the queue: all but 1 goes
	if points, _, _ := q.size(); dropped != 2+3+10 || points != 1+20 {
		t.Errorf("%d points dropped and %d held, want 15 and 21", dropped, points)
	}
	q.done(first)
	if b, err := q.head(t.Context(), 0); err != nil || b.points != 20 {
		t.Errorf("then %+v, %v; want 20 points", b, err)
	}
	if left := q.drain(); left != 20 {
		t.Errorf("%d points left, want 20", left)
	}
	if points, size, oldest := q.size(); points != 0 || size != 0 || !oldest.IsZero() {
		t.Errorf("after drain: %d points, %d bytes, %v", points, size, oldest)
	}
}

// Small waiting batches of a kind are joined, so that an hour of a quiet stream is not
// thousands of requests.
func TestQueueJoins(t *testing.T) {
	q := newMemoryQueue(1<<20, 100, func(int) { t.Error("dropped") })
	q.put(testBatch(schema.History, 1, 10))
	if _, err := q.head(t.Context(), 0); err != nil { // in work: must not change
		t.Fatal(err)
	}
	for range 150 {
		q.put(testBatch(schema.History, 1, 10))
		q.put(testBatch(schema.Totals, 1, 10))
	}
	q.seal()
	var got []int
	for {
		b, err := q.head(t.Context(), 0)
		if errors.Is(err, errDrained) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b.buf) != 10*b.points {
			t.Errorf("%d bytes for %d points", len(b.buf), b.points)
		}
		got = append(got, b.points)
		q.done(b)
	}
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum != 301 || len(got) != 5 || got[0] != 1 {
		t.Errorf("batches of %v points, want 1 and then four with 300 together", got)
	}
}

func TestQueueHeadEnds(t *testing.T) {
	q := newMemoryQueue(1000, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := q.head(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("head of an empty queue: %v", err)
	}
	q.seal()
	if _, err := q.head(t.Context(), 0); !errors.Is(err, errDrained) {
		t.Errorf("head of a sealed queue: %v", err)
	}
}

// A batch is closed at BatchSize points, other kinds stay open until flush.
func TestBatcher(t *testing.T) {
	q := newMemoryQueue(1<<20, 100, func(int) { t.Error("dropped") })
	b := batcher{maxPoints: 100, queue: q}
	e := lineproto.NewEncoder("n", true)
	want := &event.Event{Kind: event.KindMessage, Wants: []event.Want{{CID: influxtest.CID(1)}, {CID: influxtest.CID(2)}}}
	for range 49 {
		b.add(time.Now(), e, want)
	}
	sample := b.add(time.Now(), e, &event.Event{Kind: event.KindSample, Sample: &event.Sample{}})
	if points, _, _ := q.size(); points != 0 {
		t.Errorf("%d points in the queue before the batch is full", points)
	}
	b.add(time.Now(), e, want)
	if points, _, _ := q.size(); points != 100 {
		t.Errorf("%d points in the queue after the batch is full, want 100", points)
	}
	if open := b.size()[schema.Totals]; open.points != sample || open.oldest.IsZero() {
		t.Errorf("%d points open since %v, want the sample's %d", open.points, open.oldest, sample)
	}
	b.flush(time.Now())
	b.flush(time.Now())
	if points, _, _ := q.size(); points != 100+sample {
		t.Errorf("%d points in the queue after flush, want %d", points, 100+sample)
	}
}
