package delivery

import (
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
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/spool"
)

// testDestination is a destination that was not started.
func testDestination(t *testing.T, cfg client.Config) *destination {
	t.Helper()
	cfg.URL, cfg.Log = "http://127.0.0.1:1", slog.New(slog.DiscardHandler)
	all, err := cfg.ResolveAll()
	if err != nil {
		t.Fatal(err)
	}
	o, err := newDestination(all[0], lineproto.NewEncoder("n", true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	return o
}

// How many requests a destination may make, how long it waits at the end, and its figures, with
// the queue in memory, on disk, and on a disk that fails.
func TestFiguresOfADestination(t *testing.T) {
	failing := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(failing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	for _, c := range []struct {
		dir      string
		writers  int
		patience time.Duration
	}{{client.InMemory, 1, closeTimeout}, {disk, 5, closeTimeout / 5}, {filepath.Join(failing, "spool"), 5, closeTimeout * 4 / 5}} {
		o := testDestination(t, client.Config{SpoolDir: c.dir, Concurrency: 5, BatchSize: 1000, Timeout: "30s"})
		if len(o.writers) != c.writers || o.rate.mostPosts != max(1, c.writers-1) || o.patience() != c.patience {
			t.Errorf("%s: %d writers, %d for the backlog, %v at the end; want %d, %v", c.dir, len(o.writers), o.rate.mostPosts, o.patience(), c.writers, c.patience)
		}
		var accepted [schema.Kinds]uint64
		accepted[schema.History], accepted[schema.Totals] = 100, 20
		now := time.Now()
		open := [schema.Kinds]waiting{schema.History: {7, 70, now.Add(-time.Hour)}, schema.Totals: {0, 0, now.Add(-2 * time.Hour)}}
		o.writers[0].partly.Add(2)
		d := o.delivery(accepted, 3, open)
		if d.Queued != 5 || d.Requests != uint64(min(c.writers, 2)) || d.LagSeconds < 3599 || d.LagSeconds > 3700 || d.BatchSize != 1000 {
			t.Errorf("%s: %+v", c.dir, d)
		}
		o.set.KeepsHistory, o.set.KeepsRollups = false, true
		if o.takes(schema.History) || !o.takes(schema.Totals) {
			t.Errorf("%s: history is not kept, and totals are", c.dir)
		}
		if d = o.delivery(accepted, 3, open); d.Accepted != 23 || d.Queued != 0 || d.LagSeconds != 0 {
			t.Errorf("%s, without history: %+v", c.dir, d)
		}
		quick := o.rate.quick
		o.serves(1)
		if o.rate.quick != quick {
			t.Error("InfluxDB 1 answers at once")
		}
		o.serves(3)
		if o.rate.quick != quick+flushEvery {
			t.Error("InfluxDB 3 answers once a second")
		}
	}

	o := testDestination(t, client.Config{SpoolDir: t.TempDir()})
	o.queue.put(testBatch(schema.History, 5, 1000))
	influxtest.WaitFor(t, "the disk has it", func() bool { return o.disk.Stats().Disk > 0 })
	if d := o.delivery([schema.Kinds]uint64{}, 0, [schema.Kinds]waiting{}); d.SpoolFull != float64(d.SpoolBytes)/float64(spool.DefaultMaxBytes) || d.SpoolFull <= 0 || d.SpoolFull > 1e-3 {
		t.Errorf("%v of the disk's bound is in use, %d bytes", d.SpoolFull, d.SpoolBytes)
	}
}

// Batches of a kind that only a later version knows stay on disk, and others do not wait for them.
func TestKindsOfALaterVersion(t *testing.T) {
	o := testDestination(t, client.Config{SpoolDir: t.TempDir()})
	for kind := schema.Kinds + 1; kind > 0; kind-- {
		o.queue.put(testBatch(kind-1, int(kind), 10))
	}
	o.queue.seal()
	for want := schema.Kinds; want > 0; want-- {
		b, err := o.queue.head(t.Context(), spool.Fresh)
		if err != nil || b.kind != want-1 || b.points != int(want) {
			t.Fatalf("%+v, %v; want a batch of kind %d", b, err, want-1)
		}
		o.queue.done(b)
	}
	if points, _, _ := o.queue.size(); points != int(schema.Kinds)+1 {
		t.Errorf("%d points stay", points)
	}
}

// What a drain cannot do is said before anything is opened.
func TestDrainNeedsASpoolAndAServer(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		cfg  client.Config
		want string
	}{
		{client.Config{}, "SpoolDir is not set"},
		{client.Config{SpoolDir: client.InMemory}, "SpoolDir is not set"},
		{client.Config{SpoolDir: dir, Also: make([]client.Destination, 1)}, "several destinations"},
		{client.Config{SpoolDir: dir, URL: "ftp://x"}, "ftp"},
		{client.Config{SpoolDir: dir, URL: "stdout:"}, "does not name a server"},
	} {
		if _, err := Drain(t.Context(), c.cfg, func(Stats) {}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.want)
		}
	}
	cfg := client.Config{URL: "http://127.0.0.1:1", SpoolDir: dir, Log: slog.New(slog.DiscardHandler)}
	if st, err := Drain(t.Context(), cfg, func(Stats) {}); err != nil || st.Queued != 0 {
		t.Errorf("an empty spool: %v", err)
	}
}

// The batcher writes the sums of what is over as a batch of their own, and none of what is not.
func TestBatcherOfSums(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 30, 0, time.UTC)
	var got []*batch
	enc, sums := lineproto.NewEncoder("n", true), rollup.New(now)
	enc.SetRollups(sums)
	b := batcher{maxPoints: 1000, queue: putter(func(b *batch) { got = append(got, b) }), sums: sums, unsaved: func(err error) { t.Error(err) },
		oldest: func() time.Time { return time.Time{} }}
	b.flush(now)
	if len(got) != 0 {
		t.Fatalf("%d batches of nothing", len(got))
	}
	b.add(now, enc, &event.Event{Kind: event.KindMessage, Time: now.UnixNano(), Wants: []event.Want{{CID: influxtest.CID(1)}}})
	b.flush(now)
	if len(got) != 1 || got[0].sums || b.summed.Load() != 0 {
		t.Fatalf("%d batches before the minute is over", len(got))
	}
	b.flush(now.Add(10 * time.Minute))
	if len(got) != 2 || !got[1].sums || got[1].kind != schema.Totals || got[1].points == 0 || b.summed.Load() != uint64(got[1].points) ||
		strings.Count(string(got[1].buf), "\n") != got[1].points || !got[1].since.Equal(now.Add(10*time.Minute)) {
		t.Fatalf("%d batches after the minute, %d points of sums", len(got), b.summed.Load())
	}
	if open := b.size(); open != [schema.Kinds]waiting{} {
		t.Errorf("%+v is open", open)
	}
}

