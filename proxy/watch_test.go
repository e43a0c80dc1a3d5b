package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// stillHost is a host without a network, for tests in a bubble of synctest: who is connected is a map.
type stillHost struct {
	host.Host
	id        peer.ID
	mu        sync.Mutex
	connected map[peer.ID]bool
	connects  []time.Time
	conns     []network.Conn
	speaks    map[peer.ID]protocol.ID
	opened    []peer.ID // to whom streams were opened
	closes    int
}

func newStillHost() *stillHost {
	return &stillHost{id: ownID, connected: map[peer.ID]bool{}, speaks: map[peer.ID]protocol.ID{}}
}

// Two peer IDs.
var ownID, nodeID = mustID("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"), mustID("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")

func mustID(s string) peer.ID {
	id, err := peer.Decode(s)
	if err != nil {
		panic(err)
	}
	return id
}

func (h *stillHost) ID() peer.ID { return h.id }
func (h *stillHost) Addrs() []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/tcp/1")}
}
func (h *stillHost) Network() network.Network                            { return stillNetwork{of: h} }
func (h *stillHost) Peerstore() peerstore.Peerstore                      { return stillStore{of: h} }
func (h *stillHost) ConnManager() connmgr.ConnManager                    { return connmgr.NullConnMgr{} }
func (h *stillHost) SetStreamHandler(protocol.ID, network.StreamHandler) {}
func (h *stillHost) RemoveStreamHandler(protocol.ID)                     {}
func (h *stillHost) Close() error                                        { h.closes++; return nil }

func (h *stillHost) Connect(_ context.Context, info peer.AddrInfo) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connected[info.ID] = true
	h.connects = append(h.connects, time.Now())
	return nil
}

// end ends the connections to a peer.
func (h *stillHost) end(id peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connected[id] = false
}

// times returns when connections were made.
func (h *stillHost) times() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.connects)
}

func (h *stillHost) NewStream(_ context.Context, id peer.ID, _ ...protocol.ID) (network.Stream, error) {
	h.opened = append(h.opened, id)
	return nil, network.ErrNoConn
}

type stillNetwork struct {
	network.Network
	of *stillHost
}

func (n stillNetwork) Connectedness(id peer.ID) network.Connectedness {
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	if n.of.connected[id] {
		return network.Connected
	}
	return network.NotConnected
}

func (n stillNetwork) ConnsToPeer(peer.ID) []network.Conn { return n.of.conns }

type stillStore struct {
	peerstore.Peerstore
	of *stillHost
}

func (s stillStore) ClearAddrs(peer.ID)                              {}
func (s stillStore) AddAddrs(peer.ID, []ma.Multiaddr, time.Duration) {}
func (s stillStore) GetProtocols(id peer.ID) ([]protocol.ID, error) {
	return []protocol.ID{s.of.speaks[id]}, nil
}

func (s stillStore) SupportsProtocols(id peer.ID, all ...protocol.ID) ([]protocol.ID, error) {
	return slices.DeleteFunc(slices.Clone(all), func(p protocol.ID) bool { return p != s.of.speaks[id] }), nil
}

// goneConn is a connection to a node that has ended.
type goneConn struct {
	network.Conn
	to peer.ID
	at ma.Multiaddr
}

func (c goneConn) RemotePeer() peer.ID           { return c.to }
func (c goneConn) RemoteMultiaddr() ma.Multiaddr { return c.at }

// apiFunc answers requests to the RPC API without a network.
type apiFunc func() (status int, body string)

