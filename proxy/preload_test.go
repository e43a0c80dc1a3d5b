package proxy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// refsProxy is a proxy with preload in front of one node whose refs are the test's.
func refsProxy(t *testing.T, change func(*Config), refs http.HandlerFunc) (*testProxy, string) {
	t.Helper()
	n := newRawNode(t, nil)
	s := api(t, n.Host, refs)
	cfg := Config{Downstreams: []string{apiAddr(s)}, WebSocket: "/ip4/127.0.0.1/tcp/0", PreloadPort: freePort(t)}
	if change != nil {
		change(&cfg)
	}
	p := startProxy(t, cfg)
	return p, "http://" + p.RefsAddr().String() + refsPath
}

// freePort returns a port that was free a moment before.
func freePort(t *testing.T) int {
	t.Helper()
	s := httptest.NewServer(nil)
	defer s.Close()
	var port int
	_, err := fmt.Sscanf(s.URL, "http://127.0.0.1:%d", &port)
	require.NoError(t, err)
	return port
}

// call sends a request and returns status and body; headers are pairs of name and value.
func call(t *testing.T, method, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patient}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for k, v := range resp.Trailer {
		resp.Header[k] = v
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestRefsAnswers(t *testing.T) {
	blks := newBlocks(t, 5, 10)
	root := blks[0].Cid().String()
	var asked atomic.Int64
	p, url := refsProxy(t, func(c *Config) { c.PreloadNodes = 3; c.PreloadRate = 1000 }, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Query().Get("arg") {
		case root:
			for _, b := range blks[1:3] {
				fmt.Fprintf(w, "{\"Ref\":%q,\"Err\":\"\"}\n", b.Cid())
			}
		case blks[1].Cid().String():
			w.WriteHeader(500)
			io.WriteString(w, "no such\x00 block")
		case blks[2].Cid().String():
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(302)
		case blks[3].Cid().String():
			for _, b := range blks[:5] {
				fmt.Fprintf(w, "{\"Ref\":%q}\n", b.Cid())
			}
		default:
			io.WriteString(w, "{\"Ref\":\"nonsense\"}\n")
		}
	})
	require.Contains(t, fmt.Sprint(p.Addrs()), "/ws/p2p/"+p.Host().ID().String())
	status, body, head := call(t, "GET", url+"?recursive=true&arg="+root)
	require.Equal(t, 200, status, body)
	require.Equal(t, fmt.Sprintf("{\"Ref\":%q,\"Err\":\"\"}\n{\"Ref\":%q,\"Err\":\"\"}\n", blks[1].Cid(), blks[2].Cid()), body)
	require.Equal(t, "*", head.Get("Access-Control-Allow-Origin"))
	status, _, _ = call(t, "POST", url+"?arg=/ipfs/"+root)
	require.Equal(t, 200, status)

	status, body, _ = call(t, "GET", url+"?arg="+blks[1].Cid().String())
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, body, "status 500")
	require.NotContains(t, body, "\x00")
	status, _, _ = call(t, "GET", url+"?arg="+blks[2].Cid().String())
	require.Equal(t, http.StatusBadGateway, status, "a redirect is not followed")
	status, body, head = call(t, "GET", url+"?arg="+blks[3].Cid().String())
	require.Equal(t, 200, status)
	require.Contains(t, body, "more than 3 nodes")
	require.Contains(t, head.Get("X-Stream-Error"), "more than 3 nodes")
	status, _, _ = call(t, "GET", url+"?arg="+blks[4].Cid().String())
	require.Equal(t, http.StatusBadGateway, status)

	before := asked.Load()
	for _, query := range []string{"", "?arg=", "?arg=x", "?arg=" + root + "&arg=" + root, "?arg=" + root + "%0d%0aHost:%20x", "?arg=" + root + "/../../id",
		"?arg=" + root + "&recursive=maybe", "?arg=bafkqaaa", "?arg=" + strings.Repeat("b", 9000)} {
		status, body, _ = call(t, "GET", url+query)
		require.Equal(t, 400, status, "%s: %s", query, body)
	}
	status, _, _ = call(t, "DELETE", url+"?arg="+root)
	require.Equal(t, 405, status)
	status, _, _ = call(t, "OPTIONS", url)
	require.Equal(t, 204, status)
	status, _, _ = call(t, "GET", strings.TrimSuffix(url, "refs")+"id")
	require.Equal(t, 404, status)
	require.Equal(t, before, asked.Load(), "no node receives these requests")
	require.Equal(t, 0, p.Sample(time.Second).PreloadRunning)
}

