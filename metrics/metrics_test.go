package metrics

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go generate ./metrics writes it")
}

func TestDoc(t *testing.T) { golden(t, filepath.Join("..", "docs", "prometheus.md"), Doc()) }

// everyPart returns counters with a different number in every field.
func everyPart() pipeline.Pipeline {
	return pipeline.Pipeline{
		Capture: pipeline.Capture{
			Received: pipeline.Traffic{Messages: 1, WantBlock: 2, WantHave: 3, Cancel: 4, Have: 5, DontHave: 6, Blocks: 7, BlockBytes: 8, Truncated: 9},
			Sent:     pipeline.Traffic{Messages: 11, WantBlock: 12, WantHave: 13, Cancel: 14, Have: 15, DontHave: 16, Blocks: 17, BlockBytes: 18, Truncated: 19},
			Limited:  20, SendErrors: 21, Panics: 22, HTTPWants: 126, HTTPMessages: 123, HTTPBlocks: 124, HTTPBlockBytes: 125,
			DHT: []pipeline.DHTRequests{{Direction: "received", Type: "find_node", Status: "ok", Requests: 127}, {Direction: "sent", Type: "unsent", Status: "timeout", Requests: 128}},
		},
		Bus: pipeline.Bus{Published: 30, Held: 31, HeldBytes: 32, Readers: []pipeline.Reader{
			{Name: "stream", Read: 33, Missed: 34, Behind: 35}, {Name: "influx", Read: 36, Missed: 37, Behind: 38}}},
		Stream: &pipeline.Stream{Slow: []pipeline.Slow{{ID: "tcp-127.0.0.1:4001", DroppedFrames: 2, DroppedEvents: 3}}, Subscribers: 40, Accepted: 41, Refused: 42, FailedHandshakes: 43, Events: 44, OfferedRawBytes: 45,
			OfferedBytes: 46, SentFrames: 47, SentBytes: 48, DroppedFrames: 49, Panics: 50, FailedTokens: 51, BatchedEvents: 52,
			SentEvents: 53, DroppedEvents: 54, Kicked: 55},
		Derive: &pipeline.Derive{Events: 80, Wants: 81, Matched: 82, Unmatched: 83, Expired: 84, Lost: 85, RepeatsLost: 86, Latencies: 87,
			LatenciesHeld: 88, Refused: 89, Pending: 90, Held: 91, Panics: 92, Floods: 193, Flooding: 194, FloodsLost: 195},
		Origin:  &pipeline.Origin{Gateways: 95},
		Clock:   pipeline.ClockSteps{Back: 98, Forward: 99},
		Privacy: []pipeline.Privacy{{Sink: "influx", Mode: "raw", Panics: 96}, {Sink: "stream", Mode: "aggregate", Panics: 97}},
		Influx: &pipeline.Influx{Events: 60, Panics: 68, LateSums: 169, Destinations: []pipeline.Destination{
			{Name: "main", URL: "http://influx", Delivery: pipeline.Delivery{Accepted: 61, Stored: 62, Dropped: 63, Rejected: 64, Queued: 65, QueueBytes: 66,
				LagSeconds: 6.7, Failing: true, LastError: "x", Damaged: 161, Expired: 162, Others: 163, Restored: 164, SpoolBytes: 165, SpoolFull: 0.166,
				SpoolError: "y", BatchSize: 167, Requests: 168}},
			{Name: "cloud", Delivery: pipeline.Delivery{Accepted: 261, Stored: 262}}}},
		Broker: &pipeline.Broker{Panics: 300, Exchanges: []pipeline.Exchange{
			{Name: "v3", Exchange: "ipfs.passive_monitoring", Accepted: 301, Delivered: 302, Dropped: 303, Rejected: 304, Queued: 305, QueueBytes: 306, LagSeconds: 30.7, Connected: true},
			{Name: "v4", Exchange: "ipfsmon.events", Accepted: 311, Delivered: 312, Dropped: 313, Damaged: 314, Rejected: 315, Restored: 316, Queued: 317, QueueBytes: 318,
				LagSeconds: 31.9, SpoolBytes: 320, SpoolFull: 0.321, SpoolError: "x", Blocked: true, Failing: true, LastError: "y"}}},
		Store: &pipeline.Store{Up: true, Restarts: 72, Stuck: 73, Hung: 74},
		HTTP: &pipeline.HTTP{Requests: []pipeline.Requests{{Route: "/metrics", Code: 200, Count: 70}, {Route: "other", Code: 404, Count: 71}},
			Connections: 72, Panics: 73},
	}
}

