package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// idleNetwork sends nothing; its sends return err.
type idleNetwork struct {
	network.BitSwapNetwork
	err error
}

func (n idleNetwork) SendMessage(context.Context, peer.ID, bsmsg.BitSwapMessage) error { return n.err }
func (n idleNetwork) SendMsg(context.Context, bsmsg.BitSwapMessage) error              { return n.err }
func (n idleNetwork) Reset() error                                                     { return nil }
func (n idleNetwork) SupportsHave() bool                                               { return true }
func (n idleNetwork) NewMessageSender(context.Context, peer.ID, *network.MessageSenderOpts) (network.MessageSender, error) {
	return n, nil
}

// TestSendErrors: a message that could not be sent is not traffic; it is an event of its
// own, with the reason and the size.
func TestSendErrors(t *testing.T) {
	c, next := newTest(t)
	f := func(err error, class string) {
		t.Helper()
		n := c.Network(idleNetwork{err: err}, event.Libp2p)
		s, e := n.NewMessageSender(t.Context(), testPeer, nil)
		require.NoError(t, e)
		require.Equal(t, err, s.SendMsg(t.Context(), wantMessage(3)))
		got := next()
		require.Equal(t, event.KindSendError, got.Kind)
		require.Equal(t, testPeer, got.Peer)
		require.Equal(t, &event.SendError{Class: class, Wants: 3}, got.SendError)
		m := bsmsg.New(false)
		m.AddHave(testCID(1))
		m.AddDontHave(testCID(2))
		m.AddBlock(blocks.NewBlock([]byte("data")))
		require.Equal(t, err, n.SendMessage(t.Context(), testPeer, m))
		require.Equal(t, &event.SendError{Class: class, Presences: 2, Blocks: 1}, next().SendError)
		require.Contains(t, event.SendErrors, class)
	}
	f(context.Canceled, "canceled")
	f(fmt.Errorf("send: %w", context.DeadlineExceeded), "timeout")
	f(&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, "timeout")
	f(errors.New("stream reset"), "other")
	require.Zero(t, c.Traffic(event.Libp2p, event.Sent))
	require.EqualValues(t, 8, c.SendErrors(event.Libp2p))
	require.Zero(t, c.SendErrors(event.HTTP))

	n := c.Network(idleNetwork{}, event.Libp2p)
	require.NoError(t, n.SendMessage(t.Context(), testPeer, wantMessage(3)))
	require.Len(t, next().Wants, 3, "the first event of what was sent")
	require.EqualValues(t, 1, c.Traffic(event.Libp2p, event.Sent).Messages)
	require.EqualValues(t, 3, c.Traffic(event.Libp2p, event.Sent).WantBlock)
}

// TestWireSize compares the computed size of messages of wants with what bsnet writes of
// them.
func TestWireSize(t *testing.T) {
	c, next := newTest(t)
	n := c.Network(idleNetwork{}, event.Libp2p)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		m := bsmsg.New(r.IntN(2) == 0)
		if r.IntN(3) == 0 {
			m.SetPendingBytes(int32(r.Uint32()))
		}
		for j := range 1 + r.IntN(1<<r.IntN(12)) {
			id := testCID(i<<16 | j)
			if r.IntN(2) == 0 {
				id = cid.NewCidV1(r.Uint64()>>r.IntN(64), id.Hash())
			}
			switch priority := int32(r.Uint32()) >> r.IntN(32); r.IntN(4) {
			case 0:
				m.Cancel(id)
			default:
				m.AddEntry(id, priority, pb.Message_Wantlist_WantType(r.IntN(2)), r.IntN(2) == 0)
			}
		}
		writers := []func(io.Writer) error{m.ToNetV1}
		if m.PendingBytes() == 0 { // which the oldest form cannot express
			writers = append(writers, m.ToNetV0)
		}
		for _, write := range writers {
			var raw bytes.Buffer
			require.NoError(t, write(&raw))
			require.NoError(t, n.SendMessage(t.Context(), testPeer, m))
			require.EqualValues(t, raw.Len(), next().WireSize, "message %d: %d wants", i, len(m.Wantlist()))
		}
	}
	// A full wantlist without entries.
	var raw bytes.Buffer
	require.NoError(t, bsmsg.New(true).ToNetV1(&raw))
	require.NoError(t, n.SendMessage(t.Context(), testPeer, bsmsg.New(true)))
	require.EqualValues(t, raw.Len(), next().WireSize)
	// A received message may have been encoded in another way.
	n.(*watchedNetwork).received(testPeer, wantMessage(3))
	require.Zero(t, next().WireSize)
}

