package watch

import (
	"context"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"
)

// budgetWait bounds the wait of one message for its turn. A message that would wait longer is
// not sent.
const budgetWait = 30 * time.Second

// budget bounds what the node sends: begun is for what it does on its own (dials, requests of
// the DHT, wants), answers for what others ask for.
type budget struct{ begun, answers *rate.Limiter }

func newBudget(s *settings) *budget {
	return &budget{begun: rate.NewLimiter(rate.Limit(s.Rate), s.Rate), answers: rate.NewLimiter(rate.Limit(s.Answers), s.Answers)}
}

// wait waits for the turn of one message.
func wait(ctx context.Context, l *rate.Limiter) error {
	if l.Allow() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	return l.Wait(ctx)
}

// budgetHost is a host for the DHT: each dial, and each message on a stream, takes its turn.
type budgetHost struct {
	host.Host
	budget *budget
}

func (h *budgetHost) dial(ctx context.Context, p peer.ID) error {
	if h.Network().Connectedness(p) == network.Connected {
		return nil
	}
	return wait(ctx, h.budget.begun)
}

func (h *budgetHost) Connect(ctx context.Context, to peer.AddrInfo) error {
	if err := h.dial(ctx, to.ID); err != nil {
		return err
	}
	return h.Host.Connect(ctx, to)
}

func (h *budgetHost) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	if err := h.dial(ctx, p); err != nil {
		return nil, err
	}
	s, err := h.Host.NewStream(ctx, p, protocols...)
	if err != nil {
		return nil, err
	}
	return &budgetStream{s, h.budget.begun}, nil
}

func (h *budgetHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { handle(&budgetStream{s, h.budget.answers}) })
}

func (h *budgetHost) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	h.Host.SetStreamHandlerMatch(id, match, func(s network.Stream) { handle(&budgetStream{s, h.budget.answers}) })
}

// budgetStream is a stream on which each write takes its turn.
type budgetStream struct {
	network.Stream
	limit *rate.Limiter
}

func (s *budgetStream) Write(b []byte) (int, error) {
	if err := wait(context.Background(), s.limit); err != nil {
		return 0, err
	}
	return s.Stream.Write(b)
}

// budgetNetwork is a network for Bitswap's server, whose answers take their turn.
type budgetNetwork struct {
	bsnetwork.BitSwapNetwork
	budget *budget
}

func (n *budgetNetwork) SendMessage(ctx context.Context, p peer.ID, m bsmsg.BitSwapMessage) error {
	if err := wait(ctx, n.budget.answers); err != nil {
		return err
	}
	return n.BitSwapNetwork.SendMessage(ctx, p, m)
}
