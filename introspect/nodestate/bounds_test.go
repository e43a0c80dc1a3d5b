package nodestate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// TestArena: every message is another, empty one; those that were not used since the last
// reset are freed, whole chunks at a time.
func TestArena(t *testing.T) {
	var a arena[pb.DataGauge, *pb.DataGauge]
	for _, c := range []struct{ n, chunks int }{{1, 1}, {chunk, 1}, {chunk + 1, 2}, {3 * chunk, 3}, {2 * chunk, 3}, {2*chunk + 1, 3}, {chunk, 3}, {0, 1}, {1, 1}} {
		seen := map[*pb.DataGauge]bool{}
		for range c.n {
			g := a.take()
			require.Zero(t, g.CumBytes)
			require.False(t, seen[g])
			seen[g], g.CumBytes = true, 7
		}
		require.Len(t, a.chunks, c.chunks, "%d of %d", c.n, chunk)
		a.reset()
		require.Len(t, a.chunks, (c.n+chunk-1)/chunk, "%d of %d", c.n, chunk)
	}
}

// TestSpeed: bytes per second between two readings that are not too close together.
func TestSpeed(t *testing.T) {
	var r rate
	now := time.Now()
	f := func(after time.Duration, in, out, inRate, outRate uint64) {
		t.Helper()
		now = now.Add(after)
		gotIn, gotOut := r.read(now, in, out)
		require.Equal(t, [2]uint64{inRate, outRate}, [2]uint64{gotIn, gotOut})
	}
	f(0, 1000, 50, 0, 0)
	f(rateEvery-1, 9000, 50, 0, 0)
	f(1, 1400, 450, 1000, 1000)
	f(2*time.Second, 1400, 430, 0, 0) // a counter that begins again
	f(2*time.Second, 1410, 1430, 5, 500)
}

// TestRatesOfBitswap: all figures, over the readings that are kept, and none over less
// than a tenth of a second.
func TestRatesOfBitswap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := uint64(0)
		r := &bitswapRates{read: func(event.Direction) event.Traffic {
			return event.Traffic{Messages: n, WantBlock: 2 * n, WantHave: 3 * n, Cancel: 4 * n, Have: 5 * n, DontHave: 6 * n, Blocks: 7 * n, BlockBytes: 8 * n}
		}}
		r.take()
		n = 10
		time.Sleep(100*time.Millisecond - 1)
		require.Zero(t, r.rate(event.Sent).GetMessages())
		time.Sleep(time.Nanosecond)
		require.InDelta(t, 100, r.rate(event.Sent).GetMessages(), 1e-6)
		for i := range 20 { // 10 a second, and then none
			if i < 15 {
				n += 10
			}
			time.Sleep(time.Second)
			r.take()
		}
		got := r.rate(event.Received)
		for i, x := range []float64{got.Messages, got.WantBlock, got.WantHave, got.Cancel, got.Have, got.DontHave, got.Blocks, got.BlockBytes} {
			require.InDelta(t, 0, x, 1e-6, i)
		}
		n += 50
		got = r.rate(event.Received)
		for i, x := range []float64{got.Messages, got.WantBlock, got.WantHave, got.Cancel, got.Have, got.DontHave, got.Blocks, got.BlockBytes} {
			require.InDelta(t, 10*float64(i+1), x, 1e-6, i) // within the five seconds since the oldest
		}
	})
}

// TestKeptForTwoSeconds: a figure that costs much is read again then.
func TestKeptForTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept[int]
		n := 0
		get := func() int { return k.get(func() int { n++; return n }) }
		require.Equal(t, 1, get())
		time.Sleep(slowEvery - 1)
		require.Equal(t, 1, get())
		time.Sleep(time.Nanosecond)
		require.Equal(t, 2, get())
	})
}

// TestTheRepositorysSize is read once a minute, and what was read stays when that fails.
func TestTheRepositorysSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, fault := 0, error(nil)
		s := NewSampler(Node{RepoBytes: func(context.Context) (uint64, error) { reads++; return uint64(reads * 100), fault }})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.EqualValues(t, -1, s.repo(ended))
		require.EqualValues(t, 100, s.repo(t.Context()))
		time.Sleep(repoEvery - 1)
		require.EqualValues(t, 100, s.repo(t.Context()))
		time.Sleep(time.Nanosecond)
		require.EqualValues(t, 200, s.repo(t.Context()))
		fault = errors.New("busy")
		time.Sleep(repoEvery)
		require.EqualValues(t, 200, s.repo(t.Context()))
		require.Equal(t, 3, reads)
	})
}

