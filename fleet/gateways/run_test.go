package gateways

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/geo"
	"github.com/ipfsmon/ipfsmon/stream"
)

// world is a monitor with a real stream, and a node that keeps blocks. Whoever is in
// spies asks the monitor for each block as soon as the node has it.
type world struct {
	t      *testing.T
	bus    *bus.Bus
	stream string
	api    *url.URL
	spies  []peer.ID

	mu      sync.Mutex
	blocks  map[string][]byte
	put     int
	removed int
}

func testPeer(n int) peer.ID {
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, fmt.Sprintf("%032d", n)...))
}

func newWorld(t *testing.T, spies ...peer.ID) *world {
	w := &world{t: t, blocks: map[string][]byte{}, spies: spies}
	s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Monitor: "de1", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	w.stream = s.Addrs()[0].String()
	w.bus = bus.New(bus.Config{})
	r := w.bus.Subscribe("stream")
	w.bus.Live()
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context(), r) }()
	t.Cleanup(func() { w.bus.Close(); <-done; s.Close() })
	node := httptest.NewServer(http.HandlerFunc(w.rpc))
	t.Cleanup(node.Close)
	w.api, err = url.Parse(node.URL)
	require.NoError(t, err)
	return w
}

func (w *world) rpc(out http.ResponseWriter, q *http.Request) {
	arg := q.URL.Query().Get("arg")
	switch method := strings.TrimPrefix(q.URL.Path, "/api/v0/"); {
	case q.Method != http.MethodPost:
		http.Error(out, "want POST", http.StatusMethodNotAllowed)
	case method == "block/put":
		f, _, err := q.FormFile("data")
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		data, _ := io.ReadAll(f)
		hash, _ := multihash.Sum(data, multihash.SHA2_256, -1)
		c := cid.NewCidV1(cid.Raw, hash)
		w.mu.Lock()
		w.blocks[c.String()] = data
		w.put++
		w.mu.Unlock()
		for _, spy := range w.spies {
			w.want(spy, c)
		}
		fmt.Fprintf(out, `{"Key":%q,"Size":%d}`, c, len(data))
	case method == "block/rm":
		w.mu.Lock()
		delete(w.blocks, arg)
		w.removed++
		w.mu.Unlock()
	case method == "id":
		_ = json.NewEncoder(out).Encode(map[string]string{"AgentVersion": "kubo/0.43.0\n" + testPeer(66).String() + "\x1b[31m"})
	default: // it cannot announce
		http.Error(out, "no peers", http.StatusInternalServerError)
	}
}

// want makes a peer ask the monitor for a block.
func (w *world) want(p peer.ID, c cid.Cid) {
	w.bus.Publish(&event.Event{Kind: event.KindMessage, Time: time.Now().UnixNano(), Peer: p, Wants: []event.Want{{CID: c, Type: event.WantHave}}})
}

// gateway serves blocks by a node that asks the monitor first.
func (w *world) gateway(by peer.ID, fails int) *httptest.Server {
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
		mu.Lock()
		fails--
		failing := fails >= 0
		mu.Unlock()
		if failing || !strings.HasPrefix(q.UserAgent(), "test") {
			out.Header().Set("Retry-After", "1")
			http.Error(out, "busy", http.StatusServiceUnavailable)
			return
		}
		text := strings.TrimPrefix(q.URL.Path, "/ipfs/")
		if c, err := cid.Decode(text); err == nil {
			w.want(by, c)
		}
		w.mu.Lock()
		data := w.blocks[text]
		w.mu.Unlock()
		_, _ = out.Write(data)
	}))
	w.t.Cleanup(s.Close)
	return s
}

