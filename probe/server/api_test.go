package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/ipfs/go-cid"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/probe"
)

const (
	hello    = `{"Content":"aGVsbG8=","Routing":"DHT"}`
	helloCID = "QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5"
)

// TestGenerations: a request that names neither gets the README's form.
func TestGenerations(t *testing.T) {
	s := start(t, nil)
	c := probe.CIDOf([]byte("hello"))
	f := func(path, body string, want []string) map[string]any {
		t.Helper()
		a := s.ask("POST", path, body)
		require.Equal(t, 200, a.status, a.body)
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(a.body), &m))
		for _, key := range want {
			require.Contains(t, m, key)
		}
		require.Len(t, m, len(want)+1, "and Lookup: %s", a.body)
		require.EqualValues(t, 42, m["RoutingTableSize"])
		require.Equal(t, c.String(), m["CID"])
		return m
	}
	first := []string{"CID", "Duration", "Error", "RoutingTableSize"}
	second := []string{"CID", "Measurements", "RoutingTableSize"}
	f("/provide", hello, first)
	f("/provide?generation=1", hello, first)
	m := f("/provide?generation=2", hello, second)
	require.Equal(t, "provide", m["Measurements"].([]any)[0].(map[string]any)["Step"])
	require.Equal(t, "not found", f("/retrieve/"+c.String(), "", first)["Error"])
	s.router.known[c] = peer.ID("somebody")
	require.Empty(t, f("/retrieve/"+c.String(), "", first)["Error"])
	m = f("/retrieve/"+c.String()+"?generation=2", `{"Target":"DHT"}`, second)
	require.Equal(t, "retrieval", m["Measurements"].([]any)[0].(map[string]any)["Step"])
	s.router.err = errors.New("no peers")
	require.Equal(t, "no peers", f("/provide", `{"Content":"aGVsbG8="}`, first)["Error"])

	head := start(t, func(c *Config) { c.Generation = Head })
	require.Contains(t, head.ask("POST", "/provide", hello).body, "Measurements")
	require.Contains(t, head.ask("POST", "/provide?generation=1", hello).body, `"Error":""`)
}

// TestBadInput: each request gets its 4xx status with a reason, and nothing is measured.
func TestBadInput(t *testing.T) {
	s := start(t, nil)
	s.router.err = errors.New("measured")
	c := probe.CIDOf([]byte("hello")).String()
	f := func(method, path, body string, status int, reason string, header ...string) {
		t.Helper()
		a := s.ask(method, path, body, header...)
		require.Equal(t, status, a.status, a.body)
		require.NotContains(t, a.body, "measured")
		if reason == "" {
			return
		}
		var e struct{ Error string }
		require.NoError(t, json.Unmarshal([]byte(a.body), &e), a.body)
		require.Contains(t, e.Error, reason)
		require.Less(t, len(e.Error), 400)
	}
	f("POST", "/provide", "", 400, "malformed body")
	f("POST", "/provide", "{", 400, "malformed body")
	f("POST", "/provide", `[]`, 400, "malformed body")
	f("POST", "/provide", `{"Content":"%%"}`, 400, "malformed body")
	f("POST", "/provide", `{"Content":5}`, 400, "malformed body")
	f("POST", "/provide", `{}`, 400, "0 bytes")
	f("POST", "/provide", `{"Content":""}`, 400, "0 bytes")
	f("POST", "/provide", `{"Content":"`+base64.StdEncoding.EncodeToString(make([]byte, maxContent+1))+`"}`, 400, "want 1 to 1048576")
	f("POST", "/provide", `{"Content":"`+strings.Repeat("A", maxBody)+`"}`, 413, "too long")
	f("POST", "/provide", `{"Content":"aGVsbG8=","Routing":"'; DROP TABLE nodes_ecs; --"}`, 400, "Routing")
	f("POST", "/provide", `{"Content":"aGVsbG8=","Target":"X"}`, 400, "Target")
	f("POST", "/provide", `{"Content":"aGVsbG8=","Routing":"DHT","Target":"IPNI"}`, 400, "want one of them")
	f("POST", "/provide", `{"Content":"aGVsbG8=","Routing":"IPNI"}`, 400, "indexer-host")
	f("POST", "/provide?generation=3", hello, 400, "want 1 or 2")
	f("POST", "/provide", hello, 415, "application/json", "Content-Type", "image/png")
	f("POST", "/provide", hello, 431, "4096", SchedulerHeader, strings.Repeat("x", 5000))
	f("POST", "/provide", hello, 431, "", SchedulerHeader, strings.Repeat("x", 64<<10))
	f("POST", "/retrieve/nothing", "", 400, "invalid CID")
	f("POST", "/retrieve/"+strings.Repeat("Q", 600), "", 400, "600 bytes")
	f("POST", "/retrieve/"+url.PathEscape("../../etc/passwd"), "", 400, "invalid CID")
	f("POST", "/retrieve/"+c, "{", 400, "malformed body")
	f("POST", "/retrieve/"+c, `{"Routing":"IPNI"}`, 400, "indexer-host")
	f("POST", "/retrieve/"+c+"?generation=x", "", 400, "want 1 or 2")
	f("GET", "/provide", "", 405, "")
	f("POST", "/readiness", "", 405, "")
	f("POST", "/retrieve/", "", 404, "")
	f("GET", "/", "", 404, "")
}

