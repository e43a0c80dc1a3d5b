package nodestate

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func counters(t event.Traffic) *pb.Bitswap_Counters {
	return &pb.Bitswap_Counters{
		Messages: t.Messages, WantBlock: t.WantBlock, WantHave: t.WantHave, Cancel: t.Cancel,
		Have: t.Have, DontHave: t.DontHave, Blocks: t.Blocks, BlockBytes: t.BlockBytes, Truncated: t.Truncated,
	}
}

// bitswapState returns current counters, and the rest as read recently.
func (s *State) bitswapState() (*pb.Bitswap, error) {
	out := &pb.Bitswap{
		Received: counters(s.cfg.Bitswap(event.Received)), Sent: counters(s.cfg.Bitswap(event.Sent)),
		ReceivedRate: s.rates.rate(event.Received), SentRate: s.rates.rate(event.Sent),
	}
	if s.node.Bitswap == nil && s.node.Ledgers == nil {
		return out, nil
	}
	lists := s.bitswap.get(s.ledgers)
	out.Ledgers, out.LedgersTotal, out.Wantlist, out.WantlistTotal = lists.Ledgers, lists.LedgersTotal, lists.Wantlist, lists.WantlistTotal
	return out, nil
}

// ledgers reads the ledgers of peers and this node's wantlist.
func (s *State) ledgers() *pb.Bitswap {
	n, out := s.node, &pb.Bitswap{}
	var blocks, haves []cid.Cid
	if n.Bitswap != nil && n.Bitswap.Client != nil {
		blocks, haves = n.Bitswap.GetWantBlocks(), n.Bitswap.GetWantHaves()
	}
	out.WantlistTotal = uint32(len(blocks) + len(haves))
	if s.cfg.Named {
		for _, c := range blocks[:min(len(blocks), maxWants)] {
			out.Wantlist = append(out.Wantlist, &pb.Bitswap_Want{Cid: c.String()})
		}
		for _, c := range haves[:min(len(haves), maxWants-len(out.Wantlist))] {
			out.Wantlist = append(out.Wantlist, &pb.Bitswap_Want{Cid: c.String(), Have: true})
		}
	}
	if n.Ledgers == nil || n.Host == nil {
		return out
	}
	connected := n.Host.Network().Peers()
	out.LedgersTotal = uint32(len(connected))
	if !s.cfg.Named {
		return out
	}
	accounts := make([]account, 0, len(connected))
	for _, id := range connected {
		accounts = append(accounts, account{id, n.Ledgers.Account(id)})
	}
	slices.SortFunc(accounts, func(a, b account) int {
		return cmp.Or(cmp.Compare(b.Sent+b.Received, a.Sent+a.Received), cmp.Compare(b.Exchanged, a.Exchanged), cmp.Compare(a.id, b.id))
	})
	for i, a := range accounts[:min(len(accounts), maxLedgers)] {
		l := &pb.Bitswap_Ledger{PeerId: a.id.String(), BytesSent: a.Sent, BytesReceived: a.Received, Exchanged: a.Exchanged}
		if i < maxLists {
			wants, all := n.Ledgers.Wants(a.id, maxWantlist)
			l.Wants = uint32(all)
			for _, c := range wants {
				l.Wantlist = append(l.Wantlist, c.String())
			}
		}
		out.Ledgers = append(out.Ledgers, l)
	}
	return out
}

// account is what was exchanged with a peer.
type account struct {
	id peer.ID
	Account
}

// bitswapRates keeps readings of the last seconds, so that the first state already has rates.
type bitswapRates struct {
	read func(event.Direction) event.Traffic

	mu       sync.Mutex
	readings [6]bitswapReading
	n        int // readings taken
}

type bitswapReading struct {
	at      time.Time
	traffic [event.Directions]event.Traffic
}

// run takes a reading each second until ctx ends.
func (r *bitswapRates) run(ctx context.Context) {
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

func (r *bitswapRates) take() {
	now := bitswapReading{at: time.Now()}
	for d := range event.Directions {
		now.traffic[d] = r.read(d)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings[r.n%len(r.readings)] = now
	r.n++
}

// rate returns the rate per second since the oldest reading.
func (r *bitswapRates) rate(d event.Direction) *pb.Bitswap_Rates {
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
