package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRequest: a request of any method, path, query, host, headers and body is answered without
// a panic, changes nothing without the token, and what it says comes back as JSON or text only.
func FuzzRequest(f *testing.F) {
	changed := 0
	d := deps()
	d.Top = func(kind string, n int) (any, error) { return []string{kind}, nil }
	d.Kick = func(string) bool { changed++; return true }
	cfg := config()
	cfg.EnableBroadcast = true
	tokens := filepath.Join(f.TempDir(), "tokens")
	require.NoError(f, os.WriteFile(tokens, []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	cfg.TokenFiles = []string{tokens}
	s, err := New(cfg, d)
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	f.Add("GET", base+"/top", "kind=cids&n=20", "localhost", "Bearer x", "")
	f.Add("DELETE", base+"/subscribers/tcp-1", "", "127.0.0.1:8432", "", "")
	f.Add("POST", base+"/broadcast_want", "", "[::1]", "Bearer ", `{"cids":[{"path":"bafy"}]}`)
	f.Add("GET", base+"/history", "since=1h&step=30s", "evil.example", "Basic x", "\x00")
	f.Add("OPTIONS", "//metric_plugin/v1/../ping", "%", "localhost:x", "\xff", "{")
	f.Fuzz(func(t *testing.T, method, path, query, host, authorization, body string) {
		q, err := http.NewRequest("GET", "http://localhost/", strings.NewReader(body))
		require.NoError(t, err)
		q.Method, q.Host, q.URL = method, host, &url.URL{Path: path, RawQuery: query}
		q.RemoteAddr = "127.0.0.1:1234"
		q.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, q)
		require.Zero(t, s.Stats().Panics)
		require.Zero(t, changed, "without a token something was changed")
		require.NotContains(t, w.Header().Get("Content-Type"), "html")
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	})
}
