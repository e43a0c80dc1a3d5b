package delivery

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// The limits of the pace: what is just quick, just not slow, just half full, and how long a 413
// is remembered.
func TestPaceLimits(t *testing.T) {
	const timeout = 30 * time.Second
	quick, slow := timeout/quickPart, timeout/slowPart
	is := func(p *rateControl, points, posts int) {
		t.Helper()
		if a, b := p.now(); a != points || b != posts {
			t.Errorf("%d points, %d posts, want %d and %d", a, b, points, posts)
		}
	}
	for d, posts := range map[time.Duration]int{quick: 2, quick + 1: 1} {
		p := newRateControl(1000, 2, timeout)
		for range growAfter {
			p.took(1000, time.Now(), d)
		}
		is(p, 1000, posts)
	}
	for points, posts := range map[int]int{500: 2, 499: 1} {
		p := newRateControl(1000, 2, timeout)
		for range growAfter {
			p.took(points, time.Now(), 0)
		}
		is(p, 1000, posts)
	}
	for d, points := range map[time.Duration]int{slow: 1000, slow + 1: 750} {
		p := newRateControl(1000, 3, timeout)
		p.took(1000, time.Now(), d)
		is(p, points, 1)
	}

	// A slow answer costs one post, trouble half of them.
	p := newRateControl(1000, 5, timeout)
	for range 4 * growAfter {
		p.took(1000, time.Now(), 0)
	}
	is(p, 1000, 5)
	p.took(1000, time.Now(), slow+1)
	is(p, 750, 4)
	time.Sleep(time.Nanosecond)
	p.trouble(time.Now())
	is(p, 375, 2)

	// It takes quick answers in a row.
	p = newRateControl(1000, 2, timeout)
	for range 3 {
		for range growAfter - 1 {
			p.took(1000, time.Now(), 0)
		}
		p.took(1000, time.Now(), quick+1)
	}
	is(p, 1000, 1)

	p = newRateControl(1000, 1, timeout)
	p.tooLarge(601)
	is(p, 301, 1)
	p.tooLarge(1)
	is(p, 1, 1)
	p.tooLarge(400)
	for range forgetAfter - 1 {
		p.took(1, time.Now(), 0)
	}
	is(p, 200, 1)
	p.took(1, time.Now(), 0)
	is(p, 400, 1)
	for range forgetAfter - 1 {
		p.took(1, time.Now(), 0)
	}
	is(p, 400, 1)
	p.took(1, time.Now(), 0)
	is(p, 800, 1)
	for range 2 * forgetAfter {
		p.took(1, time.Now(), 0)
	}
	is(p, 1000, 1)

	// A post is half full of what a 413 left.
	p = newRateControl(1000, 2, timeout)
	p.tooLarge(400)
	for range growAfter {
		p.took(100, time.Now(), 0)
	}
	is(p, 200, 2)

	// An InfluxDB 3 answers once a second.
	p = newRateControl(1000, 2, timeout)
	p.serves(2000, timeout, true)
	is(p, 2000, 1)
	for range growAfter {
		p.took(2000, time.Now(), quick+flushEvery)
	}
	is(p, 2000, 2)
	p.took(2000, time.Now(), slow+flushEvery)
	is(p, 2000, 2)
	p.took(2000, time.Now(), slow+flushEvery+1)
	is(p, 1500, 1)
	p.serves(30, timeout, false) // fewer than the least
	is(p, 30, 1)
	p.trouble(time.Now())
	is(p, 30, 1)
}

// The queue in memory holds as many bytes as its bound, and joins up to the bounds of a batch.
func TestQueueLimits(t *testing.T) {
	dropped := 0
	q := newMemoryQueue(1000, 1, func(n int) { dropped += n })
	for i := 1; i <= 2; i++ {
		q.put(testBatch(schema.History, i, 500))
	}
	if points, size, _ := q.size(); dropped != 0 || points != 3 || size != 1000 {
		t.Errorf("%d dropped, %d points, %d bytes", dropped, points, size)
	}
	q.put(testBatch(schema.History, 4, 1))
	if points, size, _ := q.size(); dropped != 1 || points != 6 || size != 501 {
		t.Errorf("%d dropped, %d points, %d bytes", dropped, points, size)
	}

	f := func(points, bytes, batches int) {
		t.Helper()
		q := newMemoryQueue(1<<30, 100, func(int) { t.Error("dropped") })
		q.put(testBatch(schema.History, 40, maxBatchBytes/2))
		q.put(testBatch(schema.Totals, 1, 1))
		q.put(testBatch(schema.History, points, bytes))
		if len(q.list) != batches {
			t.Errorf("%d points and %d bytes: %d batches, want %d", points, bytes, len(q.list), batches)
		}
		sum, caps := 0, 0
		for _, b := range q.list {
			sum, caps = sum+b.points, caps+cap(b.buf)
		}
		if n, size, _ := q.size(); n != sum || size != caps || n != 41+points {
			t.Errorf("%d points, %d bytes; the batches have %d and %d", n, size, sum, caps)
		}
	}
	f(60, 1, 2)
	f(61, 1, 3)
	f(1, maxBatchBytes/2, 2)
	f(1, maxBatchBytes/2+1, 3)
}