func TestRefsBudgetAndSingleFlight(t *testing.T) {
	blk := newBlocks(t, 1, 10)[0].Cid().String()
	gate := make(chan struct{})
	openGate := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(openGate)
	var asked atomic.Int64
	p, url := refsProxy(t, func(c *Config) { c.PreloadParallel = 2; c.PreloadRate = 4; c.TrustedProxies = []string{"127.0.0.0/8"} },
		func(w http.ResponseWriter, r *http.Request) { asked.Add(1); <-gate })
	var wg sync.WaitGroup
	for i := range 6 { // three callers, two each: all share one flight
		wg.Go(func() {
			status, body, _ := call(t, "GET", url+"?arg="+blk, "X-Forwarded-For", fmt.Sprintf("1.1.1.1, 2001:db8:%d::1", i/2))
			if status != 200 {
				t.Error(status, body)
			}
		})
	}
	require.Eventually(t, func() bool {
		p.refs.mu.Lock()
		defer p.refs.mu.Unlock()
		n := 0
		for _, f := range p.refs.flights {
			n += f.users
		}
		return n == 6 && asked.Load() == 1
	}, patient, time.Millisecond)
	status, _, head := call(t, "GET", url+"?arg="+blk, "X-Forwarded-For", "2001:db8:0::2")
	require.Equal(t, 429, status, "the same 64 bits are one caller")
	require.NotEmpty(t, head.Get("Retry-After"))
	openGate()
	wg.Wait()
	require.EqualValues(t, 1, asked.Load(), "one flight")
	for i := range 3 {
		status, _, _ = call(t, "GET", url+"?arg="+blk, "X-Forwarded-For", "2001:db8::1")
		require.Equal(t, map[bool]int{true: 200, false: 429}[i < 2], status, "four requests in a minute")
	}
	require.EqualValues(t, 2, p.Sample(time.Second).PreloadRefused)
}

// A preload that one node fails is asked of the next one for all who wait for it by then: the
// blocks of each of them may be fetched.
func TestPreloadIsOfAllCallers(t *testing.T) {
	root := newBlocks(t, 1, 10)[0].Cid()
	var p *testProxy
	var asked atomic.Int32
	both, callers := make(chan struct{}), make(chan map[netip.Addr]int, 1)
	refs := func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			<-both
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		p.engine.mu.Lock()
		defer p.engine.mu.Unlock()
		callers <- maps.Clone(p.engine.reverse.allowed[root][0].callers)
	}
	one, two := api(t, newRawNode(t, nil).Host, refs), api(t, newRawNode(t, nil).Host, refs)
	p = startProxy(t, Config{Downstreams: []string{apiAddr(one), apiAddr(two)}, WebSocket: "/ip4/127.0.0.1/tcp/0", PreloadPort: freePort(t), TrustedProxies: []string{"127.0.0.1"}})
	require.Eventually(t, func() bool { return len(p.engine.nodes()) == 2 }, patient, time.Millisecond)
	var calls sync.WaitGroup
	want := map[netip.Addr]int{}
	for _, from := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"} {
		want[netip.MustParseAddr(from)]++
		calls.Go(func() {
			req, _ := http.NewRequest(http.MethodPost, "http://"+p.RefsAddr().String()+refsPath+"?arg="+root.String(), nil)
			req.Header.Set("X-Forwarded-For", from)
			if res, err := http.DefaultTransport.RoundTrip(req); err != nil {
				t.Error(err)
			} else {
				res.Body.Close()
			}
		})
	}
	require.Eventually(t, func() bool {
		p.refs.mu.Lock()
		defer p.refs.mu.Unlock()
		f := p.refs.flights[flightKey{cid: root}]
		return f != nil && f.users == 3
	}, patient, time.Millisecond)
	close(both)
	require.Equal(t, want, <-callers)
	calls.Wait()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestRefsCaller(t *testing.T) {
	s := &refsServer{p: &Proxy{cfg: &settings{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}
	f := func(remote, forwarded, want string) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", forwarded)
		got, err := s.caller(r)
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
	f("1.2.3.4:5", "6.6.6.6", "1.2.3.4") // headers of the caller do not count
	f("[::1]:5", "", "::1")
	f("[2001:db8::7]:5", "6.6.6.6", "2001:db8::7")
	f("10.0.0.1:5", "6.6.6.6, 7.7.7.7", "7.7.7.7")
	f("10.0.0.1:5", "6.6.6.6, 7.7.7.7, 10.0.0.2", "7.7.7.7")
	f("10.0.0.1:5", "[2001:db8::9]:80", "2001:db8::9")
	f("10.0.0.1:5", "nonsense", "")
	f("10.0.0.1:5", "", "10.0.0.1")
}

func TestRefsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600))
	blk := newBlocks(t, 1, 10)[0].Cid().String()
	_, url := refsProxy(t, func(c *Config) { c.PreloadToken = file }, func(http.ResponseWriter, *http.Request) {})
	status, _, _ := call(t, "GET", url+"?arg="+blk)
	require.Equal(t, 401, status)
	status, _, _ = call(t, "GET", url+"?arg="+blk, "Authorization", "Bearer 0123456789abcdee")
	require.Equal(t, 401, status)
	status, _, _ = call(t, "GET", url+"?arg="+blk, "Authorization", "Bearer 0123456789abcdef")
	require.Equal(t, 200, status)
}

