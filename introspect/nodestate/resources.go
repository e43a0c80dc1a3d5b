package nodestate

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func (s *State) pubsub() (*pb.PubSub, error) {
	ps := s.node.PubSub
	out := &pb.PubSub{Enabled: true}
	for _, topic := range first(ps.GetTopics(), maxTopics) {
		peers := ps.ListPeers(topic)
		t := &pb.PubSub_Topic{Name: string(event.Clean(topic, event.MaxProtocolText)), Peers: uint32(len(peers))}
		if s.cfg.Named {
			for _, id := range first(peers, maxTopic) {
				t.PeerIds = append(t.PeerIds, id.String())
			}
		}
		out.Topics = append(out.Topics, t)
	}
	return out, nil
}

func first[T any](all []T, n int) []T { return all[:min(n, len(all))] }

func (s *State) peerstoreState() (*pb.Peerstore, error) {
	return s.peerstore.get(func() *pb.Peerstore {
		keys, addrs := s.node.Peerstore.PeersWithKeys(), s.node.Peerstore.PeersWithAddrs()
		out := &pb.Peerstore{Peers: uint32(len(keys)), PeersWithAddrs: uint32(len(addrs)), PeersWithKeys: uint32(len(keys))}
		withKey := make(map[peer.ID]struct{}, len(keys))
		for _, p := range keys {
			withKey[p] = struct{}{}
		}
		for _, p := range addrs {
			if _, counted := withKey[p]; !counted {
				out.Peers++
			}
		}
		return out // as many peers as the peerstore's own list of both, which asks for both again
	}), nil
}

// resourceState reads the scopes that do not belong to a single peer.
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
		_ = view(func(s network.ResourceScope) error { // the result is ours
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

func (s *State) processState() (*pb.Process, error) {
	return s.process.get(func() *pb.Process {
		now := Process()
		var gc debug.GCStats
		debug.ReadGCStats(&gc)
		out := &pb.Process{
			CpuSeconds: now.CPUSeconds, ResidentBytes: whole(now.ResidentMem), HeapBytes: whole(now.HeapBytes),
			Goroutines: uint32(now.Goroutines), OpenFiles: int32(now.OpenFiles), Processors: uint32(runtime.GOMAXPROCS(0)),
			GcCycles: uint32(gc.NumGC), GcPauseNs: uint64(max(gc.PauseTotal, 0)), RepoBytes: -1,
		}
		if s.cfg.RepoBytes != nil {
			out.RepoBytes = s.cfg.RepoBytes()
		}
		return out
	}), nil
}
