package samesite

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func request(host string, headers ...string) *http.Request {
	q := &http.Request{Method: http.MethodGet, Host: host, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Add(headers[i], headers[i+1])
	}
	return q
}

func TestCheck(t *testing.T) {
	f := func(want error, host string, headers ...string) {
		t.Helper()
		require.Equal(t, want, Check(request(host, headers...), []string{"monitor.example"}), "%s %v", host, headers)
	}
	for _, host := range []string{"127.0.0.1:8432", "[::1]:8432", "[::1]", "localhost:1", "LOCALHOST", "monitor.example:443", "Monitor.Example", ""} {
		f(nil, host)
	}
	for _, host := range []string{"evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "monitor.example.evil"} {
		f(errHost, host)
	}
	f(nil, "127.0.0.1:1", "Origin", "http://127.0.0.1:1")
	f(nil, "127.0.0.1:1", "Origin", "https://127.0.0.1:1")
	for _, origin := range []string{"null", "", "http://127.0.0.1:2", "http://127.0.0.1", "http://evil.example", "file://127.0.0.1:1", "://", "http://127.0.0.1:1@evil.example"} {
		f(errOrigin, "127.0.0.1:1", "Origin", origin)
	}
	f(errOrigin, "127.0.0.1:1", "Origin", "http://127.0.0.1:1", "Origin", "http://evil.example")
	f(nil, "127.0.0.1:1", "Sec-Fetch-Site", "same-origin")
	f(errOrigin, "127.0.0.1:1", "Sec-Fetch-Site", "same-site")
	f(errOrigin, "127.0.0.1:1", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "websocket")
	f(nil, "127.0.0.1:1", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
}

func TestCheckSocket(t *testing.T) {
	allowed := []string{"https://visualizer.example", "null"}
	f := func(want error, host string, headers ...string) {
		t.Helper()
		require.Equal(t, want, CheckSocket(request(host, headers...), nil, allowed), "%s %v", host, headers)
	}
	f(nil, "127.0.0.1:1")
	f(nil, "127.0.0.1:1", "Origin", "https://visualizer.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "websocket")
	f(nil, "127.0.0.1:1", "Origin", "http://127.0.0.1:1")
	f(errHost, "evil.example", "Origin", "https://visualizer.example")
	f(errOrigin, "127.0.0.1:1", "Origin", "https://visualizer.example.evil")
	f(errOrigin, "127.0.0.1:1", "Origin", "null")
	f(errOrigin, "127.0.0.1:1", "Origin", "https://visualizer.example", "Origin", "https://evil.example")
}

func TestCheckOrigin(t *testing.T) {
	for _, o := range []string{"https://visualizer.example", "http://localhost:3000"} {
		require.NoError(t, CheckOrigin(o), o)
	}
	for _, o := range []string{"", "*", "null", "https://*", "https://*.example", "visualizer.example", "https://visualizer.example/", "https://a@b", "file:///x", "https://x?y"} {
		require.Error(t, CheckOrigin(o), o)
	}
}
