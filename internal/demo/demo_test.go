package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/loopback/dialtest"
	"github.com/ipfsmon/ipfsmon/plugin"

	"github.com/ipfs/kubo/commands"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/corehttp"
	kubop2p "github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"
	"go.uber.org/fx"
	"go.uber.org/goleak"
)

var dials = dialtest.Watch()

// Two goroutines per process remain: the sweeper of libp2p's bandwidth meters and the
// worker that OpenCensus starts in an init.
func TestMain(m *testing.M) {
	core.RegisterFXOptionFunc(watched.options)
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

// watched makes kubo watch the nodes that are created while it is set: kubo has such
// options only for all nodes of the process.
var watched watchedSwitch

type watchedSwitch struct{ capture *capture.Capture }

func (s *watchedSwitch) options(info core.FXNodeInfo) ([]fx.Option, error) {
	c := s.capture
	if c == nil {
		return info.FXOptions, nil
	}
	return append(info.FXOptions, fx.Decorate(plugin.NewBitswap(c))), nil
}

// seen counts what happened at the stand-in for the monitored node.
type seen struct {
	mu     sync.Mutex
	counts map[string]int
	agents map[string]bool
}

func (s *seen) event(e *event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range e.Wants {
		s.counts[e.Dir.String()+" "+w.TypeName()]++
	}
	for _, p := range e.Presences {
		s.counts[e.Dir.String()+" "+p.Type.String()]++
	}
	s.counts[e.Dir.String()+" block"] += len(e.Blocks)
	if c := e.Conn; c != nil {
		s.counts[c.DirectionName()+" "+c.StateName()]++
		s.counts["transport "+c.Transport]++
	}
	if e.Identify != nil {
		s.counts["identify"]++
		s.agents[string(e.Identify.Agent)] = true
	}
}

// startMonitored starts a plain kubo node with an RPC API and watches it.
func startMonitored(t *testing.T) (api string, s *seen) {
	t.Helper()
	b := bus.New(bus.Config{})
	c := capture.New(b, nil)
	p, err := newPeer(-1, 0) // a config like those of the swarm
	if err != nil {
		t.Fatal(err)
	}
	p.cfg.Provide.Enabled = config.True
	watched.capture = c
	n, err := core.NewNode(context.Background(), &core.BuildCfg{
		Online:          true,
		Routing:         kubop2p.DHTServerOption,
		Repo:            &repo.Mock{C: p.cfg, D: p.store},
		ShutdownTimeout: stopTime,
	})
	watched.capture = nil
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(n.PeerHost, capture.Sampling{Interval: time.Hour, AgentCutOff: 10}); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- corehttp.Serve(n, lis, corehttp.CommandsOption(commands.Context{
			ReqLog:        &commands.ReqLog{},
			ConstructNode: func() (*core.IpfsNode, error) { return n, nil },
		}))
	}()

	s = &seen{counts: map[string]int{}, agents: map[string]bool{}}
	r := b.Subscribe("test")
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]*event.Event, 100)
		for {
			k, missed, err := r.Next(context.Background(), buf)
			if err != nil {
				return
			}
			if missed > 0 {
				t.Errorf("missed %d events", missed)
			}
			for _, e := range buf[:k] {
				s.event(e)
			}
		}
	}()
	t.Cleanup(func() {
		n.Bootstrapper.Close()
		n.Close()
		providerFinder(n).Close()
		<-served
		c.Close()
		b.Close()
		<-read
	})
	return "http://" + lis.Addr().String(), s
}

