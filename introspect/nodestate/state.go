package nodestate

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"

	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// Bounds of what a state lists besides connections.
const (
	maxLedgers  = 1000 // peers
	maxWants    = 1000 // of this node
	maxWantlist = 8    // CIDs of each ledger, of the first maxLists ledgers
	maxLists    = 100
	maxTopics   = 200
	maxTopic    = 32 // peers named of each
	maxScopes   = 200
	maxTopShown = 50

	// slowEvery is how often figures are read again that cost more than a look
	// at a counter.
	slowEvery = 2 * time.Second
)

// providers read the node for introspection. They are called one at a time.
type providers struct {
	m       *Monitor
	node    nodestate.Node
	in      *introspection
	named   bool // peers and CIDs may be told
	started time.Time
	rates   *rates

	bitswap   kept[*pb.Bitswap]
	peerstore kept[*pb.Peerstore]
	resources kept[*pb.ResourceManager]
	process   kept[*pb.Process]
}

// kept is what was read, for slowEvery.
type kept[T any] struct {
	value T
	at    time.Time
}

func (s *kept[T]) get(read func() T) T {
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= slowEvery {
		s.value, s.at = read(), now
	}
	return s.value
}

// all returns the providers of what this node has.
func (p *providers) all() *introspect.DataProviders {
	n := p.node
	out := &introspect.DataProviders{
		Runtime:  p.runtimeFacts,
		Traffic:  p.traffic,
		Bitswap:  p.bitswapState,
		Pipeline: p.pipeline,
		Process:  p.processState,
		Content:  p.content,
	}
	if !p.named {
		out.Agents = p.sampledAgents
	}
	if n.Peerstore != nil {
		out.Peerstore = p.peerstoreState
	}
	if f := p.m.watched.Proxy; f != nil {
		out.Proxy = func() (*pb.Proxy, error) {
			now, last := f()
			return proxyState(now, last, p.named), nil
		}
	}
	if n.PubSub != nil {
		out.PubSub = p.pubsub
	}
	if r, ok := n.Resources.(rcmgr.ResourceManagerState); ok {
		out.Resources = func() (*pb.ResourceManager, error) {
			return p.resources.get(func() *pb.ResourceManager { return resourceState(n.Resources, r) }), nil
		}
	}
	return out
}

func whole(n int64) uint64 { return uint64(max(n, 0)) }

func (p *providers) traffic() (*pb.Traffic, error) {
	r := p.node.Reporter
	if r == nil {
		return nil, errors.New("libp2p's bandwidth metrics are off in the node's configuration")
	}
	t := r.GetBandwidthTotals()
	return &pb.Traffic{
		TrafficIn:  &pb.DataGauge{CumBytes: whole(t.TotalIn), InstBw: whole(int64(t.RateIn))},
		TrafficOut: &pb.DataGauge{CumBytes: whole(t.TotalOut), InstBw: whole(int64(t.RateOut))},
	}, nil
}

func counters(t event.Traffic) *pb.Bitswap_Counters {
	return &pb.Bitswap_Counters{
		Messages: t.Messages, WantBlock: t.WantBlock, WantHave: t.WantHave, Cancel: t.Cancel,
		Have: t.Have, DontHave: t.DontHave, Blocks: t.Blocks, BlockBytes: t.BlockBytes, Truncated: t.Truncated,
	}
}

// bitswapState is the counters as they are, and the rest as it was of late.
func (p *providers) bitswapState() (*pb.Bitswap, error) {
	c := p.m.capture
	out := &pb.Bitswap{
		Received: counters(c.Traffic(event.Received)), Sent: counters(c.Traffic(event.Sent)),
		ReceivedRate: p.rates.rate(event.Received), SentRate: p.rates.rate(event.Sent),
	}
	bs := p.node.Bitswap
	if bs == nil {
		return out, nil
	}
	lists := p.bitswap.get(p.ledgers)
	out.Ledgers, out.LedgersTotal, out.Wantlist, out.WantlistTotal = lists.Ledgers, lists.LedgersTotal, lists.Wantlist, lists.WantlistTotal
	return out, nil
}

