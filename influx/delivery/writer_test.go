package delivery

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

func bad(lines []string, n ...int) (good []string, found int) {
	for _, l := range lines {
		is := false
		for _, i := range n {
			is = is || strings.Contains(l, influxtest.CID(i).String())
		}
		if is {
			found++
		} else {
			good = append(good, l)
		}
	}
	return good, found
}

// Each answer and the outcome of the points: everything that can be stored
// is, by count, and only the lines that the server refuses are rejected.
func TestAnswers(t *testing.T) {
	const n = 1000
	f := func(name string, rejected, maxRequests int, rule func(n int, r *http.Request, lines []string) (int, string, []string)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := influxtest.NewFaulty(t, rule)
			cfg, settle := s.Destination(), 30*time.Second
			cfg.BatchSize, cfg.FlushInterval = n, "1m" // one batch, however slow the machine is
			switch name {
			case "answer lost after it is stored":
				cfg.Timeout = "500ms"
			case "429 99999999": // ten minutes, unless the end comes
				settle = time.Second
			}
			st, err := publishOver(t, cfg, influxtest.Messages(n), 0, settle)
			if err != nil {
				t.Fatal(err)
			}
			if st.Accepted != n || st.Stored != uint64(n-rejected) || st.Rejected != uint64(rejected) || st.Dropped != 0 || st.Queued != 0 || st.Failing {
				t.Errorf("stats %+v, want %d rejected of %d", st, rejected, n)
			}
			s.Close() // waits for the answers that nobody waited for
			if len(s.Stored) != n-rejected {
				t.Errorf("%d different lines stored, want %d", len(s.Stored), n-rejected)
			}
			if s.Requests > maxRequests {
				t.Errorf("%d requests, want at most %d", s.Requests, maxRequests)
			}
		})
	}
	first := func(status int, answer string) func(int, *http.Request, []string) (int, string, []string) {
		return func(n int, _ *http.Request, lines []string) (int, string, []string) {
			if n <= 2 {
				return status, answer, nil
			}
			return 204, "", lines
		}
	}
	f("good", 0, 1, func(_ int, _ *http.Request, lines []string) (int, string, []string) { return 204, "", lines })
	f("200 with a body", 0, 1, func(_ int, _ *http.Request, lines []string) (int, string, []string) { return 200, `{"ok":true}`, lines })
	f("200 with a page", 0, 3, first(200, "<html>"))
	for _, status := range []int{401, 403, 404, 425, 302, 418} {
		f(fmt.Sprint(status), 0, 3, first(status, `{"error":"try later"}`))
	}
	// After two of these a batch is posted in four parts.
	for _, status := range []int{408, 500, 502, 504} {
		f(fmt.Sprint(status), 0, 2+4, first(status, `{"error":"try later"}`))
	}
	for _, after := range []string{"1", "99999999", "-1", "soon"} {
		f("429 "+after, 0, 2+4, first(429, after))
	}
	f("partial write of 1.x, dropped", 7, 1, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		good, n := bad(lines, 1, 2, 3, 500, 501, 998, 999)
		return 400, fmt.Sprintf(`{"error":"partial write: field type conflict: ... dropped=%d"}`, n), good
	})
	f("partial write of 1.x, unparsable", 2, 1, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		good, _ := bad(lines, 1, 2)
		return 400, `{"error":"partial write: unable to parse 'x': missing fields\nunable to parse 'y': missing fields dropped=0"}`, good
	})
	f("400 for a whole batch: the bad line is found", 1, 2*10+2, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if _, n := bad(lines, 637); n > 0 {
			return 400, `{"code":"invalid","message":"unable to parse 'x': missing fields"}`, nil
		}
		return 204, "", lines
	})
	f("422 for a whole batch, first and last line bad", 2, 4*10+2, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if _, n := bad(lines, 0, 999); n > 0 {
			return 422, `{"code":"unprocessable entity","message":"field type conflict"}`, nil
		}
		return 204, "", lines
	})
	f("413", 0, 40, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if len(lines) > 100 {
			return 413, "", nil
		}
		return 204, "", lines
	})
	f("answer lost after it is stored", 0, 3, func(n int, r *http.Request, lines []string) (int, string, []string) {
		if n == 1 {
			time.Sleep(700 * time.Millisecond) // over the client's timeout
		}
		return 204, "", lines
	})
}