func sample() *event.Event {
	return &event.Event{Kind: event.KindSample, Sample: &event.Sample{
		Conns: 100, Known: 101,
		Peers: []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 10}, {Transport: "quic-v1", Peers: 20}},
		Agents: []event.AgentCount{{Agent: "kubo/0.43.0", Peers: 25}, {Agent: "unknown", Peers: 5},
			{Agent: event.OthersAgent, Peers: 0}},
		Protocols: []event.ProtocolCount{{Protocol: "/ipfs/id/1.0.0", Peers: 30}, {Protocol: "/ipfs/bitswap/1.2.0", Peers: 29},
			{Protocol: event.Others, Peers: 3}},
		Streams: []event.StreamCount{{Protocol: "/ipfs/bitswap/1.2.0", Direction: "outbound", Streams: 7},
			{Protocol: "/ipfs/bitswap/1.1.0", Direction: "outbound", Streams: 2}, {Protocol: "/ipfs/bitswap/1.2.0", Direction: "inbound", Streams: 6},
			{Protocol: "", Direction: "unknown", Streams: 1}, {Protocol: "/ipfs/ping/1.0.0", Direction: "inbound"}},
	}}
}

// summary has a different number in every field that is a metric.
func summary() *event.Event {
	n := uint64(1000)
	next := func() uint64 { n++; return n }
	times := func() event.LatencyStats {
		return event.LatencyStats{Count: next(), Sum: time.Duration(next()) * time.Second, P50: time.Duration(next()), P90: time.Duration(next()), P99: time.Duration(next()), Max: time.Duration(next())}
	}
	s := &event.Summary{Retrieval: event.SummaryRetrieval{Wanted: next(), GivenUp: next(), Unanswered: next(), Waiting: int(next()), Surplus: next(), SurplusBytes: next(),
		Searches: next(), Providers: next(), NotFound: next(), Search: times()},
		Coverage: event.Coverage{Families: []event.FamilyCoverage{{Family: "kubo", Connected: 9, Asked: 3, Broadcast: 2}, {Family: "other", Connected: 1}}}}
	for i := range s.Retrieval.Sources {
		s.Retrieval.Sources[i] = event.SourceStats{Blocks: next(), Bytes: next(), ToProvider: times(), ToBlock: times()}
	}
	s.Retrieval.Sources[event.SourceUnknown].ToBlock = event.LatencyStats{} // none in the last interval: no quantiles
	for m := range s.Requests {
		for o := range s.Requests[m] {
			s.Requests[m][o] = event.RequestStats{Bytes: next(), Took: times()}
		}
	}
	return &event.Event{Kind: event.KindSummary, Summary: s}
}

// TestSummariesAddUp: counters are of all intervals, quantiles and gauges of the last.
func TestSummariesAddUp(t *testing.T) {
	m := newTest(t, Config{})
	require.NotContains(t, page(t, m.Handler()), "ipfsmon_retrieval", "before the first interval ended")
	one := func(blocks uint64, took time.Duration, waiting int) *event.Event {
		s := &event.Summary{Retrieval: event.SummaryRetrieval{Waiting: waiting}}
		if blocks > 0 {
			s.Retrieval.Sources[event.SourceHTTP] = event.SourceStats{Blocks: blocks, Bytes: 10 * blocks,
				ToBlock: event.LatencyStats{Count: blocks, Sum: took * time.Duration(blocks), P50: took, P90: took, P99: took, Max: took}}
		}
		return &event.Event{Kind: event.KindSummary, Summary: s}
	}
	m.take(one(3, time.Second, 7))
	m.take(one(2, 2*time.Second, 0))
	got := page(t, m.Handler())
	require.Contains(t, got, `ipfsmon_retrieval_blocks_total{source="http"} 5`)
	require.Contains(t, got, `ipfsmon_retrieval_block_bytes_total{source="http"} 50`)
	require.Contains(t, got, `ipfsmon_retrieval_to_block_seconds_sum{source="http"} 7`)
	require.Contains(t, got, `ipfsmon_retrieval_to_block_seconds_count{source="http"} 5`)
	require.Contains(t, got, `ipfsmon_retrieval_to_block_seconds{source="http",quantile="0.9"} 2`)
	require.Contains(t, got, "ipfsmon_retrieval_waiting 0\n")
	m.take(one(0, 0, 0))
	got = page(t, m.Handler())
	require.Contains(t, got, `ipfsmon_retrieval_to_block_seconds_count{source="http"} 5`)
	require.NotContains(t, got, "quantile", "no block came in the last interval")
}