// TestOneReceiverReports: a message for several receivers is one event, and every
// receiver gets it.
func TestOneReceiverReports(t *testing.T) {
	c, next := newTest(t)
	inner := &startedNetwork{}
	n := c.Network(inner, event.HTTP)
	a, b := new(countingReceiver), new(countingReceiver)
	n.Start(a, b)
	require.Len(t, inner.receivers, 2)
	h := newHost(t)
	inner.host = h
	h.Peerstore().AddAddr(testPeer, ma.StringCast("/dns4/gateway.example/tcp/443/tls/http"), time.Hour)
	h.Peerstore().AddAddr(testPeer, ma.StringCast("/ip4/192.0.2.1/tcp/4001"), time.Hour)
	m := bsmsg.New(false)
	m.AddHave(testCID(1))
	for _, r := range inner.receivers {
		r.ReceiveMessage(t.Context(), testPeer, m)
		r.PeerConnected(testPeer)
	}
	require.Equal(t, [2]int{1, 1}, [2]int{a.messages, a.connected})
	require.Equal(t, [2]int{1, 1}, [2]int{b.messages, b.connected})
	require.EqualValues(t, 1, c.Traffic(event.HTTP, event.Received).Have)
	require.Zero(t, c.Traffic(event.Libp2p, event.Received))
	e := next()
	require.Equal(t, event.HTTP, e.Transport)
	require.Equal(t, []event.Text{"/dns4/gateway.example/tcp/443/tls/http"}, e.Addrs)
	n.Start() // without a receiver
	require.Empty(t, inner.receivers)
}

type startedNetwork struct {
	network.BitSwapNetwork
	receivers []network.Receiver
	host      host.Host
}

func (n *startedNetwork) Start(all ...network.Receiver) { n.receivers = all }
func (n *startedNetwork) Host() host.Host               { return n.host }

type countingReceiver struct {
	network.Receiver
	messages, connected int
}

func (r *countingReceiver) ReceiveMessage(context.Context, peer.ID, bsmsg.BitSwapMessage) {
	r.messages++
}
func (r *countingReceiver) PeerConnected(peer.ID) { r.connected++ }

// TestASampleIsOfItsInterval: a sample has the time and the traffic since the one before.
func TestASampleIsOfItsInterval(t *testing.T) {
	h := newHost(t)
	c, next := newTest(t)
	var before [event.MessageTransports][event.Directions]event.Traffic
	last := time.Now().Add(-time.Hour)
	sample := func() *event.Sample {
		c.MessageReceived(testPeer, wantMessage(2))
		c.publishSample(context.Background(), h, Sampling{Interval: time.Second}, &before, &last)
		return nextOf(next, event.KindSample).Sample
	}
	for i, least := range []time.Duration{time.Hour, 0, 0} {
		s := sample()
		require.GreaterOrEqual(t, s.Interval, least, "sample %d", i)
		require.Less(t, s.Interval, least+30*time.Minute, "sample %d", i)
		require.EqualValues(t, 1, s.Traffic[event.Received].Messages, "sample %d", i)
		require.EqualValues(t, 2, s.Traffic[event.Received].WantBlock, "sample %d", i)
	}
}
