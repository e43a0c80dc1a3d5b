package nodestate

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"

	bandwidth "github.com/libp2p/go-libp2p/core/metrics"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/topn"
)

// maxBandwidths is how many protocols have their own bandwidth in a sample; the rest is summed.
const maxBandwidths = 30

// repoEvery is how often the repository's size is read: reading may walk through the datastore.
const repoEvery = time.Minute

// Sampler reads a node's own figures for each sample. It must not be used concurrently.
type Sampler struct {
	node     Node
	repoSize int64
	repoNext time.Time
}

// NewSampler returns a sampler of a node.
func NewSampler(n Node) *Sampler { return &Sampler{node: n.OfHost(), repoSize: -1} }

// bandwidths sets the traffic of all protocols together, and of those with most traffic.
func bandwidths(out *event.Node, r bandwidth.Reporter) {
	total := r.GetBandwidthTotals()
	out.BandwidthTotal = event.Bandwidth{InBytes: total.TotalIn, OutBytes: total.TotalOut, InRate: total.RateIn, OutRate: total.RateOut}
	rest := event.Bandwidth{Protocol: event.Others}
	for p, b := range r.GetBandwidthByProtocol() {
		out.Bandwidth = append(out.Bandwidth, event.Bandwidth{
			Protocol: event.Clean(string(p), event.MaxProtocolText),
			InBytes:  b.TotalIn, OutBytes: b.TotalOut, InRate: b.RateIn, OutRate: b.RateOut,
		})
	}
	top, others := topn.Split(out.Bandwidth, maxBandwidths, func(b event.Bandwidth) (int64, event.Text) { return b.InBytes + b.OutBytes, b.Protocol })
	for _, b := range others {
		rest.InBytes += b.InBytes
		rest.OutBytes += b.OutBytes
		rest.InRate += b.InRate
		rest.OutRate += b.OutRate
	}
	out.Bandwidth = append(top, rest)
}

// Sample reads counters that the node keeps anyway. RepoBytes is -1 if unknown.
func (s *Sampler) Sample(ctx context.Context) event.Node {
	out := event.Node{RepoBytes: s.repo(ctx), Process: Process()}
	n := s.node
	if n.Reporter != nil {
		bandwidths(&out, n.Reporter)
	}
	if n.DHT != nil {
		if n.DHT.WAN != nil {
			out.Routing = append(out.Routing, event.RoutingTable{Name: "wan", Peers: n.DHT.WAN.RoutingTable().Size()})
		}
		if n.DHT.LAN != nil {
			out.Routing = append(out.Routing, event.RoutingTable{Name: "lan", Peers: n.DHT.LAN.RoutingTable().Size()})
		}
	}
	if n.Bitswap != nil && n.Bitswap.Client != nil {
		out.Wantlist = len(n.Bitswap.GetWantlist())
	}
	if n.Ledgers != nil {
		out.Ledgers = n.Ledgers.Waiting()
	}
	return out
}

// repo returns the repository's size in bytes, at most repoEvery plus the duration of one
// reading old; -1 before the first.
func (s *Sampler) repo(ctx context.Context) int64 {
	if s.node.RepoBytes == nil || time.Now().Before(s.repoNext) || ctx.Err() != nil {
		return s.repoSize
	}
	size, err := s.node.RepoBytes(ctx)
	if err == nil {
		s.repoSize = int64(size)
	}
	s.repoNext = time.Now().Add(repoEvery)
	return s.repoSize
}

// Process reads the resource usage of this process.
func Process() event.Process {
	out := event.Process{Goroutines: runtime.NumGoroutine(), OpenFiles: -1}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		out.CPUSeconds = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		out.HeapBytes = int64(heap[0].Value.Uint64())
	}
	// The resident pages are the second figure of statm (proc(5)).
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			if pages, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				out.ResidentMem = pages * int64(os.Getpagesize())
			}
		}
	}
	if d, err := os.Open("/proc/self/fd"); err == nil {
		if names, err := d.Readdirnames(-1); err == nil {
			out.OpenFiles = len(names) - 1 // not counting the one just opened
		}
		d.Close()
	}
	return out
}
