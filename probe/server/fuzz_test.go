package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRequest: a request of any method, path, query, headers and body is answered without a
// panic and without an error of the server's own, in bounded length.
func FuzzRequest(f *testing.F) {
	s := start(f, nil)
	h := s.handler()
	f.Add("POST", "/provide", "", "application/json", `{"Content":"aGVsbG8=","Target":"DHT"}`)
	f.Add("POST", "/provide", "generation=2", "", `{"Content":"","Routing":"IPNI"}`)
	f.Add("POST", "/retrieve/bafkreibw6okph2aje7r67rcp2st25v4myt6md2elnos4rscwdttbbbtima", "generation=x", "image/png", "{")
	f.Add("GET", "/readiness", "", "", "")
	f.Add("PUT", "/retrieve/../../etc/passwd", "%", "\xff", "[]")
	f.Fuzz(func(t *testing.T, method, path, query, kind, body string) {
		q, err := http.NewRequest("POST", "http://localhost/", strings.NewReader(body))
		require.NoError(t, err)
		q.Method, q.URL, q.RemoteAddr = method, &url.URL{Path: path, RawQuery: query}, "127.0.0.1:1234"
		q.Header.Set("Content-Type", kind)
		q.Header.Set(SchedulerHeader, kind)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, w.Body)
		require.Less(t, w.Body.Len(), 64<<10)
	})
}