func newTest(t testing.TB, cfg Config) *Metrics {
	cfg.Version, cfg.Kubo, cfg.Monitor = "0.1.0", "0.43.0", "here"
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func scrape(h http.Handler, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	q := httptest.NewRequest("GET", "/metrics", nil)
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	h.ServeHTTP(w, q)
	return w
}

func page(t testing.TB, h http.Handler) string {
	w := scrape(h)
	require.Equal(t, 200, w.Code, w.Body.String())
	return w.Body.String()
}

// TestGolden holds names, types, labels, help and values of all metrics.
func TestGolden(t *testing.T) {
	m := newTest(t, Config{Pipeline: everyPart})
	m.take(sample())
	m.take(summary())
	m.take(summary())
	got := page(t, m.Handler())
	golden(t, filepath.Join("testdata", "metrics.prom"), got)
	for _, f := range Families() {
		require.Contains(t, got, fmt.Sprintf("# TYPE %s %s\n", f.Name, f.Kind))
		require.Contains(t, got, "\n"+f.Name, "a value")
	}
}

func TestOldNames(t *testing.T) {
	want := []string{"peers_supported_protocols", "peers_by_agent_version", "open_streams", "bitswap_senders",
		"wiretap_peers", "wiretap_connections", "wiretap_sent_bytes"}
	var got []string
	for _, f := range Families() {
		if rest, ok := strings.CutPrefix(f.Name, "plugin_metric_export_"); ok {
			got = append(got, rest)
			continue
		}
		require.True(t, strings.HasPrefix(f.Name, "ipfsmon_"), f.Name)
	}
	require.Equal(t, want, got)
}

// TestNothingYet: before the first sample, with every sink off.
func TestNothingYet(t *testing.T) {
	got := page(t, newTest(t, Config{}).Handler())
	require.NotContains(t, got, "plugin_metric_export")
	require.Contains(t, got, "ipfsmon_info{")
	got = page(t, newTest(t, Config{Pipeline: func() pipeline.Pipeline { return pipeline.Pipeline{} }}).Handler())
	require.Contains(t, got, "ipfsmon_bus_published_events_total 0\n")
	require.NotContains(t, got, "ipfsmon_influx")
	require.NotContains(t, got, "ipfsmon_stream")
}

func TestRegisterAndUnregister(t *testing.T) {
	reg := prometheus.NewRegistry()
	other := prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "of the node"})
	reg.MustRegister(other)
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	m := newTest(t, Config{Registerer: reg, Pipeline: everyPart})
	require.Contains(t, page(t, h), "ipfsmon_info{")

	// Closing a second monitor does not affect the first.
	var log bytes.Buffer
	second := newTest(t, Config{Registerer: reg, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.Contains(t, log.String(), "another monitor")
	require.Contains(t, page(t, second.Handler()), "ipfsmon_info{")
	require.NoError(t, second.Close())
	require.Contains(t, page(t, h), "ipfsmon_bus_published_events_total 30\n")

	for range 3 {
		require.NoError(t, m.Close())
	}
	got := page(t, h)
	require.NotContains(t, got, "ipfsmon")
	require.NotContains(t, got, "plugin_metric_export")
	require.Contains(t, got, "other 0\n")
	require.Contains(t, page(t, newTest(t, Config{Registerer: reg}).Handler()), "ipfsmon_info{")
	require.Contains(t, page(t, h), "ipfsmon_info{", "there is room for the next")

	_, err := New(Config{Registerer: refusing{}})
	require.ErrorContains(t, err, "no room")
}

type refusing struct{ prometheus.Registerer }

func (refusing) Register(prometheus.Collector) error { return fmt.Errorf("no room") }

func TestRun(t *testing.T) {
	b := bus.New(bus.Config{})
	m := newTest(t, Config{})
	r := b.Subscribe("metrics")
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context(), r) }()
	b.Publish(&event.Event{Kind: event.KindMessage})
	b.Publish(sample())
	require.Eventually(t, func() bool {
		return strings.Contains(page(t, m.Handler()), "plugin_metric_export_wiretap_connections 100\n")
	}, 30*time.Second, time.Millisecond)
	later := sample()
	later.Sample.Conns = 5
	later.Sample.Protocols = nil
	b.Publish(later)
	b.Close()
	require.NoError(t, <-done)
	r.Close()
	got := page(t, m.Handler())
	require.Contains(t, got, "plugin_metric_export_wiretap_connections 5\n")
	require.NotContains(t, got, "peers_supported_protocols{", "values that are not in the last sample are not exposed")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b = bus.New(bus.Config{})
	r = b.Subscribe("metrics")
	require.NoError(t, m.Run(ctx, r))
	r.Close()
	b.Close()
}

