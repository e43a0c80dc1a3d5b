package main

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/kubo/config"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// requests counts the requests to an HTTP server by method and CID.
type requests struct {
	http.Handler
	mu     sync.Mutex
	counts map[string]int
}

func (r *requests) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if id := strings.TrimPrefix(q.URL.Path, "/ipfs/"); id != "bafkqaaa" { // with which clients find out whether it is a gateway
		r.mu.Lock()
		r.counts[q.Method+" "+id]++
		r.mu.Unlock()
	}
	r.Handler.ServeHTTP(w, q)
}

func (r *requests) get() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// TestKuboFetchesThroughIt: one kubo has a file, another gets it through the gateway over
// HTTP and TLS, with a routing server that names the gateway as the provider. All sides
// count the same: the gateway received what the first sent, and the monitor of the second
// saw exactly the requests that the gateway received.
func TestKuboFetchesThroughIt(t *testing.T) {
	has := harness.StartKubo(t, nil)
	file := harness.NewFile(t, 2<<20)
	has.Add(file)

	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	require.NoError(t, err)
	g, err := open(t.Context(), h, nil, &monitor.Config{
		PopulatePrometheusInterval: 1, AgentVersionCutOff: 20, MonitorName: "gateway",
		HTTPServerConfig: &httpapi.Config{ListenAddresses: []string{"127.0.0.1:0"}},
		IntrospectConfig: &monitor.IntrospectConfig{Off: true},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.close()) })
	id, err := peer.AddrInfoFromString(strings.Fields(has.IPFS("id", "-f", "<addrs>"))[0])
	require.NoError(t, err)
	require.NoError(t, h.Connect(t.Context(), *id))

	asked := &requests{Handler: g, counts: map[string]int{}}
	web := httptest.NewUnstartedServer(asked)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	at, err := url.Parse(web.URL)
	require.NoError(t, err)
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"Providers": []any{map[string]any{
			"Schema": "peer", "ID": h.ID().String(), "Protocols": []string{"transport-ipfs-gateway-http"},
			"Addrs": []string{"/ip4/127.0.0.1/tcp/" + at.Port() + "/tls/http"},
		}}})
	}))
	t.Cleanup(router.Close)

	address := harness.FreeAddress(t, "tcp")
	wants := harness.StartKubo(t, func(c *config.Config) {
		c.HTTPRetrieval.Enabled, c.HTTPRetrieval.TLSInsecureSkipVerify = config.True, config.True
		c.Provide.Enabled = config.False
		c.Routing.Type = config.NewOptionalString("delegated")
		c.Routing.DelegatedRouters = []string{router.URL}
		c.Plugins.Plugins = map[string]config.Plugin{monitor.Name: {Config: map[string]any{
			"TCPServerConfig": map[string]any{"ListenAddresses": []string{address}},
		}}}
	})
	events, err := stream.Dial(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { events.Close() })
	seen, blocks := map[string]int{}, map[string]bool{}
	var mu sync.Mutex
	go func() {
		for {
			e, err := events.Next()
			if err != nil {
				return
			}
			mu.Lock()
			if m := e.Sent; m != nil && m.Transport == "http" {
				for _, w := range m.Wants {
					if !w.Cancel {
						seen[[]string{"GET ", "HEAD "}[w.WantType]+w.Cid.String()]++
					}
				}
			}
			if m := e.Message; m != nil && m.Transport == "http" {
				for _, c := range m.Blocks {
					blocks[c.String()] = true
				}
			}
			mu.Unlock()
		}
	}()

	to := filepath.Join(t.TempDir(), "got")
	wants.IPFS("get", "-o", to, file.Root.String())
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, file.Sum, sha256.Sum256(got))

	const count = 9 // blocks: eight of 256 KiB and the root
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(blocks) == count && maps.Equal(seen, asked.get())
	}, 30*time.Second, 10*time.Millisecond, "what the gateway was asked, and what the monitor saw of it")
	received := g.capture.Traffic(event.Libp2p, event.Received)
	require.EqualValues(t, count, received.Blocks)
	require.Greater(t, received.BlockBytes, uint64(2<<20))
	require.Contains(t, has.IPFS("bitswap", "stat"), "blocks sent: 9")
}
