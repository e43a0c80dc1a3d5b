package capture

import (
	"context"
	"errors"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// Network wraps a boxo network so that every message that passes it becomes an
// event: received ones before Bitswap handles them, sent ones once they are
// sent, with the time that sending took. A message that could not be sent
// becomes an event of KindSendError. via says how n carries messages: wrap
// bsnet as event.Libp2p and httpnet as event.HTTP, each alone, and pass both
// to network.New. A network that is watched by Network must not be traced by
// the capture too (bitswap.WithTracer): each message would count twice.
func (c *Capture) Network(n network.BitSwapNetwork, via event.Transport) network.BitSwapNetwork {
	return &watchedNetwork{BitSwapNetwork: n, capture: c, via: via}
}

type watchedNetwork struct {
	network.BitSwapNetwork
	capture *Capture
	via     event.Transport
}

// Start registers the receivers. Messages are reported once, however many
// receivers there are.
func (n *watchedNetwork) Start(receivers ...network.Receiver) {
	if len(receivers) > 0 {
		receivers = append([]network.Receiver{&watchedReceiver{receivers[0], n}}, receivers[1:]...)
	}
	n.BitSwapNetwork.Start(receivers...)
}

type watchedReceiver struct {
	network.Receiver
	network *watchedNetwork
}

func (r *watchedReceiver) ReceiveMessage(ctx context.Context, p peer.ID, m bsmsg.BitSwapMessage) {
	r.network.received(p, m)
	r.Receiver.ReceiveMessage(ctx, p, m)
}

func (n *watchedNetwork) received(p peer.ID, m bsmsg.BitSwapMessage) {
	defer n.capture.guard.Recover("capture: received by a network")
	n.capture.message(passed{dir: event.Received, via: n.via, at: n.capture.clock.now(), addrs: n.addrs(p)}, p, m)
}

// SendMessage sends what Bitswap's server has for a peer.
func (n *watchedNetwork) SendMessage(ctx context.Context, p peer.ID, m bsmsg.BitSwapMessage) error {
	at, begin := n.capture.clock.now(), time.Now()
	err := n.BitSwapNetwork.SendMessage(ctx, p, m)
	n.sent(p, m, at, time.Since(begin), err)
	return err
}

// NewMessageSender returns what Bitswap's client sends wantlists with.
func (n *watchedNetwork) NewMessageSender(ctx context.Context, p peer.ID, opts *network.MessageSenderOpts) (network.MessageSender, error) {
	s, err := n.BitSwapNetwork.NewMessageSender(ctx, p, opts)
	if err != nil {
		return s, err
	}
	return &watchedSender{s, n, p}, nil
}

type watchedSender struct {
	network.MessageSender
	network *watchedNetwork
	peer    peer.ID
}

func (s *watchedSender) SendMsg(ctx context.Context, m bsmsg.BitSwapMessage) error {
	at, begin := s.network.capture.clock.now(), time.Now()
	err := s.MessageSender.SendMsg(ctx, m)
	s.network.sent(s.peer, m, at, time.Since(begin), err)
	return err
}

// sent reports a message that was given to the network at a time.
func (n *watchedNetwork) sent(p peer.ID, m bsmsg.BitSwapMessage, at int64, took time.Duration, err error) {
	c := n.capture
	defer c.guard.Recover("capture: sent by a network")
	if err != nil {
		c.failed[n.via].Add(1)
		wants, presences, blocks := boxoShape.lengths(m)
		e := &event.Event{Time: at, Kind: event.KindSendError, Dir: event.Sent, Transport: n.via, Peer: p, Took: took,
			SendError: &event.SendError{Class: sendErrorClass(err), Wants: wants, Presences: presences, Blocks: blocks}}
		info, _ := c.conns.peer(p)
		info.fill(e)
		if n.via == event.HTTP && wants > 0 && wants <= maxRead {
			// Each is a request that was not made.
			a := c.arenas.Get().(*arena)
			a.budget = entryBudget
			e.Addrs = n.addrs(p)
			a.copyWants(e, new(event.Traffic), m)
			a.forget(e)
			c.arenas.Put(a)
		}
		c.place(e)
		c.bus.Publish(e)
		return
	}
	c.message(passed{dir: event.Sent, via: n.via, at: at, took: took, sized: n.via == event.Libp2p, addrs: n.addrs(p)}, p, m)
}

// addrs returns where an HTTP peer is asked: its HTTP addresses, since it need
// not have a connection. nil for libp2p, whose connections are known.
func (n *watchedNetwork) addrs(p peer.ID) []event.Text {
	if n.via != event.HTTP {
		return nil
	}
	web, _ := network.SplitHTTPAddrs(n.Host().Peerstore().PeerInfo(p))
	return peertext.Addrs(web.Addrs, event.MaxAddrs)
}

// sendErrorClass sorts an error of sending into one of event.SendErrors.
func sendErrorClass(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "other"
}

// wireSize returns how many bytes bsnet writes for a message of wants only,
// with the length before it: the protobuf of boxo's bitswap/message/pb, in which
// fields with their zero value are left out.
func wireSize(wants []bsmsg.Entry, full bool, pending int32) int {
	list := 0
	for i := range wants {
		n := entrySize(&wants[i])
		list += 1 + event.VarintSize(uint64(n)) + n
	}
	if full {
		list += 2
	}
	n := 1 + event.VarintSize(uint64(list)) + list
	if pending != 0 {
		n += 1 + event.VarintSize(uint64(int64(pending)))
	}
	return event.VarintSize(uint64(n)) + n
}

// entrySize returns the bytes of one entry of a wantlist.
func entrySize(e *bsmsg.Entry) int {
	return event.EntrySize(e.Cid.ByteLen(), e.Priority, int32(e.WantType), e.Cancel, e.SendDontHave)
}