// TestFaults: a fault in the monitor removes its metrics and not the page.
func TestFaults(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "of the node"}))
	log, lines := guardtest.New()
	m := newTest(t, Config{Registerer: reg, Logger: log, Pipeline: func() pipeline.Pipeline { panic("here") }})
	var got string
	for range 2 {
		got = page(t, promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
		require.Contains(t, got, "other 0\n")
	}
	m.take(nil)
	m.take(nil)
	require.EqualValues(t, 4, m.Panics())
	lines.Once(t, "metrics: collect", "metrics.TestFaults.func")
	lines.Once(t, "metrics: read a sample", "metrics.(*Metrics).take")

	p := everyPart()
	p.Bus.Readers = append(p.Bus.Readers, p.Bus.Readers[0], pipeline.Reader{Name: "\xff"})
	e := sample()
	e.Sample.Peers = append(e.Sample.Peers, e.Sample.Peers...)
	e.Sample.Protocols = append(e.Sample.Protocols, event.ProtocolCount{Protocol: "\xff\xfe"}, e.Sample.Protocols[0])
	e.Sample.Streams = append(e.Sample.Streams, event.StreamCount{Protocol: "/x", Direction: "sideways", Streams: 1}, e.Sample.Streams[0])
	m = newTest(t, Config{Pipeline: func() pipeline.Pipeline { return p }})
	m.take(e)
	m.take(&event.Event{Kind: event.KindSample})
	got = page(t, m.Handler())
	require.Contains(t, got, `plugin_metric_export_open_streams{direction="unknown",protocol="/x"} 1`)
	require.Contains(t, got, `ipfsmon_bus_read_events_total{reader="stream"} 33`)
	require.NotContains(t, got, "\xff")
	require.Zero(t, m.Panics())
}

// TestScrapes covers the row "Prometheus" of the hostile requests.
func TestScrapes(t *testing.T) {
	e := sample()
	for _, raw := range []string{"a\nb", `"} 1` + "\nforged 1", `\`, "", "<script>", "日本", "\xff", "\u202e", "x=y,z"} {
		e.Sample.Agents = append(e.Sample.Agents, event.AgentCount{Agent: event.Clean(raw, event.MaxAgentText), Peers: 1})
		e.Sample.Protocols = append(e.Sample.Protocols, event.ProtocolCount{Protocol: event.Text(raw), Peers: 1}) // not cleaned
	}
	m := newTest(t, Config{Pipeline: everyPart})
	m.take(e)
	got := page(t, m.Handler())
	for line := range strings.Lines(got) {
		require.Regexp(t, `^(# (HELP|TYPE) )?(ipfsmon|plugin_metric_export)_`, line, "a line was forged")
	}
	require.Contains(t, got, `{agent_version="日本"} 1`)
	require.Contains(t, got, `{protocol="\"} 1\nforged 1"} 1`)

	f := func(headers ...string) {
		t.Helper()
		w := scrape(m.Handler(), headers...)
		require.Equal(t, 200, w.Code)
		require.NotZero(t, w.Body.Len())
	}
	f("Accept", "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8")
	f("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	f("Accept", "text/plain;version=0.0.4;escaping=\"x\ny\"")
	f("Accept", strings.Repeat("*/*;q=0.1,", 1000))
	f("Accept", "image/png", "Accept-Encoding", "br;q=1, gzip;q=0, *;q=NaN")
	f("Accept-Encoding", "zstd, gzip")

	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 100 {
		wg.Go(func() {
			w := scrape(m.Handler())
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	wg.Wait()
	require.Equal(t, 100, codes[200]+codes[503], "%v", codes)
	require.Positive(t, codes[200])
	_, err := io.Copy(io.Discard, strings.NewReader(page(t, m.Handler())))
	require.NoError(t, err, "and it continues afterwards")
}
