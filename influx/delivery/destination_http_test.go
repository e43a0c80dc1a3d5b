package delivery

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// A redirect is not followed: neither credentials nor points go to another
// address. The error names that address and the setting.
func TestRedirectsAreNamed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", strings.Replace(other.URL, "//", "//user:secret@", 1)+"/influx"+r.URL.Path+"?"+r.URL.RawQuery)
			w.WriteHeader(status)
		}))
		said := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), " to "+other.URL+"/influx, which is not followed; set URL to that") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%d, %s: %v", status, what, err)
			}
			if moved := (*client.RedirectError)(nil); !errors.As(err, &moved) {
				t.Errorf("%d, %s: no RedirectError: %v", status, what, err)
			}
		}
		cfg := client.Config{URL: s.URL, FlushInterval: "10ms"}
		said("set-up", client.Setup(t.Context(), cfg))
		c, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out, err := query.NewOutput("csv", io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		said("query", c.Query(t.Context(), "SHOW DATABASES", false, out))
		c.Close()
		no := false
		cfg.CreateDatabase, cfg.SpoolDir = &no, t.TempDir()
		f := startFlow(t, cfg)
		f.publish(influxtest.Numbered(0, 10))
		st := f.until("failing", 2*time.Minute, func(st Stats) bool { return st.Failing })
		said("write", &client.RedirectError{Status: status, To: other.URL + "/influx"})
		if !strings.Contains(st.LastError, other.URL+"/influx, which is not followed") || strings.Contains(st.LastError, "secret") {
			t.Errorf("%d, write: %s", status, st.LastError)
		}
		if st, _ := f.stop(); st.Queued != 10 || st.Dropped+st.Rejected != 0 {
			t.Errorf("%d: %+v", status, st)
		}
		s.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests were sent elsewhere", n)
	}
}

// Proxy is used where it is safe, errors name its answers as the proxy's, and a configuration
// that would show it a secret is an error.
func TestProxy(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		http.Error(w, "not for you", http.StatusForbidden)
	}))
	defer proxy.Close()
	no := false
	cfg := client.Config{URL: "https://influx.example", Username: "monitor", Password: "secret", Proxy: proxy.URL, CreateDatabase: &no, FlushInterval: "10ms", SpoolDir: t.TempDir()}
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 10))
	st := f.until("failing", 2*time.Minute, func(st Stats) bool { return st.Failing })
	f.stop()
	if !strings.Contains(st.LastError, "the proxy "+proxy.URL+" answered, not InfluxDB: 403 Forbidden") {
		t.Errorf("https: %s", st.LastError)
	}
	r := seen.Load()
	if r == nil || r.Method != http.MethodConnect || strings.Contains(strings.Join(r.Header["Authorization"], ""), base64.StdEncoding.EncodeToString([]byte("monitor:secret"))) {
		t.Errorf("the proxy saw %+v, want CONNECT without credentials", r)
	}

	cfg.URL, cfg.Username, cfg.Password, cfg.SpoolDir = "http://influx.example", "", "", t.TempDir()
	f = startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 10))
	st = f.until("failing", 2*time.Minute, func(st Stats) bool { return st.Failing })
	f.stop()
	if !strings.Contains(st.LastError, "not for you; the answer came through the proxy "+proxy.URL) && !strings.Contains(st.LastError, "through the proxy "+proxy.URL) {
		t.Errorf("http: %s", st.LastError)
	}

	bad := func(want string, cfg client.Config) {
		t.Helper()
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg.URL, err, want)
		}
	}
	bad("could read the password or token", client.Config{URL: "http://influx.example", Username: "u", Password: "p", Proxy: "http://proxy.example:3128"})
	bad("is on this machine", client.Config{URL: "http://127.0.0.1:8086", Proxy: "http://proxy.example:3128"})
	bad("want http://host:port", client.Config{URL: "https://influx.example", Proxy: "proxy.example"})
	bad("for URLs of http and https", client.Config{URL: "stdout:", Proxy: "http://proxy.example:3128"})
}

// Retry-After is in seconds, and counts up to ten minutes.
func TestRetryAfter(t *testing.T) {
	f := func(value string, want time.Duration) {
		t.Helper()
		if got := readReply(429, http.Header{"Retry-After": {value}}, nil).after; got != want {
			t.Errorf("Retry-After: %s is %v, want %v", value, got, want)
		}
	}
	f("2", 2*time.Second)
	f("120", 2*time.Minute)
	f("99999999999", 10*time.Minute)
	f("99999999", 10*time.Minute)
	f("-1", 0)
	f("soon", 0)
	f("", 0)
}

