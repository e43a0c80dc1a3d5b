// Package broadcast sends wants and cancels to all peers of a host, for the HTTP
// API's Bitswap discovery.
//
// In: a host, and CIDs. Out: for each peer what was sent, when, and what failed.
// Promised: a peer that does not read holds up no other for longer than 30
// seconds, and what a cancelled request sent is taken back; the host's Bitswap
// neither learns of the wants nor fetches their blocks.
package broadcast

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

const (
	// broadcastWorkers is how many peers a broadcast sends to at once.
	broadcastWorkers = 8
	// sendTimeout is the longest that sending to one peer takes, from opening a
	// stream on.
	sendTimeout = 30 * time.Second
	// takeBackTime is how long cancels continue after their request has ended.
	takeBackTime = 3 * time.Second
	// closeStreamTime bounds the wait for a peer that has not answered to the
	// stream's protocol when the stream is closed.
	closeStreamTime = 5 * time.Second
	// maxErrorText bounds the text of an error, in bytes.
	maxErrorText = 256
)

// bitswapProtocols are the versions of Bitswap, the newest first.
var bitswapProtocols = []protocol.ID{
	bsnet.ProtocolBitswap, bsnet.ProtocolBitswapOneOne, bsnet.ProtocolBitswapOneZero, bsnet.ProtocolBitswapNoVers,
}

// Broadcaster sends wants and cancels on streams of its own: Bitswap's client
// would keep the wants, repeat them and fetch the blocks.
type Broadcaster struct {
	host  host.Host
	sent  func(peer.ID, bsmsg.BitSwapMessage) // called with each message that was sent
	guard guard.Guard
}

var _ httpapi.Broadcaster = (*Broadcaster)(nil)

// New returns a broadcaster that calls sent with each message that it has sent,
// for capture to see it.
func New(h host.Host, sent func(peer.ID, bsmsg.BitSwapMessage), log *slog.Logger) *Broadcaster {
	return &Broadcaster{host: h, sent: sent, guard: guard.Guard{Log: log}}
}

// Panics is how many panics of its own it caught.
func (b *Broadcaster) Panics() uint64 { return b.guard.Panics() }

// peers returns the connected peers that speak Bitswap, or have not said yet
// what they speak.
func (b *Broadcaster) peers() []peer.ID {
	return slices.DeleteFunc(b.host.Network().Peers(), func(p peer.ID) bool {
		all, err := b.host.Peerstore().GetProtocols(p)
		return err == nil && len(all) > 0 && !slices.ContainsFunc(all, func(id protocol.ID) bool {
			return slices.Contains(bitswapProtocols, id)
		})
	})
}

// Want sends all CIDs to each peer in one message.
func (b *Broadcaster) Want(ctx context.Context, cids []cid.Cid) []httpapi.WantSent {
	peers := b.peers()
	out := make([]httpapi.WantSent, len(peers))
	b.each(len(peers), func(i int) {
		o := sending{b: b, peer: peers[i]}
		out[i].Peer = peers[i].String()
		out[i].Sent, out[i].RequestTypeSent = o.want(ctx, cids)
		o.close()
	})
	return out
}

// Cancel sends cancels of all CIDs to each peer in one message.
func (b *Broadcaster) Cancel(ctx context.Context, cids []cid.Cid) []httpapi.CancelSent {
	peers := b.peers()
	out := make([]httpapi.CancelSent, len(peers))
	b.each(len(peers), func(i int) {
		o := sending{b: b, peer: peers[i]}
		out[i] = httpapi.CancelSent{Sent: o.cancel(ctx, cids), Peer: peers[i].String()}
		o.close()
	})
	return out
}

