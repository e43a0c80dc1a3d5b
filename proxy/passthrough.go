package proxy

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Limits of forwarded streams.
const (
	maxPassed     = 2048
	maxPassedEach = 32
	passIdle      = 5 * time.Minute
	passOpen      = 10 * time.Second
	passBuffer    = 32 << 10
)

// own are the protocols that the proxy itself supports on both sides; they are never forwarded.
var own = []string{"/ipfs/bitswap", "/ipfs/id/", "/ipfs/ping/", "/libp2p/autonat/2"}

// passer forwards streams of other protocols from peers to nodes. It offers peers the protocols
// of connected nodes, except blocked ones.
type passer struct {
	p       *Proxy
	streams sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	offered map[protocol.ID]bool
	each    map[peer.ID]int
	all     int
	open    map[network.Stream]struct{}
}

func newPasser(p *Proxy) *passer {
	return &passer{p: p, offered: map[protocol.ID]bool{}, each: map[peer.ID]int{}, open: map[network.Stream]struct{}{}}
}

// passable reports whether a protocol may be forwarded.
func (x *passer) passable(id protocol.ID) bool {
	if x.p.cfg.NoPass || x.p.cfg.SwarmKeyFile != "" {
		return false
	}
	for _, prefix := range slices.Concat(own, x.p.cfg.Block) {
		if strings.HasPrefix(string(id), prefix) {
			return false
		}
	}
	return true
}

// offer announces all protocols of the connected nodes to peers.
func (x *passer) offer() {
	now := map[protocol.ID]bool{}
	for _, d := range x.p.engine.nodes() {
		all, _ := x.p.down.Peerstore().GetProtocols(d) // none known is none
		for _, id := range all {
			if x.passable(id) {
				now[id] = true
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	for id := range now {
		if !x.offered[id] {
			x.p.up.SetStreamHandler(id, x.pass)
		}
	}
	for id := range x.offered {
		if !now[id] {
			x.p.up.RemoveStreamHandler(id)
		}
	}
	x.offered = maps.Clone(now)
}

// take registers a stream; false: there are too many.
func (x *passer) take(s network.Stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	from := s.Conn().RemotePeer()
	if x.closed || x.all >= maxPassed || x.each[from] >= maxPassedEach {
		return false
	}
	x.all++
	x.each[from]++
	x.open[s] = struct{}{}
	x.streams.Add(1)
	return true
}

func (x *passer) leave(s network.Stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	from := s.Conn().RemotePeer()
	x.all--
	if x.each[from]--; x.each[from] == 0 {
		delete(x.each, from)
	}
	delete(x.open, s)
	x.streams.Done()
}

// pass copies a peer's stream to its node and back. It keeps no data.
func (x *passer) pass(s network.Stream) {
	defer x.ended("proxy: forward a stream", s)
	if !x.take(s) {
		x.p.engine.count(func(n *counts) { n.blocked++ })
		_ = s.Reset() // the stream is gone either way
		return
	}
	defer x.leave(s)
	to, err := x.connect(s)
	if err != nil {
		x.p.engine.count(func(n *counts) { n.blocked++ })
		_ = s.Reset()
		return
	}
	x.p.engine.count(func(n *counts) { n.passed++ })
	var back sync.WaitGroup
	back.Go(func() {
		defer x.ended("proxy: forward a stream back", s, to)
		copyStream(s, to)
	})
	copyStream(to, s)
	back.Wait()
}

// ended is deferred: a panic ends both streams.
func (x *passer) ended(doing string, streams ...network.Stream) {
	if p := recover(); p != nil {
		x.p.engine.guard.Caught(p, doing)
		for _, s := range streams {
			_ = s.Reset()
		}
	}
}

func (x *passer) connect(s network.Stream) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(context.Background(), "the watch connects"), passOpen)
	defer cancel()
	id, ok := x.p.engine.home(s.Conn().RemotePeer(), func(d peer.ID) bool {
		spoken, err := x.p.down.Peerstore().SupportsProtocols(d, s.Protocol())
		return err == nil && len(spoken) > 0
	})
	if !ok {
		return nil, network.ErrNoConn
	}
	return x.p.down.NewStream(ctx, id, s.Protocol())
}

// copyStream copies until one side ends, and ends the other side in the same
// way: closed for writing, or reset.
func copyStream(to, from network.Stream) {
	buf := make([]byte, passBuffer)
	for {
		_ = from.SetReadDeadline(time.Now().Add(passIdle)) // an error means no deadlines; the stream then ends with its connection
		n, err := from.Read(buf)
		if n > 0 {
			_ = to.SetWriteDeadline(time.Now().Add(passIdle))
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err == io.EOF {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			_, _ = to.Reset(), from.Reset()
			return
		}
	}
}

// close ends all streams and waits for them.
func (x *passer) close() {
	x.mu.Lock()
	x.closed = true
	for id := range x.offered {
		x.p.up.RemoveStreamHandler(id)
	}
	for s := range x.open {
		_ = s.Reset()
	}
	x.mu.Unlock()
	x.streams.Wait()
}
