package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/kubo/config"
	libp2ptest "github.com/libp2p/go-libp2p/core/test"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestSourcesOfBlocks: a node gets one file from a peer that it is connected to,
// one from a peer that a private DHT names, one that only an HTTP gateway has,
// and one more from the peer that the DHT named, and asks in vain for another.
// Its totals name the source of each block, and its requests are those that the
// gateway logged.
func TestSourcesOfBlocks(t *testing.T) {
	file := func(k *harness.Kubo, size int) *harness.File {
		f := harness.NewFile(t, size)
		k.Add(f)
		return f
	}
	// The private DHT is one server; the others are its clients, so that nobody
	// connects to anybody else because of it.
	dht := harness.StartKubo(t, func(c *config.Config) { c.Routing.Type = config.NewOptionalString("dhtserver") })
	client := func(c *config.Config) {
		c.Routing.Type = config.NewOptionalString("dhtclient")
		c.Provide.Enabled = config.True
	}
	named := harness.StartKubo(t, client)
	connected := harness.StartKubo(t, nil)
	gateway := harness.StartKubo(t, func(c *config.Config) {
		c.Addresses.Gateway = config.Strings{"/ip4/127.0.0.1/tcp/0"}
		c.Gateway.NoFetch = true
	})

	fromPeer, fromDHT, fromSession, fromHTTP := file(connected, 1000), file(named, 2000), file(named, 3000), file(gateway, 4000)
	named.IPFS("swarm", "connect", addressOf(dht))
	named.IPFS("routing", "provide", fromDHT.Root.String())

	// The gateway behind TLS, with a log of what it is asked.
	var mu sync.Mutex
	logged := map[string]int{}
	to, err := url.Parse("http://127.0.0.1:" + gateway.Find(`Gateway server listening on /ip4/127\.0\.0\.1/tcp/(\d+)`))
	require.NoError(t, err)
	behind := httputil.NewSingleHostReverseProxy(to)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := strings.TrimPrefix(r.URL.Path, "/ipfs/"); id != "bafkqaaa" { // with which clients see whether it is a gateway
			mu.Lock()
			logged[r.Method+" "+id]++
			mu.Unlock()
		}
		behind.ServeHTTP(w, r)
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	at, err := url.Parse(web.URL)
	require.NoError(t, err)
	id := libp2ptest.RandPeerIDFatal(t)
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		providers := []any{}
		if strings.HasSuffix(r.URL.Path, "/"+fromHTTP.Root.String()) {
			providers = append(providers, map[string]any{
				"Schema": "peer", "ID": id.String(), "Protocols": []string{"transport-ipfs-gateway-http"},
				"Addrs": []string{"/ip4/127.0.0.1/tcp/" + at.Port() + "/tls/http"},
			})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Providers": providers})
	}))
	t.Cleanup(router.Close)

	points := filepath.Join(t.TempDir(), "points")
	wants := harness.StartKubo(t, func(c *config.Config) {
		c.HTTPRetrieval.Enabled, c.HTTPRetrieval.TLSInsecureSkipVerify = config.True, config.True
		c.Provide.Enabled = config.False
		c.Routing.Type = config.NewOptionalString("autoclient")
		c.Routing.DelegatedRouters = []string{router.URL}
		c.Plugins.Plugins = map[string]config.Plugin{monitor.Name: {Config: map[string]any{
			"InfluxDB": map[string]any{"URL": "file://" + points}, "PopulatePrometheusInterval": 1,
		}}}
	})
	wants.IPFS("swarm", "connect", addressOf(dht))
	wants.IPFS("swarm", "connect", addressOf(connected))
	require.NotContains(t, wants.IPFS("swarm", "peers"), peerOf(named), "connected before anything was wanted")

	for _, f := range []*harness.File{fromPeer, fromDHT, fromSession, fromHTTP} {
		wants.IPFS("block", "get", f.Root.String())
	}
	nowhere := influxtest.CID(1)
	_, err = harness.Run(wants.Env, "ipfs", "--timeout=3s", "block", "get", nowhere.String())
	require.Error(t, err)

	// What the monitor wrote, added up: by measurement and tag, and the requests
	// by method and CID.
	sums, requests := map[string]map[string]float64{}, map[string]int{}
	read := func() {
		clear(sums)
		clear(requests)
		b, err := os.ReadFile(points)
		if err != nil {
			return
		}
		for _, p := range influxtest.Decode(t, string(b[:strings.LastIndexByte(string(b), '\n')+1])) {
			key := p.Name
			for _, tag := range []string{"direction", "source", "method", "outcome", "transport", "class"} {
				if v := p.Tags[tag]; v != "" {
					key += " " + v
				}
			}
			if sums[key] == nil {
				sums[key] = map[string]float64{}
			}
			sums[key]["points"]++
			for k, v := range p.Fields {
				if n, ok := v.(int64); ok {
					sums[key][k] += float64(n)
				}
			}
			if p.Name == "http_requests" {
				require.Equal(t, at.Host, p.Fields["host"])
				requests[p.Tags["method"]+" "+p.Fields["cid"].(string)]++
			}
		}
	}
	require.Eventually(t, func() bool {
		read()
		mu.Lock()
		defer mu.Unlock()
		return sums["retrieval_wants"]["wanted"] == 5 && sums["retrieval_wants"]["given_up"] == 1 && maps.Equal(requests, logged)
	}, time.Minute, 200*time.Millisecond, "wanted %v, requests %v, logged %v", sums["retrieval_wants"], requests, logged)

	for source, f := range map[string]*harness.File{"connected": fromPeer, "routing": fromDHT, "session": fromSession, "http": fromHTTP} {
		size := float64(len(f.Data) + 11) // of one block, in dag-pb and UnixFS
		total, single := sums["retrieval "+source], sums["retrievals "+source]
		require.EqualValues(t, 1, total["blocks"], source)
		require.Equal(t, size, total["bytes"], source)
		require.EqualValues(t, 1, single["points"], source)
		require.Equal(t, size, single["size"], source)
		require.Equal(t, single["provider_us"], total["provider_sum_us"], source)
		require.Equal(t, single["block_us"], total["block_sum_us"], source)
		require.Positive(t, single["provider_us"], source)
		require.LessOrEqual(t, single["provider_us"], single["block_us"], source)
	}
	require.Zero(t, sums["retrieval unknown"]["blocks"])
	w := sums["retrieval_wants"]
	require.Equal(t, []float64{3, 2, 1}, []float64{w["searches"], w["providers"], w["not_found"]}, "searches of what no connected peer had")
	require.Equal(t, []float64{0, 0, 0}, []float64{w["lost"], w["surplus"], w["unanswered"]})

	// Whether the session asks by HEAD before its GET depends on when the gateway
	// is known. A broadcast does not ask for DONT_HAVE, so that a 404 is no
	// answer.
	heads := float64(requests["HEAD "+fromHTTP.Root.String()])
	require.Equal(t, 1, requests["GET "+fromHTTP.Root.String()])
	require.Equal(t, 1, requests["HEAD "+nowhere.String()])
	require.Len(t, requests, 2+int(heads))
	for ended, n := range map[string]float64{"GET block": 1, "HEAD have": heads, "HEAD canceled": 1} {
		require.Equal(t, n, sums["http_requests "+ended]["points"], ended)
		require.Equal(t, n, sums["http_totals "+ended]["requests"], ended)
		require.Equal(t, sums["http_requests "+ended]["elapsed_us"], sums["http_totals "+ended]["sum_us"], ended)
	}
	size := float64(len(fromHTTP.Data) + 11)
	require.Equal(t, size, sums["http_requests GET block"]["bytes"])
	require.Equal(t, size, sums["http_totals GET block"]["bytes"])
	require.Equal(t, size, sums["blocks received http"]["size"])
	require.EqualValues(t, 3, sums["blocks received"]["points"], "over libp2p")
	require.Equal(t, size, sums["http_traffic received"]["block_bytes"])
	require.EqualValues(t, 3, sums["traffic received"]["blocks"], "over libp2p")
	require.Equal(t, 1+heads, sums["http_traffic sent"]["want_have"])
	require.EqualValues(t, 1, sums["http_traffic sent"]["want_block"])
	require.Positive(t, sums["sending libp2p"]["messages"])
	require.Positive(t, sums["sending http"]["messages"])
}

func addressOf(k *harness.Kubo) string {
	for _, a := range strings.Fields(k.IPFS("id", "-f", "<addrs>")) {
		if strings.Contains(a, "/tcp/") {
			return a
		}
	}
	return ""
}

func peerOf(k *harness.Kubo) string { return k.IPFS("id", "-f", "<id>") }
