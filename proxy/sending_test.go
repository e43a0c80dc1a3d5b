package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// lines opens streams, numbers them, and records which message goes by which. Use it in a bubble of synctest,
// whose Wait orders it and the test.
type lines struct {
	opened, sent int
	by           []int // the stream of each message
	reset        []int
	refuse       error // to open
	fail         func(sent int) error
}

type oneLine struct {
	of *lines
	n  int
}

func (l *lines) NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.opened++
	return &oneLine{l, l.opened}, nil
}

func (l *oneLine) SupportsHave() bool { return true }
func (l *oneLine) Reset() error       { l.of.reset = append(l.of.reset, l.n); return nil }
func (l *oneLine) SendMsg(context.Context, bsmsg.BitSwapMessage) error {
	l.of.sent++
	l.of.by = append(l.of.by, l.n)
	if l.of.fail != nil {
		return l.of.fail(l.of.sent)
	}
	return nil
}

// Large blocks of a queue go by several streams in turn, others by one; when a message cannot be sent all streams are
// given up, and a peer is dropped with its wants, and a node is reconnected.
func TestStreamsOfAPeer(t *testing.T) {
	broken := errors.New("broken")
	f := func(sizes []int, up *lines) (e *engine) {
		t.Helper()
		e = engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		e.up = up
		var all []blocks.Block
		var wants []entry
		for _, n := range sizes {
			b := newBlocks(t, 1, n)[0]
			all = append(all, b)
			wants = append(wants, entry{cid: b.Cid(), block: true})
		}
		e.wantlist("peer", false, wants)
		synctest.Wait()
		e.fromNode("node", all, nil, nil)
		synctest.Wait()
		return e
	}
	const large = enoughBytes
	for _, c := range []struct {
		sizes, by []int
	}{{[]int{10, 10}, []int{1}}, {[]int{large}, []int{1}}, {[]int{large - 1, large - 1}, []int{1, 1}}, {[]int{large, 10}, []int{1, 2}},
		{[]int{large, large, large, large}, []int{1, 2, 3, 3}}, {[]int{large, large, large, large, large}, []int{1, 2, 3, 1, 3}}} {
		synctest.Test(t, func(t *testing.T) {
			up := new(lines)
			e := f(c.sizes, up)
			defer e.close()
			require.Equal(t, c.by, up.by, c.sizes)
			require.EqualValues(t, len(c.by), e.n.sent.Messages)
			require.Zero(t, e.ups["peer"].box.bytes)
			require.Empty(t, up.reset)
		})
	}
	for _, up := range []*lines{{refuse: broken}, {fail: func(sent int) error {
		if sent == 3 {
			return broken
		}
		return nil
	}}} {
		synctest.Test(t, func(t *testing.T) {
			e := f([]int{large, large, large, large, large}, up)
			defer e.close()
			require.Empty(t, e.ups, "a peer that does not read is gone")
			require.Zero(t, e.total)
			if up.refuse == nil {
				require.Equal(t, []int{1, 2, 3}, up.by)
				slices.Sort(up.reset)
				require.Equal(t, []int{1, 2, 3}, up.reset)
				require.EqualValues(t, 2, e.n.sent.Messages)
			}
		})
	}
	for _, down := range []*lines{{refuse: broken}, {fail: func(int) error { return broken }}, {}} {
		synctest.Test(t, func(t *testing.T) {
			e := engineOf(t, Config{Fallback: time.Hour}, down, "node")
			defer e.close()
			e.wantlist("peer", false, []entry{{cid: newBlocks(t, 1, 10)[0].Cid(), block: true}})
			synctest.Wait()
			fails := down.refuse != nil || down.fail != nil
			require.Equal(t, fails, e.downs[0].broken)
			require.Len(t, e.tick(time.Now()), map[bool]int{true: 1, false: 0}[fails], "it is reconnected")
			require.EqualValues(t, map[bool]int{true: 0, false: 1}[fails], e.downs[0].n.sent.Messages)
			require.Len(t, e.ups, 1)
		})
	}
}

