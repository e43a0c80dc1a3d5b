package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Each limit of the configuration: what is at it is accepted, what is beyond it is an error that
// names the key.
func TestConfigLimits(t *testing.T) {
	ok := func(c Config) {
		t.Helper()
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	no := func(c Config, key string) {
		t.Helper()
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want one error of %s", c, err, key)
		}
	}
	for _, n := range []int{1, 50_000} {
		ok(Config{BatchSize: n})
	}
	for _, n := range []int{-1, 50_001} {
		no(Config{BatchSize: n}, "BatchSize")
	}
	for _, n := range []int{2, 32} {
		ok(Config{Concurrency: n})
	}
	for _, n := range []int{1, 33} {
		no(Config{Concurrency: n}, "Concurrency")
	}
	for _, n := range []int{100, 10_000_000} {
		ok(Config{URL: "udp://h:1", UDPRate: n})
	}
	for _, n := range []int{99, 10_000_001} {
		no(Config{URL: "udp://h:1", UDPRate: n}, "UDPRate")
	}
	ok(Config{QueueBytes: 1 << 20, SpoolMaxBytes: 1 << 20})
	no(Config{QueueBytes: 1<<20 - 1}, "QueueBytes")
	no(Config{SpoolMaxBytes: 1<<20 - 1}, "SpoolMaxBytes")
	for key, c := range map[string]struct {
		set     func(*Config, string)
		ok, bad []string
	}{
		"FlushInterval":    {func(c *Config, v string) { c.FlushInterval = v }, []string{"10ms", "1m"}, []string{"9999us", "60001ms", "0s"}},
		"Timeout":          {func(c *Config, v string) { c.Timeout = v }, []string{"100ms", "10m"}, []string{"99ms", "601s"}},
		"HistoryRetention": {func(c *Config, v string) { c.HistoryRetention = v }, []string{"1h", "0s", "0", "100000h"}, []string{"3599s"}},
		"SpoolMaxAge":      {func(c *Config, v string) { c.SpoolMaxAge = v }, []string{"1m", "0s", "0", "100000h"}, []string{"59s"}},
		"SpoolSyncEvery":   {func(c *Config, v string) { c.SpoolSyncEvery = v }, []string{"0s", "1ms", "1m"}, []string{"61s", "-1s"}},
	} {
		for _, v := range c.ok {
			var one Config
			c.set(&one, v)
			ok(one)
		}
		for _, v := range c.bad {
			var one Config
			c.set(&one, v)
			no(one, key)
		}
	}
	name := strings.Repeat("n", 64)
	ok(Config{Database: name})
	no(Config{Database: name + "n"}, "Database")
	for _, u := range []string{"udp://h:1", "udp://h:65535", "udp://h:1?totals=65535", "udp://h:1?totals=1", "udp://h:1/"} {
		ok(Config{URL: u})
	}
	for _, u := range []string{"udp://h:65536", "udp://h:1?totals=0", "udp://h:1?totals=65536", "udp://h:1?totals=2&x=3", "udp://h:1#f",
		"file:///a#f", "file:///a?q", "http://h#f", "https://h?q", "http://:80", "ftp://h"} {
		no(Config{URL: u}, "URL")
	}
	ok(Config{Version: "3", Token: "!~"})
	no(Config{Version: "3", Token: "a\x7f"}, "Token")
	no(Config{Version: "3", Token: "a b"}, "Token")
	no(Config{URL: "http://a.example", Proxy: "http://p", Username: "u"}, "Proxy")
	no(Config{URL: "http://127.0.0.1", Proxy: "http://p"}, "Proxy")
	no(Config{URL: "stdout:", Proxy: "http://p"}, "Proxy")
	no(Config{URL: "https://a.example", Proxy: "socks5://p"}, "Proxy")
	no(Config{URL: "https://a.example", Proxy: "http://"}, "Proxy")
	ok(Config{URL: "http://a.example", Proxy: "http://p"})
	ok(Config{URL: "https://a.example", Proxy: "https://p", Username: "u"})

	also := func(n int, name string) (out Destinations) {
		for i := range n {
			out = append(out, Destination{Name: fmt.Sprint(name, i), URL: "http://a"})
		}
		return out
	}
	ok(Config{Also: also(7, "a")})
	no(Config{Also: also(8, "a")}, "Also")
	ok(Config{Also: also(1, strings.Repeat("n", 31))})
	no(Config{Also: also(1, strings.Repeat("n", 32))}, "Also.0.Name")
}

// What depends on where the server is and which it is.
func TestSettingsOfAServer(t *testing.T) {
	f := func(c Config, concurrency, batch, batch3 int, compress bool) {
		t.Helper()
		s, err := c.resolve()
		if err != nil {
			t.Fatal(err)
		}
		if s.Concurrency != concurrency || s.BatchPoints(1) != batch || s.BatchPoints(2) != batch || s.BatchPoints(3) != batch3 || s.Compress != compress {
			t.Errorf("%+v: %d requests, %d and %d points, gzip %v", c, s.Concurrency, s.BatchPoints(1), s.BatchPoints(3), s.Compress)
		}
	}
	f(Config{}, 3, 5000, 20_000, false)
	f(Config{URL: "http://a.example", BatchSize: 7}, 4, 7, 7, true)
	f(Config{Gzip: "on", Concurrency: 9}, 9, 5000, 20_000, true)
	f(Config{URL: "http://a.example", Gzip: "off"}, 4, 5000, 20_000, false)
	s, err := Config{URL: "udp://h:7?totals=8"}.resolve()
	if err != nil || s.UDP != [schema.Kinds]string{schema.History: "h:7", schema.Totals: "h:8"} || s.UDPRate != 50_000 {
		t.Errorf("%v, %+v", err, s)
	}
	s, err = Config{SpoolMaxAge: "0", HistoryRetention: "0", SpoolMaxBytes: units.Bytes(2 << 20)}.resolve()
	if err != nil || s.SpoolAge != 0 || s.retain != 0 || !s.asked || s.SpoolSync != time.Second {
		t.Errorf("%v, %+v", err, s)
	}
}

