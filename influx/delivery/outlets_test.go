package delivery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// sentTo is a connection that keeps what is sent.
type sentTo struct {
	net.Conn
	sent []string
}

func (s *sentTo) Write(b []byte) (int, error) {
	s.sent = append(s.sent, string(b))
	return len(b), nil
}

// testOutlet returns what an outlet needs, and its log.
func testOutlet() (*unacked, *bytes.Buffer) {
	var log bytes.Buffer
	set := &client.Settings{}
	set.Logger = slog.New(slog.NewTextHandler(&log, nil))
	return &unacked{set: set, lines: new(lines)}, &log
}

// The limits of datagrams: what fits, what fits together, and how long the next one waits.
func TestDatagramLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := testOutlet()
		to := &sentTo{}
		d := &datagrams{p: p, rate: 1000}
		d.conn[schema.History] = to
		line := func(n int) []byte { return []byte(strings.Repeat("x", n-1) + "\n") }
		d.write(t.Context(), schema.History, line(maxDatagram+1))
		d.write(t.Context(), schema.History, line(maxDatagram))
		d.flush()
		d.write(t.Context(), schema.History, append(line(maxDatagram-10), line(10)...))
		d.flush()
		d.write(t.Context(), schema.History, append(line(maxDatagram-10), line(11)...))
		d.flush()
		d.flush() // nothing
		var sizes []int
		for _, s := range to.sent {
			sizes = append(sizes, len(s))
		}
		if len(sizes) != 4 || sizes[0] != maxDatagram || sizes[1] != maxDatagram || sizes[2] != maxDatagram-10 || sizes[3] != 11 || p.rejected.Load() != 1 || p.stored.Load() != 5 {
			t.Errorf("datagrams of %v bytes, %d points rejected, %d sent", sizes, p.rejected.Load(), p.stored.Load())
		}

		d = &datagrams{p: p, rate: 1000}
		for _, c := range []struct {
			points int
			waits  time.Duration
		}{{2, 0}, {1, 0}, {1000, 3 * time.Millisecond}, {0, time.Second}, {5, 0}} {
			began := time.Now()
			if d.pace(t.Context(), c.points); time.Since(began) != c.waits {
				t.Errorf("before %d points it waits for %v, want %v", c.points, time.Since(began), c.waits)
			}
		}
	})
}

// A file that cannot be used is left alone until it is tried again, and a pipe is no file.
func TestLineFileIsTriedAgain(t *testing.T) {
	p, _ := testOutlet()
	path := filepath.Join(t.TempDir(), "points.lp")
	l := &lineFile{p: p, path: path, retry: time.Now().Add(time.Hour), err: errors.New("full")}
	l.write(t.Context(), schema.History, []byte("a\nb\n"))
	if _, err := os.Stat(path); err == nil || p.dropped.Load() != 2 || p.last.Load().text != "full" {
		t.Errorf("%v, %d dropped", err, p.dropped.Load())
	}
	l.retry = time.Now().Add(-time.Second)
	l.write(t.Context(), schema.History, []byte("a\nb\n"))
	l.retry = time.Now().Add(time.Hour) // of no meaning while it is open
	l.write(t.Context(), schema.History, []byte("c\n"))
	l.flush()
	l.close()
	if b, err := os.ReadFile(path); err != nil || string(b) != "a\nb\nc\n" || p.dropped.Load() != 2 || p.stored.Load() != 3 {
		t.Errorf("%v, %q, %d dropped", err, b, p.dropped.Load())
	}

	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l = &lineFile{p: p, path: pipe}
	if err := l.open(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe that somebody reads: %v", err)
	}
	l.close()
}

// What waits is dropped once an outlet is over.
func TestWhatAnOutletLeaves(t *testing.T) {
	p, _ := testOutlet()
	p.ok(4)
	p.lost(2, errors.New("no"))
	p.rejected.Add(1)
	if d := p.delivery(10); d.Stored != 4 || d.Dropped != 2 || d.Rejected != 1 || d.Queued != 3 || !d.Failing || d.LastError != "no" {
		t.Errorf("%+v", d)
	}
	p.over.Store(true)
	if d := p.delivery(10); d.Dropped != 5 || d.Queued != 0 {
		t.Errorf("over: %+v", d)
	}
}

