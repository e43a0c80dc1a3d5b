//go:build soak || all

package soak

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	bench "github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// Gates: the cost of a monitor for a node with many peers.
const (
	mostMessageCPU  = 1.10 // of the node's CPU time for a message
	mostPeersMemory = 60.0 // MiB
	peersRate       = 2000 // messages a second, to each node
	peersWindows    = 12
)

// BenchmarkPeers connects peers, real libp2p hosts over TCP, to two kubo nodes
// at once, and has them send both the same small Bitswap messages. One node is
// monitored: event stream, HTTP API, derived figures, and history in an embedded
// InfluxDB, a process of its own that is counted apart. What a message costs the
// nodes is compared in windows of IPFSMON_BENCH_TIME (10s), in which both do
// the same work on the same machine. IPFSMON_BENCH_PEERS is how many peers
// ("1000,3000,5000").
func BenchmarkPeers(b *testing.B) { forPeers(b, "1000,3000,5000", manyPeers) }

// forPeers runs a bench for each number of peers, IPFSMON_BENCH_PEERS or those of counts, in
// windows of IPFSMON_BENCH_TIME.
func forPeers(b *testing.B, counts string, bench func(b *testing.B, count int, window time.Duration)) {
	window, err := time.ParseDuration(cmp.Or(os.Getenv("IPFSMON_BENCH_TIME"), "10s"))
	require.NoError(b, err)
	for s := range strings.SplitSeq(cmp.Or(os.Getenv("IPFSMON_BENCH_PEERS"), counts), ",") {
		n, err := strconv.Atoi(s)
		require.NoError(b, err, "IPFSMON_BENCH_PEERS: want numbers with commas between them")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				bench(b, n, window)
			}
		})
	}
}

func manyPeers(b *testing.B, count int, window time.Duration) {
	off, on := benchNode(b, openHome(b, count), false), benchNode(b, openHome(b, count), true)
	nodes := []*harness.Node{off, on}
	swarm := newSwarm(b, count, off.Address(), on.Address())
	time.Sleep(2 * time.Second) // the last identifies

	loading, stop := context.WithCancel(b.Context())
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return swarm.run(loading, peersRate) })
	time.Sleep(window) // until both are at their pace
	cpu := func() (out [2]float64) {
		for i, n := range nodes {
			out[i] = processCPU(b, n.Process)
		}
		return out
	}
	var ratios, memory []float64
	var each [2][]float64 // CPU seconds for a message
	before, sent := cpu(), swarm.messages.Load()
	for range peersWindows {
		time.Sleep(window)
		now, n := cpu(), swarm.messages.Load()
		for i := range nodes {
			each[i] = append(each[i], (now[i]-before[i])/float64(n-sent))
		}
		ratios = append(ratios, (now[1]-before[1])/(now[0]-before[0]))
		memory = append(memory, bench.ResidentMiB(on.Cmd.Process.Pid)-bench.ResidentMiB(off.Cmd.Process.Pid))
		before, sent = now, n
	}
	stop()
	require.NoError(b, group.Wait())
	ratio, more := bench.Paired(ratios), bench.Median(memory)

	// Every want that was sent is stored.
	deadline := time.Now().Add(5 * time.Minute)
	for {
		got, err := harness.InfluxQL(on.Influx, "SELECT count(cid) FROM history.wants")
		require.NoError(b, err)
		if swarm.sees(got[""]) {
			break
		}
		require.True(b, time.Now().Before(deadline), "%d wants were sent, %.0f are stored", swarm.wants.Load(), got[""])
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "%d peers: a message costs %.0f us, monitored %.0f us, %v; memory %.0f MiB, monitored %.0f MiB more; %d wants sent and stored\n",
		count, 1e6*bench.Median(each[0]), 1e6*bench.Median(each[1]), ratio, bench.ResidentMiB(off.Cmd.Process.Pid), more, swarm.wants.Load())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio.Median, "CPU-on/off")
	b.ReportMetric(more, "MiB-more")
	if ratio.Median > mostMessageCPU {
		b.Errorf("with the monitor a message costs %.3f of the CPU time without, at most %.2f is wanted", ratio.Median, mostMessageCPU)
	}
	if more > mostPeersMemory {
		b.Errorf("the monitor takes %.0f MiB, at most %.0f are wanted", more, mostPeersMemory)
	}
	for _, n := range nodes {
		n.Signal(syscall.SIGINT)
		n.Wait(time.Minute)
	}
}

