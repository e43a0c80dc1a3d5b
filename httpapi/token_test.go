package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

const (
	goodToken  = "0123456789abcdef0123456789abcdef"
	otherToken = "fedcba9876543210fedcba9876543210"
	oneCID     = `{"cids":[{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}]}`
)

// tokenConfig is config with a token and broadcasts.
func tokenConfig(t *testing.T) Config {
	cfg := config()
	cfg.TokenFiles = []string{filepath.Join(t.TempDir(), "token")}
	require.NoError(t, os.WriteFile(cfg.TokenFiles[0], []byte(goodToken+"\n"), 0o600))
	cfg.EnableBroadcast = true
	return cfg
}

// fullDeps answers every request, with data in each answer.
func fullDeps() Deps {
	d := deps()
	d.Ready = func() error { return nil }
	d.Version = func() Version {
		return Version{"0.1.0", "1a2b3c4d5e6f", "metric-export-plugin", "0.43.0", "go1.26.5", "here"}
	}
	d.Subscribers = func() []Subscriber {
		return []Subscriber{{ID: "tcp-[::1]:5", Since: time.Now(), Version: 4, Encoding: "zstd", Filter: "{}"}}
	}
	d.Kick = func(id string) bool { return id == "tcp-[::1]:5" }
	d.Coverage = func() []Coverage { return []Coverage{{Family: "kubo", Connected: 9, Asked: 3, Broadcast: 1}} }
	d.Fleet = func() any {
		return map[string]any{"time": time.Now(), "monitors": []any{map[string]any{"name": "de1"}}, "totals": nil}
	}
	d.FleetPast = func() any { return map[string]any{"moments": []any{map[string]any{"requests": 1}}} }
	d.Floods = func() []Flood {
		return []Flood{{Peer: "p", Addresses: []event.Text{}, Since: time.Now()}, {Peer: "q", Addresses: []event.Text{"/ip4/192.0.2.1/tcp/1"}, Country: "NZ", Until: &time.Time{}, Block: "ipfs swarm", Share: 0.5, Repeats: 1}}
	}
	d.Top = func(kind string, n int) (any, error) { return []map[string]any{{"name": kind, "count": n}}, nil }
	d.Pipeline = func() pipeline.Pipeline {
		flows := pipeline.Delivery{LastError: "x", SpoolError: "y", LagSeconds: 0.5}
		return pipeline.Pipeline{Derive: &pipeline.Derive{}, Origin: &pipeline.Origin{}, Privacy: []pipeline.Privacy{{Sink: "stream", Mode: "raw"}}, Bus: pipeline.Bus{Readers: []pipeline.Reader{{Name: "stream"}}}, Stream: &pipeline.Stream{Slow: []pipeline.Slow{}},
			Influx:  &pipeline.Influx{Delivery: flows, Destinations: []pipeline.Destination{{Name: "main", URL: "http://influx", Delivery: flows}}},
			Broker:  &pipeline.Broker{Exchanges: []pipeline.Exchange{{Name: "v4", Exchange: "ipfsmon.events", Broker: "amqp://h", SpoolError: "x", LastError: "y", LagSeconds: 0.5}}},
			Store:   &pipeline.Store{Up: true, Restarts: 2, Stuck: 1, LastError: "no room"},
			HTTP:    &pipeline.HTTP{Requests: []pipeline.Requests{{Route: "other", Code: 404, Count: 1}}},
			Capture: pipeline.Capture{DHT: []pipeline.DHTRequests{{Direction: "sent", Type: "ping", Status: "ok", Requests: 1}}}}
	}
	agent, latency := event.Text("kubo/0.43.0"), int64(5)
	d.Peers = func(onlyConnected bool) (int, iter.Seq[PeerMetadata]) {
		return 1, func(yield func(PeerMetadata) bool) {
			here := PeerMetadata{PeerID: "a", Connectedness: 1, Multiaddresses: []event.Text{"/ip4/192.0.2.1/tcp/1"}, Protocols: []event.Text{"/x"},
				AgentVersion: &agent, LatencyEWMANs: &latency, ConnectedMultiaddresses: []event.Text{"/ip4/192.0.2.1/tcp/1"}}
			if yield(here) && !onlyConnected {
				yield(PeerMetadata{PeerID: "b", Multiaddresses: []event.Text{}, Protocols: []event.Text{}})
			}
		}
	}
	d.Broadcaster = &told{}
	d.History = func(_ context.Context, since, step time.Duration) (*History, error) {
		now, v := time.Now(), 1.5
		return &History{Since: now.Add(-since), Until: now, StepSeconds: step.Seconds(), Times: []int64{now.UnixMilli()}, Series: []Series{
			{Name: "messages", Direction: "received", Unit: "1/s", Values: []*float64{&v}}, {Name: "peers", Values: []*float64{nil}}}}, nil
	}
	d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, "x 1\n")
	})
	return d
}