// TestProcessAgainstTheSystem: the figures of this process are those that the system has.
func TestProcessAgainstTheSystem(t *testing.T) {
	used := func() float64 {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	before := used()
	p := Process()
	require.GreaterOrEqual(t, p.CPUSeconds, before)
	require.LessOrEqual(t, p.CPUSeconds, used())
	require.Eventually(t, func() bool { // other tests may still be closing theirs
		names, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(names)-1 == Process().OpenFiles
	}, patience, time.Millisecond)
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	var kib int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			break
		}
	}
	require.InEpsilon(t, kib<<10, p.ResidentMem, 0.5)
	require.Positive(t, p.HeapBytes)
}

// TestBandwidths: the protocols with most traffic in both directions together, and the
// sum of the others.
func TestBandwidths(t *testing.T) {
	const others = 5
	c := byProtocol{of: map[protocol.ID]metrics.Stats{"/sent": {TotalOut: 10_000_000}}}
	for i := range int64(maxBandwidths + others) {
		c.of[protocolID(int(i))] = metrics.Stats{TotalIn: 1000 * i, TotalOut: 1000 * i, RateIn: 1, RateOut: 2}
	}
	var out event.Node
	bandwidths(&out, c)
	require.Len(t, out.Bandwidth, maxBandwidths+1)
	require.EqualValues(t, "/sent", out.Bandwidth[0].Protocol)
	require.EqualValues(t, protocolID(maxBandwidths+others-1), out.Bandwidth[1].Protocol)
	rest := out.Bandwidth[maxBandwidths]
	require.EqualValues(t, event.Others, rest.Protocol)
	require.EqualValues(t, 1000*(1+2+3+4+5), rest.InBytes)
	require.EqualValues(t, 1000*(1+2+3+4+5), rest.OutBytes)
	require.InDelta(t, others+1, rest.InRate, 0)
	require.InDelta(t, 2*(others+1), rest.OutRate, 0)
}

// byProtocol is a reporter of traffic that is known.
type byProtocol struct {
	noReporter
	of map[protocol.ID]metrics.Stats
}

func (b byProtocol) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return b.of }

// TestQueriesHaveThreeOutcomes in the original protocol: what was cancelled is an error.
func TestQueriesHaveThreeOutcomes(t *testing.T) {
	var n [event.DHTTypes][event.DHTStatuses]uint64
	for i := range n {
		n[i] = [event.DHTStatuses]uint64{event.DHTAnswered: 1, event.DHTFailed: 20, event.DHTTimedOut: 300, event.DHTCanceled: 4000}
	}
	g, types := queryGauge(&n), uint64(event.DHTTypes)
	require.EqualValues(t, []uint64{types, 4020 * types, 300 * types}, []uint64{g.Success, g.Error, g.Timeout})
}

// TestAges are milliseconds of 32 bits.
func TestAges(t *testing.T) {
	now := time.Now()
	for since, want := range map[time.Time]uint32{{}: 0, now.Add(time.Hour): 0, now: 0, now.Add(-5 * time.Second): 5000, now.Add(-100 * 24 * time.Hour): 1<<32 - 1} {
		require.Equal(t, want, ageMillis(now, since))
	}
}

// TestClosedConnectionsStayForTheRetention and no longer.
func TestClosedConnectionsStayForTheRetention(t *testing.T) {
	c := NewConns(ConnsConfig{})
	now := time.Now()
	c.closed = []closed{{known: &known{}, at: now}}
	c.expire(now.Add(introspect.MaxRetention))
	require.Len(t, c.closed, 1)
	c.expire(now.Add(introspect.MaxRetention + 1))
	require.Empty(t, c.closed)
}

// simConn is a connection that exists only in memory.
type simConn struct {
	network.Conn
	peer    peer.ID
	remote  multiaddr.Multiaddr
	streams []network.Stream
}