func (f apiFunc) RoundTrip(*http.Request) (*http.Response, error) {
	status, body := f()
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// stillProxy is a proxy of two such hosts in front of nodes with that RPC API.
func stillProxy(t *testing.T, api apiFunc, names ...string) (p *Proxy, down *stillHost, log *logtest.Buffer) {
	log = &logtest.Buffer{}
	s := &settings{Config: Config{Fallback: time.Hour, MaxUpstreams: 10, Logger: slog.New(slog.NewTextHandler(log, nil))}}
	for _, n := range names {
		s.downs = append(s.downs, &downstreamAddr{name: n, addr: ma.StringCast("/ip4/192.0.2.2/tcp/5001"), host: ma.StringCast("/ip4/192.0.2.2"), dial: "192.0.2.2:5001"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	down = newStillHost()
	p = &Proxy{cfg: s, engine: newEngine(s, nil, nil), up: newStillHost(), down: down, rpc: &rpc{client: &http.Client{Transport: api}}, ctx: ctx, cancel: cancel}
	p.pass = newPasser(p)
	return p, down, log
}

func answersID(id peer.ID) apiFunc {
	return func() (int, string) { return 200, fmt.Sprintf(`{"ID":%q,"Addresses":["/ip4/127.0.0.1/tcp/4001"]}`, id) }
}

// The end of a node's last connection is noticed at once, and it is connected again.
func TestNodeThatGoesIsConnectedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, log := stillProxy(t, answersID(nodeID), "node")
		p.tasks.Go(func() { p.watch(p.ctx, p.engine.downs[0]) })
		defer func() { p.cancel(); p.tasks.Wait() }()
		synctest.Wait()
		require.Equal(t, []peer.ID{nodeID}, p.engine.nodes())
		p.nodeDisconnected(h.Network(), goneConn{to: nodeID})
		p.nodeDisconnected(h.Network(), goneConn{to: ownID})
		synctest.Wait()
		require.Equal(t, []peer.ID{nodeID}, p.engine.nodes(), "it has another connection")
		require.NotContains(t, log.String(), "a node disconnected")
		h.end(nodeID)
		p.nodeDisconnected(h.Network(), goneConn{to: nodeID})
		synctest.Wait()
		require.Empty(t, p.engine.nodes())
		require.Contains(t, log.String(), "proxy: a node disconnected")
		time.Sleep(firstBackoff)
		synctest.Wait()
		require.Equal(t, []peer.ID{nodeID}, p.engine.nodes())
		require.Len(t, h.times(), 2)
		require.Zero(t, p.Panics())

		// If libp2p does not say so, it is noticed later.
		h.end(nodeID)
		time.Sleep(sweepEvery - firstBackoff - 1)
		synctest.Wait()
		require.Len(t, h.times(), 2)
		time.Sleep(3 * firstBackoff)
		synctest.Wait()
		require.Len(t, h.times(), 3)
	})
}

// A node whose connections end soon is connected again after waits that grow, and one that was connected for longer
// than the longest wait after the first.
func TestWaitsBetweenConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, _ := stillProxy(t, answersID(nodeID), "node")
		p.tasks.Go(func() { p.watch(p.ctx, p.engine.downs[0]) })
		defer func() { p.cancel(); p.tasks.Wait() }()
		const step = 10 * time.Millisecond
		wait := func(lasts time.Duration) time.Duration { // for the next connection after one that lasts so long
			synctest.Wait()
			n := len(h.times())
			time.Sleep(time.Until(h.times()[n-1].Add(lasts)))
			ended := time.Now()
			h.end(nodeID)
			p.nodeDisconnected(h.Network(), goneConn{to: nodeID})
			for len(h.times()) == n && time.Since(ended) < 2*lastBackoff {
				time.Sleep(step)
				synctest.Wait()
			}
			require.Len(t, h.times(), n+1)
			return h.times()[n].Sub(ended)
		}
		for bound := firstBackoff; bound < lastBackoff; bound *= 2 {
			got := wait(step)
			require.True(t, got >= bound/2-1 && got <= bound, "%v, want %v to %v", got, bound/2, bound)
		}
		require.GreaterOrEqual(t, wait(lastBackoff), lastBackoff/2-1)
		require.LessOrEqual(t, wait(lastBackoff+1), firstBackoff)
	})
}

// A node that cannot be reached is named once for each reason, and not at the end.
func TestUnreachableNodeIsNamedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status, tries atomic.Int32
		status.Store(500)
		p, _, log := stillProxy(t, func() (int, string) { tries.Add(1); return int(status.Load()), "sorry" }, "node")
		p.tasks.Go(func() { p.watch(p.ctx, p.engine.downs[0]) })
		named := func() int { return strings.Count(log.String(), "a node cannot be reached") }
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Greater(t, tries.Load(), int32(3))
		require.Equal(t, 1, named())
		status.Store(503)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 2, named())
		p.cancel()
		p.tasks.Wait()
		require.Equal(t, 2, named())

		ctx, cancel := context.WithCancel(t.Context())
		p.rpc.client.Transport = apiFunc(func() (int, string) { cancel(); return 404, "the proxy ends" })
		p.watch(ctx, p.engine.downs[0])
		require.Equal(t, 2, named())
	})
}

// Two addresses of one node are one node too few, and the proxy's own is none.
func TestNodesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, _ := stillProxy(t, answersID(nodeID), "first", "second")
		first, second := p.engine.downs[0], p.engine.downs[1]
		require.Empty(t, p.NodeName(nodeID))
		id, err := p.connect(t.Context(), first)
		require.NoError(t, err)
		require.Equal(t, nodeID, id)
		require.EqualValues(t, "first", p.NodeName(nodeID))
		require.Empty(t, p.NodeName("another"))
		p.engine.nodeConnected(first, id)
		_, err = p.connect(t.Context(), second)
		require.EqualError(t, err, "it is the same node as first")
		_, err = p.connect(t.Context(), first)
		require.NoError(t, err)
		h.id = nodeID
		_, err = p.connect(t.Context(), second)
		require.ErrorContains(t, err, "the proxy's own")
	})
}