// TestRun: the peer that asks after the gateway was asked is its node. One that
// asks for what no gateway was asked for is not; a redirect to elsewhere is not
// followed; the rate is kept; nothing stays on the node.
func TestRun(t *testing.T) {
	spy := testPeer(99)
	w := newWorld(t, spy)
	good, slow := w.gateway(testPeer(1), 0), w.gateway(testPeer(2), 2)
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	away := httptest.NewServer(http.RedirectHandler(strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound))
	defer away.Close()

	began := time.Now()
	var mu sync.Mutex
	each := 0
	r, err := Run(t.Context(), Config{
		Gateways: []string{good.URL, slow.URL + "/ipfs/:hash", away.URL}, Rate: 5, Tries: 3, Pause: time.Millisecond, Wait: 40 * time.Second, Agent: "test",
		Monitors: []Monitor{{Stream: w.stream, API: w.api}, {Name: "away", Stream: "127.0.0.1:1"}},
		Each:     func(Gateway) { mu.Lock(); each++; mu.Unlock() },
	})
	require.NoError(t, err)
	require.Equal(t, 3, each)
	require.Equal(t, "de1", r.Monitors[0].Name)
	require.Empty(t, r.Monitors[0].Error)
	require.Contains(t, r.Monitors[1].Error, "refused")

	ids := func(g Gateway) (out []string) {
		for _, p := range g.Peers {
			out = append(out, p.ID)
			require.Equal(t, []string{"de1"}, p.Monitors)
			require.NotContains(t, p.Agent, "\n")
			require.NotContains(t, p.Agent, "\x1b")
		}
		return out
	}
	requests := 0
	for _, g := range r.Gateways {
		requests += g.Requests
	}
	require.True(t, r.Gateways[0].Served)
	require.Equal(t, 1, r.Gateways[0].Requests)
	require.Equal(t, []string{testPeer(1).String()}, ids(r.Gateways[0]))
	require.True(t, r.Gateways[1].Served, r.Gateways[1].Error)
	require.Equal(t, 3, r.Gateways[1].Requests)
	require.Equal(t, []string{testPeer(2).String()}, ids(r.Gateways[1]))
	require.False(t, r.Gateways[2].Served)
	require.Equal(t, http.StatusFound, r.Gateways[2].Status)
	require.Empty(t, ids(r.Gateways[2]))
	require.Zero(t, elsewhere)
	require.Equal(t, spy.String(), r.Others[0].ID)
	require.GreaterOrEqual(t, time.Since(began), time.Duration(requests-1)*time.Second/5, "the rate")
	require.GreaterOrEqual(t, time.Since(began), 2*time.Second, "twice it said Retry-After: 1")
	w.mu.Lock()
	require.Equal(t, 4, w.put, "one for each gateway and the control")
	require.Equal(t, 4, w.removed)
	require.Empty(t, w.blocks)
	w.mu.Unlock()

	// The list is one that a monitor reads.
	path := filepath.Join(t.TempDir(), "list")
	var b bytes.Buffer
	require.NoError(t, r.WriteList(&b))
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	list, err := geo.Open(geo.Config{GatewayList: path})
	require.NoError(t, err, b.String())
	defer list.Close()
	require.Equal(t, 2, list.Gateways(), b.String())
	require.Equal(t, 2, r.Found())

	text, err := json.Marshal(r)
	require.NoError(t, err)
	for _, want := range []string{`"time":"`, `"monitors":[{"name":"de1","error":""}`, `"gateways":[{"url":"` + good.URL + `","cid":"bafk`, `"requests":1,"status":200,"served":true,"error":"","peers":[{"peer":"` + testPeer(1).String(), `"peers":[]`, `"others":[{"peer":"`} {
		require.Contains(t, string(text), want)
	}
}

// TestRunWithoutMonitors: what cannot work is an error at once, and sends nothing.
func TestRunWithoutMonitors(t *testing.T) {
	asked := false
	gateway := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer gateway.Close()
	nowhere, err := url.Parse("http://127.0.0.1:1")
	require.NoError(t, err)
	w := newWorld(t)
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := Config{Gateways: []string{gateway.URL}, Monitors: []Monitor{{Stream: w.stream, API: w.api}}}
		change(&cfg)
		_, err := Run(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
	f("no monitor with an RPC API", func(c *Config) { c.Monitors[0].API = nil })
	f("no monitor can be read: monitor 127.0.0.1:1: ", func(c *Config) { c.Monitors[0].Stream = "127.0.0.1:1" })
	f("put a block on the node at http://127.0.0.1:1: ", func(c *Config) { c.Monitors[0].API = nowhere })
	f("0 gateways: want 1 to 1024", func(c *Config) { c.Gateways = nil })
	f("is there twice: want each once", func(c *Config) { c.Gateways = append(c.Gateways, gateway.URL) })
	f("rate 11: want more than 0 and at most 10", func(c *Config) { c.Rate = 11 })
	f("tries 101: want 1 to 100", func(c *Config) { c.Tries = 101 })
	f("wait 1ms: want 1s to 10m0s", func(c *Config) { c.Wait = time.Millisecond })
	require.False(t, asked)
}

// TestAddress: where a gateway has a CID, and what is no gateway.
func TestAddress(t *testing.T) {
	f := func(gateway, want string) {
		t.Helper()
		u, err := address(gateway, "bafyx")
		if want == "" {
			require.ErrorContains(t, err, "want a URL such as", gateway)
			return
		}
		require.NoError(t, err, gateway)
		require.Equal(t, want, u.String())
	}
	f("https://gateway.example", "https://gateway.example/ipfs/bafyx")
	f("https://gateway.example/", "https://gateway.example/ipfs/bafyx")
	f("https://gateway.example/ipfs/:hash", "https://gateway.example/ipfs/bafyx")
	f("https://:hash.ipfs.gateway.example", "https://bafyx.ipfs.gateway.example")
	f("http://127.0.0.1:8080/ipfs/:hash?format=raw", "http://127.0.0.1:8080/ipfs/bafyx?format=raw")
	for _, bad := range []string{"gateway.example", "ftp://gateway.example", "https://", "https://user@gateway.example", "https://gateway.example?x=1", "https://gateway.example/#x", "file:///etc/passwd"} {
		f(bad, "")
	}
	got, err := Parse("# the gateways\n\nhttps://a.example # mine\n  https://b.example\t# x\nhttps://:hash.ipfs.c.example\n")
	require.NoError(t, err)
	require.Equal(t, []string{"https://a.example", "https://b.example", "https://:hash.ipfs.c.example"}, got)
	_, err = Parse("https://a.example\nb.example\n")
	require.ErrorContains(t, err, `line 2: gateway "b.example": want a URL such as`)
}
