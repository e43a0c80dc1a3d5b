package proxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/proxy/wire"
)

// brokenTracer panics while it is switched on.
type brokenTracer struct{ on atomic.Bool }

func (b *brokenTracer) MessageReceived(peer.ID, bsmsg.BitSwapMessage) { b.breaks() }
func (b *brokenTracer) MessageSent(peer.ID, bsmsg.BitSwapMessage)     { b.breaks() }
func (b *brokenTracer) breaks() {
	if b.on.Load() {
		panic("a fault")
	}
}

// TestAPanicCostsOneMessage: with a fault in the path of messages from and to peers and
// nodes, the proxy continues, counts the panics, and serves again when the fault has
// ended.
func TestAPanicCostsOneMessage(t *testing.T) {
	log, lines := guardtest.New()
	node := newTestNode(t)
	all := newBlocks(t, 3, 2000)
	node.put(t, all...)
	up, down := new(brokenTracer), new(brokenTracer)
	p := startProxy(t, Config{Downstreams: []string{apiAddr(node.api)}, Tracer: up, DownTracer: down})
	p.engine.guard.Log = log
	client := newTestNode(t)
	p.connect(t, client)
	short := func(want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		n := p.Panics()
		go func() { _ = client.tryFetch(ctx, all[want:want+1]) }() // its answer does not matter
		require.Eventually(t, func() bool { return p.Panics() > n }, patient, time.Millisecond)
	}
	up.on.Store(true)
	short(0)
	short(1)
	lines.Once(t, "proxy: process a peer's message", "proxy.(*brokenTracer).breaks")
	up.on.Store(false)
	down.on.Store(true)
	short(2)
	lines.Once(t, "proxy: send a message", "proxy.(*engine).transmit")
	down.on.Store(false)
	require.Eventually(t, func() bool {
		other := newTestNode(t)
		p.connect(t, other)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return other.tryFetch(ctx, all) == nil
	}, patient, time.Millisecond)
	require.Contains(t, metricsOf(t, p.Proxy), "kitsune_panics_total")
}

// metricsOf lists the names of the metrics.
func metricsOf(t *testing.T, p *Proxy) (names []string) {
	t.Helper()
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(p))
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		names = append(names, f.GetName())
	}
	return names
}

// brokenReceiver panics at each message.
type brokenReceiver struct{ bsnetwork.Receiver }

func (brokenReceiver) ReceiveMessage(context.Context, peer.ID, bsmsg.BitSwapMessage) {
	panic("a fault")
}

// TestAPanicWhileAStreamIsReadResetsIt: the next stream is read.
func TestAPanicWhileAStreamIsReadResetsIt(t *testing.T) {
	log, lines := guardtest.New()
	g := guard.New(log)
	a, b := newTestHost(t), newTestHost(t)
	seen := bsnetwork.NewConnectEventManager()
	seen.Start()
	defer seen.Stop()
	wire.Listen(b, brokenReceiver{}, seen, g)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	require.NoError(t, a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}))
	for n := range uint64(2) {
		s, err := a.NewStream(ctx, b.ID(), bsnet.ProtocolBitswap)
		require.NoError(t, err)
		m := bsmsg.New(true)
		require.NoError(t, m.ToNetV1(s))
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, network.ErrReset)
		require.EqualValues(t, n+1, g.Panics())
	}
	lines.Once(t, "proxy: read a stream of Bitswap", "proxy.brokenReceiver.ReceiveMessage")
}

// brokenStream panics when it is read, and records that it was reset.
type brokenStream struct {
	network.Stream
	resets int
}

func (b *brokenStream) Reset() error { b.resets++; return nil }

