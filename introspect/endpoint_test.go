package introspect

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/introspect/ui"
)

// TestEndpointRules: the rules of the documentation, with the error texts of the
// original.
func TestEndpointRules(t *testing.T) {
	srv := NewServer(Config{Introspector: NewRegistry()})
	defer srv.Close()
	none, err := NewEndpoint(EndpointConfig{}, srv)
	require.NoError(t, err)
	require.NoError(t, none.Close(), "not started")
	require.EqualError(t, none.Start(), "failed to start WS server: no listen addresses supplied")

	e, err := NewEndpoint(EndpointConfig{ListenAddresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, Page: ui.Handler()}, srv)
	require.NoError(t, err)
	require.Empty(t, e.ListenAddrs())
	require.NoError(t, e.Start())
	require.EqualError(t, e.Start(), "failed to start WS server: already started")
	require.Len(t, e.ListenAddrs(), 2)
	for range 2 {
		for _, a := range e.ListenAddrs() {
			p := (&served{srv, "http://" + a}).greet(t, 500, 1000)
			p.agrees(cmdEnable, srcState)
			defer func() { require.NotEqual(t, websocket.StatusCode(0), p.ended()) }()
		}
	}
	taken, err := NewEndpoint(EndpointConfig{ListenAddresses: e.ListenAddrs()[:1]}, srv)
	require.NoError(t, err)
	require.ErrorContains(t, taken.Start(), "failed to start WS server: ")
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.Empty(t, e.ListenAddrs())
	require.Zero(t, srv.Stats().Sessions, "its sessions end with it")
	require.NoError(t, e.Start(), "it may start again")
	require.NoError(t, e.Close())
}

// TestTwoListenersAtOnce serve one node; one may close without the other.
func TestTwoListenersAtOnce(t *testing.T) {
	s := serve(t, Config{})
	e, err := NewEndpoint(EndpointConfig{ListenAddresses: []string{"unix:" + filepath.Join(t.TempDir(), "s"), "127.0.0.1:0"}}, s.Server)
	require.NoError(t, err)
	require.NoError(t, e.Start())
	there := &served{s.Server, "http://" + e.ListenAddrs()[1]}
	a, b := s.greet(t, 500, 1000), there.greet(t, 500, 1000)
	for _, p := range []*peerOf{a, b} {
		p.agrees(cmdEnable, srcState)
		require.NotNil(t, p.next().GetState())
	}
	require.NoError(t, e.Close())
	b.ended()
	require.NotNil(t, a.next().GetState())
}

func TestEndpointBeyondLoopback(t *testing.T) {
	srv := NewServer(Config{Introspector: NewRegistry()})
	defer srv.Close()
	_, err := NewEndpoint(EndpointConfig{ListenAddresses: []string{"0.0.0.0:0"}}, srv)
	require.Error(t, err, "without TLS and a token")
	_, err = NewEndpoint(EndpointConfig{ListenAddresses: []string{"nonsense"}}, srv)
	require.Error(t, err)

	token := strings.Repeat("t", 43)
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	e, err := NewEndpoint(EndpointConfig{ListenAddresses: []string{"127.0.0.1:0"}, Config: access.Config{TokenFiles: []string{file}}, Page: ui.Handler()}, srv)
	require.NoError(t, err)
	require.NoError(t, e.Start())
	defer e.Close()
	end := e.(*endpoint)
	f := func(want int, headers ...string) {
		t.Helper()
		q, err := http.NewRequest(http.MethodGet, "http://127.0.0.1"+Path, nil)
		require.NoError(t, err)
		for i := 0; i < len(headers); i += 2 {
			q.Header.Set(headers[i], headers[i+1])
		}
		w := &plainWriter{header: http.Header{}}
		end.ServeHTTP(w, q.WithContext(access.WithNeedsToken(q.Context(), true)))
		require.Equal(t, want, w.status)
	}
	f(401)
	f(401, "Authorization", "Bearer wrong")
	f(401, "Authorization", "Basic "+token)
	f(401, "Sec-WebSocket-Protocol", "ipfsmon.bearer."+base64.RawURLEncoding.EncodeToString([]byte("wrong")))
	f(426, "Authorization", "Bearer "+token) // it is accepted, and is not a WebSocket request
	f(426, "Sec-WebSocket-Protocol", "ipfsmon.introspect, ipfsmon.bearer."+base64.RawURLEncoding.EncodeToString([]byte(token)))
}

type plainWriter struct {
	header http.Header
	status int
}

func (w *plainWriter) Header() http.Header { return w.header }
func (w *plainWriter) WriteHeader(s int) {
	if w.status == 0 {
		w.status = s
	}
}
func (w *plainWriter) Write(b []byte) (int, error) { w.WriteHeader(200); return len(b), nil }

// TestPageOnTheEndpoint: the page is served with its content policy, and not to foreign
// pages.
func TestPageOnTheEndpoint(t *testing.T) {
	srv := NewServer(Config{Introspector: NewRegistry()})
	defer srv.Close()
	e, err := NewEndpoint(EndpointConfig{ListenAddresses: []string{"127.0.0.1:0"}, Page: ui.Handler()}, srv)
	require.NoError(t, err)
	require.NoError(t, e.Start())
	defer e.Close()
	defer http.DefaultClient.CloseIdleConnections()
	base := "http://" + e.ListenAddrs()[0]
	get := func(method, path string, headers ...string) (*http.Response, string) {
		t.Helper()
		q, err := http.NewRequest(method, base+path, nil)
		require.NoError(t, err)
		for i := 0; i < len(headers); i += 2 {
			q.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(body)
	}
	resp, body := get("GET", "/")
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, strings.ToLower(body), "<!doctype html>")
	require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), part)
	}
	require.NotContains(t, resp.Header.Get("Content-Security-Policy"), "unsafe")
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", resp.Header.Get("Referrer-Policy"))
	again, body := get("GET", "/", "If-None-Match", resp.Header.Get("ETag"))
	require.Equal(t, 304, again.StatusCode)
	require.Empty(t, body)
	head, body := get("HEAD", "/")
	require.Equal(t, 200, head.StatusCode)
	require.Empty(t, body)
	css, _ := get("GET", "/ui/app.css")
	require.Equal(t, "text/css; charset=utf-8", css.Header.Get("Content-Type"))
	for _, path := range []string{"/ui/", "/ui/index.html", "/ui/test/", "/ui/gen/main.go", "/ui/../page.go", "/ui/%2e%2e/page.go", "//", "/metrics", "/ui/lib"} {
		resp, _ := get("GET", path)
		require.Equal(t, 404, resp.StatusCode, path)
	}
	post, _ := get("POST", "/")
	require.Equal(t, 405, post.StatusCode)
	evil, _ := get("GET", "/", "Origin", "http://evil.example")
	require.Equal(t, 403, evil.StatusCode)
}