// stuck opens streams whose other side reads nothing.
type stuck struct{ oneLine }

func (s *stuck) NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	return s, nil
}

func (s *stuck) Reset() error { return nil }
func (s *stuck) SendMsg(ctx context.Context, _ bsmsg.BitSwapMessage) error {
	<-ctx.Done()
	return ctx.Err()
}

// A peer that does not read a message is dropped when sendTimeout is over and five seconds more, in which its stream
// may say so.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		e.up = new(stuck)
		blk := newBlocks(t, 1, 10)[0]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		e.fromNode("node", []blocks.Block{blk}, nil, nil)
		time.Sleep(35*time.Second - 1)
		synctest.Wait()
		require.Len(t, e.peers(), 1)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Empty(t, e.peers())
	})
}

// A queue that was long frees its memory when it is empty, a short one keeps it for the next items.
func TestEmptyQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		box := &e.downs[0].box
		for n, kept := range map[int]bool{1: true, 1000: false} {
			box.items = make([]item, 0, n)
			var wants []entry
			for _, b := range newBlocks(t, min(n, window/2), 10) {
				wants = append(wants, entry{cid: b.Cid(), block: true})
			}
			e.wantlist("peer", false, wants)
			synctest.Wait()
			require.Empty(t, box.items)
			require.Equal(t, kept, cap(box.items) > 0)
		}
	})
}

// So many preloads run at once, and those of one CID are one.
func TestRunningPreloads(t *testing.T) {
	cfg := &settings{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	s := &refsServer{p: &Proxy{cfg: cfg, engine: newEngine(cfg, nil, nil)}, flights: map[flightKey]*flight{}}
	at := netip.MustParseAddr("192.0.2.1")
	all := newBlocks(t, maxRunning+1, 10)
	for _, b := range all[:maxRunning-1] {
		s.flights[flightKey{cid: b.Cid()}] = &flight{cancel: func() {}}
	}
	new := flightKey{cid: all[maxRunning].Cid()}
	_, err := s.join(new, at)
	require.ErrorContains(t, err, "none of the nodes is connected")
	s.flights[flightKey{cid: all[maxRunning-1].Cid()}] = &flight{cancel: func() {}}
	_, err = s.join(new, at)
	require.ErrorContains(t, err, "128 requests are running already")
	ended := false
	key := flightKey{cid: all[0].Cid()}
	s.flights[key] = &flight{key: key, users: 1, from: []netip.Addr{at}, cancel: func() { ended = true }}
	f, err := s.join(key, netip.MustParseAddr("192.0.2.2"))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{at, netip.MustParseAddr("192.0.2.2")}, f.from)
	require.Equal(t, 2, f.users)
	s.part(f, at)
	require.False(t, ended)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.2")}, f.from)
	s.part(f, netip.MustParseAddr("192.0.2.2"))
	require.True(t, ended)
	require.NotContains(t, s.flights, key)
}

// A preload that has ended is not joined any more, and its end removes no other one of its CID. A caller that leaves is
// none of its callers.
func TestEndOfAPreload(t *testing.T) {
	p, _, _ := stillProxy(t, nil, "node")
	p.cfg.PreloadTimeout, p.cfg.PreloadNodes = patient, 10
	gate := make(chan struct{})
	p.rpc.client.Transport = apiFunc(func() (int, string) { <-gate; return 200, "" })
	p.engine.nodeConnected(p.engine.downs[0], nodeID)
	s := &refsServer{p: p, flights: map[flightKey]*flight{}}
	at, key := netip.MustParseAddr("192.0.2.1"), flightKey{cid: newBlocks(t, 1, 10)[0].Cid()}
	f, err := s.join(key, at)
	require.NoError(t, err)
	require.Equal(t, 1, p.engine.status().PreloadRunning)
	for range 2 {
		same, err := s.join(key, at)
		require.NoError(t, err)
		require.Same(t, f, same)
	}
	callers := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		p.engine.mu.Lock()
		defer p.engine.mu.Unlock()
		if f.preload == nil {
			return 0
		}
		return f.preload.callers[at]
	}
	require.Eventually(t, func() bool { return callers() == 3 }, patient, time.Millisecond)
	s.part(f, at)
	require.Equal(t, 2, callers())
	gate <- struct{}{}
	p.tasks.Wait()
	require.Empty(t, s.flights, "it has ended, though two still read it")
	require.Zero(t, p.engine.status().PreloadRunning)

	f, err = s.join(key, at)
	require.NoError(t, err)
	other := new(flight)
	s.mu.Lock()
	s.flights[key] = other
	s.mu.Unlock()
	gate <- struct{}{}
	p.tasks.Wait()
	require.Same(t, other, s.flights[key])
	s.part(f, at)
	require.Same(t, other, s.flights[key])
}

