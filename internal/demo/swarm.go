package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// meshDegree is how many of our other peers each of ours dials; 5 makes a full
// mesh of up to 11.
const meshDegree = 5

// swarm is all members, and counters of what they did.
type swarm struct {
	o       Options
	mon     *monitored
	peers   []*ownPeer
	library library
	rng     *rand.Rand // used by the opening, then by the load, never by both at once
	began   time.Time

	operations, files, failed, skipped atomic.Int64
	fetched                            atomic.Int64 // bytes, by all members
	visits                             atomic.Int64 // running, of any kind
}

func newSwarm(o Options) (*swarm, error) {
	mon, err := newMonitored(o.API)
	if err != nil {
		return nil, err
	}
	s := &swarm{
		o:     o,
		mon:   mon,
		rng:   rand.New(rand.NewPCG(uint64(o.Seed), 0x69706673)), // an arbitrary constant
		began: time.Now(),
	}
	for i := range o.Peers {
		p, err := newPeer(o.Seed, i)
		if err != nil {
			return nil, err
		}
		s.peers = append(s.peers, p)
	}
	return s, nil
}

// start starts the first nodes and connects them: first each with the monitored
// node, so that we choose the direction of these connections, then with each
// other. The other nodes are started by join, so that the opening of a big swarm
// does not have to wait for them.
func (s *swarm) start(ctx context.Context) error {
	if err := s.learn(ctx); err != nil {
		return err
	}
	first := s.peers[:min(DefaultPeers, len(s.peers))]
	for _, p := range first {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, p := range first {
		if err := s.linkMonitored(ctx, p); err != nil {
			s.fail("connect with the monitored node", err)
			errs = append(errs, err)
		}
	}
	if len(errs) == len(first) {
		return fmt.Errorf("no peer can connect with the monitored node: %w", errs[0])
	}
	for _, p := range first {
		if err := s.linkPeers(ctx, p); err != nil {
			s.fail("connect with another peer", err)
		}
	}
	s.o.Log.Debug("demo swarm started", "peers", len(first), "monitored", s.mon.self.ID.String())
	return nil
}

// join starts the peers that start left out, one after the other.
func (s *swarm) join(ctx context.Context) {
	for _, p := range s.peers[min(DefaultPeers, len(s.peers)):] {
		if ctx.Err() != nil {
			return
		}
		if err := s.arrive(ctx, p); err != nil && ctx.Err() == nil {
			s.fail("join", err)
		}
	}
}

// learn waits until the monitored node's API answers.
func (s *swarm) learn(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, s.o.patience)
	defer cancel()
	for {
		err := s.mon.learn(limit)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if backoff.Sleep(limit, 200*time.Millisecond) != nil {
			return fmt.Errorf("the monitored node's API at %s does not answer for %s: %w", s.o.API, s.o.patience, err)
		}
	}
}

// dialsMonitored reports whether the peer dials the monitored node, as every
// second one does, or is dialled by it.
func (p *ownPeer) dialsMonitored() bool { return p.number%2 == 0 }

// via returns the addresses of the transport, TCP or QUIC, that the peer uses to
// the monitored node, or all addresses if there are none.
func (p *ownPeer) via(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	code := multiaddr.P_TCP
	if p.number/2%2 == 1 {
		code = multiaddr.P_QUIC_V1
	}
	some := multiaddr.FilterAddrs(slices.Clone(addrs), func(a multiaddr.Multiaddr) bool {
		_, err := a.ValueForProtocol(code)
		return err == nil
	})
	if len(some) == 0 {
		return addrs
	}
	return some
}

func (s *swarm) linkMonitored(ctx context.Context, p *ownPeer) error {
	if p.dialsMonitored() {
		return connect(ctx, p, peer.AddrInfo{ID: s.mon.self.ID, Addrs: p.via(s.mon.self.Addrs)})
	}
	return connect(ctx, s.mon, peer.AddrInfo{ID: p.info.ID, Addrs: p.via(p.info.Addrs)})
}

// linkPeers makes a peer dial the next ones that are running. The others dial it
// in their turn, or when they find it in the DHT.
func (s *swarm) linkPeers(ctx context.Context, p *ownPeer) error {
	for step := 1; step <= min(meshDegree, len(s.peers)-1); step++ {
		other := s.peers[(p.number+step)%len(s.peers)]
		if !other.hold() {
			continue
		}
		err := connect(ctx, p, other.info)
		other.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// arrive starts a peer and connects it.
func (s *swarm) arrive(ctx context.Context, p *ownPeer) error {
	p.use.Lock()
	err := p.start(ctx)
	p.use.Unlock()
	if err != nil {
		return err
	}
	p.use.RLock()
	defer p.use.RUnlock()
	return errors.Join(s.linkMonitored(ctx, p), s.linkPeers(ctx, p))
}

// visit stops a peer and starts it again after the time away, with the same
// identity. It waits first until no operation uses the peer.
func (s *swarm) visit(ctx context.Context, p *ownPeer, away time.Duration) error {
	s.visits.Add(1)
	defer s.visits.Add(-1)
	p.use.Lock()
	err := p.stop()
	p.use.Unlock()
	if err != nil {
		s.o.Log.Debug("peer did not stop cleanly", "peer", p.number, "err", err)
	}
	if backoff.Sleep(ctx, away) != nil {
		return nil // the demo ends: the peer is not started again
	}
	return s.arrive(ctx, p)
}

// watch returns an error when the monitored node's API is unreachable for too long.
func (s *swarm) watch(ctx context.Context) error {
	answered := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		ping, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := s.mon.ping(ping)
		cancel()
		if err == nil {
			answered = time.Now()
		} else if gone := time.Since(answered); gone > s.o.patience && ctx.Err() == nil {
			return fmt.Errorf("the monitored node's API at %s is unreachable for %s: %w", s.o.API, gone.Round(time.Second), err)
		}
	}
}

// close stops all nodes at once.
func (s *swarm) close() {
	var wg sync.WaitGroup
	for _, p := range s.peers {
		wg.Go(func() {
			p.use.Lock()
			defer p.use.Unlock()
			if err := p.stop(); err != nil {
				s.o.Log.Debug("peer did not stop cleanly", "peer", p.number, "err", err)
			}
		})
	}
	wg.Wait()
	s.mon.close()
}

// trimProviders keeps the DHT provider records of our nodes within their bound.
func (s *swarm) trimProviders(ctx context.Context) error {
	g := new(errgroup.Group)
	for _, p := range s.peers {
		g.Go(func() error { return p.dropProviders(ctx, maxProviderRecords) })
	}
	return g.Wait()
}

// reportInterval is the time between two lines of progress.
const reportInterval = 5 * time.Second

// report writes progress until the context ends.
func (s *swarm) report(ctx context.Context) {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fmt.Fprintln(s.o.Out, s.line("demo"))
		}
	}
}

// present counts our running peers, without those that are about to stop.
func (s *swarm) present() int {
	n := 0
	for _, p := range s.peers {
		if p.hold() {
			p.release()
			n++
		}
	}
	return n
}

// line returns one line of progress.
func (s *swarm) line(name string) string {
	return fmt.Sprintf("%s: %s, %d of %d peers, %d operations, %d failed, %d files added, %s fetched, %s held",
		name, time.Since(s.began).Round(time.Second), s.present(), len(s.peers),
		s.operations.Load(), s.failed.Load(), s.files.Load(), units.FormatBytes(uint64(s.fetched.Load())), units.FormatBytes(uint64(s.library.size())))
}