// A peer whose end libp2p did not report is dropped by the next comparison.
func TestPeersThatAreGoneAreDropped(t *testing.T) {
	p, _, _ := stillProxy(t, nil)
	p.up.(*stillHost).connected["here"] = true
	require.True(t, p.engine.peerConnected("here"))
	require.True(t, p.engine.peerConnected("gone"))
	p.sweep()
	require.Equal(t, []peer.ID{"here"}, p.engine.peers())
	require.Zero(t, p.Panics())
}

// The addresses at which peers reach the proxy, and those from which a peer is connected.
func TestAddresses(t *testing.T) {
	p, _, _ := stillProxy(t, nil)
	require.Equal(t, []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/tcp/1/p2p/" + ownID.String())}, p.Addrs())
	p.up.(*stillHost).conns = []network.Conn{
		goneConn{at: ma.StringCast("/ip4/192.0.2.7/tcp/1")}, goneConn{at: ma.StringCast("/dns4/peer.example/tcp/1")}, goneConn{at: ma.StringCast("/ip6/::ffff:192.0.2.8/udp/1/quic-v1")},
	}
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}, p.addressesOf("peer"))
}

// A proxy that was not started, or that could not be made, leaves nothing open.
func TestProxyThatWasNotStarted(t *testing.T) {
	p, down, _ := stillProxy(t, nil)
	p.cfg.refsAt = "127.0.0.1:0"
	var err error
	p.refs, err = newRefsServer(p)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.Equal(t, []int{1, 1}, []int{p.up.(*stillHost).closes, down.closes})
	_, err = net.DialTimeout("tcp", p.refs.listener.Addr().String(), patient)
	require.Error(t, err)
	require.Error(t, p.ctx.Err())

	_, err = New(Config{Downstreams: []string{"/ip4/127.0.0.1/tcp/1"}, TokenFile: filepath.Join(t.TempDir(), "none")})
	require.ErrorContains(t, err, "--token-file")
}

// A peer's stream goes to the first node that supports its protocol; one that has no place or no node is reset and
// counted.
func TestStreamsThatAreNotPassed(t *testing.T) {
	p, h, _ := stillProxy(t, nil, "first", "second")
	refused := func(n uint64) {
		t.Helper()
		s := &refusedStream{from: "peer"}
		p.pass.pass(s)
		require.Equal(t, 1, s.resets)
		require.Equal(t, []uint64{n, 0}, []uint64{p.engine.n.blocked, p.engine.n.passed})
		require.Zero(t, p.pass.all)
	}
	refused(1)
	for i, id := range []peer.ID{"one", "two"} {
		p.engine.nodeConnected(p.engine.downs[i], id)
	}
	refused(2)
	require.Empty(t, h.opened, "no node supports it")
	h.speaks["two"] = "/echo/1"
	refused(3)
	require.Equal(t, []peer.ID{"two"}, h.opened)
	p.pass.closed = true
	refused(4)
	require.Len(t, h.opened, 1)
	require.Zero(t, p.Panics())
}

// refusedStream is a peer's stream of /echo/1 that counts how often it is reset.
type refusedStream struct {
	network.Stream
	from   peer.ID
	resets int
}

func (s *refusedStream) Conn() network.Conn    { return passedConn{from: s.from} }
func (s *refusedStream) Protocol() protocol.ID { return "/echo/1" }
func (s *refusedStream) Reset() error          { s.resets++; return nil }

// copied is a stream that returns what is to be read, and records what is done with it.
type copied struct {
	network.Stream
	read   func(b []byte) (int, error)
	refuse error // of writes
	did    []string
}

func (c *copied) SetReadDeadline(time.Time) error  { return nil }
func (c *copied) SetWriteDeadline(time.Time) error { return nil }
func (c *copied) Read(b []byte) (int, error)       { return c.read(b) }
func (c *copied) Write(b []byte) (int, error) {
	c.did = append(c.did, string(b))
	return len(b), c.refuse
}
func (c *copied) CloseWrite() error { c.did = append(c.did, "CLOSED"); return nil }
func (c *copied) Reset() error      { c.did = append(c.did, "RESET"); return nil }

// What one side sends is written to the other; an end is passed on as an end, and a fault of either side as a reset.
func TestCopiedStreams(t *testing.T) {
	f := func(end, refuse error, to, from []string, texts ...string) {
		t.Helper()
		one, other := &copied{}, &copied{refuse: refuse}
		one.read = func(b []byte) (int, error) {
			if len(texts) == 0 {
				return 0, end
			}
			n := copy(b, texts[0])
			if texts = texts[1:]; len(texts) == 0 {
				return n, end
			}
			return n, nil
		}
		copyStream(other, one)
		require.Equal(t, to, other.did)
		require.Equal(t, from, one.did)
	}
	f(io.EOF, nil, []string{"CLOSED"}, nil)
	f(io.EOF, nil, []string{"a", "b", "CLOSED"}, nil, "a", "", "b")
	f(network.ErrReset, nil, []string{"a", "RESET"}, []string{"RESET"}, "a")
	f(io.EOF, network.ErrReset, []string{"a", "RESET"}, []string{"RESET"}, "a", "b")
}