// Sums are kept in the spool's folder, and nothing is logged where nothing is wrong; nor is a
// folder of a destination that is configured.
func TestSumsAndFoldersInSilence(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	yes := true
	s, err := New(client.Config{URL: "http://127.0.0.1:1", SpoolDir: dir, Rollups: &yes, Log: slog.New(slog.NewTextHandler(&log, nil))}, "n")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before, _ := os.ReadDir(dir)
	s.openSums()
	s.closeSums()
	if after, _ := os.ReadDir(dir); len(after) <= len(before) || log.Len() > 0 {
		t.Errorf("%d files, then %d; %s", len(before), len(after), &log)
	}
	for _, name := range []string{"here", "gone"} {
		folder := filepath.Join(dir, client.SpoolPrefix+name)
		if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "1.seg"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s.set.Also = []client.Destination{{Name: "here"}}
	s.forgotten()
	if text := log.String(); strings.Count(text, "no longer configured") != 1 || !strings.Contains(text, "destination=gone") {
		t.Error(text)
	}
}

// Rejected points that cannot be kept are reported, those that are kept are not; a value that is
// in no line of a part is not posted again; a panic drops what is not settled.
func TestRejectedPointsOfAWriter(t *testing.T) {
	w := testWriter(t)
	var log bytes.Buffer
	w.set.Logger = slog.New(slog.NewTextHandler(&log, nil))
	dir := t.TempDir()
	for i, path := range []string{filepath.Join(dir, rejectedName), filepath.Join(dir, rejectedName, "below", rejectedName)} {
		w.rejects = &rejects{path: path}
		w.settle(part{lines: []byte("a v=1\n"), points: 1}, 1, "no", []byte("a v=1\n"))
		w.rejects.close()
		if n := strings.Count(log.String(), "cannot keep rejected points"); n != i {
			t.Errorf("%s: %d warnings", path, n)
		}
	}

	const said = `partial write: max-values-per-tag limit exceeded (1/1): measurement="agent_versions" tag="agent" value="b" dropped=1`
	for line, again := range map[string]bool{"agent_versions,agent=a peers=1i 100\n": false, "agent_versions,agent=b peers=1i 100\n": true} {
		if p := (part{lines: []byte(line), points: 1}); w.regroup(&p, said) != again {
			t.Errorf("%s is posted again: want %v", line, again)
		}
	}

	o := testDestination(t, client.Config{SpoolDir: client.InMemory})
	o.writers[0].full = nil // it panics
	if err := o.deliver(t.Context(), o.writers[0], &job{batch: testBatch(schema.History, 10, 10), partly: 4}); err != nil || o.dropped.Load() != 6 {
		t.Errorf("%v, %d dropped", err, o.dropped.Load())
	}
}

// What a single answer does to a writer: when another batch goes first, when the server is asked
// again what it is, when the load shrinks, and which half must have the refused line.
func TestAnswersToOnePost(t *testing.T) {
	var status, requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(int(status.Load()))
	}))
	defer srv.Close()
	fresh := func(answer int) *writer {
		all, err := client.Config{URL: srv.URL, BatchSize: 5000, Log: slog.New(slog.DiscardHandler)}.ResolveAll()
		if err != nil {
			t.Fatal(err)
		}
		w := newWriter(&all[0])
		t.Cleanup(w.server.Close)
		w.site.known, w.site.ready, w.waits = true, true, backoff.New(time.Millisecond, time.Millisecond)
		w.job = &job{batch: testBatch(schema.History, 1, 0)}
		w.job.buf = []byte("a v=1\n")
		status.Store(int32(answer))
		requests.Store(0)
		return w
	}
	for aside, want := range map[bool]int32{false: asideAfter, true: 1} {
		w := fresh(500)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		w.job.aside = aside
		if err := w.deliver(ctx, w.job); !errors.Is(err, errAside) || requests.Load() != want {
			t.Errorf("aside %v: %v after %d requests, want %d", aside, err, requests.Load(), want)
		}
	}
	one := part{lines: []byte("a v=1\n"), points: 1}
	for answer, ready := range map[int]bool{401: false, 403: false, 500: true, 503: true} {
		w := fresh(answer)
		if err := w.post(t.Context(), schema.History, one); err == nil || w.site.ready != ready || w.site.known != ready {
			t.Errorf("%d: %v, ready %v", answer, err, w.site.ready)
		}
	}
	for _, c := range []struct{ answer, strikes, points int }{{500, 0, 2500}, {503, 0, 2500}, {500, 1, 5000}, {403, 0, 5000}, {499, 0, 5000}} {
		w, p := fresh(c.answer), one
		p.strikes = c.strikes
		if err := w.post(t.Context(), schema.History, p); err == nil {
			t.Errorf("%d: stored", c.answer)
		}
		if points, _ := w.rate.now(); points != c.points {
			t.Errorf("%d: posts of %d points from then on, want %d", c.answer, points, c.points)
		}
	}
	for pair, bad := range map[int]bool{0: false, 1: true, 2: false} {
		w, p := fresh(204), one
		p.pair = 1
		if pair > 0 {
			w.job.todo = []part{{pair: pair}}
		}
		if err := w.post(t.Context(), schema.History, p); err != nil || pair > 0 && w.job.todo[0].bad != bad {
			t.Errorf("pair %d: %v, %+v", pair, err, w.job.todo)
		}
	}
}