// What a node answers to a preload: which lines are passed on, what is wrong, and whether another node may be asked.
func TestAnswersToAPreload(t *testing.T) {
	p, _, _ := stillProxy(t, nil, "node")
	p.cfg.PreloadNodes = 2
	s := &refsServer{p: p}
	all, broke := newBlocks(t, 3, 10), ""
	line := func(i int) string { return fmt.Sprintf("{\"Ref\":%q,\"Err\":\"\"}\n", all[i].Cid()) }
	f := func(lines int, wrong string, answer func() (int, string)) {
		t.Helper()
		p.rpc.client.Transport = &trailers{apiFunc(answer), broke}
		f := &flight{key: flightKey{cid: all[0].Cid()}, changed: make(chan struct{})}
		began, err := s.ask(t.Context(), f, p.engine.downs[0])
		if wrong == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, wrong)
		}
		require.Equal(t, lines > 0, began)
		require.Len(t, f.lines, lines)
		for i, got := range f.lines {
			require.Equal(t, line(i), string(got))
		}
	}
	for n := range 3 {
		before := ""
		for i := range n {
			before += line(i)
		}
		says := func(more string) func() (int, string) {
			return func() (int, string) { return 200, before + more }
		}
		f(n, "", says("\n"))
		f(n, "the answer is not kubo's", says("{\n"))
		f(n, "refs: no such block", says(`{"Err":"no such block"}`))
		f(n, `"nonsense" is not a CID`, says(`{"Ref":"nonsense"}`))
		f(n, "refs: bufio.Scanner: token too long", says(strings.Repeat("x", maxRefLine)))
		broke = "it broke"
		f(n, "refs: it broke", says(""))
		broke = ""
	}
	f(2, "more than 2 nodes", func() (int, string) { return 200, line(0) + line(1) + line(2) })
	f(0, "status 500: sorry", func() (int, string) { return 500, " sorry\n" })
}

// trailers adds a trailer to answers, which kubo sends for an error after the first line.
type trailers struct {
	apiFunc
	err string
}

func (t *trailers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.apiFunc.RoundTrip(r)
	resp.Trailer = http.Header{"X-Stream-Error": {t.err}}
	return resp, err
}

// Requests to nodes carry the token if there is one.
func TestTokenIsShownToNodes(t *testing.T) {
	p, _, _ := stillProxy(t, nil, "node")
	for auth, want := range map[string][]string{"": nil, "Bearer secret": {"Bearer secret"}} {
		var got []string
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Values("Authorization") }))
		p.rpc.auth, p.rpc.client = auth, s.Client()
		resp, err := p.rpc.post(t.Context(), &downstreamAddr{dial: s.Listener.Addr().String()}, "id", nil)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, got)
		s.Close()
	}
}