// openHome makes a repository whose node keeps so many connections.
func openHome(b *testing.B, peers int) string {
	home := b.TempDir()
	benchRepo(b, home, false, "")
	file := filepath.Join(home, ".ipfs", "config")
	raw, err := os.ReadFile(file)
	require.NoError(b, err)
	var cfg map[string]any
	require.NoError(b, json.Unmarshal(raw, &cfg))
	swarm := cfg["Swarm"].(map[string]any)
	swarm["ConnMgr"] = map[string]any{"LowWater": 2 * peers, "HighWater": 2 * peers}
	swarm["ResourceMgr"] = map[string]any{"Enabled": false}
	raw, err = json.Marshal(cfg)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(file, raw, 0o600))
	return home
}

// swarmPeer is a host with a stream of Bitswap to each node.
type swarmPeer struct {
	host    host.Host
	streams []network.Stream
	last    cid.Cid
	wants   uint64 // it sent to each node
}

// swarm is many peers of the same nodes.
type swarm struct {
	peers           []*swarmPeer
	messages, wants atomic.Uint64 // to each node; a message is counted when both have theirs
	retries         atomic.Uint64 // of dials
	// Peers whose connection was lost, which send no more, and the wants that they had sent: some of them may not have arrived.
	lost, unsure atomic.Uint64
}

// sees reports whether a node with these many wants has all that were sent.
func (s *swarm) sees(wants float64) bool {
	sent := s.wants.Load()
	return float64(sent-s.unsure.Load()) <= wants && wants <= float64(sent)
}

func newSwarm(b *testing.B, count int, addresses ...string) *swarm {
	return newSwarmVia(b, count, func(int) []string { return addresses })
}

// newSwarmVia connects each peer to the addresses that via returns for its number.
func newSwarmVia(b *testing.B, count int, via func(int) []string) *swarm {
	s := &swarm{peers: make([]*swarmPeer, count)}
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(16)
	for i := range s.peers {
		group.Go(func() error {
			h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics(),
				libp2p.ResourceManager(&network.NullResourceManager{}))
			if err != nil {
				return err
			}
			p := &swarmPeer{host: h}
			s.peers[i] = p
			h.SetStreamHandler(bsnet.ProtocolBitswap, func(t network.Stream) { t.Reset() })
			for _, a := range via(i) {
				info, err := peer.AddrInfoFromString(a)
				if err != nil {
					return err
				}
				for try := 1; ; try++ { // as peers of the network do
					if err = h.Connect(ctx, *info); err == nil {
						break
					}
					if try == 5 || ctx.Err() != nil {
						return err
					}
					s.retries.Add(1)
					h.Network().(*libp2pswarm.Swarm).Backoff().Clear(info.ID)
				}
				t, err := h.NewStream(ctx, info.ID, bsnet.ProtocolBitswap)
				if err != nil {
					return err
				}
				// libp2p agrees on the protocol with the first bytes, which the
				// node waits ten seconds for.
				if err := bsmsg.New(false).ToNetV1(t); err != nil {
					return err
				}
				p.streams = append(p.streams, t)
			}
			return nil
		})
	}
	b.Cleanup(func() {
		for _, p := range s.peers {
			if p != nil {
				p.host.Close()
			}
		}
	})
	require.NoError(b, group.Wait())
	return s
}

// run has peers chosen at random send messages at a rate until ctx ends: one
// want, and a cancel of the want before.
func (s *swarm) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for n := 0; ; {
		for due := int(time.Since(begin).Seconds() * float64(rate)); n < due && ctx.Err() == nil; n++ {
			p := s.peers[rand.IntN(len(s.peers))]
			for p.streams == nil {
				p = s.peers[rand.IntN(len(s.peers))]
			}
			m := bsmsg.New(false)
			if p.last.Defined() {
				m.Cancel(p.last)
			}
			p.last = randomCID()
			m.AddEntry(p.last, 1, pb.Message_Wantlist_Have, false)
			wants := uint64(len(m.Wantlist()))
			p.wants += wants
			s.wants.Add(wants)
			for _, t := range p.streams {
				if err := m.ToNetV1(t); err != nil {
					p.streams = nil
					s.unsure.Add(p.wants)
					if s.lost.Add(1) > uint64(len(s.peers)/100) {
						return fmt.Errorf("more than 1 %% of the peers lost a connection: %w", err)
					}
					break
				}
			}
			s.messages.Add(1)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
