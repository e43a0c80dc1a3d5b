package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// evil is a text that takes over a terminal that prints it.
const evil = `\u001b]0;owned\u0007\u001b[31m\u202e`

// topServer answers like a monitor, whose every text is hostile.
func topServer(t *testing.T, token string) (*httptest.Server, *atomic.Uint64) {
	t.Helper()
	messages := new(atomic.Uint64)
	answer := func(w http.ResponseWriter, status int, result string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status": %d, "result": %s}`, status, result)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/metric_plugin/v1/version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"version": "0.1.0`+evil+`", "monitor": "de1`+evil+`"}`)
	})
	mux.HandleFunc("/metric_plugin/v1/pipeline", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, fmt.Sprintf(`{"capture": {"received": {"messages": %d, "block_bytes": 2097152}, "sent": {}, "limited": 3}, "bus": {"readers": [{"name": "influx%s", "missed": 7}]},
			"influx": {"stored": 12, "destinations": [{"name": "main%[2]s", "failing": true, "last_error": "down%[2]s", "queued": 9, "rejected": 4}]}}`, messages.Load(), evil))
	})
	mux.HandleFunc("/metric_plugin/v1/ready", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		fmt.Fprint(w, `{"status": 503, "error": "main: points wait`+evil+`"}`)
	})
	mux.HandleFunc("/metric_plugin/v1/top", func(w http.ResponseWriter, q *http.Request) {
		if q.FormValue("kind") == "cids" {
			answer(w, 200, `{"entries": [{"cid": "bafy`+evil+`", "wants": 5, "error": 1, "peers": 2}]}`)
			return
		}
		answer(w, 200, `{"entries": [{"peer": "12D3`+evil+`", "agent": "kubo/0.43`+evil+`", "wants": 6}]}`)
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# TYPE ipfsmon_peers gauge\nipfsmon_peers{direction=\"inbound\",transport=\"tcp\"} 3\nipfsmon_peers{direction=\"outbound\",transport=\"tcp\"} 4\n"+
			"# TYPE plugin_metric_export_wiretap_peers gauge\nplugin_metric_export_wiretap_peers 7\n# TYPE ipfsmon_known_peers gauge\nipfsmon_known_peers 70\n"+
			"# TYPE plugin_metric_export_peers_by_agent_version gauge\nplugin_metric_export_peers_by_agent_version{agent_version=\"a\x1b[31mb\"} 7\n"+
			"# TYPE ipfsmon_retrieval_to_block_seconds summary\nipfsmon_retrieval_to_block_seconds{source=\"routing\",quantile=\"0.5\"} 0.0125\n"+
			"ipfsmon_retrieval_to_block_seconds{source=\"routing\",quantile=\"0.9\"} NaN\nipfsmon_retrieval_to_block_seconds{source=\"routing\",quantile=\"0.99\"} 2.5\n"+
			"ipfsmon_retrieval_to_block_seconds_count{source=\"routing\"} 8\nipfsmon_retrieval_to_block_seconds_sum{source=\"routing\"} 1\n")
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if token != "" && q.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, `{"status": 401, "error": "want a token"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	return s, messages
}

// TestTopShows: all views show what the monitor has, every line fits the terminal, and no text
// of the monitor's reaches it unclean.
func TestTopShows(t *testing.T) {
	server, messages := topServer(t, "secret")
	s := newTopSource(strings.TrimPrefix(server.URL, "http://"), listen.To{Token: "secret"})
	first, err := s.read(t.Context())
	require.NoError(t, err)
	messages.Store(500)
	second, err := s.read(t.Context())
	require.NoError(t, err)
	second.At = first.At.Add(2 * time.Second)
	m := newTopModel(s, first, 2*time.Second)
	require.Contains(t, m.View(), "waiting for the second reading")
	m.add(topRead{reading: second})
	want := [][]string{
		{"messages              250.0          0.0", "messages received, at most 250.0 a second", "█"},
		{"5±1        2  bafy"},
		{"12D3", "kubo/0.43", "7  tcp", "7  a"},
		{"want to block, routing", "12.5ms", "2.5s", "-", "8"},
		{"events missed by influx", "7", "points rejected, main", "4", "waiting for main"},
	}
	for _, width := range []int{120, 80, 30} {
		m.width, m.height = width, 40
		for view, texts := range want {
			m.choose(view)
			screen := m.View()
			require.Equal(t, m.height, strings.Count(screen, "\n")+1)
			for line := range strings.Lines(screen) {
				require.LessOrEqual(t, runewidth.StringWidth(strings.TrimSuffix(line, "\n")), width)
			}
			require.NotContains(t, screen, "\x1b")
			require.NotContains(t, screen, "\x07")
			require.NotContains(t, screen, "\u202e")
			if width == 120 {
				for _, text := range append(texts, "de1", "7 peers connected, 70 known", "12 points stored", "main", "down", "not ready: main: points wait") {
					require.Contains(t, screen, text, topViews[view].name)
				}
			}
		}
	}

	// A monitor that is gone keeps the last figures, and the view says so.
	m.add(topRead{err: fmt.Errorf("connection refused\x1b[31m")})
	m.width = 120
	require.Contains(t, m.View(), "no answer: connection refused")
	require.NotContains(t, m.View(), "\x1b")
	require.Contains(t, m.View(), "7 peers connected")

	// Without the token there is an error that says what is missing.
	_, err = newTopSource(server.URL, listen.To{}).read(t.Context())
	require.ErrorContains(t, err, "401")
}

// TestTopRestart: a counter that is smaller than before is of a monitor that was started again.
func TestTopRestart(t *testing.T) {
	old := &topReading{At: time.Unix(0, 0), pipe: pipeline.Pipeline{Capture: pipeline.Capture{Received: pipeline.Traffic{Messages: 100}}}}
	r := &topReading{At: time.Unix(2, 0), pipe: pipeline.Pipeline{Capture: pipeline.Capture{Received: pipeline.Traffic{Messages: 10}}}}
	r.since(old)
	require.Zero(t, r.Rates[0].Received)
}

// TestTopKeys drives the view through a terminal: each key does what the last line says.
func TestTopKeys(t *testing.T) {
	server, _ := topServer(t, "")
	s := newTopSource(server.URL, listen.To{})
	first, err := s.read(t.Context())
	require.NoError(t, err)
	m := newTopModel(s, first, 2*time.Second)
	m.width = 400
	press := func(k tcell.Key, r rune) bool { return m.key(tcell.NewEventKey(k, r, 0)) }
	f := func(view int, k tcell.Key, r rune) {
		t.Helper()
		require.False(t, press(k, r))
		require.Equal(t, view, m.view)
	}
	f(1, tcell.KeyTab, 0)
	f(4, tcell.KeyRune, '5')
	f(0, tcell.KeyRight, 0)
	f(4, tcell.KeyBacktab, 0)
	press(tcell.KeyRune, 'p')
	require.True(t, m.paused)
	require.Contains(t, m.View(), "paused")
	press(tcell.KeyRune, '+')
	require.Equal(t, time.Second, m.every)
	for range 20 {
		press(tcell.KeyRune, '-')
	}
	require.Equal(t, time.Minute, m.every)
	m.height = headLines + 3
	for range 50 {
		press(tcell.KeyPgDn, 0)
	}
	m.View()
	require.Equal(t, len(m.body())-3, m.scroll, "it stops at the end")
	press(tcell.KeyUp, 0)
	require.Contains(t, m.View(), "1 more below")
	require.True(t, press(tcell.KeyRune, 'q'))
	require.True(t, press(tcell.KeyCtrlC, 0))
}
