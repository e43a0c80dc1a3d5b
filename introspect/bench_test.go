package introspect_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// fakeConn costs as much to read as a connection of libp2p: its ID and those of its
// streams are computed at each call, and its streams are returned in a new list.
type fakeConn struct {
	network.Conn
	n             int
	peer          peer.ID
	local, remote multiaddr.Multiaddr
	opened        time.Time
	counter       *nodestate.ConnCounter
	streams       []network.Stream
}

func (c *fakeConn) ID() string                           { return fmt.Sprintf("%s-%d", c.peer.String()[:10], c.n) }
func (c *fakeConn) RemotePeer() peer.ID                  { return c.peer }
func (c *fakeConn) LocalMultiaddr() multiaddr.Multiaddr  { return c.local }
func (c *fakeConn) RemoteMultiaddr() multiaddr.Multiaddr { return c.remote }
func (c *fakeConn) IsClosed() bool                       { return false }
func (c *fakeConn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "tcp", Security: "/noise", StreamMultiplexer: "/yamux/1.0.0"}
}
func (c *fakeConn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Direction: network.DirInbound, Opened: c.opened}, NumStreams: len(c.streams)}
}
func (c *fakeConn) GetStreams() []network.Stream { return append([]network.Stream(nil), c.streams...) }
func (c *fakeConn) As(target any) bool {
	if t, ok := target.(**nodestate.ConnCounter); ok {
		*t = c.counter
		return true
	}
	return false
}

type fakeStream struct {
	network.Stream
	conn  *fakeConn
	n     int
	proto protocol.ID
}

func (s *fakeStream) ID() string            { return fmt.Sprintf("%s-%d", s.conn.ID(), s.n) }
func (s *fakeStream) Protocol() protocol.ID { return s.proto }
func (s *fakeStream) Stat() network.Stats {
	return network.Stats{Direction: network.DirOutbound, Opened: s.conn.opened}
}

// newFakeConn makes the i-th connection, of three streams.
func newFakeConn(t testing.TB, i int, traffic metrics.Reporter) network.Conn {
	_, pub, err := crypto.GenerateEd25519Key(strings.NewReader(fmt.Sprintf("%032d", i)))
	require.NoError(t, err)
	id, err := peer.IDFromPublicKey(pub)
	require.NoError(t, err)
	c := &fakeConn{n: i, peer: id, local: local, opened: time.Now(), counter: new(nodestate.ConnCounter),
		remote: multiaddr.StringCast(fmt.Sprintf("/ip4/198.51.%d.%d/tcp/4001", i>>8&0xff, i&0xff))}
	for k, p := range []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/kad/1.0.0", "/ipfs/id/1.0.0"} {
		c.streams = append(c.streams, &fakeStream{conn: c, n: 3*i + k, proto: p})
		traffic.LogRecvMessageStream(int64(i+1), p, id)
	}
	return c
}

var local = multiaddr.StringCast("/ip4/203.0.113.7/tcp/4001")

// fakeNode is a server of a node with n connections of three streams each.
func fakeNode(t testing.TB, conns int) (*introspect.Server, *introspect.Registry) {
	all, taps := fakeConns(t, conns)
	agents := []string{"kubo/0.43.0", "go-ipfs/0.8.0/48f94e2", "someguy/v0.10.0"}
	c := nodestate.NewConns(nodestate.ConnsConfig{
		Conns:   func() []network.Conn { return append([]network.Conn(nil), all...) },
		Agent:   func(p peer.ID) string { return agents[len(p)%3] },
		Latency: func(peer.ID) time.Duration { return time.Millisecond },
		Taps:    taps,
	})
	for _, conn := range all {
		c.Connected(nil, conn)
	}
	r := introspect.NewRegistry()
	require.NoError(t, r.RegisterDataProviders(c.Providers()))
	return introspect.NewServer(introspect.Config{Introspector: r}), r
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestSnapshotAllocations: 10,000 connections with three streams each take less than 32
// MiB, also in the first snapshot.
func TestSnapshotAllocations(t *testing.T) {
	s, r := fakeNode(t, 10_000)
	defer s.Close()
	for _, name := range []string{"first", "second", "third"} {
		size := 0
		got := allocated(func() {
			frame, err := s.MakeSnapshot()
			require.NoError(t, err)
			size = len(frame)
		})
		t.Logf("%s: %.1f MiB allocated for a frame of %.1f MiB", name, float64(got)/(1<<20), float64(size)/(1<<20))
		require.Less(t, got, uint64(32<<20), name)
	}
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Len(t, st.GetSubsystems().GetConnections(), 10_000)
	for _, c := range st.GetSubsystems().GetConnections() {
		require.Len(t, c.GetStreams().GetStreams(), 3)
	}
}

// TestSnapshotLimit: connections that do not fit are counted.
func TestSnapshotLimit(t *testing.T) {
	s, r := fakeNode(t, 50)
	defer s.Close()
	r.MaxConnections = 20
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Len(t, st.GetSubsystems().GetConnections(), 20)
	require.EqualValues(t, 50, st.GetConnections())
	require.EqualValues(t, 30, st.GetConnectionsLeftOut())
	require.EqualValues(t, 50, st.GetPeers())
}

// cpu returns the user and system time of this process, which includes garbage
// collection.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// maxSnapshotCPU is the limit for 10,000 connections.
const maxSnapshotCPU = 150 * time.Millisecond

// BenchmarkSnapshot builds and encodes the state of a node, including streams.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			s, _ := fakeNode(b, n)
			defer s.Close()
			benchSnapshot(b, s, n, 0)
		})
	}
}

// benchSnapshot measures the snapshots of a server of n connections, with a pause between two.
func benchSnapshot(b *testing.B, s *introspect.Server, n int, pause time.Duration) {
	b.ReportAllocs()
	b.ResetTimer()
	var took []time.Duration
	size := 0
	for range b.N {
		b.StopTimer()
		time.Sleep(pause)
		b.StartTimer()
		began := cpu()
		frame, err := s.MakeSnapshot()
		if err != nil {
			b.Fatal(err)
		}
		size = len(frame)
		took = append(took, cpu()-began)
	}
	slices.Sort(took)
	each := took[len(took)/2]
	b.ReportMetric(float64(each.Microseconds())/1000, "cpu-ms/op")
	b.ReportMetric(float64(took[0].Microseconds())/1000, "least-cpu-ms/op")
	b.ReportMetric(float64(size), "frame-B")
	if n == 10_000 && each > maxSnapshotCPU {
		b.Errorf("each snapshot takes %v of CPU time, want at most %v", each, maxSnapshotCPU)
	}
}