// Durations for InfluxQL, and the shards of a retention policy, as the server has them.
func TestInfluxDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "INF", time.Hour: "1h", 168 * time.Hour: "168h", 90 * time.Minute: "5400s", time.Hour + 1: "3601s", 1: "1s", time.Second: "1s"} {
		if got := influxDuration(d, "INF"); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]time.Duration{0: 7 * day, 180*day + 1: 7 * day, 180 * day: day, 2 * day: day, 2*day - 1: time.Hour, time.Hour: time.Hour} {
		if got := shardDuration(d); got != want {
			t.Errorf("%v: shards of %v, want %v", d, got, want)
		}
	}
	s := Settings{Config: Config{Database: "d"}, found: new(found), retain: 90 * time.Minute}
	c := &Client{set: &s}
	if got := c.policy("ALTER", schema.History); got != `ALTER RETENTION POLICY "history" ON "d" DURATION 5400s REPLICATION 1 SHARD DURATION 1h DEFAULT` {
		t.Error(got)
	}
	if got := c.policy("CREATE", schema.Totals); got != `CREATE RETENTION POLICY "totals" ON "d" DURATION INF REPLICATION 1` {
		t.Error(got)
	}
}

// Which refusals of the set-up are retried, of each API.
func TestSetupIsRetriedOrNot(t *testing.T) {
	var status atomic.Int32
	var version atomic.Value
	version.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := version.Load().(string); v != "" {
			w.Header().Set("X-Influxdb-Version", v)
		}
		if r.URL.Path == "/ping" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(`{"code":"x","message":"no","error":"no"}`))
	}))
	defer s.Close()
	for _, api := range []struct {
		cfg     Config
		version string
		retried []int
		not     []int
	}{
		{Config{}, "1.8.10", []int{408, 429, 500, 503}, []int{400, 401, 403, 404, 407, 409, 428, 430, 499}},
		{Config{Org: "o", Token: "t"}, "v2.7", []int{408, 429, 500, 503}, []int{400, 401, 403, 404, 407, 409, 428, 430, 499}},
		{Config{}, "3.10.0", []int{401, 408, 429, 500, 503}, []int{400, 403, 404, 407, 409, 422, 428, 430, 499}},
	} {
		version.Store(api.version)
		api.cfg.URL, api.cfg.Log = s.URL, slog.New(slog.DiscardHandler)
		try := func(code int, want bool) {
			t.Helper()
			status.Store(int32(code))
			c, err := New(api.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Find(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = c.Setup(t.Context())
			if err == nil {
				t.Errorf("%s, %d: no error", api.version, code)
			} else if again := RetryAfter(err) >= 0; again != want {
				t.Errorf("%s, %d: retried %v, want %v: %v", api.version, code, again, want, err)
			}
		}
		for _, code := range api.retried {
			try(code, true)
		}
		for _, code := range api.not {
			try(code, false)
		}
	}
	s.Close()
	c, err := New(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Setup(t.Context()); RetryAfter(err) < 0 {
		t.Errorf("without a server: %v, want to retry", err)
	}
}

// The answers that redirect are errors which name the target, and no others.
func TestRedirectStatus(t *testing.T) {
	var status atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://u:p@else.where/base/ping?x=1#f")
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	c, err := New(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for code, want := range map[int]bool{299: false, 300: true, 301: true, 399: true, 400: false} {
		status.Store(int32(code))
		_, err := c.Version(t.Context())
		var to *RedirectError
		if errors.As(err, &to) != want || want && (to.Status != code || to.To != "https://else.where/base") {
			t.Errorf("%d: %v", code, err)
		}
	}
	for code, want := range map[int]int{200: 0, 299: 0, 400: 400, 500: 500} {
		status.Store(int32(code))
		res, err := c.open3(t.Context(), http.MethodGet, "x", nil, "", nil)
		if statusOf(err) != want || (err == nil) != (want == 0) {
			t.Errorf("%d: %v", code, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
}

// A server's text is cut where a character ends.
func TestErrorTextIsCut(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := ErrorText([]byte(in)); got != want {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
	}
	long := strings.Repeat("x", maxText-1)
	f(long, long)
	f(long+"y", long+"y")
	f(long+"yz", long+"y")
	f(long+"é", long)
	f(long[1:]+"é", long[1:]+"é")
	f(long[1:]+"éx", long[1:]+"é")
	f(`{"error":"e","message":"m"}`, "e")
	f(`{"message":"m"}`, "m")
	f(`{"x":1}`, `{"x":1}`)
	f("a\xff", "a\uFFFD")
	if got := PlainText(long + "yz\nb"); got != long+"y" {
		t.Errorf("%d bytes", len(got))
	}
}

// Which names the databases of InfluxDB 3 may have.
func TestNamesOfInfluxDB3(t *testing.T) {
	for name, want := range map[string]bool{strings.Repeat("n", 56): true, strings.Repeat("n", 57): false, "a-b_C9": true, "-a": false, "é": false} {
		s, err := Config{URL: "http://127.0.0.1:1", Version: "3", Database: name}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		err = s.Client(time.Second).Setup(t.Context())
		if err == nil || strings.Contains(err.Error(), "at most 56 letters") == want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