func (c *simConn) ID() string                           { return "conn of " + string(c.peer) }
func (c *simConn) RemotePeer() peer.ID                  { return c.peer }
func (c *simConn) LocalMultiaddr() multiaddr.Multiaddr  { return c.remote }
func (c *simConn) RemoteMultiaddr() multiaddr.Multiaddr { return c.remote }
func (c *simConn) IsClosed() bool                       { return false }
func (c *simConn) As(any) bool                          { return false }
func (c *simConn) GetStreams() []network.Stream         { return c.streams }
func (c *simConn) Stat() network.ConnStats              { return network.ConnStats{NumStreams: len(c.streams)} }
func (c *simConn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "tcp", Security: "/noise", StreamMultiplexer: "/yamux/1.0.0"}
}

type simStream struct {
	network.Stream
	n     int
	proto protocol.ID
	dir   network.Direction
}

func (s *simStream) Protocol() protocol.ID { return s.proto }
func (s *simStream) Stat() network.Stats   { return network.Stats{Direction: s.dir} }

// TestConnectionsUpToTheLimit are listed, and all are counted. A connection through a
// relay refers to the one to the relay.
func TestConnectionsUpToTheLimit(t *testing.T) {
	relay, err := peer.Decode(goldenPeer)
	require.NoError(t, err)
	plain := multiaddr.StringCast("/ip4/192.0.2.1/tcp/1")
	all := []network.Conn{
		&simConn{peer: relay, remote: plain}, &simConn{peer: "p", remote: multiaddr.StringCast("/ip4/192.0.2.1/tcp/1/p2p/" + goldenPeer + "/p2p-circuit")},
		&simConn{peer: "p", remote: plain},
	}
	c := NewConns(ConnsConfig{
		Conns: func() []network.Conn { return all }, Agent: func(peer.ID) string { return "a" },
		Latency:     func(peer.ID) time.Duration { return time.Millisecond },
		PeerTraffic: func(peer.ID) (in, out uint64) { return 1, 2 },
	})
	r := introspect.NewRegistry()
	require.NoError(t, r.RegisterDataProviders(c.Providers()))
	for limit, listed := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3} {
		r.MaxConnections = limit
		st, err := r.FetchFullState()
		require.NoError(t, err)
		require.Len(t, st.Subsystems.Connections, listed)
		require.EqualValues(t, []uint32{3, 2, uint32(3 - listed)}, []uint32{st.Connections, st.Peers, st.ConnectionsLeftOut}, "limit %d", limit)
		require.Len(t, st.Subsystems.Agents, 1)
		require.EqualValues(t, min(2, listed), st.Subsystems.Agents[0].Peers)
		for i, x := range st.Subsystems.Connections {
			require.Equal(t, i == 1, x.RelayedOver != nil, "connection %d", i)
			require.EqualValues(t, min(i, 1)+1, x.TrafficOf, "two of one peer share their traffic")
			require.EqualValues(t, time.Millisecond, x.LatencyNs)
			require.EqualValues(t, 2, x.Traffic.TrafficOut.CumBytes)
		}
	}
	r.MaxConnections = 2
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Equal(t, "conn of "+string(relay), string(st.Subsystems.Connections[1].GetConnId()))
	without, err := c.connections(introspect.ConnectionQuery{})
	require.NoError(t, err)
	require.Len(t, without, 3, "no limit")
}