// ledgers reads who owes what, and what this node wants.
func (p *providers) ledgers() *pb.Bitswap {
	n, out := p.node, &pb.Bitswap{}
	blocks, haves := n.Bitswap.GetWantBlocks(), n.Bitswap.GetWantHaves()
	out.WantlistTotal = uint32(len(blocks) + len(haves))
	if p.named {
		for _, c := range blocks[:min(len(blocks), maxWants)] {
			out.Wantlist = append(out.Wantlist, &pb.Bitswap_Want{Cid: c.String()})
		}
		for _, c := range haves[:min(len(haves), maxWants-len(out.Wantlist))] {
			out.Wantlist = append(out.Wantlist, &pb.Bitswap_Want{Cid: c.String(), Have: true})
		}
	}
	if n.Bitswap.Server == nil || n.Host == nil {
		return out
	}
	type account struct {
		id                 peer.ID
		sent, recv, traded uint64
	}
	var all []account
	for _, id := range n.Host.Network().Peers() {
		if r := n.Bitswap.LedgerForPeer(id); r != nil {
			all = append(all, account{id, r.Sent, r.Recv, r.Exchanged})
		}
	}
	out.LedgersTotal = uint32(len(all))
	if !p.named {
		return out
	}
	slices.SortFunc(all, func(a, b account) int {
		return cmp.Or(cmp.Compare(b.sent+b.recv, a.sent+a.recv), cmp.Compare(b.traded, a.traded), cmp.Compare(a.id, b.id))
	})
	for i, a := range all[:min(len(all), maxLedgers)] {
		l := &pb.Bitswap_Ledger{PeerId: a.id.String(), BytesSent: a.sent, BytesReceived: a.recv, Exchanged: a.traded}
		if i < maxLists {
			wants := n.Bitswap.WantlistForPeer(a.id)
			l.Wants = uint32(len(wants))
			for _, c := range wants[:min(len(wants), maxWantlist)] {
				l.Wantlist = append(l.Wantlist, c.String())
			}
		}
		out.Ledgers = append(out.Ledgers, l)
	}
	return out
}

func (p *providers) pubsub() (*pb.PubSub, error) {
	ps := p.node.PubSub
	out := &pb.PubSub{Enabled: true}
	for _, topic := range first(ps.GetTopics(), maxTopics) {
		peers := ps.ListPeers(topic)
		t := &pb.PubSub_Topic{Name: string(event.Clean(topic, event.MaxProtocolText)), Peers: uint32(len(peers))}
		if p.named {
			for _, id := range first(peers, maxTopic) {
				t.PeerIds = append(t.PeerIds, id.String())
			}
		}
		out.Topics = append(out.Topics, t)
	}
	return out, nil
}

func first[T any](all []T, n int) []T { return all[:min(n, len(all))] }

func (p *providers) peerstoreState() (*pb.Peerstore, error) {
	return p.peerstore.get(func() *pb.Peerstore {
		ps := p.node.Peerstore
		return &pb.Peerstore{
			Peers: uint32(len(ps.Peers())), PeersWithAddrs: uint32(len(ps.PeersWithAddrs())), PeersWithKeys: uint32(len(ps.PeersWithKeys())),
		}
	}), nil
}