// WantCancel sends the wants to all peers, and so long after each peer's want
// the cancel, on the same stream: on another it might overtake the want. If ctx
// ends, what was sent is taken back at once.
func (b *Broadcaster) WantCancel(ctx context.Context, cids []cid.Cid, after time.Duration) []httpapi.WantCancelSent {
	peers := b.peers()
	out := make([]httpapi.WantCancelSent, len(peers))
	streams := make([]sending, len(peers))
	b.each(len(peers), func(i int) {
		out[i].Peer = peers[i].String()
		streams[i] = sending{b: b, peer: peers[i]}
		w := &out[i].WantStatus
		w.Sent, w.RequestTypeSent = streams[i].want(ctx, cids)
	})

	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(takeBackTime, cancel) })()
	b.each(len(peers), func(i int) {
		o := &streams[i]
		defer o.close()
		w := &out[i].WantStatus
		if w.RequestTypeSent == nil {
			out[i].CancelStatus = httpapi.Sent{TimestampBeforeSend: time.Now().UTC(), Error: "not sent, because the want was not"}
			return
		}
		due := time.NewTimer(time.Until(w.TimestampBeforeSend.Add(after)))
		defer due.Stop()
		select {
		case <-due.C:
		case <-ctx.Done():
		}
		out[i].CancelStatus = o.cancel(late, cids)
	})
	return out
}

// each calls f for 0 to n-1 in that order from a few goroutines and waits for
// them. A panic of ours costs the one call.
func (b *Broadcaster) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, broadcastWorkers) {
		wg.Go(func() {
			for i := range next {
				func() {
					defer b.guard.Recover("broadcast: one call")
					f(i)
				}()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// sending is what is under way with one peer. One goroutine uses it at a time.
type sending struct {
	b      *Broadcaster
	peer   peer.ID
	stream network.Stream // nil until the first message, and after an error
}

// want sends WANT_HAVE to a peer that knows it, else WANT_BLOCK.
func (o *sending) want(ctx context.Context, cids []cid.Cid) (httpapi.Sent, *event.WantType) {
	kind := event.WantBlock
	sent := o.send(ctx, func() bsmsg.BitSwapMessage {
		if o.stream.Protocol() == bsnet.ProtocolBitswap {
			kind = event.WantHave
		}
		m := bsmsg.New(false)
		for _, c := range cids {
			m.AddEntry(c, math.MaxInt32, pb.Message_Wantlist_WantType(kind), true)
		}
		return m
	})
	if sent.Error != "" {
		return sent, nil
	}
	return sent, &kind
}

func (o *sending) cancel(ctx context.Context, cids []cid.Cid) httpapi.Sent {
	again := o.stream != nil
	message := func() bsmsg.BitSwapMessage {
		m := bsmsg.New(false)
		for _, c := range cids {
			m.Cancel(c)
		}
		return m
	}
	sent := o.send(ctx, message)
	if sent.Error != "" && again {
		sent = o.send(ctx, message) // the stream of the want has ended since
	}
	return sent
}

// send writes one message, on a new stream if there is none. When ctx ends the
// stream is reset, so that a peer that does not read holds nobody.
func (o *sending) send(ctx context.Context, message func() bsmsg.BitSwapMessage) httpapi.Sent {
	begin := time.Now()
	err := func() error {
		ctx, cancel := context.WithTimeout(ctx, sendTimeout)
		defer cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		if o.stream == nil {
			s, err := o.b.host.NewStream(network.WithNoDial(ctx, "broadcast"), o.peer, bitswapProtocols...)
			if err != nil {
				return fmt.Errorf("open a stream: %w", err)
			}
			o.stream = s
		}
		s := o.stream
		stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
		defer stop()
		m := message()
		err := write(s, m)
		if err == nil {
			o.b.sent(o.peer, m)
		}
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = s.Reset()
			o.stream = nil
			return fmt.Errorf("send: %w", err)
		}
		return nil
	}()
	sent := httpapi.Sent{TimestampBeforeSend: begin.UTC(), SendDurationMillis: time.Since(begin).Milliseconds()}
	if err != nil {
		sent.Error = event.Clean(err.Error(), maxErrorText)
	}
	return sent
}

// write sends a message in the form of the stream's version.
func write(s network.Stream, m bsmsg.BitSwapMessage) error {
	switch s.Protocol() {
	case bsnet.ProtocolBitswap, bsnet.ProtocolBitswapOneOne:
		return m.ToNetV1(s)
	default:
		return m.ToNetV0(s)
	}
}

// close ends the stream, so that what was written still arrives.
func (o *sending) close() {
	if o.stream == nil {
		return
	}
	_ = o.stream.SetDeadline(time.Now().Add(closeStreamTime))
	if o.stream.Close() != nil {
		_ = o.stream.Reset()
	}
	o.stream = nil
}