// A token that is changed in its file is used without loss.
func TestTokenIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	token := func(s string) {
		if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token("old")
	s := influxtest.NewFaulty(t, func(n int, r *http.Request, lines []string) (int, string, []string) {
		if n == 1 {
			token("new")
		}
		if r.URL.Path != "/api/v2/write" || r.URL.Query().Get("org") != "o" || r.URL.Query().Get("bucket") != "b/history" {
			t.Errorf("request to %s", r.URL)
		}
		if r.Header.Get("Authorization") != "Token new" {
			return 401, `{"code":"unauthorized","message":"unauthorized access"}`, nil
		}
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.Org, cfg.Bucket, cfg.TokenFile, cfg.Gzip = "o", "b", file, "on"
	st, err := publish(t, cfg, influxtest.Messages(100))
	if err != nil || st.Stored != 100 || len(s.Stored) != 100 {
		t.Errorf("%v, %+v", err, st)
	}
}

// While the server hangs the bus is still read, memory stays bounded,
// and every point is stored, waiting, or counted as dropped.
func TestHangingServer(t *testing.T) {
	release := make(chan struct{})
	s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		<-release
		return 204, "", lines
	})
	cfg := s.Destination()
	cfg.Timeout, cfg.QueueBytes, cfg.BatchSize = "1m", 1<<20, 100
	sink, err := newSink(cfg, "n")
	if err != nil {
		t.Fatal(err)
	}
	b := bus.New(bus.Config{MaxEvents: 50_001, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	done := make(chan error)
	go func() { done <- sink.Run(context.WithoutCancel(t.Context()), r) }()
	const n = 50_000
	for _, e := range influxtest.Messages(n) {
		b.Publish(e)
	}
	deadline := time.Now().Add(10 * time.Second)
	for st := sink.Stats(); st.Accepted+st.Missed < n; st = sink.Stats() {
		if time.Now().After(deadline) {
			t.Fatalf("the bus is not read: %+v", st)
		}
		time.Sleep(time.Millisecond)
	}
	st := sink.Stats()
	if st.Dropped == 0 || st.QueueBytes > 2<<20 || st.Stored != 0 || st.LagSeconds <= 0 || st.Accepted != st.Dropped+uint64(st.Queued) {
		t.Errorf("while it hangs: %+v", st)
	}
	close(release)
	b.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.Close()
	st = sink.Stats()
	if st.Stored+st.Dropped != st.Accepted || int(st.Stored) != len(s.Stored) || st.Queued != 0 || st.Missed != 0 {
		t.Errorf("in the end: %+v, %d lines at the server", st, len(s.Stored))
	}
}

// Shutdown does not wait for ever, and reports what it could not store.
func TestEndWithoutServer(t *testing.T) {
	t.Parallel()
	s := influxtest.NewFaulty(t, nil)
	cfg := s.Destination()
	s.Close()
	sink, err := newSink(cfg, "n")
	if err != nil {
		t.Fatal(err)
	}
	b := bus.New(bus.Config{})
	r := b.Subscribe("influx")
	for _, e := range influxtest.Messages(300) {
		b.Publish(e)
	}
	b.Close()
	start := time.Now()
	err = sink.Run(t.Context(), r)
	st := sink.Stats()
	if err == nil || !strings.Contains(err.Error(), "300 points were not stored") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v, want 300 points and the reason", err)
	}
	if d := time.Since(start); d < closeTimeout || d > closeTimeout+2*time.Second {
		t.Errorf("it took %v, want about %v", d, closeTimeout)
	}
	if st.Dropped != 300 || st.Stored != 0 || !st.Failing || st.LastError == "" {
		t.Errorf("stats %+v", st)
	}
}

// faultyEncoder has our own fault: it panics at a sample.
type faultyEncoder struct{ encoder }

func (e faultyEncoder) Append(bufs [schema.Kinds][]byte, ev *event.Event) (out [schema.Kinds][]byte, points [schema.Kinds]int) {
	out, points = e.encoder.Append(bufs, ev)
	if ev.Kind == event.KindSample {
		panic("our own fault")
	}
	return out, points
}

// A panic while encoding loses one event, not the node.
func TestPanicCostsOneEvent(t *testing.T) {
	s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) { return 204, "", lines })
	events := influxtest.Messages(10)
	events[4] = &event.Event{Time: influxtest.Time, Kind: event.KindSample, Sample: &event.Sample{Peers: []event.PeerCount{{}}}}
	events[5] = events[4]
	log, lines := guardtest.New()
	cfg := s.Destination()
	cfg.Log = log
	sink, err := newSink(cfg, "n")
	if err != nil {
		t.Fatal(err)
	}
	sink.enc = faultyEncoder{sink.enc}
	b := bus.New(bus.Config{})
	r := b.Subscribe("influx")
	for _, e := range events {
		b.Publish(e)
	}
	b.Close()
	if err := sink.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if st := sink.Stats(); st.Panics != 2 || st.Stored != 8 || len(s.Stored) != 8 {
		t.Errorf("stats %+v, want two panics and 8 points", st)
	}
	lines.Once(t, "influx: encode an event", "faultyEncoder.Append")
}

func TestSplit(t *testing.T) {
	f := func(lines string) {
		t.Helper()
		p := part{lines: []byte(lines), points: bytes.Count([]byte(lines), []byte{'\n'})}
		a, b := p.split()
		if string(a.lines)+string(b.lines) != lines || a.points+b.points != p.points || a.points < 1 || b.points < 1 ||
			bytes.Count(a.lines, []byte{'\n'}) != a.points {
			t.Errorf("%q: %d %q and %d %q", lines, a.points, a.lines, b.points, b.lines)
		}
	}
	f("a\nb\n")
	f("a\nbbbbbbbbbbbbbbbbbb\n")
	f("aaaaaaaaaaaaaaaaaa\nb\n")
	f("a\nb\nccccccccccccccc\n")
	f("a\nb\nc\nd\ne\n")
}