// told is a Broadcaster that records its calls.
type told struct {
	cids  []cid.Cid
	after time.Duration
	block func(context.Context)
}

func (b *told) sent() Sent { return Sent{TimestampBeforeSend: time.Now(), SendDurationMillis: 3} }

func (b *told) Want(ctx context.Context, cids []cid.Cid) []WantSent {
	b.cids = cids
	if b.block != nil {
		b.block(ctx)
	}
	have, failed := event.WantHave, b.sent()
	failed.Error = "no stream"
	return []WantSent{{b.sent(), "a", &have}, {failed, "b", nil}}
}

func (b *told) Cancel(_ context.Context, cids []cid.Cid) []CancelSent {
	b.cids = cids
	return []CancelSent{{b.sent(), "a"}}
}

func (b *told) WantCancel(_ context.Context, cids []cid.Cid, after time.Duration) []WantCancelSent {
	b.cids, b.after = cids, after
	block := event.WantBlock
	return []WantCancelSent{{"a", WantStatus{b.sent(), &block}, b.sent()}}
}

// answered is a response.
type answered struct {
	status     int
	kind, body string
	header     http.Header
}

// ask makes a request, with a token unless it is empty.
func (r *running) ask(t testing.TB, method, path, body, token string) answered {
	t.Helper()
	a, err := askWith(http.DefaultClient, method, "http://"+r.addr+path, body, token)
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return a
}

func askWith(c *http.Client, method, url, body, token string) (answered, error) {
	q, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(q)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}, err
}

