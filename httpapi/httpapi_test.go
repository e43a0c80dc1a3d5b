package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() Config {
	return Config{ListenAddresses: []string{"127.0.0.1:0"}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func deps() Deps {
	return Deps{MonitoringAddresses: func() []string { return []string{"127.0.0.1:8181"} }}
}

type running struct {
	*Server
	addr string
	done chan error
}

func start(t *testing.T, cfg Config, d Deps) *running {
	t.Helper()
	s, err := New(cfg, d)
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	r := &running{Server: s, addr: s.Addrs()[0].String(), done: make(chan error, 1)}
	go func() { r.done <- s.Run(context.Background()) }()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return r
}

// say writes bytes to a new connection and returns everything that it receives.
func (r *running) say(t *testing.T, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, _ = io.WriteString(c, request) // the server may have closed it
	_ = c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	return string(got)
}

// request builds a request from a line and some headers.
func request(line string, headers ...string) string {
	return line + " HTTP/1.1\r\nConnection: close\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

// TestGolden compares the answers byte by byte, except for the date.
func TestGolden(t *testing.T) {
	s := start(t, config(), deps())
	f := func(name, line string) {
		t.Helper()
		got := s.say(t, request(line, "Host: localhost:8432"))
		var kept []string
		for l := range strings.Lines(got) {
			if !strings.HasPrefix(l, "Date: ") {
				kept = append(kept, l)
			}
		}
		got = strings.Join(kept, "")
		path := filepath.Join("testdata", name+".http")
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), got, "%s", line)
	}
	f("root", "GET /")
	f("methods", "GET /metric_plugin/v1")
	f("ping", "GET /metric_plugin/v1/ping")
	f("monitoring_addresses", "GET /metric_plugin/v1/monitoring_addresses")
	f("not_found", "GET /metric_plugin/v2/ping")
	f("not_allowed", "POST /metric_plugin/v1/ping")
	f("head", "HEAD /metric_plugin/v1/ping")
	f("options", "OPTIONS /metric_plugin/v1/ping")
	f("redirect_get", "GET /metric_plugin/v1/ping/")
	f("redirect_base", "GET /metric_plugin/v1/")
	f("redirect_case", "GET //metric_plugin/./v1/PING")
}

// TestBodies checks the bodies against what clients of the old exporter rely on.
func TestBodies(t *testing.T) {
	s := start(t, config(), deps())
	f := func(path, kind, want string) {
		t.Helper()
		resp, err := http.Get("http://" + s.addr + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, kind, resp.Header.Get("Content-Type"))
		require.Equal(t, want, string(body))
	}
	defer http.DefaultClient.CloseIdleConnections()
	const plain = "text/plain; charset=utf-8"
	f("/", plain, "check out /metric_plugin/v1\n")
	f("/metric_plugin/v1", plain, "Methods:\nGET  /metric_plugin/v1/ping no-op\nGET  /metric_plugin/v1/monitoring_addresses returns a list of addresses on which the monitor is listening for Bitswap monitoring connections")
	f("/metric_plugin/v1/ping", "application/json", "{\"status\":200,\"result\":{}}\n")
	f("/metric_plugin/v1/monitoring_addresses", "application/json", "{\"status\":200,\"result\":{\"addresses\":[\"127.0.0.1:8181\"]}}\n")
	s = start(t, config(), Deps{})
	f("/metric_plugin/v1/monitoring_addresses", "application/json", "{\"status\":200,\"result\":{\"addresses\":[]}}\n")
	s = start(t, config(), Deps{MonitoringAddresses: func() []string { return nil }})
	f("/metric_plugin/v1/monitoring_addresses", "application/json", "{\"status\":200,\"result\":{\"addresses\":[]}}\n")
}

func TestBadRequests(t *testing.T) {
	cfg := config()
	cfg.AllowedHosts = []string{"monitor.example.org"}
	s := start(t, cfg, deps())
	const ping = "GET /metric_plugin/v1/ping"
	f := func(status, in string) {
		t.Helper()
		got := s.say(t, in)
		line, _, _ := strings.Cut(got, "\r\n")
		require.True(t, strings.HasPrefix(line, "HTTP/1.1 "+status) || strings.HasPrefix(line, "HTTP/1.0 "+status),
			"want %s for %.80q, got %q", status, in, got)
		if status == "403" {
			require.Contains(t, got, `{"status":403,"error":"`)
		}
	}
	host := func(h string) string { return request(ping, "Host: "+h) }
	f("200", host("localhost"))
	f("200", host("LOCALHOST:1"))
	f("200", host("127.0.0.1:8432"))
	f("200", host("[::1]:8432"))
	f("200", host("[::1]"))
	f("200", host("192.168.1.2"))
	f("200", host("Monitor.example.org:8432"))
	f("200", ping+" HTTP/1.0\r\n\r\n")
	f("403", host("evil.example"))
	f("403", host("evil.example:8432"))
	f("403", host("localhost.evil.example"))
	f("403", host("127.0.0.1.evil.example"))
	f("403", host("xmonitor.example.org"))
	f("403", request("GET http://evil.example/metric_plugin/v1/ping", "Host: localhost"))
	f("400", request(ping))
	f("400", request(ping, "Host: localhost", "Host: localhost"))
	f("400", request(ping, "Host: a b"))

	with := func(headers ...string) string {
		return request(ping, append([]string{"Host: localhost:8432"}, headers...)...)
	}
	f("200", with("Origin: http://localhost:8432"))
	f("200", with("Origin: https://localhost:8432"))
	f("403", with("Origin: null"))
	f("403", with("Origin: "))
	f("403", with("Origin: http://localhost:8433"))
	f("403", with("Origin: http://evil.example"))
	f("403", with("Origin: chrome-extension://localhost:8432"))
	f("403", with("Origin: http://localhost:8432", "Origin: http://evil.example"))
	f("200", with("Sec-Fetch-Site: same-origin"))
	f("200", with("Sec-Fetch-Site: none"))
	f("200", with("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"))
	f("403", with("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"))
	f("403", with("Sec-Fetch-Site: same-site"))
	f("403", request("POST /metric_plugin/v1/ping", "Host: localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"))

	path := func(p string) string { return request("GET "+p, "Host: localhost") }
	f("404", path("/../../etc/passwd"))
	f("404", path("/%2e%2e/%2e%2e/etc/passwd"))
	f("404", path("/metric_plugin/v1/ping/%00"))
	f("301", path("//evil.example/%2e%2e")) // to /, not to another host
	f("404", path("/metric_plugin/v1/nothing"))
	f("200", path("/metric_plugin/v1/ping?token=secret&x=%ff"))
	f("405", request("GET *", "Host: localhost"))
	f("405", request("DELETE /metric_plugin/v1/ping", "Host: localhost"))
	f("405", request("BREW /metric_plugin/v1/ping", "Host: localhost"))
	f("400", "GET\r\n\r\n")
	f("400", "GET /metric_plugin/v1/ping\r\n\r\n") // HTTP/0.9
	f("400", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	f("505", ping+" HTTP/3.0\r\nHost: localhost\r\n\r\n")
	f("431", with("X: "+strings.Repeat("x", maxHeaderBytes)))
	f("431", with(strings.Repeat("A: b\r\n", maxHeaderBytes/6)+"C: d"))
	f("400", with("Content-Length: -1"))
	f("400", with("Content-Length: 1", "Content-Length: 2"))
	f("501", with("Transfer-Encoding: gzip"))
	f("200", with("Content-Length: 1000000000000"))
	f("200", with("Transfer-Encoding: chunked")+"fffffffffffffff\r\nx")
	f("200", with("Content-Encoding: gzip", "Content-Length: 4")+"\x1f\x8b\x08\x00")
}

func TestOurErrors(t *testing.T) {
	log, lines := guardtest.New()
	cfg := config()
	cfg.Logger = log
	s, err := New(cfg, Deps{MonitoringAddresses: func() []string { panic("here") }})
	require.NoError(t, err)
	defer s.Close()
	f := func(h http.Handler, status int, body string) {
		t.Helper()
		w := &recorder{header: http.Header{}}
		q, err := http.NewRequest("GET", base+"/monitoring_addresses", nil)
		require.NoError(t, err)
		q.Host = "localhost"
		h.ServeHTTP(w, q)
		require.Equal(t, status, w.status)
		require.Equal(t, body, w.body.String())
		require.Equal(t, "application/json", w.header.Get("Content-Type"))
	}
	const internal = "{\"status\":500,\"error\":\"internal server error\"}\n"
	for range 50 {
		f(s.http.Handler, 500, internal)
	}
	require.EqualValues(t, 50, s.Stats().Panics)
	lines.Once(t, "httpapi: answer a request", "httpapi.TestOurErrors.func")

	failing := s.method(func(*http.Request) (any, error) { return nil, errors.New("secret path") })
	f(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { failing(w, q, nil) }), 500, internal)

	require.NoError(t, s.Close())
	f(s.http.Handler, 503, "{\"status\":503,\"error\":\"server closing\"}\n")
}

// recorder is a ResponseWriter that records what is written.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func TestRequestUnderWayIsAnsweredAtTheEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, config(), Deps{MonitoringAddresses: func() []string {
		close(entered)
		<-leave
		return []string{"x"}
	}})
	answer := make(chan string, 1)
	go func() {
		answer <- s.say(t, request("GET "+base+"/monitoring_addresses", "Host: localhost"))
	}()
	<-entered
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { _ = s.Close() })
	}
	time.Sleep(20 * time.Millisecond)
	close(leave)
	require.Contains(t, <-answer, `{"addresses":["x"]}`)
	wg.Wait()
	require.NoError(t, <-s.done)
	_, err := net.Dial("tcp", s.addr)
	require.Error(t, err)
}