// What the preload listener counts, and how long a caller without room has to wait.
func TestRefusedPreloads(t *testing.T) {
	p, _, log := stillProxy(t, nil, "node")
	s := &refsServer{p: p, open: true, flights: map[flightKey]*flight{}, callers: map[netip.Prefix]*caller{}}
	p.cfg.PreloadRate, p.cfg.PreloadParallel = 60, 1
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, refsPath+"?arg="+newBlocks(t, 1, 10)[0].Cid().String(), nil))
		return w
	}
	require.Equal(t, http.StatusServiceUnavailable, ask().Code)
	now := p.engine.status()
	require.Equal(t, []uint64{1, 1}, []uint64{now.PreloadRequests, now.PreloadRefused})
	p.cfg.PreloadParallel = 0
	w := ask()
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"), "the whole seconds after one")
	now = p.engine.status()
	require.Equal(t, []uint64{2, 2}, []uint64{now.PreloadRequests, now.PreloadRefused})

	// A listener that fails is named, one that was closed is not.
	var err error
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.listener.Close()
	s.server = new(http.Server)
	s.serve()
	require.Contains(t, log.String(), "the preload listener failed")
	require.NoError(t, s.server.Close())
	s.serve()
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
}

// Requests that run when the preload listener closes have drainTimeout to end.
func TestRunningPreloadsAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for takes, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Hour: drainTimeout} {
			var took time.Duration
			near, far := net.Pipe()
			s := &refsServer{listener: &onePipe{conn: near, closed: make(chan struct{})}, server: &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				began := time.Now()
				select {
				case <-r.Context().Done():
				case <-time.After(takes):
				}
				took = time.Since(began)
			})}}
			go s.server.Serve(s.listener)
			go io.Copy(io.Discard, far)
			_, err := io.WriteString(far, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			synctest.Wait()
			s.close()
			synctest.Wait()
			require.Equal(t, want, took)
			far.Close()
		}
	})
}

// onePipe is a listener that accepts one connection.
type onePipe struct {
	net.Listener
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *onePipe) Accept() (conn net.Conn, err error) {
	if conn, l.conn = l.conn, nil; conn != nil {
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *onePipe) Addr() net.Addr { return new(net.TCPAddr) }
func (l *onePipe) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }

// sentTo is a tracer that keeps to whom messages are sent.
type sentTo struct{ all []peer.ID }

func (s *sentTo) MessageReceived(peer.ID, bsmsg.BitSwapMessage) {}
func (s *sentTo) MessageSent(to peer.ID, _ bsmsg.BitSwapMessage) {
	s.all = append(s.all, to)
}

// What is sent to peers is shown to the tracer of peers, and what is sent to nodes to that of nodes.
func TestTracersOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		e.up = new(lines)
		up, down := new(sentTo), new(sentTo)
		e.trace[event.Upstream], e.trace[event.Downstream] = up, down
		blk := newBlocks(t, 1, 10)[0]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		synctest.Wait()
		e.fromNode("node", []blocks.Block{blk}, nil, nil)
		synctest.Wait()
		require.Equal(t, []peer.ID{"peer"}, up.all)
		require.Equal(t, []peer.ID{"node"}, down.all)
	})
}

// A caller of the preload listener has so long to send its request, and a CID may be as long as kubo's.
func TestPreloadListenerLimits(t *testing.T) {
	cfg := &settings{Config: Config{Logger: slog.New(slog.DiscardHandler)}, refsAt: "127.0.0.1:0"}
	s, err := newRefsServer(&Proxy{cfg: cfg, engine: newEngine(cfg, nil, nil), ctx: t.Context()})
	require.NoError(t, err)
	defer s.close()
	require.Equal(t, []time.Duration{5 * time.Second, 15 * time.Second, time.Minute}, []time.Duration{s.server.ReadHeaderTimeout, s.server.ReadTimeout, s.server.IdleTimeout})
	for n, want := range map[int]bool{maxCID: true, maxCID + 1: false} {
		_, err := parseRefs(&http.Request{URL: &url.URL{RawQuery: "arg=" + longCID(t, n).String()}})
		require.Equal(t, want, err == nil, "%d bytes: %v", n, err)
	}
}