func TestTokens(t *testing.T) {
	s := start(t, tokenConfig(t), fullDeps())
	const path = base + "/broadcast_want"
	f := func(status int, headers ...string) {
		t.Helper()
		q := request("POST "+path, append([]string{"Host: localhost", fmt.Sprint("Content-Length: ", len(oneCID))}, headers...)...) + oneCID
		got := s.say(t, q)
		require.True(t, strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", status)), "%q: %s", headers, got)
		if status == 401 {
			require.Contains(t, got, "Www-Authenticate: Bearer")
			require.NotContains(t, got, goodToken)
		}
	}
	f(200, "Authorization: Bearer "+goodToken)
	f(200, "authorization: bearer  "+goodToken)
	f(401)
	f(401, "Authorization: Bearer")
	f(401, "Authorization: Bearer ")
	f(401, "Authorization: "+goodToken)
	f(401, "Authorization: Basic "+goodToken)
	f(401, "Authorization: Bearer "+otherToken)
	f(401, "Authorization: Bearer "+goodToken[1:])
	f(401, "Authorization: Bearer "+goodToken+"0")
	f(401, "Authorization: Bearer "+goodToken+" "+otherToken)
	f(401, "Authorization: Bearer "+strings.ToUpper(goodToken))
	f(401, "Authorization: Bearer "+goodToken, "Authorization: Bearer "+goodToken)
	f(401, "X-Token: "+goodToken, "Cookie: token="+goodToken)
	require.Equal(t, 401, s.ask(t, "POST", path+"?token="+goodToken+"&access_token="+goodToken, oneCID, "").status, "a token in the address does not count")
	require.Equal(t, 200, s.ask(t, "GET", base+"/subscribers", "", "").status, "on loopback reading needs no token")
	require.Equal(t, 403, start(t, config(), fullDeps()).ask(t, "DELETE", base+"/subscribers/tcp-[::1]:5", "", goodToken).status)
}

func TestTokenRotation(t *testing.T) {
	cfg := tokenConfig(t)
	s := start(t, cfg, fullDeps())
	status := func(token string) int { return s.ask(t, "POST", base+"/broadcast_want", oneCID, token).status }
	require.Equal(t, 200, status(goodToken))
	require.Equal(t, 401, status(otherToken))
	require.NoError(t, os.WriteFile(cfg.TokenFiles[0], []byte(otherToken+"\n"+goodToken+"\n"), 0o600))
	require.Eventually(t, func() bool { return status(otherToken) == 200 }, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, 200, status(goodToken))
	require.NoError(t, os.WriteFile(cfg.TokenFiles[0], []byte(otherToken+"\n"), 0o600))
	require.Eventually(t, func() bool { return status(goodToken) == 401 }, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, 200, status(otherToken))
}

func TestConfigOfAccess(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := config()
		change(&cfg)
		require.ErrorContains(t, cfg.Validate(), want)
		_, err := New(cfg, deps())
		require.ErrorContains(t, err, want)
	}
	f("set TLSCertFile, TLSKeyFile and TokenFiles", func(c *Config) { c.ListenAddresses = []string{"0.0.0.0:0"} })
	f("set TLSCertFile, TLSKeyFile and TokenFiles", func(c *Config) {
		c.ListenAddresses = []string{"0.0.0.0:0"}
		c.TokenFiles = []string{"t"}
	})
	f("EnableBroadcast without TokenFiles", func(c *Config) { c.EnableBroadcast = true })
	f("want both or none", func(c *Config) { c.TLSCertFile = "x" })

	cfg := config()
	cfg.TokenFiles = []string{filepath.Join(t.TempDir(), "missing")}
	_, err := New(cfg, deps())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestBeyondLoopback listens on all interfaces: TLS, and a token for everything.
func TestBeyondLoopback(t *testing.T) {
	made := httptest.NewTLSServer(nil) // has a certificate for 127.0.0.1
	pair := made.TLS.Certificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(made.Certificate())
	made.Close()
	cfg := tokenConfig(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	for path, block := range map[string]*pem.Block{
		cfg.TLSCertFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, cfg.TLSKeyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	}
	cfg.ListenAddresses = []string{"127.0.0.1:0", "0.0.0.0:0"}
	s := start(t, cfg, fullDeps())
	_, port, ok := strings.Cut(s.Addrs()[1].String(), "]:")
	require.True(t, ok, s.Addrs()[1])

	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer c.CloseIdleConnections()
	f := func(path, token string, status int) {
		t.Helper()
		a, err := askWith(c, "GET", "https://127.0.0.1:"+port+path, "", token)
		require.NoError(t, err)
		require.Equal(t, status, a.status, a.body)
	}
	for _, path := range []string{"/", base, base + "/ping", base + "/health", "/metrics", base + "/sample_peer_metadata"} {
		f(path, "", 401)
		f(path, otherToken, 401)
		f(path, goodToken, 200)
	}
	f(base+"/nothing", "", 401)
	f(base+"/nothing", goodToken, 404)

	plain, err := askWith(http.DefaultClient, "GET", "http://127.0.0.1:"+port+base+"/ping", "", goodToken)
	http.DefaultClient.CloseIdleConnections()
	require.True(t, err != nil || plain.status == 400, "without TLS there is nothing: %+v", plain)
	require.Equal(t, 200, s.ask(t, "GET", base+"/ping", "", "").status, "on loopback without TLS, as before")
}

func TestErrorsOfDeps(t *testing.T) {
	d := fullDeps()
	d.Top = func(kind string, _ int) (any, error) {
		if kind == "cids" {
			return nil, &Error{503, "no interval has ended yet"}
		}
		return nil, errors.New("secret path")
	}
	s := start(t, config(), d)
	a := s.ask(t, "GET", base+"/top?kind=cids", "", "")
	require.Equal(t, "{\"status\":503,\"error\":\"no interval has ended yet\"}\n", a.body)
	a = s.ask(t, "GET", base+"/top?kind=peers", "", "")
	require.Equal(t, "{\"status\":500,\"error\":\"internal server error\"}\n", a.body)
}

func TestStats(t *testing.T) {
	s := start(t, tokenConfig(t), fullDeps())
	for range 3 {
		s.ask(t, "GET", base+"/ping", "", "")
	}
	s.ask(t, "DELETE", base+"/subscribers/x", "", "")
	for i := range 20 { // names that a caller invents are not stored
		s.ask(t, "GET", fmt.Sprint("/made/up/", i), "", "")
	}
	want := []pipeline.Requests{
		{Route: base + "/ping", Code: 200, Count: 3},
		{Route: base + "/subscribers/:id", Code: 401, Count: 1},
		{Route: "other", Code: 404, Count: 20},
	}
	require.Eventually(t, func() bool { return fmt.Sprint(s.Stats().Requests) == fmt.Sprint(want) }, 30*time.Second, time.Millisecond)
	require.Positive(t, s.Stats().Connections)
}