func TestManyIdleConnections(t *testing.T) {
	s := start(t, config(), deps())
	for range maxConns + 100 {
		c, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer c.Close()
	}
	require.Eventually(t, func() bool { open, _, _ := s.conns.Stats(); return open == maxConns }, 30*time.Second, time.Millisecond)
}

func TestKeepAlive(t *testing.T) {
	s := start(t, config(), deps())
	c, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer c.Close()
	r := bufio.NewReader(c)
	for range 3 {
		fmt.Fprintf(c, "GET %s/ping HTTP/1.1\r\nHost: localhost\r\n\r\n", base)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
	}
	begin := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(begin), shutdownTime, "idle connections are not waited for")
}

func TestLife(t *testing.T) {
	_, err := New(Config{}, deps())
	require.EqualError(t, err, "missing ListenAddresses")
	cfg := config()
	cfg.ListenAddresses = []string{"0.0.0.0:1"}
	cfg.AllowedHosts = []string{"http://x", "ok.example", "a:1"}
	_, err = New(cfg, deps())
	for _, part := range []string{"AllowInsecure", `"http://x"`, `"a:1"`} {
		require.ErrorContains(t, err, part)
	}

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	cfg = config()
	cfg.ListenAddresses = append(cfg.ListenAddresses, busy.Addr().String())
	s, err := New(cfg, deps())
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context()), "Listen")
	err = s.Listen()
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.True(t, strings.HasPrefix(err.Error(), "unable to bind: "), err)
	require.Empty(t, s.Addrs())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Listen(), net.ErrClosed)
	require.NoError(t, s.Run(t.Context()))

	s, err = New(config(), deps())
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	require.ErrorContains(t, s.Listen(), "a second time")
	for range 3 {
		require.NoError(t, s.Close())
	}
	_, err = net.Dial("tcp", s.Addrs()[0].String())
	require.Error(t, err, "closed without having run")

	s, err = New(config(), deps())
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.ErrorContains(t, s.Run(ctx), "a second time")
	require.NoError(t, s.Close())
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api")
	cfg := config()
	cfg.ListenAddresses = append(cfg.ListenAddresses, "unix:"+path)
	start(t, cfg, deps())
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, request("GET "+base+"/ping", "Host: localhost"))
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(got), `{"status":200,"result":{}}`)
}