// TestStreamsKeepTheirNames as long as they are open, however many there are; streams of
// a protocol in one direction share the counters of that direction.
func TestStreamsKeepTheirNames(t *testing.T) {
	taps := NewTaps()
	conn := &simConn{peer: "p", remote: multiaddr.StringCast("/ip4/192.0.2.1/tcp/1")}
	c := NewConns(ConnsConfig{Conns: func() []network.Conn { return []network.Conn{conn} }, Taps: taps})
	names := map[network.Stream]string{}
	used := map[string]bool{}
	n := 0
	for round, size := range []int{2, fewStreams, fewStreams + 1, fewStreams + 5, 3, 0, 1} {
		for len(conn.streams) > size {
			conn.streams = conn.streams[1:]
		}
		for len(conn.streams) < size {
			conn.streams = append([]network.Stream{&simStream{n: n, proto: protocolID(n)}}, conn.streams...)
			n++
		}
		list, err := c.connections(introspect.ConnectionQuery{Streams: true})
		require.NoError(t, err)
		require.Len(t, list[0].GetStreams().GetStreams(), size, round)
		for i, x := range list[0].GetStreams().GetStreams() {
			s := conn.streams[i]
			if names[s] == "" {
				require.False(t, used[string(x.Id)], "an ID is used again")
				names[s], used[string(x.Id)] = string(x.Id), true
			}
			require.Equal(t, names[s], string(x.Id))
			require.True(t, strings.HasPrefix(names[s], conn.ID()+"/"))
		}
	}
	const bitswap, other = "/ipfs/bitswap/1.2.0", "/x"
	rep := &reporter{noReporter{}, taps}
	for _, p := range []protocol.ID{bitswap, other} {
		rep.LogRecvMessageStream(10, p, "p")
		rep.LogSentMessageStream(20, p, "p")
	}
	conn.streams = nil
	for _, p := range []protocol.ID{bitswap, other} {
		for _, d := range []network.Direction{network.DirInbound, network.DirOutbound, network.DirOutbound} {
			conn.streams = append(conn.streams, &simStream{proto: p, dir: d})
		}
	}
	for range 2 { // the numbers are those of one list
		list, err := c.connections(introspect.ConnectionQuery{Streams: true})
		require.NoError(t, err)
		var got []string
		for _, x := range list[0].GetStreams().GetStreams() {
			got = append(got, fmt.Sprint(x.GetTraffic().GetTrafficIn().GetCumBytes(), "/", x.GetTraffic().GetTrafficOut().GetCumBytes(), " of ", x.TrafficOf))
		}
		require.Equal(t, []string{"10/0 of 1", "0/20 of 2", "0/20 of 2", "10/20 of 3", "10/20 of 3", "10/20 of 3"}, got)
	}
}

// TestTapsAreSweptEachMinute: counters of peers without a connection go then.
func TestTapsAreSweptEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := NewTaps()
		c := NewConns(ConnsConfig{Conns: func() []network.Conn { return nil }, Taps: taps})
		look := func() bool {
			_, err := c.connections(introspect.ConnectionQuery{})
			require.NoError(t, err)
			return taps.get("gone", "/x") != nil
		}
		look()
		require.NotNil(t, taps.of("gone", "/x"))
		time.Sleep(sweepEvery)
		require.True(t, look())
		time.Sleep(time.Nanosecond)
		require.False(t, look())
	})
}

// TestAgentsBeyondTheListAreSummed.
func TestAgentsBeyondTheListAreSummed(t *testing.T) {
	c := NewConns(ConnsConfig{})
	for i := range maxAgents + 3 {
		c.agents[fmt.Sprint(i)] = 2
	}
	all, err := c.agentCounts()
	require.NoError(t, err)
	require.Len(t, all, maxAgents+1)
	require.EqualValues(t, 6, all[maxAgents].Peers)
	delete(c.agents, "0")
	delete(c.agents, "1")
	delete(c.agents, "2")
	all, err = c.agentCounts()
	require.NoError(t, err)
	require.Len(t, all, maxAgents)
}

// TestKindsOfColumns by the types of fields.
func TestKindsOfColumns(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		want pb.EventType_EventProperty_PropertyType
	}{
		{reflect.TypeFor[int](), pb.EventType_EventProperty_NUMBER}, {reflect.TypeFor[float64](), pb.EventType_EventProperty_NUMBER},
		{reflect.TypeFor[uint64](), pb.EventType_EventProperty_NUMBER}, {reflect.TypeFor[uintptr](), pb.EventType_EventProperty_JSON},
		{reflect.TypeFor[bool](), pb.EventType_EventProperty_JSON}, {reflect.TypeFor[complex64](), pb.EventType_EventProperty_JSON},
		{reflect.TypeFor[string](), pb.EventType_EventProperty_STRING}, {reflect.TypeFor[[2]int](), pb.EventType_EventProperty_JSON},
	} {
		require.Equal(t, c.want, columnType(c.of), c.of)
	}
}