type putter func(*batch)

func (p putter) put(b *batch) { p(b) }

// What an answer says of the points: all numbers, the message of the first line that is listed,
// and a success that lists lines.
func TestWhatAnAnswerSays(t *testing.T) {
	r := readReply(400, http.Header{}, []byte(`{"error":"partial write: a dropped=1, b dropped=5, c dropped=3"}`))
	if n, ok := r.partial(10); n != 5 || !ok {
		t.Errorf("%d refused, %v", n, ok)
	}
	r = readReply(200, http.Header{}, []byte(`{"error":"x","data":[{"original_line":"a","line_number":1,"error_message":"first"},{"original_line":"b","line_number":2,"error_message":"second"}]}`))
	if n, ok := r.partial(10); n != 2 || !ok || !strings.Contains(r.text, ": first") || strings.Contains(r.text, "second") {
		t.Errorf("%d refused, %v: %s", n, ok, r.text)
	}
	r = readReply(400, http.Header{}, []byte(`{"error":"x","data":[{"original_line":"a","line_number":1},{"original_line":"b","line_number":2,"error_message":"second"}]}`))
	if strings.Contains(r.text, ": ") {
		t.Errorf("%q", r.text)
	}
	for _, status := range []int{200, 300, 500} {
		if n, ok := readReply(status, http.Header{}, []byte(`{"error":"no"}`)).partial(10); ok {
			t.Errorf("%d: %d refused", status, n)
		}
	}
	if _, ok := readReply(300, http.Header{}, []byte(`{"error":"no","data":[{"line_number":1}]}`)).partial(10); ok {
		t.Error("300 is no success")
	}
}

// A point that is stored and one that is rejected are both a progress, and so are both together.
func TestStuckCountsStoredAndRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stuck
		st := Stats{}
		st.Failing = true
		for range 5 {
			if err := s.check(st, time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(stuckAfter)
			st.Stored++
			st.Rejected++
		}
	})
}

// A line of an open tag that is refused keeps all others of its tags; a line without tags, or in
// another form, stays.
func TestRegroupLines(t *testing.T) {
	var f tagCap
	f.add(tagValue{"agent_versions", "agent", "b"})
	for line, same := range map[string]bool{
		"agent_versions,agent=b peers=1i 100\n": false, "agent_versions,node=n,agent=b peers=1i 100\n": false, "agent_versions,agent=b,node=n peers=1i 100\n": false,
		"agent_versions peers=1i 100\n": true, "agent_versions,node=b peers=1i 100\n": true, "agent_versions,agent=b peers=1i x\n": true, "other,agent=b peers=1i 100\n": true,
	} {
		got, n := f.regroup([]byte(line))
		if same != (string(got) == line) || same != (n == 0) {
			t.Errorf("%s became %s", line, got)
		}
		if want, _, _ := strings.Cut(strings.Replace(line, "agent=b", "agent=others", 1), "100"); !same && !strings.HasPrefix(string(got), want) {
			t.Errorf("%s became %s", line, got)
		}
	}
}
