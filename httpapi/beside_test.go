package httpapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

	methods := func(method string) string {
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(method, "http://127.0.0.1/ui/app.js", nil))
		return w.Body.String()
	}
	require.Equal(t, "page", methods(http.MethodHead))
	require.NotEqual(t, "page", methods(http.MethodPost), "the page is only read")

	d.Page, d.Introspect = nil, nil
	s, err = New(config(), d)
	require.NoError(t, err)
	defer s.Close()
	f("/introspect", false, 404, "")
	f("/ui/app.js", false, 404, "")
	f("/", false, 200, "check out", "Accept", "text/html")
}

// TestHistoryBounds: at each bound of a history, one below and one above.
func TestHistoryBounds(t *testing.T) {
	d := fullDeps()
	var asked string
	d.History = func(_ context.Context, since, step time.Duration) (*History, error) {
		asked = fmt.Sprint(since, " ", step)
		return &History{}, nil
	}
	s, err := New(config(), d)
	require.NoError(t, err)
	defer s.Close()
	f := func(query, want string) {
		t.Helper()
		asked = ""
		status, body := asks(t, s, base+"/history"+query, false)
		if status == http.StatusOK {
			require.Equal(t, want, asked, query)
			return
		}
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, body, want, query)
	}
	f("", "1h0m0s 30s")
	f("?since=1m", "1m0s 30s")
	f("?since=59s", "since: want a duration from 1m0s to 24h0m0s, as in 1h0m0s")
	f("?since=24h", "24h0m0s 1m27s") // the shortest step that makes at most 1,000
	f("?since=24h1s", "since: want")
	f("?since=24h&step=24h", "24h0m0s 24h0m0s")
	f("?step=24h1s", "step: want")
	f("?since=1000s&step=1s", "16m40s 1s")
	f("?since=1001s&step=1s", "this makes 1001 steps, want at most 1000")
	f("?since=90.9s&step=1.9s", "1m30s 1s")
}

// timed is a recorder of an answer that counts how often its deadlines are set.
type timed struct {
	httptest.ResponseRecorder
	reads, writes []time.Time
}

func (w *timed) SetReadDeadline(t time.Time) error  { w.reads = append(w.reads, t); return nil }
func (w *timed) SetWriteDeadline(t time.Time) error { w.writes = append(w.writes, t); return nil }

// TestLongAnswersHaveMoreTime: a list of peers has writeTimeout for every 256 of them. A
// broadcast has no deadline while it sends, and its answer has one, whatever it says.
func TestLongAnswersHaveMoreTime(t *testing.T) {
	d := fullDeps()
	peers := 3*deadlineEvery + 1
	d.Peers = func(bool) (int, iter.Seq[PeerMetadata]) {
		return peers, func(yield func(PeerMetadata) bool) {
			for i := 0; i < peers && yield(PeerMetadata{}); i++ {
			}
		}
	}
	s, err := New(tokenConfig(t), d)
	require.NoError(t, err)
	defer s.Close()
	f := func(method, path, body string, status int, zero, later int) {
		t.Helper()
		begin := time.Now()
		w := &timed{ResponseRecorder: *httptest.NewRecorder()}
		q := httptest.NewRequest(method, "http://127.0.0.1"+base+path, strings.NewReader(body))
		q.Header.Set("Authorization", "Bearer "+goodToken)
		s.handler().ServeHTTP(w, q)
		require.Equal(t, status, w.Code, w.Body)
		require.Len(t, w.writes, zero+later, path)
		for i, at := range w.writes {
			require.Equal(t, i < zero, at.IsZero(), path)
			require.True(t, at.IsZero() || !at.Before(begin.Add(writeTimeout)), path)
		}
		require.Len(t, w.reads, zero)
	}
	f("GET", "/sample_peer_metadata", "", 200, 0, 3)
	f("POST", "/broadcast_want", oneCID, 200, 1, 1)
	f("POST", "/broadcast_want_cancel", strings.TrimSuffix(oneCID, "}")+`,"seconds_before_cancel":3601}`, 400, 1, 1)
}