// TestBridge: two private swarms with different keys. A peer of one gets blocks of the
// other; neither side learns of a peer of the other, and nothing passes in the opposite
// direction.
func TestBridge(t *testing.T) {
	keys := [2]pnet.PSK{}
	var files [2]string
	for i := range keys {
		keys[i] = make(pnet.PSK, 32)
		keys[i][0] = byte(i + 1)
		files[i] = filepath.Join(t.TempDir(), "swarm.key")
		require.NoError(t, os.WriteFile(files[i], fmt.Appendf(nil, "/key/swarm/psk/1.0.0/\n/base16/\n%x\n", []byte(keys[i])), 0o600))
	}
	node := newTestNodeOn(t, newTestHost(t, libp2p.PrivateNetwork(keys[1])))
	friend := newTestHost(t, libp2p.PrivateNetwork(keys[1]))
	blks := newBlocks(t, 20, 1000)
	node.put(t, blks...)
	ctx := context.Background()
	require.NoError(t, node.Connect(ctx, peer.AddrInfo{ID: friend.ID(), Addrs: friend.Addrs()}))
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, SwarmKeyFile: files[0], DownSwarmKeyFile: files[1]})

	up := newTestNodeOn(t, newTestHost(t, libp2p.PrivateNetwork(keys[0])))
	p.connect(t, up.Host)
	up.fetch(t, blks)

	// The opposite direction is closed.
	mine := newBlocks(t, 1, 1000)
	up.put(t, mine...)
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	require.Error(t, node.tryFetch(short, mine))
	require.Zero(t, p.Sample(time.Second).ReverseBlocks)

	// Neither side knows a peer of the other.
	require.NotContains(t, up.Peerstore().Peers(), node.ID())
	require.NotContains(t, up.Peerstore().Peers(), friend.ID())
	require.NotContains(t, node.Peerstore().Peers(), up.ID())
	require.NotContains(t, p.up.Peerstore().Peers(), node.ID())
	require.NotContains(t, p.down.Peerstore().Peers(), up.ID())
	require.Empty(t, p.pass.offered, "no other protocol is passed on")

	// A peer without the key does not get in.
	stranger := newTestHost(t)
	require.Error(t, stranger.Connect(ctx, peer.AddrInfo{ID: p.up.ID(), Addrs: p.up.Addrs()}))
}

// TestOtherProtocols: a node's protocols are forwarded, except blocked ones.
func TestOtherProtocols(t *testing.T) {
	node := newRawNode(t, nil)
	for _, id := range []string{"/echo/1", "/x/secret", "/ipfs/lan/kad/1.0.0"} {
		node.SetStreamHandler(protocolID(id), echo)
	}
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}})
	up := newTestHost(t)
	require.Eventually(t, func() bool {
		p.pass.mu.Lock()
		defer p.pass.mu.Unlock()
		return p.pass.offered["/echo/1"]
	}, patient, time.Millisecond)
	p.connect(t, up)
	s, err := up.NewStream(context.Background(), p.up.ID(), "/echo/1")
	require.NoError(t, err)
	long := strings.Repeat("hello ", 50_000)
	go func() { // ends with the stream
		_, _ = io.WriteString(s, long)
		_ = s.CloseWrite()
	}()
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, long, string(b))
	for _, id := range []string{"/x/secret", "/ipfs/lan/kad/1.0.0"} {
		_, err = up.NewStream(context.Background(), p.up.ID(), protocolID(id))
		require.Error(t, err, id)
	}
	require.NotContains(t, p.log.String(), "hello")
	_, err = up.NewStream(context.Background(), p.up.ID(), "/neither/passed/nor/blocked")
	require.Error(t, err)
	sample := p.Sample(time.Second)
	require.EqualValues(t, 1, sample.PassedStreams)
	require.EqualValues(t, 2, sample.BlockedStreams)
	require.Zero(t, p.Sample(time.Second).BlockedStreams, "counted once")
	now, _ := p.Status()
	require.EqualValues(t, 2, now.BlockedStreams)

	// Only by the names in the list, which peers do not learn.
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(p.Proxy))
	families, err := reg.Gather()
	require.NoError(t, err)
	denied := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "kitsune_blocked_streams_total" {
			for _, m := range f.GetMetric() {
				require.Len(t, m.GetLabel(), 1)
				denied[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	require.Equal(t, map[string]float64{"/ipfs/lan/kad/": 1, "/libp2p/autonat/": 0, "/libp2p/circuit/relay/": 0, "/libp2p/dcutr": 0, "/x/": 1, "others": 0}, denied)
	told, err := up.Peerstore().GetProtocols(p.up.ID())
	require.NoError(t, err)
	for _, id := range told {
		require.False(t, strings.HasPrefix(string(id), "/x/") || strings.HasPrefix(string(id), "/ipfs/lan/"), id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	pong := <-ping.Ping(ctx, up, p.up.ID())
	require.NoError(t, pong.Error)
}