// resourceState reads the scopes that are not of one peer.
func resourceState(m network.ResourceManager, r rcmgr.ResourceManagerState) *pb.ResourceManager {
	stat := r.Stat()
	out := &pb.ResourceManager{Peers: uint32(len(stat.Peers))}
	usage := func(s network.ScopeStat) *pb.ResourceManager_Usage {
		return &pb.ResourceManager_Usage{
			Memory: s.Memory, StreamsIn: int64(s.NumStreamsInbound), StreamsOut: int64(s.NumStreamsOutbound),
			ConnsIn: int64(s.NumConnsInbound), ConnsOut: int64(s.NumConnsOutbound), Fd: int64(s.NumFD),
		}
	}
	limit := func(view func(func(network.ResourceScope) error) error) (l *pb.ResourceManager_Usage) {
		_ = view(func(s network.ResourceScope) error { // what it gives back is ours
			if b, ok := s.(rcmgr.ResourceScopeLimiter); ok {
				x := b.Limit()
				l = &pb.ResourceManager_Usage{
					Memory: x.GetMemoryLimit(), Fd: int64(x.GetFDLimit()),
					StreamsIn: int64(x.GetStreamLimit(network.DirInbound)), StreamsOut: int64(x.GetStreamLimit(network.DirOutbound)),
					ConnsIn: int64(x.GetConnLimit(network.DirInbound)), ConnsOut: int64(x.GetConnLimit(network.DirOutbound)),
				}
			}
			return nil
		})
		return l
	}
	add := func(name string, s network.ScopeStat, l *pb.ResourceManager_Usage) {
		if len(out.Scopes) < maxScopes {
			out.Scopes = append(out.Scopes, &pb.ResourceManager_Scope{Name: string(event.Clean(name, event.MaxProtocolText)), Usage: usage(s), Limit: l})
		}
	}
	add("system", stat.System, limit(m.ViewSystem))
	add("transient", stat.Transient, limit(m.ViewTransient))
	for _, name := range sorted(stat.Services) {
		add("service:"+name, stat.Services[name], nil)
	}
	for _, name := range sorted(stat.Protocols) {
		add("protocol:"+string(name), stat.Protocols[name], nil)
	}
	return out
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (p *providers) processState() (*pb.Process, error) {
	return p.process.get(func() *pb.Process {
		now := nodestate.Process()
		var gc debug.GCStats
		debug.ReadGCStats(&gc)
		out := &pb.Process{
			CpuSeconds: now.CPUSeconds, ResidentBytes: whole(now.ResidentMem), HeapBytes: whole(now.HeapBytes),
			Goroutines: uint32(now.Goroutines), OpenFiles: int32(now.OpenFiles), Processors: uint32(runtime.GOMAXPROCS(0)),
			GcCycles: uint32(gc.NumGC), GcPauseNs: uint64(max(gc.PauseTotal, 0)), RepoBytes: -1,
		}
		if s := p.in.feed.Sample(); s != nil {
			out.RepoBytes = s.Node.RepoBytes
		}
		return out
	}), nil
}

// sampledAgents are those of the last sample.
func (p *providers) sampledAgents() ([]*pb.AgentCount, error) {
	s := p.in.feed.Sample()
	if s == nil {
		return nil, nil
	}
	out := make([]*pb.AgentCount, 0, len(s.Agents))
	for _, a := range s.Agents {
		out = append(out, &pb.AgentCount{Agent: string(a.Agent), Peers: uint32(a.Peers)})
	}
	return out, nil
}

// content is the last complete interval's figures. Before there is one, the
// lists are of the running one.
func (p *providers) content() (*pb.Content, error) {
	out := p.in.feed.Content()
	if out == nil {
		out = &pb.Content{}
		cids, err := p.m.derive.Top(derive.TopKindCIDs, maxTopShown)
		if err != nil {
			return nil, err
		}
		peers, err := p.m.derive.Top(derive.TopKindPeers, maxTopShown)
		if err != nil {
			return nil, err
		}
		out.TopCids, out.TopCidsByPeers = introspect.TopCIDs(cids.Running.CIDs), introspect.TopCIDs(cids.Running.CIDsByPeers)
		out.TopPeers = introspect.TopPeers(peers.Running.Peers)
	}
	if !p.named {
		out.TopCids, out.TopCidsByPeers, out.TopPeers = nil, nil, nil
	}
	return out, nil
}

// rates keeps readings of the last seconds, so that the first look at a node
// finds how fast it goes.
type rates struct {
	read func(event.Direction) event.Traffic

	mu       sync.Mutex
	readings [6]reading
	n        int // readings taken
}

type reading struct {
	at      time.Time
	traffic [event.Directions]event.Traffic
}

// run takes a reading each second until ctx ends.
func (r *rates) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.take()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *rates) take() {
	now := reading{at: time.Now()}
	for d := range event.Directions {
		now.traffic[d] = r.read(d)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings[r.n%len(r.readings)] = now
	r.n++
}

// rate is per second since the oldest reading.
func (r *rates) rate(d event.Direction) *pb.Bitswap_Rates {
	now, out := time.Now(), &pb.Bitswap_Rates{}
	t := r.read(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return out
	}
	oldest := r.readings[max(0, r.n-len(r.readings))%len(r.readings)]
	s := now.Sub(oldest.at).Seconds()
	if s < 0.1 {
		return out
	}
	t = t.Sub(oldest.traffic[d])
	per := func(n uint64) float64 { return float64(n) / s }
	out.Messages, out.WantBlock, out.WantHave, out.Cancel = per(t.Messages), per(t.WantBlock), per(t.WantHave), per(t.Cancel)
	out.Have, out.DontHave, out.Blocks, out.BlockBytes = per(t.Have), per(t.DontHave), per(t.Blocks), per(t.BlockBytes)
	return out
}
