package influxtest

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

func TakeAll(_ int, _ *http.Request, lines []string) (int, string, []string) { return 204, "", lines }

func (f *Faulty) Lines() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.Stored)
}

// Faulty is a server that stores lines by its own rules, for answers that no real server
// produces on demand.
type Faulty struct {
	*httptest.Server
	three *InfluxDB3 // in its place, in tests of InfluxDB 3
	rule  func(n int, r *http.Request, lines []string) (status int, answer string, keep []string)

	mu       sync.Mutex
	Requests int
	Stored   map[string]int
}

func NewFaulty(t *testing.T, rule func(n int, r *http.Request, lines []string) (int, string, []string)) *Faulty {
	f := &Faulty{rule: rule, Stored: make(map[string]int)}
	if In3(t) {
		f.three = Made3()
		f.three.Flush, f.three.Rule = 0, f.judge
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// judge counts a post and keeps what the rule stores of it.
func (f *Faulty) judge(r *http.Request, lines []string) (status int, answer string, keep []string) {
	f.mu.Lock()
	f.Requests++
	n := f.Requests
	f.mu.Unlock()
	status, answer, keep = f.rule(n, r, lines)
	f.mu.Lock()
	for _, l := range keep {
		f.Stored[l]++
	}
	f.mu.Unlock()
	return status, answer, keep
}

// Write reports whether a request writes points; others ask what the server is, set it up or
// query it.
func Write(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/write") || strings.HasSuffix(r.URL.Path, "/write_lp")
}

func (f *Faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.three != nil {
		f.three.ServeHTTP(w, r)
		return
	}
	if r.URL.Path == "/ping" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return
	}
	lines := strings.SplitAfter(string(b), "\n")
	lines = lines[:len(lines)-1]
	status, answer, _ := f.judge(r, lines)
	if status == 429 || status == 503 {
		w.Header().Set("Retry-After", answer)
	}
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

// Destination returns a Config for the server that skips the set-up.
func (f *Faulty) Destination() client.Config {
	no := false
	return client.Config{URL: f.URL, CreateDatabase: &no, FlushInterval: "10ms", Timeout: "10s"}
}
