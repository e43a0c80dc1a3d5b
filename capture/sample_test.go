package capture

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	lpevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// simConn is a connection that exists only in memory.
type simConn struct {
	network.Conn
	id      string
	peer    peer.ID
	inbound bool
	streams []network.Stream
}

var simAddr = ma.StringCast("/ip4/192.0.2.1/tcp/4001")

func (c *simConn) ID() string                    { return c.id }
func (c *simConn) RemotePeer() peer.ID           { return c.peer }
func (c *simConn) RemoteMultiaddr() ma.Multiaddr { return simAddr }
func (c *simConn) GetStreams() []network.Stream  { return append([]network.Stream(nil), c.streams...) }
func (c *simConn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "tcp", Security: "/noise", StreamMultiplexer: "/yamux/1.0.0"}
}

func (c *simConn) Stat() network.ConnStats {
	dir := network.DirOutbound
	if c.inbound {
		dir = network.DirInbound
	}
	return network.ConnStats{Stats: network.Stats{Direction: dir, Opened: time.Now()}, NumStreams: len(c.streams)}
}

type simStream struct {
	network.Stream
	protocol protocol.ID
	dir      network.Direction
}

func (s *simStream) Protocol() protocol.ID { return s.protocol }
func (s *simStream) Stat() network.Stats   { return network.Stats{Direction: s.dir} }

// simPeers connects n peers with three streams each. They have 50 agents, and 25 of 40
// protocols each.
func simPeers(c *Capture, n int) {
	for i := range n {
		p := peer.ID(fmt.Sprintf("simulated peer number %16d", i))
		c.opened(&simConn{id: fmt.Sprint(i), peer: p, inbound: i%3 == 0, streams: []network.Stream{
			&simStream{protocol: "/ipfs/bitswap/1.2.0", dir: network.DirInbound},
			&simStream{protocol: "/ipfs/bitswap/1.2.0", dir: network.DirOutbound},
			&simStream{protocol: protocol.ID(fmt.Sprintf("/p/%d", i%40)), dir: network.DirUnknown},
		}}, false)
		id := lpevent.EvtPeerIdentificationCompleted{Peer: p, AgentVersion: fmt.Sprintf("agent/%d", i%50)}
		for j := range 25 {
			id.Protocols = append(id.Protocols, protocol.ID(fmt.Sprintf("/p/%d", (i+j)%40)))
		}
		c.identified(id)
	}
}

func TestSampleCounts(t *testing.T) {
	c, _ := newTest(t)
	simPeers(c, 1200)
	var s event.Sample
	c.conns.count(&s, 10)
	require.Equal(t, 1200, s.Conns)
	require.Equal(t, []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 400}, {Transport: "tcp", Peers: 800}}, s.Peers)
	require.Len(t, s.Agents, 11)
	require.Equal(t, event.AgentCount{Agent: event.OthersAgent, Peers: 1200 - 10*24}, s.Agents[10])
	require.Len(t, s.Protocols, 41)
	require.Equal(t, 750, s.Protocols[0].Peers)
	require.Equal(t, event.StreamCount{Protocol: "/ipfs/bitswap/1.2.0", Direction: "inbound", Streams: 1200}, s.Streams[0])
	require.Equal(t, event.StreamCount{Protocol: "/ipfs/bitswap/1.2.0", Direction: "outbound", Streams: 1200}, s.Streams[1])
	require.Len(t, s.Streams, 42)

	// A peer may change its protocols later.
	p := peer.ID(fmt.Sprintf("simulated peer number %16d", 0))
	c.identified(lpevent.EvtPeerProtocolsUpdated{Peer: p, Added: []protocol.ID{"/new/1"}, Removed: []protocol.ID{"/p/0", "/p/1"}})
	s = event.Sample{}
	c.conns.count(&s, 10)
	require.Contains(t, s.Protocols, event.ProtocolCount{Protocol: "/new/1", Peers: 1})
	require.Contains(t, s.Protocols, event.ProtocolCount{Protocol: "/p/0", Peers: 749})
}

func TestSampleNamesAreBounded(t *testing.T) {
	c, _ := newTest(t)
	for i := range 2000 {
		p := peer.ID(fmt.Sprintf("peer %d", i))
		c.opened(&simConn{id: fmt.Sprint(i), peer: p, streams: []network.Stream{&simStream{protocol: protocol.ID(fmt.Sprintf("/s/%d", i))}}}, false)
		c.identified(lpevent.EvtPeerIdentificationCompleted{Peer: p, AgentVersion: fmt.Sprint("unique ", i), Protocols: []protocol.ID{protocol.ID(fmt.Sprintf("/q/%d", i))}})
	}
	var s event.Sample
	c.conns.count(&s, 20)
	require.Len(t, s.Agents, 21)
	require.Len(t, s.Protocols, maxNamed+1)
	require.LessOrEqual(t, len(s.Streams), 2*maxNamed+1)
	total := 0
	for _, x := range s.Streams {
		total += x.Streams
	}
	require.Equal(t, 2000, total)
}

// BenchmarkSample takes the totals of many simulated peers and fails when that costs more
// CPU than the node can spare: 100 ms for 10,000, 500 for 50,000.
func BenchmarkSample(b *testing.B) {
	for n, most := range map[int]time.Duration{10_000: 100 * time.Millisecond, 50_000: 500 * time.Millisecond} {
		b.Run(fmt.Sprintf("%d peers", n), func(b *testing.B) {
			q := bus.New(bus.Config{})
			defer q.Close()
			q.Live()
			c := New(q, nil)
			simPeers(c, n)
			best := time.Hour
			for b.Loop() {
				before := cpuTime(b)
				var s event.Sample
				c.conns.count(&s, 20)
				best = min(best, cpuTime(b)-before)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(best.Microseconds())/1000, "cpu-ms/sample")
			if best > most {
				b.Errorf("a sample of %d peers takes %v of CPU, at most %v are allowed", n, best, most)
			}
		})
	}
}

// cpuTime is the CPU time that this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
