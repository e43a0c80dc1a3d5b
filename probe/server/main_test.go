package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRouter finds the CIDs in it.
type fakeRouter struct {
	known map[cid.Cid]peer.ID
	err   error
	hold  chan struct{} // nil: answers at once
}

func (f *fakeRouter) Provide(ctx context.Context, c cid.Cid, _ bool) error {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.err
}

func (f *fakeRouter) FindProvidersAsync(_ context.Context, c cid.Cid, _ int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo, 1)
	if p, ok := f.known[c]; ok {
		out <- peer.AddrInfo{ID: p}
	}
	close(out)
	return out
}

// running is a server in a test.
type running struct {
	*Server
	t      testing.TB
	router *fakeRouter
	reg    *prometheus.Registry
	token  string
}

func start(t testing.TB, change func(*Config)) *running {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics())
	require.NoError(t, err)
	r := &running{t: t, router: &fakeRouter{known: map[cid.Cid]peer.ID{}}, reg: prometheus.NewRegistry()}
	m, err := probe.NewServerMetrics(r.reg, func() float64 { return 5 }, func() float64 { return 7 })
	require.NoError(t, err)
	cfg := Config{Address: "127.0.0.1:0", Metrics: m, Measurer: &probe.Measurer{Host: h, Router: r.router, Table: func() int { return 42 }}}
	if change != nil {
		change(&cfg)
	}
	r.token = cfg.Token
	r.Server, err = New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, h.Close())
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

type answered struct {
	status int
	kind   string
	body   string
	header http.Header
}

func (r *running) ask(method, path, body string, header ...string) answered {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.Addr().String()+path, strings.NewReader(body))
	require.NoError(r.t, err)
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return answered{res.StatusCode, res.Header.Get("Content-Type"), string(bytes.TrimSpace(b)), res.Header}
}

// fakeNodes is a store of servers.
type fakeNodes struct {
	calls chan string
	fail  chan error // each heartbeat removes one; nil when empty
}

func (f *fakeNodes) AddNode(_ context.Context, n *store.Node) (int, error) {
	b, err := json.Marshal(n)
	f.calls <- "add " + string(b)
	return 17, err
}

func (f *fakeNodes) Heartbeat(context.Context, int) error {
	f.calls <- "heartbeat"
	select {
	case err := <-f.fail:
		return err
	default:
		return nil
	}
}

func (f *fakeNodes) Offline(context.Context, int) error {
	f.calls <- "offline"
	return nil
}

func next(t *testing.T, calls chan string) string {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(60 * time.Second):
		require.FailNow(t, "nothing was written to the store")
		return ""
	}
}

// TestRow: a server adds its row, writes heartbeats, soon retries one that failed, and
// marks itself offline at the end.
func TestRow(t *testing.T) {
	nodes := &fakeNodes{calls: make(chan string, 100), fail: make(chan error, 1)}
	nodes.fail <- io.ErrUnexpectedEOF
	m, err := probe.NewServerMetrics(prometheus.NewRegistry(), func() float64 { return 0 }, func() float64 { return 0 })
	require.NoError(t, err)
	s, err := New(Config{Address: "127.0.0.1:0", Metrics: m, Measurer: &probe.Measurer{}, Store: nodes, StartupDelay: time.Millisecond, Heartbeat: 10 * time.Millisecond,
		Node: store.Node{Fleet: "f", IP: netip.MustParseAddr("127.0.0.1")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	row := next(t, nodes.calls)
	require.Contains(t, row, `"Fleet":"f"`)
	require.NotContains(t, row, `"ServerPort":0`)
	for range 3 {
		require.Equal(t, "heartbeat", next(t, nodes.calls))
	}
	cancel()
	require.NoError(t, <-done)
	last := ""
	for len(nodes.calls) > 0 {
		last = <-nodes.calls
	}
	require.Equal(t, "offline", last)
}

func TestBeyondLoopback(t *testing.T) {
	_, err := New(Config{Address: "0.0.0.0:0"})
	require.ErrorContains(t, err, "loopback")
}