// Waits grow up to their bound, begin at the first again after a success, and
// are no shorter than the server asks for. Those to a server on this machine
// stay short.
func TestBackoffBeginsAgain(t *testing.T) {
	f := func(local bool, most time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			w := newWriter(&client.Settings{Local: local})
			wait := func(least time.Duration) time.Duration {
				start := time.Now()
				if err := w.wait(t.Context(), least); err != nil {
					t.Fatal(err)
				}
				return time.Since(start)
			}
			for range 2 {
				if d := wait(0); d > firstBackoff {
					t.Errorf("the first wait is %v", d)
				}
				for range 20 {
					wait(0)
				}
				if d := wait(0); d > most || d < most/2-1 {
					t.Errorf("the longest wait is %v, want %v to %v", d, most/2, most)
				}
				w.worked()
			}
			if d := wait(time.Hour); d < time.Hour {
				t.Errorf("waited %v, want what the server asked for", d)
			}
		})
	}
	f(false, maxBackoff)
	f(true, maxBackoffLocal)
}

// The last line of a command reports the outcome of the points.
func TestClosing(t *testing.T) {
	f := func(want, url, spool string, missed uint64, d Delivery) {
		t.Helper()
		st := Stats{Missed: missed, Destinations: []DestinationStats{{Name: "main", URL: url, SpoolDir: spool, Delivery: d}}}
		if got := st.Closing(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	const server = "http://127.0.0.1:8086"
	f("Everything is stored.", server, "/s", 0, Delivery{Accepted: 9, Stored: 9})
	f("0 points are stored, 613 wait in /s for the next run. The last error: refused", server, "/s", 0, Delivery{Accepted: 613, Queued: 613, LastError: "refused"})
	f("25 points are stored, 1 waits in /s for the next run, 3 were dropped, 2 were rejected by the server (/s/rejected.lp). The last error: no", server, "/s", 0,
		Delivery{Accepted: 31, Stored: 25, Queued: 1, Dropped: 3, Rejected: 2, LastError: "no"})
	f("1 point is stored, 8 events were missed before they became points.", server, "/s", 8, Delivery{Accepted: 1, Stored: 1})
	f("1 point is stored, 2 were dropped, 2 were rejected by the server. The last error: no", server, "", 0, Delivery{Accepted: 5, Stored: 1, Dropped: 2, Rejected: 2, LastError: "no"})
	f("1 point is stored, 8 events were missed before they became points.", server, "", 8, Delivery{Accepted: 1, Stored: 1, LastError: "no"})
	f("Everything is written to stdout:.", "stdout:", "", 0, Delivery{Accepted: 2, Stored: 2})
	f("25 points are written to stdout:, 675 were dropped. The last error: broken pipe", "stdout:", "", 0, Delivery{Accepted: 700, Stored: 25, Dropped: 675, LastError: "broken pipe"})
	f("Everything is sent to udp://h:1, which does not say what has arrived.", "udp://h:1", "", 0, Delivery{Accepted: 2, Stored: 2})
	two := Stats{Destinations: []DestinationStats{{Name: "main", URL: server, Delivery: Delivery{}}, {Name: "cloud", URL: server, SpoolDir: "/s/to-cloud", Delivery: Delivery{Accepted: 1, Queued: 1}}}}
	if got, want := two.Closing(), "main: Everything is stored.\ncloud: 0 points are stored, 1 waits in /s/to-cloud for the next run."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// An interactive command ends if nothing is accepted, and only then.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stuck
		check := func(want bool, st Stats) {
			t.Helper()
			if err := s.check(st, time.Second); (err != nil) != want {
				t.Errorf("%+v: %v, want %v", st, err, want)
			}
		}
		failing := Stats{Delivery: Delivery{Failing: true, LastError: "refused"}}
		check(false, failing)
		time.Sleep(stuckAfter)
		check(false, failing)
		time.Sleep(time.Second)
		check(true, failing)
		check(false, Stats{Delivery: Delivery{Failing: true, Stored: 1}})
		time.Sleep(stuckAfter + time.Second)
		check(false, Stats{Delivery: Delivery{Stored: 1}}) // slow, but healthy
		check(false, Stats{Delivery: Delivery{Failing: true, Stored: 1}})
	})
}

// Each message of a destination has its own throttle: the line about an unreachable server
// suppresses no line about losses, and these sum up to the loss.
func TestLossIsNotHidden(t *testing.T) {
	s := influxtest.NewFaulty(t, func(int, *http.Request, []string) (int, string, []string) { return 503, "", nil })
	var log logtest.Buffer
	cfg := s.Destination()
	cfg.QueueBytes, cfg.BatchSize, cfg.Log = 1<<20, 100, slog.New(slog.NewTextHandler(&log, nil))
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 10))
	f.until("the server is away", 2*time.Minute, func(st Stats) bool { return st.Failing })
	f.publish(influxtest.Numbered(10, 30_000))
	f.until("dropped", 2*time.Minute, func(st Stats) bool { return st.Events == 30_000 && st.Dropped > 0 })
	st, err := f.stop()
	left := 0
	if err != nil {
		_, _ = fmt.Sscanf(err.Error(), "influx: %d points were not stored", &left) // else the sum is wrong
	}
	got := log.String()
	if !strings.Contains(got, "does not accept points, retrying") {
		t.Errorf("no line for the server:\n%s", got)
	}
	if n := sumOf(got, "the queue is full"); n == 0 || n+left != int(st.Dropped) {
		t.Errorf("the lines say that %d points were dropped, and %d at the end, want %d in all:\n%s", n, left, st.Dropped, got)
	}
}