// Batches that are joined are within the bound too, and make no batch that is large for the
// queue: for what is added to the last, few of the oldest are dropped.
func TestQueueLimitOfJoinedBatches(t *testing.T) {
	const bound = 16_000
	for _, posting := range []bool{false, true} {
		dropped, put := 0, 0
		q := newMemoryQueue(bound, 1000, func(n int) { dropped += n })
		if posting {
			put++
			q.put(testBatch(schema.History, 1, 90))
			if _, err := q.head(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 500 {
			put++
			q.put(testBatch(schema.Kind(i/3%2), 1, 90))
			held, size := 0, 0
			for _, b := range q.list {
				held, size = held+b.points, size+cap(b.buf)
				if len(b.buf) > bound/8 {
					t.Fatalf("a batch of %d bytes", len(b.buf))
				}
			}
			if points, bytes, _ := q.size(); bytes > bound || bytes != size || points != held || held+dropped != put {
				t.Fatalf("posting %v: %d bytes and %d points reported, %d and %d held, %d dropped of %d", posting, bytes, points, size, held, dropped, put)
			}
		}
		if dropped == 0 || put-dropped < bound/90/3 || len(q.list) > 30 {
			t.Errorf("posting %v: %d batches with %d of %d points", posting, len(q.list), put-dropped, put)
		}
	}
}

// What is set aside counts, and the oldest of all is reported.
func TestQueueAside(t *testing.T) {
	q := newMemoryQueue(1<<20, 1, func(int) { t.Error("dropped") })
	now := time.Now()
	for i := range 3 {
		b := testBatch(schema.History, 1<<i, 100)
		b.since = now.Add(time.Duration(i) * time.Second)
		q.put(b)
	}
	size := func(points, bytes int, oldest time.Duration) {
		t.Helper()
		if n, b, at := q.size(); n != points || b != bytes || !at.Equal(now.Add(oldest)) {
			t.Errorf("%d points, %d bytes since %v, want %d, %d, %v", n, b, at.Sub(now), points, bytes, oldest)
		}
	}
	head := func() *batch {
		t.Helper()
		b, err := q.head(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := head()
	q.aside(first)
	q.aside(first) // again: nothing
	size(7, 300, 0)
	second := head()
	q.aside(second)
	size(7, 300, 0)
	q.done(first)
	size(6, 200, time.Second)
	q.done(head())
	size(2, 100, time.Second)
	if lost := q.drain(); lost != 2 {
		t.Errorf("%d points lost, want 2", lost)
	}
}

// sized encodes each event as one point of history with so many bytes.
type sized struct {
	encoder
	bytes int
}

func (s sized) Append(bufs [schema.Kinds][]byte, _ *event.Event) (out [schema.Kinds][]byte, points [schema.Kinds]int) {
	bufs[schema.History] = append(bufs[schema.History], make([]byte, s.bytes)...)
	points[schema.History] = 1
	return bufs, points
}

// A batch is closed at 8 MiB.
func TestBatcherBytes(t *testing.T) {
	q := newMemoryQueue(1<<30, 1, func(int) { t.Error("dropped") })
	b := batcher{maxPoints: 100, queue: q}
	b.add(time.Now(), sized{bytes: maxBatchBytes - 1}, nil)
	if points, _, _ := q.size(); points != 0 {
		t.Errorf("%d points in the queue, a byte before the bound", points)
	}
	if n := b.add(time.Now(), sized{bytes: 1}, nil); n != 1 {
		t.Errorf("%d points, want 1", n)
	}
	if points, _, _ := q.size(); points != 2 || b.accepted[schema.History].Load() != 2 {
		t.Errorf("%d points in the queue at the bound", points)
	}
	if all := b.size(); all != [schema.Kinds]waiting{} {
		t.Errorf("%+v is open", all)
	}
}

// The file of rejected lines has at most 8 MiB, and the one before it is kept.
func TestRejectedFileLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", rejectedName)
	r := &rejects{path: path, to: "main"}
	size := func(name string) int64 {
		st, err := os.Stat(name)
		if err != nil {
			return -1
		}
		return st.Size()
	}
	write := func(bytes int) {
		t.Helper()
		if err := r.write(1, "no", make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(now, before int64) {
		t.Helper()
		if a, b := size(path), size(path+".1"); a != now || b != before {
			t.Errorf("%d and %d bytes, want %d and %d", a, b, now, before)
		}
	}
	write(0)
	head := size(path)
	write(int(maxRejected - 2*head))
	is(maxRejected, -1)
	write(0)
	is(head, maxRejected)
	r.close()
	r.close()
	write(int(maxRejected - 2*head - 1)) // the file of an earlier process is continued
	is(maxRejected-1, maxRejected)
	write(0)
	is(head, maxRejected-1)
	write(maxRejected) // more than a file may have: cut
	is(maxRejected, head)
	r.close()
	if err := os.Truncate(path, 2*maxRejected); err != nil {
		t.Fatal(err)
	}
	write(0) // an earlier version's, which had no bound: as a full one
	write(0)
	is(head, 2*maxRejected+head)
	r.close()
}

// How long the server asked to wait, within bounds.
func TestRetryAfterLimits(t *testing.T) {
	for text, want := range map[string]time.Duration{"1": time.Second, "0": 0, "-1": 0, "soon": 0, "": 0, "599": 599 * time.Second, "600": 10 * time.Minute,
		"601": 10 * time.Minute, "9223372036854775807": 10 * time.Minute, "92233720368547758070": 0} {
		if r := readReply(503, http.Header{"Retry-After": {text}}, nil); r.after != want {
			t.Errorf("%q: %v, want %v", text, r.after, want)
		}
	}
	for status, want := range map[int]bool{199: false, 200: true, 204: true, 299: true, 300: false} {
		if readReply(status, http.Header{}, nil).done() != want {
			t.Errorf("%d counts for stored: want %v", status, want)
		}
	}
	for status, want := range map[int]bool{399: false, 400: true, 500: true} {
		if readReply(status, http.Header{}, []byte("max request size exceeded")).tooLarge() != want {
			t.Errorf("%d counts for too large: want %v", status, want)
		}
		if readReply(status, http.Header{}, []byte("database not found")).missing() != want {
			t.Errorf("%d counts for missing: want %v", status, want)
		}
	}
	if readReply(399, http.Header{}, nil).suspects() || !readReply(402, http.Header{}, nil).suspects() {
		t.Error("only a refusal is about the points")
	}
	page := readReply(500, http.Header{}, []byte("<"+strings.Repeat("x", 500)))
	if text := page.err().Error(); !strings.HasSuffix(text, "right? <"+strings.Repeat("x", 199)) {
		t.Errorf("%d bytes of a page are shown: %s", len(text), text)
	}
}

// testWriter is a writer without a server.
func testWriter(t *testing.T) *writer {
	t.Helper()
	all, err := client.Config{URL: "http://127.0.0.1:1", Log: slog.New(slog.DiscardHandler)}.ResolveAll()
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(&all[0])
	w.job = &job{batch: newBatch(schema.History)}
	return w
}

// The strikes against a part: the second halves it, the tenth rejects a line; refusals without
// anything stored in between are none.
func TestStrikes(t *testing.T) {
	w := testWriter(t)
	no := readReply(500, http.Header{}, []byte("no"))
	p := part{lines: []byte("a\nb\nc\n"), points: 3}
	for i := range 3 { // nothing is stored meanwhile
		if w.suspect(&p, schema.History, no) || p.strikes != 0 {
			t.Errorf("refusal %d: %d strikes", i, p.strikes)
		}
	}
	w.site.taken[schema.Totals].Add(1) // of another kind
	if w.suspect(&p, schema.History, no) || p.strikes != 0 {
		t.Errorf("%d strikes", p.strikes)
	}
	w.site.taken[schema.History].Add(5)
	if w.suspect(&p, schema.History, no) || p.strikes != 1 {
		t.Errorf("%d strikes, want 1", p.strikes)
	}
	w.site.taken[schema.History].Add(1)
	if !w.suspect(&p, schema.History, no) || len(w.job.todo) != 2 {
		t.Fatalf("%d strikes, %d parts, want two", p.strikes, len(w.job.todo))
	}
	if a, b := w.job.todo[1], w.job.todo[0]; a.points != 1 || b.points != 2 || a.strikes != 1 || b.strikes != 1 || a.pair+b.pair != 0 || !a.failed {
		t.Errorf("%+v, %+v", a, b)
	}
	one := w.job.todo[1]
	for n := 2; n < strikesToReject; n++ {
		w.site.taken[schema.History].Add(1)
		if w.suspect(&one, schema.History, no) || one.strikes != n {
			t.Fatalf("%d strikes, want %d", one.strikes, n)
		}
	}
	w.site.taken[schema.History].Add(1)
	if !w.suspect(&one, schema.History, no) || w.rejected.Load() != 1 || w.stored.Load() != 0 || w.settled() != 1 || w.job.partly != 1 {
		t.Errorf("%d rejected", w.rejected.Load())
	}
}

// Of a partial write the listed lines are kept; if they are not listed they are searched for, if
// there are few; what the server does not say is searched for.
func TestSettlePart(t *testing.T) {
	lines := []byte("a 1\nb 2\nc 3\nd 4\ne 5\nf 6\ng 7\nh 8\ni 9\nj 10\n")
	f := func(points, refused int, list []refusedLine, keeps bool, rejected, stored, parts int) {
		t.Helper()
		w := testWriter(t)
		if keeps {
			w.rejects = &rejects{path: filepath.Join(t.TempDir(), rejectedName)}
			defer w.rejects.close()
		}
		at := 0
		for range points {
			at += strings.IndexByte(string(lines[at:]), '\n') + 1
		}
		w.settlePart(part{lines: lines[:at], points: points}, refused, reply{text: "partial write", listed: list})
		if int(w.rejected.Load()) != rejected || int(w.stored.Load()) != stored || len(w.job.todo) != parts || w.settled() != rejected+stored {
			t.Errorf("%d of %d refused: %d rejected, %d stored, %d parts", refused, points, w.rejected.Load(), w.stored.Load(), len(w.job.todo))
		}
		if want := uint64(min(stored, 1)); w.site.taken[schema.History].Load() != want {
			t.Errorf("%d of %d refused: %d posts with something stored, want %d", refused, points, w.site.taken[schema.History].Load(), want)
		}
	}
	f(10, maxSought, nil, true, 0, 0, 2)
	f(10, maxSought+1, nil, true, maxSought+1, 10-maxSought-1, 0)
	f(10, 1, nil, false, 1, 9, 0)
	f(10, 1, []refusedLine{{10, "j"}}, true, 1, 9, 0)
	f(10, 1, []refusedLine{{11, "j"}}, true, 0, 0, 2)
	f(10, 1, []refusedLine{{0, "j"}}, true, 0, 0, 2)
	f(10, 0, nil, true, 0, 10, 0)
	f(10, 10, nil, true, 10, 0, 0)
	f(10, -1, nil, true, 0, 0, 2)
	f(1, -1, nil, true, 1, 0, 0)
	f(2, -1, nil, true, 0, 0, 2)
	if got := pick([]byte("a,x=1 v=1 5\nb v=2\n"), []refusedLine{{1, "a,x=1 v=1.0 5"}, {2, "b"}}, 2); string(got) != "a,x=1 v=1 5\nb v=2\n" {
		t.Errorf("%q", got)
	}
	if got := pick([]byte("a v=1\nb v=2\n"), []refusedLine{{1, "a"}, {1, "a"}}, 2); got != nil {
		t.Errorf("a line is listed twice: %q", got)
	}
}

// The waits between retries: at least as long as the server asked for, and short at the end.
func TestWaitsOfAWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := testWriter(t)
		began := time.Now()
		if err := w.wait(t.Context(), 3*time.Minute); err != nil || time.Since(began) != 3*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ended := make(chan error, 1)
		began = time.Now()
		go func() { ended <- w.wait(t.Context(), time.Hour) }()
		time.Sleep(time.Second)
		w.hurry()
		w.hurry()
		if err := <-ended; err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v: want the wait to end", err, time.Since(began))
		}
		began = time.Now()
		if err := w.wait(t.Context(), time.Hour); err != nil || time.Since(began) != firstBackoff/2 {
			t.Errorf("%v after %v, want %v at the end", err, time.Since(began), firstBackoff/2)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := testWriter(t).wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A command ends when nothing was accepted for as long as it says.
func TestStuckFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := func(timeout, want time.Duration) {
			t.Helper()
			var s Stuck
			st := Stats{}
			st.Failing, st.Stored, st.LastError = true, 5, "no"
			check := func(ends bool) {
				t.Helper()
				if err := s.check(st, timeout); (err != nil) != ends {
					t.Errorf("%v, want an end: %v", err, ends)
				}
			}
			check(false)
			time.Sleep(want)
			check(false)
			time.Sleep(time.Nanosecond)
			check(true)
			st.Rejected++
			check(false)
			time.Sleep(want + 1)
			st.Failing = false
			check(false)
			st.Failing = true
			time.Sleep(want)
			check(false)
			time.Sleep(time.Nanosecond)
			if err := s.check(st, timeout); err == nil || !strings.Contains(err.Error(), "nothing for "+want.String()+": no") {
				t.Error(err)
			}
		}
		f(time.Second, 30*time.Second)
		f(15*time.Second, 30*time.Second)
		f(16*time.Second, 32*time.Second)
	})
}