// kinds is everything that the swarm promises to produce.
var kinds = []string{
	"received want_block", "received want_have", "received cancel", "received have", "received dont_have", "received block",
	"sent want_block", "sent want_have", "sent cancel", "sent have", "sent dont_have", "sent block",
	"inbound opened", "inbound closed", "outbound opened", "outbound closed", "identify",
	"transport tcp", "transport quic-v1",
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestOpening shows that every kind occurs by construction: the random load would come
// too late.
func TestOpening(t *testing.T) {
	api, s := startMonitored(t)
	w, err := newSwarm(Options{API: api, Seed: 1, Log: testLog(t)}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	start := time.Now()
	if err := w.start(ctx); err != nil {
		t.Fatal(err)
	}
	w.opening(ctx)
	took := time.Since(start)
	time.Sleep(200 * time.Millisecond) // the last events are on their way

	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("after %s: %v, agents %v", took, s.counts, s.agents)
	if ctx.Err() != nil || w.failed.Load() > 0 {
		t.Errorf("the opening took %s with %d failed steps, want less than 15 s and none", took, w.failed.Load())
	}
	for _, kind := range kinds {
		if s.counts[kind] == 0 {
			t.Errorf("no %q", kind)
		}
	}
	if len(s.agents) < minPeers {
		t.Errorf("agents %v, want at least %d different ones", s.agents, minPeers)
	}
}

// TestLoad runs everything. All dials, those of the swarm and those of the monitored
// node, are in the log of dials.
func TestLoad(t *testing.T) {
	api, s := startMonitored(t)
	before := len(dials.Addrs())
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := Options{API: api, Peers: 8, Seed: 1, Out: &out, Rate: 10, Log: testLog(t)}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	select {
	case err := <-ended:
		t.Fatalf("demo ended early: %v", err)
	case <-time.After(15 * time.Second):
	}
	cancel()
	stopping := time.Now()
	if err := <-ended; err != nil {
		t.Errorf("demo: %v", err)
	}
	if d := time.Since(stopping); d > 3*time.Second {
		t.Errorf("the demo took %s to end, want at most 3 s", d)
	}

	s.mu.Lock()
	t.Logf("after 15 s: %v\n%s", s.counts, out.String())
	for _, kind := range kinds {
		if s.counts[kind] == 0 {
			t.Errorf("no %q", kind)
		}
	}
	s.mu.Unlock()

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 3 {
		t.Errorf("progress %q, want a line each 5 s", lines)
	}
	var took string
	var up, peers, operations, failed int
	last := strings.ReplaceAll(lines[len(lines)-1], ",", "")
	if _, err := fmt.Sscanf(last, "demo ends: %s %d of %d peers %d operations %d failed", &took, &up, &peers, &operations, &failed); err != nil {
		t.Fatalf("last line %q: %v", last, err)
	}
	if peers != 8 || up < 7 { // the two that join late too; one may be away
		t.Errorf("%d of %d peers, want at least 7 of 8", up, peers)
	}
	// 10 per second after an opening of some seconds.
	if operations < 50 || failed*20 > operations {
		t.Errorf("%d operations, %d failed, want 50 and at most one of 20", operations, failed)
	}

	dialled := dials.Addrs()[before:]
	if len(dialled) == 0 {
		t.Error("no dial seen, want those of the swarm")
	}
	for _, addr := range dialled {
		if !strings.HasPrefix(addr, "/ip4/127.0.0.1/") {
			t.Errorf("dialled %s, want loopback only", addr)
		}
	}
}

func TestRunEndsWithoutTheAPI(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lis.Close() // a port where nobody listens
	err = Run(context.Background(), Options{API: "http://" + lis.Addr().String(), patience: time.Second})
	if err == nil || !strings.Contains(err.Error(), lis.Addr().String()) {
		t.Errorf("Run = %v, want an error that names the address", err)
	}
}

// TestRunEndsWhenTheAPIGoesAway stops the API of a running demo.
func TestRunEndsWhenTheAPIGoesAway(t *testing.T) {
	api, _ := startMonitored(t)
	target, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // requests do end early here
	door := httptest.NewServer(proxy)
	closing := time.AfterFunc(2*time.Second, func() {
		door.CloseClientConnections()
		door.Listener.Close()
	})
	defer func() { closing.Stop(); door.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err = Run(ctx, Options{API: door.URL, patience: 2 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "is unreachable") {
		t.Errorf("Run = %v, want an error that says that the API is unreachable", err)
	}
}

func TestRunEndsAfterDuration(t *testing.T) {
	api, _ := startMonitored(t)
	start := time.Now()
	if err := Run(context.Background(), Options{API: api, Duration: time.Second}); err != nil {
		t.Errorf("Run = %v, want no error for an end in time", err)
	}
	if d := time.Since(start); d < time.Second || d > 4*time.Second {
		t.Errorf("ended after %s, want 1 s and at most 3 s more", d)
	}
}

func TestValidate(t *testing.T) {
	good := Options{API: "/ip4/127.0.0.1/tcp/5001"}
	if err := good.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Options{Peers: 4, Rate: -1, Duration: -time.Second, API: "http://example.com:5001"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"peers 4", "rate -1", "duration -1s", "example.com"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %q", want, err)
		}
	}
}

func TestAPIURL(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := apiURL(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("apiURL(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	f("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001")
	f("/ip6/::1/tcp/5001", "http://[::1]:5001")
	f("http://127.0.0.1:5001", "http://127.0.0.1:5001")
	f("http://localhost:5001/", "http://localhost:5001")
	f("", "")
	f("127.0.0.1:5001", "")
	f("http://127.0.0.1", "")
	f("https://127.0.0.1:5001", "")
	f("http://192.0.2.1:5001", "")
	f("http://localhost.example.com:5001", "")
	f("/ip4/192.0.2.1/tcp/5001", "")
	f("/ip4/127.0.0.1/udp/5001", "")
	f("/unix/tmp/api", "")
	f("/nonsense", "")
}