// TestEveryBorderIsGuarded calls everything that libp2p, timers and requests call, each
// with a broken part behind it. The panic must be counted and logged once with its stack,
// and no lock may stay held.
func TestEveryBorderIsGuarded(t *testing.T) {
	f := func(doing, in string, call func(p *Proxy)) {
		t.Helper()
		log, lines := guardtest.New()
		e := newEngine(&settings{Config: Config{Logger: log, PreloadTimeout: patient}}, nil, nil)
		p := &Proxy{cfg: e.cfg, engine: e, ctx: t.Context()}
		p.pass = newPasser(p)
		for n := range uint64(2) {
			require.NotPanics(t, func() { call(p) }, doing)
			require.EqualValues(t, n+1, p.Panics(), doing)
			require.True(t, e.mu.TryLock(), "%s: the lock is held", doing)
			e.mu.Unlock()
		}
		lines.Once(t, "proxy: "+doing, "/proxy."+in)
	}
	someCID := newBlocks(t, 1, 10)[0].Cid()
	f("process a peer's message", "(*upSide).ReceiveMessage", func(p *Proxy) { (*upSide)(p).ReceiveMessage(t.Context(), "p", nil) })
	f("process a node's message", "(*downSide).ReceiveMessage", func(p *Proxy) { (*downSide)(p).ReceiveMessage(t.Context(), "p", nil) })
	f("admit a peer", "(*upSide).PeerConnected", func(p *Proxy) { (*upSide)(p).PeerConnected("p") })
	f("drop a disconnected peer", "(*engine).peerGone", func(p *Proxy) {
		p.engine.ups["p"] = &upstream{wants: map[cid.Cid]*waiter{someCID: nil}}
		(*upSide)(p).PeerDisconnected("p")
	})
	f("handle a node's disconnect", "(*Proxy).nodeDisconnected", func(p *Proxy) { p.nodeDisconnected(nil, nil) })
	f("count a blocked protocol", "(*engine).noteBlocked", func(p *Proxy) {
		p.engine.cfg = nil
		p.engine.noteBlocked("/x")
	})
	f("check due asks", "(*engine).tick", func(p *Proxy) {
		p.engine.due = []deadline{{}}
		p.due(time.Now())
	})
	f("ask again", "(*engine).retry", func(p *Proxy) {
		p.engine.wants[someCID] = nil
		p.retry()
	})
	f("look for disconnected peers", "(*Proxy).sweep", func(p *Proxy) {
		p.engine.ups["p"] = new(upstream)
		p.sweep()
	})
	f("disconnect a node", "(*Proxy).hangUp", func(p *Proxy) {
		p.hangUp(newDownstream(&downstreamAddr{name: "n"}))
		p.tasks.Wait()
	})
	f("forward a stream", "(*passer).take", func(p *Proxy) {
		s := new(brokenStream)
		p.pass.pass(s)
		require.Equal(t, 1, s.resets)
		require.True(t, p.pass.mu.TryLock())
		p.pass.mu.Unlock()
	})
	f("forward a stream back", "copyStream", func(p *Proxy) {
		one, two := new(brokenStream), new(brokenStream)
		func() {
			defer p.pass.ended("proxy: forward a stream back", one, two)
			copyStream(one, two)
		}()
		require.Equal(t, []int{1, 1}, []int{one.resets, two.resets})
	})
	f("send to a peer or a node", "fill", func(p *Proxy) {
		b := &outbox{items: []item{{what: itemBlock}}, running: true}
		p.engine.empty(b)
		require.False(t, b.running, "it may be started again")
	})
	f("ask nodes for a preload", "(*rpc).post", func(p *Proxy) {
		d := newDownstream(&downstreamAddr{name: "n"})
		d.id, d.connected = "n", true
		p.engine.downs = []*downstream{d}
		s := &refsServer{p: p, flights: map[flightKey]*flight{}, callers: map[netip.Prefix]*caller{}}
		flight, err := s.join(flightKey{cid: someCID}, netip.Addr{})
		require.NoError(t, err)
		p.tasks.Wait()
		status, reason := flight.refused()
		require.Equal(t, http.StatusInternalServerError, status)
		require.Equal(t, "internal error", reason)
	})
	f("publish the totals", "TestEveryBorderIsGuarded", func(p *Proxy) {
		p.publish(func(*event.Event) bool { panic("a fault") }, time.Now(), time.Second)
	})
	f("collect metrics", "(*engine).metrics", func(p *Proxy) {
		p.engine.downs = []*downstream{nil}
		p.Collect(nil)
	})
	f("answer a preload request", "(*refsServer).ServeHTTP", func(p *Proxy) {
		p.cfg.refsAt = "127.0.0.1:0"
		s, err := newRefsServer(p)
		require.NoError(t, err)
		defer s.close()
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { s.server.Handler.ServeHTTP(httptest.NewRecorder(), new(http.Request)) })
	})
	f("connect to a node", "(*rpc).id", func(p *Proxy) {
		n := p.Panics()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.watch(ctx, newDownstream(&downstreamAddr{name: "n", addr: multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")}))
		}()
		require.Eventually(t, func() bool { return p.Panics() > n }, patient, time.Millisecond)
		cancel()
		<-done
	})
}