func TestLimit(t *testing.T) {
	s := start(t, nil)
	s.router.hold = make(chan struct{})
	done := make(chan int, maxParallel)
	for range maxParallel {
		go func() { done <- s.ask("POST", "/provide", hello).status }()
	}
	require.Eventually(t, func() bool { return len(s.slots) == maxParallel }, wait, tick)
	a := s.ask("POST", "/provide", hello)
	require.Equal(t, 429, a.status)
	require.Contains(t, a.body, "16 measurements are running")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	close(s.router.hold)
	for range maxParallel {
		require.Equal(t, 200, <-done)
	}
}

func TestToken(t *testing.T) {
	s := start(t, func(c *Config) { c.Token = "a-token-that-is-long" })
	a := s.ask("GET", "/readiness", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, s.cfg.Measurer.Host.ID().String(), a.header.Get(PeerHeader))
	s.token = "another"
	for _, path := range []string{"/provide", "/retrieve/x"} {
		a := s.ask("POST", path, hello)
		require.Equal(t, 401, a.status)
		require.Contains(t, a.body, "Bearer")
	}
	require.Equal(t, 401, s.ask("GET", "/readiness", "").status)
}

// TestMetrics compares the whole page with parsec's names and types; requests never
// create more than 33 values of a label.
func TestMetrics(t *testing.T) {
	s := start(t, nil)
	s.ask("POST", "/provide", hello, SchedulerHeader, "default")
	s.ask("POST", "/retrieve/"+helloCID, "", SchedulerHeader, "default")
	s.ask("GET", "/readiness", "", SchedulerHeader, "default")
	s.ask("DELETE", "/etc/passwd", "", SchedulerHeader, "default")
	page, err := os.ReadFile(filepath.Join("testdata", "metrics.prom"))
	require.NoError(t, err)
	require.Equal(t, string(page), s.page("parsec_http_requests_total", "parsec_datastore_disk_usage", "parsec_network_size"))
	families, err := s.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "parsec_durations" {
			require.Equal(t, "SUMMARY", f.GetType().String())
			require.Len(t, f.GetMetric(), 2)
			q := f.GetMetric()[0].GetSummary().GetQuantile()
			require.Equal(t, "0.5 0.9 0.95 0.99", fmt.Sprint(q[0].GetQuantile(), q[1].GetQuantile(), q[2].GetQuantile(), q[3].GetQuantile()))
		}
	}
	for i := range 100 {
		s.ask("GET", "/readiness", "", SchedulerHeader, fmt.Sprint(i))
	}
	require.Less(t, strings.Count(s.page("parsec_http_requests_total"), "\n"), 40)
}

// page returns what Prometheus reads of these metrics.
func (r *running) page(names ...string) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var out strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		for _, n := range names {
			if strings.HasPrefix(line, n) || strings.HasPrefix(line, "# HELP "+n+" ") || strings.HasPrefix(line, "# TYPE "+n+" ") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

func TestECS(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("testdata", "ecs.json"))
	require.NoError(t, err)
	m, err := ParseECS(doc)
	require.NoError(t, err)
	require.Equal(t, "{10 128 10.0.2.100}", fmt.Sprint(m))
	for _, bad := range []string{``, `{}`, `{"Networks":[{"NetworkMode":"bridge","IPv4Addresses":["1.2.3.4"]}]}`, `{"Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["x"]}]}`} {
		_, err := ParseECS([]byte(bad))
		require.ErrorContains(t, err, "ECS metadata")
	}
	m, err = Local(t.Context(), "localhost")
	require.NoError(t, err)
	require.Equal(t, "{1 1 127.0.0.1}", fmt.Sprint(m))
	require.True(t, json.Valid(Dependencies()))
}

// brokenRouter panics at each call.
type brokenRouter struct{ fakeRouter }

func (*brokenRouter) Provide(context.Context, cid.Cid, bool) error { panic("a fault") }

// TestAPanicEndsOneRequest: the panic is counted and logged once with its stack, and
// other requests are answered.
func TestAPanicEndsOneRequest(t *testing.T) {
	lines := guardtest.Default(t)
	s := start(t, func(c *Config) { c.Measurer.Router = new(brokenRouter) })
	before := probe.Guard.Panics()
	for n := range uint64(2) {
		req, err := http.NewRequest(http.MethodPost, "http://"+s.Addr().String()+"/provide", strings.NewReader(hello))
		require.NoError(t, err)
		_, err = http.DefaultClient.Do(req)
		require.Error(t, err, "the connection must end without an answer")
		require.Equal(t, before+n+1, probe.Guard.Panics())
	}
	lines.Once(t, "probe: answer a request", "server.(*brokenRouter).Provide")
	require.Equal(t, http.StatusOK, s.ask("GET", "/readiness", "").status)
	require.Contains(t, s.page("parsec_panics_total"), fmt.Sprintf("parsec_panics_total %d", before+2))
}