// TestValuesAtTheirBounds: the longest lists and texts, the deepest values, and numbers
// that JSON lacks.
func TestValuesAtTheirBounds(t *testing.T) {
	list := func(n int) any { return plain(reflect.ValueOf(make([]int, n)), maxNested) }
	require.Len(t, list(maxList), maxList)
	require.Len(t, list(maxList+1), maxList)
	m := map[int]int{}
	for i := range maxList + 1 {
		m[i] = i
	}
	require.Len(t, plain(reflect.ValueOf(m), maxNested), maxList)
	deep := func(n int) string {
		var v any = "bottom"
		for range n {
			v = []any{v}
		}
		b, err := json.Marshal(plain(reflect.ValueOf(v), maxNested))
		require.NoError(t, err)
		return string(b)
	}
	require.Contains(t, deep(3), "bottom") // a list and its element are two levels
	require.NotContains(t, deep(4), "bottom")
	for n, kept := range map[int]bool{introspect.MaxContent: true, introspect.MaxContent + 1: false} {
		raw := json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`)
		require.Equal(t, kept, plain(reflect.ValueOf(raw), 1) != nil)
	}
	for _, f := range []float64{1e308, -1e308, 0, 1.5} {
		require.InDelta(t, f, plainFloat(f), 0)
	}
	inf := 1e308 * func() float64 { return 10 }()
	for _, f := range []float64{inf, -inf, inf - inf} {
		require.Nil(t, plainFloat(f))
	}
}

// ledgersOf is a Bitswap server with accounts that are known.
type ledgersOf map[peer.ID]Account

func (l ledgersOf) Account(p peer.ID) Account { return l[p] }
func (l ledgersOf) Waiting() int              { return len(l) }
func (l ledgersOf) Wants(p peer.ID, most int) ([]cid.Cid, int) {
	return make([]cid.Cid, most), 100
}

// peersOf is a host that is connected with peers, and its network.
type (
	peersOf struct {
		host.Host
		peers []peer.ID
	}
	networkOf struct {
		network.Network
		peers []peer.ID
	}
)

func (p peersOf) Network() network.Network { return networkOf{peers: p.peers} }
func (n networkOf) Peers() []peer.ID       { return n.peers }

// TestLedgersOfTheMostTraffic in both directions come first; the first maxLists have
// their wants.
func TestLedgersOfTheMostTraffic(t *testing.T) {
	h, l := peersOf{}, ledgersOf{}
	for i := range maxLedgers + 10 {
		p := peer.ID(fmt.Sprintf("%04d", i))
		h.peers, l[p] = append(h.peers, p), Account{Sent: uint64(i), Received: uint64(2 * i), Exchanged: 1}
	}
	l["0000"] = Account{Sent: 9000}
	l["0001"], l["0002"] = Account{Received: 5000, Exchanged: 3}, Account{Sent: 2500, Received: 2500, Exchanged: 4}
	s := &State{node: Node{Host: h, Ledgers: l}, cfg: Config{Named: true}}
	out := s.ledgers()
	require.EqualValues(t, maxLedgers+10, out.LedgersTotal)
	require.Len(t, out.Ledgers, maxLedgers)
	var first []string
	for _, x := range out.Ledgers[:4] {
		first = append(first, x.PeerId)
	}
	require.Equal(t, []string{peer.ID("0000").String(), peer.ID("0002").String(), peer.ID("0001").String(), peer.ID("1009").String()}, first)
	for i, x := range out.Ledgers {
		require.Equal(t, i < maxLists, x.Wants == 100)
		require.Equal(t, i < maxLists, len(x.Wantlist) == maxWantlist)
	}
	s.cfg.Named = false
	require.Empty(t, s.ledgers().Ledgers)
	require.EqualValues(t, maxLedgers+10, s.ledgers().LedgersTotal)
}

// TestPartsOfAHost stand in for parts that a program does not name.
func TestPartsOfAHost(t *testing.T) {
	n := Node{}.OfHost()
	require.Nil(t, n.Ledgers)
	require.Nil(t, Node{Bitswap: new(bitswap.Bitswap)}.OfHost().Ledgers, "without a server there are none")
	require.NotNil(t, Node{Bitswap: &bitswap.Bitswap{Server: new(server.Server)}}.OfHost().Ledgers)
	own := ledgersOf{"p": {Sent: 7}}
	require.Equal(t, own, Node{Ledgers: own, Bitswap: &bitswap.Bitswap{Server: new(server.Server)}}.OfHost().Ledgers)
}
