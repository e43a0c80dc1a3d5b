package watch

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// Connecting to bootstrap peers.
const (
	fewPeers       = 4 // below it they are asked
	bootstrapEvery = 30 * time.Second
	bootstrapTime  = 15 * time.Second
	bootstrapSaid  = 10 * time.Minute // between two log lines while none answers
)

// bootstrap connects to the bootstrap peers whenever the node has few peers.
func (n *Node) bootstrap() {
	if len(n.cfg.bootstrap) == 0 {
		return
	}
	var said time.Time
	for {
		if len(n.Host().Network().Peers()) < fewPeers {
			answered, err := n.dialBootstrap()
			switch {
			case answered > 0:
				said = time.Time{}
			case n.ctx.Err() == nil && len(n.Host().Network().Peers()) == 0 && time.Since(said) > bootstrapSaid:
				said = time.Now()
				n.cfg.Logger.Warn("watch: none of the bootstrap peers answers, and the node has no other: it sees nothing until one does; retrying every 30 s; want others with --bootstrap or --bootstrap-file",
					"asked", len(n.cfg.bootstrap), "err", err)
			}
		}
		if backoff.Sleep(n.ctx, bootstrapEvery) != nil {
			return
		}
	}
}

// dialBootstrap connects to all bootstrap peers, and returns how many have answered, and why
// one has not.
func (n *Node) dialBootstrap() (answered int, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, bootstrapTime)
	defer cancel()
	h := &budgetHost{n.Host(), n.budget}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range n.cfg.bootstrap {
		all.Go(func() {
			defer n.guard.Recover("watch: connect to a bootstrap peer")
			e := h.Connect(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			if e == nil {
				answered++
			} else {
				err = e
			}
		})
	}
	all.Wait()
	return answered, err
}

// lookupTime bounds one look-up.
const lookupTime = 2 * time.Minute

// lookups looks up random keys in the DHT: every server on the way learns of the node, and it
// of them.
func (n *Node) lookups() {
	if n.cfg.LookupEvery < 0 {
		return
	}
	for backoff.Sleep(n.ctx, n.cfg.LookupEvery) == nil {
		ctx, cancel := context.WithTimeout(n.ctx, lookupTime)
		d := n.dht.LAN
		if n.dht.WANActive() {
			d = n.dht.WAN
		}
		_, err := d.GetClosestPeers(ctx, rand.Text())
		cancel()
		if err != nil && n.ctx.Err() == nil {
			n.cfg.Logger.Debug("watch: a look-up failed", "err", err)
		}
	}
}

// A want of a random CID is sent to wantPeers connected peers and cancelled after wantFor, or
// before the next one.
const (
	wantPeers = 10
	wantFor   = 10 * time.Second
)

// wants asks peers now and then for a block that nobody has, so that they see this node as one
// that exchanges blocks.
func (n *Node) wants() {
	if n.cfg.WantEvery == 0 {
		return
	}
	for backoff.Sleep(n.ctx, n.cfg.WantEvery) == nil {
		var hash [32]byte
		_, _ = rand.Read(hash[:]) // never fails
		c := randomCID(hash[:])
		want, cancel := bsmsg.New(false), bsmsg.New(false)
		want.AddEntry(c, 1, pb.Message_Wantlist_Have, true)
		cancel.Cancel(c)
		asked := n.send(want, n.bitswapPeers(wantPeers))
		if backoff.Sleep(n.ctx, min(wantFor, n.cfg.WantEvery)) != nil {
			return // closing the connections takes the wants back
		}
		n.send(cancel, asked)
	}
}

// bitswapPeers returns connected peers that speak Bitswap, chosen at random.
func (n *Node) bitswapPeers(most int) (out []peer.ID) {
	all := n.Host().Network().Peers()
	for _, i := range mrand.Perm(len(all)) {
		if len(out) == most {
			break
		}
		if has, err := n.Host().Peerstore().SupportsProtocols(all[i], bitswapProtocols...); err == nil && len(has) > 0 &&
			n.Host().Network().Connectedness(all[i]) == network.Connected {
			out = append(out, all[i])
		}
	}
	return out
}

// send sends a message to peers, each in its turn, and returns those to which it was sent.
func (n *Node) send(m bsmsg.BitSwapMessage, to []peer.ID) (sent []peer.ID) {
	for _, p := range to {
		if wait(n.ctx, n.budget.begun) != nil {
			break
		}
		ctx, cancel := context.WithTimeout(n.ctx, budgetWait)
		if err := n.net.SendMessage(ctx, p, m); err == nil {
			sent = append(sent, p)
		}
		cancel()
	}
	return sent
}

// Announcing the blocks of --blocks: the roots of the files, often enough that records, which
// expire after two days, stay.
const (
	announceEvery = 22 * time.Hour
	announceRetry = time.Minute
	announceTime  = 2 * time.Minute
)

// announce makes the node a provider of the roots of its files.
func (n *Node) announce() {
	if len(n.blocks.roots) == 0 {
		return
	}
	for n.dht.WAN.RoutingTable().Size()+n.dht.LAN.RoutingTable().Size() == 0 {
		if backoff.Sleep(n.ctx, time.Second) != nil {
			return
		}
	}
	var line throttle.Line
	for _, left := 0, n.blocks.roots; len(left) > 0; {
		var failed []cid.Cid
		for _, c := range left {
			if n.ctx.Err() != nil {
				return
			}
			ctx, cancel := context.WithTimeout(n.ctx, announceTime)
			err := n.dht.Provide(ctx, c, true)
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				failed = append(failed, c)
				line.Warn(n.cfg.Logger, "watch: a root of --blocks could not be announced, retrying in a minute", "cid", c.String(), "err", err)
			}
		}
		next := announceRetry
		if left = failed; len(failed) == 0 {
			left, next = n.blocks.roots, announceEvery
		}
		if backoff.Sleep(n.ctx, next) != nil {
			return
		}
	}
}
