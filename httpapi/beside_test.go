package httpapi

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/access"
)

// asks returns the status and body of a GET with headers, from a listener with or without
// a token.
func asks(t *testing.T, s *Server, path string, needsIt bool, headers ...string) (int, string) {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		q.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, q.WithContext(access.WithNeedsToken(q.Context(), needsIt)))
	return w.Code, w.Body.String()
}

// TestPageAndSocketBesideTheAPI: the page's files need no token; the socket needs one
// where everything does; curl gets the text of the old exporter.
func TestPageAndSocketBesideTheAPI(t *testing.T) {
	d := deps()
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	d.Page, d.Introspect = say("page"), say("socket")
	s, err := New(tokenConfig(t), d)
	require.NoError(t, err)
	defer s.Close()

	f := func(path string, needsIt bool, status int, body string, headers ...string) {
		t.Helper()
		got, text := asks(t, s, path, needsIt, headers...)
		require.Equal(t, status, got, "%s %v", path, headers)
		require.Contains(t, text, body)
	}
	f("/", false, 200, "page", "Accept", "text/html,*/*")
	f("/", false, 200, "check out", "Accept", "*/*")
	f("/ui/app.js", false, 200, "page")
	f("/introspect", false, 200, "socket")
	f("/", true, 200, "page", "Accept", "text/html")
	f("/ui/app.js", true, 200, "page")
	f("/introspect", true, 401, "no valid token")
	f(base+"/ping", true, 401, "no valid token")
	socket := func(token string) string {
		return "ipfsmon.introspect, ipfsmon.bearer." + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	f("/introspect", true, 200, "socket", "Sec-WebSocket-Protocol", socket(goodToken))
	f("/introspect", true, 200, "socket", "Authorization", "Bearer "+goodToken)
	f("/introspect", true, 401, "no valid token", "Sec-WebSocket-Protocol", socket("wrong"))
	f("/introspect", true, 401, "no valid token", "Sec-WebSocket-Protocol", "ipfsmon.bearer.%%%")
	f(base+"/ping", true, 401, "no valid token", "Sec-WebSocket-Protocol", socket(goodToken)) // of an endpoint with sockets only
	f("/ui/app.js", false, 403, "origin", "Origin", "http://evil.example")
	f("/", false, 403, "origin", "Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")
	f("/", false, 200, "page", "Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")

	d.Page, d.Introspect = nil, nil
	s, err = New(config(), d)
	require.NoError(t, err)
	defer s.Close()
	f("/introspect", false, 404, "")
	f("/ui/app.js", false, 404, "")
	f("/", false, 200, "check out", "Accept", "text/html")
}
